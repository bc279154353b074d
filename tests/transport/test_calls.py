"""Calls through our own client: replies, errors, deadlines, streams, and how a server stops."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from grpclib.exceptions import StreamTerminatedError

from graft import errors
from graft.errors import GraftError, Rejected, UnknownRun, Unreachable, UsageError
from graft.transport import Limits, framing
from graft.transport.channel import Channel, open_channel
from graft.transport.health import Health
from graft.transport.proto import graft_pb2
from graft.transport.server import Server, open_server
from graft.transport.statuses import decode_error, encode_error
from tests.support.network import QUICK, Proxy, open_proxy, until
from tests.support.services import make_services


@asynccontextmanager
async def pair(limits: Limits = QUICK, **more: Any) -> AsyncIterator[tuple[Server, Channel]]:
    async with (
        open_server(make_services(), listen=["127.0.0.1:0"], limits=limits, **more) as server,
        open_channel(server.addresses[0], limits=limits) as channel,
    ):
        yield server, channel


async def get(channel: Channel, run_id: str = "r", **more: Any) -> Any:
    return await channel.call("Workflows", "Get", graft_pb2.GetRequest(run_id=run_id), **more)


async def test_a_call_and_its_reply() -> None:
    async with pair() as (_, channel):
        assert (await get(channel, "r1")).summary.run_id == "r1"


@pytest.mark.parametrize("size", [0, 1, 16 * 1024, 100_000, 3_000_000])
async def test_replies_of_any_size_come_back_whole(size: int) -> None:
    async with pair() as (_, channel):
        assert len((await get(channel, str(size))).params) == size


async def test_large_requests_are_compressed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = 0

    def count(data: bytes) -> bytes:
        nonlocal seen
        seen += len(data)
        return data

    async with open_server(make_services(), listen=["127.0.0.1:0"]) as server, open_proxy(server.addresses[0]) as proxy:
        proxy.change = count
        async with open_channel(proxy.address) as channel:
            await channel.call("Workflows", "Start", graft_pb2.StartRequest(plan=b"plan " * 100_000))
    assert seen < 50_000


async def test_an_error_is_raised_again_as_what_it_was() -> None:
    async with pair() as (_, channel):
        with pytest.raises(UnknownRun) as unknown:
            await get(channel, "unknown")
        assert unknown.value.message == "no run unknown"
        assert unknown.value.hint == "graft runs lists them"
        with pytest.raises(Rejected) as rejected:
            await get(channel, "overloaded")
        assert (rejected.value.reason, rejected.value.leader) == ("overloaded", "b")
        with pytest.raises(UnknownRun):
            await get(channel, "grouped")


async def test_a_bug_in_a_handler_tells_the_log_and_not_the_caller(caplog: pytest.LogCaptureFixture) -> None:
    async with pair() as (_, channel):
        with pytest.raises(GraftError, match="the server's log says why") as raised:
            await get(channel, "bug")
        assert "secret" not in str(raised.value)
        assert "secret of the house" in caplog.text
        await get(channel)


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidFlow("three problems"),
        errors.StoreHeld("held by 7", pid=7),
        errors.ExpressionError("no", where="a.b"),
        errors.Unreachable("gone", address="x:1", sent=False),
        errors.Denied("no", reason="role"),
        errors.StoreFull("full", hint="delete"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_error_survives_the_wire(error: GraftError) -> None:
    found = decode_error(encode_error(error))
    assert type(found) is type(error)
    assert str(found) == str(error)
    for name in ("reason", "leader", "where", "address", "sent", "pid"):
        if hasattr(error, name):
            assert getattr(found, name) == getattr(error, name)


def test_an_error_of_the_future_is_a_graft_error() -> None:
    data = encode_error(GraftError("too new")).replace(b"GraftError", b"HyperError")
    assert type(decode_error(data)) is GraftError
    with pytest.raises(ValueError, match="no error"):
        decode_error(b"\xc1")


async def test_a_call_has_a_deadline_and_its_handler_is_cancelled() -> None:
    async with pair() as (server, channel):
        with trio.fail_after(20), pytest.raises(Unreachable, match=r"no answer in 0\.2 s|deadline") as raised:
            await get(channel, "slow", timeout=0.2)
        assert raised.value.exit_code == 6
        await until(lambda: not server._calls.running)
        await get(channel)


async def test_the_server_bounds_calls_that_name_no_deadline() -> None:
    async with pair(attrs.evolve(QUICK, call_seconds=0.2)) as (_, channel):
        with trio.fail_after(20), pytest.raises(Unreachable):
            await get(channel, "slow", timeout=15)


async def test_to_cancel_a_call_cancels_its_handler() -> None:
    async with pair() as (server, channel):
        with trio.move_on_after(0.2) as scope:
            await get(channel, "slow")
        assert scope.cancelled_caught
        await until(lambda: not server._calls.running)


async def test_a_cancelled_program_is_cancelled_and_hears_of_no_failure() -> None:
    """Its channel is closed by the same cancellation, perhaps before the call notices that it is cancelled."""
    async with open_server(make_services(), listen=["127.0.0.1:0"]) as server:
        for _ in range(20):
            with trio.CancelScope() as scope:
                async with open_channel(server.addresses[0]) as channel, trio.open_nursery() as nursery:
                    for _ in range(5):
                        nursery.start_soon(get, channel, "slow")
                    await trio.sleep(0.02)
                    scope.cancel()
            assert scope.cancelled_caught


@asynccontextmanager
async def frozen(limits: Limits) -> AsyncIterator[tuple[Proxy, Channel]]:
    """A server behind a proxy."""
    async with (
        pair() as (server, _),
        open_proxy(server.addresses[0]) as proxy,
        open_channel(proxy.address, limits=limits) as channel,
    ):
        yield proxy, channel
        proxy.release()


async def test_a_server_that_hangs_is_left_at_the_deadline() -> None:
    async with frozen(attrs.evolve(QUICK, keepalive_seconds=60)) as (proxy, channel):
        await get(channel)
        proxy.held = True
        with trio.fail_after(20), pytest.raises(Unreachable):
            await get(channel, timeout=0.3)


async def test_keepalive_ends_a_watch_whose_server_is_frozen() -> None:
    watched = request("forever", 1)
    async with frozen(QUICK) as (proxy, channel), channel.stream("Workflows", "Watch", watched) as events:
        await anext(events)
        proxy.held = True
        with trio.fail_after(20), pytest.raises(Unreachable):
            await anext(events)


def request(run_id: str, after: int) -> Any:
    return graft_pb2.WatchRequest(run_id=run_id, after=after)


async def test_a_stream_of_replies_in_order() -> None:
    async with pair() as (_, channel), channel.stream("Workflows", "Watch", request("r", 1000)) as events:
        assert [event.seq async for event in events] == list(range(1, 1001))


async def test_a_stream_that_fails_fails_after_its_replies() -> None:
    async with pair() as (_, channel), channel.stream("Workflows", "Watch", request("unknown", 3)) as events:
        assert [(await anext(events)).seq for _ in range(3)] == [1, 2, 3]
        with pytest.raises(UnknownRun):
            await anext(events)


async def test_a_stream_that_is_left_early_ends_its_handler() -> None:
    async with pair() as (server, channel):
        async with channel.stream("Workflows", "Watch", request("forever", 5)) as events:
            async for event in events:
                if event.seq == 5:
                    break
        await until(lambda: not server._calls.running)


async def test_a_reader_that_is_slow_holds_the_handler_back() -> None:
    async with pair() as (_, channel), channel.stream("Workflows", "Watch", request("r", 1 << 62)) as events:
        first = await anext(events)
        await trio.sleep(0.3)
        assert first.seq == 1


async def test_requests_and_replies_both_stream() -> None:
    async def requests() -> AsyncIterator[Any]:
        for n in range(200):
            yield graft_pb2.StartRequest(run_id=str(n))

    async with pair() as (_, channel), channel.stream("Workflows", "StartMany", requests()) as replies:
        assert [reply.run_id async for reply in replies] == [str(n) for n in range(200)]


async def test_a_server_may_end_a_stream_of_requests() -> None:
    async def requests() -> AsyncIterator[Any]:
        yield graft_pb2.StartRequest(run_id="enough")
        await trio.sleep_forever()

    async with pair() as (_, channel), channel.stream("Workflows", "StartMany", requests()) as replies:
        with trio.fail_after(20):
            assert [reply.run_id async for reply in replies] == ["enough"]


async def test_a_stream_that_is_left_while_it_breaks_leaves_no_word_of_asyncio(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """grpclib makes a cancel of a stream that broke meanwhile its own error, which nobody was there to retrieve."""

    async def broken(stream: Any, batch: Any) -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            raise StreamTerminatedError("Connection lost") from None

    async def requests() -> AsyncIterator[Any]:
        yield graft_pb2.StartRequest(run_id="a")
        await trio.sleep_forever()

    monkeypatch.setattr(framing, "send_many", broken)
    async with pair() as (_, channel):
        async with channel.stream("Workflows", "StartMany", requests()):
            await trio.testing.wait_all_tasks_blocked(0.05)
        await trio.testing.wait_all_tasks_blocked(0.05)
        gc.collect()
    assert "never retrieved" not in caplog.text


async def test_a_source_of_requests_that_fails_ends_the_stream_with_its_error() -> None:
    async def requests() -> AsyncIterator[Any]:
        yield graft_pb2.StartRequest(run_id="a")
        raise ZeroDivisionError("the source")

    async with pair() as (server, channel):
        async with channel.stream("Workflows", "StartMany", requests()) as replies:
            with trio.fail_after(20), pytest.raises(ZeroDivisionError, match="the source"):
                _ = [reply async for reply in replies]
        await until(lambda: not server._calls.running)


async def test_a_request_of_a_stream_that_is_too_large_ends_it() -> None:
    """It was waited for, for ever: the server knew nothing of it, and asked for more."""

    async def requests() -> AsyncIterator[Any]:
        yield graft_pb2.StartRequest(run_id="a", plan=bytes(QUICK.max_message_bytes))
        await trio.sleep_forever()

    async with pair() as (_, channel), channel.stream("Workflows", "StartMany", requests()) as replies:
        with trio.fail_after(20), pytest.raises(GraftError, match="too large"):
            await anext(replies)


async def test_many_calls_at_a_time() -> None:
    async with pair() as (_, channel), trio.open_nursery() as nursery:
        for n in range(100):
            nursery.start_soon(get, channel, str(n))


async def test_streams_leave_room_for_calls_and_too_many_are_refused() -> None:
    async with pair(attrs.evolve(QUICK, max_streams=16)) as (_, channel), AsyncExitStack() as stack:
        watch = request("forever", 0)
        with trio.fail_after(20):
            for _ in range(14):
                await stack.enter_async_context(channel.stream("Workflows", "Watch", watch))
            with pytest.raises(Rejected, match="14 streams are open over one connection") as refused:
                async with channel.stream("Workflows", "Watch", watch):
                    pass
            assert refused.value.reason == "too_many_streams"
            await get(channel)
        await stack.aclose()
        async with channel.stream("Workflows", "Watch", watch):
            pass


async def test_a_method_without_a_handler_is_unimplemented() -> None:
    async with open_server({}, listen=["127.0.0.1:0"]) as server, open_channel(server.addresses[0]) as channel:
        with pytest.raises(GraftError, match="Method not found"):
            await get(channel)


async def test_a_handler_for_what_the_contract_does_not_know_is_refused() -> None:
    async def nothing(request: Any, caller: Any) -> Any: ...

    for services in ({"Nobody": {}}, {"Workflows": {"Dance": nothing}}):
        with pytest.raises(ValueError, match="has no"):
            async with open_server(services, listen=["127.0.0.1:0"]):
                pass


# The way to a server


async def test_nobody_there_says_so_and_that_nothing_was_sent() -> None:
    async with open_channel("127.0.0.1:1", limits=QUICK) as channel:
        with pytest.raises(Unreachable) as raised:
            await get(channel)
        assert not raised.value.sent
        assert raised.value.address == "127.0.0.1:1"


async def test_after_some_failures_it_does_not_even_try() -> None:
    slow = attrs.evolve(QUICK, backoff_seconds=30, max_backoff_seconds=30)
    async with open_channel("127.0.0.1:1", limits=slow) as channel:
        for _ in range(3):
            with pytest.raises(Unreachable, match="cannot connect"):
                await get(channel)
        with pytest.raises(Unreachable, match="not tried again yet"):
            await get(channel)


async def test_a_channel_connects_again() -> None:
    async with open_server(make_services(), listen=["127.0.0.1:0"]) as server:
        address = server.addresses[0]
        async with open_channel(address, limits=QUICK) as channel:
            await get(channel)
            await until(lambda: server.connections)
            for each in list(server.connections):
                assert each.protocol is not None
                each.protocol.goodbye()
            await until(lambda: not server.connections)
            await get(channel)


@pytest.mark.parametrize("address", ["nowhere", "host:", "host:99999", "unix:", "host:port"])
async def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(UsageError):
        async with open_channel(address):
            pass
    with pytest.raises(UsageError):
        async with open_server({}, listen=[address]):
            pass


async def test_a_unix_socket_is_for_this_user_only_and_goes_away(tmp_path: Path) -> None:
    path = tmp_path / "graft.sock"
    async with open_server(make_services(), listen=[f"unix:{path}"]) as server:
        assert server.addresses == [f"unix:{path}"]
        assert path.stat().st_mode & 0o777 == 0o600
        async with open_channel(f"unix:{path}") as channel:
            await get(channel)
            found = await channel.call("Workflows", "List", graft_pb2.ListRequest())
            assert "operator" in found.runs[0].name
    assert not path.exists()


async def test_a_socket_file_that_nobody_listens_on_is_replaced_and_a_used_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "graft.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    async with open_server(make_services(), listen=[f"unix:{path}"]):
        with pytest.raises(OSError, match="cannot listen"):
            async with open_server(make_services(), listen=[f"unix:{path}"]):
                pass
        async with open_channel(f"unix:{path}") as channel:
            await get(channel)
    long = tmp_path / ("x" * 200)
    with pytest.raises(UsageError, match="107"):
        async with open_server({}, listen=[f"unix:{long}"]):
            pass


async def test_a_port_in_use_is_named() -> None:
    async with open_server({}, listen=["127.0.0.1:0"]) as server:
        with pytest.raises(OSError, match=f"cannot listen on {server.addresses[0]}"):
            async with open_server({}, listen=server.addresses):
                pass


# The end


async def test_an_error_of_the_body_is_raised_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with pair():
            raise ZeroDivisionError


async def test_a_call_that_runs_gets_its_time_when_the_server_stops() -> None:
    answers = []
    release = trio.Event()

    async def wait(request: Any, caller: Any) -> Any:
        await release.wait()
        return graft_pb2.RunReply()

    async def ask(channel: Channel) -> None:
        answers.append(await get(channel))

    async with trio.open_nursery() as nursery:
        async with open_server({"Workflows": {"Get": wait}}, listen=["127.0.0.1:0"]) as server:
            channel = await nursery.start(keep_channel, server.addresses[0])
            nursery.start_soon(ask, channel)
            await until(lambda: server._calls.running)
            nursery.start_soon(later, release)
        assert len(answers) == 1
        nursery.cancel_scope.cancel()


async def later(event: trio.Event) -> None:
    await trio.sleep(0.1)
    event.set()


async def keep_channel(address: str, *, task_status: trio.TaskStatus[Channel]) -> None:
    async with open_channel(address, limits=QUICK) as channel:
        task_status.started(channel)
        await trio.sleep_forever()


async def test_a_server_stops_in_time_whatever_runs_and_closes_its_connections() -> None:
    """grpclib's own `close` leaves connections open, and a watch would last for ever."""
    short = attrs.evolve(QUICK, shutdown_seconds=0.2)
    outcomes: list[str] = []

    async def watch(channel: Channel) -> None:
        try:
            async with channel.stream("Workflows", "Watch", request("forever", 1)) as events:
                async for _ in events:
                    outcomes.append("event")
        except Unreachable:
            outcomes.append("unreachable")

    async def ask(channel: Channel) -> None:
        try:
            await get(channel, "slow")
        except Unreachable:
            outcomes.append("unreachable")

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            async with open_server(make_services(), listen=["127.0.0.1:0"], limits=short) as server:
                channel = await nursery.start(keep_channel, server.addresses[0])
                nursery.start_soon(watch, channel)
                nursery.start_soon(ask, channel)
                await until(lambda: len(server._calls.running) == 2 and outcomes)
            assert not server.connections
            await until(lambda: outcomes.count("unreachable") == 2)
            with pytest.raises(Unreachable):
                await get(channel)
            nursery.cancel_scope.cancel()


async def test_a_cancelled_server_still_stops_in_order() -> None:
    with trio.fail_after(20), trio.CancelScope() as scope:
        async with pair() as (_, channel):
            await get(channel)
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_a_stopping_server_is_not_serving() -> None:
    health = Health()
    async with pair(health=health):
        assert health._states[""]
    assert not health._states[""]
