"""The executor of `http`: one client for all steps of a worker.

Redirects are followed for GET and HEAD only, and a header that holds a secret is not sent to another origin. Cookies
are not kept: steps are strangers to each other. There is no timeout here but for connecting: the step's own says.
"""

from __future__ import annotations

import errno
import math
import socket
import time
import zlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar
from typing import Any

import httpx2
import trio

from graft import __version__
from graft.plan import HttpAction, Tree
from graft.worker.attempt import Attempt
from graft.worker.commands import as_json, as_text
from graft.worker.decoding import ENCODINGS, Decoder, UnknownEncoding
from graft.worker.failures import StepFailure
from graft.worker.files import MAX_DOWNLOAD_BYTES, Download, path_of, too_large
from graft.worker.results import check_size, decode_json, lines_of
from graft.worker.secrets import PREFIX
from graft.worker.shortage import SHORT, Shortage, patiently
from graft.worker.urls import Url, parse_url

CONNECT_SECONDS = 30.0
MAX_REDIRECTS = 10
EXCERPT_BYTES = 2048  # of the body of an error
LOCATION = "graft.location"  # extension of a response: the value of its `Location`
SHORT_CONNECTING = SHORT | {errno.EADDRNOTAVAIL}  # … and ports
SAFE_METHODS = ("GET", "HEAD")
REDIRECTS = (301, 302, 303, 307, 308)


Take = Callable[[bytes], Awaitable[None]]


class Client:
    """The connections of one worker. A step waits for none: there is no limit, and idle ones are kept for 30 s."""

    def __init__(self, transport: httpx2.AsyncBaseTransport | None = None) -> None:
        self.http = httpx2.AsyncClient(
            transport=transport,
            timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=30.0),
            headers={"User-Agent": f"graft/{__version__}", "Accept-Encoding": ENCODINGS},
            cookies=_NoCookies(),
            event_hooks={"response": [_keep_location]},
        )

    async def close(self) -> None:
        await self.http.aclose()


class _NoCookies(CookieJar):
    """Does not even read those that a server sets."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        pass

    def add_cookie_header(self, request: Any) -> None:
        pass


async def _keep_location(response: httpx2.Response) -> None:  # noqa: ASYNC124 - a hook of the client
    """Redirects are followed here: the client would write the URL anew."""
    response.extensions[LOCATION] = response.headers.pop("Location", None)


async def run_http(attempt: Attempt, action: HttpAction) -> Any:
    """Send it: the value of the answer. Raises StepFailure."""
    client = attempt.tools.client
    assert client is not None, "the worker makes it before the step's time begins"
    request, url = build(attempt, action, client.http)
    output_path = path_of(attempt, action.output_path, "output_path")
    shown = attempt.clean(f"{request.method} {_shown(request.url)}")
    try:
        response = await patiently(attempt, lambda: _send(client.http, request, url, _secret_headers(action)))
        try:
            attempt.log.note(f"{shown} answered {_status(attempt, response)}")
            return await _receive(attempt, action, output_path, response, shown)
        finally:
            with trio.move_on_after(1, shield=True):
                await response.aclose()
    except WrongRedirect as error:
        raise StepFailure(f"http.{error.status}", f"{shown} {error}") from None
    except (httpx2.LocalProtocolError, httpx2.UnsupportedProtocol) as error:
        raise _unsendable(error) from None
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
        raise StepFailure("http.connect", f"{shown}: cannot connect: {_reason(error)}") from None
    except httpx2.TransportError as error:
        detail = "the request may have reached the server"
        raise StepFailure("http.connect", f"{shown}: the connection was lost: {_reason(error)}", detail) from None


# The request


def build(attempt: Attempt, action: HttpAction, client: httpx2.AsyncClient) -> tuple[httpx2.Request, Url]:
    """Evaluate the inputs: the request, and where it goes. Raises StepFailure of type `expression`."""
    headers = [(name, as_text(value)) for name, value in _table(attempt, action.headers, "headers").items()]
    names = {name.lower() for name, _ in headers}
    if action.bearer is not None:
        headers.append(("Authorization", f"Bearer {as_text(attempt.evaluate(action.bearer))}"))
    content: bytes | None = None
    if action.json is not None:
        content = as_json(attempt.evaluate(action.json))
        if "content-type" not in names:
            headers.append(("Content-Type", "application/json"))
    elif action.body is not None:
        content = as_text(attempt.evaluate(action.body)).encode("utf-8", "surrogatepass")
    if action.method in ("POST", "PATCH") and "idempotency-key" not in names:
        headers.append(("Idempotency-Key", attempt.assignment.idempotency_key))
    try:
        url = parse_url(as_text(attempt.evaluate(action.url)))
        url = url.with_query(_pairs(_table(attempt, action.query, "query")))
        return _request(client, action.method, url, headers, content), url
    except (ValueError, TypeError, httpx2.InvalidURL) as error:
        raise _unsendable(error) from None


def _request(client: httpx2.AsyncClient, method: str, url: Url, headers: Any, content: bytes | None) -> httpx2.Request:
    """Raises ValueError, TypeError, InvalidURL."""
    target = {"target": url.target.encode("ascii")}
    return client.build_request(method, httpx2.URL(url.text), headers=headers, content=content, extensions=target)


def _unsendable(error: Exception) -> StepFailure:
    return StepFailure("expression", f"the request cannot be made: {error}")


def _table(attempt: Attempt, tree: Tree, name: str) -> dict[str, Any]:
    table = attempt.evaluate(tree)
    if not isinstance(table, dict):
        raise StepFailure("expression", f"`{name}` needs a table, not {as_text(table)[:80]}")
    return table


def _pairs(query: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """A list repeats its name; null leaves it out."""
    pairs = []
    for name, value in query.items():
        for each in value if isinstance(value, list) else [value]:
            if each is not None:
                pairs.append((name, as_text(each)))
    return tuple(pairs)


def _secret_headers(action: HttpAction) -> frozenset[str]:
    """Names of the headers whose value reads a secret."""
    if action.headers[0] != "dict":
        return frozenset({"*"}) if _reads_secret(action.headers) else frozenset()
    found = {str(key[1]) for key, value in action.headers[1:] if _reads_secret(value)}
    return frozenset({*found, "Authorization"} if action.bearer is not None else found)


def _reads_secret(tree: Any) -> bool:
    if not isinstance(tree, tuple):
        return False
    if len(tree) == 2 and tree[0] == "var":
        return str(tree[1]).startswith(PREFIX)
    return any(map(_reads_secret, tree))


class WrongRedirect(Exception):
    """A redirect that leads nowhere. The text goes on from the request: "GET http://… answered …"."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


