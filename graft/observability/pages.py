"""A few pages over HTTP/1.1, for probes and scrapers: h11 says what is HTTP, Trio moves the bytes.

Everything is bounded: the connections, the head of a request, the time of each. A connection carries one request; those
who ask here come every few seconds. There is no TLS and nobody is asked who they are, so a page tells no secret and
changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from typing import Final

import h11
import trio
from attrs import frozen

from graft.errors import UsageError

log = logging.getLogger("graft.observability")

MAX_CONNECTIONS: Final = 32
MAX_HEAD_BYTES: Final = 16 * 1024
READ_BYTES: Final = 4096
REQUEST_SECONDS: Final = 10.0  # from the connection to the last byte of the answer
METHODS: Final = (b"GET", b"HEAD")
BACKLOG: Final = 64


@frozen
class Answer:
    text: str
    status: int = HTTPStatus.OK
    content_type: str = "text/plain; charset=utf-8"


Page = Callable[[], Awaitable[Answer]]


@asynccontextmanager
async def open_pages(host: str, port: int, pages: Mapping[str, Page]) -> AsyncIterator[tuple[str, ...]]:
    """Answer for `pages`, by path, until the block is left. Gives the addresses; port 0: any free one.

    Raises UsageError when nobody can listen there.
    """
    try:
        listeners = await trio.open_tcp_listeners(port, host=host, backlog=BACKLOG)
    except OSError as error:
        raise UsageError(
            f"cannot listen on {host}:{port} for HTTP: {error.strerror or error}",
            hint="`observability.http_listen` names another address",
        ) from error
    names = [listener.socket.getsockname() for listener in listeners]
    serve = partial(_serve, pages, trio.Semaphore(MAX_CONNECTIONS))
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, serve, listeners)
        yield tuple(f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}" for name in names)
        nursery.cancel_scope.cancel()


async def _serve(pages: Mapping[str, Page], room: trio.Semaphore, stream: trio.SocketStream) -> None:
    """One connection. Whoever comes when all places are taken is turned away at once."""
    async with stream:
        try:
            room.acquire_nowait()
        except trio.WouldBlock:
            return
        try:
            with trio.move_on_after(REQUEST_SECONDS):
                await _converse(pages, stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # they went away
        finally:
            room.release()


async def _converse(pages: Mapping[str, Page], stream: trio.SocketStream) -> None:
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
    has_body = True
    try:
        request = await _request(http, stream)
    except h11.RemoteProtocolError as error:
        answer = Answer(f"{error}\n", error.error_status_hint)
    else:
        if request is None:
            return
        has_body = request.method != b"HEAD"
        answer = await _answer(pages, request)
    await stream.send_all(_written(http, answer, has_body=has_body))


async def _request(http: h11.Connection, stream: trio.SocketStream) -> h11.Request | None:
    """The head of a request; None when they went away before. Raises RemoteProtocolError."""
    while (event := http.next_event()) is h11.NEED_DATA:
        http.receive_data(await stream.receive_some(READ_BYTES))
    return event if isinstance(event, h11.Request) else None


async def _answer(pages: Mapping[str, Page], request: h11.Request) -> Answer:
    page = pages.get(request.target.partition(b"?")[0].decode("ascii", "replace"))
    if page is None:
        return Answer(f"no such page: there are {', '.join(pages)}\n", HTTPStatus.NOT_FOUND)
    if request.method not in METHODS:
        return Answer("only GET and HEAD\n", HTTPStatus.METHOD_NOT_ALLOWED)
    try:
        return await page()
    except Exception:  # what a page looks at may be broken; the member goes on
        log.exception("a page could not be made: %s", request.target.decode("ascii", "replace"))
        return Answer("this page could not be made: the member's log says why\n", HTTPStatus.INTERNAL_SERVER_ERROR)


def _written(http: h11.Connection, answer: Answer, *, has_body: bool) -> bytes:
    body = answer.text.encode()
    headers = [
        ("Content-Type", answer.content_type),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        ("Connection", "close"),
    ]
    if answer.status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers.append(("Allow", b", ".join(METHODS).decode()))
    reason = HTTPStatus(answer.status).phrase
    events: list[h11.Event] = [h11.Response(status_code=answer.status, headers=headers, reason=reason)]
    events += [h11.Data(data=body)] if has_body else []
    return b"".join(http.send(event) or b"" for event in (*events, h11.EndOfMessage()))
