"""The engine under random plans and random events.

Three things are checked: the invariants after every apply (in `Driven`), that a run ends as a model written straight
from the rules of the language says, and that the same log gives the same state whatever happened between entries:
drained at other moments, stored, loaded again.
"""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from graft.engine import Engine, RunRemoved
from graft.engine.commands import AttemptSettled, RegisterMember, RemoveRuns, SweepRun, decode_command
from graft.engine.engine import HASH_KEY
from graft.engine.lifecycle import FINAL
from graft.engine.records import BY_TABLE, NONE, OF_RUN, decode_record, run_key
from graft.engine.retries import delay_ms
from graft.plan import JOINS, Block, Catch, ErrorRecord, ForEach, Node, Plan, PythonAction, Retry
from graft.plan.records import FlowAction, GroupAction, RunAction
from tests.support.engines import Driven, load, load_and_apply, store

SETTLED = ("succeeded", "succeeded", "failed", "skipped", "timed_out", "cancelled")
ERRORS = ("exit.1", "http.402", "timeout")
FAILED: dict[str, Any] = {"reason": "no", "error": ErrorRecord("expression", "no")}


maps = st.builds(ForEach, st.just(("list",)), max_parallel=st.none() | st.just(2), tolerate=st.integers(0, 2))
retries = st.builds(
    Retry,
    st.integers(1, 3),
    initial_ms=st.just(100),
    on=st.just(("exit", "timeout")),
    then=st.sampled_from(["fail", "fail", "pause", "pause_on"]),
)
asked = st.sampled_from([(), (), (), (("gpu", "*"),), (("gpu", "*"), ("zone", "eu"))])

MEMBERS = ("a", "b", "c")
OFFERS = (
    {},
    {"labels": (("gpu", "a100"),)},
    {"labels": (("gpu", "a100"), ("zone", "eu")), "zone": "eu"},
    {"node_types": ("python",), "zone": "eu", "version": 2},
    {"node_types": ("run",), "version": 1},
)
configs = st.fixed_dictionaries(
    {},
    optional={
        "total": st.integers(1, 4),
        "kinds": st.just((("run", 1),)),
        "default_kind": st.integers(1, 2),
        "max_runs": st.integers(1, 2),
        "retry_attempts": st.just(2),
        "min_version": st.integers(0, 2),
    },
)


@st.composite
def blocks(draw: st.DrawFn, depth: int = 0) -> list[Block]:
    """A block and, after it, the blocks that its nodes open."""
    count = draw(st.integers(1, 5))
    names = [f"n{i}" for i in range(count)]
    targets = draw(st.sets(st.integers(1, count - 1), max_size=1)) if count > 2 else set()
    nodes: list[Node] = []
    inner: list[list[Block]] = []
    for i, name in enumerate(names):
        earlier = [] if i in targets else [names[j] for j in range(i)]
        needs = draw(st.sets(st.sampled_from(earlier), max_size=3)) if earlier else set()
        rest = [each for each in earlier if each not in needs]
        after = draw(st.sets(st.sampled_from(rest), max_size=1)) if rest else set()
        action: Any = draw(st.sampled_from([PythonAction("m:f"), RunAction("true")]))
        if depth < 2 and draw(st.integers(0, 4)) == 0:
            inner.append(draw(blocks(depth + 1)))
            action = "flow" if draw(st.booleans()) else "group"
        caught = [t for t in targets if t > i]
        nodes.append(
            Node(
                name,
                action,
                tuple(sorted(needs)),
                tuple(sorted(after)),
                join=draw(st.sampled_from(JOINS)),
                when=("const", True) if draw(st.integers(0, 4)) == 0 else None,
                for_each=draw(st.none() | maps) if draw(st.integers(0, 3)) == 0 else None,
                on_failure=draw(st.sampled_from(["fail", "continue", "continue"])),
                catch=(Catch(("http.402", "timeout"), names[caught[0]]),) if caught and draw(st.booleans()) else (),
                retry=draw(st.none() | retries),
                timeout_ms=draw(st.none() | st.just(700)) if isinstance(action, str) else None,
                total_timeout_ms=draw(st.none() | st.none() | st.just(900)),
                runs_on=draw(asked),
            )
        )  # fmt: skip
    caught_targets = {names.index(catch.to) for node in nodes for catch in node.catch}
    nodes = [
        node if i not in targets or i in caught_targets else _with(node, join="none_failed")
        for i, node in enumerate(nodes)
    ]
    kind = "flow"
    finals = (Node("end", PythonAction("m:f")),) if draw(st.booleans()) else ()
    result = [Block(kind, f"b{depth}", (), finals, timeout_ms=draw(st.none() | st.just(2000)))]
    final_nodes = []
    for node in nodes:
        if isinstance(node.action, str):
            sub = inner.pop(0)
            index = len(result)
            group = node.action == "group"
            head = Block("group", sub[0].name, sub[0].nodes) if group else sub[0]
            result += [_moved(block, index) for block in [head, *sub[1:]]]
            node = _with(node, action=GroupAction(index) if group else FlowAction(index))
        final_nodes.append(node)
    result[0] = Block(
        result[0].kind, result[0].name, tuple(final_nodes), finals, outputs=("dict",) if draw(st.booleans()) else None,
        timeout_ms=result[0].timeout_ms,
    )  # fmt: skip
    return result


