"""Members: they register, go down, drain, and are forgotten (ARCHITECTURE §4, members and incarnations).

Whatever ends an incarnation ends its account first and then settles its attempts as lost, run by run, so that one bad
run cannot keep the others waiting, and each lost attempt is placed again in the same entry.
"""

from __future__ import annotations

from typing import Final

from graft.engine import steps
from graft.engine.commands import (
    AttemptSettled,
    DrainMember,
    ForgetMember,
    MemberDown,
    RegisterMember,
    SetClusterConfig,
)
from graft.engine.records import Member, Step
from graft.engine.state import State

MAX_PAST: Final = 8  # incarnations of a member that are remembered, to refuse late registrations


def register(s: State, command: RegisterMember) -> str | None:
    member = s.members.get(command.member)
    if member is None:
        member = Member(id=command.member)
        s.add(member)
    elif command.incarnation == member.incarnation and not member.live:
        return "this incarnation was declared down; a new one has to register"
    elif command.incarnation in member.past:
        return "a later incarnation has registered"
    s.edit(member)
    if member.incarnation == command.incarnation and member.live:
        s.ledger.change(member.id, dict(command.slots))
    else:
        _begin_incarnation(s, member, command)
    member.slots, member.live = command.slots, True
    member.address, member.zone, member.version = command.address, command.zone, command.version
    member.labels, member.node_types = command.labels, command.node_types
    s.meta.rules = max(s.meta.rules, command.rules)
    steps.members_changed(s)
    return None


def _begin_incarnation(s: State, member: Member, command: RegisterMember) -> None:
    if s.cluster_rules and member.incarnation:
        member.past = (member.incarnation, *member.past)[:MAX_PAST]
    member.incarnation, member.stopping = command.incarnation, False
    s.ledger.open(member.id, dict(command.slots))
    s.attempts.setdefault(member.id, {})


def down(s: State, command: MemberDown) -> str | None:
    member = s.members.get(command.member)
    if member is None or not member.live or member.incarnation != command.incarnation:
        return "that incarnation is not the live one"
    _end_incarnation(s, member)
    return None


def _end_incarnation(s: State, member: Member) -> None:
    s.edit(member)
    member.live = False
    s.ledger.close(member.id)
    steps.members_changed(s)


def drain(s: State, command: DrainMember) -> str | None:
    member = s.members.get(command.member)
    if member is None:
        return "no such member"
    if command.incarnation and (not member.live or member.incarnation != command.incarnation):
        return "that incarnation is not the live one"
    s.edit(member)
    if command.incarnation:
        member.stopping = command.draining
    else:
        member.draining = command.draining
        member.stopping = member.stopping and command.draining
    steps.members_changed(s)
    return None


def retire(s: State, command: ForgetMember) -> str | None:
    """The first half of forgetting a member: nothing of it counts any more."""
    member = s.members.get(command.member)
    if member is None:
        return "no such member"
    _end_incarnation(s, member)
    return None


def forget(s: State, command: ForgetMember) -> str | None:
    """The second half: its attempts are settled, its record goes."""
    member = s.members.get(command.member)
    if member is not None:
        s.delete(member)
        if not s.attempts.get(member.id):
            s.attempts.pop(member.id, None)
        steps.members_changed(s)
    return None


def lose_attempts(s: State, member: str, run_no: int) -> str | None:
    """Settle the attempts that one run has on incarnations of `member` that are no more."""
    for key in sorted(key for key in s.attempts.get(member, ()) if key[0] == run_no):
        step = s.steps[key]
        if is_lost(s, step):
            refused = steps.settle(s, step, AttemptSettled(*key, token=step.token, status="lost"))
            assert refused is None, refused
    return None


def is_lost(s: State, step: Step) -> bool:
    """Whether the incarnation that a step's attempt is out on has ended."""
    member = s.members.get(step.member)
    return member is None or not member.live or member.incarnation != step.incarnation


def runs_on_member(s: State, member: str) -> list[int]:
    """The runs that have attempts on a member."""
    return sorted({key[0] for key in s.attempts.get(member, ())})


def configure(s: State, command: SetClusterConfig) -> str | None:
    s.meta.config = command.config
    s.use_config()
    steps.members_changed(s)
    return None
