"""Twenty bugs that others shipped, and one of our own, planted on purpose: the simulator's own acceptance test.

A bug is a small edit of the source of one or two functions, given as text. `planted` swaps the code of the function
for the edited one and back, so nothing of it is in the product, not even a switch. An edit whose old text is not found
exactly once is an error: then the code has moved on and the bug has to be planted anew.

Numbers are those of the project's list; 16 and 18 have two forms. `seen` says where the bug was met.
"""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from types import FunctionType
from typing import Any

from attrs import frozen

from graft.sim.faults import Plan, add_faults, draw
from graft.sim.world import Result, run

MORE = 4
"""Faults of `Bug.also` that a plan gets."""


@frozen
class Edit:
    """Replace `old` by `new` in the source of `target`, `module:function` or `module:Class.method`."""

    target: str
    old: str
    new: str


@frozen
class Bug:
    """`plan`: fields of every plan that the bug needs to be itself (say, lease reads). `also`: a kind of fault of which
    every plan has a few besides its own, for a bug that hardly anything else brings out."""

    name: str
    title: str
    seen: str
    edits: tuple[Edit, ...]
    plan: tuple[tuple[str, Any], ...] = ()
    also: str = ""

    def draw(self, seed: int) -> Plan:
        plan = draw(seed, **dict(self.plan))
        return add_faults(plan, self.also, MORE) if self.also else plan


def _edit(target: str, old: str, new: str) -> Edit:
    return Edit(f"graft.{target}", old, new)


BUGS: tuple[Bug, ...] = (
    Bug(
        "1",
        "vote not synced before the reply",
        "Zookeeper and many first Rafts",
        (_edit("raft.outbox:vote_waits", "return reply.granted and not reply.pre_vote", "return False"),),
    ),
    Bug(
        "2",
        "append acknowledged before the sync",
        "Redpanda (write caching), MongoDB",
        (_edit("raft.outbox:append_waits", "return reply.success and reply.match > s.log.durable", "return False"),),
    ),
    Bug(
        "3",
        "single-server membership change without a commit in the current term",
        "the dissertation's own algorithm, Ongaro 2015",
        (
            _edit("raft.membership:may_change", 'return "" if committed_in_term(s) else "too_early"', 'return ""'),
            _edit("raft.membership:plan", "before if before != after else ()", "()"),
        ),
    ),
    Bug(
        "4",
        "commit of an older term by counting",
        "figure 8 of the paper",
        (_edit("raft.replication:may_commit", "return s.log.term_at(index) == s.term", "return True"),),
    ),
    Bug(
        "5",
        "read index before the first commit of the term",
        "etcd raft 7331",
        (_edit("raft.reads:may_read", "return membership.committed_in_term(s)", "return True"),),
    ),
    Bug(
        "6",
        "read index confirmed by duplicated answers of an older round",
        "hashicorp/raft verify-leader",
        (
            _edit("raft.reads:heartbeat_replied", "if m.round > p.round:", "if m.round:"),
            _edit("raft.replication:append_replied", "if m.round > p.round:", "if m.round:"),
            _edit("raft.reads:acknowledged", "p.round = round", "p.round = s.round"),
        ),
        (("check_quorum", False), ("lease_reads", False)),
        "net.echo",
    ),
    Bug(
        "7",
        "pre-vote grants counted as votes",
        "dragonboat, early pre-vote patches",
        (
            _edit(
                "raft.election:belongs",
                'return s.role == "pre_candidate" and',
                'return (s.role == "candidate" and m.term == s.term) or s.role == "pre_candidate" and',
            ),
        ),
    ),
    Bug(
        "8",
        "duplicate vote answers counted twice",
        "Xraft, WRaft",
        (
            _edit(
                "raft.election:count",
                "s.votes[m.source] = s.votes.get(m.source, False) or m.granted",
                "again = m.source in s.votes and m.granted\n"
                "    free = [id for id in s.view.peers if id not in s.votes]\n"
                "    s.votes.setdefault(free[0] if again and free else m.source, m.granted)",
            ),
        ),
    ),
    Bug(
        "9",
        "removed server disrupts with higher terms",
        "section 6 of the paper; RethinkDB",
        (_edit("raft.election:ignores", "return promised(s) and not request.transfer", "return False"),),
        (("pre_vote", False),),
    ),
    Bug(
        "10",
        "snapshot keeps the old effective membership",
        "openraft, RedisRaft",
        (
            _edit(
                "raft.snapshots:restored_membership",
                "return meta.configuration_index, meta.configuration",
                "return s.configurations[-1]",
            ),
        ),
    ),
    Bug(
        "11",
        "match indexes not sorted before taking the median",
        "Xraft",
        (_edit("raft.quorum:ordered", "values.sort(reverse=True)", "pass"),),
    ),
    Bug(
        "12",
        "truncation on an append that matches",
        "logcabin's early code, many others",
        (
            _edit(
                "raft.log:Log.first_conflict",
                "if entry.index > self.last or self.term_at(entry.index) != entry.term:",
                "if True:",
            ),
        ),
    ),
    Bug(
        "13",
        "vote and log writes reordered",
        "a writer that lets votes go first",
        (
            _edit(
                "sim.writer:Writer.order",
                "self.queue.append(write)",
                "vote = isinstance(write, fx.Persist) and not write.entries and write.truncate_from is None\n"
                "    (self.queue.appendleft if vote else self.queue.append)(write)",
            ),
        ),
    ),
    Bug(
        "14",
        "stale acknowledgement after a log reversion",
        "etcd raft, async storage writes",
        (_edit("raft.log:Log.truncate", "clip(self.pending, self.last)", "pass"),),
    ),
    Bug(
        "15",
        "member id reused after a wipe",
        "operators of Consul, etcd",
        (_edit("sim.member:Member.renew", "self.incarnation += 1", "pass"),),
    ),
    Bug(
        "16",
        "lease read with a pause longer than the lease",
        "TiKV, YugabyteDB",
        (
            _edit("raft.reads:lease_valid", "and s.now < s.lease_until", ""),
            _edit(
                "sim.desk:Desk.serve", "if valid_until is not None and member.local_now() > valid_until:", "if False:"
            ),
        ),
        (("lease_reads", True),),
    ),
    Bug(
        "16r",
        "lease read after a restarted follower voted at once",
        "leases kept only in memory",
        (_edit("raft.election:start", "if s.config.lease_reads and restarted", "if False and restarted"),),
        (("lease_reads", True),),
    ),
    Bug(
        "17",
        "fsync error retried",
        "PostgreSQL 2018, many others",
        (_edit("sim.writer:Writer.failed", "self.member.handle(ev.PersistFailed(kind))", "self.complete(turn)"),),
    ),
    Bug(
        "18",
        "checksum failure taken for the end of the log",
        "Zookeeper, LogCabin (FAST 2018)",
        (
            _edit(
                "sim.disk:Image.recovered",
                "corrupt = tuple(self.store.damaged(bounds.applied + 1, bounds.last))",
                "bad = self.store.damaged(bounds.applied + 1, bounds.last)\n"
                "    if bad:\n"
                "        hard = self.hard_state\n"
                "        before = lambda pairs: tuple(pair for pair in pairs if pair[0] < min(bad))\n"
                "        runs, members = before(hard.runs), before(hard.configurations)\n"
                "        hard = HardState(hard.term, hard.vote, runs, members, before(hard.versions))\n"
                "        self.commit(Persist(0, (), min(bad), hard), self.applied, [])\n"
                "        bounds = self.store.bounds()\n"
                "    corrupt = ()",
            ),
        ),
    ),
    Bug(
        "18m",
        "entry that a misdirected write left standing taken for the newer one",
        "this project's own core, November 2026",
        (
            _edit(
                "raft.repair:as_written",
                "if entry.index >= s.log.first and s.log.term_at(entry.index) != entry.term:",
                "if False:",
            ),
        ),
        (("window_bytes", 400),),
        "disk.misdirected",
    ),
    Bug(
        "19",
        "an RPC without a deadline wedges replication",
        "TigerBeetle's list, braft",
        (
            _edit(
                "raft.progress:Progress.timed_out",
                "return self.is_waiting() and now - self.waiting_since >= timeout",
                "return False",
            ),
            _edit("raft.reads:heartbeat_replied", "if p.inflight:", "if False:"),
            _edit("raft.reads:heartbeat_replied", 'elif p.state == "probe" and p.probed and', "elif False and"),
        ),
    ),
    Bug(
        "20",
        "keys of applied commands missing from the snapshot",
        "RedisRaft, Hazelcast",
        (_edit("sim.machine:Machine.dump", "sorted(self._answers.items())", "[]"),),
    ),
)
BY_NAME = {bug.name: bug for bug in BUGS}


