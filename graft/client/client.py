"""`graft.Client`: the runs and the members of a cluster, asked over gRPC from a Trio program.

::

    async with graft.Client("10.0.0.1:7440", "10.0.0.2:7440", security=ClientSecurity(files)) as client:
        run_id = await client.start(plan, {"order": 7}, base=Path("/srv/flows"))
        async for event in client.watch(run_id):
            print(event.path, event.what)

Any member takes any call. When one fails, the next address is tried, for as long as `patience_seconds` says, and
nothing happens twice by that: a start carries the id of its run, which is chosen here; after another request whose
answer was lost the client looks whether it came true before it repeats it. A watch goes on behind the last event that
it gave.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import msgspec
import trio

from graft.client.addresses import read_addresses
from graft.client.link import Link
from graft.client.logs import Logs, Lost, log_pump
from graft.client.starts import Feed, Start, Started
from graft.client.streams import pumped
from graft.cluster.flow import put
from graft.cluster.membership import Change, ClusterStatus, MemberView
from graft.cluster.run_ids import new_run_id
from graft.cluster.views import EventView, RunSummary, RunView, StepResult
from graft.cluster.wire import (
    read_event,
    read_member,
    read_result,
    read_run,
    read_status,
    read_summary,
)
from graft.engine.lifecycle import FINAL
from graft.errors import GraftError, Rejected, RunConflict, StoreCorrupt, Unreachable
from graft.plan import Plan, encode, plan_hash
from graft.transport.channel import Channel
from graft.transport.limits import Limits
from graft.transport.proto import graft_pb2 as pb
from graft.worker.logs import LogLine

if TYPE_CHECKING:
    from graft.security.tls import ClientSecurity

PATIENCE_SECONDS: Final = 30.0
CALL_SECONDS: Final = 10.0
CHANGE_SECONDS: Final = 60.0  # of the membership
MEMBER_PATIENCE_SECONDS: Final = 2.0  # for one of several members, whose logs are left out after it
LOOK_SECONDS: Final = 1.0  # how often a wait looks whether the run waits for a person
KEPT_PLANS: Final = 64
PAGE: Final = 5000  # of a list
NEVER: Final = 1 << 62  # the cursor behind every event


class Client:
    """Use as `async with`. Methods raise the errors of `graft.errors`; `Unreachable` when patience ends.

    `addresses`: HOST:PORT of some members, or `unix:PATH` of a held data directory's socket; each may hold several
    with commas. `security` None is plaintext. `call_seconds` is the deadline of one try of a call.
    """

    def __init__(
        self,
        *addresses: str,
        security: ClientSecurity | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
        call_seconds: float = CALL_SECONDS,
        limits: Limits | None = None,
    ) -> None:
        self._addresses = read_addresses(addresses)
        self._security = security
        self._patience_seconds, self._call_seconds = patience_seconds, call_seconds
        self._limits = Limits() if limits is None else limits
        self._stack = AsyncExitStack()
        self._link: Link | None = None
        self._plans: dict[int, tuple[Plan, bytes, str]] = {}
        self._sent: set[str] = set()  # hashes of plans that a member has taken

    async def __aenter__(self) -> Client:
        self._nursery = await self._stack.enter_async_context(_quiet_nursery())
        self._link = Link(
            self._addresses,
            self._nursery,
            security=self._security,
            limits=self._limits,
            patience_seconds=self._patience_seconds,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        self._link = None
        return await self._stack.__aexit__(kind, error, traceback)  # noqa: ASYNC102

    @property
    def address(self) -> str:
        """Of the member that answers now."""
        return self._open.address

    @property
    def _open(self) -> Link:
        if self._link is None:
            raise RuntimeError("the client is not open: use `async with graft.Client(...) as client`")
        return self._link

    async def _call(self, service: str, method: str, request: Any, seconds: float | None = None) -> Any:
        """A call that may be repeated."""
        timeout = self._call_seconds if seconds is None else seconds
        return await self._open.keep_trying(lambda channel, _: channel.call(service, method, request, timeout=timeout))

    # Starting

    async def start(
        self,
        plan: Plan,
        params: Mapping[str, Any] | None = None,
        *,
        base: Path | str = "",
        run_id: str | None = None,
        given: Mapping[str, Any] | None = None,
        excluded: frozenset[str] = frozenset(),
    ) -> str:
        """Start a run; its id once the start is durable. The same `run_id` with the same params again: the same run.

        Raises InvalidParams, RunConflict (the id is taken by another run), UsageError.
        """
        request = self._start_request(Start(plan, params or {}, base, run_id, given or {}, excluded))
        if request.plan_hash in self._sent:
            bare = pb.StartRequest()
            bare.CopyFrom(request)
            bare.plan = b""
        else:
            bare = request

        async def once(channel: Channel, _: int) -> str:
            try:
                reply = await channel.call("Workflows", "Start", bare, timeout=self._call_seconds)
            except Rejected as error:
                if error.reason != "unknown_plan":
                    raise
                reply = await channel.call("Workflows", "Start", request, timeout=self._call_seconds)
            return str(reply.run_id)

        started = await self._open.keep_trying(once)
        self._sent.add(request.plan_hash)
        return started

    async def start_many(self, starts: Iterable[Start] | AsyncIterable[Start]) -> AsyncGenerator[Started, None]:
        """Start runs as fast as the cluster takes them, in one stream; gives how each went, in the order of that.

        `starts` is read as it is needed, at most `WINDOW` ahead. When a member fails, what it had not acknowledged is
        sent to another one. Close the generator, or read it to its end.
        """
        feed = Feed(starts, self._start_request)
        reading = trio.CancelScope()
        self._nursery.start_soon(_within, reading, feed.read)
        try:
            async with aclosing(pumped(self._open, self._nursery, feed.pump, lambda: feed.done)) as replies:
                async for reply in replies:
                    yield reply  # noqa: ASYNC119 - closed by its caller
        finally:
            reading.cancel()

    def _start_request(self, start: Start) -> pb.StartRequest:
        encoded, hash = self._known(start.plan)
        return pb.StartRequest(
            plan=encoded,
            plan_hash=hash,
            params=msgspec.json.encode(dict(start.params)),
            run_id=start.run_id or fresh_id(start.plan.name),
            base=str(start.base),
            given={name: msgspec.json.encode(value) for name, value in start.given.items()},
            excluded=sorted(start.excluded),
        )

    def _known(self, plan: Plan) -> tuple[bytes, str]:
        """The plan's canonical bytes and its hash."""
        known = self._plans.get(id(plan))
        if known is None:
            known = self._plans[id(plan)] = (plan, encode(plan), plan_hash(plan))  # kept alive: its id stays its own
            if len(self._plans) > KEPT_PLANS:
                del self._plans[next(iter(self._plans))]
        return known[1:]

    # Reading

    async def get(self, run_id: str, *, stale: bool = False) -> RunView:
        """A run with all its steps. `stale`: as the member that answers knows it, which may be old.

        Raises UnknownRun.
        """
        return read_run(await self._call("Workflows", "Get", pb.GetRequest(run_id=run_id, stale=stale)))

    async def summary(self, run_id: str, *, stale: bool = False) -> RunSummary:
        """A run without its steps. Raises UnknownRun."""
        request = pb.GetRequest(run_id=run_id, stale=stale, summary_only=True)
        return read_summary((await self._call("Workflows", "Get", request)).summary)

    async def step(self, run_id: str, path: str, *, stale: bool = False) -> StepResult:
        """What one step was given, and what it came to so far. Raises UnknownRun."""
        request = pb.StepRequest(run_id=run_id, path=path, stale=stale)
        return read_result(await self._call("Workflows", "GetStep", request))

    async def list(
        self, limit: int | None = None, *, prefix: str = "", name: str = "", stale: bool = False
    ) -> Sequence[RunSummary]:
        """Runs, the newest first; those of the flow `name`, whose ids begin with `prefix`."""
        found: Any = []
        while limit is None or len(found) < limit:
            most = PAGE if limit is None else min(PAGE, limit - len(found))
            before = found[-1].run_id if found else ""
            request = pb.ListRequest(limit=most, prefix=prefix, before=before, name=name, stale=stale)
            page = (await self._call("Workflows", "List", request)).runs
            found += map(read_summary, page)
            if len(page) < most:
                break
        return tuple(found)

    async def events(self, run_id: str, after: int = 0, *, stale: bool = False) -> Sequence[EventView]:
        """The history of a run beyond the event `after`, oldest first."""
        found: Any = []
        while True:
            request = pb.EventsRequest(run_id=run_id, after=after, stale=stale, limit=PAGE)
            page = (await self._call("Workflows", "Events", request)).events
            found += map(read_event, page)
            if len(page) < PAGE:
                return tuple(found)
            after = page[-1].seq

    async def watch(self, run_id: str, after: int = 0, *, stale: bool = False) -> AsyncGenerator[EventView, None]:
        """Events of a run as they happen, from the cursor `after` (an event's `seq`) on; ends when the run has ended.

        Each event comes once and none is left out, whatever becomes of the members meanwhile. `stale`: begin with what
        the member that answers knows. Raises UnknownRun, and Unreachable when no member answers for
        `patience_seconds`.
        """
        async with aclosing(self._watched(run_id, after, stale)) as events:
            async for event in events:
                yield event  # noqa: ASYNC119 - closed by its caller

    async def _watched(self, run_id: str, after: int, stale: bool = False) -> AsyncGenerator[EventView, None]:
        cursor = after

        async def pump(channel: Channel, send: trio.MemorySendChannel[EventView]) -> None:
            nonlocal cursor
            request = pb.WatchRequest(run_id=run_id, after=cursor, stale=stale)
            async with channel.stream("Workflows", "Watch", request) as replies:
                async for reply in replies:
                    if reply.seq > cursor:
                        await put(send, read_event(reply))
                        cursor = reply.seq

        async with aclosing(pumped(self._open, self._nursery, pump, lambda: cursor)) as events:
            async for event in events:
                yield event  # noqa: ASYNC119 - closed by its caller

    async def wait(self, run_id: str) -> RunView:
        """Wait until the run has ended, or can only go on by a person (`waiting` tells)."""
        while True:
            async with aclosing(self._watched(run_id, NEVER)) as nothing:
                with trio.move_on_after(LOOK_SECONDS):
                    async for _ in nothing:
                        pass
            view = await self.get(run_id)
            if view.status in FINAL or view.waiting is not None:
                return view

    async def logs(
        self,
        run_id: str,
        path: str | None = None,
        *,
        follow: bool = False,
        stale: bool = False,
        lost: Lost = lambda member, why: None,
    ) -> AsyncGenerator[LogLine, None]:
        """What the steps wrote, or one of them, merged by time from all members that are up.

        `follow`: go on until the run ends, in the order in which lines come. `lost(member, why)` is called for each
        member whose lines are missing. Raises UnknownRun, and Unreachable when no member answers.
        """
        request = pb.LogsRequest(run_id=run_id, path=path or "", follow=follow, stale=stale)
        if len(await self.members(stale=True)) < 2:
            async with aclosing(pumped(self._open, self._nursery, log_pump(request), lambda: 0)) as lines:
                async for line in lines:
                    yield line  # noqa: ASYNC119 - closed by its caller
            return
        logs = Logs(request, self._places, self._link_to, self._nursery, lost)
        async with aclosing(logs.follow() if follow else logs.read()) as lines:
            async for line in lines:
                yield line  # noqa: ASYNC119 - closed by its caller

    async def _places(self) -> Mapping[str, str | None]:
        """Where each member is; that which answers, where it does: its own address may be for others only."""
        answering, address = (await self.status()).member, self.address
        members = await self.members(stale=True)
        return {each.id: address if each.id == answering else (each.live and each.address) or None for each in members}

    @contextmanager
    def _link_to(self, address: str) -> Iterator[Link]:
        patience = min(self._patience_seconds, MEMBER_PATIENCE_SECONDS)
        link = Link([address], self._nursery, security=self._security, limits=self._limits, patience_seconds=patience)
        try:
            yield link
        finally:
            link.close()

    # Acting

    async def cancel(self, run_id: str, path: str | None = None, reason: str = "") -> None:
        """Ask a run, or one step of it, to end. Raises RunConflict when it has ended, UnknownRun."""

        async def came_true(channel: Channel) -> bool:
            if path is not None:
                return False  # a repeated cancel of a step is refused when the step has ended, and that is the truth
            return (await self._summary_by(channel, run_id)).status in ("cancelled", "cancelling")

        await self._act("Cancel", pb.StepRequest(run_id=run_id, path=path or "", reason=reason), came_true)

    async def retry(self, run_id: str, path: str | None = None) -> None:
        """Open the next generation of a run that has ended, or give its parked steps a new budget.

        Raises RunConflict, UnknownRun.
        """
        before = (await self.summary(run_id)).generation

        async def came_true(channel: Channel) -> bool:
            return (await self._summary_by(channel, run_id)).generation > before

        await self._act("Retry", pb.StepRequest(run_id=run_id, path=path or ""), came_true)

    async def resume(self, run_id: str) -> None:
        """Let an interrupted or paused run go on. Raises RunConflict when it is neither."""

        async def came_true(channel: Channel) -> bool:
            return not (await self._summary_by(channel, run_id)).paused

        await self._act("Resume", pb.StepRequest(run_id=run_id), came_true)

    async def remove(self, run_ids: Sequence[str]) -> Sequence[str]:
        """Remove runs that have ended, with their results, history and logs; gives those that were there.

        None is removed while one of them is in flight: raises RunConflict. At most a thousand at once.
        """
        return tuple((await self._call("Workflows", "Remove", pb.RemoveRequest(run_ids=run_ids))).run_ids)

    async def _act(self, method: str, request: pb.StepRequest, came_true: Callable[[Channel], Awaitable[bool]]) -> None:
        asked = False

        async def once(channel: Channel, _: int) -> Any:
            nonlocal asked
            if asked and await came_true(channel):
                return None
            repeated, asked = asked, True
            try:
                return await channel.call("Workflows", method, request, timeout=self._call_seconds)
            except RunConflict as error:
                conflict = error
            except Unreachable as error:
                asked = repeated or error.sent
                raise
            if not (repeated and await came_true(channel)):
                raise conflict

        await self._open.keep_trying(once)

    async def _summary_by(self, channel: Channel, run_id: str) -> RunSummary:
        request = pb.GetRequest(run_id=run_id, summary_only=True)
        return read_summary((await channel.call("Workflows", "Get", request, timeout=self._call_seconds)).summary)

    # The cluster

    async def status(self) -> ClusterStatus:
        """How the cluster stands, as the member sees it that answers."""
        return read_status(await self._call("Cluster", "Status", pb.StatusRequest()))

    async def members(self, *, stale: bool = False) -> Sequence[MemberView]:
        reply = await self._call("Cluster", "Members", pb.MembersRequest(stale=stale))
        return tuple(map(read_member, reply.members))

    async def add_member(self, member: str, address: str, role: str = "voter") -> Change:
        return await self._change("AddMember", pb.AddMemberRequest(member=member, address=address, role=role))

    async def remove_member(self, member: str) -> Change:
        return await self._change("RemoveMember", pb.RemoveMemberRequest(member=member))

    async def set_role(self, member: str, role: str) -> Change:
        """`role`: voter (for a learner) or executor (for a voter, which is never promoted again)."""
        return await self._change("SetRole", pb.SetRoleRequest(member=member, role=role))

    async def transfer(self, target: str = "") -> Change:
        """Make `target` the leader; "": whoever is most up to date."""
        return await self._change("Transfer", pb.TransferRequest(target=target))

    async def drain(self, member: str, *, undo: bool = False) -> Change:
        return await self._change("Drain", pb.DrainRequest(member=member, undo=undo))

    async def raise_version(self, version: int = 0) -> Change:
        return await self._change("RaiseVersion", pb.RaiseVersionRequest(version=version))

    async def take_snapshot(self) -> Change:
        return await self._change("TakeSnapshot", pb.SnapshotRequest())

    async def _change(self, method: str, request: Any) -> Change:
        """Changes of the membership end in the state that they name, so repeating them is safe.

        They may take long, because steps of Raft follow each other; where there is no quorum the member says so sooner.
        """
        reply = await self._call("Cluster", method, request, max(self._call_seconds, CHANGE_SECONDS))
        return Change(reply.index, reply.text)

    async def backup(self, file: BinaryIO) -> int:
        """Write a snapshot of all state into `file`; its size in bytes. Raises StoreCorrupt when it arrived damaged.

        It is not repeated by itself, because `file` may be no file that can be begun anew: raises Unreachable.
        """
        whole, size = sha256(), 0
        last: Any = None
        channel = await self._open.keep_trying(_reached)
        async with channel.stream("Cluster", "Backup", pb.BackupRequest()) as chunks:
            async for chunk in chunks:
                last = chunk
                whole.update(chunk.data)
                size += len(chunk.data)
                await trio.to_thread.run_sync(file.write, chunk.data)
        if last is None or last.size != size or last.checksum != whole.hexdigest():
            raise StoreCorrupt("the backup arrived damaged or cut short", hint="make it again")
        return size


async def _reached(channel: Channel, _: int) -> Channel:
    await channel.reach()
    return channel


def fresh_id(name: str) -> str:
    """An id for a run, made by whoever starts it: like those that members make, and longer.

    Members see which ids are taken. A client does not, and may start thousands in a second.
    """
    short = new_run_id(name, time.time_ns() // 1_000_000, secrets.randbits(20))
    return short + secrets.token_hex(4)


@asynccontextmanager
async def _quiet_nursery() -> AsyncIterator[trio.Nursery]:
    """A nursery that ends what it holds, and lets an error of the body out as it is."""
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            finally:
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise _the_cause(group) from None


def _the_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What to show of a group: one of its errors where all are ours, for they have one cause; else the only one."""
    _, strangers = group.split(GraftError)
    leaf: BaseException = group
    while isinstance(leaf, BaseExceptionGroup) and (strangers is None or len(leaf.exceptions) == 1):
        leaf = leaf.exceptions[0]
    return leaf


async def _within(scope: trio.CancelScope, work: Callable[[], Awaitable[None]]) -> None:
    with scope:
        await work()


__all__ = ["Client", "Start", "Started"]
