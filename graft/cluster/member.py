"""One member of a cluster: the parts of this room, wired, over a transport that somebody else runs.

``graft serve`` is this with gRPC, worker hosts and a data directory (`graft.cluster.serving`); tests and the simulator
use it with other adapters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import trio

from graft import raft
from graft.cluster.changes import Changes
from graft.cluster.followers import Followers
from graft.cluster.forgetting import Forgetting
from graft.cluster.host import MAX_RESULT_BYTES, Attempts, Host, Offer
from graft.cluster.leading import Leading
from graft.cluster.leases import Lease, LeaseTimes, Renewals
from graft.cluster.post import Courier, Post
from graft.cluster.removing import Removing
from graft.cluster.room import Room
from graft.cluster.runs import Runs
from graft.cluster.starving import Starving
from graft.cluster.submitting import ClusterSubmitter
from graft.engine.commands import DrainMember, ForgetMember, MemberDown, SetClusterConfig
from graft.engine.records import ClusterConfig
from graft.errors import NoQuorum, Rejected
from graft.interfaces import Clock, Entropy, Snapshots, Store
from graft.raft.messages import Message
from graft.transport.letters import Answer, Ask, Letter

READ_SECONDS: Final = 4.0  # shorter than clients wait for an answer: they hear why, and ask another member
AGAIN_SECONDS: Final = 0.05
LET_GO_SECONDS: Final = 0.25  # between two looks for members that are none any more


class ClusterRuns(Runs):
    """The runs of the cluster as this member knows them. Writes go to the leader, wherever it is."""

    async def fresh(self, seconds: float = READ_SECONDS) -> None:
        """Return when this member knows all that was acknowledged before the call: reads are linearizable then.

        Raises NoQuorum.
        """
        door = self._host.door
        with trio.move_on_after(seconds):
            while True:
                try:
                    await door.read_index()
                    return
                except Rejected as error:
                    if error.reason == "stopping":
                        raise
                    with trio.move_on_after(AGAIN_SECONDS):
                        await door.wait_role()
        raise NoQuorum.reading(seconds, door.leader)


class ClusterMember:
    """`run` is the member's life. What the transport brings goes to `receive`.

    `limits` are those of a new cluster, if this member is the first to lead it. `located` is told where a member that
    joins is reached; `leased` until when (of `clock`) attempts may run, `stopped` how many were stopped then.
    `warned` gets lines about room in the store. For `noticed` and `told` see `Forgetting`.
    """

    def __init__(
        self,
        member: str,
        store: Store,
        snapshots: Snapshots,
        clock: Clock,
        entropy: Entropy,
        transport: Courier,
        *,
        offer: Offer,
        config: raft.Config,
        founders: Sequence[raft.Member] | None = (),
        incarnation: int | None = None,
        times: LeaseTimes | None = None,
        limits: ClusterConfig | None = None,
        log_directory: Path | None = None,
        max_result_bytes: int = MAX_RESULT_BYTES,
        strict: bool = False,
        located: Callable[[str, str], None] = lambda member, address: None,
        leased: Callable[[float], None] = lambda until: None,
        noticed: Callable[[str, str], None] = lambda member, text: None,
        told: Callable[[str], None] = lambda text: None,
        stopped: Callable[[int], None] = lambda attempts: None,
        warned: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.id = member
        self._stopped = stopped
        self.host = host = Host(
            store,
            clock,
            entropy,
            member=member,
            offer=offer,
            max_result_bytes=max_result_bytes,
            strict=strict,
            config=config,
            founders=founders,
            directory_incarnation=incarnation,
            transport=transport,
            snapshots=snapshots,
        )
        times = LeaseTimes() if times is None else times
        self.post = Post(member, host.incarnation, transport)
        self.submitter = ClusterSubmitter(host, self.post)
        host.submitter = self.submitter
        self.lease = Lease(host, self.post, clock, times, renewed=leased, ended=self._lease_ended)
        host.may_start = self.lease.may_start
        self._renewals = Renewals(host, self.post, clock, times)
        self.changes = Changes(host, self.post, located)
        self.followers = Followers(host, self.post)
        Forgetting(host.door, self.post, noticed, told)
        Starving(host.door, clock)
        self._version, self._is_new = config.max_version, False
        self._limits = ClusterConfig() if limits is None else limits
        self.room = Room(host, store, clock, self.post, warned)
        self.removing = Removing(host, log_directory)
        duties = (
            self._configure,
            host.run_decisions,
            host.run_timers,
            self._renewals.lead,
            self.room.lead,
            self.removing.lead,
        )
        self._leading = Leading(host, duties)
        self.runs = ClusterRuns(host, log_directory)

    def _lease_ended(self) -> None:
        self._stopped(self.host.running)
        self.host.lose_attempts()

    async def _configure(self) -> None:
        """What the log lacks while this member leads.

        A new cluster has no limits yet: those of its first leader's settings it shall be. It begins with the newest
        version that its founders understand, because there is no older program to go back to. And the state may know
        members that the cluster has not: one was removed, or the state comes from `graft run`, from a backup, or from
        a cluster that lost most.
        """
        host = self.host
        if host.engine.state.meta.config is None:
            self._is_new = True
            await host.propose(SetClusterConfig(self._limits, **host.stamp()))
        while True:
            if self._is_new and host.door.version < self._version:
                with suppress(Rejected):  # a founder was not heard yet, or understands less: then an operator decides
                    await host.door.raise_version(self._version)
            known = {each.id for each in self.configuration.members}
            for member in sorted(set(host.engine.state.members) - known):
                await self._let_go(member)
            await trio.sleep(LET_GO_SECONDS)

    async def _let_go(self, member: str) -> None:
        """Forget a member that is none any more. Its attempts may run as long as its lease, which nobody renews."""
        host = self.host
        record = host.engine.state.members[member]
        if record.live and not record.draining:
            await host.propose(DrainMember(member, True, **host.stamp()))
        if not (record.live and host.engine.state.attempts.get(member)):
            await host.propose(ForgetMember(member, **host.stamp()))

    @property
    def incarnation(self) -> int:
        """Of the data directory: by it Raft tells this member from one of the same name that lost its disk."""
        return self.host.door.identity.incarnation

    @property
    def configuration(self) -> raft.Configuration:
        """Who is in the cluster, as far as this member knows."""
        return self.host.door.configuration

    def has(self, member: str) -> bool:
        """Whether it is in the cluster, as far as this member knows."""
        return self.configuration.find(member) is not None

    async def offer(self, offer: Offer) -> None:
        """Register what this member has to offer from now on. Raises Rejected."""
        self.host.offer = offer
        await self.submitter.request(self.host.registration())

    async def say_goodbye(self, seconds: float) -> None:
        """Tell the others that this incarnation is no more, so that nobody waits for its lease. It has no attempts any
        more, and gets none. Raises Rejected, NoQuorum."""
        self.lease.leave()
        await self.submitter.request(MemberDown(self.id, self.host.incarnation), seconds)

    def receive(self, *messages: Message | Letter) -> None:
        """Never waits, though it may write; on the Trio thread."""
        for_door: list[Message] = []
        for message in messages:
            if isinstance(message, (Ask, Answer)):
                self.post.receive(message)
            else:
                for_door.append(message)
        self.host.door.receive(*for_door)  # also for what the letters proposed

    async def run(self, worker: Attempts, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled; started when the member is registered. Raises what the store raises."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.host.door.run)
            self.host.serve(worker)
            nursery.start_soon(self.submitter.run)
            nursery.start_soon(self._leading.run)
            nursery.start_soon(self.changes.run)
            nursery.start_soon(self.room.run)
            await nursery.start(self.lease.run)
            nursery.start_soon(self.removing.run)  # registered: the state has all that this member ever ran
            task_status.started()
