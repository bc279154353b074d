"""A worker whose attempts run in other processes: `graft serve` runs no user code in the process that holds Raft.

`HostedWorker` has the methods of `Worker`. It spreads attempts over its hosts (`host.py`), each with the `Worker` of
`graft run` inside; so a step that sleeps, spins, holds the GIL or crashes harms its own host only. The attempts of a
host that is gone settle as `lost`, and another host takes its place.

All hosts are children of one guardian, which kills them, with everything below them, when the member has gone or when
its lease has ended. A host stops its attempts by itself when the lease ends; the guardian comes `lease_grace_ms` later,
for hosts that cannot.

A host that hangs gets no new attempts. It is killed only when an attempt in it had to stop and cannot: then that one
settles as cancelled or timed out, and the others in it, which have been standing still, as lost. Else it may take its
time, as a step may under `graft run`; while it does, another host stands in for it.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import trio
import trio.lowlevel

from graft.ids import StepKey
from graft.plan import ErrorRecord
from graft.worker import host_wire as wire
from graft.worker.assignment import Assignment, Outcome, Settle
from graft.worker.attempt import render_seconds
from graft.worker.exceptions import only_leaf
from graft.worker.guardian import boottime
from graft.worker.guardian_client import GuardianLost, Guardians, SpawnFailed, open_guardians
from graft.worker.host_environment import Identity, host_environment, identity_of
from graft.worker.host_process import Flight, HostProcess, lost, start_host
from graft.worker.logs import LogStore
from graft.worker.settings import HostSettings

BUSY_PING_SECONDS = 0.1
IDLE_PING_SECONDS = 1.0
TURN_SECONDS = 0.005  # for handing out attempts, then the loop has its turn
START_SECONDS = 60.0  # a host that is not ready by then is given up
FIRST_BACKOFF_SECONDS = 0.05
LAST_BACKOFF_SECONDS = 10.0
HEALTHY_SECONDS = 30.0  # a host that lived so long did not die of being started
REPLACE_SECONDS = 3.0  # a host that has not answered for so long gets another one beside it
STOP_SLACK_SECONDS = 2.0  # beyond the grace, before a hung host is killed for an attempt that had to stop


class HostedWorker:
    """Runs attempts in worker hosts. All methods are called on the Trio thread and none blocks."""

    def __init__(self, settings: HostSettings, guardians: Guardians, identity: Identity | None) -> None:
        self._settings = settings
        self._guardians = guardians
        self._identity = identity
        self._logs = LogStore(settings.worker.log_dir)
        self._grace_seconds = settings.worker.grace_ms / 1000
        self._flights: dict[tuple[StepKey, int], Flight] = {}
        self._waiting: deque[Flight] = deque()
        self._hosts: list[HostProcess] = []
        self._extras = 0  # hosts beyond the settings', which stand in for those that hang
        self._lease: float | None = None
        self._last_words: str | None = None
        self._leased = trio.Event()
        self._busy = trio.Event()
        self._work = trio.Event()  # something waits, or there is room
        self._closing = False
        self._soon = trio.lowlevel.current_trio_token()
        self._tasks = trio.CancelScope(shield=True)
        self._ended = trio.Event()

    @property
    def logs(self) -> LogStore:
        return self._logs

    @property
    def guardian_pid(self) -> int | None:
        """Of the process that is the parent of all hosts."""
        return self._guardians.pid

    @property
    def host_pids(self) -> list[int]:
        """Of the hosts that take attempts."""
        return [host.pid for host in self._hosts if host.pid is not None and host.ready.is_set()]

    @property
    def problem(self) -> str | None:
        """Why there is no host to run anything, in words for an operator; None when there is one."""
        return None if self.host_pids else self._last_words or "no worker host has started yet"

    def start(self, assignment: Assignment, settle: Settle) -> None:
        """Run it, and call `settle(assignment, outcome)` when it ended. A start that is already known is ignored."""
        identity = (assignment.key, assignment.token)
        if self._closing or identity in self._flights:
            return
        flight = self._flights[identity] = Flight(assignment, settle)
        self._busy.set()
        self._waiting.append(flight)
        if not self._work.is_set():  # the first goes at once, those that come with it in one piece
            self._hand_out(0.0)
        self._work.set()

    def cancel(self, key: StepKey, token: int) -> None:
        """Stop that attempt; it settles as cancelled once nothing of it runs any more."""
        flight = self._flights.get((key, token))
        if flight is None or flight.cancelled:
            return
        flight.cancelled = True
        if flight.host is None:
            self._soon.run_sync_soon(self._settle, flight, Outcome("cancelled"))
        else:
            self._must_stop_by(flight, trio.current_time())
            flight.host.cancel(flight)

    def drop_run(self, run_no: int) -> None:
        """The run ended: its nurseries close when its last attempt did."""
        for host in self._hosts:
            host.drop_run(run_no)

    def lease(self, until_boottime_seconds: float | None) -> None:
        """Attempts may run until CLOCK_BOOTTIME (seconds) is this; None: without end.

        When it ends they are stopped and settle as lost; none is started until there is a lease again.
        """
        self._lease = until_boottime_seconds
        late = self._settings.lease_grace_ms / 1000
        self._guardians.lease(None if until_boottime_seconds is None else until_boottime_seconds + late)
        for host in self._hosts:
            host.say(wire.LEASE, until_boottime_seconds)
        self._leased.set()
        self._work.set()

    def running(self) -> int:
        """How many attempts have not settled."""
        return len(self._flights)

    def stop(self, grace_ms: int | None = None) -> None:
        """Stop all attempts without settling them; closing the worker then waits for their end."""
        self._closing = True
        if grace_ms is not None:
            self._grace_seconds = grace_ms / 1000
        for flight in self._waiting:
            self._forget(flight)
        self._waiting.clear()
        for host in self._hosts:
            host.say(wire.STOP, grace_ms)

    # Handing out

    def _is_leased(self) -> bool:
        return self._lease is None or boottime() < self._lease

    async def _distribute(self) -> None:
        """Hand out what waits, a few milliseconds at a time: every attempt costs looking up and encoding its values."""
        while True:
            await self._work.wait()
            self._work = trio.Event()
            if not self._hand_out(time.perf_counter() + TURN_SECONDS):
                self._work.set()
                await trio.lowlevel.checkpoint()

    def _hand_out(self, until: float) -> bool:
        """Give what waits to the hosts with the fewest attempts, as far as there is room. False: time was short."""
        if not self._waiting or self._closing or not self._is_leased():
            return True
        now = trio.current_time()
        room = self._settings.attempts_per_host
        hosts = [host for host in self._hosts if host.is_answering(now, self._settings.hang_seconds)]
        if any(not host.ready.is_set() for host in self._hosts):  # leave their share to those that are about to come
            room = min(room, -(-len(self._flights) // len(self._hosts)))
        try:
            while self._waiting:
                free = [host for host in hosts if host.has_room(room)]
                if not free:
                    return True
                flight = self._waiting.popleft()
                if not flight.cancelled:
                    self._put(flight, min(free, key=_load), now)
                if time.perf_counter() > until:
                    return False
            return True
        finally:
            for host in hosts:
                host.flush()

    def _put(self, flight: Flight, host: HostProcess, now: float) -> None:
        a = flight.assignment
        try:
            host.start(flight)
        except Exception as error:
            title = f"the inputs cannot be sent to a worker host: {error}"
            problem = ErrorRecord("expression", title, type(error).__name__, a.path, a.attempt)
            self._soon.run_sync_soon(self._settle, flight, Outcome("failed", error=problem))
            return
        if a.node.timeout_ms is not None:
            flight.overdue_at = now + a.node.timeout_ms / 1000
            self._must_stop_by(flight, flight.overdue_at)

    def _must_stop_by(self, flight: Flight, when: float) -> None:
        flight.give_up_at = min(flight.give_up_at, when + self._grace_seconds + STOP_SLACK_SECONDS)

    def _take_back(self, flights: list[Flight]) -> None:
        """A host did not begin them. The time of those that have a timeout begins when another one does."""
        for flight in reversed(flights):
            flight.overdue_at = flight.give_up_at = float("inf")
            if flight.cancelled:
                self._soon.run_sync_soon(self._settle, flight, Outcome("cancelled"))
            else:
                self._waiting.appendleft(flight)
        self._work.set()

    def _has_answered(self) -> None:
        if self._waiting:
            self._work.set()

    # Settling

    def _settle(self, flight: Flight, outcome: Outcome) -> None:
        """The end of a flight, whatever it was. Room was made, so another may start."""
        if self._forget(flight) and not self._closing:
            flight.settle(flight.assignment, outcome)
        if self._waiting:
            self._work.set()

    def _forget(self, flight: Flight) -> bool:
        return self._flights.pop((flight.assignment.key, flight.assignment.token), None) is not None

    def _lose(self, host: HostProcess) -> None:
        """The host is gone, with all that ran in it."""
        flights = list(host.flights.values())
        host.flights.clear()
        now = trio.current_time()
        for flight in flights:
            self._settle(flight, _outcome_without_host(flight, now, host.down or ""))

    # The hosts

    async def run(self) -> None:
        """Keep the hosts going until `close`."""
        try:
            with self._tasks:
                async with trio.open_nursery() as nursery:
                    for _ in range(self._settings.hosts):
                        nursery.start_soon(self._keep)
                    nursery.start_soon(self._distribute)
                    await self._supervise(nursery)
        finally:
            self._ended.set()

    async def close(self) -> None:
        """Wait for the end of the hosts, which `stop` asked for, and kill those that are late."""
        with trio.move_on_after(self._grace_seconds + self._settings.worker.stop_seconds):
            while self._hosts:
                await self._hosts[-1].ended.wait()
                await trio.lowlevel.checkpoint()
        self._tasks.cancel()
        await self._ended.wait()

    async def _keep(self) -> None:
        """One host after the other, with pauses that grow while they die young."""
        backoff = FIRST_BACKOFF_SECONDS
        while not self._closing:
            await self._until_leased()
            began = trio.current_time()
            await self._host()
            healthy = trio.current_time() - began > HEALTHY_SECONDS
            backoff = FIRST_BACKOFF_SECONDS if healthy else min(backoff * 2, LAST_BACKOFF_SECONDS)
            await trio.sleep(backoff)

    async def _host(self, is_extra: bool = False) -> bool:
        """One host, from its start to its end. Whether it ended because it was not needed any more."""
        try:
            host = await start_host(self._guardians, self._environment(), _directory(), self._hello())
        except (SpawnFailed, GuardianLost, OSError) as error:
            self._last_words = f"a worker host could not be started: {error}"
            return False  # and try again after the pause
        host.is_extra = is_extra
        host.on_settled, host.on_answer, host.on_returned = self._settle, self._has_answered, self._take_back
        host.say(wire.LEASE, self._lease)
        if self._closing:
            host.say(wire.STOP, 0)
        self._hosts.append(host)
        try:
            with trio.move_on_after(START_SECONDS) as starting:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_when_ready, host, starting)
                    await host.run()
                    nursery.cancel_scope.cancel()
            host.give_up("it did not start in time")
        finally:
            self._hosts.remove(host)
            self._last_words = f"the last worker host is gone: {host.down}"
            with trio.CancelScope(shield=True):
                await host.take_down()
            self._lose(host)
        return host.is_retiring

    def _environment(self) -> dict[bytes, bytes]:
        s = self._settings
        return host_environment(os.environ, s.pass_environment, s.environment, self._identity)

    def _hello(self) -> dict[str, Any]:
        worker = attrs.asdict(self._settings.worker)
        log_dir = worker["log_dir"]
        worker["log_dir"] = None if log_dir is None else os.fsencode(log_dir.absolute())
        who = self._identity
        return {"worker": worker, "identity": None if who is None else (who.uid, who.gid, who.groups)}

    async def _until_leased(self) -> None:
        while not self._is_leased():
            self._leased = trio.Event()
            await self._leased.wait()

    async def _supervise(self, nursery: trio.Nursery) -> None:
        """Ping the hosts, and act on what does not happen: an answer, the end of an attempt, a lease."""
        while True:
            now = trio.current_time()
            for host in self._hosts:
                host.ask(now)
                if host.is_hung(now, self._settings.hang_seconds):
                    host.recall()
                    if _has_overdue(host, now):
                        host.give_up("it hung, with an attempt in it that had to stop")
            self._stand_in(nursery, now)
            if self._waiting:
                self._work.set() if self._is_leased() else self._lose_waiting()
            if self._flights:
                await trio.sleep(BUSY_PING_SECONDS)
            else:
                self._busy = trio.Event()
                with trio.move_on_after(IDLE_PING_SECONDS):
                    await self._busy.wait()

    def _stand_in(self, nursery: trio.Nursery, now: float) -> None:
        """As many hosts more as there are hosts that hang, and as many again as the settings say at most."""
        hung = sum(host.is_hung(now, REPLACE_SECONDS) for host in self._hosts)
        wanted = min(hung, self._settings.hosts) if self._is_leased() and not self._closing else 0
        if self._extras < wanted:
            self._extras += 1
            nursery.start_soon(self._extra)
        elif self._extras > wanted:
            surplus = [host for host in self._hosts if host.is_extra and not host.is_retiring]
            if surplus:
                self._extras -= 1
                surplus[0].retire()

    async def _extra(self) -> None:
        if not await self._host(is_extra=True):
            self._extras -= 1

    def _lose_waiting(self) -> None:
        waiting, self._waiting = list(self._waiting), deque()
        for flight in waiting:
            self._settle(flight, lost(flight.assignment, "the member's lease ended before it began"))


def _directory() -> Path:
    """Python steps see the working directory that they see under `graft run`: that of the process, ours."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return Path("/")