class BugLost(Exception):
    """The code that a bug edits has changed: plant it anew."""


def _function(target: str) -> FunctionType:
    module, path = target.split(":")
    found: Any = import_module(module)
    for name in path.split("."):
        found = vars(found)[name] if isinstance(found, type) else getattr(found, name)
    assert isinstance(found, FunctionType), target
    return found


def _edited(function: FunctionType, edits: list[Edit]) -> FunctionType:
    source = textwrap.dedent(inspect.getsource(function))
    for edit in edits:
        if source.count(edit.old) != 1:
            raise BugLost(f"{edit.target} has {edit.old!r} {source.count(edit.old)} times")
        source = source.replace(edit.old, edit.new)
    space: dict[str, Any] = {}
    future = sys.modules["__future__"].annotations.compiler_flag  # annotations stay unevaluated, as in the module
    exec(compile(source, f"<planted in {function.__name__}>", "exec", flags=future), function.__globals__, space)
    (made,) = space.values()
    assert isinstance(made, FunctionType)
    return made


@contextmanager
def _swapped(function: FunctionType, edits: list[Edit]) -> Iterator[None]:
    made, before = _edited(function, edits), function.__code__
    function.__code__ = made.__code__
    try:
        yield
    finally:
        function.__code__ = before


@contextmanager
def planted(bug: Bug) -> Iterator[None]:
    """Within the block the bug is there, in this process. Raises `BugLost`."""
    by_target: dict[str, list[Edit]] = {}
    for edit in bug.edits:
        by_target.setdefault(edit.target, []).append(edit)
    with ExitStack() as stack:
        for target, edits in by_target.items():
            stack.enter_context(_swapped(_function(target), edits))
        yield


def hunt(bug: Bug, first: int, limit: int) -> Result | None:
    """The first run among the seeds `first` to `first + limit - 1` in which the bug shows; None if there is none."""
    with planted(bug):
        for seed in range(first, first + limit):
            result = run(bug.draw(seed))
            if not result.ok:
                return result
    return None