async def _send(
    client: httpx2.AsyncClient, request: httpx2.Request, url: Url, secret: frozenset[str]
) -> httpx2.Response:
    """The answer, its body unread, after redirects. Raises WrongRedirect, Shortage, the errors of `httpx2`."""
    for _ in range(MAX_REDIRECTS + 1):
        response = await _answer(client, request)
        status = response.status_code
        if status not in REDIRECTS or request.method not in SAFE_METHODS:
            return response
        with trio.move_on_after(1, shield=True):
            await response.aclose()
        location = response.extensions[LOCATION]
        if not location:
            raise WrongRedirect(status, f"answered {status} without a `Location` header, which says where to go")
        try:
            url = url.join(location)
            following = _request(client, request.method, url, request.headers, await request.aread())
        except (ValueError, TypeError, httpx2.InvalidURL) as error:
            raise WrongRedirect(status, f"answered {status}, and where it redirects to is of no use: {error}") from None
        if _origin(following.url) != _origin(request.url):
            for name in list(following.headers) if "*" in secret else {*secret, "Authorization", "Cookie"}:
                following.headers.pop(name, None)
        following.headers["Host"] = following.url.netloc.decode("ascii")
        request = following
    raise WrongRedirect(status, f"was redirected more than {MAX_REDIRECTS} times")


async def _answer(client: httpx2.AsyncClient, request: httpx2.Request) -> httpx2.Response:
    """What the libraries below the client raise by themselves is about the request."""
    try:
        return await client.send(request, stream=True, follow_redirects=False)
    except httpx2.ConnectError as error:
        if isinstance(short := _system_error(error), OSError) and short.errno in SHORT_CONNECTING:
            raise Shortage(f"no connection can be made: {short.strerror}") from None
        raise
    except (ValueError, TypeError, OverflowError, LookupError, httpx2.InvalidURL) as error:
        raise _unsendable(error) from None


def _system_error(error: BaseException | None) -> OSError | None:
    """The innermost reason, when the system gave it."""
    found = None
    while error is not None:
        if isinstance(error, OSError) and not isinstance(error, socket.gaierror):
            found = error
        error = error.__cause__ or error.__context__
    return found


def _origin(url: httpx2.URL) -> tuple[str, bytes, int | None]:
    return url.scheme, url.raw_host, url.port


def _shown(url: httpx2.URL) -> str:
    """Without user, password, query and fragment, which may tell too much."""
    return str(url.copy_with(username=None, password=None, query=None, fragment=None))


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


# The answer


