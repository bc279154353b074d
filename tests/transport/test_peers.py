"""Members that find, refuse, lose and find each other again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import attrs
import pytest
import trio

from graft.raft.messages import Heartbeat, InstallSnapshot, TimeoutNow
from graft.raft.records import Configuration, SnapshotMeta
from graft.security.certs import DevCertificates
from graft.transport import wire
from graft.transport.framing import frame
from graft.transport.letters import Ask
from graft.transport.peers import Hello, PeerHub
from graft.transport.proto import graft_pb2
from tests.support.network import QUICK, Node, connected, introduce, make_node, open_proxy, serving, until


@asynccontextmanager
async def pair(certificates: DevCertificates, **of_b: Any) -> AsyncIterator[tuple[Node, Node]]:
    """a and b, with TLS, who do not know each other's address yet."""
    async with (
        serving(make_node("a", certificates), certificates) as a,
        serving(make_node("b", certificates, **of_b), certificates) as b,
    ):
        yield a, b


def message(n: int = 1, source: str = "a", target: str = "b") -> TimeoutNow:
    return TimeoutNow(source, target, 1, n)


async def test_three_members_reach_each_other(certificates: DevCertificates) -> None:
    async with connected(certificates, "abc") as nodes:
        for node in nodes:
            for other in nodes:
                node.hub.send(message(7, node.id, other.id))
        await until(lambda: all(len(node.received) == 2 for node in nodes))
        assert all(node.refused == [] for node in nodes)


async def test_the_smaller_id_dials_and_the_larger_never() -> None:
    async with serving(make_node("a")) as a, serving(make_node("b")) as b:
        b.hub.set_address("a", a.address)
        await trio.sleep(0.1)
        assert not b.is_connected("a")
        a.hub.set_address("b", b.address)
        await until(lambda: a.is_connected("b") and b.is_connected("a"))


REFUSALS = {
    "foreign_cluster": {"cluster": "another"},
    "target": {"target": "c"},
    "identity": {"member": "c"},
}


