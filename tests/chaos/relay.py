"""Relays between members: connections that a test can cut, each way by itself.

A member is told the address of the other's relay, so all that it sends passes here. Who dialled is found by the port
that the connection comes from (`whose`). Bytes of a cut direction are neither lost nor passed on: they stay where they
are, as with a cable that was pulled; when the link is healed they go on or, if `drop` says so, the connection breaks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import trio
from attrs import define

CHUNK = 1 << 16


@define(eq=False)
class _Link:
    """A connection from `source`, which dialled, to `target`."""

    source: str | None
    target: str
    scope: trio.CancelScope


class Relays:
    """One listener a member; runs in `nursery`."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.whose: Callable[[int], str | None] = lambda port: None
        self._cut: set[tuple[str, str]] = set()  # (from, to)
        self._changed = trio.Event()
        self._links: set[_Link] = set()

    async def add(self, target: str, port: int) -> str:
        """Relay to the member `target`, which listens on `port`; the address to tell others."""
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")

        async def handle(stream: trio.SocketStream) -> None:
            await self._relay(stream, target, port)

        self._nursery.start_soon(trio.serve_listeners, handle, [listener])
        return f"127.0.0.1:{listener.socket.getsockname()[1]}"

    def cut(self, source: str, target: str) -> None:
        """From now on nothing that `source` sends reaches `target`; what the other sends still does."""
        self._cut.add((source, target))
        self._change()

    def isolate(self, member: str, others: Iterable[str]) -> None:
        """Both ways, from all of them."""
        for other in others:
            if other != member:
                self._cut |= {(member, other), (other, member)}
        self._change()

    def heal(self, *, drop: bool = False) -> None:
        """Everything passes again. `drop`: connections that were cut break, instead of going on."""
        if drop:
            for link in list(self._links):
                if link.source is not None and self._cut & {(link.source, link.target), (link.target, link.source)}:
                    link.scope.cancel()
        self._cut.clear()
        self._change()

    def _change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def _relay(self, dialled: trio.SocketStream, target: str, port: int) -> None:
        source = self.whose(dialled.socket.getpeername()[1])
        link = _Link(source, target, trio.CancelScope())
        self._links.add(link)
        try:
            async with dialled:
                with link.scope:
                    await self._passes(source, target)  # a dial into a cut link hangs, too
                    async with await trio.open_tcp_stream("127.0.0.1", port) as there, trio.open_nursery() as nursery:
                        nursery.start_soon(self._pump, dialled, there, source, target, nursery.cancel_scope)
                        nursery.start_soon(self._pump, there, dialled, target, source, nursery.cancel_scope)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # nobody is there: the one who dialled sees its connection end
        finally:
            self._links.discard(link)

    async def _pump(
        self,
        source: trio.SocketStream,
        target: trio.SocketStream,
        sender: str | None,
        receiver: str | None,
        both: trio.CancelScope,
    ) -> None:
        try:
            while data := await source.receive_some(CHUNK):
                await self._passes(sender, receiver)
                await target.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        both.cancel()

    async def _passes(self, sender: str | None, receiver: str | None) -> None:
        while (sender, receiver) in self._cut:
            await self._changed.wait()
