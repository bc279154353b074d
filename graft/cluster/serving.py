"""One member as a process: a data directory, a server, worker hosts, and the member between them (`graft serve`).

The order of a start: hold the directory; know who it is; listen, so that others can ask; found or join a cluster if the
directory belongs to none; run the member. The order of a stop: give up leading and new work; wait for the steps, for
a while; stop what is left of them and say that it is lost, so that others begin it at once; close.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio
from attrs import evolve

from graft import raft
from graft.cluster.chronicle import Chronicle, standing
from graft.cluster.history import LOGS
from graft.cluster.host import Offer
from graft.cluster.identity import (
    FILE,
    LOST_HINT,
    Identity,
    belong,
    check_name,
    check_whole,
    cluster_id,
    forgotten,
    load_identity,
    save_identity,
)
from graft.cluster.leases import LeaseTimes
from graft.cluster.meeting import ADDRESS, EMPTY_HINT, MAX_ADDRESS, Meeting, duplicated, joiner
from graft.cluster.member import ClusterMember
from graft.cluster.operators import ClusterOperators
from graft.cluster.pages import MemberPages
from graft.cluster.services import ClusterService, Workflows
from graft.cluster.system import SystemClock, SystemEntropy
from graft.config import Settings
from graft.engine.commands import CLUSTER_VERSION, DrainMember
from graft.engine.records import ClusterConfig
from graft.errors import GraftError, NotReady, Rejected, StoreCorrupt, UsageError
from graft.interfaces import Store
from graft.observability import open_pages
from graft.raft.messages import Message
from graft.raft_driver import adopt, is_of_many, sole_member
from graft.security.audit import Audit, AuditRecord
from graft.security.own import check_own
from graft.security.sealing import KEY_FILE, Sealer
from graft.security.tls import ClientSecurity, ServerSecurity, TlsFiles
from graft.storage import SnapshotDirectory, open_store
from graft.transport.calls import Caller, Services
from graft.transport.health import Health
from graft.transport.letters import Letter
from graft.transport.limits import Limits
from graft.transport.peers import Hello, PeerHub
from graft.transport.proto import graft_pb2
from graft.transport.server import Server, open_server
from graft.worker import HostedWorker, HostSettings, open_hosted_worker
from graft.worker.guardian import boottime
from graft.worker.settings import WorkerSettings

SOCKET: Final = "socket"
SNAPSHOTS: Final = "snapshots"
LOOK_SECONDS: Final = 0.5  # how often the members' addresses are looked at
WAIT_SECONDS: Final = 10.0
PLACE_SECONDS: Final = 1.0  # to ask the leader before it is said of a directory that it has no place
ANNOUNCE_SECONDS: Final = 2.0
HAND_OVER_SECONDS: Final = 5.0
LOSE_SECONDS: Final = 10.0
GOODBYE_SECONDS: Final = 3.0
MAX_LEASE_GRACE: Final = 0.5  # what steps have to end by themselves before the guardian kills them

Tell = Callable[[str], None]
Peers = Callable[[], Iterable[str]]


class Serving:
    """A member that runs. `stop` begins its graceful end, after which the block of `open_serving` can be left."""

    def __init__(self, settings: Settings, identity: Identity, tell: Tell) -> None:
        self.settings, self.identity = settings, identity
        self._tell = tell
        self.member: ClusterMember | None = None
        self.server: Server | None = None
        self.pages: tuple[str, ...] = ()  # where it answers HTTP
        self.operators: ClusterOperators | None = None
        self.health = Health(serving=False)
        self.handlers: dict[str, Mapping[str, Any]] = {}
        self.address = settings.transport.advertise_address
        self.process = SystemEntropy().u64() | 1  # never 0, which means that a member does not say
        self.takes_part = False  # it is registered, and runs steps
        self._twin, self._has_twin = "", trio.Event()
        self._forgot, self._has_forgotten = "", trio.Event()
        self.waits_for = ""  # before it takes part in a cluster

    # Between the transport and the member

    def hello(self) -> Hello:
        identity = self.identity
        return Hello(identity.cluster, identity.member, identity.incarnation, self.address, VERSION, self.process)

    def duplicated(self, why: str) -> None:
        self._twin = self._twin or why
        self._has_twin.set()

    async def end_when_duplicated(self) -> None:
        """Raises UsageError when another process has this data directory, too."""
        await self._has_twin.wait()
        raise duplicated(self.identity.member, self._twin)

    def told_to_have_forgotten(self, why: str) -> None:
        self._forgot = self._forgot or why
        self._has_forgotten.set()

    async def end_when_forgotten(self, directory: Path) -> None:
        """Raises StorageError when the leader says that this directory has lost what it acknowledged."""
        await self._has_forgotten.wait()
        self.identity = evolve(self.identity, forgot=self._forgot)
        await trio.to_thread.run_sync(save_identity, directory, self.identity)
        raise forgotten(self._forgot)

    async def place_of(self, member: str, incarnation: int) -> str:
        """Why a data directory of this cluster has no place in it any more; "" if it may have one.

        Only what the leader confirmed counts: to a member that lags, one that just came is the stranger.
        """
        me = self.member
        if me is None or _has_place(me, member, incarnation):
            return ""
        try:
            await me.runs.fresh(PLACE_SECONDS)
        except Rejected:
            return ""
        found = me.host.door.status()
        if _has_place(me, member, incarnation) or found.configuration_index > found.applied:
            return ""
        if me.has(member):
            return f"another data directory has taken the place of {member}: wipe this one"
        return f"{member} was removed from the cluster"

    def tell_stopped(self, attempts: int) -> None:
        self._tell(f"the lease is over: {attempts or 'no'} steps were stopped, and none begin until it holds one again")

    def receive(self, *messages: Message | Letter) -> None:
        if self.member is not None:
            self.member.receive(*messages)

    def heard(self, hub: PeerHub, member: str, address: str) -> None:
        """A member says that it is there. One that has not registered yet is reached where it says: the leader that
        took it in may have fallen, and the next one was never told."""
        me = self.member
        is_new = me is not None and member not in known_addresses(me) and me.has(member)
        if is_new and len(address) <= MAX_ADDRESS and ADDRESS.fullmatch(address):
            hub.set_address(member, address)
        hub.hurry(member)

    def services(self) -> Services:
        """Every method of the contract, answered by whoever is there when it is called."""
        found: dict[str, dict[str, Any]] = {}
        for service in ("Cluster", "Workflows"):
            methods = graft_pb2.DESCRIPTOR.services_by_name[service].methods
            found[service] = {
                method.name: partial(self._stream if method.server_streaming else self._call, service, method.name)
                for method in methods
            }
        return found

    def _handler(self, service: str, method: str) -> Any:
        handler = self.handlers.get(service, {}).get(method)
        if handler is None:
            why = f": {self.waits_for}" if self.waits_for else ""
            raise NotReady(f"{self.identity.member} does not take part in a cluster yet{why}", hint="try again")
        return handler

    async def _call(self, service: str, method: str, request: Any, caller: Caller) -> Any:
        return await self._handler(service, method)(request, caller)

    async def _stream(self, service: str, method: str, request: Any, caller: Caller) -> AsyncGenerator[Any, None]:
        async with aclosing(self._handler(service, method)(request, caller)) as replies:
            async for reply in replies:
                yield reply  # noqa: ASYNC119 - the transport closes it

    def wait_for(self, what: str) -> None:
        """Say it to the operator, and to whoever asks for something meanwhile."""
        self.waits_for = what
        self._tell(what)

    def unready(self) -> list[str]:
        """What is missing before clients should ask this member and steps begin here, in words; none: it is ready."""
        me = self.member
        if me is None:
            why = f": {self.waits_for}" if self.waits_for else ""
            return [f"{self.identity.member} does not take part in a cluster yet{why}"]
        if me.host.is_stopping:
            return [f"{me.id} is stopping"]
        if not self.takes_part:
            return [_waits_for(me)]
        if me.host.door.leader is None:
            return ["no leader is known: there is no quorum"]
        return [] if me.lease.may_start() else [f"{me.id} holds no lease: no steps begin here"]

    # The end

    async def stop(self) -> None:
        """Hand over what others can do. Never raises what has to do with the others: it stops anyway."""
        member = self.member
        if member is None:
            return
        self.health.set(False)
        member.host.begin_stop()
        timeout = float(self.settings.engine.drain_timeout)
        is_told = False
        with trio.move_on_after(HAND_OVER_SECONDS):
            try:
                command = DrainMember(member.id, True, member.host.incarnation)
                await member.submitter.request(command)
                is_told = True
                if member.host.door.leads and len(member.configuration.members) > 1:
                    await member.changes.transfer(None)
            except GraftError as error:
                self._tell(f"stopping without a hand-over: {error.message}")
        if member.host.running:
            self._tell(f"waiting up to {timeout:g} s for {member.host.running} steps")
        with trio.move_on_after(timeout):
            await member.host.wait_idle()
        with trio.move_on_after(LOSE_SECONDS):
            member.host.lose_attempts()
            await member.host.wait_idle()
            await member.submitter.flushed()
        if is_told and not member.host.running and len(member.configuration.members) > 1:
            try:
                await member.say_goodbye(GOODBYE_SECONDS)
            except GraftError as error:
                self._tell(f"the others learn of the end when the lease is over: {error.message}")


@asynccontextmanager
async def open_serving(
    settings: Settings,
    *,
    peers: Peers,
    tell: Tell,
    audit: Audit,
    reached: Callable[[str], None] = lambda address: None,
    environ: Mapping[str, str] = os.environ,
) -> AsyncIterator[Serving]:
    """A member that takes part in its cluster, until the block is left.

    `peers` gives the addresses that discovery knows now; `tell` gets lines for the operator. `reached` is told once
    where others reach this member, when it listens and before it asks anybody. Entering waits until there is a cluster.
    Raises storage errors, UsageError for settings that cannot be, OSError for an address in use.
    """
    directory = Path(settings.storage.directory)
    store = open_store(directory, quota_bytes=int(settings.storage.quota), map_bytes=int(settings.storage.map_size))
    try:
        identity = identify(directory, store, settings)
        serving = Serving(settings, identity, tell)
        limits = limits_of(settings)
        files = tls_files(settings)
        name = settings.service_name
        if files is not None:
            check_own(files, name, identity.member)
        client = None if files is None else ClientSecurity(files, name)
        server_side = None if files is None else ServerSecurity(files, name)
        hub = PeerHub(
            identity.member,
            serving.receive,
            hello=serving.hello,
            entropy=SystemEntropy(),
            security=client,
            limits=limits,
            audit=audit,
            duplicated=serving.duplicated,
        )
        async with open_server(
            serving.services(),
            listen=listeners(settings, directory),
            security=server_side,
            limits=limits,
            peers=hub,
            health=serving.health,
            audit=audit,
            plaintext_anywhere=settings.security.force_plaintext,
        ) as server:
            serving.server = server
            serving.address = serving.address or server.addresses[0]
            tell(f"{identity.member} listens on {', '.join(server.addresses)}")
            reached(serving.address)
            async with (
                _open_pages(serving, MemberPages(serving, store, hub)),
                _open_member(serving, store, directory, hub, client, peers, audit),
            ):
                yield serving
    finally:
        store.close()


@asynccontextmanager
async def _open_pages(serving: Serving, pages: MemberPages) -> AsyncIterator[None]:
    """Over HTTP, if the settings say where. Before the member takes part: probes ask what it waits for."""
    where = serving.settings.observability.http_listen
    if not where:
        yield
        return
    host, _, port = where.rpartition(":")
    async with open_pages(host.strip("[]"), int(port), pages.by_path()) as addresses:
        serving.pages = addresses
        serving._tell(f"{serving.identity.member} answers HTTP on {', '.join(addresses)}: {', '.join(pages.by_path())}")
        yield


@asynccontextmanager
async def _open_member(
    serving: Serving,
    store: Store,
    directory: Path,
    hub: PeerHub,
    client: ClientSecurity | None,
    peers: Peers,
    audit: Audit,
) -> AsyncIterator[None]:
    settings, tell = serving.settings, serving._tell
    snapshots = SnapshotDirectory(directory / SNAPSHOTS)
    clock = SystemClock()
    role = "voter" if "voter" in settings.resources.roles else "executor"
    meeting = _meeting(serving, directory, hub, client, audit)
    serving.handlers["Cluster"] = {"Probe": meeting.probe}
    addresses: dict[str, str] = {}
    if not serving.identity.cluster:
        serving.identity, addresses = await meeting.settle(peers, role, serving.wait_for)
        serving.waits_for = ""
        await meeting.save()
    member = ClusterMember(
        serving.identity.member,
        store,
        snapshots,
        clock,
        SystemEntropy(),
        hub,
        offer=offer_of(settings, serving.address),
        config=raft_config(settings),
        founders=serving.identity.founders,
        incarnation=serving.identity.incarnation,
        times=LeaseTimes(settings.engine.lease, settings.engine.grace, settings.engine.clock_drift),
        limits=cluster_limits(settings),
        log_directory=directory / LOGS,
        max_result_bytes=int(settings.engine.max_result_size),
        located=hub.set_address,
        leased=lambda until: worker.lease(boottime() + until - clock.monotonic()),
        noticed=lambda member, text: audit(AuditRecord("forgotten", text, identity=member)),
        told=serving.told_to_have_forgotten,
        stopped=serving.tell_stopped,
        warned=tell,
    )
    member.host.values.sealer = Sealer(settings.security.secrets_key.reveal(), directory / KEY_FILE)
    for id, address in addresses.items():
        hub.set_address(id, address)
    worker: HostedWorker
    async with open_hosted_worker(host_settings(settings, directory)) as worker, trio.open_nursery() as nursery:
        serving.member = member
        nursery.start_soon(serving.end_when_duplicated)
        nursery.start_soon(serving.end_when_forgotten, directory)
        nursery.start_soon(_locate, member, hub)
        nursery.start_soon(_announce, serving, member, meeting, peers)
        _offer_services(serving, member, meeting, store, directory, nursery)
        async with trio.open_nursery() as starting:
            starting.start_soon(_tell_waiting, member, meeting.strangers, tell)
            await nursery.start(member.run, worker)
            starting.cancel_scope.cancel()
        serving.takes_part = True
        serving.health.set(True)
        tell(f"{member.id} takes part in the cluster {serving.identity.cluster}")
        try:
            nursery.start_soon(_chronicle, member, tell)
            yield
        finally:
            serving.health.set(False)
            member.host.stop_serving()
        nursery.cancel_scope.cancel()


def _meeting(serving: Serving, directory: Path, hub: PeerHub, client: ClientSecurity | None, audit: Audit) -> Meeting:
    settings = serving.settings
    return Meeting(
        serving.identity,
        settings.service_name,
        serving.address,
        founders=settings.discovery.initial_set(),
        expect=settings.discovery.expect,
        version=VERSION,
        security=client,
        leader=lambda: None if serving.member is None else serving.member.host.door.leader,
        heard=partial(serving.heard, hub),
        keep=partial(save_identity, directory),
        process=serving.process,
        twin=hub.twin_of,
        audit=audit,
        roles=settings.resources.roles,
        place=serving.place_of,
    )


def _offer_services(
    serving: Serving,
    member: ClusterMember,
    meeting: Meeting,
    store: Store,
    directory: Path,
    nursery: trio.Nursery,
) -> None:
    async def invite(address: str, role: str) -> str:
        reply = await meeting.ask(address, role)
        return str(reply.member)

    operators = serving.operators = ClusterOperators(member, serving.identity.cluster, store, directory, invite)
    join = joiner(meeting, member.changes.join, lambda: known_addresses(member) | {member.id: serving.address})
    serving.handlers["Cluster"] = {**ClusterService(operators).handlers(), "Probe": meeting.probe, "Join": join}
    workflows = Workflows(member.runs, nursery, member=member.id, fresh=member.runs.fresh)
    serving.handlers["Workflows"] = workflows.handlers()


def known_addresses(member: ClusterMember) -> dict[str, str]:
    """Where members said that they are reached."""
    return {each.id: each.address for each in member.host.engine.state.members.values() if each.address}


async def _chronicle(member: ClusterMember, tell: Tell) -> None:
    chronicle = Chronicle(standing(member))
    while True:
        for line in chronicle.look(trio.current_time(), standing(member)):
            tell(line)
        await trio.sleep(LOOK_SECONDS)


def _has_place(me: ClusterMember, member: str, incarnation: int) -> bool:
    found = me.configuration.find(member)
    return found is not None and found.incarnation == incarnation


async def _announce(serving: Serving, member: ClusterMember, meeting: Meeting, peers: Peers) -> None:
    """Say that this one is there: until it takes part, and while it finds no leader. Raises UsageError: see
    `Meeting.announce`."""
    while True:
        if not serving.takes_part or member.host.door.leader is None:
            await meeting.announce({*peers(), *known_addresses(member).values()})
        await trio.sleep(ANNOUNCE_SECONDS)


async def _locate(member: ClusterMember, hub: PeerHub) -> None:
    """Keep the transport's addresses as the members registered them. Raises UsageError when this one was removed.

    One that joins reads the log from its beginning, in which it is no member for a long time.
    """
    was_in = False
    while True:
        members = {each.id for each in member.configuration.members}
        if was_in and member.id not in members:
            raise UsageError(f"{member.id} was removed from the cluster", hint=EMPTY_HINT)
        was_in = member.id in members
        for id, address in known_addresses(member).items():
            hub.set_address(id, address)
        await trio.sleep(LOOK_SECONDS)


async def _tell_waiting(member: ClusterMember, strangers: Mapping[str, str], tell: Tell) -> None:
    """Why it takes long to take part."""
    while True:
        await trio.sleep(WAIT_SECONDS)
        tell("; ".join([_waits_for(member), *_foreign(strangers)]))


def _foreign(strangers: Mapping[str, str]) -> list[str]:
    """This member never ends by it: whoever shows it another cluster could stop it."""
    found = sorted(strangers.values())
    return [*found, f"two clusters never merge; if this directory is of the old one, {EMPTY_HINT}"] if found else []


def _waits_for(member: ClusterMember) -> str:
    members = [each.id for each in member.configuration.members]
    others = ", ".join(each for each in members if each != member.id)
    leader = member.host.door.leader
    if leader is not None:
        return f"waiting for the leader, {leader}"
    if members and member.id not in members:
        return (
            f"waiting for a leader; {member.id} is not one of the members ({others}): if it was removed, {EMPTY_HINT}"
        )
    return f"waiting for a leader; members: {others}"


# Who the directory is


def identify(directory: Path, store: Store, settings: Settings) -> Identity:
    """Who this directory is. One that `graft run` or `graft restore` made becomes the only member of a new cluster."""
    identity = load_identity(directory)
    if identity is None and is_of_many(store):
        raise StoreCorrupt(f"{directory / FILE} is missing", hint=LOST_HINT)
    if identity is None or not (identity.cluster or _is_empty(store)):  # `graft run` used it while it was in no cluster
        identity = _new_identity(store, settings)
        save_identity(directory, identity)
    check_name(identity, settings.node_id, directory)
    check_whole(identity)
    return identity


def _is_empty(store: Store) -> bool:
    return store.hard_state() is None and not store.bounds().applied


def _new_identity(store: Store, settings: Settings) -> Identity:
    if store.hard_state() is not None:
        incarnation = sole_member(store).incarnation
        adopt(store, settings.node_id)
    else:
        incarnation = SystemEntropy().u64() >> 1
    identity = Identity(settings.node_id, incarnation)
    if _is_empty(store):
        return identity  # it finds its cluster, or founds one with others
    founder = raft.Member(identity.member, incarnation, "voter")
    return belong(identity, cluster_id(settings.service_name, [founder]), [founder])


# What the settings mean for the parts


def tls_files(settings: Settings) -> TlsFiles | None:
    security = settings.security
    if security.plaintext:
        return None
    return TlsFiles(
        Path(security.cert_file),
        Path(security.key_file),
        Path(security.ca_file),
        security.tls_min_version,  # type: ignore[arg-type]
        security.ciphers,
        security.tls_max_version,  # type: ignore[arg-type]
        security.key_password.reveal(),
    )


def listeners(settings: Settings, directory: Path) -> list[str]:
    transport = settings.transport
    host = f"[{transport.listen_host}]" if ":" in transport.listen_host else transport.listen_host
    return [f"{host}:{transport.listen_port}", f"unix:{directory / SOCKET}", *transport.client_listen]


def limits_of(settings: Settings) -> Limits:
    transport = settings.transport
    return Limits(
        max_message_bytes=int(transport.max_message_size),
        compress_from_bytes=int(transport.compress_above) if transport.compression == "gzip" else 1 << 62,
        max_connections=transport.max_connections,
        max_streams=transport.max_calls,
        handshake_seconds=transport.connect_timeout,
        connect_seconds=transport.connect_timeout,
        call_seconds=transport.call_timeout,
        idle_seconds=transport.idle_timeout,
        keepalive_seconds=transport.keepalive_interval,
        keepalive_timeout_seconds=transport.keepalive_timeout,
        backoff_seconds=transport.reconnect_min,
        max_backoff_seconds=transport.reconnect_max,
        breaker_failures=transport.breaker_failures,
    )


def raft_config(settings: Settings) -> raft.Config:
    engine = settings.engine
    return raft.Config(
        id="",
        election_timeout_seconds=engine.election_timeout,
        heartbeat_seconds=engine.heartbeat,
        rpc_timeout_seconds=engine.rpc_timeout,
        max_clock_drift=engine.clock_drift,
        retain_entries=settings.storage.keep_log_entries,
        snapshot_chunk_bytes=int(settings.storage.snapshot_chunk),
        max_entry_bytes=int(settings.transport.max_message_size) // 2,
        max_version=VERSION,
    )


def cluster_limits(settings: Settings) -> ClusterConfig:
    engine = settings.engine
    return ClusterConfig(
        max_runs=engine.max_concurrent_workflows,
        attempt_timeout_ms=int(engine.node_execution_timeout * 1000),
        retry_attempts=engine.retry_attempts,
        retry_backoff_ms=int(engine.retry_backoff * 1000),
    )


def offer_of(settings: Settings, address: str) -> Offer:
    resources = settings.resources
    slots = resources.kinds() if "executor" in resources.roles else (("*", 0),)
    return Offer(slots, address, dict(resources.labels), (), resources.zone, VERSION)


def host_settings(settings: Settings, directory: Path) -> HostSettings:
    resources, engine = settings.resources, settings.engine
    return HostSettings(
        WorkerSettings(
            log_dir=directory / LOGS, grace_ms=int(engine.stop_grace * 1000), thread_limit=resources.threads
        ),
        hosts=resources.worker_processes or min(4, os.cpu_count() or 1),
        lease_grace_ms=int(min(MAX_LEASE_GRACE, engine.grace / (1 + engine.clock_drift)) * 1000),
        user=resources.worker_user or None,
        pass_environment=resources.worker_environment,
    )


VERSION: Final = CLUSTER_VERSION
"""The newest cluster version that this program understands."""
