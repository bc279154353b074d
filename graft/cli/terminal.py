"""What a stream can show: colours, symbols, width; and the one door through which text goes to it.

What steps, files and people wrote may hold anything, also what makes a terminal do something. So `shown` makes every
character visible that is not text, wherever the text came from, and the colours of our own are not written as escape
sequences before: `Paint` puts in noncharacters, which Unicode keeps for such inner use, and `shown` makes escape
sequences of them.

Colour follows `NO_COLOR` (https://no-color.org), then `FORCE_COLOR`, then whether the stream is a terminal.
"""

from __future__ import annotations

import codecs
import os
import re
import shutil
import sys
import textwrap
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

# C0 and C1 controls except newline and tab, what turns the direction of a line, what breaks lines elsewhere than at a
# newline, halves of surrogate pairs, tags and noncharacters: text must not move the cursor, nor look like another text.
_UNSEEN = (
    r"\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef\ufff9-\ufffb\ufffe\uffff"
    r"\U000e0000-\U000e007f"
)
_UNSAFE = re.compile(rf"[\x00-\x08\x0b-\x1f{_UNSEEN}]")
_UNSAFE_IN_JSON = re.compile(rf"[{_UNSEEN}]")
_NOT_ASCII = re.compile(r"[^\x00-\x7e]")

_MARKS = {chr(0xFDD0 + at): str(code) for at, code in enumerate(CODES.values())}
_MARK_OF = dict(zip(CODES, _MARKS, strict=True))
_END = "\ufdef"
_STYLED = re.compile(f"([{''.join(_MARKS)}]+)([^{''.join(_MARKS)}{_END}]*){_END}")


def plain_text(text: str) -> str:
    """`text` with every character made visible that is not text, so that it can be shown on a terminal."""
    return _UNSAFE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("ascii", "backslashreplace").decode() if match[0] > "\x7f" else repr(match[0])[1:-1]


def shown(text: str, *, color: bool = True) -> str:
    """`text` as it goes to a stream: what `Paint` put in as colour (or without, as `color` says), all else visible."""
    if _UNSAFE.search(text) is None:
        return text
    pieces, at = [], 0
    for match in _STYLED.finditer(text):
        inner = plain_text(match[2])
        codes = ";".join(_MARKS[mark] for mark in match[1])
        pieces += [plain_text(text[at : match.start()]), f"\x1b[{codes}m{inner}\x1b[0m" if color else inner]
        at = match.end()
    return "".join([*pieces, plain_text(text[at:])])


def json_text(text: str, *, ascii: bool = False) -> str:
    """A JSON text that says the same in characters that every terminal, or every encoding, can be given."""
    return (_NOT_ASCII if ascii else _UNSAFE_IN_JSON).sub(_json_escape, text)


def _json_escape(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def _escape_unknown(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json_text(error.object[error.start : error.end], ascii=True), error.end


ESCAPE = "graft.escape"  # an error handler for streams: what an encoding does not have is written as JSON would
codecs.register_error(ESCAPE, _escape_unknown)


def is_utf8(stream: IO[Any] | None) -> bool:
    try:
        return codecs.lookup(getattr(stream, "encoding", None) or "ascii").name in ("utf-8", "utf-8-sig")
    except LookupError:
        return False


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
        return f"{''.join(_MARK_OF[name] for name in names)}{plain_text(text)}{_END}"

    def adopt(self, text: str) -> str:
        """Text that another part of ours has coloured with escape sequences, and cleaned."""
        return re.sub(r"\x1b\[(?:([1-9][0-9;]*)|0)m", _adopted, text) if self.on else text


def _adopted(match: re.Match[str]) -> str:
    marks = {code: mark for mark, code in _MARKS.items()}
    return "".join(marks[code] for code in match[1].split(";")) if match[1] else _END


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


def wrapped(text: str, columns: int | None) -> list[str]:
    """`text` in lines of at most `columns`; one line where nothing is known of the width. Nothing is cut off."""
    if columns is None or len(text) <= columns:
        return [text]
    return textwrap.wrap(text, max(20, columns), drop_whitespace=False, replace_whitespace=False) or [text]


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


def clear() -> None:
    """Go back to the first line of the terminal behind standard output, with nothing below."""
    if is_terminal(sys.stdout):
        sys.stdout.write("\x1b[H\x1b[J")


def flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def out(text: str = "") -> None:
    """One line (or more) of a command's result."""
    if sys.stdout is not None:
        sys.stdout.write(shown(text, color=has_color(sys.stdout, os.environ)) + "\n")


def out_piece(text: str, *, theirs: bool = False) -> None:
    """Part of a line. `theirs`: what a program wrote, which goes unchanged to anything but a terminal."""
    if sys.stdout is not None:
        is_raw = theirs and not is_terminal(sys.stdout)
        sys.stdout.write(text if is_raw else shown(text, color=has_color(sys.stdout, os.environ)))


def note(text: str = "") -> None:
    """One line (or more) about what a command does; never part of its result.

    Where it cannot be written (a full disk, a terminal that was closed) the rest is not said; the command goes on.
    """
    if sys.stderr is not None:
        try:
            sys.stderr.write(shown(text, color=has_color(sys.stderr, os.environ)) + "\n")
            sys.stderr.flush()
        except OSError:
            _to_nowhere(sys.stderr)


def out_json(record: Any) -> None:
    """One object on one line, flushed: who reads it may be following."""
    import msgspec

    if sys.stdout is not None:
        out_value(msgspec.json.encode(record).decode())
        flush()


def out_value(text: str) -> None:
    """A JSON text for programs. They take it for UTF-8, so in another encoding only ASCII is written."""
    if sys.stdout is not None:
        sys.stdout.write(json_text(text, ascii=not is_utf8(sys.stdout)) + "\n")
