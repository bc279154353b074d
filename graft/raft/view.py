"""A configuration as the rules ask for it."""

from __future__ import annotations

from .records import Configuration, Role


class View:
    """A configuration made quick to ask. `voters` is what `quorum` wants; `others` are all members but `self_id`."""

    __slots__ = ("configuration", "incarnations", "index", "is_voter", "learners", "others", "peers", "sole", "voters")

    def __init__(self, index: int, configuration: Configuration, self_id: str, self_incarnation: int) -> None:
        self.index = index
        self.configuration = configuration
        incoming = tuple(m.id for m in configuration.members if m.role == "voter")
        outgoing = tuple(m.id for m in configuration.outgoing)
        self.voters = (incoming, outgoing)
        self.incarnations = {m.id: m.incarnation for m in (*configuration.outgoing, *configuration.members)}
        self.others = tuple(sorted(id for id in self.incarnations if id != self_id))
        self.peers = tuple(id for id in self.others if id in incoming or id in outgoing)  # other voters
        self.learners = frozenset(m.id for m in configuration.members if m.role == "learner") - set(outgoing)
        mine = self.incarnations.get(self_id) == self_incarnation
        self.is_voter = mine and (self_id in incoming or self_id in outgoing)
        self.sole = self.is_voter and not self.peers

    def role_of(self, id: str) -> Role | None:
        """The role in the configuration to be; None for who is not in it."""
        return next((m.role for m in self.configuration.members if m.id == id), None)
