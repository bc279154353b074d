"""The logs of steps: what they printed, one file a step, under `<directory>/<run>/<path>.log`.

A line of the file is `TIME ATTEMPT STREAM TEXT`, so `grep` and `less` work on it as it is::

    2025-11-22T21:05:00.123Z 1 out downloading
    2025-11-22T21:05:00.350Z 1 err+ … the rest of a line that was too long to wait for

Streams: `out` and `err` of the step, `log` for what it said with `ctx.log()`, `graft` for our own notes. A `+` means
that the text goes on the previous line of its stream. The bytes of the text are kept as the step wrote them; a reader
decodes. JSON lines were refused: four times the bytes of a short line, and unreadable without a tool.

A log is a help, not a result: when it cannot be written the step goes on without it.
"""

from __future__ import annotations

import contextlib
import hashlib
import heapq
import os
import re
import shutil
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, unquote

from attrs import field, frozen

from graft.worker.redaction import RedactedStream, Redactor

MAX_BYTES = 64 * 1024 * 1024  # of one step's file
MAX_RUN_BYTES = 512 * 1024 * 1024  # of all files of a run, on one member
MAX_PARTIAL = 16 * 1024  # a line longer than this is written in pieces
COUNTED_RUNS = 1024  # whose logs are counted without a look at the disk for every step
MAX_NAME = 200  # bytes of a file name; file systems allow 255

OURS = "graft"  # the stream of our own words: they hold nothing of the step's that is not clean

ASIDE = ".removed-"

_LINE = re.compile(rb"(\S{20,32}) (\d{1,9}) (out|err|log|graft)(\+?) ?(.*)", re.DOTALL)


@frozen(order=True)
class LogLine:
    """One line of a step's log. `continues`: `text` goes on the line before it of the same stream.

    `member`: of a cluster, on which the step ran; "" where it was not asked.
    """

    time: str  # ISO 8601, UTC, milliseconds
    path: str = field(order=False)
    attempt: int = field(order=False)
    stream: str = field(order=False)  # "out" "err" "log" "graft"
    text: str = field(order=False)
    continues: bool = field(order=False, default=False)
    member: str = field(order=False, default="")


