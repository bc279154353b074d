"""The process of `graft serve`: its log, its signals, and how it ends."""

from __future__ import annotations

import errno
import gc
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import trio

from graft.cli import exits
from graft.cli.looks import one_line
from graft.cluster.cluster import Factory
from graft.config import Loaded, reload
from graft.errors import GraftError, StorageError, UsageError
from graft.security.audit import log_refusal

if TYPE_CHECKING:
    from graft.security.audit import AuditRecord

log = logging.getLogger("graft.serve")
AUDIT = "audit.log"
COLLECT_AFTER = (10_000, 20, 20)
"""Allocations between two collections of garbage, and how many of one generation go before one of the next. A member
makes little garbage in cycles and keeps much state: the default (700, 10, 10) looks through that state all the time,
which costs a tenth of its processor."""
QUIET = {"grpclib": logging.ERROR, "h2": logging.WARNING, "hpack": logging.WARNING, "asyncio": logging.ERROR}


def serve(loaded: Loaded, *, stop_at_eof: bool = False) -> int:
    """Run a member until a signal ends it. Gives the exit code; raises what ended it otherwise.

    `stop_at_eof`: the end of standard input is such a signal, too.
    """
    set_up_logging(loaded)
    gc.freeze()  # the program itself is no garbage
    gc.set_threshold(*COLLECT_AFTER)
    try:
        return trio.run(_serve, loaded, stop_at_eof)
    except BaseExceptionGroup as group:
        raise explained(the_cause(group)) from None
    except OSError as error:
        raise explained(error) from None


def explained(error: BaseException) -> BaseException:
    """An address that cannot be had is a matter of the settings, no failure of ours."""
    if isinstance(error, OSError) and error.errno in (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES):
        return UsageError(str(error.strerror or error), hint="`--listen HOST:PORT` names another address")
    return error


async def _serve(loaded: Loaded, stop_at_eof: bool) -> int:
    stopping = trio.Event()
    code = exits.SUCCEEDED
    box = _Box(loaded)
    receiver = trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    with trio.CancelScope() as everything, receiver as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_listen, signals, box, stopping, everything)
            if stop_at_eof:
                nursery.start_soon(_watch_input, stopping)
            await _run(box, stopping)
            nursery.cancel_scope.cancel()
    if everything.cancelled_caught:
        tell_stopped(box.running)
        code = exits.INTERRUPTED
    return code


def tell_stopped(running: int) -> None:
    """`running`: the steps that it had when the second signal came."""
    if running:
        log.warning("stopped at once: %d steps are lost, and begin elsewhere when its lease has ended", running)
    else:
        log.info("stopped at once")


class _Box:
    """What signals need to reach."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self.factory = Factory(loaded.settings, tell=log.info, audit=open_audit(loaded))
        self.running = 0  # steps, when it was told to stop at once


async def _run(box: _Box, stopping: trio.Event) -> None:
    factory = box.factory
    with trio.CancelScope() as starting:  # until there is a cluster a signal just ends it
        async with trio.open_nursery() as nursery:

            async def cancel_start() -> None:
                await stopping.wait()
                if factory.cluster is None:
                    starting.cancel()

            nursery.start_soon(cancel_start)
            async with factory.open() as cluster:
                await stopping.wait()
                log.info("stopping")
                await cluster.stop()
            nursery.cancel_scope.cancel()
    log.info("stopped")


async def _listen(signals: Any, box: _Box, stopping: trio.Event, everything: trio.CancelScope) -> None:
    async for number in signals:
        if number == signal.SIGHUP:
            await _reload(box)
        elif stopping.is_set():
            cluster = box.factory.cluster
            box.running = 0 if cluster is None else cluster.running
            everything.cancel()
        else:
            stopping.set()


async def _watch_input(stopping: trio.Event) -> None:
    while await trio.lowlevel.FdStream(os.dup(0)).receive_some():
        pass
    stopping.set()


async def _reload(box: _Box) -> None:
    """Read the settings again and use what may change while a member runs."""
    try:
        loaded, changed, refused = await trio.to_thread.run_sync(reload, box.loaded)
    except GraftError as error:
        log.error("the settings were not read again: %s", error)
        return
    box.loaded = loaded
    log.info("read the settings again: %s", ", ".join(changed) if changed else "nothing changed")
    if refused:
        log.warning("these take effect at the next start: %s", ", ".join(refused))
    set_up_logging(loaded)
    await box.factory.use(loaded.settings, changed)


# The log


def set_up_logging(loaded: Loaded) -> None:
    """One line a message on stderr: text for a person, JSON for a collector."""
    wanted, member = loaded.settings.observability, loaded.settings.node_id
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json(member) if wanted.log_format == "json" else _Text(member))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(wanted.log_level.upper())
    for name, level in QUIET.items():
        logging.getLogger(name).setLevel(level)


class _Text(logging.Formatter):
    """`2026-12-01 14:03:07+0100 warning graft-0: the text`, in the machine's time zone."""

    def __init__(self, member: str) -> None:
        super().__init__()
        self._member = member

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%d %H:%M:%S%z", time.localtime(record.created))
        return f"{moment} {record.levelname.lower()} {self._member}: {one_line(record.getMessage())}"


class _Json(logging.Formatter):
    def __init__(self, member: str) -> None:
        super().__init__()
        self._member = member

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03}Z"
        fields = {
            "at": moment,
            "level": record.levelname.lower(),
            "member": self._member,
            "logger": record.name,
            "text": record.getMessage(),
        }
        return json.dumps(fields)


def open_audit(loaded: Loaded) -> Callable[[AuditRecord], None]:
    """Who was refused, and why: a line of JSON each in a file, and a warning in the log."""
    settings = loaded.settings
    path = Path(settings.observability.audit_file or Path(settings.storage.directory) / AUDIT)

    def write(record: AuditRecord) -> None:
        log_refusal(record)
        line = json.dumps({"at": round(time.time(), 3)} | attrs.asdict(record))
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(descriptor, line.encode() + b"\n")
            finally:
                os.close(descriptor)
        except OSError as error:
            log.error("the audit line was not written: %s: %s", path, error.strerror)

    return write


def the_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What ended the member: a store that failed explains all the rest."""
    for kind in (StorageError, GraftError):
        mine, _ = group.split(kind)
        if mine is not None:
            group = mine
            break
    leaf: BaseException = group
    while isinstance(leaf, BaseExceptionGroup):
        leaf = leaf.exceptions[0]
    return leaf
