"""The services over an embedded engine, asked by the client over loopback and over the socket of the directory."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import trio

import graft
from graft.client import Client, Start
from graft.cluster.backup import HEAD
from graft.cluster.embedded import Embedded
from graft.cluster.membership import Change
from graft.cluster.socket import MAX_PATH, open_socket, short_path
from graft.cluster.views import MapView
from graft.errors import (
    InvalidParams,
    Rejected,
    RunConflict,
    StoreCorrupt,
    UnknownRun,
    Unreachable,
    UsageError,
)
from graft.plan import plan_hash
from graft.transport.proto import graft_pb2 as pb
from tests.support.processes import until
from tests.support.servers import open_engine, open_services, plan_of

FLOW = """
graft = 1
name = "shop"
[params.n]
type = "int"
default = 1
[params.wait]
type = "string"
default = "go"
[nodes.a]
run = "echo hello; echo oops >&2"
output = "text"
[nodes.items]
needs = ["a"]
for_each = "${ [1, 2, 3] }"
value = "${ item * params.n }"
[nodes.hold]
needs = ["items"]
run = 'until test -e "$W"; do sleep 0.05; done'
env = { W = "${ params.wait }" }
[outputs]
items = "${ items.out }"
"""
PLAN = plan_of(FLOW)
TINY = plan_of('graft = 1\nname = "tiny"\n[nodes.a]\nvalue = 1\n')
BAD = plan_of('graft = 1\nname = "bad"\n[nodes.a]\nrun = "test -e ok"\n')


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncGenerator[Embedded, None]:
    async with open_engine(tmp_path) as found:
        yield found


@pytest.fixture
async def client(engine: Embedded) -> AsyncGenerator[Client, None]:
    async with open_services(engine) as address, Client(address, patience_seconds=5) as found:
        yield found


def test_the_client_is_a_name_of_the_package() -> None:
    assert graft.Client is Client


async def test_a_run_from_start_to_end(client: Client, engine: Embedded, tmp_path: Path) -> None:
    run_id = await client.start(PLAN, {"n": 7}, base=tmp_path)
    assert run_id.startswith("shop-")
    (tmp_path / "go").touch()
    seen = [event async for event in client.watch(run_id)]
    assert seen == list(engine.events(run_id))
    assert seen == list(await client.events(run_id))
    assert list(await client.events(run_id, seen[4].seq)) == seen[5:]
    view = await client.get(run_id)
    assert view == engine.run_view(run_id)
    assert view.outputs == {"items": [7, 14, 21]}
    assert view == await client.wait(run_id)
    assert await client.summary(run_id) == engine.summary(run_id)
    step = await client.step(run_id, "items")
    assert (step.status, json.loads(step.out or b""), step.items) == (
        "succeeded",
        [7, 14, 21],
        MapView(3, ("1", "2", "3")),
    )
    assert (await client.step(run_id, "items[1]")).items is None


async def test_logs_of_all_steps_of_one_and_as_they_come(client: Client, tmp_path: Path) -> None:
    run_id = await client.start(PLAN, base=tmp_path)

    async def create() -> None:
        await trio.sleep(0.3)
        (tmp_path / "go").touch()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(create)
        followed = [(line.path, line.stream, line.text) async for line in client.logs(run_id, follow=True)]
    assert sorted(followed) == [("a", "err", "oops"), ("a", "out", "hello")]
    whole = [(line.path, line.stream, line.text) async for line in client.logs(run_id)]
    assert sorted(whole) == sorted(followed)
    assert [line async for line in client.logs(run_id, "hold")] == []


async def test_the_same_id_and_params_again_are_the_same_run(client: Client) -> None:
    assert await client.start(TINY, run_id="mine") == "mine"
    assert await client.start(TINY, run_id="mine") == "mine"
    assert len(await client.list()) == 1
    with pytest.raises(RunConflict, match="there is a run mine already"):
        await client.start(PLAN, run_id="mine")


async def test_a_member_that_forgot_a_plan_is_sent_it_again(engine: Embedded) -> None:
    sizes = []

    def wrap(name: str, handler: Any) -> Any:
        async def start(request: pb.StartRequest, caller: Any) -> Any:
            sizes.append(len(request.plan) > 0)
            return await handler(request, caller)

        return start if name == "Start" else handler

    async with open_services(engine, wrap=wrap) as first, Client(first, patience_seconds=5) as client:
        await client.start(TINY)
        await client.start(TINY)
        assert sizes == [True, False]
        client._sent.add(plan_hash(PLAN))
        await client.start(PLAN)
        assert sizes == [True, False, False, True]


@pytest.mark.parametrize(
    ("start", "error", "says"),
    [
        ({"params": {"n": "x", "m": 1}}, InvalidParams, "there is no param `m`\n  - `n`: expected int"),
        ({"run_id": "a/b"}, UsageError, "'a/b' cannot be the id of a run"),
        ({"run_id": "x" * 201}, UsageError, "cannot be the id of a run"),
        ({"given": {"nope": 1}}, UsageError, "the flow shop has no node nope"),
        ({"excluded": frozenset({"nope"})}, UsageError, "the flow shop has no node nope"),
    ],
)
async def test_starts_that_are_refused(
    client: Client, start: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error) as caught:
        await client.start(PLAN, **start)
    assert says in str(caught.value)
    assert not await client.list()


async def test_results_are_taken_over(client: Client, tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    run_id = await client.start(PLAN, base=tmp_path, given={"a": "given"}, excluded=frozenset({"hold"}))
    view = await client.wait(run_id)
    assert [(step.node, step.status) for step in view.steps[:1]] == [("a", "succeeded")]
    assert json.loads((await client.step(run_id, "a")).out or b"") == "given"
    assert [step.status for step in view.steps if step.node == "hold"] == ["skipped"]


@pytest.mark.parametrize("method", ["get", "summary", "events", "cancel", "retry", "resume", "wait"])
async def test_a_run_that_is_not_there(client: Client, method: str) -> None:
    with pytest.raises(UnknownRun, match="there is no run nope"):
        await getattr(client, method)("nope")


async def test_streams_of_a_run_that_is_not_there(client: Client) -> None:
    for stream in (client.watch("nope"), client.logs("nope"), client.logs("nope", follow=True)):
        with pytest.raises(UnknownRun):
            await anext(stream)


async def test_a_step_that_is_not_there(client: Client) -> None:
    run_id = await client.start(TINY)
    with pytest.raises(UnknownRun, match="has no step b"):
        await client.step(run_id, "b")
    with pytest.raises(UnknownRun, match="has no step b"):
        await client.cancel(run_id, "b")


async def test_the_newest_runs_first_page_by_page(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graft.client.client.PAGE", 3)
    ids = [await client.start(TINY, run_id=f"{'ab'[i % 2]}{i}") for i in range(8)]
    assert [each.run_id for each in await client.list()] == ids[::-1]
    assert [each.run_id for each in await client.list(4)] == ids[::-1][:4]
    assert [each.run_id for each in await client.list(prefix="a")] == ["a6", "a4", "a2", "a0"]
    assert [each.run_id for each in await client.list(1, prefix="b")] == ["b7"]
    history = [event async for event in client.watch("a0")]
    assert list(await client.events("a0")) == history
    assert len(history) > 3


async def test_cancel_retry_and_resume(client: Client, engine: Embedded, tmp_path: Path) -> None:
    run_id = await client.start(PLAN, base=tmp_path)
    await client.cancel(run_id)
    assert (await client.wait(run_id)).status == "cancelled"
    with pytest.raises(RunConflict):
        await client.cancel(run_id)
    with pytest.raises(RunConflict):
        await client.resume(run_id)
    bad = await client.start(BAD, base=tmp_path)
    assert (await client.wait(bad)).status == "failed"
    (tmp_path / "ok").touch()
    await client.retry(bad)
    again = await client.wait(bad)
    assert (again.status, again.generation) == ("succeeded", 2)


async def test_many_starts_in_one_stream(client: Client) -> None:
    async def starts() -> AsyncGenerator[Start, None]:  # noqa: ASYNC124 - the other side awaits it
        for number in range(700):
            yield Start(TINY, run_id=f"r{number}")
        yield Start(PLAN, {"n": "no number"}, run_id="wrong")

    found = {started.run_id: started.error async for started in client.start_many(starts())}
    assert isinstance(found.pop("wrong"), InvalidParams)
    assert found == {f"r{number}": None for number in range(700)}
    assert len(await client.list()) == 700


async def test_an_error_of_the_source_of_starts_comes_out(client: Client) -> None:
    async def starts() -> AsyncGenerator[Start, None]:  # noqa: ASYNC124 - the other side awaits it
        yield Start(TINY, run_id="first")
        raise ZeroDivisionError

    async with aclosing(client.start_many(starts())) as found:
        assert (await anext(found)).run_id == "first"
        with pytest.raises(ZeroDivisionError):
            await anext(found)


# The socket of a directory


async def test_the_socket_speaks_the_same(engine: Embedded, tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with open_socket(engine, data) as door:
        assert (data / "socket").stat().st_mode & 0o777 == 0o600
        async with Client(f"unix:{data}/socket", patience_seconds=0) as client:
            run_id = await client.start(TINY)
            assert (await client.wait(run_id)).status == "succeeded"
            assert [line async for line in client.logs(run_id)] == []
        assert door.served >= 3
        await until(lambda: not door.calls)
    assert not (data / "socket").exists()


async def test_a_path_that_is_too_long_for_a_socket(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    async with open_engine(deep) as engine, open_socket(engine, deep / "data"):
        with short_path(deep / "data") as path:
            assert len(path) <= MAX_PATH
            async with Client(f"unix:{path}", patience_seconds=0) as client:
                assert await client.list() == ()
    assert not (deep / "data" / "socket").exists()


async def test_a_stale_socket_gives_way(engine: Embedded, tmp_path: Path) -> None:
    (tmp_path / "data" / "socket").write_text("left by a dead process")
    address = f"unix:{tmp_path}/data/socket"
    async with open_socket(engine, tmp_path / "data"), Client(address, patience_seconds=0) as client:
        assert await client.list() == ()


async def test_a_socket_that_cannot_be_had_harms_nobody(engine: Embedded, tmp_path: Path) -> None:
    (tmp_path / "data" / "socket").mkdir()
    said: list[str] = []
    async with open_socket(engine, tmp_path / "data", said.append):
        await engine.start_run(TINY, {}, base=tmp_path)
    assert len(said) == 1
    assert said[0].startswith("other processes cannot reach this one: ")


async def test_who_holds_no_socket_is_unreachable_at_once(tmp_path: Path) -> None:
    with trio.fail_after(5):
        async with Client(f"unix:{tmp_path}/socket", patience_seconds=0) as client:
            with pytest.raises(Unreachable) as caught:
                await client.list()
    assert caught.value.exit_code == 6
    assert not caught.value.sent


# The cluster


class FakeCluster:
    """A membership that notes what it is asked."""

    def __init__(self, backup: bytes = b"") -> None:
        self.asked: list[tuple[Any, ...]] = []
        self._backup = backup

    def __getattr__(self, name: str) -> Any:
        async def change(*arguments: Any, **more: Any) -> Change:  # noqa: ASYNC124 - the other side awaits it
            if "bad" in arguments:
                raise Rejected("not now", reason="busy")
            self.asked.append((name, *arguments, *more.items()))
            return Change(7, "done")

        return change

    async def backup(self) -> AsyncGenerator[bytes, None]:
        for at in range(0, len(self._backup), 1000):
            yield self._backup[at : at + 1000]


async def test_changes_of_a_cluster(engine: Embedded) -> None:
    fake = FakeCluster()
    async with open_services(engine, membership=fake) as address, Client(address) as client:
        changes = [
            await client.add_member("n4", "h:1", "executor"),
            await client.remove_member("n4"),
            await client.set_role("n3", "executor"),
            await client.transfer("n2"),
            await client.drain("n1", undo=True),
            await client.raise_version(3),
            await client.take_snapshot(),
        ]
        assert changes == [Change(7, "done")] * 7
        with pytest.raises(UsageError, match="no role 'king'"):
            await client.set_role("n1", "king")
        with pytest.raises(UsageError, match="no role 'learner'"):
            await client.set_role("n1", "learner")
        with pytest.raises(UsageError, match="no role 'learner' to add"):
            await client.add_member("n1", "h:1", "learner")
        with pytest.raises(UsageError, match="which member"):
            await client.remove_member("")
        with pytest.raises(Rejected) as caught:
            await client.remove_member("bad")
        assert caught.value.reason == "busy"
    assert fake.asked == [
        ("add", "n4", "h:1", "executor"),
        ("remove", "n4"),
        ("set_role", "n3", "executor"),
        ("transfer", "n2"),
        ("drain", "n1", ("undo", True)),
        ("raise_version", 3),
        ("take_snapshot",),
    ]


async def test_a_backup_arrives_whole_or_not_at_all(engine: Embedded) -> None:
    data = sha256(b"x").digest() * 5000

    def spoil(name: str, handler: Any) -> Any:
        async def backup(request: Any, caller: Any) -> AsyncGenerator[Any, None]:
            async for chunk in handler(request, caller):
                if len(chunk.data) == 1000 or chunk.size:
                    yield chunk

        return backup if name == "Backup" else handler

    membership = FakeCluster(data + b"the end")
    async with open_services(engine, membership=membership) as address, Client(address) as client:
        file = io.BytesIO()
        assert await client.backup(file) == len(data) + 7
        assert file.getvalue() == data + b"the end"
    async with open_services(engine, membership=membership, wrap=spoil) as address, Client(address) as client:
        with pytest.raises(StoreCorrupt, match="damaged or cut short"):
            await client.backup(io.BytesIO())


async def test_a_cluster_of_one_stands_alone(client: Client, engine: Embedded) -> None:
    await client.start(TINY)
    status = await client.status()
    assert (status.member, status.leader, status.role, status.has_quorum) == ("local", "local", "leader", True)
    assert status.applied > 0
    assert [each.id for each in await client.members()] == ["local"]
    with pytest.raises(RunConflict, match="it is alone"):
        await client.remove_member("local")
    file = io.BytesIO()
    await client.backup(file)
    assert file.getvalue().startswith(HEAD)
