"""How every member of a cluster stands, in text: for the message of a test that waited in vain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import trio

from tests.cluster.members import Cluster, Node

RAFT = (
    "role",
    "term",
    "leader",
    "vote",
    "commit",
    "applying",
    "applied",
    "applied_durable",
    "reading_apply",
    "term_start",
    "transfer",
    "change_request",
    "uncommitted_bytes",
    "taking_snapshot",
    "switching",
    "synced",
    "ticket",
    "arrival",
    "repair",
    "stopped",
)


def describe(cluster: Cluster) -> str:
    """All members, the links that are not in order, and where the tasks of the running ones wait."""
    lines = [line for node in cluster.nodes.values() for line in _member(node)]
    links = [f"{source}>{target} {link}" for (source, target), link in _broken(cluster)]
    tasks = Counter(_tasks(cluster.nursery))
    return "\n".join([*lines, *links, *(f"{count:4} {where}" for where, count in tasks.most_common())])


def _member(node: Node) -> Iterator[str]:
    state = "dead" if not node.is_running else "ending" if node.scope.cancel_called else "runs"
    yield f"== {node.id} {state} {'' if hasattr(node, 'member') else '(never began)'}"
    if not hasattr(node, "member"):
        return
    host = node.member.host
    door, raft = host.door, host.door._core.state
    yield "  raft " + " ".join(f"{name}={getattr(raft, name)}" for name in RAFT)
    log = raft.log
    yield f"  log first={log.first} last={log.last} durable={log.durable} corrupt={list(log.corrupt)}"
    members = [f"{each.id}/{each.incarnation}:{each.role}" for each in raft.view.configuration.members]
    outgoing = [each.id for each in raft.view.configuration.outgoing]
    yield f"  configuration at {raft.view.index}: {members} outgoing={outgoing} mine={node.member.incarnation}"
    yield f"  votes={raft.votes} {_since(node)}"
    yield f"  reads waiting={len(raft.reads_waiting)} round={raft.read_round} of followers={len(raft.follower_reads)}"
    for follower in door.status().followers:
        yield f"  {follower}"
    proposals = door._proposals
    yield (
        f"  door inbox={len(door._inbox)} waiting={len(proposals._waiting)} told={len(proposals._told)}"
        f" placed={len(proposals._placed)} stalled={proposals.is_stalled} requests={len(door._requests._slots)}"
        f" waits={[index for index, _, _ in door._requests._waits][:5]} applier={len(door._applier._waiting)}"
        f" applied={door.applied} holds={door._applier._holds} ordered={len(door._writer.writes._ordered)}"
        f" held={len(door._writer.writes._held)} extra={len(door._writer._extra)}"
        f" jobs={len(door._desk._jobs)} staged={door._desk.staged_id!r} failed={door._writer.has_failed}"
    )
    submitter, lease = node.member.submitter, node.member.lease
    yield (
        f"  host leads={host.leads} running={host.running} held={len(host._held)} settling={len(host._settling)}"
        f" undecided={len(host._undecided)} lost={len(host._lost)} items={len(submitter._items)}"
        f" asked={submitter._asked} unsettled={submitter._unsettled} lease={lease._holds} commit={lease._commit}"
        f" incarnation={host.incarnation}"
    )


def _since(node: Node) -> str:
    """Seconds from now, by its clock."""
    raft, now = node.member.host.door._core.state, node.clock.monotonic()
    names = ("election_deadline", "leader_contact", "quorum_contact", "heartbeat_due", "grace_until")
    times = " ".join(f"{name}={getattr(raft, name) - now:+.2f}" for name in names)
    return f"now={raft.now - now:+.2f} rings={node.member.host.door._rings_at - now:+.2f} {times}"


def _broken(cluster: Cluster) -> list[tuple[tuple[str, str], str]]:
    links = cluster.network._links.items()
    return [
        (pair, f"cut={link.is_cut} delay={link.delay_seconds} queued={len(link.queued)}")
        for pair, link in links
        if link.is_cut or link.delay_seconds or link.queued
    ]


def _tasks(nursery: trio.Nursery) -> Iterator[str]:
    for task in nursery.child_tasks:
        frames = [
            f"{frame.f_code.co_name}:{line}"
            for frame, line in task.iter_await_frames()
            if "graft" in frame.f_code.co_filename or "tests" in frame.f_code.co_filename
        ]
        yield " > ".join(frames) or task.name
        for child in task.child_nurseries:
            yield from _tasks(child)
