"""The pages of a member over HTTP: whether it lives, whether it is ready and if not why, and its numbers.

`/livez`   it answers, so its loop runs. Restart it when this fails
`/readyz`  it takes part in its cluster, knows a leader, and may run steps; what is missing otherwise, a line each
`/metrics` numbers that are there already, read when they are asked for
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import trio

from graft import __version__
from graft.cluster.member import ClusterMember
from graft.interfaces import Store
from graft.observability import CONTENT_TYPE, Answer, Metric, Page, Sample, render
from graft.transport.peers import PeerHub

if TYPE_CHECKING:
    from graft.cluster.serving import Serving

RAFT: Final = (
    ("term", "The term: it grows with every election.", "term"),
    ("log_first_index", "First entry of the log that is kept.", "first"),
    ("log_last_index", "Last entry of the log.", "last"),
    ("durable_index", "Last entry that is safe on this member's disk.", "durable"),
    ("commit_index", "Last entry that a majority has.", "commit"),
    ("applied_index", "Last entry that this member has applied.", "applied"),
    ("version", "The cluster's version.", "version"),
)
"""Gauges `graft_raft_NAME`, what they say, and the field of `raft.Status`."""


class MemberPages:
    """Reads only. `hub` is the member's connections to the others."""

    def __init__(self, serving: Serving, store: Store, hub: PeerHub) -> None:
        self._serving, self._store, self._hub = serving, store, hub

    def by_path(self) -> Mapping[str, Page]:
        return {"/livez": self.live, "/readyz": self.ready, "/metrics": self.metrics}

    async def live(self) -> Answer:
        return Answer("ok\n")

    async def ready(self) -> Answer:
        missing = self._serving.unready()
        if not missing:
            return Answer("ok\n")
        return Answer("".join(f"{each}\n" for each in missing), HTTPStatus.SERVICE_UNAVAILABLE)

    async def metrics(self) -> Answer:
        found = [*self._process(), *await self._room(), *self._transport()]
        if self._serving.member is not None:
            found += [*_raft(self._serving.member), *_work(self._serving.member)]
        return Answer(render(found), content_type=CONTENT_TYPE)

    def _process(self) -> Iterator[Metric]:
        yield _gauge("graft_info", "The program, always 1.", 1, version=__version__)
        yield _gauge("graft_ready", "Whether /readyz says ok.", not self._serving.unready())

    async def _room(self) -> list[Metric]:
        usage = await trio.to_thread.run_sync(self._store.usage)
        found = [
            _gauge("graft_store_used_bytes", "What the store holds.", usage.used_bytes),
            _gauge("graft_store_quota_bytes", "What it should hold at most.", usage.quota_bytes),
        ]
        if usage.free_bytes is not None:
            found.append(_gauge("graft_store_free_bytes", "What its file system has left.", usage.free_bytes))
        return found

    def _transport(self) -> Iterator[Metric]:
        server, peers = self._serving.server, self._hub.statuses()
        connections = 0 if server is None else len(server.connections)
        yield _gauge("graft_connections", "Connections of members and clients.", connections)
        for name, kind, text, values in (
            ("connected", "gauge", "Whether messages get through to a member.", [each.connected for each in peers]),
            ("queued_messages", "gauge", "Messages that wait for a member.", [each.queued for each in peers]),
            ("dropped_messages_total", "counter", "Messages that never left.", [each.dropped for each in peers]),
        ):
            samples = tuple(Sample(value, {"peer": each.member}) for each, value in zip(peers, values, strict=True))
            yield Metric(f"graft_peer_{name}", "counter" if kind == "counter" else "gauge", text, samples)


def _raft(member: ClusterMember) -> Iterator[Metric]:
    door = member.host.door
    found = door.status()
    yield _gauge("graft_raft_leads", "Whether this member leads.", door.leads)
    yield _gauge("graft_raft_has_leader", "Whether it knows a leader.", found.leader is not None)
    for name, text, attribute in RAFT:
        yield _gauge(f"graft_raft_{name}", text, getattr(found, attribute))
    yield _gauge("graft_raft_members", "Members of the cluster.", len(found.configuration.members))
    behind = tuple(Sample(max(0, found.last - each.match), {"peer": each.id}) for each in found.followers)
    yield Metric("graft_raft_follower_lag_entries", "gauge", "Entries that a follower lacks; of the leader.", behind)
    yield _gauge("graft_loop_late_seconds", "Longest delay of the loop in the last minute.", door.lateness.worst())
    yield _counter("graft_snapshots_installed_total", "Snapshots taken from others.", member.host.snapshots_installed)


def _work(member: ClusterMember) -> Iterator[Metric]:
    state = member.host.engine.state
    yield _gauge("graft_runs_live", "Runs that have not ended, in the cluster.", len(state.live_runs()))
    yield _gauge("graft_steps_waiting", "Steps that wait for a slot, in the cluster.", len(state.queue))
    yield _gauge("graft_steps_running", "Attempts on this member.", member.host.running)
    record = state.members.get(member.id)
    slots = tuple(Sample(limit, {"kind": kind}) for kind, limit in record.slots) if record is not None else ()
    yield Metric("graft_slots", "gauge", "Attempts at once on this member, by kind; *: of all.", slots)


def _gauge(name: str, text: str, value: float, **labels: str) -> Metric:
    return Metric(name, "gauge", text, (Sample(value, labels),))


def _counter(name: str, text: str, value: float) -> Metric:
    return Metric(name, "counter", text, (Sample(value),))


__all__ = ["MemberPages"]