def _load(host: HostProcess) -> int:
    return len(host.flights)


def _has_overdue(host: HostProcess, now: float) -> bool:
    return any(flight.give_up_at < now for flight in host.flights.values())


async def _when_ready(host: HostProcess, starting: trio.CancelScope) -> None:
    await host.ready.wait()
    starting.deadline = float("inf")


def _outcome_without_host(flight: Flight, now: float, why: str) -> Outcome:
    a = flight.assignment
    if flight.cancelled:
        return Outcome("cancelled")
    if flight.overdue_at <= now:
        title = f"did not end within {render_seconds(a.node.timeout_ms or 0)}"
        return Outcome("timed_out", error=ErrorRecord("timeout", title, why, a.path, a.attempt))
    return lost(a, why)


@contextlib.asynccontextmanager
async def open_hosted_worker(settings: HostSettings | None = None) -> AsyncIterator[HostedWorker]:
    """Leaving the block stops every attempt and every host before it returns. Nothing settles then.

    An error of the block comes out as it is. Raises UsageError when hosts cannot run as the user they should.
    """
    try:
        async with _open(settings or HostSettings()) as worker:
            yield worker
    except BaseExceptionGroup as group:
        error = only_leaf(group)
        if error is group:
            raise
        raise error from error.__cause__


@contextlib.asynccontextmanager
async def _open(settings: HostSettings) -> AsyncIterator[HostedWorker]:
    identity = identity_of(settings.user, settings.group)
    if identity is not None and settings.worker.log_dir is not None:
        settings.worker.log_dir.mkdir(parents=True, exist_ok=True)
        os.chown(settings.worker.log_dir, identity.uid, identity.gid)
    async with open_guardians() as guardians, trio.open_nursery() as nursery:
        worker = HostedWorker(settings, guardians, identity)
        nursery.start_soon(worker.run)  # noqa: ASYNC113 - it waits for attempts anyway
        try:
            yield worker
        finally:
            worker.stop()
            with trio.CancelScope(shield=True):
                await worker.close()