class RunLogs:
    """What the logs of one run may still take. It counts what this process writes, and looks at the files again before
    it says that there is no room: several processes of a member may write to one run."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self._directory, self.max_bytes = directory, max_bytes
        self._lock = threading.Lock()
        self._left = 0  # that may be written without another look

    def take(self, count: int) -> bool:
        """Whether `count` bytes more may be written."""
        with self._lock:
            if count > self._left:
                room = max(0, self.max_bytes - self._size())
                self._left = max(min(room, count), room // 2)
            if count > self._left:
                return False
            self._left -= count
            return True

    def _size(self) -> int:
        try:
            with os.scandir(self._directory) as files:
                return sum(each.stat().st_size for each in files)
        except OSError:
            return 0


class StepLog:
    """Writes the log of one attempt. The file is opened at the first write; any thread may write."""

    def __init__(
        self,
        file: Path | None,
        attempt: int,
        redactor: Redactor | None = None,
        *,
        max_bytes: int = MAX_BYTES,
        run: RunLogs | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._file, self._run = file, run
        self._attempt = attempt
        self._redactor = redactor
        self._max_bytes = max_bytes
        self._wall = wall
        self._fd: int | None = None
        self._room = max_bytes
        self._streams: dict[tuple[str, str], _Stream] = {}
        self._lock = threading.Lock()
        self._closed = file is None

    def write(self, stream: str, data: bytes, source: str = "") -> None:
        """Take output as it comes. Whole lines go to the file at once, the rest when its line ends.

        `source` tells writers apart that write parts of lines to one stream at once.
        """
        if self._closed or not data:
            return
        with self._lock:
            state = self._streams.get((stream, source))
            if state is None:
                state = self._streams[stream, source] = _Stream(stream, None if stream == OURS else self._redactor)
            self._emit(state, state.feed(data))

    def note(self, text: str, stream: str = OURS) -> None:
        """One message of our own, or of `ctx.log()`."""
        self.write(stream, text.encode("utf-8", "replace") + b"\n")

    def flush(self) -> None:
        """Write what waits for the end of its line; what comes next begins a new one."""
        with self._lock:
            if not self._closed:
                for state in self._streams.values():
                    self._emit(state, state.finish())

    def close(self) -> None:
        """Flush, and close the file. May be called twice."""
        self.flush()
        with self._lock:
            self._closed = True
            if self._fd is not None:
                with contextlib.suppress(OSError):  # a network's file system says here what it could not write
                    os.close(self._fd)
                self._fd = None

    def _emit(self, state: _Stream, pieces: list[tuple[bytes, bool]]) -> None:
        for body, continues in pieces:
            prefix = b"%s %d %s%s " % (self._time(), self._attempt, state.label, b"+" if continues else b"")
            first_end = body.find(b"\n") if continues else -1
            if first_end >= 0:  # only the first line goes on an earlier one
                plain = prefix.replace(b"+ ", b" ", 1)
                rest = body[first_end + 1 :].replace(b"\n", b"\n" + plain)
                self._append(prefix + body[: first_end + 1] + plain + rest + b"\n")
            else:
                self._append(prefix + body.replace(b"\n", b"\n" + prefix) + b"\n")

    def _append(self, data: bytes) -> None:
        if self._closed or not self._open():
            return
        assert self._fd is not None
        is_full = len(data) > self._room
        if is_full:
            data = data[: data.rfind(b"\n", 0, self._room) + 1] + self._full_note("step", self._max_bytes)
        elif self._run is not None and not self._run.take(len(data)):
            is_full, data = True, self._full_note("run", self._run.max_bytes)
        self._room -= len(data)
        try:
            os.write(self._fd, data)
        except OSError:
            self._closed = True
        self._closed = self._closed or is_full

    def _open(self) -> bool:
        if self._fd is not None:
            return True
        assert self._file is not None
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        try:
            try:
                self._fd = os.open(self._file, flags, 0o644)
            except FileNotFoundError:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                self._fd = os.open(self._file, flags, 0o644)
            self._room = self._max_bytes - os.fstat(self._fd).st_size
        except OSError:
            self._closed = True
            return False
        if self._room < 0:  # an earlier attempt filled it, and said so
            self._closed = True
        return not self._closed

    def _full_note(self, what: str, max_bytes: int) -> bytes:
        logs = "log of this step has" if what == "step" else "logs of this run have"
        text = f"the {logs} reached {max_bytes} bytes; what follows is not kept"
        return b"%s %d graft %s\n" % (self._time(), self._attempt, text.encode())

    def _time(self) -> bytes:
        now = datetime.fromtimestamp(self._wall(), UTC)
        return f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z".encode()


class _Stream:
    """What one stream of an attempt still holds back: an unfinished line, and an end that may become a secret."""

    def __init__(self, name: str, redactor: Redactor | None) -> None:
        self.label = name.encode()
        self._clean = RedactedStream(redactor) if redactor else None
        self._partial = b""
        self._continues = False

    def feed(self, data: bytes) -> list[tuple[bytes, bool]]:
        """Pieces that can be written: lines without their last newline, and whether they go on an earlier piece."""
        if self._clean is not None:
            data = self._clean.feed(data)
        data = self._partial + data if self._partial else data
        end = data.rfind(b"\n")
        if end < 0:
            self._partial = data
            return self._overlong()
        self._partial = data[end + 1 :]
        piece = (data[:end], self._continues)
        self._continues = False
        return [piece, *self._overlong()]

    def _overlong(self) -> list[tuple[bytes, bool]]:
        if len(self._partial) < MAX_PARTIAL:
            return []
        piece = (self._partial, self._continues)
        self._partial, self._continues = b"", True
        return [piece]

    def finish(self) -> list[tuple[bytes, bool]]:
        rest = self._partial + (self._clean.finish() if self._clean is not None else b"")
        piece = (rest, self._continues)
        self._partial, self._continues = b"", False
        return [piece] if rest else []


class LogStore:
    """The logs of all runs of one data directory. Any process may read while another one writes."""

    def __init__(
        self,
        directory: Path | None,
        *,
        max_bytes: int = MAX_BYTES,
        max_run_bytes: int = MAX_RUN_BYTES,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.directory = directory  # None: nothing is kept
        self._max_run_bytes = max_run_bytes
        self._runs: OrderedDict[str, RunLogs] = OrderedDict()
        self._max_bytes = max_bytes
        self._wall = wall

    def open_writer(self, run_id: str, path: str, attempt: int, redactor: Redactor | None = None) -> StepLog:
        file = self.file(run_id, path) if self.directory is not None else None
        run = None if file is None else self._run(run_id, file.parent)
        return StepLog(file, attempt, redactor, max_bytes=self._max_bytes, run=run, wall=self._wall)

    def _run(self, run_id: str, directory: Path) -> RunLogs:
        run = self._runs.setdefault(run_id, RunLogs(directory, self._max_run_bytes))
        self._runs.move_to_end(run_id)
        if len(self._runs) > COUNTED_RUNS:
            self._runs.popitem(last=False)
        return run

    def file(self, run_id: str, path: str) -> Path:
        """Where the log of a step is, or would be."""
        assert self.directory is not None
        return self.directory / safe_name(run_id) / f"{safe_name(path)}.log"

    def paths(self, run_id: str) -> list[str]:
        """The steps that have a log, sorted."""
        if self.directory is None:
            return []
        try:
            names = os.listdir(self.directory / safe_name(run_id))
        except FileNotFoundError:
            return []
        return sorted(unquote(name.removesuffix(".log")) for name in names if name.endswith(".log"))

    def read(self, run_id: str, path: str | None = None) -> Iterator[LogLine]:
        """The lines of one step, or of all steps of the run merged by time."""
        if self.directory is None:
            return iter(())
        paths = self.paths(run_id) if path is None else [path]
        return heapq.merge(*(self._lines(run_id, each) for each in paths))

    def follow(self, run_id: str, path: str | None = None) -> LogFollower:
        return LogFollower(self, run_id, path)

    def run_ids(self) -> list[str]:
        """The runs that have logs, but for those whose id is too long to be the name of a directory."""
        if self.directory is None:
            return []
        try:
            names = os.listdir(self.directory)
        except OSError:
            return []
        return sorted(unquote(name) for name in names if not name.startswith(".") and safe_name(unquote(name)) == name)

    def set_aside(self, run_id: str) -> None:
        """Let go of the logs of a run: a run that gets its id has none. `clear_aside` deletes them."""
        if self.directory is not None:
            with suppress(OSError):
                aside = tempfile.mkdtemp(prefix=ASIDE, dir=self.directory)
                os.rename(self.directory / safe_name(run_id), aside)

    def clear_aside(self) -> None:
        for each in [] if self.directory is None else self.directory.glob(f"{ASIDE}*"):
            shutil.rmtree(each, ignore_errors=True)

    def _lines(self, run_id: str, path: str) -> Iterator[LogLine]:
        try:
            stream = self.file(run_id, path).open("rb")
        except FileNotFoundError:
            return
        with stream:
            for raw in stream:
                yield parse_line(raw, path)


class LogFollower:
    """Reads what was written since the last time: `poll()` again and again, sleeping in between.

    New steps of the run are found by themselves. A line is given once it is complete.
    """

    def __init__(self, store: LogStore, run_id: str, path: str | None = None) -> None:
        self._store = store
        self._run_id = run_id
        self._path = path
        self._offsets: dict[str, int] = {}

    def poll(self, max_bytes_per_step: int = 1024 * 1024) -> list[LogLine]:
        """New lines of all steps, sorted by time."""
        if self._store.directory is None:
            return []
        paths = self._store.paths(self._run_id) if self._path is None else [self._path]
        found: list[LogLine] = []
        for path in paths:
            offset = self._offsets.get(path, 0)
            try:
                file = self._store.file(self._run_id, path)
                if file.stat().st_size <= offset:
                    continue
                with file.open("rb") as stream:
                    stream.seek(offset)
                    data = stream.read(max_bytes_per_step)
                    if b"\n" not in data:
                        data += stream.readline()
            except FileNotFoundError:
                continue
            whole = data[: data.rfind(b"\n") + 1]
            self._offsets[path] = offset + len(whole)
            found += (parse_line(raw, path) for raw in whole.split(b"\n") if raw)
        found.sort()
        return found


def parse_line(raw: bytes, path: str) -> LogLine:
    """One line of a log file. A line that is damaged is given as a note of ours, never refused."""
    match = _LINE.fullmatch(raw.removesuffix(b"\n"))
    if match is None:
        return LogLine("", path, 0, "graft", raw.decode("utf-8", "replace").rstrip("\n"))
    when, attempt, stream, plus, text = match.groups()
    return LogLine(when.decode(), path, int(attempt), stream.decode(), text.decode("utf-8", "replace"), bool(plus))


def safe_name(text: str) -> str:
    """`text` as one file name: reversible with `unquote`, but for texts so long that their end becomes a hash."""
    name = quote(text, safe="[]-_ ,=+@", errors="surrogatepass")
    name = name.replace(".", "%2E", 1) if name.startswith(".") else name
    if len(name) <= MAX_NAME:
        return name
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return f"{name[: MAX_NAME - 18].rpartition('%')[0] or name[: MAX_NAME - 18]}~{digest}"
