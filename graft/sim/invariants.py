"""S1 to S16, checked from outside: what a member says and writes is copied here, and it cannot take anything back.

`Ledger` is the memory of a run. `Watch` shadows one process of one member: it is told every effect that touches the
log, every message at the moment it leaves, every turn of the disk, every entry that is applied. It trusts nothing but
the effects, the disk image, and (for the order of the marks, S8) the core's own numbers.

==== ==============================================================================================================
S1   `Watch.became_leader`: at most one leader in a term, elected by votes that are synced, each counted once
S2   `Ledger.saw_entry`: one content and one predecessor for each (index, term); so equal entries have equal prefixes
S3   `Watch.became_leader`: the log holds what was committed in earlier terms
S4   `Ledger.saw_state`: one state hash for each applied index
S5   `Ledger.saw_commit`: one term for each committed index, for ever
S6   `Watch.committed`: what a leader commits is synced on a quorum of each set of voters, crashed disks counted
S7   `Watch.persist`, `Ledger.saw_disk`: term, vote in a term, synced applied never go back
S8   `Watch.marks`: purged <= applied <= committed <= last
S9   `Watch.committed`: a leader commits at an entry of its own term
S10  `Watch.leaves`: a granted vote is synced, and is the only one of its term
S11  `Watch.leaves`: an append acknowledged up to i is synced up to i
S12  `Watch.persist`: a leader begins one configuration at a time, after a commit of its term
S13  `Ledger.saw_start`: an identity whose disk was lost does not come back
S14  `Watch.switch`: a snapshot brings its membership; one below the commit index takes nothing from the log
S15  `Watch.persist`: what is committed, and what agrees, is not truncated
S16  `Ledger.saw_read`: a read holds every write that was acknowledged before it began
==== ==============================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attrs import Factory, define

from graft.raft.effects import Persist, SwitchToSnapshot
from graft.raft.messages import AppendReply, Message, SnapshotReply, VoteReply
from graft.raft.records import Configuration, Entry, HardState, Kind, Recovered
from graft.sim.disk import Image

Identity = tuple[str, int]  # (id, incarnation)


class Violation(Exception):
    """A promise was broken. `rule` is its number (`S1`), or `linearizability`, `liveness`, `crash`."""

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(f"{rule}: {text}")
        self.rule = rule
        self.text = text


def voter_sets(configuration: Configuration) -> list[list[Identity]]:
    """Every set of voters that needs a majority of its own."""
    sets = [[(m.id, m.incarnation) for m in configuration.members if m.role == "voter"]]
    if configuration.outgoing:
        sets.append([(m.id, m.incarnation) for m in configuration.outgoing])
    return sets


def is_quorum(agreed: Callable[[Identity], bool], configuration: Configuration) -> bool:
    return all(2 * sum(map(agreed, voters)) > len(voters) for voters in voter_sets(configuration))


@define
class _Promises:
    """What one identity has synced so far. Nothing here goes back."""

    term: int = 0
    vote: str | None = None
    applied: int = 0


class Ledger:
    """The memory of one run."""

    def __init__(self) -> None:
        self.entries: dict[tuple[int, int], tuple[int, bytes, int]] = {}  # (index, term) -> kind, data, previous term
        self.committed: list[int] = [0]  # term of each committed index; 0 stands before the log
        self.commit_in_term: dict[int, int] = {}  # term of a leader -> highest index it committed
        self.leaders: dict[int, Identity] = {}
        self.granted: dict[int, dict[Identity, str]] = {}  # term -> voter -> candidate, of votes that have left
        self.states: dict[int, int] = {}
        self.promises: dict[Identity, _Promises] = {}
        self.lost: set[Identity] = set()  # identities whose disk is gone
        self.images: dict[Identity, Image] = {}
        self.acknowledged = 0  # highest index of a write that a client was told of
        self.configurations: set[tuple[int, int]] = set()  # (index, term) of entries that carry one
        self.versions: dict[tuple[int, int], int] = {}  # (index, term) of a version entry -> version
        self.committed_versions: list[tuple[int, int]] = [(0, 1)]  # (index, version), ascending
        self.acknowledgements: dict[tuple[Identity, int], int] = {}  # (who, term) -> highest index that it told

    def saw_start(self, who: Identity, image: Image) -> None:
        if who in self.lost:
            raise Violation("S13", f"{who} lost its disk and came back under the same incarnation")
        self.images[who] = image
        self.promises.setdefault(who, _Promises())
        self.saw_disk(who, image)

    def lost_disk(self, who: Identity) -> None:
        self.lost.add(who)

    def saw_entry(self, entry: Entry, previous_term: int) -> None:
        content = (entry.kind, entry.data, previous_term)
        if entry.kind == Kind.CONFIGURATION:
            self.configurations.add((entry.index, entry.term))
        elif entry.kind == Kind.VERSION:
            self.versions[entry.index, entry.term] = int(entry.data)
        known = self.entries.setdefault((entry.index, entry.term), content)
        if known != content:
            raise Violation("S2", f"entry {entry.index} of term {entry.term} is {content} here and {known} elsewhere")

    def saw_commit(self, index: int, term: int, who: Identity) -> None:
        if index < len(self.committed):
            if self.committed[index] != term:
                raise Violation("S5", f"{who} commits {index} with term {term}, it was {self.committed[index]} before")
        elif index == len(self.committed):
            self.committed.append(term)
            version = self.versions.get((index, term))
            if version is not None:
                self._saw_version(index, version, who)
        else:
            raise Violation("S5", f"{who} commits {index} before {len(self.committed)} was committed by anyone")

    def _saw_version(self, index: int, version: int, who: Identity) -> None:
        before = self.committed_versions[-1][1]
        if version <= before:
            raise Violation("S22", f"{who} commits version {version} at {index}, it was {before} before")
        self.committed_versions.append((index, version))

    def version_at(self, index: int) -> int:
        """The cluster's version by the committed log up to `index`."""
        return next(version for at, version in reversed(self.committed_versions) if at <= index)

    def told(self, who: Identity, term: int, match: int) -> None:
        """`who` acknowledges its log up to `match` to the leader of `term`."""
        self.acknowledgements[who, term] = max(match, self.acknowledgements.get((who, term), 0))

    def saw_state(self, index: int, state_hash: int, who: Identity) -> None:
        if self.states.setdefault(index, state_hash) != state_hash:
            raise Violation("S4", f"{who} has another state than others after applying {index}")

    def saw_disk(self, who: Identity, image: Image) -> None:
        kept, hard = self.promises[who], image.hard_state
        if hard.term < kept.term:
            raise Violation("S7", f"the synced term of {who} went back from {kept.term} to {hard.term}")
        if hard.term == kept.term and kept.vote is not None and hard.vote != kept.vote:
            raise Violation("S7", f"{who} changed its vote in term {hard.term} from {kept.vote} to {hard.vote}")
        if image.applied < kept.applied:
            raise Violation("S7", f"the synced state of {who} went back from {kept.applied} to {image.applied}")
        kept.term, kept.vote, kept.applied = hard.term, hard.vote, image.applied

    def saw_read(self, applied: int, needed: int, who: Identity) -> None:
        if applied < needed:
            raise Violation("S16", f"{who} reads from state {applied}; a write at {needed} was acknowledged before")