def _with(record: Any, **changes: Any) -> Any:
    return attrs.evolve(record, **changes)


def _moved(block: Block, by: int) -> Block:
    """The block with the indexes of the blocks it opens moved."""
    nodes = [
        _with(node, action=_with(node.action, block=node.action.block + by))
        if isinstance(node.action, (GroupAction, FlowAction))
        else node
        for node in block.nodes
    ]
    return _with(block, nodes=tuple(nodes))


plans = blocks().map(lambda made: Plan("p", tuple(made)))


class Random(RuleBasedStateMachine):
    """Everything that can happen to a run and to the members, in any order; `Driven` checks after every apply."""

    @initialize(plan=plans, total=st.integers(1, 4), config=st.none() | configs)
    def begin(self, plan: Plan, total: int, config: dict[str, Any] | None) -> None:
        self.driven = Driven(slots=(("*", total), ("run", 1)))
        self.driven.register("a", labels=(("gpu", "a100"), ("zone", "eu")))
        if config is not None:
            self.driven.configure(**config)
        self.driven.start(plan)
        self.plan = plan
        self.run = 1  # the newest
        self.finals: dict[tuple[int, int, int], str] = {}
        self.old: list[tuple[tuple[int, int, int], int]] = []  # attempts that are over
        self.generation = 1

    def key(self, data: st.DataObject) -> tuple[int, int, int]:
        return data.draw(st.sampled_from(sorted(self.driven.attempts)))

    @precondition(lambda self: self.driven.attempts)
    @rule(data=st.data(), status=st.sampled_from(SETTLED))
    def settle(self, data: st.DataObject, status: str) -> None:
        error = ErrorRecord(data.draw(st.sampled_from(ERRORS)), "x") if status in ("failed", "timed_out") else None
        key = self.key(data)
        self.old.append((key, self.driven.attempts[key].token))
        applied = self.driven.settle(key, status, error=error, dice=data.draw(st.integers(0, 2**32 - 1)))
        assert applied.refused is None

    @precondition(lambda self: self.driven.decides)
    @rule(data=st.data(), yes=st.booleans())
    def decide(self, data: st.DataObject, yes: bool) -> None:
        effect = data.draw(st.sampled_from(self.driven.decides))
        ordinal = effect.key[2]
        state = self.driven.engine.state
        step = state.steps.get(effect.key)
        if ordinal == NONE:
            self.driven.decide(effect, "outputs", data=b"{}") if yes else self.driven.decide(effect, "fail", **FAILED)
            return
        if step is None or step.status != "ready":
            assert self.driven.decide(effect, "value", data=b"1") is not None  # stale: ignored
            return
        node = state.node_of(step)
        if not yes and node.when is not None and not effect.item:
            self.driven.decide(effect, "skip", reason="no")
        elif not yes and data.draw(st.booleans()):
            self.driven.decide(effect, "fail", **FAILED)
        elif node.for_each is not None and not effect.item:
            self.driven.items(effect, data.draw(st.integers(0, 4)))
        elif node.kind == "flow":
            self.driven.decide(effect, "params", data=b"{}")
        else:
            self.driven.decide(effect)

    @rule(milliseconds=st.integers(1, 1000))
    def wait(self, milliseconds: int) -> None:
        self.driven.timers(milliseconds)

    @rule()
    def reload(self) -> None:
        self.driven.reload()

    def end_attempts(self, member: str) -> None:
        self.old += [(key, each.token) for key, each in self.driven.attempts.items() if each.member == member]

    @rule(member=st.sampled_from(MEMBERS), offer=st.sampled_from(OFFERS), crash=st.booleans())
    def register(self, member: str, offer: dict[str, Any], crash: bool) -> None:
        self.end_attempts(member)
        if crash:
            self.driven.reload()
        assert self.driven.register(member, **offer).refused is None

    @precondition(lambda self: self.driven.incarnations)
    @rule(data=st.data())
    def member_goes_down(self, data: st.DataObject) -> None:
        member = data.draw(st.sampled_from(sorted(self.driven.incarnations)))
        self.end_attempts(member)
        assert self.driven.down(member).refused is None

    @rule(member=st.sampled_from(MEMBERS))
    def forget(self, member: str) -> None:
        self.end_attempts(member)
        self.driven.forget(member)

    @rule(member=st.sampled_from(MEMBERS), draining=st.booleans(), own=st.booleans())
    def drain_member(self, member: str, draining: bool, own: bool) -> None:
        self.driven.drain_member(member, draining, self.driven.incarnations.get(member, 0) if own else 0)

    @rule(config=configs)
    def configure(self, config: dict[str, Any]) -> None:
        self.driven.configure(**config)

    @precondition(lambda self: self.old)
    @rule(data=st.data(), status=st.sampled_from(["succeeded", "failed", "lost"]))
    def settle_late(self, data: st.DataObject, status: str) -> None:
        """Promise 2: what comes late, twice, or from a member that was declared down changes nothing."""
        key, token = data.draw(st.sampled_from(self.old))
        now = self.driven.attempts.get(key)
        if now is not None and now.token == token:
            assert not self.driven.engine.state.cluster_rules, "a token was given twice"
            return
        applied = self.driven.apply(AttemptSettled(*key, token=token, status=status, value=b"0", **self.driven.stamp()))
        assert applied.refused is not None
        assert applied.effects == ()

    @precondition(lambda self: self.driven.incarnations)
    @rule(data=st.data())
    def register_again(self, data: st.DataObject) -> None:
        """The same registration twice changes nothing; one of an incarnation that ended is refused."""
        driven = self.driven
        member = data.draw(st.sampled_from(sorted(driven.incarnations)))
        record = driven.engine.state.members[member]
        offer = {name: getattr(record, name) for name in ("labels", "node_types", "zone", "version")}
        driven.drain()
        before = driven.engine.state_hash()
        driven.apply(RegisterMember(member, record.incarnation, record.slots, **offer, **driven.stamp()))
        driven.drain()
        assert driven.engine.state_hash() == before

    @rule()
    def drain(self) -> None:
        self.driven.drain()

    @rule()
    def pause(self) -> None:
        self.driven.pause()

    @rule()
    def go_on(self) -> None:
        self.driven.unpause()

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if data.draw(st.integers(0, 5)):
            steps = sorted(self.driven.engine.state.steps)
            if steps:
                self.driven.cancel(*data.draw(st.sampled_from(steps)))
        else:
            self.driven.cancel()

    @rule()
    def retry(self) -> None:
        applied = self.driven.retry()
        if applied.refused is None:
            self.finals.clear()

    @rule(generation=st.integers(1, 3), again=st.booleans())
    def remove(self, generation: int, again: bool) -> None:
        """A run that ended is gone with all that it had; one that lives is left alone. Its id is free then."""
        driven, run = self.driven, self.run
        live = {each.no for each in driven.engine.state.live_runs()}
        applied = driven.apply(RemoveRuns(((run, generation),), **driven.stamp()))
        assert applied.refused is None
        if not applied.result:
            return
        assert run not in live
        assert applied.effects == (RunRemoved(run, "r"),)
        if again and (started := driven.start(self.plan)).refused is None:
            self.run = started.result

    @precondition(lambda self: self.driven.engine.state.removed)
    @rule(limit=st.integers(1, 20))
    def sweep(self, limit: int) -> None:
        driven = self.driven
        run = min(driven.engine.state.removed)
        applied = driven.apply(SweepRun(run, limit, **driven.stamp()))
        assert (applied.refused, applied.effects) == (None, ())
        driven.drain()
        left = [at for at in driven.stored if at[0] in ("runs", "live", *OF_RUN) and at[1][:8] == run_key(run)]
        assert applied.result == (left == [])

    @invariant()
    def a_recorded_result_never_changes(self) -> None:
        """Promise 2, within a generation."""
        if not hasattr(self, "driven"):
            return
        for key, step in self.driven.engine.state.steps.items():
            if step.status in FINAL:
                assert self.finals.setdefault(key, step.status) == step.status

    def teardown(self) -> None:
        if hasattr(self, "driven"):
            self._finish()
            check_replay(self.driven)

    def _finish(self) -> None:
        """Promise 9: when trouble stops, the run ends, or waits with a reason."""
        driven = self.driven
        driven.unpause()
        driven.configure()
        driven.register("z", labels=(("gpu", "a100"), ("zone", "eu")))
        for _ in range(400):
            if driven.attempts:
                driven.settle(min(driven.attempts))
            elif driven.decides:
                self._answer(driven.decides[0])
            elif driven.engine.next_timer()[0] is not None:
                driven.timers(1000)
            else:
                break
        waiting = [step for step in driven.engine.state.steps.values() if step.status == "waiting"]
        assert not any(driven.engine.state.is_stranded(step) for step in waiting)
        assert driven.engine.state.live_runs() == [] or waiting

    def _answer(self, effect: Any) -> None:
        driven = self.driven
        step = driven.engine.state.steps.get(effect.key)
        node = None if step is None else driven.engine.state.node_of(step)
        if effect.key[2] == NONE:
            driven.decide(effect, "outputs", data=b"{}")
        elif node is not None and node.for_each is not None and not effect.item:
            driven.items(effect, 2)
        elif node is not None and node.kind == "flow":
            driven.decide(effect, "params", data=b"{}")
        else:
            driven.decide(effect)


