"""Members that ask each other who they are, before there is a cluster and when one joins it (`bootstrap` decides).

A question tells as much about the asker as the answer does about the other, so both learn. A member that waits to be
found (`graft member add`) thereby hears of the cluster that wants it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Any, Final, NoReturn

import trio
from attrs import evolve

from graft import raft
from graft.cluster import bootstrap
from graft.cluster.bootstrap import Found, Join, Seen, Wait
from graft.cluster.identity import Identity, belong
from graft.config import settings
from graft.errors import Denied, GraftError, Rejected, Unreachable, UsageError
from graft.security.audit import Audit, AuditRecord
from graft.security.tls import ClientSecurity
from graft.transport.calls import Caller
from graft.transport.channel import open_channel
from graft.transport.proto import graft_pb2 as pb

ASK_SECONDS: Final = 2.0
JOIN_SECONDS: Final = 35.0
AGAIN_SECONDS: Final = 0.2
MAX_INCARNATION: Final = (1 << 63) - 1
MEMBER: Final = re.compile(settings.NAME)
ADDRESS: Final = re.compile(settings.ADDRESS)
MAX_ADDRESS: Final = 300  # characters
TELL_SECONDS: Final = 5.0  # between two lines that say the same

RECORD_SECONDS: Final = 60.0  # between two records of the same refusal: who is refused asks again at once

DUPLICATE: Final = "duplicate"
NO_PLACE: Final = "no_place"
EMPTY_HINT: Final = "with an empty data directory it can join again"
COPY_HINT: Final = (
    "stop the process of the copy; it can join with an empty data directory and a node_id of its own. If the one that "
    "runs is the copy, stop that one instead"
)

Peers = Callable[[], Iterable[str]]
Twin = Callable[[str, int, int], Awaitable[str]]
"""Of (member, incarnation, process): why another process has that data directory; "" if none does."""


Place = Callable[[str, int], Awaitable[str]]
"""Of (member, incarnation): why that data directory has no place in this cluster any more; "" if it may have one."""


async def nobody(member: str, incarnation: int, process: int) -> str:
    await trio.lowlevel.checkpoint()
    return ""


async def anywhere(member: str, incarnation: int) -> str:
    await trio.lowlevel.checkpoint()
    return ""


def duplicated(member: str, why: str) -> UsageError:
    """What ends a process that runs with a data directory that another one has."""
    return UsageError(f"{member} runs already, with the same data directory: {why}", hint=COPY_HINT)


def founder_texts(founders: Iterable[raft.Member]) -> list[str]:
    return [f"{each.id}={each.incarnation}" for each in founders]


def read_founders(texts: Iterable[str]) -> tuple[raft.Member, ...]:
    """Raises UsageError for what another member cannot have meant."""
    found = []
    for text in texts:
        id, _, incarnation = text.rpartition("=")
        if not id or not incarnation.isascii() or not incarnation.isdigit():
            raise UsageError(f"{text!r} names no founder")
        found.append(raft.Member(id, int(incarnation)))
    return tuple(found)


class Meeting:
    """Of one member. `address` is where it is reached, `name` that of the cluster in the settings.

    `heard` is told of a member of this cluster that says that it is there, and at which address. `keep` writes the
    identity to the disk, and blocks. `process` is the number of this process (see `Hello`); `twin` says whether another
    one has the data directory of somebody who asks, `place` whether the cluster has a place for it. `roles` are those
    of the settings: what this member may be. `strangers` are members of other clusters that answered when they were
    asked, in words.

    Whatever is said counts only as of the member whose certificate came with it.
    """

    def __init__(
        self,
        identity: Identity,
        name: str,
        address: str,
        *,
        founders: tuple[str, ...],
        expect: int,
        version: int,
        security: ClientSecurity | None,
        leader: Callable[[], str | None] = lambda: None,
        heard: Callable[[str, str], None] = lambda member, address: None,
        keep: Callable[[Identity], None] = lambda identity: None,
        process: int = 0,
        twin: Twin = nobody,
        audit: Audit = lambda record: None,
        roles: Collection[str] = ("voter", "executor"),
        place: Place = anywhere,
    ) -> None:
        self.identity = identity
        self._name, self._address, self._version = name, address, version
        self._founders, self._expect = founders, expect
        self._security, self._leader, self._heard = security, leader, heard
        self._seen: dict[str, Seen] = {}
        self._keep, self._keeping = keep, trio.Lock()
        self._process, self._twin, self._audit = process, twin, audit
        self._roles, self._invited_as = roles, ""
        self._place = place
        self._recorded: dict[str, float] = {}  # refusals: when
        self.strangers: dict[str, str] = {}  # by address

    async def save(self) -> None:
        """Write the identity as it is now. Raises StorageError."""
        async with self._keeping:
            await trio.to_thread.run_sync(self._keep, self.identity)

    # What others ask

    async def probe(self, request: Any, caller: Caller) -> Any:
        """Who this is. Raises UsageError for members of a cluster of another name, Denied for one that is not who it
        says, Rejected for a member that another process is, too, or whose place another directory has."""
        self._check(request, caller)
        await self._check_alone(request, caller)
        await self._check_place(request)
        self._take_invitation(request.role)
        if not self.identity.cluster and request.member != self.identity.member:
            self._saw(request)
        if self.identity.cluster and request.cluster == self.identity.cluster:
            self._heard(request.member, request.address)
        founders = await self._agreed()
        return pb.ProbeReply(
            member=self.identity.member,
            incarnation=self.identity.incarnation,
            cluster=self.identity.cluster,
            founders=founder_texts(founders),
            version=self._version,
            leader=self._leader() or "",
            state="running" if self.identity.cluster else "founding" if founders else "empty",
            address=self._address,
            process=self._process,
        )

    async def _check_alone(self, request: Any, caller: Caller) -> None:
        same = (request.member, request.incarnation) == (self.identity.member, self.identity.incarnation)
        if same and request.process and self._process not in (0, request.process):
            why = f"{self.identity.member} at {self._address} is another process with this data directory"
        elif self.identity.cluster and request.cluster == self.identity.cluster:
            why = await self._twin(request.member, request.incarnation, request.process)
        else:
            return
        if why:
            self._audit(AuditRecord(DUPLICATE, why, caller.address, caller.identity, method="Cluster/Probe"))
            raise Rejected(why, reason=DUPLICATE, hint=COPY_HINT)

    async def _check_place(self, request: Any) -> None:
        if self.identity.cluster and request.cluster == self.identity.cluster:
            why = await self._place(request.member, request.incarnation)
            if why:
                raise Rejected(why, reason=NO_PLACE, hint=EMPTY_HINT)

    def _take_invitation(self, role: str) -> None:
        """`graft member add --role`: only as what the settings allow. Raises UsageError."""
        if not role or self.identity.cluster:
            return
        if role not in self._roles:
            allowed = " and ".join(sorted(self._roles))
            raise UsageError(
                f"{self.identity.member} cannot join as {role}: its settings make it {allowed}",
                hint=f"`resources.roles` in the settings of {self.identity.member} says what it may be",
            )
        self._invited_as = role

    def _check(self, request: Any, caller: Caller) -> None:
        if request.cluster_name != self._name:
            raise UsageError(
                f"{request.member} is of a cluster called {request.cluster_name}, this one is called {self._name}",
                hint="service_name has to be the same on all members",
            )
        if MEMBER.fullmatch(request.member) is None or not 0 < request.incarnation <= MAX_INCARNATION:
            raise UsageError(f"{request.member[:80]!r}, {request.incarnation} cannot be a member and its incarnation")
        if caller.identity and caller.identity != request.member:
            self._impostor(f"{caller.identity} says that it is {request.member}", caller.address, caller.identity)

    def _impostor(self, text: str, address: str, identity: str) -> NoReturn:
        now = trio.current_time()
        if now - self._recorded.get(text, -math.inf) >= RECORD_SECONDS:
            self._recorded = {text: at for text, at in self._recorded.items() if now - at < RECORD_SECONDS}
            self._recorded[text] = now
            self._audit(AuditRecord("identity", text, address, identity, method="Cluster/Probe"))
        raise Denied(text, reason="identity", hint="each member needs a certificate of its own name")

    def _saw(self, said: Any) -> None:
        self._seen[said.member] = Seen(
            said.member, said.incarnation, said.address, said.cluster, read_founders(said.founders)
        )

    def _proposal(self) -> tuple[raft.Member, ...]:
        if self.identity.cluster:
            return self.identity.founders
        return bootstrap.propose(self.identity, self._founders, self._expect, self._seen)

    async def _agreed(self) -> tuple[raft.Member, ...]:
        """The proposal as it may be told: with the names written down, so that a restart changes nothing about it."""
        if self._proposal() and self._founders and not self.identity.cluster and not self.identity.agreed:
            async with self._keeping:
                if not self.identity.cluster:
                    agreed = tuple(sorted(self._founders))
                    await trio.to_thread.run_sync(self._keep, evolve(self.identity, agreed=agreed))
                    self.identity = evolve(self.identity, agreed=agreed)
        return self._proposal()

    # What this member asks

    async def ask(self, address: str, role: str = "") -> Any:
        """The answer of whoever is there; with `role` it is invited to join as one. Raises Unreachable, UsageError,
        Denied (also when its certificate is not that of the member that it says it is), Rejected."""
        request = pb.ProbeRequest(
            cluster_name=self._name,
            member=self.identity.member,
            incarnation=self.identity.incarnation,
            founders=founder_texts(await self._agreed()),
            cluster=self.identity.cluster,
            address=self._address,
            process=self._process,
            role=role,
        )
        async with open_channel(address, security=self._security) as channel:
            reply = await channel.call("Cluster", "Probe", request, timeout=ASK_SECONDS)
        if channel.peer not in ("", reply.member):
            text = f"it says that it is {reply.member[:80]}, and its certificate is that of {channel.peer}"
            self._impostor(text, address, channel.peer)
        return reply

    async def announce(self, addresses: Iterable[str]) -> None:
        """Tell members that this one is back: they may be waiting to dial it, the longer the longer it was away.

        Raises UsageError when another process has this data directory, too, and when the cluster goes on without it.
        """
        await self._ask_all([each for each in set(addresses) if each != self._address])

    async def settle(self, peers: Peers, role: str, tell: Callable[[str], None]) -> tuple[Identity, dict[str, str]]:
        """Found a cluster with others, or join one: the identity that came of it, and where members are.

        Looks until it succeeds; `tell` is told now and then what it waits for. Raises UsageError where that is in
        vain: two clusters, a join that was refused for good, or another process with this data directory.
        """
        told, told_at = "", -TELL_SECONDS
        while True:
            problems = await self._ask_all([each for each in peers() if each != self._address])
            decision = bootstrap.decide(self.identity, self._name, self._founders, self._expect, self._seen)
            if isinstance(decision, Found):
                self.identity = belong(self.identity, decision.cluster, decision.founders)
                return self.identity, {each.member: each.address for each in self._seen.values()}
            if isinstance(decision, Join):
                why = await self._join(decision, self._invited_as or role)
                if not isinstance(why, str):
                    return self.identity, why
            else:
                assert isinstance(decision, Wait)
                why = "; ".join([decision.why, *problems])
            if why != told or trio.current_time() - told_at >= TELL_SECONDS:
                tell(why)
                told, told_at = why, trio.current_time()
            await trio.sleep(AGAIN_SECONDS)

    async def _ask_all(self, addresses: list[str]) -> list[str]:
        """Ask everybody at once; what went wrong, in words. Raises UsageError: see `duplicated`."""
        problems: list[str] = []
        twins: list[str] = []
        lost: list[str] = []

        async def ask(address: str) -> None:
            try:
                reply = await self.ask(address)
                if reply.member == self.identity.member:  # an address of our own, under another name?
                    if reply.incarnation != self.identity.incarnation:
                        problems.append(f"{address}: it is {reply.member}, too, with another data directory")
                    elif self._process and reply.process not in (0, self._process):
                        twins.append(f"the process at {address} says so")
                    return
                self._saw(reply)
                self._note_stranger(reply, address)
            except GraftError as error:
                if isinstance(error, Rejected) and error.reason == DUPLICATE:
                    twins.append(error.message)
                if isinstance(error, Rejected) and error.reason == NO_PLACE:
                    lost.append(error.message)
                self._seen = {name: seen for name, seen in self._seen.items() if seen.address != address}
                problems.append(_named(address, error.message))

        async with trio.open_nursery() as nursery:
            for address in addresses:
                nursery.start_soon(ask, address)
        if twins:
            raise duplicated(self.identity.member, min(twins))
        if lost:
            raise UsageError(min(lost), hint=EMPTY_HINT)
        return sorted(problems)

    def _note_stranger(self, reply: Any, address: str) -> None:
        self.strangers.pop(address, None)
        if self.identity.cluster and reply.cluster not in ("", self.identity.cluster):
            self.strangers[address] = f"{reply.member} at {address} is of {reply.cluster}"

    async def _join(self, decision: Join, role: str) -> dict[str, str] | str:
        """Where the members are, or why it did not work yet."""
        request = pb.JoinRequest(
            cluster_name=self._name,
            member=self.identity.member,
            incarnation=self.identity.incarnation,
            address=self._address,
            role=role,
            version=self._version,
        )
        why = ""
        for address in decision.addresses:
            try:
                async with open_channel(address, security=self._security) as channel:
                    reply = await channel.call("Cluster", "Join", request, timeout=JOIN_SECONDS)
            except (Unreachable, Rejected) as error:
                why = _named(address, error.message)
                continue
            if reply.cluster != decision.cluster:  # it has another directory by now
                why = f"{address}: it is of the cluster {reply.cluster}, and was of {decision.cluster}"
                continue
            self.identity = belong(self.identity, reply.cluster)
            return {each.id: each.address for each in reply.members if each.address}
        return why


def _named(address: str, text: str) -> str:
    """`text` with the address before it, which an error of the transport names by itself."""
    return text if text.startswith(f"{address}:") else f"{address}: {text}"


def joiner(
    meeting: Meeting, join: Callable[[str, int, str, str], Awaitable[None]], addresses: Callable[[], dict[str, str]]
) -> Callable[[Any, Caller], Awaitable[Any]]:
    """The handler of `Join`, at a member that is in a cluster."""

    async def handle(request: Any, caller: Caller) -> Any:
        meeting._check(request, caller)
        if request.role not in ("voter", "executor"):
            raise UsageError(f"a member cannot join as {request.role[:80]!r}", hint="as voter or executor")
        if len(request.address) > MAX_ADDRESS or ADDRESS.fullmatch(request.address) is None:
            raise UsageError(f"{request.address[:80]!r} is no address of a member", hint="an address is HOST:PORT")
        await join(request.member, request.incarnation, request.role, request.address)
        members = [pb.Member(id=id, address=address) for id, address in sorted(addresses().items())]
        return pb.JoinReply(cluster=meeting.identity.cluster, members=members)

    return handle


__all__ = ["DUPLICATE", "EMPTY_HINT", "NO_PLACE", "Meeting", "duplicated", "founder_texts", "joiner", "read_founders"]
