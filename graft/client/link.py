"""One channel to some member, and the next address when that one fails.

A channel lives in a task of its own, because it is closed by whoever finds it dead, and that may be any task. Which
member answers does not matter: each of them takes every call.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import trio
from attrs import define

from graft.client.saying import Said
from graft.errors import Denied, GraftError, Rejected, Unreachable
from graft.transport.channel import Channel, open_channel
from graft.transport.limits import Limits

if TYPE_CHECKING:
    from graft.security.tls import ClientSecurity

PASSING: Final = frozenset(
    {"deposed", "lost", "no_leader", "no_quorum", "not_leader", "not_ready", "overloaded", "stopped", "stopping"}
    | {"transferring", "unknown"}
)
"""Reasons of a refusal that another try, perhaps at another member, may not meet."""
STRANGERS: Final = frozenset(
    {"expired", "foreign_authority", "foreign_cluster", "no_certificate", "no_identity", "not_trusted"}
)
"""Reasons for which there is no talking at all: whoever is there is not whom we look for, or does not want us."""
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 1.0  # seconds between tries
STEADY_SECONDS: Final = 20.0
"""A stream that lasted longer had a connection: a dead one is noticed sooner. Patience begins anew after it."""

T = TypeVar("T")


def may_pass(error: GraftError) -> bool:
    return isinstance(error, Unreachable) or (isinstance(error, Rejected) and error.reason in PASSING)


@define(eq=False)
class _Held:
    """`ended` makes the task that holds the channel close it."""

    channel: Channel
    address: str
    ended: trio.Event


class Link:
    """`patience_seconds`: how long to go on trying; 0: each address once."""

    def __init__(
        self,
        addresses: Sequence[str],
        nursery: trio.Nursery,
        *,
        security: ClientSecurity | None,
        limits: Limits,
        patience_seconds: float,
    ) -> None:
        self.addresses = tuple(addresses)
        self._nursery = nursery
        self._security, self._limits = security, limits
        self._patience_seconds = patience_seconds
        self._next = 0  # index of the address to try next
        self._held: _Held | None = None
        self._connecting = trio.Lock()

    @property
    def address(self) -> str:
        """The one in use, or the next to try."""
        return self._held.address if self._held is not None else self.addresses[self._next]

    async def keep_trying(self, once: Callable[[Channel, int], Awaitable[T]], *, streams: bool = False) -> T:
        """What `once(channel, number)` gives, tried at one address after the other while errors may pass.

        `number` counts the tries from 0. `streams`: `once` may go on as long as it likes. Raises what `once` raises for
        good; when patience ends, what the addresses said, that of a member that answers before that of one that is
        down.
        """
        number = 0
        said = Said()
        give_up_at = trio.current_time() + self._patience_seconds
        while True:
            channel: Channel | None = None
            tried_at = trio.current_time()
            # What was said at every address is not waited for again beyond our patience.
            is_known = said.is_quorum_lost and number >= len(self.addresses) and not streams
            try:
                with trio.CancelScope(deadline=give_up_at if is_known else math.inf):
                    channel = await self.channel()
                    return await once(channel, number)
            except GraftError as error:
                if isinstance(error, Denied) and error.reason in STRANGERS:
                    raise Unreachable(error.message, address=self.address, sent=False, hint=error.hint) from None
                if not may_pass(error):
                    raise
                said_by = self.address if channel is None else channel.address
                self.move_on(channel)
                number += 1
                if streams and trio.current_time() - tried_at > STEADY_SECONDS:
                    number, give_up_at, said = 1, trio.current_time() + self._patience_seconds, Said()
                said.add(said_by, error)
            else:
                self.move_on(channel)
            if trio.current_time() >= give_up_at and number >= len(self.addresses):
                raise said.summary()
            if number >= len(self.addresses):
                await trio.sleep(min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(number - len(self.addresses), 10)))

    async def channel(self) -> Channel:
        """The one that is open, or a new one to the next address. Raises Unreachable."""
        async with self._connecting:
            if self._held is None:
                self._held = await self._nursery.start(self._hold, self.addresses[self._next])
            return self._held.channel

    async def _hold(self, address: str, *, task_status: Any) -> None:  # noqa: ASYNC114 - started by no context manager
        started = False
        try:
            async with open_channel(address, security=self._security, limits=self._limits) as channel:
                ended = trio.Event()
                task_status.started(_Held(channel, address, ended))
                started = True
                await ended.wait()
        except GraftError:
            if not started:
                self._next = (self._next + 1) % len(self.addresses)
                raise

    def close(self) -> None:
        if self._held is not None:
            self._held.ended.set()
            self._held = None

    def move_on(self, channel: Channel | None) -> None:
        """`channel` failed: close it, and use the next address from now on."""
        if channel is not None and self._held is not None and self._held.channel is channel:
            self._held.ended.set()
            self._held = None
            self._next = (self._next + 1) % len(self.addresses)
