"""`http` against a local server: requests, answers, errors, secrets, bounds."""

from __future__ import annotations

import errno
import gzip
import json
import math
import os
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
    assert (
        error(await request(bench, f"{server.url}/loop")).title
        == f"GET {server.url}/loop was redirected more than 10 times"
    )


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


# URLs are sent as they are written


def path_of(target: str) -> str:
    """By which the server knows its answers."""
    return target.partition("?")[0]


EXACT = [
    "/x?acl&sig=a%2Bb%20c&t=1;2",
    "/x?",
    "/x?a=1&&b",
    "/a/../b//c/./d%2Fe%2f",
    "/x?u=http://other/y?z=1",
    "/~x/!$&'()*+,;=:@%41",
    '/x?q={}|^`"<>\\[]',
    "/%zz%",
    "/x?+a+b",
]


@pytest.mark.parametrize("target", EXACT)
async def test_a_url_is_asked_for_as_it_is_written(bench: Bench, server: Server, target: str) -> None:
    server.answers[path_of(target)] = answer(body=b"1")
    assert value(await request(bench, server.url + target + "#fragment", query={"left out": None})) == 1
    assert [each.target for each in server.received] == [target]


@pytest.mark.parametrize("target", EXACT)
async def test_a_redirect_is_followed_as_it_is_written(bench: Bench, server: Server, target: str) -> None:
    server.answers["/from"] = answer("302 Found", Location=server.url + target)
    server.answers[path_of(target)] = answer(body=b"1")
    assert value(await request(bench, f"{server.url}/from")) == 1
    assert [each.target for each in server.received] == ["/from", target]


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("../y?a=%20b+c;d#f", "/dir/y?a=%20b+c;d"),
        ("?sig=a%2Bb", "/dir/sub/from?sig=a%2Bb"),
        ("/z?acl", "/z?acl"),
        ("y;p=1", "/dir/sub/y;p=1"),
    ],
)
async def test_a_relative_redirect(bench: Bench, server: Server, location: str, target: str) -> None:
    async def redirect(got: Received, stream: trio.SocketStream) -> None:
        first = got.target.endswith("?old=1")
        await stream.send_all(answer("307 Temporary Redirect", Location=location) if first else answer(body=b"1"))

    server.answers["/dir/sub/from"] = server.answers[path_of(target)] = redirect
    assert value(await request(bench, f"{server.url}/dir/sub/from?old=1")) == 1
    assert [each.target for each in server.received] == ["/dir/sub/from?old=1", target]


async def test_characters_that_no_request_can_hold_are_encoded(bench: Bench, server: Server) -> None:
    server.answers["/h%C3%A9%20x"] = answer(body=b"1")
    assert value(await request(bench, f"{server.url}/hé x?q=✓")) == 1
    assert server.received[0].target == "/h%C3%A9%20x?q=%E2%9C%93"


async def test_query_leaves_the_rest_of_the_url_alone(bench: Bench, server: Server) -> None:
    server.answers["/x"] = answer(body=b"1")
    query = {"page": 3, "tag": ["a &", "b"]}
    assert value(await request(bench, f"{server.url}/x?acl&page=1&sig=a%2Bb%20c&t=1;2", query=query)) == 1
    assert server.received[0].target == "/x?acl&sig=a%2Bb%20c&t=1;2&page=3&tag=a+%26&tag=b"


# What libraries raise is about the request or the answer


@pytest.mark.parametrize(
    "url",
    [
        "http://xn--a.example/",
        "http://a..b/",
        f"http://{'a' * 64}.example/",
        "http://[::1/",
        "http://h:99999/",
        "http://\ud800/",
    ],
)
async def test_hosts_that_cannot_be(bench: Bench, url: str) -> None:
    assert error(await request(bench, url)).type in ("expression", "http.connect")


@pytest.mark.parametrize("headers", [{"X": "é"}, {"X": "a\nb"}, {"X Y": "1"}, {"": "1"}, {"X": "\ud800"}])
async def test_headers_that_cannot_be(bench: Bench, server: Server, headers: dict[str, str]) -> None:
    assert error(await request(bench, f"{server.url}/x", headers=headers)).type == "expression"
    assert server.received == []


@pytest.mark.parametrize("charset", ["utf-8,gbk", "base64", "undefined", "idna", "no-such", "x" * 300, '""'])
async def test_a_charset_that_is_not_known_is_utf8(bench: Bench, server: Server, charset: str) -> None:
    server.answers["/x"] = answer(body="héllo".encode(), Content_Type=f"text/plain; charset={charset}")
    assert value(await request(bench, f"{server.url}/x", output="text")) == "héllo"


async def test_json_that_is_not_utf8(bench: Bench, server: Server) -> None:
    server.answers["/x"] = answer(body=b'["a\xff"]')
    record = error(await request(bench, f"{server.url}/x"))
    assert record.type == "output_schema"
    assert "is not UTF-8 text: byte 3" in record.title


