"""How things look: a status as a symbol and a colour, a duration, a moment, an error with what caused it.

Everything here gives text or `Piece`s: text with the name of a style. The live view hands pieces to rich, all else
paints them itself, so that both look the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from graft.cli.terminal import Paint, clip, json_text, plain_text
from graft.cluster.reasons import told_once

if TYPE_CHECKING:
    from graft.plan import ErrorRecord

Piece = tuple[str, str]
"""(text, style): a style of `terminal.CODES`, or "" for none."""

# status: symbol, the same for terminals without unicode, style
STATUSES: dict[str, tuple[str, str, str]] = {
    "pending": ("·", ".", "dim"),
    "ready": ("·", ".", "dim"),
    "queued": ("○", "o", "dim"),
    "running": ("●", "*", "cyan"),
    "cancelling": ("●", "*", "yellow"),
    "backing_off": ("↻", "~", "yellow"),
    "waiting": ("◌", "w", "yellow"),
    "uncertain": ("?", "?", "magenta"),
    "succeeded": ("✓", "+", "green"),
    "failed": ("✗", "x", "red"),
    "skipped": ("–", "-", "dim"),
    "cancelled": ("⊘", "c", "yellow"),
    "timed_out": ("✗", "x", "red"),
}
IMPORTANCE = (
    *("failed", "timed_out", "uncertain", "waiting", "cancelling", "backing_off", "running"),
    *("succeeded", "cancelled", "skipped", "queued", "ready", "pending"),
)
UNKNOWN = ("?", "?", "")

LONE_MEMBER = "local"
FINAL = frozenset({"succeeded", "failed", "skipped", "cancelled", "timed_out"})
BAD = frozenset({"failed", "timed_out"})


def symbol(status: str, *, unicode: bool = True) -> str:
    return STATUSES.get(status, UNKNOWN)[0 if unicode else 1]


def style(status: str) -> str:
    return STATUSES.get(status, UNKNOWN)[2]


def words(status: str) -> str:
    """A status in a sentence."""
    return status.replace("_", " ")


def look(condition: str) -> str:
    """The status whose look a run in this condition has: one that is held does not look as if it ran."""
    return condition if condition in STATUSES else "waiting"


def where_run(member: str) -> str:
    """`on graft-1`; "" for the engine of `graft run`, which has no choice of members."""
    return f"on {member}" if member and member != LONE_MEMBER else ""


def paint_line(pieces: Iterable[Piece], paint: Paint) -> str:
    return "".join(paint(one_line(text), *style.split()) for text, style in pieces)


def one_line(text: str) -> str:
    """A piece may hold what others wrote, and must not look like two."""
    return plain_text(text).replace("\n", "\\n")


def duration(milliseconds: float) -> str:
    """`84ms`, `1.2s`, `3m 04s`, `2h 05m`, `4d 3h`."""
    ms = max(0.0, milliseconds)
    if ms < 999.5:
        return f"{ms:.0f}ms"
    if ms < 59_950:
        return f"{ms / 1000:.1f}s"
    seconds = round(ms / 1000)
    if seconds < 3600:
        return f"{seconds // 60}m {seconds % 60:02}s"
    if seconds < 86_400:
        return f"{seconds // 3600}h {seconds % 3600 // 60:02}m"
    return f"{seconds // 86_400}d {seconds % 86_400 // 3600}h"


def moment(wall_ms: int) -> str:
    """Local time, to the second."""
    return datetime.fromtimestamp(wall_ms / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def iso(wall_ms: int | None) -> str | None:
    """UTC with milliseconds, for machines: `2026-01-31T06:00:00.123Z`."""
    if wall_ms is None:
        return None
    return datetime.fromtimestamp(wall_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{wall_ms % 1000:03d}Z"


def error_title(error: ErrorRecord) -> str:
    """One line: the type and the title, the first once only."""
    title = " ".join(plain_text(error.title).split())
    if not title or title == error.type:
        return error.type
    return title if title.startswith(error.type) else told_once(f"{error.type}: {title}")


DETAIL_LINES = 200  # a traceback of a deep recursion says the same again and again


def error_lines(error: ErrorRecord, *, named: bool = True) -> Iterator[list[Piece]]:
    """The error, its detail, and below it what caused it. Errors that came as a group stand under their group.

    `named`: begin with the step that failed.
    """
    head: list[Piece] = []
    if named and error.node:
        head += [(error.node, "bold"), ("  ", "")]
    head.append((error_title(error), "red"))
    if error.attempt > 1:
        head.append((f"  (attempt {error.attempt})", "dim"))
    yield head
    detail = plain_text(error.detail).strip("\n").splitlines() if error.detail != error.title else []
    if len(detail) > DETAIL_LINES:
        yield [(f"    … {len(detail) - DETAIL_LINES} lines left out; `graft show --json` has all", "dim")]
    for line in detail[-DETAIL_LINES:]:
        yield [("    " + line, "dim")]
    for cause in error.cause:
        for number, pieces in enumerate(error_lines(cause)):
            yield [("    " if number else "  └ ", "dim"), *pieces]


def leaf_errors(error: ErrorRecord) -> Iterator[ErrorRecord]:
    """The errors of steps that a scope's error stands for, in order; the error itself when it has no step below."""
    below = [cause for cause in error.cause if cause.node and cause.node != error.node]
    if not below:
        yield error
    for cause in below:
        yield from leaf_errors(cause)


def value_text(value: Any, columns: int = 60) -> str:
    """A value on one line, cut to `columns`."""
    return clip(flat(value), columns)


def flat(value: Any) -> str:
    """A value as JSON on one line. One that nests too deep to be written is only told."""
    try:
        return json_text(json.dumps(value, ensure_ascii=False))
    except RecursionError:
        return json.dumps(TOO_DEEP)


PRETTY_COLUMNS = 88
PRETTY_DEPTH = 20
TOO_DEEP = "… nests too deep to be shown"


def pretty(value: Any, indent: str = "") -> str:
    """A value as JSON for a person: indented, but a list or a table that fits, or stands deep, is on one line."""
    line = flat(value)
    short = len(line) + len(indent) <= PRETTY_COLUMNS
    if short or not value or not isinstance(value, (list, dict)) or len(indent) >= 2 * PRETTY_DEPTH:
        return line
    deeper = indent + "  "
    if isinstance(value, dict):
        inner = [f"{flat(name)}: {pretty(each, deeper)}" for name, each in value.items()]
        return "{\n" + ",\n".join(deeper + each for each in inner) + "\n" + indent + "}"
    return "[\n" + ",\n".join(deeper + pretty(each, deeper) for each in value) + "\n" + indent + "]"


def counted(counts: Sequence[tuple[str, int]]) -> list[Piece]:
    """`1 failed, 3 running, 12 succeeded`: every status that occurs, what matters most first."""
    order = {status: at for at, status in enumerate(IMPORTANCE)}
    present = sorted((each for each in counts if each[1]), key=lambda each: order.get(each[0], len(order)))
    pieces: list[Piece] = []
    for status, number in present:
        pieces += [(", ", "") if pieces else ("", ""), (f"{number} {words(status)}", style(status))]
    return [piece for piece in pieces if piece[0]]