def check_replay(driven: Driven) -> None:
    """The same log through another engine, drained and reloaded at other moments, gives the same state hash."""
    stored: dict[tuple[str, bytes], bytes] = {}
    engine = Engine(strict=True)
    for index, data in enumerate(driven.log, start=1):
        load_and_apply(engine, stored, index, decode_command(data))
        store(engine, stored)
        if index % 3 == 0:
            engine = load(stored, index)
    driven.drain()
    assert _records(stored) == _records(driven.stored)
    assert engine.state_hash() == driven.engine.state_hash()
    assert stored == driven.stored


def _records(stored: dict[tuple[str, bytes], bytes]) -> list[Any]:
    """Readable, so that a difference shows itself."""
    return [
        (table, key, attrs.asdict(decode_record(table, value)) | {"epoch": 0})
        for (table, key), value in sorted(stored.items())
        if table in BY_TABLE and key != HASH_KEY
    ]


Random.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None, report_multiple_bugs=False)
TestRandom = Random.TestCase


# The model: statuses of a flat flow whose failures are all contained, straight from R5 and R6


@st.composite
def flat(draw: st.DrawFn) -> tuple[Plan, dict[str, str]]:
    nodes = []
    for i in range(draw(st.integers(1, 7))):
        earlier = [f"n{j}" for j in range(i)]
        needs = draw(st.sets(st.sampled_from(earlier), max_size=3)) if earlier else set()
        rest = sorted(set(earlier) - needs)
        after = draw(st.sets(st.sampled_from(rest), max_size=1)) if rest else set()
        join = draw(st.sampled_from([join for join in JOINS if join != "any_succeeded"]))
        edges = (tuple(sorted(needs)), tuple(sorted(after)))
        nodes.append(Node(f"n{i}", PythonAction("m:f"), *edges, join, on_failure="continue"))
    outcomes = {node.name: draw(st.sampled_from(["succeeded", "failed"])) for node in nodes}
    return Plan("p", (Block("flow", "p", tuple(nodes)),)), outcomes


