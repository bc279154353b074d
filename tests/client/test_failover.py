"""Members that go away: nothing that was asked happens twice, and no event is lost or comes again."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from graft.client import Client, Start
from graft.cluster.embedded import Embedded
from graft.errors import NoQuorum, Rejected, RunConflict, Unreachable
from tests.support.servers import open_engine, open_services, plan_of

TINY = plan_of('graft = 1\nname = "tiny"\n[nodes.a]\nvalue = 1\n')
BAD = plan_of('graft = 1\nname = "bad"\n[nodes.a]\nrun = "false"\n')
MANY = plan_of(
    """
    graft = 1
    name = "many"
    [nodes.items]
    for_each = "${ [i for i in [0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19]] }"
    run = "sleep 0.05"
    max_parallel = 2
    """
)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncGenerator[Embedded, None]:
    async with open_engine(tmp_path) as found:
        yield found


class Flaky:
    """Members that answer for the engine at fixed addresses, each of which can be taken down and up."""

    def __init__(self, engine: Embedded, nursery: trio.Nursery, directory: Path) -> None:
        self._engine, self._nursery = engine, nursery
        self.addresses = [f"unix:{directory}/m{number}" for number in range(2)]
        self._scopes: dict[str, trio.CancelScope] = {}

    async def up(self, number: int) -> None:
        self._scopes[self.addresses[number]] = await self._nursery.start(self._serve, self.addresses[number])

    def down(self, number: int) -> None:
        self._scopes.pop(self.addresses[number]).cancel()

    async def _serve(self, address: str, *, task_status: Any) -> None:  # noqa: ASYNC114 - started by no context manager
        with trio.CancelScope() as scope:
            async with open_services(self._engine, listen=address):
                task_status.started(scope)
                await trio.sleep_forever()


@asynccontextmanager
async def flaky_members(engine: Embedded, directory: Path) -> AsyncGenerator[Flaky, None]:
    async with trio.open_nursery() as nursery:
        members = Flaky(engine, nursery, directory)
        await members.up(0)
        yield members
        nursery.cancel_scope.cancel()


async def test_a_watch_goes_on_at_another_member(engine: Embedded, tmp_path: Path) -> None:
    async with (
        flaky_members(engine, tmp_path) as members,
        Client(*members.addresses, patience_seconds=20) as client,
    ):
        run_id = await client.start(MANY)
        seen = []
        serving, changes = 0, 0
        with trio.fail_after(60):
            async for event in client.watch(run_id):
                seen.append(event)
                if len(seen) % 12 == 0 and changes < 4:
                    changes += 1
                    members.down(serving)
                    serving = 1 - serving
                    await members.up(serving)
        assert changes >= 3
        assert seen == list(engine.events(run_id))


async def test_a_watch_bridges_a_time_without_members(engine: Embedded, tmp_path: Path) -> None:
    async with (
        flaky_members(engine, tmp_path) as members,
        Client(members.addresses[0], patience_seconds=20) as client,
    ):
        run_id = await client.start(MANY)
        seen = []
        with trio.fail_after(60):
            async for event in client.watch(run_id):
                seen.append(event)
                if len(seen) == 5:
                    members.down(0)
                    await trio.sleep(0.3)
                    await members.up(0)
        assert seen == list(engine.events(run_id))


async def test_a_wait_outlives_a_member(engine: Embedded, tmp_path: Path) -> None:
    async with (
        flaky_members(engine, tmp_path) as members,
        Client(*members.addresses, patience_seconds=20) as client,
    ):
        run_id = await client.start(MANY)
        async with trio.open_nursery() as nursery:

            async def change() -> None:
                await trio.sleep(0.1)
                members.down(0)
                await members.up(1)

            nursery.start_soon(change)
            with trio.fail_after(60):
                assert (await client.wait(run_id)).status == "succeeded"


async def test_patience_ends(engine: Embedded, tmp_path: Path) -> None:
    async with (
        flaky_members(engine, tmp_path) as members,
        Client(*members.addresses, patience_seconds=0.5) as client,
    ):
        run_id = await client.start(MANY)
        events = client.watch(run_id)
        await anext(events)
        members.down(0)
        with trio.fail_after(60), pytest.raises(Unreachable) as caught:
            _ = [event async for event in events]
        assert caught.value.exit_code == 6
        with pytest.raises(Unreachable):
            await client.get(run_id)


async def test_many_starts_outlive_members_and_apply_once(engine: Embedded, tmp_path: Path) -> None:
    async with (
        flaky_members(engine, tmp_path) as members,
        Client(*members.addresses, patience_seconds=20) as client,
    ):
        found = []
        serving = 0
        with trio.fail_after(60):
            async for started in client.start_many(Start(TINY, run_id=f"r{number}") for number in range(600)):
                found.append(started)
                if len(found) in (1, 200, 450):
                    members.down(serving)
                    serving = 1 - serving
                    await members.up(serving)
        assert [each.error for each in found if each.error is not None] == []
        assert sorted(each.run_id for each in found) == sorted(f"r{number}" for number in range(600))
        assert len(engine.runs()) == 600


def losing(method: str, times: int, *, before: bool, error: Callable[[], Exception]) -> Any:
    """A handler's stand-in: `times` calls of `method` fail, before it was carried out or (the answer is lost) after."""
    left = [times]

    def wrap(name: str, handler: Any) -> Any:
        async def lossy(request: Any, caller: Any) -> Any:
            lose = left[0] > 0
            left[0] -= lose
            if lose and before:
                raise error()
            reply = await handler(request, caller)
            if lose:
                raise error()
            return reply

        return lossy if name == method else handler

    return wrap


