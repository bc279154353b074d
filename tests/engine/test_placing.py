"""Queue, ledger and the choice of a member, each beside a plain model."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from graft.engine.placement import SLACK, Choice, choose, pick, why_queued
from graft.engine.records import ClusterConfig, Member
from graft.queues import ReadyQueue
from graft.resources import Ledger
from graft.resources.ledger import TOTAL

LINES = ("http", "run")
MEMBERS = ("a", "b", "c", "d")


@given(
    st.lists(st.tuples(st.sampled_from(["push", "pop", "discard", "take"]), st.sampled_from(LINES), st.integers(0, 9)))
)
def test_a_line_is_in_the_order_of_its_positions(moves: list[tuple[str, str, int]]) -> None:
    queue: ReadyQueue[str, int] = ReadyQueue()
    model: dict[str, dict[int, int]] = {}  # line -> position by item
    for number, (move, line, n) in enumerate(moves):
        waiting = model.setdefault(line, {})
        order = sorted(waiting, key=waiting.__getitem__)
        if move == "push":
            waiting[number] = n * 100 + number
            queue.push(line, number, waiting[number])
        elif move == "discard":
            item = order[n % len(order)] if order else -1
            queue.discard(line, item)
            waiting.pop(item, None)
        elif move == "take":
            assert queue.take_line(line) == order
            waiting.clear()
        elif order:
            assert queue.head(line) == (waiting[order[0]], order[0])
            assert queue.pop(line) == order[0]
            del waiting[order[0]]
        kept = {each: items for each, items in model.items() if items}
        assert set(queue.lines()) == set(kept)
        assert queue.is_empty() == (not kept)
        assert sorted(queue) == sorted(item for items in kept.values() for item in items)
        assert len(queue) == len(list(queue))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["open", "close", "take", "release", "quotas"]),
            st.sampled_from(MEMBERS),
            st.sampled_from(LINES),
            st.integers(0, 3),
        )
    )
)
def test_the_cluster_uses_what_its_members_use(moves: list[tuple[str, str, str, int]]) -> None:
    ledger = Ledger()
    model: dict[str, list[str]] = {}
    for move, member, kind, n in moves:
        if move == "open":
            ledger.open(member, {TOTAL: 3, "run": 2})
            model[member] = []
        elif move == "close":
            ledger.close(member)
            model.pop(member, None)
        elif move == "quotas":
            ledger.set_quotas(2 * n, {"run": n}, 0)
        elif move == "release":
            ledger.release(member, kind) if kind in model.get(member, [kind]) else None
            if kind in model.get(member, ()):
                model[member].remove(kind)
        elif member in model and ledger.has_slot(member, kind) and ledger.has_quota(kind):
            ledger.take(member, kind)
            model[member].append(kind)
            assert len(model[member]) <= 3
            assert model[member].count("run") <= 2
            limit = ledger.cluster_limit(kind)
            assert limit is None or ledger.cluster_used(kind) <= limit
        for each in (*LINES, TOTAL):
            counts = {who: len(out) if each == TOTAL else out.count(each) for who, out in model.items()}
            assert {who: ledger.used(who, each) for who in model} == counts
            assert ledger.cluster_used(each) == sum(counts.values())


members = st.builds(
    Member,
    id=st.sampled_from(MEMBERS),
    slots=st.sampled_from([(("*", 2),), (("*", 4), ("run", 0)), (("*", 0),)]),
    live=st.booleans(),
    draining=st.booleans(),
    stopping=st.booleans(),
    labels=st.sampled_from([(), (("gpu", "a"),), (("gpu", "b"), ("ssd", ""))]),
    node_types=st.sampled_from([(), ("run",)]),
    zone=st.sampled_from(["", "east", "west"]),
    version=st.integers(0, 1),
)
lines = st.tuples(st.sampled_from(LINES), st.sampled_from([(), (("gpu", "*"),), (("gpu", "b"), ("ssd", "*"))]))


@given(
    found=st.lists(members, max_size=4, unique_by=lambda m: m.id), line=lines, least=st.integers(0, 1), data=st.data()
)
def test_a_member_is_chosen_by_what_it_has_whatever_the_order(
    found: list[Member], line: tuple[str, tuple[tuple[str, str], ...]], least: int, data: st.DataObject
) -> None:
    def can(member: Member) -> bool:
        slots, labels = dict(member.slots), dict(member.labels)
        return (
            member.live
            and member.version >= least
            and (not member.node_types or line[0] in member.node_types)
            and slots["*"] > 0
            and slots.get(line[0], 1) > 0
            and all(name in labels and value in ("*", labels[name]) for name, value in line[1])
        )

    choice = choose(line, found, least)
    assert choice == choose(line, data.draw(st.permutations(found)), least)
    assert choice.members == tuple(sorted(m.id for m in found if can(m) and not m.draining and not m.stopping))
    assert choice.able == (any(map(can, found)) or not any(m.live for m in found))
    assert choice.able == (not choice.why)


def test_a_queued_step_says_what_it_waits_for() -> None:
    members = {name: Member(name, slots=(("*", 1),), live=True) for name in ("a", "b", "c", "d", "e")}
    line = ("run", ())
    ledger = Ledger()
    for member in members.values():
        ledger.open(member.id, dict(member.slots))

    def why(found: dict[str, Member], config: ClusterConfig | None = None) -> str:
        choice = choose(line, found.values(), 0 if config is None else config.min_version)
        return why_queued(line, choice, found, config, ledger)

    assert why(members) == ""
    some = {name: evolve(members[name], draining=name == "a", stopping=name == "b") for name in "ab"}
    assert why(some) == "every member that could run it is draining: a, b"
    assert why(some | {"c": evolve(members["c"], version=-1)}, ClusterConfig(min_version=0)).endswith(": a, b")
    assert why({"a": evolve(members["a"], live=False)}) == "no member is live"
    assert why({"a": evolve(members["a"], node_types=("http",))}).startswith("unplaceable: ")
    for name in members:
        ledger.take(name, "run")
    assert why(members) == "no slot for run steps is free on a, b, c and 2 more"
    ledger.set_quotas(5, {}, 0)
    assert why(members) == "all run steps that the cluster may run at a time are running"


@given(
    taken=st.lists(st.sampled_from(MEMBERS)),
    near=st.sampled_from(["", *MEMBERS]),
    zones=st.fixed_dictionaries({member: st.sampled_from(["", "east", "west"]) for member in MEMBERS}),
)
def test_the_pick_is_among_the_least_loaded(taken: list[str], near: str, zones: dict[str, str]) -> None:
    ledger = Ledger()
    for member in MEMBERS:
        ledger.open(member, {TOTAL: 3})
    for member in taken:
        if ledger.has_slot(member, "run"):
            ledger.take(member, "run")
    free = [member for member in MEMBERS if ledger.has_slot(member, "run")]
    picked = pick("run", Choice(MEMBERS, able=True), ledger, near, zones)
    if not free:
        assert picked is None
        return
    assert picked in free
    most = min(ledger.used(member) for member in free) + SLACK
    assert ledger.used(picked) <= most
    if near in free and ledger.used(near) <= most:
        assert picked == near
    elif near and zones[near] and any(zones[m] == zones[near] and ledger.used(m) <= most for m in free):
        assert zones[picked] == zones[near]
