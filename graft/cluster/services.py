"""The services `Workflows` and `Cluster` of `graft.proto`, answered by the runs and the membership of this process.

A handler takes the request and the caller, and gives the reply; one that streams gives a generator. Errors are
`GraftError`s: the transport carries them to the client, which raises them again. Who may call what is decided before
(`graft.security`).

Every write may come twice, because a client that lost the answer asks again: a start carries the id of its run, which
the client chose; for the others the client looks how things stand before it repeats itself (`graft.client`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from hashlib import sha256
from itertools import islice
from typing import Any, Final

import trio

from graft.cluster.flow import enter, items, put
from graft.cluster.logs import log_lines
from graft.cluster.membership import Change, Membership
from graft.cluster.runs import Runs
from graft.cluster.starting import checked_base, checked_given, checked_id, checked_nodes, checked_params
from graft.cluster.wire import (
    event_message,
    member_message,
    problem_message,
    result_message,
    run_message,
    status_message,
    summary_message,
)
from graft.engine.lifecycle import FINAL
from graft.errors import GraftError, Rejected, UsageError
from graft.plan import Plan, decode, plan_hash
from graft.transport.proto import graft_pb2 as pb

KEPT_PLANS: Final = 256
MAX_EVENTS: Final = 10_000  # of one reply
MAX_RUNS: Final = 10_000
MAX_REMOVED: Final = 1000  # by one call
STARTS_AT_ONCE: Final = 256  # of one stream

Fresh = Callable[[], Awaitable[None]]


async def as_it_is() -> None:
    """For a cluster of one: what it has applied is the truth."""


class Workflows:
    """Handlers over the runs of this process.

    Starts that come in a stream go on in `nursery`. `fresh` returns once this member has applied all that any member
    had acknowledged when it was called; reads that are not `stale` wait for it.
    """

    def __init__(self, runs: Runs, nursery: trio.Nursery, *, member: str = "", fresh: Fresh = as_it_is) -> None:
        self._runs, self._nursery, self._member, self._fresh = runs, nursery, member, fresh
        self._plans: OrderedDict[str, Plan] = OrderedDict()

    def handlers(self) -> Mapping[str, Any]:
        return {
            "Start": self.start,
            "StartMany": self.start_many,
            "Get": self.get,
            "GetStep": self.get_step,
            "List": self.list,
            "Events": self.events,
            "Watch": self.watch,
            "Logs": self.logs,
            "Cancel": self.cancel,
            "Retry": self.retry,
            "Resume": self.resume,
            "Remove": self.remove,
        }

    # Starting

    async def start(self, request: pb.StartRequest, _caller: Any) -> pb.StartReply:
        return pb.StartReply(run_id=await self._start(request))

    async def start_many(
        self, requests: AsyncIterable[pb.StartRequest], _caller: Any
    ) -> AsyncGenerator[pb.StartReply, None]:
        """Starts as they come, many at once; a reply each, in the order in which they are done.

        What is wrong with one start is told in its reply and does not end the stream.
        """
        send, receive = trio.open_memory_channel[pb.StartReply](STARTS_AT_ONCE)
        scope = trio.CancelScope()
        self._nursery.start_soon(self._take_starts, requests, send, scope)
        try:
            async with aclosing(items(receive)) as replies:
                async for reply in replies:
                    yield reply  # noqa: ASYNC119 - the transport closes it
        finally:
            scope.cancel()

    async def _take_starts(
        self,
        requests: AsyncIterable[pb.StartRequest],
        send: trio.MemorySendChannel[pb.StartReply],
        scope: trio.CancelScope,
    ) -> None:
        room = trio.Semaphore(STARTS_AT_ONCE)

        async def one(request: pb.StartRequest) -> None:
            reply = await self._start_or_problem(request)
            room.release()
            await put(send, reply)

        with scope, suppress(GraftError, trio.BrokenResourceError):  # the client went away
            async with send, trio.open_nursery() as starts:
                async for request in requests:
                    await enter(room)
                    with suppress(GraftError):
                        self._plan(request)  # now, in their order: later ones may name only its hash
                    starts.start_soon(one, request)

    async def _start_or_problem(self, request: pb.StartRequest) -> pb.StartReply:
        try:
            return pb.StartReply(run_id=await self._start(request))
        except GraftError as error:
            return pb.StartReply(run_id=request.run_id, problem=problem_message(error))

    async def _start(self, request: pb.StartRequest) -> str:
        plan = self._plan(request)
        run_id = checked_id(request.run_id) if request.run_id else None
        given = checked_given(request.given)
        checked_nodes(plan, [*given, *request.excluded])
        return await self._runs.start_run(
            plan,
            checked_params(plan, request.params),
            base=checked_base(request.base),
            run_id=run_id,
            given=given,
            excluded=frozenset(request.excluded),
            hash=request.plan_hash or None,
        )

    def _plan(self, request: pb.StartRequest) -> Plan:
        """The plan that is sent, or the one known by its hash. Raises PlanError, Rejected with `unknown_plan`."""
        known = self._plans.get(request.plan_hash)
        if known is not None:
            self._plans.move_to_end(request.plan_hash)
            return known
        if not request.plan:
            raise Rejected(f"this member has no plan {request.plan_hash[:12]}", reason="unknown_plan")
        plan = decode(request.plan)
        hash = plan_hash(plan)
        if request.plan_hash and request.plan_hash != hash:
            raise UsageError(f"the plan that was sent has the hash {hash[:12]}, not {request.plan_hash[:12]}")
        self._plans[hash] = plan
        if len(self._plans) > KEPT_PLANS:
            self._plans.popitem(last=False)
        return plan

    # Reading

    async def _ready(self, stale: bool = False) -> Runs:
        if not stale:
            await self._fresh()
        return self._runs

    async def get(self, request: pb.GetRequest, _caller: Any) -> pb.RunReply:
        runs = await self._ready(request.stale)
        if request.summary_only:
            return pb.RunReply(summary=summary_message(runs.summary(request.run_id)))
        return run_message(runs.run_view(request.run_id))

    async def get_step(self, request: pb.StepRequest, _caller: Any) -> pb.StepReply:
        return result_message((await self._ready(request.stale)).step_result(request.run_id, request.path))

    async def list(self, request: pb.ListRequest, _caller: Any) -> pb.ListReply:
        runs = await self._ready(request.stale)
        limit = min(request.limit or MAX_RUNS, MAX_RUNS)
        found = runs.runs(limit, prefix=request.prefix, before=request.before, name=request.name)
        return pb.ListReply(runs=[summary_message(each) for each in found])

    async def events(self, request: pb.EventsRequest, _caller: Any) -> pb.EventsReply:
        runs = await self._ready(request.stale)
        limit = min(request.limit or MAX_EVENTS, MAX_EVENTS)
        found = list(islice(runs.events(request.run_id, request.after), limit + 1))
        ended = len(found) <= limit and runs.status(request.run_id) in FINAL
        return pb.EventsReply(events=[event_message(event) for event in found[:limit]], ended=ended)

    async def watch(self, request: pb.WatchRequest, _caller: Any) -> AsyncGenerator[pb.Event, None]:
        runs = await self._ready(request.stale)
        async with aclosing(runs.watch(request.run_id, request.after)) as events:
            async for event in events:
                yield event_message(event)  # noqa: ASYNC119 - closed by its caller

    async def logs(self, request: pb.LogsRequest, _caller: Any) -> AsyncGenerator[pb.LogLine, None]:
        runs = await self._ready(request.stale)
        async with aclosing(log_lines(runs, request, self._member)) as lines:
            async for line in lines:
                yield line  # noqa: ASYNC119 - closed by its caller

    # Acting

    async def cancel(self, request: pb.StepRequest, _caller: Any) -> pb.ActReply:
        runs = await self._ready()
        await runs.cancel(request.run_id, request.path or None, request.reason or "cancelled by a person")
        return pb.ActReply()

    async def retry(self, request: pb.StepRequest, _caller: Any) -> pb.ActReply:
        await (await self._ready()).retry(request.run_id, request.path or None)
        return pb.ActReply()

    async def resume(self, request: pb.StepRequest, _caller: Any) -> pb.ActReply:
        await (await self._ready()).resume(request.run_id)
        return pb.ActReply()

    async def remove(self, request: pb.RemoveRequest, _caller: Any) -> pb.RemoveReply:
        if len(request.run_ids) > MAX_REMOVED:
            raise UsageError(f"{len(request.run_ids)} runs to remove, at most {MAX_REMOVED} at once")
        return pb.RemoveReply(run_ids=await (await self._ready()).remove(request.run_ids))


class ClusterService:
    """Handlers over a membership. `Probe` and `Join` are asked before there is one: bootstrap answers them."""

    def __init__(self, membership: Membership) -> None:
        self._membership = membership

    def handlers(self) -> Mapping[str, Any]:
        return {
            "Status": self.status,
            "Members": self.members,
            "AddMember": self.add_member,
            "RemoveMember": self.remove_member,
            "SetRole": self.set_role,
            "Transfer": self.transfer,
            "Drain": self.drain,
            "RaiseVersion": self.raise_version,
            "TakeSnapshot": self.take_snapshot,
            "Backup": self.backup,
        }

    async def status(self, _request: pb.StatusRequest, _caller: Any) -> pb.StatusReply:
        return status_message(await self._membership.status())

    async def members(self, request: pb.MembersRequest, _caller: Any) -> pb.MembersReply:
        found = await self._membership.members(stale=request.stale)
        return pb.MembersReply(members=[member_message(each) for each in found])

    async def add_member(self, request: pb.AddMemberRequest, _caller: Any) -> pb.ChangeReply:
        role = request.role or "voter"
        if role not in ("voter", "executor"):
            raise UsageError(f"there is no role {role!r} to add a member in", hint="voter or executor")
        return _changed(await self._membership.add(_named(request.member), request.address, role))

    async def remove_member(self, request: pb.RemoveMemberRequest, _caller: Any) -> pb.ChangeReply:
        return _changed(await self._membership.remove(_named(request.member)))

    async def set_role(self, request: pb.SetRoleRequest, _caller: Any) -> pb.ChangeReply:
        if request.role not in ("voter", "executor"):
            raise UsageError(f"there is no role {request.role!r} to give a member", hint="voter or executor")
        return _changed(await self._membership.set_role(_named(request.member), request.role))

    async def transfer(self, request: pb.TransferRequest, _caller: Any) -> pb.ChangeReply:
        return _changed(await self._membership.transfer(request.target))

    async def drain(self, request: pb.DrainRequest, _caller: Any) -> pb.ChangeReply:
        return _changed(await self._membership.drain(_named(request.member), undo=request.undo))

    async def raise_version(self, request: pb.RaiseVersionRequest, _caller: Any) -> pb.ChangeReply:
        return _changed(await self._membership.raise_version(request.version))

    async def take_snapshot(self, _request: pb.SnapshotRequest, _caller: Any) -> pb.ChangeReply:
        return _changed(await self._membership.take_snapshot())

    async def backup(self, _request: pb.BackupRequest, _caller: Any) -> AsyncGenerator[pb.BackupChunk, None]:
        """The pieces, then one without data that says how many bytes there were and their SHA-256, hexadecimal."""
        whole, size = sha256(), 0
        async with aclosing(self._membership.backup()) as pieces:
            async for piece in pieces:
                whole.update(piece)
                size += len(piece)
                yield pb.BackupChunk(data=piece)  # noqa: ASYNC119 - closed by its caller
        yield pb.BackupChunk(checksum=whole.hexdigest(), size=size)


def _named(member: str) -> str:
    if not member:
        raise UsageError("which member? its name is empty")
    return member


def _changed(change: Change) -> pb.ChangeReply:
    return pb.ChangeReply(index=change.index, text=change.text)