def lost() -> Exception:
    return Unreachable("the answer is lost", address="x")


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("times", [1, 3])
async def test_a_start_whose_answer_is_lost_applies_once(engine: Embedded, before: bool, times: int) -> None:
    wrap = losing("Start", times, before=before, error=lost)
    async with open_services(engine, wrap=wrap) as address, Client(address, patience_seconds=20) as client:
        run_id = await client.start(TINY)
        assert [each.run_id for each in await client.list()] == [run_id]


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("times", [1, 3])
async def test_a_retry_whose_answer_is_lost_opens_one_generation(engine: Embedded, before: bool, times: int) -> None:
    wrap = losing("Retry", times, before=before, error=lost)
    async with open_services(engine, wrap=wrap) as address, Client(address, patience_seconds=20) as client:
        run_id = await client.start(BAD)
        await client.wait(run_id)
        await client.retry(run_id)
        assert (await client.wait(run_id)).generation == 2


@pytest.mark.parametrize("before", [True, False])
async def test_a_cancel_whose_answer_is_lost_is_no_conflict(engine: Embedded, before: bool) -> None:
    wrap = losing("Cancel", 2, before=before, error=lost)
    async with open_services(engine, wrap=wrap) as address, Client(address, patience_seconds=20) as client:
        run_id = await client.start(MANY)
        await client.cancel(run_id)
        assert (await client.wait(run_id)).status == "cancelled"
        with pytest.raises(RunConflict):  # one that was not repeated is told the truth
            await client.cancel(run_id)


@pytest.mark.parametrize("before", [True, False])
async def test_a_resume_whose_answer_is_lost_is_no_conflict(tmp_path: Path, before: bool) -> None:
    wrap = losing("Resume", 2, before=before, error=lost)
    async with open_engine(tmp_path) as engine:
        await engine.start_run(MANY, {}, base=tmp_path, run_id="held")
    async with (
        open_engine(tmp_path) as engine,
        open_services(engine, wrap=wrap) as address,
        Client(address, patience_seconds=20) as client,
    ):
        assert (await client.summary("held")).paused == "interrupted"
        await client.resume("held")
        assert (await client.wait("held")).status == "succeeded"


@pytest.mark.parametrize(
    "error",
    [
        lambda: NoQuorum("no leader"),
        lambda: Rejected("not me", reason="not_leader", leader="b"),
        lambda: Rejected("stopping", reason="stopping"),
        lambda: Rejected("busy", reason="overloaded"),
    ],
    ids=["no_quorum", "not_leader", "stopping", "overloaded"],
)
async def test_refusals_that_pass_are_waited_out(engine: Embedded, error: Callable[[], Exception]) -> None:
    wrap = losing("Get", 3, before=True, error=error)
    async with open_services(engine, wrap=wrap) as address, Client(address, patience_seconds=20) as client:
        run_id = await client.start(TINY)
        assert (await client.get(run_id)).run_id == run_id


async def test_refusals_that_do_not_pass_come_out_at_once(engine: Embedded) -> None:
    wrap = losing("Get", 100, before=True, error=lambda: Rejected("too much", reason="too_large"))
    async with open_services(engine, wrap=wrap) as address, Client(address, patience_seconds=600) as client:
        run_id = await client.start(TINY)
        with trio.fail_after(30), pytest.raises(Rejected, match="too much"):
            await client.get(run_id)


async def test_no_quorum_for_longer_than_patience_is_exit_code_6(engine: Embedded) -> None:
    wrap = losing("List", 100_000, before=True, error=lambda: NoQuorum("no leader"))
    async with open_services(engine, wrap=wrap) as address, Client(address, patience_seconds=0.3) as client:
        with trio.fail_after(30), pytest.raises(NoQuorum) as caught:
            await client.list()
    assert caught.value.exit_code == 6


async def test_what_a_member_said_goes_before_that_others_are_down(engine: Embedded, tmp_path: Path) -> None:
    """Of a cluster without a majority one heard only that the dead members refuse connections."""
    wrap = losing("List", 100_000, before=True, error=lambda: NoQuorum("no leader"))
    gone = f"unix:{tmp_path}/gone"
    async with open_services(engine, wrap=wrap) as address, Client(address, gone, patience_seconds=0.0) as client:
        with trio.fail_after(30), pytest.raises(NoQuorum, match="no leader"):
            await client.list()


async def test_logs_that_break_go_on_without_repeats(engine: Embedded, tmp_path: Path) -> None:
    plan = plan_of('graft = 1\nname = "log"\n[nodes.a]\nrun = "for i in $(seq 40); do echo $i; sleep 0.02; done"\n')
    breaks = [5, 12, 12, 30]  # after so many lines, counted from the first of all

    def wrap(name: str, handler: Any) -> Any:
        async def breaking(request: Any, caller: Any) -> AsyncGenerator[Any, None]:
            most = breaks.pop(0) if breaks else 1000
            async with aclosing(handler(request, caller)) as lines:
                async for line in lines:
                    if not most:
                        raise Unreachable("the stream broke", address="x")
                    most -= 1
                    yield line  # noqa: ASYNC119 - closed by its caller

        return breaking if name == "Logs" else handler

    async with open_services(engine, wrap=wrap) as address, Client(address, patience_seconds=20) as client:
        run_id = await client.start(plan, base=tmp_path)
        with trio.fail_after(60):
            found = [line.text async for line in client.logs(run_id, follow=True)]
    assert found == [str(number) for number in range(1, 41)]
    assert not breaks
