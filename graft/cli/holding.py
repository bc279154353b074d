"""Who runs a command's runs: this process, the one that holds the data directory, a cluster, or a new process.

One process holds a data directory. A second command finds it held, and asks the holder through the socket in it. When
the holder goes away meanwhile, the command takes its place, and the run goes on here: what it asks for is safe to ask
again. A holder stays until the runs that others gave it have ended, too.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from graft.cli import exits
from graft.cli.data import is_held
from graft.cli.interrupts import Interrupts
from graft.cli.place import Place
from graft.cli.sources import Engine, Here, There
from graft.cli.terminal import note
from graft.cluster.embedded import open_embedded
from graft.cluster.socket import NAME, SocketDoor, open_socket, short_path
from graft.errors import GraftError, StoreHeld, Unreachable

if TYPE_CHECKING:
    from graft.client import Client
    from graft.cluster.embedded import Embedded

PATIENCE_SECONDS: Final = 3.0  # with a holder that cannot be reached: it may be about to begin, or to end
AGAIN_SECONDS: Final = 0.05
LOOK_SECONDS: Final = 0.1
LINGER_SECONDS: Final = 0.2  # for others to ask how their run ended
IDLE_SECONDS: Final = 5.0  # without runs and callers, after which a detached holder ends
START_SECONDS: Final = 30.0  # for a detached holder to begin
LOG: Final = "holder.log"  # what a detached holder had to say, in the data directory

Body = Callable[[Engine], Awaitable[int]]


async def with_engine(place: Place, interrupts: Interrupts, body: Body, *, ephemeral: bool = False) -> int:
    """The exit code that `body` gives. It may be called again, on another engine, when the first one went away."""
    if place.is_remote:
        async with place.client() as client:
            return await body(There(client))
    data = Path(place.data)
    if ephemeral:
        async with open_embedded(data, ephemeral=True, tell=note) as engine:
            return await body(Here(engine))
    given_up_at: float | None = None
    while True:
        held: StoreHeld
        try:
            async with _own_engine(data) as (engine, door):
                code = await body(Here(engine))
                if code != exits.INTERRUPTED:
                    await _stay(engine, door, interrupts)
                return code
        except StoreHeld as error:
            held = error
        began = trio.current_time()
        try:
            async with _holder_of(data) as client:
                return await body(There(client))
        except Unreachable as error:
            if error.sent:
                note("the process that held the data directory is gone, or does not answer")
            now = trio.current_time()
            if given_up_at is None or (error.sent and now - began > PATIENCE_SECONDS):
                given_up_at = now + PATIENCE_SECONDS
            if now > given_up_at:
                raise StoreHeld(held.message + ", which does not answer", pid=held.pid, hint=held.hint) from None
            await trio.sleep(AGAIN_SECONDS)


@asynccontextmanager
async def _own_engine(data: Path) -> AsyncIterator[tuple[Embedded, SocketDoor]]:
    async with open_embedded(data, tell=note) as engine, open_socket(engine, data, note) as door:
        yield engine, door


@asynccontextmanager
async def _holder_of(data: Path) -> AsyncIterator[Client]:
    """A client of the process that holds `data`. Its calls raise Unreachable at once when nobody listens."""
    if not (data / NAME).exists():  # gRPC need not be loaded for that
        raise Unreachable(f"{data} has no socket", address=f"unix:{data / NAME}", sent=False)
    from graft.client import Client

    with short_path(data) as path:
        async with Client(f"unix:{path}", patience_seconds=0.0) as client:
            yield client


async def _stay(engine: Embedded, door: SocketDoor, interrupts: Interrupts) -> None:
    """Until the runs that others gave this process have ended; Ctrl-C leaves them to be resumed."""
    if not door.served:
        return
    later = trio.lowlevel.current_trio_token().run_sync_soon
    with trio.CancelScope() as scope:
        interrupts.listen(lambda: later(scope.cancel), lambda: later(scope.cancel))
        said = False
        while busy := engine.busy():
            if not said:
                said = True
                names = ", ".join(busy[:3]) + (", …" if len(busy) > 3 else "")
                note(f"other runs go on in this process until they end: {names} (Ctrl-C leaves them to `graft resume`)")
            await trio.sleep(LOOK_SECONDS)
        await trio.sleep(LINGER_SECONDS)


# Holders that nobody sees


async def with_detached(place: Place, body: Body) -> int:
    """Like `with_engine`, but never in this process: a holder is left behind when there is none.

    `body` may be called again, as there. Of many commands that find no holder one starts it, and the others wait.
    """
    if place.is_remote:
        async with place.client() as client:
            return await body(There(client))
    data = Path(place.data)
    child: subprocess.Popen[bytes] | None = None
    deadline = trio.current_time() + START_SECONDS
    while True:
        try:
            async with _holder_of(data) as client:
                return await body(There(client))
        except Unreachable:
            if trio.current_time() > deadline:
                raise
        if child is not None and child.poll() not in (None, 0):
            raise GraftError(f"no process could be left behind to hold {data}", hint=_last_words(data))
        if (child is None or child.poll() == 0) and not is_held(place.data):
            child = _spawn(data)
        await trio.sleep(AGAIN_SECONDS)


def _spawn(data: Path) -> subprocess.Popen[bytes] | None:
    """A new holder; None while that of another command begins. The lock is the new holder's until it has begun."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(data / LOG, "ab", opener=_private) as lock, open(data / LOG, "ab", opener=_private) as log:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        log.truncate(0)
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "graft.cli.holder", os.fspath(data.absolute()), str(lock.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            pass_fds=(lock.fileno(),),
            start_new_session=True,
        )


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _last_words(data: Path) -> str | None:
    try:
        return (data / LOG).read_text(errors="replace").strip() or None
    except OSError:
        return None


async def hold(data: Path, lock: int) -> int:
    """Hold `data` until nothing runs and nobody asks any more. `lock` is let go of when others can ask."""
    async with _own_engine(data) as (engine, door):
        os.close(lock)
        idle_since = time.monotonic()
        while time.monotonic() - idle_since < IDLE_SECONDS:
            await trio.sleep(LOOK_SECONDS)
            if door.calls or engine.busy():
                idle_since = time.monotonic()
    return 0
