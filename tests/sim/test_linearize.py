"""The checker against histories with a known answer, against one too simple to be wrong, and against the clock."""

from __future__ import annotations

import time
from itertools import permutations
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from graft.sim.entropy import Entropy
from graft.sim.history import ContradictoryAnswers, Operation, Value, merge_attempts
from graft.sim.linearize import Verdict, check

KINDS = {"w": "write", "r": "read", "cas": "cas"}


def _value(word: str) -> Value:
    return None if word == "-" else int(word)


def _operation(line: str, number: int) -> Operation:
    words = line.split()
    name = words.pop()[1:] if words[-1].startswith("#") else f"line{number}"
    client, span, kind, key, *rest = words
    sent, answered = span.split("-")
    returned = None if answered == ".." else int(answered)
    value: Value = None
    expected: Value = None
    result: Value = True
    match kind:
        case "w":
            value = _value(rest[0])
        case "r":
            result = _value(rest[0])
        case _:
            expected, value = _value(rest[0]), _value(rest[1])
            result = rest[2:] == ["ok"]
            assert (len(rest) == 3) == (returned is not None), line
    return Operation(name, ord(client), key, KINDS[kind], int(sent), returned, value, expected, result)  # type: ignore[arg-type]


def _load() -> list[tuple[str, bool, list[Operation]]]:
    cases: list[tuple[str, bool, list[Operation]]] = []
    for number, line in enumerate((Path(__file__).parent / "histories.txt").read_text().splitlines(), 1):
        if line.startswith(("good ", "bad ")):
            kind, name = line.split(" ", 1)
            cases.append((name, kind == "good", []))
        elif line and not line.startswith("#"):
            cases[-1][2].append(_operation(line, number))
    return cases


CASES = _load()


def test_there_are_enough_of_both_sorts() -> None:
    assert len(CASES) >= 40
    assert sum(good for _, good, _ in CASES) >= 20
    assert sum(not good for _, good, _ in CASES) >= 20


@pytest.mark.parametrize(("good", "history"), [(g, h) for _, g, h in CASES], ids=[name for name, _, _ in CASES])
def test_a_known_history_gets_its_known_verdict(good: bool, history: list[Operation]) -> None:
    report = check(history)
    assert report.verdict is (Verdict.LINEARIZABLE if good else Verdict.VIOLATION), str(report)
    assert bool(report) == good


@pytest.mark.parametrize(("good", "history"), [(g, h) for _, g, h in CASES], ids=[name for name, _, _ in CASES])
def test_the_simple_checker_knows_the_histories_too(good: bool, history: list[Operation]) -> None:
    if len(history) > 9:
        pytest.skip("too many orders for the simple checker")
    try:
        merged = merge_attempts(history)
    except ContradictoryAnswers:
        assert not good
    else:
        assert _brute_force(merged) == good


def _brute_force(history: list[Operation]) -> bool:
    return all(_brute_force_key([o for o in history if o.key == key]) for key in {o.key for o in history})


def _brute_force_key(history: list[Operation]) -> bool:
    """Every subset of the pending operations, every order: nothing to get wrong."""
    done = [o for o in history if o.returned is not None]
    pending = [o for o in history if o.returned is None]
    for subset in range(1 << len(pending)):
        chosen = done + [o for i, o in enumerate(pending) if subset >> i & 1]
        if any(_explains(order) for order in permutations(chosen)):
            return True
    return False


def _explains(order: tuple[Operation, ...]) -> bool:
    state: Value = None
    latest = -1
    for position, o in enumerate(order):
        latest = max(latest, o.invoked)
        if o.returned is not None and any(later.invoked > o.returned for later in order[:position]):
            return False
        if o.kind == "write":
            state = o.value
        elif o.kind == "read":
            if o.returned is not None and o.result != state:
                return False
        else:
            if o.returned is not None and (state == o.expected) != o.result:
                return False
            if state == o.expected:
                state = o.value
    return True


@st.composite
def _small_histories(draw: st.DrawFn) -> list[Operation]:
    small = st.sampled_from([None, 1, 2, 3])
    history = []
    for number in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(["read", "write", "cas"]))
        sent = draw(st.integers(0, 8))
        returned = draw(st.none() | st.integers(sent + 1, 12))
        result: Value = draw(small) if kind == "read" else True if kind == "write" else draw(st.booleans())
        value = None if kind == "read" else draw(st.sampled_from([1, 2, 3]))
        expected = draw(small) if kind == "cas" else None
        history.append(Operation(f"o{number}", number, "x", kind, sent, returned, value, expected, result))
    return history


