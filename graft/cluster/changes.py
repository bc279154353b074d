"""Changes of the cluster itself: who is in it, in which role, who leads. The leader makes them, whoever is asked.

A member joins in two steps: Raft takes it as a learner (or executor) and sends it the log; it registers itself then,
with its incarnation and what it offers. A member that lost its disk comes back as another server (a new incarnation of
the data directory): the old one is removed first, which its silence must allow.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
import trio

from graft.cluster.host import Host
from graft.cluster.post import Post
from graft.engine.commands import DrainMember
from graft.errors import NoQuorum, Rejected, UsageError
from graft.raft.events import Change
from graft.raft.records import Member
from graft.transport.letters import Answer, Ask

KIND: Final = "change"
CHANGE_SECONDS: Final = 30.0
QUORUM_SECONDS: Final = 8.0  # without a leader; clients have heard why after it
AGAIN_SECONDS: Final = 0.05
TRANSFER_TRIES: Final = 5
TRANSFER_SECONDS: Final = 2.0  # until this member hears who won

# Asked again: the leader is another one, or something else is under way.
PASSING: Final = frozenset({"not_leader", "no_answer", "busy", "too_early", "deposed", "transferring"})
# Asked again for a moment: a leader that was just elected has not heard of the others yet.
EARLY: Final = frozenset({"quorum_unreachable"})
EARLY_SECONDS: Final = 3.0
# What no other try makes better: who asked is wrong.
WRONG: Final = frozenset({"unknown_member", "invalid"})

_NO_MEMBER: Final = "there is no member {}"
_LOOK: Final = "see `graft member ls`"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[str, dict[str, Any]]).decode


class Changes:
    """Of one member. `located` is told the address of a member that joins. `run` does the leader's work."""

    def __init__(self, host: Host, post: Post, located: Callable[[str, str], None]) -> None:
        self._host, self._post, self._located = host, post, located
        self._asked, self._todo = trio.open_memory_channel[Ask](64)
        post.on(KIND, self._take)

    # Who asks

    async def join(self, member: str, incarnation: int, role: str, address: str) -> None:
        await self._request("join", member=member, incarnation=incarnation, role=role, address=address)

    async def remove(self, member: str) -> None:
        await self._request("remove", member=member)

    async def set_role(self, member: str, role: str) -> None:
        """`voter`: a learner that has caught up is promoted now; `executor`: a voter is demoted, for good."""
        await self._request("role", member=member, role=role)

    async def transfer(self, target: str | None) -> None:
        """Have somebody else lead: `target`, or whoever is best. Returns when this member knows that it does.

        An election may go another way than it was meant to: then it is held again. Raises NoQuorum, Rejected.
        """
        door = self._host.door
        for _ in range(TRANSFER_TRIES):
            leader = await self._leader()
            if leader == target:
                return
            try:
                await self._request("transfer", leader=leader, target=target)
            except Rejected as error:
                if error.reason != "timed_out":
                    raise
            with trio.move_on_after(TRANSFER_SECONDS):
                while door.leader in (None, leader) or door.leader != (target or door.leader):
                    await door.wait_role()
                return
        raise Rejected(f"{door.leader or 'nobody'} leads", reason="timed_out", hint="try again")

    async def raise_version(self, version: int) -> None:
        await self._request("version", version=version)

    async def drain(self, member: str, undo: bool = False) -> None:
        """Place nothing new on a member; with `undo` again."""
        applied = await self._host.submitter.request(DrainMember(member, not undo))
        if applied.refused is not None and member not in self._host.engine.state.members:
            raise UsageError(_NO_MEMBER.format(member), hint=_LOOK)
        if applied.refused is not None:
            raise UsageError(f"{member} was not drained: {applied.refused}", hint="see `graft member ls`")

    async def _request(self, op: str, **arguments: Any) -> None:
        """Raises NoQuorum when no leader did it in time, Rejected or UsageError when it cannot be done."""
        body = _encode((op, arguments))
        door = self._host.door
        early_until = trio.current_time() + EARLY_SECONDS
        asked = 0
        with trio.move_on_after(CHANGE_SECONDS):
            while True:
                leader = await self._leader(asked > 0)
                asked += 1
                answer = await self._post.ask(leader, KIND, body, CHANGE_SECONDS)
                is_gone = op == "remove" and asked > 1 and answer.refused == "unknown_member"
                if not answer.refused or is_gone:  # an earlier leader did it and could not say so
                    return
                is_early = answer.refused in EARLY and trio.current_time() < early_until
                if answer.refused not in PASSING and not is_early:
                    raise _rejected(answer, op)
                with trio.move_on_after(AGAIN_SECONDS):
                    await door.wait_role()
        raise NoQuorum.after(CHANGE_SECONDS, door.leader)

    async def _leader(self, asked: bool = False) -> str:
        """Raises NoQuorum when there is none for long. `asked`: an earlier one may have begun what is asked."""
        door = self._host.door
        with trio.move_on_after(QUORUM_SECONDS):
            while (leader := door.leader) is None:
                await door.wait_role()
            return leader
        raise (NoQuorum.after if asked else NoQuorum.reading)(QUORUM_SECONDS, None)

    # The leader

    def _take(self, ask: Ask) -> None:
        try:
            self._asked.send_nowait(ask)
        except trio.WouldBlock:
            self._post.answer(ask, refused="busy")

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            async for ask in self._todo:
                nursery.start_soon(self._do, ask)

    async def _do(self, ask: Ask) -> None:
        if not self._host.leads:
            self._post.answer(ask, refused="not_leader", leader=self._host.door.leader or "")
            return
        try:
            op, arguments = _decode(ask.body)
            await _OPERATIONS[op](self, **arguments)
        except Rejected as error:
            text = f"{error.message}\n{error.hint or ''}"
            self._post.answer(ask, refused=error.reason, text=text, leader=error.leader or "")
        except (KeyError, TypeError, ValueError) as error:
            self._post.answer(ask, refused="unknown_change", text=f"not a change that this member knows: {error}")
        else:
            self._post.answer(ask)

    async def _join(self, member: str, incarnation: int, role: str, address: str) -> None:
        known = self._host.door.configuration.find(member)
        if known is not None and known.incarnation == incarnation:
            self._located(member, address)
            return  # it asks again: the answer was lost
        if known is not None:
            await self._make_room(member)
        self._located(member, address)
        await self._host.door.change_members(Change("add", member, incarnation, role))

    async def _make_room(self, member: str) -> None:
        """A server of this name was in the cluster, with another data directory."""
        record = self._host.engine.state.members.get(member)
        if record is not None and record.live:
            raise Rejected(
                f"a member {member} with another data directory is alive",
                reason="incarnation_in_use",
                hint="choose another name; if that member lost its disk, wait until its lease has ended, or remove it: "
                f"`graft member rm {member}`",
            )
        await self._remove(member)

    async def _remove(self, member: str) -> None:
        """Out of Raft; the state forgets it when its attempts can run no longer (`ClusterMember`)."""
        self._known(member)
        await self._host.door.change_members(Change("remove", member))

    async def _role(self, member: str, role: str) -> None:
        known = self._known(member)
        if role not in ("voter", "executor"):
            raise Rejected(f"a member cannot be made a {role}", reason="invalid", hint="voter or executor")
        if role == known.role:
            return
        if known.role == "executor":
            raise Rejected(
                f"{member} is an executor, which is never promoted",
                reason="invalid",
                hint=f"`graft member rm {member}`, empty its data directory, and let it join as a voter",
            )
        await self._host.door.change_members(Change("promote" if role == "voter" else "demote", member))

    async def _transfer(self, leader: str, target: str | None) -> None:
        """`leader` shall lead no more: asked again, its successor has nothing to do, nor has `target`."""
        if target is not None and (role := self._known(target).role) != "voter":
            a_role, yet = ("an executor", "") if role == "executor" else (f"a {role}", " yet")
            why = f"{target} is {a_role}, which cannot lead{yet}"
            raise Rejected(why, reason="invalid", hint="name a voter: see `graft member ls`")
        if leader == self._host.member != target:
            await self._host.door.transfer_leadership(target)

    async def _version(self, version: int) -> None:
        """0: the newest that all members said they understand."""
        members = self._host.engine.state.members.values()
        current = self._host.door.status().version
        version = version or max(current, min((each.version for each in members if each.live), default=1))
        if version == current:
            return
        said = {each.id: each.version for each in members}
        older = [each.id for each in self._host.door.configuration.members if said.get(each.id, 0) < version]
        if older:
            raise Rejected(
                f"not every member understands the version {version}: {', '.join(older)}",
                reason="unsupported",
                hint="upgrade their programs first",
            )
        await self._host.door.raise_version(version)

    def _known(self, member: str) -> Member:
        """Raises Rejected."""
        found = self._host.door.configuration.find(member)
        if found is None:
            raise Rejected(_NO_MEMBER.format(member), reason="unknown_member", hint=_LOOK)
        return found


_OPERATIONS: Final[dict[str, Callable[..., Awaitable[None]]]] = {
    "join": Changes._join,
    "remove": Changes._remove,
    "role": Changes._role,
    "transfer": Changes._transfer,
    "version": Changes._version,
}


def _rejected(answer: Answer, op: str) -> Rejected | UsageError:
    text, _, hint = answer.text.partition("\n")
    if answer.refused in WRONG and op != "join":  # who joins tries again: nobody typed it
        return UsageError(text, hint=hint or None)
    return Rejected(text, reason=answer.refused, hint=hint or None, leader=answer.leader or None)
