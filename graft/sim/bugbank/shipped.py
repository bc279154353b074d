"""Twenty bugs that others shipped, and one of our own. Numbers are those of the project's list; 16 and 18 have two
forms. `seen` says where the bug was met.
"""

from __future__ import annotations

from typing import Final

from graft.sim.bugbank.planting import Bug, edit

BUGS: Final[tuple[Bug, ...]] = (
    Bug(
        "1",
        "vote not synced before the reply",
        "Zookeeper and many first Rafts",
        (edit("raft.outbox:vote_waits", "return reply.granted and not reply.pre_vote", "return False"),),
    ),
    Bug(
        "2",
        "append acknowledged before the sync",
        "Redpanda (write caching), MongoDB",
        (edit("raft.outbox:append_waits", "return reply.success and reply.match > s.log.durable", "return False"),),
    ),
    Bug(
        "3",
        "single-server membership change without a commit in the current term",
        "the dissertation's own algorithm, Ongaro 2015",
        (
            edit("raft.membership:may_change", 'return "" if committed_in_term(s) else "too_early"', 'return ""'),
            edit("raft.membership:plan", "before if before != after else ()", "()"),
        ),
    ),
    Bug(
        "4",
        "commit of an older term by counting",
        "figure 8 of the paper",
        (edit("raft.replication:may_commit", "return s.log.term_at(index) == s.term", "return True"),),
    ),
    Bug(
        "5",
        "read index before the first commit of the term",
        "etcd raft 7331",
        (edit("raft.reads:may_read", "return membership.committed_in_term(s)", "return True"),),
    ),
    Bug(
        "6",
        "read index confirmed by duplicated answers of an older round",
        "hashicorp/raft verify-leader",
        (
            edit("raft.reads:heartbeat_replied", "if m.round > p.round:", "if m.round:"),
            edit("raft.replication:append_replied", "if m.round > p.round:", "if m.round:"),
            edit("raft.reads:acknowledged", "p.round = round", "p.round = s.round"),
        ),
        (("check_quorum", False), ("lease_reads", False)),
        "net.echo",
    ),
    Bug(
        "7",
        "pre-vote grants counted as votes",
        "dragonboat, early pre-vote patches",
        (
            edit(
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
            edit(
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
        (edit("raft.election:ignores", "return promised(s) and not request.transfer", "return False"),),
        (("pre_vote", False),),
    ),
    Bug(
        "10",
        "snapshot keeps the old effective membership",
        "openraft, RedisRaft",
        (
            edit(
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
        (edit("raft.quorum:ordered", "values.sort(reverse=True)", "pass"),),
    ),
    Bug(
        "12",
        "truncation on an append that matches",
        "logcabin's early code, many others",
        (
            edit(
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
            edit(
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
        (edit("raft.log:Log.truncate", "clip(self.pending, self.last)", "pass"),),
    ),
    Bug(
        "15",
        "member id reused after a wipe",
        "operators of Consul, etcd",
        (edit("sim.member:Member.renew", "self.incarnation += 1", "pass"),),
    ),
    Bug(
        "16",
        "lease read with a pause longer than the lease",
        "TiKV, YugabyteDB",
        (
            edit("raft.reads:lease_valid", "and s.now < s.lease_until", ""),
            edit(
                "sim.desk:Desk.serve", "if valid_until is not None and member.local_now() > valid_until:", "if False:"
            ),
        ),
        (("lease_reads", True),),
    ),
    Bug(
        "16r",
        "lease read after a restarted follower voted at once",
        "leases kept only in memory",
        (edit("raft.election:start", "if s.config.lease_reads and restarted", "if False and restarted"),),
        (("lease_reads", True),),
    ),
    Bug(
        "17",
        "fsync error retried",
        "PostgreSQL 2018, many others",
        (edit("sim.writer:Writer.failed", "self.member.handle(ev.PersistFailed(kind))", "self.complete(turn)"),),
    ),
    Bug(
        "18",
        "checksum failure taken for the end of the log",
        "Zookeeper, LogCabin (FAST 2018)",
        (
            edit(
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
            edit(
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
            edit(
                "raft.progress:Progress.timed_out",
                "return self.is_waiting() and now - self.waiting_since >= timeout",
                "return False",
            ),
            edit("raft.reads:heartbeat_replied", "if p.inflight:", "if False:"),
            edit("raft.reads:heartbeat_replied", 'elif p.state == "probe" and p.probed and', "elif False and"),
        ),
    ),
    Bug(
        "20",
        "keys of applied commands missing from the snapshot",
        "RedisRaft, Hazelcast",
        (edit("sim.machine:Machine.dump", "sorted(self._answers.items())", "[]"),),
    ),
)
