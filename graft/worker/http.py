"""The executor of `http`: one client for all steps of a worker.

Redirects are followed for GET and HEAD only, and a header that holds a secret is not sent to another origin. Cookies
are not kept: steps are strangers to each other. There is no timeout here but for connecting: the step's own says.
"""

from __future__ import annotations

import hashlib
import math
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import httpx2
import trio

from graft import __version__
from graft.plan import HttpAction, Tree
from graft.worker.attempt import Attempt
from graft.worker.commands import as_json, as_text
from graft.worker.decoding import ENCODINGS, Decoder, UnknownEncoding
from graft.worker.failures import StepFailure
from graft.worker.results import check_size, decode_json
from graft.worker.secrets import PREFIX

CONNECT_SECONDS = 30.0
MAX_REDIRECTS = 10
EXCERPT_BYTES = 2048  # of the body of an error
SAFE_METHODS = ("GET", "HEAD")
REDIRECTS = (301, 302, 303, 307, 308)


class Client:
    """The connections of one worker. A step waits for none: there is no limit, and idle ones are kept for 30 s."""

    def __init__(self, transport: httpx2.AsyncBaseTransport | None = None) -> None:
        self.http = httpx2.AsyncClient(
            transport=transport,
            timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=30.0),
            headers={"User-Agent": f"graft/{__version__}", "Accept-Encoding": ENCODINGS},
        )
        self.http.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))

    async def close(self) -> None:
        await self.http.aclose()


async def run_http(attempt: Attempt, action: HttpAction) -> Any:
    """Send it: the value of the answer. Raises StepFailure."""
    client = attempt.tools.client
    assert client is not None, "the worker makes it before the step's time begins"
    request = build(attempt, action, client.http)
    shown = attempt.clean(f"{request.method} {_shown(request.url)}")
    try:
        response = await _send(client.http, request, _secret_headers(action))
        try:
            attempt.log.note(f"{shown} answered {_status(attempt, response)}")
            return await _receive(attempt, action, response, shown)
        finally:
            with trio.move_on_after(1, shield=True):
                await response.aclose()
    except httpx2.TooManyRedirects:
        raise StepFailure("http.302", f"{shown}: more than {MAX_REDIRECTS} redirects") from None
    except (httpx2.LocalProtocolError, httpx2.UnsupportedProtocol) as error:
        raise _unsendable(error) from None
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
        raise StepFailure("http.connect", f"{shown}: cannot connect: {_reason(error)}") from None
    except httpx2.TransportError as error:
        detail = "the request may have reached the server"
        raise StepFailure("http.connect", f"{shown}: the connection was lost: {_reason(error)}", detail) from None


# The request


def build(attempt: Attempt, action: HttpAction, client: httpx2.AsyncClient) -> httpx2.Request:
    """Evaluate the inputs. Raises StepFailure of type `expression`."""
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
        url = httpx2.URL(as_text(attempt.evaluate(action.url)))
        if url.scheme not in ("http", "https") or not url.host:
            raise ValueError(f"{str(url)!r} is not an http or https URL")
        url = url.copy_merge_params(_pairs(_table(attempt, action.query, "query")))
        return client.build_request(action.method, url, headers=headers, content=content)
    except (ValueError, TypeError, httpx2.InvalidURL) as error:
        raise _unsendable(error) from None


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


async def _send(client: httpx2.AsyncClient, request: httpx2.Request, secret: frozenset[str]) -> httpx2.Response:
    """The answer, its body unread, after redirects. Raises TooManyRedirects."""
    for _ in range(MAX_REDIRECTS + 1):
        response = await client.send(request, stream=True, follow_redirects=False)
        following = response.next_request
        if following is None or request.method not in SAFE_METHODS:
            return response
        await response.aclose()
        if _origin(following.url) != _origin(request.url):
            for name in list(following.headers) if "*" in secret else secret:
                following.headers.pop(name, None)
        request = following
    raise httpx2.TooManyRedirects("too many redirects", request=request)


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _shown(url: httpx2.URL) -> str:
    """Without user, password, query and fragment, which may tell too much."""
    return str(url.copy_with(username=None, password=None, query=None, fragment=None))


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


