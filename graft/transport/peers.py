"""Messages and letters to and from the other members, over one connection a pair.

The member with the smaller id dials, and dials again when the connection ends, at growing intervals. The connection
carries two streams, one for messages and one for pieces of snapshots, so that a snapshot waits in a window of its own.
Each stream begins with a `Hello` from both sides, which says of which cluster, who, and to whom.

A member's data directory belongs to one process. When another one (`Hello.process`) says that it is the same member
with the same directory, and the one that is connected still answers, one of the two runs on a copy: the newcomer is
refused, and ends. When it does not answer it is dead, whatever its connection looks like, and the newcomer has its
place: a member that was started again is never refused, because its former process let the directory go before.

Nothing is promised: what does not get through is lost. While a peer is away nothing is kept for it, because old
messages are of no use to anybody when it comes back.
"""

from __future__ import annotations

import asyncio
import logging
import math
import ssl
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, Protocol

import trio
from attrs import Factory, define, frozen
from google.protobuf.message import DecodeError
from grpclib.client import Handler
from grpclib.const import Status
from h2.exceptions import H2Error

from graft.errors import Denied, GraftError
from graft.interfaces import Entropy
from graft.raft.messages import InstallSnapshot, Message, SnapshotReply
from graft.security.audit import Audit, AuditRecord, log_refusal
from graft.security.identity import Identity, identify
from graft.security.tls import ClientSecurity
from graft.transport import wire
from graft.transport.breaker import Breaker
from graft.transport.calls import Caller
from graft.transport.framing import frame
from graft.transport.http2 import GraftProtocol
from graft.transport.letters import Letter
from graft.transport.limits import Limits
from graft.transport.loop import enter
from graft.transport.peer_stream import Ended, PeerStream
from graft.transport.proto import graft_pb2
from graft.transport.sockets import SocketTransport, Tls, dial, parse_address

log = logging.getLogger(__name__)

NOT_YET = "not_yet"  # founders begin one after the other: nobody did anything wrong
DUPLICATE = "duplicate"
SIGN_OF_LIFE_SECONDS = 1.5  # for the process that is connected, when another one says that it is the same member
LANES = ("Exchange", "Snapshots")
SNAPSHOT_MESSAGES = (InstallSnapshot, SnapshotReply)


class Receive(Protocol):
    """Takes what came in one piece."""

    def __call__(self, *messages: Message | Letter) -> None: ...


@frozen
class Hello:
    """Who a member is. `cluster` is the cluster's id, `version` the newest cluster version that it understands,
    `process` a number that was drawn when its process started, 0 if it does not say."""

    cluster: str
    member: str
    incarnation: int
    address: str
    version: int
    process: int = 0


# None: welcome. Else (a stable word, a text) for the record of the refusal.
Admit = Callable[[Hello], tuple[str, str] | None]


@frozen
class PeerStatus:
    """`connected`: messages get through now. `dropped`: messages that never left, in all."""

    member: str
    address: str
    connected: bool
    breaker: str
    queued: int
    dropped: int


@define(eq=False)
class _Lane:
    """What waits for one stream to one peer. Invariant: `waiting_bytes` is the sum of the lengths in `waiting`.

    `carrier`: incarnation and process at the other end of `stream`.
    """

    stream: PeerStream | None = None
    carrier: tuple[int, int] = (0, 0)
    waiting: deque[bytes] = Factory(deque)
    rest: bytes = b""  # of what is being sent: the other side or our socket has no room, and a task waits for it
    waiting_bytes: int = 0
    dropped: int = 0
    filled: trio.Event = Factory(trio.Event)

    def put(self, data: bytes, limits: Limits) -> None:
        self.waiting.append(data)
        self.waiting_bytes += len(data)
        while len(self.waiting) > limits.max_queued_messages or self.waiting_bytes > limits.max_queued_bytes:
            self.waiting_bytes -= len(self.waiting.popleft())
            self.dropped += 1

    def take(self, limits: Limits) -> bytes:
        """What goes in one write, framed."""
        batch: list[bytes] = []
        size = 0
        while self.waiting and len(batch) < limits.max_batch_messages and size < limits.max_batch_bytes:
            data = self.waiting.popleft()
            size += len(data)
            batch.append(data)
        self.waiting_bytes -= size
        return frame(graft_pb2.Batch(messages=batch).SerializeToString())

    def clear(self) -> None:
        self.dropped += len(self.waiting)
        self.waiting.clear()
        self.waiting_bytes = 0