@settings(max_examples=400, deadline=None)
@given(_small_histories())
def test_it_agrees_with_the_simple_checker(history: list[Operation]) -> None:
    assert bool(check(history)) == _brute_force_key(history)


def test_no_answer_within_the_limit_is_not_an_all_clear() -> None:
    history = [Operation(f"w{i}", i, "x", "write", 0, 100, i) for i in range(12)]
    history.append(Operation("r", 99, "x", "read", 200, 201, result=77))
    report = check(history, limit=50)
    assert report.verdict is Verdict.UNDECIDED
    assert not report


def test_a_violation_is_explained() -> None:
    report = check([Operation("w1", 1, "x", "write", 0, 1, 5), Operation("r1", 2, "x", "read", 2, 3, result=6)])
    assert str(report).splitlines() == [
        "violation on key 'x'",
        "the longest order found ends with:",
        "  w1 client 1 [0, 1 = None] write x=5",
        "then nothing fits of:",
        "  r1 client 2 [2, 3 = 6] read x",
    ]


@pytest.mark.parametrize(
    "operations",
    [
        [Operation("a", 1, "x", "write", 5, 4, 1)],
        [Operation("a", 1, "x", "write", 0, 1, 1), Operation("a", 1, "x", "write", 2, 3, 2)],
    ],
    ids=["answered before it was sent", "one id for two requests"],
)
def test_a_history_that_makes_no_sense_is_refused(operations: list[Operation]) -> None:
    with pytest.raises(ValueError, match=r"answered before it was sent|one id for two requests"):
        check(operations)


def record(entropy: Entropy, *, count: int, clients: int, keys: int, pending_a_key: int) -> list[Operation]:
    """A linearizable history: every operation takes effect at a drawn moment between question and answer."""
    history: list[Operation] = []
    state: dict[str, Value] = {}
    pending = dict.fromkeys(range(keys), 0)
    flying: dict[int, list[Operation | bool]] = {}
    now = started = 0
    while started < count or flying:
        now += 1
        client = entropy.below(clients)
        if client not in flying:
            if started < count:
                started += 1
                key = entropy.below(keys)
                kind = ("read", "write", "cas")[entropy.below(3)]
                value = None if kind == "read" else started
                expected = state.get(f"k{key}") if kind == "cas" and entropy.chance(700) else None
                flying[client] = [Operation(f"o{started}", started, f"k{key}", kind, now, None, value, expected), False]  # type: ignore[arg-type]
            continue
        operation, applied = flying[client]
        assert isinstance(operation, Operation)
        if not applied:
            before = state.get(operation.key)
            swapped = operation.kind == "write" or (operation.kind == "cas" and before == operation.expected)
            if swapped:
                state[operation.key] = operation.value
            flying[client] = [evolve(operation, result=before if operation.kind == "read" else swapped), True]
            key = int(operation.key[1:])
            if operation.kind != "read" and pending[key] < pending_a_key and entropy.chance(60):
                pending[key] += 1
                history.append(evolve(operation, result=None))
                del flying[client]
        elif entropy.chance(400):
            history.append(evolve(operation, returned=now))
            del flying[client]
    return history


@pytest.mark.parametrize("spoiled", [False, True], ids=["good", "bad"])
def test_ten_thousand_operations_take_less_than_five_seconds(spoiled: bool) -> None:
    history = record(Entropy(7), count=10_000, clients=10, keys=20, pending_a_key=5)
    assert len(history) == 10_000
    assert sum(o.returned is None for o in history) == 100
    if spoiled:
        reads = [
            i for i, o in enumerate(history) if o.kind == "read" and o.returned is not None and o.result is not None
        ]
        at = reads[len(reads) * 9 // 10]
        key, sent = history[at].key, history[at].invoked
        old = [
            o for o in history if o.kind == "write" and o.key == key and o.returned is not None and o.returned < sent
        ]
        history[at] = evolve(history[at], result=old[len(old) // 2].value)
    start = time.process_time()
    report = check(history)
    assert time.process_time() - start < 5
    assert report.verdict is (Verdict.VIOLATION if spoiled else Verdict.LINEARIZABLE)