@pytest.mark.parametrize(
    "cookie", ["a=b; Max-Age=" + "9" * 400, "a=b; expires=Thu, 99 Foo 99999 99:99:99", "=;=;\xff", "a" * 5000]
)
async def test_cookies_are_not_read(bench: Bench, server: Server, cookie: str) -> None:
    server.answers["/x"] = answer(body=b"1", Set_Cookie=cookie)
    assert value(await request(bench, f"{server.url}/x")) == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "-1",
        "Fri, 31 Dec 9999 23:59:59 -2300",
        "Mon, 01 Jan 0001 00:00:00 +2300",
        "1e9",
        "²",
        "Mon, , ,",
        "0 0 0 0 0",
    ],
)
def test_retry_after_that_makes_no_sense(text: str) -> None:
    found = retry_after_ms({"Retry-After": text})
    assert found is None or found >= 0


@pytest.mark.parametrize(
    ("location", "text"),
    [
        (None, "answered 302 without a `Location` header, which says where to go"),
        ("", "answered 302 without a `Location` header, which says where to go"),
        ("ftp://h/x", "answered 302, and where it redirects to is of no use: 'ftp://h/x' is not an http or https URL"),
        ("http://", "answered 302, and where it redirects to is of no use"),
        ("http://[::1/", "answered 302, and where it redirects to is of no use"),
        ("http://h:port/", "answered 302, and where it redirects to is of no use"),
    ],
)
async def test_redirects_to_nowhere(bench: Bench, server: Server, location: str | None, text: str) -> None:
    server.answers["/x"] = answer("302 Found", **({} if location is None else {"Location": location}))
    record = error(await request(bench, f"{server.url}/x"))
    assert record.type == "http.302"
    assert record.title.startswith(f"GET {server.url}/x {text}")


@pytest.mark.parametrize("kind", ["http", "run"])
async def test_lines_end_with_a_newline_and_nothing_else(bench: Bench, server: Server, kind: str) -> None:
    text = "a\u2028b\vc\x85d\fe\x1cf\rg\r\nh\n\ni\n"
    server.answers["/x"] = answer(body=text.encode(), Content_Type="text/plain; charset=utf-8")
    if kind == "http":
        found = await request(bench, f"{server.url}/x", output="lines")
    else:
        found = await bench.run("cat", stdin=text, output="lines")
    assert value(found) == ["a\u2028b\vc\x85d\fe\x1cf\rg", "h", "", "i"]


# Files


@pytest.mark.parametrize("path", ["sub/../../x.bin", "/tmp/graft-x.bin", "..", "", 7, ["x"]])
async def test_a_computed_path_stays_in_the_directory_of_the_flow(bench: Bench, server: Server, path: Any) -> None:
    server.answers["/x"] = answer(body=b"data")
    bench.values["params.p"] = path
    outcome = await request(bench, f"{server.url}/x", output="file", output_path=("var", "params.p"))
    if path == 7:
        assert value(outcome)["path"] == "7"
        return
    assert error(outcome).type == "expression"
    assert server.received == []


async def test_a_file_that_cannot_be_made_says_where(bench: Bench, server: Server) -> None:
    server.answers["/x"] = answer(body=b"data")
    record = error(await request(bench, f"{server.url}/x", output="file", output_path="no/x.bin"))
    assert (record.type, record.title) == (
        "output_schema",
        f"the file {bench.base}/no/x.bin cannot be written: No such file or directory",
    )
    (bench.base / "dir").mkdir()
    record = error(await request(bench, f"{server.url}/x", output="file", output_path="dir"))
    assert record.title == f"the file {bench.base}/dir cannot be written: it is a directory"
    assert [each.name for each in bench.base.iterdir()] == ["dir"]


async def test_a_file_is_bounded(bench: Bench, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graft.worker.files.MAX_DOWNLOAD_BYTES", 1_000_000)
    server.answers["/x"] = answer(body=gzip.compress(b"x" * 1_000_000, mtime=0), Content_Encoding="gzip")
    server.answers["/y"] = answer(body=gzip.compress(b"x" * 1_000_001, mtime=0), Content_Encoding="gzip")
    assert value(await request(bench, f"{server.url}/x", output="file", output_path="x"))["size"] == 1_000_000
    assert error(await request(bench, f"{server.url}/y", output="file", output_path="y")).type == "too_large"
    assert [each.name for each in bench.base.iterdir()] == ["x"]


async def test_a_full_disk_is_no_fault_of_the_step(
    bench: Bench, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    server.answers["/x"] = answer(body=b"x" * 100)
    with monkeypatch.context() as patch:
        patch.setattr("graft.worker.files.Download._flush", full)
        outcome = await request(bench, f"{server.url}/x", output="file", output_path="x")
    assert (outcome.status, outcome.error and outcome.error.type) == ("lost", "shortage")
    assert list(bench.base.iterdir()) == []
