"""A cluster of one, end to end: real flows, real store, real workers, one process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from graft.cluster.embedded import Embedded, open_embedded
from graft.cluster.history import open_history
from graft.cluster.views import RunView, StepView
from graft.errors import AbsentValue, RunConflict, StorageError, UnknownRun
from graft_dsl import coerce_params, compile_text

STEPS = """
import trio

async def double(x):
    return x * 2

def text(x):
    return str(x)

async def same(x):
    return x

async def fail(message="no"):
    raise ValueError(message)

async def fail_on(x, bad):
    if x == bad:
        raise KeyError(x)
    return x

async def many(n):
    return "x" * n

async def forever():
    await trio.sleep_forever()

async def gate(path):
    import pathlib
    while not pathlib.Path(path).exists():
        await trio.sleep(0.01)
    return "open"
"""


class Desk:
    def __init__(self, base: Path) -> None:
        self.base = base
        self.data = base / ".graft"
        (base / "embeddedsteps.py").write_text(STEPS)

    @asynccontextmanager
    async def graft(self) -> AsyncIterator[Embedded]:
        with trio.fail_after(30):
            async with open_embedded(self.data) as embedded:
                yield embedded

    async def start(self, graft: Embedded, flow: str, run_id: str | None = None, **params: Any) -> str:
        compiled = compile_text("graft = 1\nname = 'f'\n" + flow, filename="flow.toml", base=self.base)
        return await graft.start_run(compiled.plan, params, base=self.base, run_id=run_id)

    async def run(self, flow: str, **params: Any) -> RunView:
        async with self.graft() as graft:
            return await graft.wait(await self.start(graft, flow, **params))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.syspath_prepend(str(tmp_path))
    return Desk(tmp_path)


def by_path(view: RunView) -> dict[str, StepView]:
    found: dict[str, StepView] = {}

    def walk(steps: tuple[StepView, ...]) -> None:
        for step in steps:
            found[step.path] = step
            walk(step.children)

    walk(view.steps)
    return found


def files_in(directory: Path) -> list[Path]:
    return list(directory.iterdir())


async def test_values_flow_from_step_to_step(desk: Desk) -> None:
    view = await desk.run(
        """
        [nodes.a]
        value = "${ [1, 2, 3] }"
        [nodes.b]
        for_each = "a.out"
        python = "embeddedsteps:double"
        with = { x = "${ item }" }
        [nodes.c]
        python = "embeddedsteps:text"
        with = { x = "${ sum(b.out) }" }
        [outputs]
        all = "${ b.out }"
        text = "${ c.out }"
        """
    )
    assert view.status == "succeeded", view.error
    assert view.outputs == {"all": [2, 4, 6], "text": "12"}
    assert list(by_path(view)) == ["a", "b", "b[0]", "b[1]", "b[2]", "c"]


async def test_a_map_over_a_table_gives_a_table(desk: Desk) -> None:
    view = await desk.run(
        """
        [nodes.each]
        for_each = { ams = 1, fra = 2 }
        as = "n"
        value = "${ f'{index}={n}' }"
        [outputs]
        out = "${ each.out }"
        """
    )
    assert view.outputs == {"out": {"ams": "ams=1", "fra": "fra=2"}}
    assert "each[fra]" in by_path(view)


async def test_a_name_is_a_node_first_and_may_have_dashes(desk: Desk) -> None:
    view = await desk.run(
        """
        [nodes.count]
        value = [1, 2, 2]
        [nodes.build-wheel]
        value = "${ count(count.out, 2) }"
        [nodes.pack-all]
        for_each = "count.out"
        as = "split"
        [nodes.pack-all.nodes.index]
        value = "${ split('a b')[index % 2] }"
        [nodes.pack-all.nodes.import]
        value = "${ index.out + str(nodes['build-wheel'].out + split) }"
        [outputs]
        packed = "${ [each['import'] for each in nodes['pack-all'].out] }"
        """
    )
    assert view.status == "succeeded", view.error
    assert view.outputs == {"packed": ["a3", "b4", "a4"]}
    assert "pack-all[2]/import" in by_path(view)


@pytest.mark.parametrize("duration", ["10 ** 300", "str(10 ** 20)", "'999999999999999w'", "1e17", "2 ** 80"])
async def test_a_sleep_that_no_timer_can_hold_fails_its_step_and_no_other_run(desk: Desk, duration: str) -> None:
    async with desk.graft() as graft:
        other = await desk.start(graft, "[nodes.a]\nsleep = '50ms'\n", "other")
        long = await desk.start(graft, f'[nodes.a]\nsleep = "${{ {duration} }}"\n', "long")
        assert (await graft.wait(other)).status == "succeeded"
        view = await graft.wait(long)
    error = view.steps[0].error
    assert (view.status, error and error.type) == ("failed", "expression")


async def test_tables_keep_the_order_of_their_author(desk: Desk) -> None:
    (desk.base / "sub.toml").write_text(
        """
        [params]
        table = { type = "table[int]", default = { zeta = 1, alpha = 2, mid = 3 } }
        [nodes.each]
        for_each = "params.table"
        value = "${ index }"
        [outputs]
        keys = "${ keys(each.out) }"
        """
    )
    flow = """
        [params]
        record = { type = "record", default = { zeta = 1, alpha = { y = 1, b = 2 }, mid = [{ q = 1, c = 2 }] } }
        given = { type = "any" }
        [nodes.each]
        for_each = "${ params.record }"
        value = "${ index }"
        [nodes.literal]
        for_each = { z = 1, a = "${ 2 }" }
        value = "${ index }"
        [nodes.value]
        value = { y = 1, "1" = { x = 1, b = "${ 2 }" } }
        [nodes.function]
        python = "embeddedsteps:same"
        with = { x = { z = 1, "a" = "${ params.given }" } }
        [nodes.child]
        flow = "sub.toml"
        [nodes.asked]
        flow = "sub.toml"
        with = { table = { z = 1, b = 2 } }
        [outputs]
        z = "${ [list(each.out), list(literal.out), list(value.out), list(value.out['1'])] }"
        a = "${ [list(params.record.alpha), list(params.record.mid[0]), list(params.given), list(function.out)] }"
        sub = "${ [child.out.keys, asked.out.keys] }"
        """
    params = coerce_params(compile_text(flow, base=desk.base).plan, {"given": {"zz": 1, "aa": 2}})
    view = await desk.run(flow, **params)
    assert view.status == "succeeded", view.error
    assert view.outputs == {
        "z": [["zeta", "alpha", "mid"], ["z", "a"], ["y", "1"], ["x", "b"]],
        "a": [["y", "b"], ["q", "c"], ["zz", "aa"], ["z", "a"]],
        "sub": [["zeta", "alpha", "mid"], ["z", "b"]],
    }
    assert list(view.outputs) == ["z", "a", "sub"]


async def test_the_errors_of_a_map_are_read_item_by_item(desk: Desk) -> None:
    view = await desk.run(
        """
        [nodes.listed]
        for_each = [1, 2, 3]
        tolerate = 1
        python = "embeddedsteps:fail_on"
        with = { x = "${ item }", bad = 2 }
        [nodes.by_key]
        for_each = { good = 1, bad = 2 }
        on_failure = "continue"
        python = "embeddedsteps:fail_on"
        with = { x = "${ item }", bad = 2 }
        [nodes.never]
        when = "false"
        for_each = [1]
        value = 1
        [nodes.after]
        needs = ["listed"]
        value = "${ [default(by_key.errors['bad'].type, ''), never.errors] }"
        [outputs]
        out = "${ listed.out }"
        errors = "${ [e.type if e != null else null for e in listed.errors] }"
        after = "${ after.out }"
        """
    )
    assert view.status == "succeeded", view.error
    assert view.outputs == {
        "out": [1, None, 3],
        "errors": [None, "python.KeyError", None],
        "after": ["python.KeyError", []],
    }


async def test_groups_see_the_flow_around_them(desk: Desk) -> None:
    view = await desk.run(
        """
        [nodes.a]
        value = 20
        [nodes.g]
        for_each = [1, 2]
        as = "n"
        [nodes.g.nodes.inner]
        value = "${ a.out + n }"
        [nodes.g.nodes.last]
        value = "${ inner.out * 2 }"
        [outputs]
        out = "${ [each.last for each in g.out] }"
        """
    )
    assert view.status == "succeeded", view.error
    assert view.outputs == {"out": [42, 44]}
    assert "g[1]/last" in by_path(view)


async def test_a_sub_flow_has_params_of_its_own(desk: Desk) -> None:
    (desk.base / "inner.toml").write_text(
        """
        graft = 1
        name = "inner"
        [params.n]
        type = "int"
        [params.by]
        type = "int"
        default = 10
        [nodes.times]
        value = "${ params.n * params.by }"
        [outputs]
        product = "${ times.out }"
        """
    )
    view = await desk.run(
        """
        [nodes.sub]
        flow = "inner.toml"
        with = { n = 7 }
        [outputs]
        out = "${ sub.out.product }"
        """
    )
    assert view.status == "succeeded", view.error
    assert view.outputs == {"out": 70}


async def test_a_sub_flow_in_another_directory_keeps_its_own_paths(desk: Desk) -> None:
    (desk.base / "parts").mkdir()
    (desk.base / "parts" / "where.txt").write_text("in parts")
    (desk.base / "parts" / "inner.toml").write_text(
        "graft = 1\nname = 'inner'\n[nodes.read]\nrun = 'cat where.txt'\n[outputs]\ntext = '${ read.out }'\n"
    )
    view = await desk.run("[nodes.sub]\nflow = 'parts/inner.toml'\n[outputs]\nout = '${ sub.out.text }'\n")
    assert view.status == "succeeded", view.error
    assert view.outputs == {"out": "in parts"}


async def test_failure_catch_and_finally_see_what_happened(desk: Desk) -> None:
    view = await desk.run(
        """
        [nodes.bad]
        python = "embeddedsteps:fail"
        with = { message = "broken" }
        catch = [{ on = ["python.ValueError"], to = "mend" }]
        [nodes.mend]
        value = "${ bad.error.type }"
        [nodes.after]
        needs = ["bad"]
        value = 1
        [finally.report]
        value = "${ run.status }"
        """
    )
    steps = by_path(view)
    assert view.status == "succeeded", view.error
    assert {path: step.status for path, step in steps.items()} == {
        "bad": "failed",
        "mend": "succeeded",
        "after": "skipped",
        "report": "succeeded",
    }
    assert steps["bad"].error is not None
    async with desk.graft() as graft:
        assert graft.output(view.run_id, "mend") == "python.ValueError"
        assert graft.output(view.run_id, "report") == "succeeded"
        with pytest.raises(AbsentValue):
            graft.output(view.run_id, "after")
        with pytest.raises(UnknownRun):
            graft.output(view.run_id, "nowhere")


async def test_a_failed_map_reports_a_group_of_errors(desk: Desk) -> None:
    view = await desk.run(
        """
        [nodes.each]
        for_each = [1, 2, 3]
        max_parallel = 1
        python = "embeddedsteps:fail_on"
        with = { x = "${ item }", bad = 2 }
        """
    )
    assert view.status == "failed"
    assert view.error is not None
    assert view.error.type == "group"
    assert [cause.type for cause in view.error.cause] == ["python.KeyError"]


async def test_when_skips_with_a_reason(desk: Desk) -> None:
    view = await desk.run(
        """
        [params.n]
        type = "int"
        [nodes.a]
        when = "params.n > 3"
        value = 1
        """,
        n=1,
    )
    assert by_path(view)["a"].status == "skipped"
    assert "params.n > 3" in by_path(view)["a"].reason


async def test_an_expression_that_fails_names_itself(desk: Desk) -> None:
    view = await desk.run(
        """
        [params.n]
        type = "int"
        [nodes.a]
        value = "${ 1 / params.n }"
        """,
        n=0,
    )
    assert view.status == "failed"
    assert view.error is not None
    assert view.error.type == "expression"
    assert "division by zero" in view.error.title
    assert "1 / params.n" in view.error.title + view.error.detail


async def test_sleep_is_a_timer_and_not_a_thread(desk: Desk) -> None:
    began = trio.current_time()
    view = await desk.run("[nodes.nap]\nsleep = '200ms'\n")
    assert view.status == "succeeded"
    assert trio.current_time() - began >= 0.2


async def test_an_interrupted_run_is_held_until_it_is_resumed(desk: Desk) -> None:
    gate = desk.base / "gate"
    flow = f"""
        [nodes.first]
        value = 1
        [nodes.second]
        needs = ["first"]
        python = "embeddedsteps:gate"
        with = {{ path = "{gate}" }}
        [nodes.third]
        value = "${{ second.out }}"
    """
    async with desk.graft() as graft:
        run_id = await desk.start(graft, flow)
        async with aclosing(graft.watch(run_id)) as events:
            async for event in events:
                if (event.path, event.what) == ("second", "running"):
                    break
    async with desk.graft() as graft:
        await trio.sleep(0.05)
        assert graft.interrupted() == [run_id]
        assert graft.run_view(run_id).paused == "interrupted"
        gate.touch()
        await graft.resume(run_id)
        view = await graft.wait(run_id)
    assert view.status == "succeeded"
    second = by_path(view)["second"]
    assert second.attempt == 1  # a lost process is not an attempt of the step's own code


async def test_cancel_stops_what_runs_and_retry_goes_on(desk: Desk) -> None:
    flow = """
        [nodes.ok]
        value = 1
        [nodes.long]
        python = "embeddedsteps:forever"
        [finally.bye]
        value = "${ run.status }"
    """
    async with desk.graft() as graft:
        run_id = await desk.start(graft, flow)
        async for event in graft.watch(run_id):
            if (event.path, event.what) == ("long", "running"):
                await graft.cancel(run_id)
        view = graft.run_view(run_id)
        assert view.status == "cancelled"
        assert graft.output(run_id, "bye") == "cancelled"
        with pytest.raises(RunConflict, match="has ended"):
            await graft.cancel(run_id)
        await graft.retry(run_id)
        await graft.cancel(run_id, "long")
        view = await graft.wait(run_id)
        assert view.generation == 2
        assert by_path(view)["ok"].reason != "retried"


async def test_the_same_id_gives_the_same_run_or_a_conflict(desk: Desk) -> None:
    flow = "[params.n]\ntype = 'int'\n[nodes.a]\nvalue = '${ params.n }'\n"
    async with desk.graft() as graft:
        first = await desk.start(graft, flow, "mine", n=1)
        assert await desk.start(graft, flow, "mine", n=1) == first
        with pytest.raises(RunConflict, match="mine"):
            await desk.start(graft, flow, "mine", n=2)
        await graft.wait(first)
    async with desk.graft() as graft:
        assert await desk.start(graft, flow, "mine", n=1) == first
        assert [run.run_id for run in graft.runs()] == ["mine"]


async def test_a_step_that_gave_up_waits_for_a_person(desk: Desk) -> None:
    async with desk.graft() as graft:
        run_id = await desk.start(
            graft, "[nodes.a]\npython = 'embeddedsteps:fail'\nretry = { attempts = 1, then = 'pause' }\n"
        )
        view = await graft.wait(run_id)
        assert view.status == "running"
        assert view.waiting is not None
        assert "gave up" in view.waiting
        await graft.cancel(run_id)
        assert (await graft.wait(run_id)).status == "cancelled"


async def test_a_watch_tells_every_event_once_and_goes_on_from_a_cursor(desk: Desk) -> None:
    async with desk.graft() as graft:
        run_id = await desk.start(graft, "[nodes.a]\nvalue = 1\n[nodes.b]\nvalue = '${ a.out }'\n")
        events = [event async for event in graft.watch(run_id)]
        assert [event.seq for event in events] == sorted({event.seq for event in events})
        middle = events[len(events) // 2].seq
        assert [event async for event in graft.watch(run_id, middle)] == [e for e in events if e.seq > middle]
        assert (events[-1].path, events[-1].what) == ("", "succeeded")


async def test_results_are_given_and_nodes_left_out(desk: Desk) -> None:
    compiled = compile_text(
        """
        graft = 1
        name = "f"
        [nodes.a]
        python = "embeddedsteps:fail"
        [nodes.b]
        value = "${ a.out }"
        [nodes.c]
        needs = ["b"]
        value = 3
        """,
        filename="flow.toml",
        base=desk.base,
    )
    async with desk.graft() as graft:
        run_id = await graft.start_run(compiled.plan, {}, base=desk.base, given={"a": 5}, excluded=frozenset({"c"}))
        view = await graft.wait(run_id)
        assert {path: step.status for path, step in by_path(view).items()} == {
            "a": "succeeded",
            "b": "succeeded",
            "c": "skipped",
        }
        assert graft.output(run_id, "b") == 5


async def test_the_directory_has_one_holder_and_many_readers(desk: Desk) -> None:
    async with desk.graft() as graft:
        run_id = await desk.start(graft, "[nodes.a]\nvalue = 1\n")
        await graft.wait(run_id)
    with open_history(desk.data) as history:
        assert history.run_view(run_id).status == "succeeded"
        assert [event.what for event in history.events(run_id)][-1] == "succeeded"
        with pytest.raises(UnknownRun):
            history.run_view("nobody")
    async with desk.graft():
        with pytest.raises(StorageError, match="\\.graft"):
            async with open_embedded(desk.data):
                pass


async def test_ephemeral_leaves_nothing_behind(tmp_path: Path) -> None:
    compiled = compile_text("graft = 1\nname = 'f'\n[nodes.a]\nvalue = 1\n", filename="f.toml", base=tmp_path)
    async with open_embedded(tmp_path / ".graft", ephemeral=True) as graft:
        view = await graft.wait(await graft.start_run(compiled.plan, {}, base=tmp_path))
    assert view.status == "succeeded"
    assert files_in(tmp_path) == []


async def test_the_largest_result_fits_into_the_log(desk: Desk) -> None:
    """A result of exactly the limit, beside which its log entry holds more."""
    view = await desk.run(
        """
        [nodes.a]
        python = "embeddedsteps:many"
        with = { n = 1048574 }
        [nodes.b]
        python = "embeddedsteps:text"
        with = { x = "${ len(a.out) }" }
        [outputs]
        length = "${ b.out }"
        """
    )
    assert view.outputs == {"length": "1048574"}


async def test_large_values_of_one_turn_are_decided_in_several_commands(desk: Desk) -> None:
    view = await desk.run(
        """
        [nodes.text]
        python = "embeddedsteps:many"
        with = { n = 400000 }
        [nodes.copies]
        for_each = "${ range(60) }"
        value = "${ text.out }"
        [outputs]
        count = "${ len(copies.out) }"
        """
    )
    assert view.outputs == {"count": 60}


async def test_a_plan_may_be_larger_than_a_result(desk: Desk) -> None:
    nodes = "\n".join(f"[nodes.n{i}]\nwhen = false\nrun = 'echo {'x' * 600}'" for i in range(2500))
    view = await desk.run(nodes)
    assert view.status == "succeeded"
    assert view.counts == {"skipped": 2500}
