"""The oracles of one process, and what each of them is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from graft.raft import effects as fx
from graft.raft import events as ev
from graft.raft.messages import Message, RequestVote, TimeoutNow
from graft.sim.oracles.acks import Acks
from graft.sim.oracles.budgets import Budgets
from graft.sim.oracles.disk import Disk
from graft.sim.oracles.leading import Leading
from graft.sim.oracles.leases import Leases
from graft.sim.oracles.retention import Retention
from graft.sim.oracles.versions import Versions
from graft.sim.oracles.voting import Voting

if TYPE_CHECKING:
    from graft.sim.member import Member


class Oracles:
    """Of one process. `now`: its clock as the core sees it, which never goes back."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.now = member.local_now()
        self.max_chunks = member.raft.state.config.max_chunks_in_flight
        self.disk = Disk(member)
        self.acks = Acks(member)
        self.voting = Voting(member, self)
        self.leading = Leading(member, self)
        self.versions = Versions(member)
        self.leases = Leases(member, self)
        self.retention = Retention(member, self)
        self.budgets = Budgets(member, self)
        self._orders: dict[type[Any], tuple[Callable[[Any], None], ...]] = {
            fx.Persist: (self.leading.persists, self.versions.persists, self.retention.persists),
            fx.Send: (self._sends,),
            fx.SwitchToSnapshot: (self.versions.switches, lambda effect: self.budgets.switches()),
            fx.DropHeld: (lambda effect: self.acks.dropped(),),
            fx.ApplyEntries: (self.budgets.applies,),
            fx.ReadEntries: (self.budgets.reads,),
            fx.AnswerRead: (self.budgets.answers, self.leases.answers),
            fx.RefuseRead: (self.budgets.answers,),
            fx.RefuseProposal: (self.leading.refuses,),
            fx.AnswerRequest: (self.leading.answers,),
            fx.PurgeLog: (self.retention.purges,),
            fx.DropSnapshot: (self.retention.drops,),
            fx.ReportMembership: (self._membership,),
        }

    def begins(self, event: ev.Event) -> None:
        """The core is about to be told `event`."""
        now = self.member.local_now()
        if now > self.now:
            self.now = now
        if type(event) is ev.MessageReceived:
            message = event.message
            for told in (self.voting.hears, self.leading.hears, self.versions.hears, self.leases.hears):
                told(message)
        self.leading.begins(event)
        self.leases.begins(event)
        self.retention.begins(event)
        self.budgets.begins(event)

    def orders(self, effect: fx.Effect) -> None:
        """The core has ordered `effect`, and the shell is about to carry it out."""
        for told in self._orders.get(type(effect), ()):
            told(effect)

    def _sends(self, effect: fx.Send) -> None:
        message = effect.message
        self.acks.sends(message)
        self.voting.sends(message)
        self.leases.sends(message)
        self.budgets.sends(message)
        if type(message) is RequestVote:
            self.leading.sends(message)
        elif type(message) is TimeoutNow:
            self.leading.tells(message)

    def _membership(self, effect: fx.ReportMembership) -> None:
        if not effect.committed:
            self.leases.configuration_changed()

    def leaves(self, message: Message) -> None:
        """`message` goes on the wire now."""
        self.acks.leaves(message)
        self.voting.leaves(message)

    def ends(self, event: ev.Event) -> None:
        """The core was told `event`, and all that it ordered is carried out."""
        self.disk.agrees()
        self.acks.ends(event)
        self.voting.ends()
        self.leading.ends()
        self.versions.ends()
        self.leases.ends(event)
        self.retention.ends(event)
        self.budgets.ends(event)
