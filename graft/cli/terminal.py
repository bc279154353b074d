"""What a stream can show: colours, symbols, width; and text made safe to show.

Colour follows `NO_COLOR` (https://no-color.org), then `FORCE_COLOR`, then whether the stream is a terminal.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Any

CODES: dict[str, int] = {
    "bold": 1,
    "dim": 2,
    "red": 31,
    "green": 32,
    "yellow": 33,
    "blue": 34,
    "magenta": 35,
    "cyan": 36,
}

# C0 and C1 controls except newline and tab: an error text must not be able to move the cursor.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain_text(text: str) -> str:
    """`text` with every control character made visible, so that it can be shown on a terminal."""
    return _CONTROLS.sub(lambda match: repr(match[0])[1:-1], text)


class Paint:
    """Colours text, or leaves it alone: `paint("ok", "green", "bold")`."""

    def __init__(self, on: bool) -> None:
        self.on = on

    @classmethod
    def of(cls, stream: IO[Any] | None) -> Paint:
        return cls(has_color(stream, os.environ))

    def __call__(self, text: str, *names: str) -> str:
        if not self.on or not names or not text:
            return text
        return f"\x1b[{';'.join(str(CODES[name]) for name in names)}m{text}\x1b[0m"


def has_color(stream: IO[Any] | None, environment: Mapping[str, str]) -> bool:
    if environment.get("NO_COLOR"):
        return False
    if environment.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return is_terminal(stream) and environment.get("TERM") != "dumb"


def is_terminal(stream: IO[Any] | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def speaks_unicode(stream: IO[Any] | None) -> bool:
    """Whether the symbols of `graft.cli.looks` can be written to `stream`."""
    try:
        "✓✗●◌│".encode(getattr(stream, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def width(stream: IO[Any] | None, otherwise: int = 100) -> int:
    """Columns of the terminal behind `stream`; `otherwise` when it is none. `COLUMNS` wins."""
    if os.environ.get("COLUMNS", "").isdigit():
        return max(20, int(os.environ["COLUMNS"]))
    if not is_terminal(stream):
        return otherwise
    return max(20, shutil.get_terminal_size((otherwise, 24)).columns)


def clip(text: str, columns: int) -> str:
    """`text`, at most `columns` long; what is cut off is marked."""
    return text if len(text) <= columns else text[: max(0, columns - 1)] + "…"


def let_go_of_broken_pipes() -> None:
    """Send what goes to a stream that nobody reads any more to nowhere, the last flush at the exit included."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except BrokenPipeError:
            _to_nowhere(stream)
        except (OSError, ValueError):
            continue


def _to_nowhere(stream: IO[Any]) -> None:
    with suppress(OSError, ValueError):  # a stream that is no file
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def out(text: str = "") -> None:
    """One line (or more) of a command's result."""
    if sys.stdout is not None:
        print(text, file=sys.stdout)


def note(text: str = "") -> None:
    """One line (or more) about what a command does; never part of its result.

    Where it cannot be written (a full disk, a terminal that was closed) the rest is not said; the command goes on.
    """
    if sys.stderr is not None:
        try:
            print(text, file=sys.stderr, flush=True)
        except OSError:
            _to_nowhere(sys.stderr)


def out_json(record: Any) -> None:
    """One object on one line, flushed: who reads it may be following."""
    import msgspec

    if sys.stdout is not None:
        print(msgspec.json.encode(record).decode(), file=sys.stdout, flush=True)
