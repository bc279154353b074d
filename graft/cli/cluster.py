"""What the commands for operators have in common: whom they ask, and how they say what came of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from graft.cli.place import Place
from graft.cli.sources import in_loop
from graft.cli.terminal import out, out_json, plain_text
from graft.errors import Unreachable

if TYPE_CHECKING:
    from graft.client import Client
    from graft.cluster.membership import Change

T = TypeVar("T")


def ask(place: Place, body: Callable[[Client], Awaitable[T]]) -> T:
    """What `body` gives for a client of the cluster, or of the process that holds the data directory.

    Raises Unreachable when no process holds it.
    """

    async def main() -> T:
        if place.is_remote:
            async with place.client() as client:
                return await body(client)
        from graft.client import Client
        from graft.cluster.socket import NAME, short_path

        data = Path(place.data)
        if not (data / NAME).exists():  # noqa: ASYNC240 - one look, before anything runs
            raise Unreachable(
                f"no process holds the data directory {place.data}",
                address=f"unix:{data / NAME}",
                sent=False,
                hint="`--server HOST:PORT` asks a cluster; `graft serve` runs a member of one",
            )
        with short_path(data) as path:
            async with Client(f"unix:{path}", patience_seconds=0.0) as client:
                return await body(client)

    return in_loop(main)


def say_change(change: Change, done: str, *, as_json: bool) -> None:
    """`done` is what to say when the cluster said nothing itself."""
    if as_json:
        out_json({"index": change.index or None, "text": change.text or done})
    else:
        out(plain_text(change.text or done))


UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def size_text(size: float) -> str:
    for unit in UNITS:
        if size < 1024 or unit == UNITS[-1]:
            break
        size /= 1024
    return f"{size:.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"
