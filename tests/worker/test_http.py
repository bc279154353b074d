"""`http` against a local server: requests, answers, errors, secrets, bounds."""

from __future__ import annotations

import gzip
import json
import math
import threading
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import trio

from graft.plan import ErrorRecord, HttpAction, Secret
from graft.worker import Outcome, Worker
from graft.worker import worker as worker_module
from graft.worker.http import Client, retry_after_ms
from tests.support.attempts import Bench, const, everywhere
from tests.support.http_server import Received, Server, answer, open_server
from tests.support.processes import until

TOKEN = "s3cr3t-token"


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with open_server() as opened:
        yield opened


@pytest.fixture
async def bench(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("TEST_TOKEN", TOKEN)
    bench.secrets["TOKEN"] = Secret("TOKEN", "env", "TEST_TOKEN")
    return bench


async def request(bench: Bench, url: str, node: dict[str, Any] | None = None, **action: Any) -> Outcome:
    for name in action.keys() & {"headers", "query", "json", "body"}:
        if not isinstance(action[name], tuple):
            action[name] = const(action[name])
    return await bench.do(HttpAction(const(url), **action), **(node or {}))


def value(outcome: Outcome) -> Any:
    assert outcome.status == "succeeded", outcome.error
    return json.loads(outcome.value or b"")


def error(outcome: Outcome) -> ErrorRecord:
    assert outcome.status == "failed"
    assert outcome.error is not None
    return outcome.error


@everywhere
async def test_get_json(bench: Bench, server: Server) -> None:
    server.answers["/x"] = answer(body=b'{"a": [1]}', Content_Type="application/json")
    outcome = await request(bench, f"{server.url}/x?q=1", query={"q": ["a b", 2], "n": None, "t": True})
    assert value(outcome) == {"a": [1]}
    (got,) = server.received
    assert (got.method, got.target) == ("GET", "/x?q=a+b&q=2&t=true")
    assert got.headers["user-agent"].startswith("graft/")
    assert "idempotency-key" not in got.headers
    assert bench.log() == [f"graft GET {server.url}/x answered 200 OK"]


async def test_post(bench: Bench, server: Server) -> None:
    server.answers["/x"] = answer("201 Created", b"done")
    outcome = await request(
        bench,
        f"{server.url}/x",
        method="POST",
        headers={"X-Number": 5},
        bearer=("var", "secrets.TOKEN"),
        json={"amount": 3, "ok": True},
        output="text",
    )
    assert value(outcome) == "done"
    (got,) = server.received
    assert json.loads(got.body) == {"amount": 3, "ok": True}
    assert got.headers["content-type"] == "application/json"
    assert got.headers["authorization"] == f"Bearer {TOKEN}"
    assert got.headers["x-number"] == "5"
    assert got.headers["idempotency-key"] == "key-1"


async def test_body_and_own_headers(bench: Bench, server: Server) -> None:
    server.answers["/x"] = answer(body=b"a\nb\n")
    headers = {"content-type": "text/csv", "Idempotency-Key": "mine"}
    outcome = await request(bench, f"{server.url}/x", method="POST", headers=headers, body="a,b\n", output="lines")
    assert value(outcome) == ["a", "b"]
    (got,) = server.received
    assert got.body == b"a,b\n"
    assert (got.headers["content-type"], got.headers["idempotency-key"]) == ("text/csv", "mine")


@pytest.mark.parametrize(("output", "wanted"), [("json", None), ("none", None), ("text", "")])
async def test_an_empty_answer(bench: Bench, server: Server, output: Any, wanted: Any) -> None:
    server.answers["/x"] = b"HTTP/1.1 204 No Content\r\n\r\n"
    assert value(await request(bench, f"{server.url}/x", output=output)) == wanted


async def test_file(bench: Bench, server: Server) -> None:
    server.answers["/x"] = answer(body=gzip.compress(b"x" * 3_000_000, mtime=0), Content_Encoding="gzip")
    outcome = await request(bench, f"{server.url}/x", output="file", output_path="x.bin")
    assert value(outcome)["size"] == 3_000_000
    assert [each.name for each in bench.base.iterdir()] == ["x.bin"]
    assert (bench.base / "x.bin").read_bytes() == b"x" * 3_000_000


async def test_a_file_that_is_cut_off_does_not_get_the_name(bench: Bench, server: Server) -> None:
    async def cut(_: Received, stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await stream.aclose()

    server.answers["/x"] = cut
    record = error(await request(bench, f"{server.url}/x", output="file", output_path="x.bin"))
    assert record.type == "http.connect"
    assert record.title.startswith(f"GET {server.url}/x: the connection was lost")
    assert list(bench.base.iterdir()) == []


@pytest.mark.parametrize("status", ["402 Payment Required", "503 Service Unavailable", "418 I'm a teapot"])
async def test_status_is_the_error(bench: Bench, server: Server, status: str) -> None:
    server.answers["/x"] = answer(status, b"because", Retry_After="7")
    outcome = await request(bench, f"{server.url}/x?token=abc")
    record = error(outcome)
    assert record.type == f"http.{status[:3]}"
    assert record.title == f"GET {server.url}/x answered {status}"
    assert record.detail == "because"
    assert outcome.retry_after_ms == 7000


def test_retry_after() -> None:
    assert retry_after_ms({"Retry-After": " 12 "}) == 12_000
    assert retry_after_ms({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, wall=1445412470.0) == 10_000
    assert retry_after_ms({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    assert retry_after_ms({"Retry-After": "soon"}) is None
    assert retry_after_ms({"Retry-After": "-5"}) is None
    assert retry_after_ms({}) is None


async def test_nobody_listens(bench: Bench) -> None:
    record = error(await request(bench, "http://127.0.0.1:9/x"))
    assert record.type == "http.connect"
    assert record.title.startswith("GET http://127.0.0.1:9/x: cannot connect: ")


@pytest.mark.parametrize("url", ["ftp://x/y", "no url", "http://", "http://[::1"])
async def test_bad_urls(bench: Bench, url: str) -> None:
    record = error(await request(bench, url))
    assert record.type == "expression"
    assert record.title.startswith("the request cannot be made: ")


async def test_bad_header(bench: Bench, server: Server) -> None:
    record = error(await request(bench, server.url, headers={"X": "a\r\nEvil: 1"}))
    assert (record.type, server.received) == ("expression", [])


async def test_not_json(bench: Bench, server: Server) -> None:
    server.answers["/x"] = answer(body=b"<html>\n<b>hello", Content_Type="text/html; charset=utf-8")
    record = error(await request(bench, f"{server.url}/x"))
    assert record.type == "output_schema"
    assert record.title == (
        f"the answer to GET {server.url}/x (text/html) is not JSON: expecting value at line 1, column 1"
    )
    assert record.detail == "<html>\n^"


async def test_returns_is_checked(bench: Bench, server: Server) -> None:
    server.answers["/x"] = answer(body=b'{"total": "3"}')
    record = error(await request(bench, f"{server.url}/x", {"returns": ("record", (("total", "int"),))}))
    assert record.type == "output_schema"
    assert "`total`: expected int, got string" in record.title


@pytest.mark.parametrize("encoding", ["", "gzip", "deflate", "raw"])
async def test_a_large_answer_is_too_large(bench: Bench, server: Server, encoding: str) -> None:
    body = b"x" * (bench.max_result_bytes + 1)
    raw = zlib.compressobj(wbits=-15)
    encoded = {
        "": body,
        "gzip": gzip.compress(body, mtime=0),
        "deflate": zlib.compress(body),
        "raw": raw.compress(body) + raw.flush(),
    }[encoding]
    headers = {"Content_Encoding": encoding.replace("raw", "deflate")} if encoding else {}
    server.answers["/x"] = answer(body=encoded, **headers)
    assert error(await request(bench, f"{server.url}/x", output="text")).type == "too_large"
    bench.max_result_bytes *= 2
    assert value(await request(bench, f"{server.url}/x", output="text")) == body.decode()


@pytest.mark.parametrize(
    ("encoding", "body", "reason"),
    [("gzip", gzip.compress(b"hello" * 100, mtime=0)[:-12], "it is cut off"), ("br", b"x", "it is encoded as 'br'")],
)
async def test_damaged_encoding(bench: Bench, server: Server, encoding: str, body: bytes, reason: str) -> None:
    server.answers["/x"] = answer(body=body, Content_Encoding=encoding)
    record = error(await request(bench, f"{server.url}/x", output="text"))
    assert record.type == "output_schema"
    assert reason in record.title


async def test_redirects(bench: Bench, server: Server) -> None:
    server.answers["/a"] = answer("302 Found", Location="/b")
    server.answers["/b"] = answer(body=b"2")
    server.answers["/loop"] = answer("302 Found", Location="/loop")
    assert value(await request(bench, f"{server.url}/a")) == 2
    record = error(await request(bench, f"{server.url}/a", method="POST"))
    assert record.type == "http.302"
    assert record.title == f"POST {server.url}/a answered 302 Found, which is not followed for POST"
    assert error(await request(bench, f"{server.url}/loop")).title == f"GET {server.url}/loop: more than 10 redirects"


async def test_secrets_do_not_follow_a_redirect_to_another_origin(bench: Bench, server: Server) -> None:
    async with open_server() as other:
        server.answers["/a"] = answer("302 Found", Location=f"{other.url}/b")
        server.answers["/same"] = answer("302 Found", Location=f"{server.url}/c")
        other.answers["/b"] = server.answers["/c"] = answer(body=b"2")
        headers = ("dict", (("const", "X-Key"), ("var", "secrets.TOKEN")), (("const", "X-Plain"), ("const", "p")))
        for path in ("/a", "/same"):
            outcome = await request(bench, server.url + path, headers=headers, bearer=("var", "secrets.TOKEN"))
            assert value(outcome) == 2
        assert other.received[0].headers["x-plain"] == "p"
        assert TOKEN not in str(other.received)
        assert server.received[-1].headers["x-key"] == TOKEN


async def test_cookies_do_not_go_from_step_to_step(bench: Bench, server: Server) -> None:
    server.answers["/a"] = answer(body=b"1", Set_Cookie="session=1; Path=/")
    await request(bench, f"{server.url}/a")
    await request(bench, f"{server.url}/a")
    assert "cookie" not in server.received[1].headers


async def test_secrets_are_redacted_in_errors_and_logs(bench: Bench, server: Server) -> None:
    server.answers["/x"] = answer(f"500 oh {TOKEN}", f"you sent {TOKEN}".encode())
    record = error(await request(bench, f"{server.url}/x", bearer=("var", "secrets.TOKEN")))
    assert record.detail == "you sent ***"
    assert TOKEN not in str(record)
    assert bench.log() == [f"graft GET {server.url}/x answered 500 oh ***"]


class SlowMaking:
    """The making of the client, which waits for `go`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made = 0
        self.go = threading.Event()
        monkeypatch.setattr(worker_module, "_new_client", self._new_client)

    def _new_client(self) -> Client:
        self.made += 1
        self.go.wait(30)
        return Client()


@pytest.fixture
def making(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowMaking]:
    making = SlowMaking(monkeypatch)
    yield making
    making.go.set()


async def test_the_client_is_made_once_and_in_no_steps_timeout(
    bench: Bench, server: Server, making: SlowMaking
) -> None:
    server.answers["/x"] = answer(body=b"1")
    attempts = [bench.start(bench.assign(HttpAction(const(f"{server.url}/x")), timeout_ms=5000)) for _ in range(3)]
    await until(lambda: making.made == 1)
    assert isinstance(bench.worker, Worker)
    assert {each.scope.deadline for each in bench.worker._attempts.values()} == {math.inf}
    making.go.set()
    assert [value(await each.wait()) for each in attempts] == [1, 1, 1]
    assert making.made == 1


async def test_a_step_that_waits_for_the_client_can_be_cancelled(
    bench: Bench, server: Server, making: SlowMaking
) -> None:
    attempts = [bench.start(bench.assign(HttpAction(const(f"{server.url}/x")))) for _ in range(2)]
    await until(lambda: making.made == 1)
    for each in attempts:
        each.cancel()
    making.go.set()
    assert [(await each.wait()).status for each in attempts] == ["cancelled", "cancelled"]
    assert server.received == []


@pytest.mark.parametrize(("name", "text"), [("ALL_PROXY", "gopher://x"), ("SSL_CERT_FILE", "/nowhere/ca.pem")])
async def test_an_environment_that_no_client_can_be_made_in(
    bench: Bench, server: Server, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    monkeypatch.setenv(name, text)
    found = error(await request(bench, f"{server.url}/x"))
    assert found.type == "http.connect"
    assert found.title.startswith("the HTTP client cannot be made: ")
    assert name in found.detail
    monkeypatch.delenv(name)
    server.answers["/x"] = answer(body=b"1")
    assert value(await request(bench, f"{server.url}/x")) == 1


async def test_timeout_and_cancel(bench: Bench, server: Server) -> None:
    async def hang(_: Received, stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        await trio.sleep_forever()

    server.answers["/x"] = hang
    outcome = await request(bench, f"{server.url}/x", {"timeout_ms": 100})
    assert outcome.status == "timed_out"
    pending = bench.start(bench.assign(HttpAction(const(f"{server.url}/x"))))
    await until(lambda: len(server.received) == 2)
    pending.cancel()
    assert (await pending.wait()).status == "cancelled"