async def _receive(
    attempt: Attempt, action: HttpAction, output_path: str | None, response: httpx2.Response, shown: str
) -> Any:
    status = response.status_code
    if status >= 400 or status in REDIRECTS:
        raise await _bad_status(response, action.method, f"{shown} answered {_status(attempt, response)}")
    if action.output == "none":
        return None
    if action.output == "file":
        return await _save(attempt, output_path, response)
    limit = attempt.assignment.max_result_bytes
    collected = bytearray()
    check_size(await _read(response, limit, _into(collected)), limit)
    body = bytes(collected)
    if action.output == "json":
        return _json(body, response, shown) if body.strip() else None
    text = _text(attempt, body, response)
    return text if action.output == "text" else lines_of(text)


def _text(attempt: Attempt, body: bytes, response: httpx2.Response) -> str:
    charset = response.charset_encoding or "utf-8"
    try:
        return body.decode(charset, "replace")
    except (LookupError, ValueError):  # no such charset, or one that is no charset (`base64`, `undefined`)
        attempt.log.note(attempt.clean(f"the charset {charset[:80]!r} of the answer is not known; it is read as UTF-8"))
        return body.decode("utf-8", "replace")


def _into(body: bytearray) -> Take:
    async def take(piece: bytes) -> None:  # noqa: ASYNC124 - as one that writes a file
        body.extend(piece)

    return take


async def _read(response: httpx2.Response, limit: float, take: Take) -> int:
    """Hand the decoded body to `take`, piece by piece, up to a little more than `limit` bytes; how many there were.

    Raises StepFailure `output_schema` when it cannot be decoded, and what `take` raises.
    """
    size = 0
    ended: BaseException | None = None
    try:
        decoder = Decoder(response.headers.get("Content-Encoding", ""))
        async for chunk in response.aiter_raw():
            try:
                for piece in decoder.feed(chunk):
                    size += len(piece)
                    await take(piece)
                    if size > limit:
                        raise _Enough
            except BaseException as error:  # noqa: ASYNC103 - raised below
                # The client's generators have to run to an end, for nobody closes them: this makes them fail.
                ended = error
                with trio.move_on_after(1, shield=True):
                    await response.aclose()
        if size:
            decoder.finish()
    except (zlib.error, UnknownEncoding) as error:
        ended = ended or error
    except Exception:
        if ended is None:
            raise
    if isinstance(ended, (zlib.error, UnknownEncoding)):
        raise StepFailure("output_schema", f"the answer cannot be decoded: {ended}") from None
    if ended is not None and not isinstance(ended, _Enough):
        raise ended
    return size


class _Enough(Exception):
    """More was received than anybody wants."""


def _status(attempt: Attempt, response: httpx2.Response) -> str:
    return f"{response.status_code} {attempt.clean(response.reason_phrase)}".rstrip()


async def _bad_status(response: httpx2.Response, method: str, title: str) -> StepFailure:
    status = response.status_code
    if status in REDIRECTS:
        title += f", which is not followed for {method}"
    excerpt = bytearray()
    with suppress(httpx2.TransportError, StepFailure):  # the status is what counts
        await _read(response, EXCERPT_BYTES, _into(excerpt))
    detail = excerpt[:EXCERPT_BYTES].decode("utf-8", "replace")
    return StepFailure(f"http.{status}", title, detail, retry_after_ms=retry_after_ms(response.headers), is_ours=True)


def retry_after_ms(headers: Any, wall: float | None = None) -> int | None:
    """`Retry-After`, given in seconds or as a date (RFC 9110 §10.2.3); None when it is absent or makes no sense."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return int(text[:9]) * 1000
    try:
        when = parsedate_to_datetime(text)
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        seconds = when.timestamp() - (time.time() if wall is None else wall)
    except (ValueError, TypeError, LookupError, OverflowError):  # the last is a year that no clock shows
        return None
    return max(0, int(seconds * 1000))


def _json(body: bytes, response: httpx2.Response, shown: str) -> Any:
    kind = response.headers.get("Content-Type", "no content type").partition(";")[0]
    return decode_json(body, f"the answer to {shown} ({kind})")


async def _save(attempt: Attempt, name: str | None, response: httpx2.Response) -> dict[str, Any]:
    if name is None:
        raise StepFailure("output_schema", '`output = "file"` needs `output_path`')
    length = response.headers.get("Content-Length", "")
    if length.isascii() and length.isdigit() and len(length) < 20 and int(length) > MAX_DOWNLOAD_BYTES:
        raise too_large(name)
    async with Download(attempt.assignment.base, name, attempt.assignment.token) as file:
        await _read(response, math.inf, file.write)
        return await file.finish()
