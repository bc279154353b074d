"""The logs of a run from several members, of which some are away, slow or back again."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from graft.client import Client
from graft.client import logs as logs_module
from graft.cluster.embedded import Embedded
from graft.cluster.membership import ClusterStatus, MemberView
from graft.errors import NoQuorum, UnknownRun, Unreachable
from tests.support.processes import until
from tests.support.servers import open_engine, open_services, plan_of

NAMES = ("n1", "n2")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs_module, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr("graft.client.client.MEMBER_PATIENCE_SECONDS", 0.2)


def says(name: str) -> Any:
    """A run that goes on until the file `gate` is there."""
    return plan_of(
        f"""
        graft = 1
        name = "says"
        [nodes.{name}]
        run = 'echo {name} begins; until [ -e gate ]; do sleep 0.05; done; echo {name} ends'
        """
    )


class Members:
    """Two engines that stand for two members of a cluster. Each can be taken down, and up again at its address."""

    def __init__(self, directory: Path, engines: dict[str, Embedded], nursery: trio.Nursery) -> None:
        self.addresses = {name: f"unix:{directory}/{name}.sock" for name in NAMES}
        self.live = dict.fromkeys(NAMES, True)
        self.wrap: dict[str, Any] = {}
        self._engines, self._nursery = engines, nursery
        self._scopes: dict[str, trio.CancelScope] = {}
        self._ended: dict[str, trio.Event] = {}

    async def up(self, name: str) -> None:
        self._scopes[name] = await self._nursery.start(self._serve, name)

    async def down(self, name: str) -> None:
        self._scopes.pop(name).cancel()
        await self._ended[name].wait()

    async def _serve(self, name: str, *, task_status: Any) -> None:  # noqa: ASYNC114 - started by no context manager
        wrap = self.wrap.get(name, lambda method, handler: handler)
        ended = self._ended[name] = trio.Event()
        with trio.CancelScope() as scope:
            listen = self.addresses[name]
            async with open_services(self._engines[name], listen=listen, membership=_Seen(self, name), wrap=wrap):
                task_status.started(scope)
                await trio.sleep_forever()
        ended.set()


class _Seen:
    """The cluster as one member tells of it."""

    def __init__(self, members: Members, name: str) -> None:
        self._members, self._name = members, name

    async def status(self) -> ClusterStatus:
        return ClusterStatus("c", self._name, "leader", "n1", 1, 1, 1, 1, 1, 1, 1, 1, 1, True, "0", 1)

    async def members(self, *, stale: bool = False) -> tuple[MemberView, ...]:
        known = self._members
        return tuple(MemberView(name, 1, "voter", known.addresses[name], known.live[name]) for name in NAMES)


@asynccontextmanager
async def two_members(directory: Path) -> AsyncGenerator[Members, None]:
    """Both are up, and in both a run `r` has begun."""
    async with AsyncExitStack() as stack:
        engines = {name: await stack.enter_async_context(open_engine(directory / name)) for name in NAMES}
        for name, engine in engines.items():
            await engine.start_run(says(name), {}, base=directory, run_id="r")
        nursery = await stack.enter_async_context(trio.open_nursery())
        members = Members(directory, engines, nursery)
        for name, engine in engines.items():
            await members.up(name)
            logs = engine.log_directory
            assert logs is not None
            await until(lambda logs=logs: any(path.stat().st_size for path in logs.rglob("*") if path.is_file()), 20)
        yield members
        nursery.cancel_scope.cancel()


async def texts(lines: AsyncGenerator[Any, None]) -> list[str]:
    return [line.text async for line in lines]


async def test_lines_of_all_members_are_merged_by_time(tmp_path: Path) -> None:
    async with two_members(tmp_path) as members, Client(members.addresses["n2"], patience_seconds=5) as client:
        (tmp_path / "gate").touch()
        with trio.fail_after(60):
            followed = await texts(client.logs("r", follow=True))
            found = [line async for line in client.logs("r")]
        assert sorted(line.text for line in found) == ["n1 begins", "n1 ends", "n2 begins", "n2 ends"]
        assert [line.time for line in found] == sorted(line.time for line in found)
        assert sorted(followed) == sorted(line.text for line in found)


@pytest.mark.parametrize("follow", [False, True])
@pytest.mark.parametrize("how", ["down", "dead", "no quorum"])
async def test_who_does_not_answer_is_named_and_the_rest_is_shown(tmp_path: Path, follow: bool, how: str) -> None:
    """One without a quorum ended the whole command, and the others left no word."""
    async with two_members(tmp_path) as members, Client(members.addresses["n1"], patience_seconds=5) as client:
        (tmp_path / "gate").touch()
        await members.down("n2")
        if how == "down":
            members.live["n2"] = False
        elif how == "no quorum":
            members.wrap["n2"] = refusing(lambda: NoQuorum("there is no quorum"))
            await members.up("n2")
        lost: list[tuple[str, str]] = []
        with trio.fail_after(60):
            await client.wait("r")
            found = await texts(client.logs("r", follow=follow, lost=lambda *said: lost.append(said)))
        assert found == ["n1 begins", "n1 ends"]
        assert [member for member, _ in lost] == ["n2"]
        assert {"down": "it is down", "dead": "n2.sock: ", "no quorum": "there is no quorum"}[how] in lost[0][1]


def refusing(error: Callable[[], Exception]) -> Any:
    def wrap(name: str, handler: Any) -> Any:
        async def refuse(request: Any, caller: Any) -> AsyncGenerator[Any, None]:  # noqa: ASYNC124 - a handler
            raise error()
            yield

        return refuse if name == "Logs" else handler

    return wrap


@pytest.mark.parametrize("follow", [False, True])
async def test_a_run_that_nobody_knows(tmp_path: Path, follow: bool) -> None:
    async with two_members(tmp_path) as members, Client(members.addresses["n1"], patience_seconds=5) as client:
        with trio.fail_after(60), pytest.raises(UnknownRun):
            await texts(client.logs("nothing", follow=follow))


async def test_a_follower_hears_of_a_member_that_is_back_and_hears_no_line_twice(tmp_path: Path) -> None:
    async with two_members(tmp_path) as members, Client(members.addresses["n1"], patience_seconds=5) as client:
        found: list[str] = []
        lost: list[str] = []
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:

                async def follow() -> None:
                    async for line in client.logs("r", follow=True, lost=lambda member, _: lost.append(member)):
                        found.append(line.text)

                nursery.start_soon(follow)
                await until(lambda: len(found) == 2, 20)
                await members.down("n2")
                await until(lambda: lost == ["n2"], 20)
                await members.up("n2")
                (tmp_path / "gate").touch()
        assert sorted(found) == ["n1 begins", "n1 ends", "n2 begins", "n2 ends"]


@pytest.mark.parametrize("follow", [False, True])
async def test_nobody_is_left(tmp_path: Path, follow: bool) -> None:
    async with (
        two_members(tmp_path) as members,
        Client(members.addresses["n1"], patience_seconds=0.2) as client,
        aclosing(client.logs("r", follow=follow)) as lines,
    ):
        if follow:
            await anext(lines)
        for name in NAMES:
            await members.down(name)
        with trio.fail_after(60), pytest.raises(Unreachable):
            _ = [line async for line in lines]


async def test_a_follower_of_a_run_that_has_ended_hears_all_members_and_ends(tmp_path: Path) -> None:
    """With two members or more it ended with a RuntimeError of a cancel scope."""
    async with two_members(tmp_path) as members, Client(members.addresses["n1"], patience_seconds=5) as client:
        (tmp_path / "gate").touch()
        async with Client(members.addresses["n2"], patience_seconds=5) as other:
            with trio.fail_after(60):
                await client.wait("r")
                await other.wait("r")
        with trio.fail_after(60):
            found = await texts(client.logs("r", follow=True))
        assert sorted(found) == ["n1 begins", "n1 ends", "n2 begins", "n2 ends"]
