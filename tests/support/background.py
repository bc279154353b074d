"""A server in a thread of its own, for commands that are called in this process and run event loops themselves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trio

from graft.security.tls import ServerSecurity
from tests.support.servers import Wrap, open_engine, open_services


@contextmanager
def background_server(
    directory: Path,
    *,
    security: ServerSecurity | None = None,
    wrap: Wrap = lambda name, handler: handler,
    membership: Any = None,
) -> Iterator[str]:
    """The address, on loopback, of an engine with its data in `directory`."""
    ready = threading.Event()
    found: list[Any] = []

    async def main() -> None:
        async with (
            open_engine(directory) as engine,
            open_services(engine, security=security, wrap=wrap, membership=membership) as address,
        ):
            with trio.CancelScope() as scope:
                found.extend([address, trio.lowlevel.current_trio_token(), scope.cancel])
                ready.set()
                await trio.sleep_forever()

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    try:
        assert ready.wait(30), "the server did not begin"
        yield found[0]
    finally:
        if found:
            token, cancel = found[1:3]
            _soon(token, cancel)
        thread.join(30)
        assert not thread.is_alive()


def _soon(token: Any, cancel: Callable[[], None]) -> None:
    token.run_sync_soon(cancel)
