"""Protocol-aware repair: a damaged entry is fetched from other members, never taken for the end of the log.

After Alagappan et al., *Protocol-Aware Recovery for Consensus-Based Storage* (FAST 2018). Index and term name an entry
(log matching, 5.3), and terms are kept apart from the entries, so any member's good copy of the same index and term
is the right one, whoever leads.

* Entries that the synced state machine covers are not needed by this member: they are mended if somebody has them.
* A damaged entry behind that is *blocking*: the member acknowledges nothing from there on and does not lead.
* A leader that finds such damage in its own log, behind what it has replicated, can replicate nothing any more. When
  nobody has a copy it steps down: the others go on with what they have, or it asks in a term of its own (see below).
* An entry that somebody has in a snapshot was committed, so no claim is at stake; the leader sends a snapshot. If this
  member has to lead, because its log is the longest, it brings another one up to date and hands over to it.
* If nobody leads because of it, the member takes a new term and asks again in it. An answer in that term that says
  "I do not have it" is a promise: whoever gave it takes the entry from no leader of an older term. Once those who
  promised leave no quorum that could hold the entry, it was not committed, and is cut off. As long as there may be
  one, the member waits: losing it would be silent loss of what was acknowledged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import Factory, define

from . import membership, quorum, replication, snapshots, transfer, versions
from .effects import ReadEntries
from .events import CorruptionFound, EntriesRead
from .messages import RepairReply, RepairRequest
from .records import Entry
from .roles import become_follower
from .state import ReadPurpose

if TYPE_CHECKING:
    from .state import State


PATIENCE_ROUNDS = 2  # a leader asks so often for an entry without which it cannot go on


@define
class Ask:
    """The entry that is being asked for. `in_term` is set while absence in that term is a promise."""

    index: int
    term: int
    due: float
    in_term: int = 0
    rounds: int = 0
    absent: set[str] = Factory(set)


# ---- what is damaged -----------------------------------------------------------------------------------------------


def needed(s: State) -> list[int]:
    """Damaged entries that the synced state machine does not cover."""
    return [index for index in s.log.corrupt if index > s.applied_durable]


def readable(s: State, index: int) -> int:
    """How much of the log up to `index` can be applied."""
    damage = needed(s)
    return min(index, min(damage) - 1) if damage else index


def intact(s: State, index: int) -> int:
    """How much of the log up to `index` this member can vouch for. Damage that others have in a snapshot is no loss."""
    damage = [i for i in needed(s) if i not in s.log.settled]
    return min(index, min(damage) - 1) if damage else index


def is_blocking(s: State) -> bool:
    """This member must not lead: it may be the only one that had an entry, and cannot tell."""
    return intact(s, s.log.last) < s.log.last


def is_crippled(s: State) -> bool:
    """It may lead, but cannot apply what it commits: somebody else should lead, and send it a snapshot."""
    return any(s.applying < index <= s.commit for index in s.log.corrupt)


def is_hopeless(s: State, index: int) -> bool:
    """The entry at `index` is damaged, nobody seems to have it, and the state machine covers it: a follower that
    needs it is better sent a snapshot."""
    ask = s.repair
    return (
        index in s.log.corrupt
        and index <= s.applied_durable
        and (not s.view.others or (ask is not None and ask.index == index and ask.rounds >= 2))
    )


def damaged(s: State, index: int) -> None:
    """The stored entry at `index` fails its checksum."""
    log = s.log
    if not log.first <= index <= log.durable or index in log.corrupt:
        return
    s.trace("repair", f"entry {index}/{log.term_at(index)} is damaged")
    log.corrupt[index] = log.term_at(index)
    if index >= log.window_first:
        log.repaired.append(log.window[index - log.window_first])  # a good copy is in memory
    elif s.repair is None:
        ask(s)


def corruption_found(s: State, event: CorruptionFound) -> None:
    damaged(s, event.index)


def start(s: State) -> None:
    if s.log.corrupt:
        ask(s)


# ---- asking --------------------------------------------------------------------------------------------------------


def ask(s: State) -> None:
    """Ask all members for the first damaged entry. Without anybody to ask a blocking one is the end."""
    log = s.log
    wanted = [index for index in log.corrupt if index not in log.mending]
    if not wanted:
        s.repair = None
        return
    index = min(wanted, key=lambda i: (i in log.settled, i))
    due = s.now + s.config.rpc_timeout_seconds
    if s.repair is None or s.repair.index != index or s.repair.term != log.corrupt[index]:
        s.repair = Ask(index, log.corrupt[index], due)
    s.repair.due = due
    others = s.view.others
    if not others and s.leader not in (None, s.id):
        others = (s.leader,)  # a joiner, whose log does not yet say who is in the cluster
    if not others and needed(s) and s.view.sole:
        s.stop(f"entry {index} of the log is damaged and no other member has a copy of it")
    for id in others:
        s.send(RepairRequest(s.id, id, s.config.incarnation, s.term, index, log.corrupt[index]))


def insist(s: State) -> None:
    """A quorum would elect this member, so nobody leads; and it must not lead. Take a term, to ask in it."""
    s.set_term(s.term + 1)
    s.vote = s.id
    s.trace("repair", f"asks in term {s.term}")
    ask(s)
    if s.repair is not None:
        s.repair.in_term = s.term
        s.repair.absent.clear()


def tick(s: State) -> None:
    if s.role == "leader" and s.transfer is None and s.log.settled and is_crippled(s):
        transfer.hand_over(s)
    if s.repair is not None and s.now >= s.repair.due:
        s.repair.rounds += 1
        if s.role == "leader" and s.repair.rounds >= PATIENCE_ROUNDS and is_blocking(s):
            s.trace("repair", f"cannot replicate entry {s.repair.index}, and nobody who answers has it")
            become_follower(s, "stepped_down", s.term, None)
        ask(s)


def cut(s: State) -> None:
    """The log was cut, at its end by a leader or at its beginning by a purge: perhaps the damage with it."""
    if s.repair is not None and s.repair.index not in s.log.corrupt:
        s.repair = None
        ask(s)


def replied(s: State, m: RepairReply) -> None:
    current = s.repair
    if current is None or current.index != m.index or current.term != m.entry_term:
        return
    if m.entry is not None:
        if m.entry.index == current.index and m.entry.term == current.term:
            s.log.repaired.append(m.entry)
            s.trace("repair", f"entry {m.index} came from {m.source}")
            s.repair = None
        return
    if m.purged:
        s.log.settled.add(m.index)
    if m.absent and m.term == s.term == current.in_term:
        current.absent.add(m.source)
        if cannot_be_committed(s, current.index, current.absent):
            give_up(s, current.index)


def cannot_be_committed(s: State, index: int, absent: set[str]) -> bool:
    """Those who may hold the entry at `index` are no majority of the voters-to-be of the configuration in force there.

    That set is needed by whatever leader commits the entry: it has the same configurations up to there (log matching),
    a joint one needs both its sets, and the next change begins with a joint one that has this set in it (thesis 4.3).
    """
    configuration = membership.at(s, index)[1]
    group = tuple(m.id for m in configuration.members if m.role == "voter")
    return not quorum.reached((group, ()), set(group) - absent)


def give_up(s: State, index: int) -> None:
    """The entry was never committed: cut it and all behind it."""
    assert index > s.commit, (index, s.commit)
    s.trace("repair", f"entry {index} was never committed and is cut off")
    s.log.truncate(index)
    membership.roll_back(s, index)
    versions.roll_back(s, index)
    cut(s)


def written(s: State) -> None:
    """A write was synced; perhaps the last damage is mended by it. The next one is asked for."""
    if s.log.corrupt and s.repair is None:
        ask(s)


# ---- answering -----------------------------------------------------------------------------------------------------


def requested(s: State, m: RepairRequest) -> None:
    """`m.term` is at most mine (see `core`), unless I owe my vote to a leader: then my answer carries a term in which
    the asker counts no absence."""
    log, index = s.log, m.index
    if index < log.first:
        answer(s, m.source, index, m.entry_term, purged=True)
        p = s.progress.get(m.source)
        if p is not None and p.state != "snapshot" and p.forgot_at is None and p.id not in s.departing:
            snapshots.begin(s, p)
    elif index > log.last or log.term_at(index) != m.entry_term:
        answer(s, m.source, index, m.entry_term, absent=True)
    elif index in log.corrupt:
        answer(s, m.source, index, m.entry_term)
    else:
        entries = log.slice(index, index, 0, 1)
        if entries is not None:
            answer(s, m.source, index, m.entry_term, entry=entries[0])
        else:
            read(s, "repair", index, index, s.config.max_append_bytes, m.source)


def answer(
    s: State,
    target: str,
    index: int,
    entry_term: int,
    *,
    entry: Entry | None = None,
    absent: bool = False,
    purged: bool = False,
) -> None:
    s.send(RepairReply(s.id, target, s.config.incarnation, s.term, index, entry_term, entry, absent, purged))


# ---- reading the store ---------------------------------------------------------------------------------------------


def read(s: State, kind: str, first: int, last: int, max_bytes: int, id: str = "") -> int:
    """Order a read of stored entries; returns its number."""
    s.next_read += 1
    if s.takes("read.short"):
        max_bytes = 1
    s.under_read[s.next_read] = ReadPurpose(kind, first, last, id, s.log.reversions)
    s.emit(ReadEntries(s.next_read, first, last, max_bytes))
    return s.next_read


def entries_read(s: State, event: EntriesRead) -> None:
    """The answer to any of them. Damage that shows is noted, whoever the read was for."""
    from . import applying

    purpose = s.under_read.pop(event.read, None)
    if purpose is None:
        return
    if event.corrupt is not None:
        damaged(s, event.corrupt)
    entries = event.entries if purpose.reversions != s.log.reversions else as_written(s, event.entries)
    if purpose.kind == "apply":
        applying.entries_read(s, entries)
    elif purpose.kind == "send":
        replication.entries_read(s, purpose.id, event.read, entries)
    elif entries and s.log.matches(entries[0].index, entries[0].term):
        entry = entries[0]
        answer(s, purpose.id, entry.index, entry.term, entry=entry)


def as_written(s: State, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """Those of `entries` that are what was written there. One of another term with a good checksum is an older one that
    should have been overwritten, and the write went elsewhere (a misdirected or lost write): it is damaged."""
    for position, entry in enumerate(entries):
        if entry.index >= s.log.first and s.log.term_at(entry.index) != entry.term:
            damaged(s, entry.index)
            return entries[:position]
    return entries