def model(plan: Plan, outcomes: dict[str, str]) -> dict[str, str]:
    statuses: dict[str, str] = {}
    for node in plan.root.nodes:  # needs stand before
        needs = [statuses[name] for name in node.needs]
        runs = {
            "none_failed": "failed" not in needs and (not needs or "succeeded" in needs),
            "all_succeeded": all(status == "succeeded" for status in needs),
            "all_done": True,
            "any_failed": "failed" in needs or not needs,
        }[node.join]
        statuses[node.name] = outcomes[node.name] if runs else "skipped"
    return statuses


@given(case=flat(), data=st.data())
def test_a_flow_ends_as_the_rules_say(case: tuple[Plan, dict[str, str]], data: st.DataObject) -> None:
    plan, outcomes = case
    driven = Driven(slots=(("*", data.draw(st.integers(1, 3))),))
    driven.register()
    driven.start(plan)
    names = [node.name for node in plan.root.nodes]
    while driven.attempts:
        key = data.draw(st.sampled_from(sorted(driven.attempts)))
        driven.settle(key, outcomes[names[key[2]]])
    assert driven.statuses() == model(plan, outcomes)
    assert driven.ended == {"r": "succeeded"}


@given(
    retry=st.builds(
        Retry,
        initial_ms=st.integers(0, 10_000),
        factor=st.floats(1, 10),
        max_ms=st.integers(0, 60_000),
        jitter=st.booleans(),
    ),
    attempt=st.integers(1, 10_000),
    dice=st.integers(0, 2**32 - 1),
    after=st.none() | st.integers(0, 10**9),
)
def test_a_delay_is_never_longer_than_max(retry: Retry, attempt: int, dice: int, after: int | None) -> None:
    assert 0 <= delay_ms(retry, attempt, dice, after) <= retry.max_ms