@define(eq=False)
class _Peer:
    id: str
    breaker: Breaker
    address: str = ""
    lanes: dict[str, _Lane] = Factory(lambda: {name: _Lane() for name in LANES})
    away_since: float = -math.inf  # when the last stream of messages ended
    moved: trio.Event = Factory(trio.Event)  # it has another address
    scope: trio.CancelScope | None = None  # of the task that dials
    pause: trio.CancelScope | None = None  # of its wait before it dials again


class PeerHub:
    """Satisfies `graft.interfaces.Transport`; `open_server(peers=...)` runs it.

    `receive` is called on the Trio thread with the messages of a member, and must not wait. `hello` says who this
    member is, each time anew. `admit` sees a peer's Hello, whose cluster and target are right, and may refuse it.
    `duplicated` is told why when a peer says that this process is not the only one with this data directory.
    Without `security` members talk plaintext.
    """

    def __init__(
        self,
        me: str,
        receive: Receive,
        *,
        hello: Callable[[], Hello],
        entropy: Entropy,
        admit: Admit = lambda hello: None,
        security: ClientSecurity | None = None,
        limits: Limits | None = None,
        audit: Audit | None = None,
        duplicated: Callable[[str], None] = lambda why: None,
    ) -> None:
        self._duplicated = duplicated
        self._me, self._receive, self._hello, self._admit = me, receive, hello, admit
        self._entropy, self._security, self._limits = entropy, security, limits or Limits()
        self._audit: Audit = audit or log_refusal
        self._peers: dict[str, _Peer] = {}
        self._nursery: trio.Nursery | None = None
        self._context = copy_context()  # of `run`, which knows the loop
        self._loop: asyncio.AbstractEventLoop | None = None

    # Sending

    def send(self, *messages: Message | Letter) -> None:
        """Never blocks, and promises nothing. What is sent to a peer that is away is dropped.

        They leave at once, those to one peer in one write, without a turn of Trio's loop between: it would be a good
        part of what a replicated command takes.
        """
        filled: dict[int, _Lane] = {}
        for message in messages:
            peer = self._peers.get(message.target)
            if peer is None:
                continue
            lane = peer.lanes["Snapshots" if type(message) in SNAPSHOT_MESSAGES else "Exchange"]
            if lane.stream is None and not self._may_wait(peer):
                lane.clear()  # what waited is old by now
                lane.dropped += 1
                continue
            lane.put(wire.encode(message), self._limits)
            filled[id(lane)] = lane
        for lane in filled.values():
            self._send_waiting(lane)

    def _send_waiting(self, lane: _Lane) -> None:
        """As much of it as leaves without waiting."""
        stream = lane.stream
        if stream is None:
            return
        try:
            while lane.waiting and not lane.rest:
                lane.rest = stream.write(lane.take(self._limits))
        except Ended:
            pass  # its task learns of it, too
        if lane.rest:
            lane.filled.set()

    def _may_wait(self, peer: _Peer) -> bool:
        """True for a moment after a connection broke, and while nobody knows yet whether the peer is there."""
        if self._nursery is None or (not peer.address and peer.id > self._me):
            return False
        away = trio.current_time() - peer.away_since
        return peer.breaker.state == "closed" and away < self._limits.max_backoff_seconds

    def set_address(self, member: str, address: str) -> None:
        """Where `member` can be reached from now on ("": nobody knows). Does not end a connection that works, unless
        the address is another one. Raises ValueError."""
        if address:
            parse_address(address)
        if member == self._me:
            return
        peer = self._peer(member)
        if peer.address == address:
            return
        peer.address = address
        peer.breaker.succeeded()
        peer.moved.set()
        self._start_dialling(peer)

    def hurry(self, member: str) -> None:
        """`member` is up, it says: dial it now and not when the pause is over. A connection that works stays."""
        peer = self._peers.get(member)
        if peer is not None and peer.lanes["Exchange"].stream is None:
            peer.breaker.succeeded()
            if peer.pause is not None:
                peer.pause.cancel()

    def forget(self, member: str) -> None:
        """End the connection with `member` and drop what waits for it."""
        peer = self._peers.pop(member, None)
        if peer is None:
            return
        if peer.scope is not None:
            peer.scope.cancel()
        for lane in peer.lanes.values():
            if lane.stream is not None:
                lane.stream.close()

    async def twin_of(self, member: str, incarnation: int, process: int) -> str:
        """Whether another process with the data directory of this one is connected and lives: who, in words, or ""."""
        peer = self._peers.get(member)
        for lane in () if peer is None or not process else peer.lanes.values():
            stream, (known, other) = lane.stream, lane.carrier
            if stream is None or known != incarnation or other in (0, process):
                continue
            limits = self._limits
            patience = min(SIGN_OF_LIFE_SECONDS, limits.handshake_seconds / 2, limits.keepalive_timeout_seconds)
            if await stream.is_carried_by_the_living(patience):
                where = f" at {peer.address}" if peer is not None and peer.address else ""
                return (
                    f"{member}{where} is connected with {self._me} and alive, and another process with the same data "
                    "directory says that it is it: one of the two runs on a copy"
                )
        return ""

    def statuses(self) -> tuple[PeerStatus, ...]:
        return tuple(
            PeerStatus(
                peer.id,
                peer.address,
                peer.lanes["Exchange"].stream is not None,
                peer.breaker.state,
                sum(len(lane.waiting) for lane in peer.lanes.values()),
                sum(lane.dropped for lane in peer.lanes.values()),
            )
            for _, peer in sorted(self._peers.items())
        )

    def _peer(self, member: str) -> _Peer:
        peer = self._peers.get(member)
        if peer is None:
            limits = self._limits
            breaker = Breaker(limits.breaker_failures, limits.backoff_seconds, limits.max_backoff_seconds)
            peer = self._peers[member] = _Peer(member, breaker)
        return peer

    # Dialling

    async def run(self, loop: asyncio.AbstractEventLoop) -> None:
        """Until cancelled. Called by the server."""
        self._loop = loop
        enter(loop)
        self._context = copy_context()
        async with trio.open_nursery() as self._nursery:
            now = trio.current_time()
            for peer in list(self._peers.values()):
                peer.away_since = now
                self._start_dialling(peer)
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None  # before it is closed: somebody may knock between that and our next turn

    def _start(self, function: Callable[..., Any], *arguments: Any) -> None:
        """With the loop in its context, whoever calls."""
        assert self._nursery is not None
        self._context.copy().run(self._nursery.start_soon, function, *arguments)

    def _start_dialling(self, peer: _Peer) -> None:
        if self._nursery is not None and peer.scope is None and peer.address and peer.id > self._me:
            peer.scope = trio.CancelScope()
            self._start(self._keep_dialling, peer)

    async def _keep_dialling(self, peer: _Peer) -> None:
        assert peer.scope is not None
        with peer.scope:
            while True:
                peer.moved = trio.Event()
                if not peer.address:
                    await peer.moved.wait()
                    continue
                if not peer.breaker.allows(trio.current_time()):
                    await trio.sleep_until(peer.breaker.retry_at)
                    continue
                try:
                    await self._dial(peer)
                    why = "the connection ended"
                except (OSError, Ended, H2Error, GraftError, trio.TooSlowError) as error:
                    why = str(error) or "it took too long"
                log.debug("connection to %s at %s: %s", peer.id, peer.address, why)
                wait = peer.breaker.failed(trio.current_time(), self._entropy.u64())
                if peer.breaker.state == "open":
                    for lane in peer.lanes.values():
                        lane.clear()
                with trio.move_on_after(wait) as peer.pause:
                    await peer.moved.wait()

    async def _dial(self, peer: _Peer) -> None:
        """One connection, from its beginning to its end."""
        limits, address = self._limits, peer.address
        tls: Tls | None = None
        with trio.fail_after(limits.connect_seconds):
            sock = await dial(parse_address(address))
            try:
                if self._security is not None:
                    tls = await self._secure(peer, sock, address)
            except BaseException:
                sock.close()
                raise
        protocol = GraftProtocol(Handler(), limits, client_side=True, problem=self._problem(peer.id, address))
        transport = SocketTransport(sock, tls, limits, address)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transport.run, protocol)
            try:
                await self._use(peer, protocol, nursery)
            except (Ended, H2Error, trio.TooSlowError) as error:
                problem: Exception | None = error
            else:
                problem = None
            finally:
                if hasattr(protocol, "processor"):
                    protocol.goodbye(reason="the connection ends")
                nursery.cancel_scope.cancel()
        if problem is not None:
            raise problem

    async def _use(self, peer: _Peer, protocol: GraftProtocol, nursery: trio.Nursery) -> None:
        streams = []
        with trio.fail_after(self._limits.handshake_seconds):
            await first_of(protocol.ready, protocol.lost)
            if protocol.lost.is_set():
                raise Ended("the connection was closed at once")
            for lane in LANES:
                streams.append(await self._open_stream(peer, protocol, lane))
        peer.breaker.succeeded()
        for lane, (stream, carrier) in zip(LANES, streams, strict=True):
            nursery.start_soon(self._carry, peer, lane, stream, carrier)
        await first_of(protocol.lost, peer.moved, *(stream.ended for stream, _ in streams))

    async def _secure(self, peer: _Peer, sock: Any, address: str) -> Tls:
        """TLS with the one member that is meant. Raises OSError, Denied, UsageError."""
        assert self._security is not None
        tls = Tls(self._security.current(), parse_address(address).host or None, server_side=False)
        try:
            await tls.handshake(sock)
            check_member(tls, self._security.cluster, peer.id)
        except ssl.SSLCertVerificationError as error:
            self._refused("foreign_authority", f"{peer.id} at {address}: {error.verify_message}", address)
            raise
        except Denied as error:
            self._refused(error.reason, f"{peer.id} at {address}: {error.message}", address)
            raise
        return tls

    async def _open_stream(self, peer: _Peer, protocol: GraftProtocol, lane: str) -> tuple[PeerStream, tuple[int, int]]:
        stream = PeerStream.open(protocol, f"Raft/{lane}")
        await stream.send(self._greeting(peer.id))
        try:
            hello = _hello(await stream.first())
        except Ended:
            if stream.was_refused_with(Status.ALREADY_EXISTS):
                self._duplicated(stream.why.removesuffix(f" (status {Status.ALREADY_EXISTS.value})"))
            raise
        problem = self._look_at(hello, peer.id)
        if problem is not None:
            self._refused(problem[0], f"{peer.id} at {peer.address}: {problem[1]}", peer.address)
            raise Ended(problem[1])
        return stream, (hello.incarnation, hello.process)

    # Being dialled

    def accept(self, lane: str, protocol: GraftProtocol, stream: Any, release: Any, caller: Caller) -> None:
        """A member, as its certificate says, opened a stream."""
        opened = PeerStream(protocol, stream, release)
        if self._nursery is None:
            return opened.refuse(Status.UNAVAILABLE, "this member is not running")
        self._start(self._welcome, lane, opened, caller)

    async def _welcome(self, lane: str, stream: PeerStream, caller: Caller) -> None:
        try:
            with trio.fail_after(self._limits.handshake_seconds):
                hello = _hello(await stream.first())
            problem = self._look_at(hello, caller.identity or hello.member)
            if problem is None and hello.member >= self._me:
                problem = ("direction", f"{hello.member} dialled {self._me}, which is the one to dial")
            if problem is None and (twin := await self.twin_of(hello.member, hello.incarnation, hello.process)):
                problem = (DUPLICATE, twin)
            if problem is not None:
                who = caller.identity or caller.address
                text = f"{who} says it is {hello.member} of {hello.cluster}: {problem[1]}"
                self._refused(problem[0], text, caller.address, caller.identity)
                status = Status.ALREADY_EXISTS if problem[0] == DUPLICATE else Status.FAILED_PRECONDITION
                return stream.refuse(status, problem[1])
            stream.answer()
            await stream.send(self._greeting(hello.member))
            await self._carry(self._peer(hello.member), lane, stream, (hello.incarnation, hello.process))
        except Ended as error:
            log.debug("stream of %s: %s", caller.identity or caller.address, error)
        except trio.TooSlowError:
            self._refused("slow", f"{caller.identity}: it opened a stream and said nothing", caller.address)
        except Exception:  # a bug: this stream's end, and not the server's
            log.exception("stream of %s", caller.identity or caller.address)
        finally:
            stream.close()

    def _greeting(self, target: str) -> bytes:
        mine = self._hello()
        hello = graft_pb2.Hello(
            cluster=mine.cluster,
            member=mine.member,
            incarnation=mine.incarnation,
            target=target,
            address=mine.address,
            version=mine.version,
            process=mine.process,
        )
        return frame(graft_pb2.Batch(hello=hello).SerializeToString())

    def _look_at(self, hello: Any, expected: str) -> tuple[str, str] | None:
        """Why whoever says this is not welcome."""
        mine = self._hello()
        if hello.cluster != mine.cluster and not (hello.cluster and mine.cluster):
            return NOT_YET, "one of the two is in no cluster yet"
        if hello.cluster != mine.cluster:
            return "foreign_cluster", f"it is of cluster {hello.cluster}, not of {mine.cluster}"
        if hello.member != expected:
            return "identity", f"it says it is {hello.member}, and is {expected}"
        if hello.target != self._me:
            return "target", f"it means to talk to {hello.target}, and this is {self._me}"
        return self._admit(
            Hello(hello.cluster, hello.member, hello.incarnation, hello.address, hello.version, hello.process)
        )

    # A stream that works

    async def _carry(self, peer: _Peer, name: str, stream: PeerStream, carrier: tuple[int, int]) -> None:
        """Send what could not leave at once, until the stream ends. A newer stream takes the place of an older one."""
        lane = peer.lanes[name]
        if lane.stream is not None:
            lane.stream.close()
        lane.stream, lane.carrier, lane.rest = stream, carrier, b""
        stream.on_end = lambda: lane.filled.set()
        stream.deliver_to(self._taker(peer.id, stream))
        try:
            self._send_waiting(lane)
            while not stream.ended.is_set():
                if lane.stream is stream and lane.rest:
                    await stream.send(lane.rest)
                    lane.rest = b""
                    self._send_waiting(lane)
                else:
                    lane.filled = trio.Event()
                    await lane.filled.wait()
        except Ended:
            pass
        finally:
            if lane.stream is stream:
                lane.stream = None
                peer.away_since = trio.current_time()

    def _taker(self, peer: str, stream: PeerStream) -> Callable[[bytes], None]:
        receive, me, decode = self._receive, self._me, wire.decode

        def take(payload: bytes) -> None:
            try:
                messages = [decode(data) for data in graft_pb2.Batch.FromString(payload).messages]
                for message in messages:
                    if message.source != peer or message.target != me:
                        raise ValueError(f"a message from {message.source} to {message.target} came from {peer}")
            except (ValueError, DecodeError) as error:
                self._refused("message", f"{peer}: {error}", "", peer)
                stream._protocol.goodbye(reason="a message that is none")
                return
            receive(*messages)

        return take

    def _problem(self, peer: str, address: str) -> Callable[[str, str], None]:
        return lambda reason, text: self._refused(reason, f"{peer} at {address}: {text}", address, peer)

    def _refused(self, reason: str, text: str, address: str, identity: str = "") -> None:
        if reason == NOT_YET:
            log.debug("not yet: %s", text)
            return
        self._audit(AuditRecord(reason, text, address, identity, method="Raft/Exchange"))


def check_member(tls: Tls, cluster: str, name: str = "") -> Identity:
    """That the other end is a member, and the one called `name` unless that is empty: who it is. Raises Denied."""
    identity = identify(tls.object.getpeercert(), cluster)
    if "member" not in identity.roles:
        raise Denied(f"{identity.name} is no member, its certificate may not serve", reason="role")
    if name and identity.name != name:
        raise Denied(f"its certificate is that of {identity.name}, not of {name}", reason="identity")
    return identity


def _hello(payload: bytes) -> Any:
    """Raises Ended."""
    try:
        batch = graft_pb2.Batch.FromString(payload)
    except DecodeError:
        raise Ended("what it said first is no Hello") from None
    if not batch.HasField("hello"):
        raise Ended("what it said first is no Hello")
    return batch.hello


async def first_of(*events: trio.Event) -> None:
    """Return when one of `events` is set."""
    async with trio.open_nursery() as nursery:

        async def wait(event: trio.Event) -> None:
            await event.wait()
            nursery.cancel_scope.cancel()

        for event in events:
            nursery.start_soon(wait, event)
