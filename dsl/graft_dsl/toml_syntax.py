"""The surface of a TOML document: every key, value, comment and blank line with its offsets.

tomli says what a document means, this module where everything stands. It is used for placing diagnostics and by the
formatter, so never on a correct flow that is only compiled. It reads text that tomli has accepted (or the part before a
syntax error), hence it checks nothing itself.

tree-sitter-toml was the other choice. It knows TOML 1.0 only: one line break inside an inline table, which tomli
accepts as TOML 1.1, turns the whole document into one error node without positions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

import tomli
from attrs import define, field

_SPACE = re.compile(r"[ \t]*")
_TRIVIA = re.compile(r"(?:[ \t\n]++|#[^\n]*+)*+")
_COMMENT = re.compile(r"#[^\n]*")
_BARE = re.compile(r"[A-Za-z0-9_\-]++")
STRING = re.compile(  # atomic groups: in Python 3.11.2 (Debian 12) `(?:…(?!…))*+` never matches
    r'"""(?>(?:[^"\\]++|\\[\s\S]|"(?!""))*)"{3,5}'
    r"|'''(?>(?:[^']++|'(?!''))*)'{3,5}"
    r'|"(?:[^"\\\n]++|\\[^\n])*+"'
    r"|'[^'\n]*+'"
)
_ATOM = re.compile(r"[^\s,\]}#]++(?: \d[^\s,\]}#]*+)?")  # a number, boolean, date; a date and time may hold one space


class SyntaxStopped(Exception):
    """The text is not TOML from `offset` on."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"not TOML at offset {offset}")
        self.offset = offset


@define
class Key:
    """One part of a dotted key. `text` is as written, `name` what it means."""

    name: str
    text: str
    start: int
    end: int


@define
class Value:
    """`scalar`: its text is `[start:end]`. `array` and `table`: `items` in order, comments among them."""

    kind: Literal["scalar", "array", "table"]
    start: int
    end: int
    items: list[Value | Pair | Comment] = field(factory=list)
    multiline: bool = False  # a line break stands directly inside the brackets


@define
class Pair:
    keys: list[Key]
    value: Value


@define
class Comment:
    """`own_line`: nothing but white space stands before it. `blank_before`: an empty line does."""

    text: str
    start: int
    own_line: bool
    blank_before: bool = False


@define
class Header:
    """`[a.b]` or `[[a.b]]`."""

    keys: list[Key]
    array: bool
    start: int
    end: int


@define
class Blank:
    """One or more empty lines."""


Item = Header | Pair | Comment | Blank


def scan(text: str) -> Iterator[Item]:
    """The items of a document from top to bottom. Raises SyntaxStopped where the text cannot be TOML."""
    at, line_start, size = 0, True, len(text)
    newlines = 0
    while at < size:
        at = _skip(_SPACE, text, at)
        char = text[at : at + 1]
        if char == "\n":
            newlines, line_start, at = newlines + 1, True, at + 1
            if newlines == 2:
                yield Blank()
            continue
        if not char:
            return
        if char == "#":
            end = _skip(_COMMENT, text, at)
            yield Comment(text[at:end].rstrip(), at, line_start)
            at = end
        elif char == "[":
            header = _header(text, at)
            at = header.end
            yield header
        else:
            keys, at = _keys(text, at)
            at = _expect("=", text, _skip(_SPACE, text, at))
            value = _value(text, _skip(_SPACE, text, at))
            at = value.end
            yield Pair(keys, value)
        newlines, line_start = 0, False


def _skip(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found else at


def _expect(token: str, text: str, at: int) -> int:
    if not text.startswith(token, at):
        raise SyntaxStopped(at)
    return at + len(token)


def _header(text: str, start: int) -> Header:
    opening, closing = ("[[", "]]") if text.startswith("[[", start) else ("[", "]")
    keys, at = _keys(text, _skip(_SPACE, text, start + len(opening)))
    end = _expect(closing, text, _skip(_SPACE, text, at))
    return Header(keys, opening == "[[", start, end)


def _keys(text: str, at: int) -> tuple[list[Key], int]:
    keys = []
    while True:
        found = _BARE.match(text, at) or STRING.match(text, at)
        if found is None:
            raise SyntaxStopped(at)
        keys.append(Key(_name(found[0]), found[0], at, found.end()))
        at = found.end()
        dot = _skip(_SPACE, text, at)
        if not text.startswith(".", dot):
            return keys, at
        at = _skip(_SPACE, text, dot + 1)


def _name(text: str) -> str:
    if text[0] not in "\"'":
        return text
    try:
        return next(iter(tomli.loads(f"{text} = 0")))
    except (tomli.TOMLDecodeError, StopIteration):
        return text


def _value(text: str, start: int) -> Value:
    """One frame a level of nesting: tomli allows 400 levels, the interpreter about 1000 frames."""
    char = text[start : start + 1]
    if char not in ("[", "{"):
        found = (STRING if char in "\"'" and char else _ATOM).match(text, start)
        if found is None:
            raise SyntaxStopped(start)
        return Value("scalar", start, found.end())
    made = Value("array" if char == "[" else "table", start, start)
    closing = "]" if char == "[" else "}"
    at = start + 1
    while True:
        at = _inner_trivia(text, at, made)
        if text.startswith(closing, at):
            made.end = at + 1
            return made
        if made.kind == "array":
            value = _value(text, at)
            made.items.append(value)
            at = value.end
        else:
            keys, at = _keys(text, at)
            at = _expect("=", text, _skip(_SPACE, text, at))
            value = _value(text, _skip(_SPACE, text, at))
            made.items.append(Pair(keys, value))
            at = value.end
        at = _inner_trivia(text, at, made)
        if text.startswith(",", at):
            at += 1
        elif not text.startswith(closing, at):
            raise SyntaxStopped(at)


def _inner_trivia(text: str, at: int, into: Value) -> int:
    end = _skip(_TRIVIA, text, at)
    if end > at and "\n" in (trivia := text[at:end]):
        into.multiline = True
        if "#" in trivia:
            _inner_comments(trivia, at, text, into)
    return end


def _inner_comments(trivia: str, offset: int, text: str, into: Value) -> None:
    for found in _COMMENT.finditer(trivia):
        at = offset + found.start()
        own_line = not text[max(into.start, text.rfind("\n", into.start, at) + 1) : at].strip()
        blank = "\n\n" in re.sub(r"[ \t]", "", trivia[: found.start()])
        into.items.append(Comment(found[0].rstrip(), offset + found.start(), own_line, blank))


_SIMPLE_ESCAPES = {"u": 5, "U": 9, "x": 3}


def offsets(raw: str) -> list[int]:
    """Offset in `raw`, a TOML string as written, of each character of its value; and last, of its closing quote."""
    quote = raw[:3] if raw[:3] in ('"""', "'''") else raw[:1]
    at, end = len(quote), len(raw) - len(quote)
    if len(quote) == 3 and raw.startswith("\n", at):
        at += 1
    if quote[0] == "'":
        return list(range(at, end + 1))
    found = []
    while at < end:
        if raw[at] != "\\":
            found.append(at)
            at += 1
        elif raw[at + 1] in " \t\n":  # a backslash at the end of a line joins it with the next
            at = _skip(re.compile(r"\s*"), raw, at + 1)
        else:
            found.append(at)
            at += 1 + _SIMPLE_ESCAPES.get(raw[at + 1], 1)
    return [*found, end]