# The answer


async def _receive(attempt: Attempt, action: HttpAction, response: httpx2.Response, shown: str) -> Any:
    status = response.status_code
    if status >= 400 or status in REDIRECTS:
        raise await _bad_status(response, action.method, f"{shown} answered {_status(attempt, response)}")
    if action.output == "none":
        return None
    if action.output == "file":
        return await _save(attempt, action.output_path, response)
    limit = attempt.assignment.max_result_bytes
    pieces: list[bytes] = []
    check_size(await _read(response, limit, pieces.append), limit)
    body = b"".join(pieces)
    if action.output == "json":
        return _json(body, response, shown) if body.strip() else None
    text = body.decode(response.charset_encoding or "utf-8", "replace")
    return text if action.output == "text" else text.splitlines()


async def _read(response: httpx2.Response, limit: float, take: Callable[[bytes], Any]) -> int:
    """Hand the decoded body to `take`, piece by piece, up to a little more than `limit` bytes; how many there were."""
    size = 0
    try:
        decoder = Decoder(response.headers.get("Content-Encoding", ""))
        async for chunk in response.aiter_raw():
            for piece in decoder.feed(chunk):
                size += len(piece)
                take(piece)
                if size > limit:
                    # The client's generators have to run to an end, for nobody closes them: this makes them fail.
                    await response.aclose()
                    break
        if 0 < size <= limit:
            decoder.finish()
    except (zlib.error, UnknownEncoding) as error:
        raise StepFailure("output_schema", f"the answer cannot be decoded: {error}") from None
    except Exception:
        if size <= limit:
            raise
    return size


def _status(attempt: Attempt, response: httpx2.Response) -> str:
    return f"{response.status_code} {attempt.clean(response.reason_phrase)}".rstrip()


async def _bad_status(response: httpx2.Response, method: str, title: str) -> StepFailure:
    status = response.status_code
    if status in REDIRECTS:
        title += f", which is not followed for {method}"
    pieces: list[bytes] = []
    with suppress(httpx2.TransportError, StepFailure):  # the status is what counts
        await _read(response, EXCERPT_BYTES, pieces.append)
    detail = b"".join(pieces)[:EXCERPT_BYTES].decode("utf-8", "replace")
    return StepFailure(f"http.{status}", title, detail, retry_after_ms=retry_after_ms(response.headers), is_ours=True)


def retry_after_ms(headers: Any, wall: float | None = None) -> int | None:
    """`Retry-After`, given in seconds or as a date (RFC 9110 §10.2.3); None when it is absent or makes no sense."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return int(text[:9]) * 1000
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0, int((when.timestamp() - (time.time() if wall is None else wall)) * 1000))


def _json(body: bytes, response: httpx2.Response, shown: str) -> Any:
    kind = response.headers.get("Content-Type", "no content type").partition(";")[0]
    return decode_json(body, f"the answer to {shown} ({kind})")


async def _save(attempt: Attempt, name: str | None, response: httpx2.Response) -> dict[str, Any]:
    """Write the body beside its place, then move it there: a file that is cut off never has the name."""
    if name is None:
        raise StepFailure("output_schema", '`output = "file"` needs `output_path`')
    target = trio.Path(attempt.assignment.base / name)
    partial = target.with_name(f".{target.name}.{attempt.assignment.token}.part")
    digest = hashlib.sha256()
    try:
        async with await trio.open_file(partial, "wb") as stream:

            def take(piece: bytes) -> None:
                digest.update(piece)
                stream.wrapped.write(piece)

            size = await _read(response, math.inf, take)
        await partial.replace(target)
    except OSError as error:
        raise StepFailure("output_schema", f"the file {name} cannot be written: {error.strerror}") from None
    finally:
        with trio.move_on_after(5, shield=True):
            await partial.unlink(missing_ok=True)
    return {"path": name, "size": size, "sha256": digest.hexdigest()}
