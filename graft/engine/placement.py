"""Which member runs a step: a pure function of the state, inside apply (ARCHITECTURE §4).

Queued steps stand in lines. A line is what its steps ask of a member: the kind of node and the labels of `runs_on`. So
all steps of a line can go to the same members, and one that finds no place cannot hold up others. Who could run a
line is worked out once and kept until the members change; an apply then costs what it starts, not what waits.

Among the members with a free slot the least loaded one is chosen. Locality decides between loads that differ by no
more than `SLACK`: first the member that ran the run's last step (it made the inputs of what follows), then one of its
zone. A stronger preference was rejected: the items of a map would pile up on one member while others idle.

A line that no live member could ever run is `stranded`: its steps wait, with the reason, until the members change. A
draining member is one that could.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from attrs import frozen

from graft.engine.graph import Line
from graft.engine.records import ClusterConfig, Member
from graft.ids import StepKey
from graft.resources import Ledger
from graft.resources.ledger import TOTAL

SLACK: Final = 1  # attempts by which a near member may be busier than the least loaded one
UNPLACEABLE: Final = "unplaceable: "  # how the reason of a stranded step begins
ANY: Final = "*"  # in `runs_on`: the label with any value
MAX_NAMED: Final = 3  # members that a reason names


@frozen
class Choice:
    """Who can run a line. `why`, where `able` is False, says what is missing."""

    members: tuple[str, ...]  # by name; without draining ones
    able: bool
    why: str = ""


class Placement:
    """An index: the choice of members by line, and the steps that are stranded."""

    def __init__(self) -> None:
        self.stranded: dict[Line, dict[StepKey, None]] = {}
        self._choices: dict[Line, Choice] = {}

    def forget_choices(self) -> None:
        """Must be called when a member or the lowest version changed."""
        self._choices.clear()

    def choice(self, line: Line, members: Mapping[str, Member], config: ClusterConfig | None) -> Choice:
        found = self._choices.get(line)
        if found is None:
            found = self._choices[line] = choose(line, members.values(), 0 if config is None else config.min_version)
        return found

    def strand(self, line: Line, key: StepKey) -> None:
        self.stranded.setdefault(line, {})[key] = None

    def discard(self, line: Line, key: StepKey) -> None:
        """Forget `key` if it is stranded in `line`."""
        steps = self.stranded.get(line)
        if steps is not None and steps.pop(key, self) is None and not steps:
            del self.stranded[line]


def choose(line: Line, members: Iterable[Member], min_version: int) -> Choice:
    """The members that can run the steps of `line`. Without any live member nobody knows yet, so it waits."""
    live = sorted((member for member in members if member.live), key=lambda member: member.id)
    lacks = {member.id: missing(member, line, min_version) for member in live}
    able = [member for member in live if not lacks[member.id]]
    open_ = tuple(member.id for member in able if not (member.draining or member.stopping))
    if able or not live:
        return Choice(open_, able=True)
    return Choice((), able=False, why=UNPLACEABLE + _why(lacks))


def missing(member: Member, line: Line, min_version: int) -> tuple[str, ...]:
    """What keeps a member from ever running a line: nothing, if it can."""
    kind, asked = line
    slots, labels = dict(member.slots), dict(member.labels)
    lacks = []
    if member.version < min_version:
        lacks.append(f"version {min_version}")
    if (member.node_types and kind not in member.node_types) or 0 in (slots.get(TOTAL), slots.get(kind)):
        lacks.append(f"slots for {kind} steps")
    for name, value in asked:
        if name not in labels or value not in (ANY, labels[name]):
            lacks.append(f"the label {name}" if value == ANY else f"the label {name}={value}")
    return tuple(lacks)


def _why(lacks: dict[str, tuple[str, ...]]) -> str:
    """What every member lacks, if there is such a thing; else what each of the first few lacks."""
    first = next(iter(lacks.values()))
    common = [what for what in first if all(what in each for each in lacks.values())]
    if common:
        return f"no live member has {' and '.join(common)}"
    named = [f"{member} lacks {' and '.join(what)}" for member, what in list(lacks.items())[:MAX_NAMED]]
    more = len(lacks) - len(named)
    return "; ".join(named) + (f"; and {more} more" if more > 0 else "")


def why_queued(
    line: Line, choice: Choice, members: Mapping[str, Member], config: ClusterConfig | None, ledger: Ledger
) -> str:
    """What a queued step of `line`, whose choice that is, waits for, for people; "" when it could start now."""
    kind, _ = line
    if not choice.able:
        return choice.why
    if not choice.members:
        least = 0 if config is None else config.min_version
        able = sorted(member.id for member in members.values() if member.live and not missing(member, line, least))
        return f"every member that could run it is draining: {_some(able)}" if able else "no member is live"
    if not ledger.has_quota(kind):
        return f"all {kind} steps that the cluster may run at a time are running"
    if not any(ledger.has_slot(member, kind) for member in choice.members):
        return f"no slot for {kind} steps is free on {_some(choice.members)}"
    return ""


def _some(members: Sequence[str]) -> str:
    more = len(members) - MAX_NAMED
    return ", ".join(members[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def pick(kind: str, choice: Choice, ledger: Ledger, near: str, zones: dict[str, str]) -> str | None:
    """The member of `choice` that starts the next attempt of `kind`; None when no slot is free.

    `near` is the member that ran the run's last step, "" if there is none; `zones` is zone by member.
    """
    if not ledger.has_quota(kind):
        return None
    if len(choice.members) == 1:
        (only,) = choice.members
        return only if ledger.has_slot(only, kind) else None
    offers = [(ledger.used(member), member) for member in choice.members if ledger.has_slot(member, kind)]
    if len(offers) < 2 or not near:
        return min(offers)[1] if offers else None
    most = min(offers)[0] + SLACK
    zone = zones.get(near, "")
    _, _, best = min(
        (0 if member == near else 1 if zone and zones.get(member) == zone else 2, used, member)
        for used, member in offers
        if used <= most
    )
    return best


__all__ = ["UNPLACEABLE", "Choice", "Placement", "choose", "missing", "pick", "why_queued"]