@define
class Watch:
    """The shadow of one process. `terms[k]` is the term of the entry at `first + k`; `before` that of `first - 1`.

    `configurations`: (index, configuration) of those in the log, the newest last, at least one.
    """

    ledger: Ledger
    who: Identity
    first: int
    before: int
    terms: list[int]
    term: int
    vote: str | None
    configurations: list[tuple[int, Configuration]]
    commit: int = 0
    leading: bool = False
    applied: int = 0
    purged: int = 0
    _images: dict[Identity, Image] = Factory(dict)

    @classmethod
    def of(cls, ledger: Ledger, who: Identity, image: Image, recovered: Recovered) -> Watch:
        ledger.saw_start(who, image)
        hard = recovered.hard_state
        watch = cls(
            ledger=ledger,
            who=who,
            first=recovered.first,
            before=_term_in(hard.runs, recovered.first - 1),
            terms=list(image.terms),
            term=hard.term,
            vote=hard.vote,
            configurations=list(hard.configurations),
            applied=recovered.applied,
            purged=recovered.first - 1,
            images=ledger.images,
        )
        watch.commit = recovered.applied
        return watch

    @property
    def last(self) -> int:
        return self.first + len(self.terms) - 1

    @property
    def configuration(self) -> Configuration:
        return self.configurations[-1][1]

    def term_at(self, index: int) -> int | None:
        if index == self.first - 1:
            return self.before
        if self.first <= index <= self.last:
            return self.terms[index - self.first]
        return None

    # -- what is written ------------------------------------------------------------------------------------------

    def persist(self, effect: Persist) -> None:
        if effect.truncate_from is not None:
            self._truncate(effect.truncate_from, effect.entries)
        for entry in effect.entries:
            if entry.index != self.last + 1:
                raise Violation("S2", f"{self.who} appends {entry.index} behind {self.last}")
            if entry.kind == Kind.CONFIGURATION and self.leading and entry.term == self.term:
                self._begin_configuration(entry)
            self.ledger.saw_entry(entry, self.term_at(entry.index - 1) or 0)
            self.terms.append(entry.term)
        for entry in effect.repaired:
            if self.term_at(entry.index) != entry.term:
                raise Violation("S2", f"{self.who} repairs {entry.index} with an entry of term {entry.term}")
            self.ledger.saw_entry(entry, self.term_at(entry.index - 1) or 0)
        if effect.hard_state is not None:
            self._hard_state(effect.hard_state)

    def _truncate(self, index: int, entries: tuple[Entry, ...]) -> None:
        term = self.term_at(index)
        committed = self.ledger.committed
        if index < len(committed) and term == committed[index]:
            raise Violation("S15", f"{self.who} truncates from {index} on, which is committed with term {term}")
        if entries and entries[0].index == index and entries[0].term == term:
            raise Violation("S15", f"{self.who} truncates from {index} on, though the entry agrees")
        if index <= self.commit:
            raise Violation("S15", f"{self.who} truncates from {index} on, below its commit index {self.commit}")
        del self.terms[index - self.first :]

    def _begin_configuration(self, entry: Entry) -> None:
        index, _ = self.configurations[-1]
        if index > self.commit:
            raise Violation("S12", f"{self.who} begins a configuration at {entry.index}, {index} is not committed yet")
        if self.term_at(self.commit) != self.term:
            raise Violation(
                "S12", f"{self.who} begins a configuration before it committed anything in term {self.term}"
            )

    def _hard_state(self, hard: HardState) -> None:
        if hard.term < self.term:
            raise Violation("S7", f"the term of {self.who} goes back from {self.term} to {hard.term}")
        if hard.term == self.term and self.vote is not None and hard.vote != self.vote:
            raise Violation("S7", f"{self.who} changes its vote in term {hard.term} from {self.vote} to {hard.vote}")
        if hard.term > self.term:
            self.leading = False
        self.term, self.vote = hard.term, hard.vote
        self.configurations = list(hard.configurations)

    def synced(self, image: Image) -> None:
        self.ledger.saw_disk(self.who, image)

    def purge(self, index: int, image: Image) -> None:
        if index > image.applied:
            raise Violation("S8", f"{self.who} purges up to {index}, its synced state covers {image.applied}")
        if index >= self.first:
            self.before = self.term_at(index) or 0
            del self.terms[: index + 1 - self.first]
            self.first = index + 1
            self.purged = index

    # -- what is said ---------------------------------------------------------------------------------------------

    def leaves(self, message: Message, image: Image) -> None:
        """`message` goes on the wire now."""
        if isinstance(message, AppendReply):
            if message.success and message.match:
                self._acknowledges(message.match, message.term, image)
        elif isinstance(message, VoteReply):
            if message.granted and not message.pre_vote:
                self._grants(message.target, message.term, image)
        elif (
            isinstance(message, SnapshotReply) and message.installed and message.match > max(image.applied, image.last)
        ):
            raise Violation("S11", f"{self.who} acknowledges a snapshot up to {message.match} before it is there")

    def _acknowledges(self, index: int, term: int, image: Image) -> None:
        if index <= image.applied:
            return
        # A torn entry that was committed without this member counts for nothing any more, whatever it says of it.
        if index > image.last or image.torn_in(len(self.ledger.committed), index):
            raise Violation("S11", f"{self.who} acknowledges {index} before it is synced (it is up to {image.last})")
        if term == self.term and image.stored_term(index) != (self.term_at(index) or image.stored_term(index)):
            raise Violation("S11", f"{self.who} acknowledges {index} while its disk holds another entry there")

    def _grants(self, candidate: str, term: int, image: Image) -> None:
        hard = image.hard_state
        if hard.term < term or (hard.term == term and hard.vote != candidate):
            raise Violation("S10", f"{self.who} grants {candidate} term {term}; synced: {hard.term}, {hard.vote}")
        votes = self.ledger.granted.setdefault(term, {})
        if votes.setdefault(self.who, candidate) != candidate:
            raise Violation("S10", f"{self.who} votes for {candidate} and for {votes[self.who]} in term {term}")

    def became_leader(self, term: int, image: Image) -> None:
        ledger = self.ledger
        first = ledger.leaders.setdefault(term, self.who)
        if first != self.who:
            raise Violation("S1", f"{self.who} and {first} lead term {term}")
        self.leading = True
        votes = ledger.granted.get(term, {})
        own = image.hard_state.term == term and image.hard_state.vote == self.who[0]

        def voted(voter: Identity) -> bool:
            return own if voter == self.who else votes.get(voter) == self.who[0]

        if not is_quorum(voted, self.configuration):
            raise Violation("S1", f"{self.who} leads term {term} with the votes of {sorted(votes)} only, own: {own}")
        needed = max((index for t, index in ledger.commit_in_term.items() if t < term), default=0)
        if needed > self.last:
            raise Violation("S3", f"{self.who} leads term {term}, its log ends at {self.last}, {needed} is committed")
        if needed >= self.first and self.term_at(needed) != ledger.committed[needed]:
            raise Violation("S3", f"{self.who} leads term {term} with another entry at the committed index {needed}")

    # -- what is decided ------------------------------------------------------------------------------------------

    def committed(self, commit: int, *, by_counting: bool) -> None:
        """The commit index rose to `commit`."""
        ledger = self.ledger
        if commit > self.last:
            raise Violation("S8", f"{self.who} commits {commit}, its log ends at {self.last}")
        if commit < self.commit:
            raise Violation("S7", f"{self.who} takes its commit index back from {self.commit} to {commit}")
        for index in range(max(self.commit + 1, self.first), commit + 1):
            ledger.saw_commit(index, self.terms[index - self.first], self.who)
        self.commit = commit
        if by_counting:
            self._committed_by_counting(commit)

    def _committed_by_counting(self, commit: int) -> None:
        if self.term_at(commit) != self.term:
            raise Violation(
                "S9", f"{self.who} leads term {self.term} and commits {commit} of term {self.term_at(commit)}"
            )
        images = self._images

        def holds(voter: Identity) -> bool:
            image = images.get(voter)
            return image is not None and image.holds(commit, self.term)

        if not is_quorum(holds, self.configuration):
            who = [voter for voters in voter_sets(self.configuration) for voter in voters if holds(voter)]
            raise Violation("S6", f"{self.who} commits {commit}, which is synced on {sorted(set(who))} only")
        terms = self.ledger.commit_in_term
        terms[self.term] = max(commit, terms.get(self.term, 0))

    def apply(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if entry.index != self.applied + 1:
                raise Violation("S8", f"{self.who} applies {entry.index} after {self.applied}")
            if entry.index > self.commit:
                raise Violation("S8", f"{self.who} applies {entry.index}, it has committed {self.commit}")
            if self.ledger.committed[entry.index] != entry.term:
                raise Violation("S5", f"{self.who} applies {entry.index} of term {entry.term}, committed was another")
            known = self.ledger.entries.get((entry.index, entry.term))
            if known is not None and known[:2] != (entry.kind, entry.data):
                raise Violation("S2", f"{self.who} applies another content at {entry.index} than was written")
            self.applied = entry.index

    def switch(self, effect: SwitchToSnapshot) -> None:
        """The core orders the switch to a snapshot: its log is empty from now on."""
        meta, hard = effect.meta, effect.hard_state
        if meta.index <= self.applied:
            raise Violation("S14", f"{self.who} installs a snapshot at {meta.index}, it has applied {self.applied}")
        if meta.index <= self.commit and not effect.keep_log:
            raise Violation("S14", f"{self.who} drops its log for a snapshot at {meta.index}, committed: {self.commit}")
        in_force = [pair for pair in hard.configurations if pair[0] <= meta.index]
        if in_force[-1:] != [(meta.configuration_index, meta.configuration)]:
            raise Violation("S14", f"{self.who} installs {meta.id} and keeps the membership {hard.configurations}")
        if not effect.keep_log and len(hard.configurations) > 1:
            raise Violation("S14", f"{self.who} installs {meta.id} and keeps older memberships too")
        if meta.index >= len(self.ledger.committed) or self.ledger.committed[meta.index] != meta.term:
            raise Violation("S5", f"{self.who} installs {meta.id} of term {meta.term}, which was not committed so")
        self.terms = self.terms[meta.index + 1 - self.first :] if effect.keep_log else []
        self.first, self.before, self.purged = meta.index + 1, meta.term, meta.index
        if meta.index > self.commit:
            self.commit = meta.index
        self._hard_state(hard)

    def marks(self, purged: int, applied: int, commit: int, last: int) -> None:
        if not purged <= applied <= commit <= last:
            text = f"purged {purged}, applied {applied}, committed {commit}, last {last}"
            raise Violation("S8", f"{self.who} has its marks out of order: {text}")


def _term_in(runs: tuple[tuple[int, int], ...], index: int) -> int:
    """The term that `HardState.runs` gives for `index`."""
    return next((term for first, term in reversed(runs) if first <= index), 0)