@pytest.mark.parametrize(("reason", "lie"), REFUSALS.items(), ids=REFUSALS)
async def test_a_hello_that_is_not_right_is_refused_at_both_ends(
    certificates: DevCertificates, reason: str, lie: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pair(certificates) as (a, b):
        greet = a.hub._greeting

        def greeting(target: str) -> bytes:
            batch = graft_pb2.Batch.FromString(greet(target)[5:])
            for name, value in lie.items():
                setattr(batch.hello, name, value)
            return frame(batch.SerializeToString())

        monkeypatch.setattr(a.hub, "_greeting", greeting)
        a.hub.set_address("b", b.address)
        await until(lambda: len(b.refused) >= 2)
        assert set(b.reasons) == {reason}
        assert b.refused[0].identity == "a"
        assert not b.is_connected("a")
        a.hub.send(message())
        await trio.sleep(0.05)
        assert b.received == []


async def test_a_dialler_refuses_who_answers_wrongly(certificates: DevCertificates) -> None:
    async with pair(certificates) as (a, b):
        b.hello = attrs.evolve(b.hello, cluster="another")
        a.hub.set_address("b", b.address)
        await until(lambda: b.refused)
        b.hello = attrs.evolve(b.hello, cluster="c1")
        await until(lambda: a.is_connected("b"))


async def test_a_founder_that_is_late_is_no_stranger(certificates: DevCertificates) -> None:
    """Founders begin one after the other; who has no cluster yet is asked again, and nothing is recorded."""
    async with pair(certificates) as (a, b):
        b.hello = attrs.evolve(b.hello, cluster="")
        a.hub.set_address("b", b.address)
        await trio.sleep(0.2)
        assert not a.is_connected("b")
        b.hello = attrs.evolve(b.hello, cluster="c1")
        await until(lambda: a.is_connected("b"))
        assert a.refused == b.refused == []


async def test_a_certificate_of_another_member_is_refused(certificates: DevCertificates) -> None:
    """c answers where b should be, with its own certificate."""
    async with (
        serving(make_node("a", certificates), certificates) as a,
        serving(make_node("c", certificates), certificates) as c,
    ):
        a.hub.set_address("b", c.address)
        await until(lambda: a.refused)
        assert a.reasons[0] == "identity"
        assert "that of c, not of b" in a.refused[0].text


async def test_a_clients_certificate_cannot_serve(certificates: DevCertificates) -> None:
    stolen = attrs.evolve(certificates, members={**certificates.members, "b": certificates.clients["operator"]})
    async with (
        serving(make_node("a", certificates), certificates) as a,
        serving(make_node("b", certificates), stolen) as b,
    ):
        a.hub.set_address("b", b.address)
        await until(lambda: a.refused)
        assert a.reasons[0] == "foreign_authority"
        assert "purpose" in a.refused[0].text


async def test_the_cluster_says_who_is_a_member(certificates: DevCertificates) -> None:
    def admit(hello: Hello) -> tuple[str, str] | None:
        return None if hello.incarnation == 2 else ("unknown_member", f"{hello.member}/{hello.incarnation} is none")

    async with pair(certificates, admit=admit) as (a, b):
        a.hub.set_address("b", b.address)
        await until(lambda: b.refused)
        assert b.reasons[0] == "unknown_member"
        assert "a/1 is none" in b.refused[0].text
        a.hello = attrs.evolve(a.hello, incarnation=2)
        await until(lambda: b.is_connected("a"))


async def test_a_peer_that_is_away_costs_nothing_and_is_found_again() -> None:
    async with serving(make_node("a")) as a:
        b = make_node("b")
        async with serving(b):
            introduce([a, b])
            await until(lambda: a.is_connected("b"))
        port = int(b.address.rpartition(":")[2])
        (before,) = a.hub.statuses()
        await until(lambda: a.hub.statuses()[0].breaker == "open")
        for n in range(100):
            a.hub.send(message(n))
        (status,) = a.hub.statuses()
        assert status.queued == 0
        assert status.dropped == before.dropped + 100
        async with serving(b, port=port):
            await until(lambda: a.is_connected("b"))
            assert a.hub.statuses()[0].breaker == "closed"
            a.hub.send(message(1000))
            await until(lambda: message(1000) in b.received)
            assert message(5) not in b.received


async def test_who_is_dialled_keeps_nothing_either() -> None:
    b = make_node("b")
    async with serving(b):
        async with serving(make_node("a")) as a:
            introduce([a, b])
            await until(lambda: b.is_connected("a"))
        await until(lambda: not b.is_connected("a"))
        b.hub.send(message(1, "b", "a"))
        assert b.hub.statuses()[0].queued == 1, "for a moment, it may be back at once"

        def is_dropped() -> bool:
            b.hub.send(message(2, "b", "a"))
            return b.hub.statuses()[0].queued == 0

        await until(is_dropped)


async def test_a_frozen_peer_is_noticed_by_keepalive() -> None:
    async with serving(make_node("a")) as a, serving(make_node("b")) as b, open_proxy(b.address) as proxy:
        a.hub.set_address("b", proxy.address)
        await until(lambda: a.is_connected("b"))
        proxy.held = True
        await until(lambda: not a.is_connected("b"))
        await until(lambda: not b.is_connected("a"))
        proxy.release()
        await until(lambda: a.is_connected("b") and b.is_connected("a"))


async def test_a_connection_that_is_cut_comes_back_and_takes_the_place_of_the_old_one() -> None:
    async with serving(make_node("a")) as a, serving(make_node("b")) as b, open_proxy(b.address) as proxy:
        a.hub.set_address("b", proxy.address)
        await until(lambda: a.is_connected("b") and b.is_connected("a"))
        for n in range(5):
            proxy.cut()
            await until(lambda: not a.is_connected("b"))
            await until(lambda: a.is_connected("b") and b.is_connected("a"))
            b.hub.send(message(n, "b", "a"))
            await until(lambda n=n: message(n, "b", "a") in a.received)


async def test_a_new_address_is_dialled_at_once() -> None:
    async with serving(make_node("a")) as a, serving(make_node("b")) as b:
        a.hub.set_address("b", "127.0.0.1:1")
        await until(lambda: a.hub.statuses()[0].breaker == "open")
        a.hub.set_address("b", b.address)
        await until(lambda: a.is_connected("b"))


async def test_a_peer_that_says_it_is_back_is_dialled_at_once() -> None:
    patient = attrs.evolve(QUICK, backoff_seconds=300.0, max_backoff_seconds=600.0)
    b = make_node("b")
    async with serving(b):
        port = int(b.address.rpartition(":")[2])
    async with serving(make_node("a", limits=patient)) as a:
        a.hub.set_address("b", b.address)
        a.hub.hurry("nobody")
        await trio.sleep(0.2)  # it was refused by now, and waits for minutes
        async with serving(b, port=port):
            a.hub.hurry("b")
            await until(lambda: a.is_connected("b"))


async def test_a_forgotten_member_is_left_alone() -> None:
    async with connected() as (a, b):
        a.hub.forget("b")
        await until(lambda: not b.is_connected("a"))
        a.hub.send(message())
        assert a.hub.statuses() == ()
        await trio.sleep(0.1)
        assert not b.is_connected("a")


async def test_a_snapshot_does_not_hold_up_messages() -> None:
    """The pieces fill the window of their own stream while nobody takes them."""
    meta = SnapshotMeta("s", 1, 1, Configuration(), 0, 1 << 30)
    async with serving(make_node("a")) as a, serving(make_node("b")) as b:
        introduce([a, b])
        await until(lambda: a.is_connected("b"))
        for n in range(20):
            a.hub.send(InstallSnapshot("a", "b", 1, 2, meta, n, b"x" * (1 << 20), 3))
        a.hub.send(Heartbeat("a", "b", 1, 2, 3, 4))
        await until(lambda: len(b.received) == 21)
        at = b.received.index(Heartbeat("a", "b", 1, 2, 3, 4))
        assert at < 20
        assert [m.offset for m in b.received if isinstance(m, InstallSnapshot)] == list(range(20))


async def test_a_connection_that_ends_between_its_two_streams_is_dialled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An AttributeError of grpclib ended the whole hub, and with it the member."""
    real, opened = PeerHub._open_stream, []

    async def open_stream(hub: PeerHub, peer: Any, protocol: Any, lane: str) -> Any:
        opened.append(lane)
        if opened == ["Exchange", "Snapshots"]:
            protocol.goodbye(reason="a test")
            protocol.connection.close()
        return await real(hub, peer, protocol, lane)

    monkeypatch.setattr(PeerHub, "_open_stream", open_stream)
    async with serving(make_node("a")) as a, serving(make_node("b")) as b:
        a.hub.set_address("b", b.address)
        await until(lambda: a.is_connected("b"))
        assert len(opened) >= 4


# Two processes that say they are the same member with the same data directory


@pytest.mark.parametrize("secure", [False, True])
async def test_a_copy_of_a_member_that_is_alive_is_refused(certificates: DevCertificates, secure: bool) -> None:
    files = certificates if secure else None
    async with (
        serving(make_node("b", files, process=9), files) as b,
        serving(make_node("a", files, process=1), files) as a,
        serving(make_node("a", files, process=2), files) as copy,
    ):
        a.hub.set_address("b", b.address)
        await until(lambda: b.is_connected("a"))
        copy.hub.set_address("b", b.address)
        await until(lambda: copy.twins)
        assert "a is connected with b and alive, and another process with the same data directory" in copy.twins[0]
        assert set(b.reasons) == {"duplicate"}
        assert not copy.is_connected("b")
        assert a.twins == a.refused == []
        a.hub.send(message(3))
        await until(lambda: b.received == [message(3)])


async def test_a_member_that_was_started_again_is_never_refused() -> None:
    """Also when its former connection looks alive for a long time: nobody said that it is closed."""
    patient = attrs.evolve(QUICK, keepalive_seconds=60.0, keepalive_timeout_seconds=60.0, handshake_seconds=4.0)
    async with (
        serving(make_node("b", process=9, limits=patient), limits=patient) as b,
        open_proxy(b.address) as proxy,
    ):
        async with serving(make_node("a", process=1)) as before:
            before.hub.set_address("b", proxy.address)
            await until(lambda: b.is_connected("a"))
            proxy.held = True
        assert b.is_connected("a"), "the proxy told it"
        async with serving(make_node("a", process=2)) as after:
            after.hub.set_address("b", b.address)
            await until(lambda: after.is_connected("b"))
            after.hub.send(message(4))
            await until(lambda: b.received == [message(4)])
            assert b.refused == after.refused == after.twins == []
            proxy.cut()


async def test_a_member_that_is_started_again_and_again_is_welcome() -> None:
    async with serving(make_node("b", process=9)) as b:
        for process in range(1, 5):
            async with serving(make_node("a", process=process)) as a:
                a.hub.set_address("b", b.address)
                await until(lambda a=a: a.is_connected("b"))  # type: ignore[misc]
        assert b.refused == []


async def test_the_one_that_was_paused_is_refused_when_it_comes_back_to_find_a_copy() -> None:
    async with (
        serving(make_node("b", process=9)) as b,
        open_proxy(b.address) as proxy,
        serving(make_node("a", process=1)) as paused,
        serving(make_node("a", process=2)) as copy,
    ):
        paused.hub.set_address("b", proxy.address)
        await until(lambda: b.is_connected("a"))
        proxy.held = True
        copy.hub.set_address("b", b.address)
        await until(lambda: copy.is_connected("b"))
        proxy.release()
        await until(lambda: paused.twins)
        assert copy.twins == []
        assert copy.is_connected("b")


@pytest.mark.parametrize(
    ("before", "after"),
    [({"process": 0}, {"process": 2}), ({"process": 1}, {"process": 0}), ({"process": 1}, {"incarnation": 2})],
    ids=["an older program before", "an older program after", "another data directory"],
)
async def test_who_cannot_be_told_to_be_a_copy_takes_the_place(before: dict[str, int], after: dict[str, int]) -> None:
    """An older program says no number; and one with a new disk is another server, about whom Raft decides."""
    first, second = make_node("a", process=1), make_node("a", process=2)
    first.hello, second.hello = attrs.evolve(first.hello, **before), attrs.evolve(second.hello, **after)
    async with serving(make_node("b", process=9)) as b, serving(first), serving(second):
        first.hub.set_address("b", b.address)
        await until(lambda: b.is_connected("a"))
        second.hub.set_address("b", b.address)
        await until(lambda: second.is_connected("b"))
        assert first.twins == second.twins == b.refused == []


async def test_who_dialled_the_other_way_is_found_out_when_somebody_asks() -> None:
    """`b` is dialled, so a copy of it opens no stream: the question of `Probe` is what shows it."""
    async with serving(make_node("a", process=9)) as a, serving(make_node("b", process=1)) as b:
        a.hub.set_address("b", b.address)
        await until(lambda: a.is_connected("b"))
        assert "b at 127.0.0.1" in await a.hub.twin_of("b", 1, 2)
        assert await a.hub.twin_of("b", 1, 1) == await a.hub.twin_of("b", 1, 0) == ""
        assert await a.hub.twin_of("b", 2, 2) == await a.hub.twin_of("c", 1, 2) == ""
        assert a.is_connected("b")
    assert await a.hub.twin_of("b", 1, 2) == ""


LIES = {
    "no message": b"\xc1rubbish",
    "truncated": wire.encode(Ask("a", "b", 1, 2, "propose", b"body"))[:-3],
    "of somebody else": wire.encode(message(1, "c", "b")),
    "for somebody else": wire.encode(message(1, "a", "c")),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
async def test_a_message_that_is_none_ends_the_connection(
    certificates: DevCertificates, lie: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(certificates) as (a, b):
        with monkeypatch.context() as patch:
            patch.setattr(wire, "encode", lambda message: lie)
            a.hub.send(message())
        await until(lambda: b.refused)
        assert b.reasons == ["message"]
        assert b.refused[0].identity == "a"
        assert b.received == []
        with trio.fail_after(20):
            while not b.received:  # what is sent before the connection has ended is lost
                a.hub.send(message(2))
                await trio.sleep(0.01)
        assert all(each == message(2) for each in b.received)


async def test_too_large_a_message_ends_the_connection() -> None:
    small = attrs.evolve(QUICK, max_message_bytes=10_000)
    async with serving(make_node("a")) as a, serving(make_node("b", limits=small), limits=small) as b:
        introduce([a, b])
        await until(lambda: a.is_connected("b"))
        a.hub.send(Ask("a", "b", 1, 2, "propose", b"x" * 20_000))
        await until(lambda: b.refused)
        assert b.reasons == ["message"]
        await until(lambda: a.is_connected("b") and b.is_connected("a"))


async def test_bytes_that_are_repeated_on_the_way_end_the_connection(certificates: DevCertificates) -> None:
    async with pair(certificates) as (a, b), open_proxy(b.address) as proxy:
        a.hub.set_address("b", proxy.address)
        await until(lambda: a.is_connected("b") and b.is_connected("a"))
        repeat = False

        def change(data: bytes) -> bytes:
            return data * 2 if repeat else data

        proxy.change, repeat = change, True
        a.hub.send(message(1))
        await until(lambda: not b.is_connected("a") or not a.is_connected("b"))
        repeat = False
        await until(lambda: a.is_connected("b") and b.is_connected("a"))
        a.hub.send(message(2))
        await until(lambda: message(2) in b.received)
        assert b.received.count(message(1)) <= 1
        assert b.reasons == ["tls"]
        assert "repeated" in b.refused[0].text


async def test_a_recorded_connection_cannot_be_played_again(certificates: DevCertificates) -> None:
    async with pair(certificates) as (a, b), open_proxy(b.address) as proxy:
        a.hub.set_address("b", proxy.address)
        await until(lambda: a.is_connected("b"))
        a.hub.send(message(1))
        await until(lambda: b.received)
        a.hub.forget("b")
        host, _, port = b.address.rpartition(":")
        stream = await trio.open_tcp_stream(host, int(port))
        with suppress(trio.BrokenResourceError):  # it may hang up before it has heard all
            for data in list(proxy.seen):
                await stream.send_all(data)
        await until(lambda: b.refused)
        assert b.reasons == ["tls"]
        assert b.received == [message(1)]
        await stream.aclose()


async def test_a_connection_that_closes_while_it_is_greeted(monkeypatch: pytest.MonkeyPatch) -> None:
    """It once took the whole server with it."""
    async with serving(make_node("a")) as a, serving(make_node("b")) as b:
        streams = []
        welcome = b.hub._welcome

        async def close_first(lane: str, stream: Any, caller: Any) -> None:
            streams.append(stream)
            await welcome(lane, stream, caller)

        def look_and_close(hello: Any, expected: str) -> None:
            streams[-1]._protocol.goodbye()

        with monkeypatch.context() as patch:
            patch.setattr(b.hub, "_welcome", close_first)
            patch.setattr(b.hub, "_look_at", look_and_close)
            a.hub.set_address("b", b.address)
            await until(lambda: len(streams) >= 2)
        await until(lambda: a.is_connected("b") and b.is_connected("a"))


async def test_a_member_that_stops_turns_others_away_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    """Its server still takes connections for a moment when its hub has ended."""
    async with serving(make_node("a")) as a, serving(make_node("b")) as b:
        await until(lambda: b.hub._nursery is not None)
        nursery, b.hub._nursery = b.hub._nursery, None
        a.hub.set_address("b", b.address)
        await until(lambda: a.hub.statuses()[0].breaker == "open")
        b.hub._nursery = nursery
        await until(lambda: a.is_connected("b"))
        assert b.refused == []
        assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []
