"""HTTP pages over loopback: what is answered, and that nobody who asks can do harm."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest
import trio

from graft.errors import UsageError
from graft.observability import Answer, Page, open_pages
from graft.observability import pages as module

LIMIT_SECONDS = 30


async def hello() -> Answer:
    return Answer("hello\n")


async def broken() -> Answer:
    raise RuntimeError("secret detail")


@asynccontextmanager
async def served(**more: Page) -> AsyncIterator[str]:
    pages = {"/hello": hello, "/broken": broken} | {f"/{name}": page for name, page in more.items()}
    with trio.fail_after(LIMIT_SECONDS):
        async with open_pages("127.0.0.1", 0, pages) as (address,):
            yield address


async def raw(address: str, sent: bytes) -> bytes:
    """What comes back for these bytes, until the other side closes."""
    host, _, port = address.rpartition(":")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        await stream.send_all(sent)
        return b"".join([piece async for piece in stream])


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/hello", 200, "hello\n"),
        ("GET", "/hello?verbose", 200, "hello\n"),
        ("HEAD", "/hello", 200, ""),
        ("POST", "/hello", 405, "only GET and HEAD\n"),
        ("GET", "/", 404, "no such page: there are /hello, /broken\n"),
    ],
)
async def test_an_ordinary_client_is_answered(method: str, path: str, status: int, text: str) -> None:
    async with served() as address, httpx2.AsyncClient() as client:
        answer = await client.request(method, f"http://{address}{path}")
    assert (answer.status_code, answer.text) == (status, text)
    assert answer.headers["content-length"] == str(len(text) or len("hello\n"))
    assert answer.headers["connection"] == "close"


async def test_a_page_that_fails_ends_nothing_and_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with served() as address, httpx2.AsyncClient() as client:
        with caplog.at_level(logging.ERROR):
            failed = await client.get(f"http://{address}/broken")
        after = await client.get(f"http://{address}/hello")
    assert failed.status_code == 500
    assert "secret" not in failed.text
    assert "/broken" in caplog.text
    assert after.status_code == 200


@pytest.mark.parametrize(
    ("sent", "first"),
    [
        (b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\r\n\r\n", b"HTTP/1.1 400 "),
        (b"GET /hello HTTP/1.1\r\n\r\n", b"HTTP/1.1 400 "),  # without a Host
        (b"GET /hello HTTP/1.1\r\nHost: a\r\nX: " + b"x" * module.MAX_HEAD_BYTES, b"HTTP/1.1 431 "),
        (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 400 "),
    ],
    ids=["TLS", "no host", "long head", "not ASCII"],
)
async def test_what_is_not_http_is_refused(sent: bytes, first: bytes) -> None:
    async with served() as address:
        assert (await raw(address, sent)).startswith(first)
        assert (await raw(address, b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")).endswith(b"hello\n")


async def test_who_says_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REQUEST_SECONDS", 0.05)
    async with served() as address:
        assert await raw(address, b"GET /hello HTTP/1.1\r\n") == b""


async def test_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CONNECTIONS", 1)
    is_asked, may_answer = trio.Event(), trio.Event()

    async def slow() -> Answer:
        is_asked.set()
        await may_answer.wait()
        return Answer("slow\n")

    answers = []

    async def ask() -> None:
        answers.append(await raw(address, b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"))

    async with served(slow=slow) as address, trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await is_asked.wait()
        assert await raw(address, b"") == b""
        may_answer.set()
    assert answers[0].endswith(b"slow\n")


async def test_an_address_in_use_is_a_configuration_error() -> None:
    async with served() as address:
        host, _, port = address.rpartition(":")
        with pytest.raises(UsageError, match="cannot listen on") as caught:
            async with open_pages(host, int(port), {}):
                pass
    assert "observability.http_listen" in caught.value.hint
