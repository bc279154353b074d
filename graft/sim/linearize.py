"""Could one register with compare-and-set, touched by one client at a time, have given these answers?

Wing & Gong, *Testing and verifying concurrent objects* (JPDC 1993): search for an order of the operations that obeys
real time (what was answered before another was sent comes first) and gives every operation the answer it got. Lowe,
*Testing for linearizability* (CPAE 2017): remember each pair (set of operations done, state) and never search from it
twice. The history is partitioned by key, which is sound because linearizability is local (Herlihy & Wing 1990).

Three more rules keep it fast, none of which loses an answer:

* An operation that can never change anything (a read, a compare-and-set that failed) is taken as soon as it fits,
  without a branch: whatever order has it later also works with it here. (Not so for a write of the value that is
  there already: later it may be needed.)
* Operations that were answered early are tried first, pending ones last.
* A pending operation never needs to come right before a plain write, which would wipe it out: it may as well have
  never happened.

What is not decided within `limit` states is reported as undecided, never as good.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from itertools import pairwise

from attrs import frozen

from graft.sim.history import ContradictoryAnswers, Operation, Value, merge_attempts

_READ, _WRITE, _CAS = 0, 1, 2
_KINDS = {"read": _READ, "write": _WRITE, "cas": _CAS}
_UNKNOWN = -1  # result code of a pending operation
_STUCK = -2  # "this operation cannot come now"


class Verdict(Enum):
    LINEARIZABLE = "linearizable"
    VIOLATION = "violation"
    UNDECIDED = "undecided"


@frozen
class Report:
    """`order` is the longest order that was found for the key; `blocked` are the operations none of which could follow.

    For a history that is linearizable `key` is None and both are empty.
    """

    verdict: Verdict
    key: str | None = None
    order: tuple[Operation, ...] = ()
    blocked: tuple[Operation, ...] = ()
    note: str = ""

    def __bool__(self) -> bool:
        return self.verdict is Verdict.LINEARIZABLE

    def __str__(self) -> str:
        if self:
            return "linearizable"
        lines = [f"{self.verdict.value} on key {self.key!r}{': ' if self.note else ''}{self.note}"]
        lines += ["the longest order found ends with:", *(f"  {o}" for o in self.order[-8:])]
        lines += ["then nothing fits of:", *(f"  {o}" for o in self.blocked)]
        return "\n".join(lines)


def check(history: Iterable[Operation], *, initial: Value = None, limit: int = 2_000_000) -> Report:
    """Decide a history, key by key; the first key that is not linearizable is the report.

    Attempts with one id are merged first. Raises ValueError for a history that makes no sense (an answer before the
    question, one id for two requests).
    """
    try:
        operations = merge_attempts(history)
    except ContradictoryAnswers as error:
        first, second = error.first, error.second
        return Report(Verdict.VIOLATION, first.key, (first,), (second,), "one operation was answered in two ways")
    by_key: dict[str, list[Operation]] = {}
    for operation in operations:
        if operation.returned is not None and operation.returned <= operation.invoked:
            raise ValueError(f"answered before it was sent: {operation}")
        by_key.setdefault(operation.key, []).append(operation)
    undecided: Report | None = None
    for key in sorted(by_key):
        report = _Search(key, by_key[key], initial).run(limit)
        if report.verdict is Verdict.VIOLATION:
            return report
        if report.verdict is Verdict.UNDECIDED:
            undecided = report
    return Report(Verdict.LINEARIZABLE) if undecided is None else undecided


def _code_values(operations: Sequence[Operation], initial: Value) -> dict[tuple[type, Value], int]:
    codes: dict[tuple[type, Value], int] = {(type(initial), initial): 0}
    for o in operations:
        for value in (o.value, o.expected, o.result):
            codes.setdefault((type(value), value), len(codes))
    return codes


class _Search:
    """Depth-first search over the operations of one key.

    The completed operations form a doubly linked list of call and return nodes in order of time; taking an operation
    unlinks both of its nodes, going back links them again. `i` is the call of completed operation i, `n + i` its
    return, `2n` the head. Pending operations stand apart, in order of their call.
    """

    def __init__(self, key: str, operations: Sequence[Operation], initial: Value) -> None:
        self.key = key
        self.done = sorted((o for o in operations if o.returned is not None), key=lambda o: o.invoked)
        # A pending read says nothing about anything.
        self.pending = sorted(
            (o for o in operations if o.returned is None and o.kind != "read"), key=lambda o: o.invoked
        )
        codes = _code_values(operations, initial)
        self.forms = [self._form(o, codes) for o in (*self.done, *self.pending)]
        self.inert = [kind == _READ or (kind == _CAS and result == 0) for kind, _, _, result in self.forms]
        self._link()

    @staticmethod
    def _form(o: Operation, codes: dict[tuple[type, Value], int]) -> tuple[int, int, int, int]:
        """(kind, value, expected, result) as small integers; the result of a compare-and-set is 0, 1 or unknown."""
        kind = _KINDS[o.kind]
        if o.returned is None:
            result = _UNKNOWN
        elif kind == _CAS:
            result = int(bool(o.result))
        else:
            result = codes[type(o.result), o.result]
        return kind, codes[type(o.value), o.value], codes[type(o.expected), o.expected], result

    def _link(self) -> None:
        n = len(self.done)
        nodes = [(o.invoked, 0, i) for i, o in enumerate(self.done)]
        nodes += [(o.returned or 0, 1, n + i) for i, o in enumerate(self.done)]
        nodes.sort()  # a call at the time of a return comes first: the two are concurrent
        order = [2 * n, *(node for _, _, node in nodes), 2 * n]
        self.following = [0] * (2 * n + 1)
        self.previous = [0] * (2 * n + 1)
        for left, right in pairwise(order):
            self.following[left] = right
            self.previous[right] = left
        rank = {node: position for position, (_, _, node) in enumerate(nodes)}
        self.deadline = [rank[n + i] for i in range(n)]

    def run(self, limit: int) -> Report:
        """Every frame of the stack is (operation, state before it, candidates not tried yet, was it pending)."""
        total, n = len(self.done), len(self.done)
        stack: list[tuple[int, int, list[int], bool]] = []
        seen: set[tuple[int, int, bool]] = set()
        state, mask, after_pending, finished = 0, 0, False, 0
        best: tuple[int, ...] = ()
        best_finished = -1
        while True:
            if finished == total:
                return Report(Verdict.LINEARIZABLE)
            candidates: list[int] = []
            node = (mask, state, after_pending)
            if node not in seen:
                seen.add(node)
                if len(seen) > limit:
                    return self._report(Verdict.UNDECIDED, best)
                candidates = self._candidates(state, mask, after_pending)
            if finished > best_finished:
                best, best_finished = tuple(frame[0] for frame in stack), finished
            while not candidates:
                if not stack:
                    return self._report(Verdict.VIOLATION, best)
                taken, state, candidates, after_pending = stack.pop()
                mask ^= 1 << taken
                if taken < n:
                    finished -= 1
                    self._restore(taken)
            taken = candidates.pop()
            stack.append((taken, state, candidates, after_pending))
            state = self._next(taken, state)
            mask ^= 1 << taken
            after_pending = taken >= n
            if taken < n:
                finished += 1
                self._remove(taken)

    def _next(self, operation: int, state: int) -> int:
        """The state after the operation, or `_STUCK` when its answer does not fit."""
        kind, value, expected, result = self.forms[operation]
        if kind == _WRITE:
            return value
        if kind == _READ:
            return state if result == state else _STUCK
        if result == _UNKNOWN:
            return value if state == expected else state
        if (state == expected) != bool(result):
            return _STUCK
        return value if result else state

    def _candidates(self, state: int, mask: int, after_pending: bool) -> list[int]:
        """What may come next, the best last. One alone when it changes nothing."""
        n = len(self.done)
        forms, inert = self.forms, self.inert
        following = self.following
        fitting: list[int] = []
        node = following[2 * n]
        while node < n:
            after = self._next(node, state)
            if after != _STUCK and inert[node]:
                return [node]
            if after != _STUCK and not (after_pending and forms[node][0] == _WRITE):
                fitting.append(node)
            node = following[node]
        fitting.sort(key=self.deadline.__getitem__, reverse=True)
        horizon = self.done[node - n].returned or 0
        waiting: list[int] = []
        for i, operation in enumerate(self.pending, n):
            if operation.invoked > horizon:
                break
            if mask >> i & 1 or (after_pending and forms[i][0] == _WRITE):
                continue
            if self._next(i, state) != state:
                waiting.append(i)
        waiting.reverse()
        return waiting + fitting

    def _remove(self, operation: int) -> None:
        following, previous = self.following, self.previous
        for node in (operation, operation + len(self.done)):
            left, right = previous[node], following[node]
            following[left] = right
            previous[right] = left

    def _restore(self, operation: int) -> None:
        following, previous = self.following, self.previous
        for node in (operation + len(self.done), operation):
            following[previous[node]] = node
            previous[following[node]] = node

    def _report(self, verdict: Verdict, best: tuple[int, ...]) -> Report:
        both = (*self.done, *self.pending)
        left = [o for i, o in enumerate(self.done) if i not in set(best)]
        horizon = min((o.returned or 0 for o in left), default=0)
        blocked = tuple(o for o in left if o.invoked <= horizon)
        return Report(verdict, self.key, tuple(both[i] for i in best), blocked)
