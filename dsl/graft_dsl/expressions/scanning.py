"""Looking at the text of an expression before Python's parser does.

It finds where an expression inside a text ends, cuts out the f-strings, and refuses what the parser should not see:
unbalanced or too deep brackets, unterminated text, comments. With that the text may be put between parentheses, so that
it can go over several lines, and Python's parser cannot be sent down its stack.

F-strings are read here and not by Python: so they mean the same in every version (quotes inside of a replacement field
are free, as since 3.12) and every position in them is exact.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from attrs import frozen

MAX_BRACKETS = 80
MAX_CHAIN = 500
"""Far more than the depth of trees allows, far less than Python's parser takes on a stack of 512 KiB."""

MAX_FSTRINGS = 500
MAX_FSTRING_DEPTH = 5

_TOKEN = re.compile(
    r"""(?P<string>(?P<prefix>[A-Za-z]{0,2})(?P<quote>'''|\"{3}|'|"))|(?P<word>\w+)|(?P<open>[(\[{])|(?P<close>[)\]}])
        |(?P<comma>,)|(?P<operator>[-+*/%~.@]|\|\||&&)|(?P<comment>\#)|(?P<unequal>!=)|(?P<stop>[:!])""",
    re.VERBOSE,
)
_CLOSED = {"(": ")", "[": "]", "{": "}"}
_REST = {
    "'": re.compile(r"(?:[^'\\\n]|\\.)*+'", re.DOTALL),
    '"': re.compile(r'(?:[^"\\\n]|\\.)*+"', re.DOTALL),
    "'''": re.compile(r"(?:[^\\]|\\.)*?'''", re.DOTALL),
    '"""': re.compile(r'(?:[^\\]|\\.)*?"""', re.DOTALL),
}
_PREFIXES = frozenset({"", "r", "u", "b", "br", "rb", "f", "fr", "rf"})


# Most expressions hold no text, no braces and no comment: then nothing can hide the end of a `${…}`. Without brackets
# there is nothing to balance either, and a short one cannot be deep.
_OPEN = re.compile(r"[^'\"{}#]*")
_FLAT = re.compile(r"[^'\"{}#()\[\]]{0,200}")


class ScanError(Exception):
    """`code`, text and offsets of a problem."""

    def __init__(self, code: str, message: str, start: int, end: int, suggestion: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.start = start
        self.end = max(end, start + 1)
        self.suggestion = suggestion


@frozen
class FString:
    """An f-string: `start` is that of its prefix, `end` is behind its closing quote."""

    start: int
    end: int


@frozen
class Field:
    """A replacement field of an f-string: offsets of its expression, and its format specification."""

    start: int
    end: int
    spec: str = ""


def scan(
    text: str, start: int, end: int, stops: Literal["", "}", ":!}"] = "", depth: int = 0
) -> tuple[int, list[FString]]:
    """The end of the expression that begins at `start`, and the f-strings in it.

    It ends at the first character of `stops` outside of all brackets, or at `end` when there are no `stops`.
    Raises ScanError.
    """
    fstrings: list[FString] = []
    opened: list[int] = []
    chains = _Chains()
    at, before = start, None
    while found := _TOKEN.search(text, at, end):
        at = found.end()
        match found.lastgroup:
            case "word":
                chains.word(found[0])
            case "open":
                opened.append(found.start())
                if len(opened) > MAX_BRACKETS:
                    raise ScanError("GR102", f"brackets nest deeper than {MAX_BRACKETS} levels", found.start(), at)
                chains.open()
            case "close":
                if not opened and found[0] in stops:
                    return found.start(), fstrings
                _close(text, opened, found.start())
                chains.close()
            case "stop" if not opened and found[0] in stops:
                return found.start(), fstrings
            case "comma" | "stop":
                chains.comma()
            case "operator":
                chains.operator()
            case "comment":
                raise ScanError("GR101", "an expression has no comments", found.start(), at)
            case "string":
                _refuse_neighbours(text, found, before)
                at = _string(text, found, end, fstrings, depth)
        if chains.length > MAX_CHAIN:
            raise ScanError("GR102", f"more than {MAX_CHAIN} operators in a row", found.start(), at)
        before = (found, at)
    if opened:
        raise ScanError("GR101", f"`{text[opened[-1]]}` is never closed", opened[-1], opened[-1] + 1)
    if stops:
        raise ScanError("GR110", "this `{` is never closed", start - 1, start)
    return end, fstrings


def is_flat(text: str, start: int, end: int) -> bool:
    """Whether `scan` would find nothing at all between these offsets."""
    return _FLAT.fullmatch(text, start, end) is not None


def open_end(text: str, start: int) -> int | None:
    """Where the `${…}` ends whose expression begins at `start`, if that is plain to see; None: `scan` must tell."""
    found = _OPEN.match(text, start)
    end = found.end() if found else start
    return end if text[end : end + 1] == "}" else None


def _refuse_neighbours(text: str, found: re.Match[str], before: tuple[re.Match[str], int] | None) -> None:
    """Python joins texts that stand side by side. Here an f-string does not take part in that."""
    if before is None or before[0].lastgroup != "string" or text[before[1] : found.start()].strip():
        return
    if any("f" in each["prefix"].lower() for each in (found, before[0])):
        raise ScanError("GR101", "two texts side by side", before[0].start(), found.end(), "`+` joins texts")


class _Chains:
    """How deep a syntax tree may get at a place: the operators before it that nothing separates from it.

    It counts too much rather than too little. A comma ends all chains of its brackets, `and` and `or` end those of the
    operators that bind tighter. What is open around a bracket goes on inside.
    """

    def __init__(self) -> None:
        self.tight = 0
        self.loose = 0
        self.around: list[tuple[int, int]] = [(0, 0)]

    @property
    def length(self) -> int:
        return self.tight + self.loose

    def operator(self) -> None:
        self.tight += 1

    def word(self, word: str) -> None:
        if word in ("if", "lambda"):
            self.loose += 1
        elif word in ("not", "await"):
            self.tight += 1
        elif word in ("and", "or"):
            self.tight = self.around[-1][0]

    def open(self) -> None:
        self.tight += 1
        self.around.append((self.tight, self.loose))

    def close(self) -> None:
        self.tight, self.loose = self.around.pop()

    def comma(self) -> None:
        self.tight, self.loose = self.around[-1]


def _close(text: str, opened: list[int], at: int) -> None:
    if not opened:
        raise ScanError("GR101", f"`{text[at]}` closes nothing", at, at + 1)
    wanted = _CLOSED[text[opened.pop()]]
    if text[at] != wanted:
        raise ScanError("GR101", f"expected `{wanted}`, got `{text[at]}`", at, at + 1)


def _string(text: str, found: re.Match[str], end: int, fstrings: list[FString], depth: int) -> int:
    """The end of the text literal that begins at `found`."""
    prefix, quote = found["prefix"].lower(), found["quote"]
    if prefix not in _PREFIXES:
        raise ScanError("GR101", f"`{found['prefix']}` in front of a text", found.start(), found.end())
    if "f" in prefix:
        if depth >= MAX_FSTRING_DEPTH:
            raise ScanError(
                "GR102", f"f-strings nest deeper than {MAX_FSTRING_DEPTH} levels", found.start(), found.end()
            )
        at = found.end()
        for _ in _pieces(text, found.end(), end, quote, "r" in prefix, depth):
            at = _[1]
        fstrings.append(FString(found.start(), at))
        if len(fstrings) > MAX_FSTRINGS:
            raise ScanError("GR102", f"more than {MAX_FSTRINGS} f-strings", found.start(), found.end())
        return at
    rest = _REST[quote].match(text, found.end(), end)
    if rest is None:
        raise _unclosed(text, found.start(), found.end(), end)
    return rest.end()


def texts(code: str) -> Iterator[tuple[int, int]]:
    """Start and end of each text literal in `code`, which `scan` has accepted and which holds no f-strings."""
    at = 0
    while (found := _TOKEN.search(code, at)) is not None:
        at = found.end()
        if found["string"]:
            rest = _REST[found["quote"]].match(code, at)
            assert rest is not None, "scan() has seen that it is closed"
            at = rest.end()
            yield found.start(), at


def _unclosed(text: str, start: int, inside: int, end: int) -> ScanError:
    """The quote at `start` is not closed; the text itself begins at `inside`."""
    line = text.find("\n", inside, end)
    quote = text[inside - 1]
    if 0 <= line < text.find(quote, inside, end):
        hint = "in a TOML text between double quotes `\\n` is a line break at once: write `\\\\n`"
        return ScanError("GR101", "there is a line break in this text", start, line + 1, hint)
    if text[inside : inside + 2] == f"\\{quote}":
        hint = "a backslash is written `\\\\` in an expression, and `\\\\\\\\` in a TOML text between double quotes"
        return ScanError("GR101", "the backslash takes the quote away", start, end, hint)
    return ScanError("GR101", "this text is never closed: a quote is missing", start, end)


_Piece = tuple[Literal["text", "field", "end"], int, "str | Field"]


def fstring_pieces(text: str, fstring: FString, depth: int) -> list[str | Field]:
    """The pieces of an f-string that `scan` has found: literal text as Python source without quotes, and fields."""
    found = _TOKEN.match(text, fstring.start)
    assert found is not None, "scan() found it here"
    raw = "r" in found["prefix"].lower()
    pieces = _pieces(text, found.end(), fstring.end, found["quote"], raw, depth)
    return [piece for form, _, piece in pieces if form != "end"]


def literal_source(text: str, fstring: FString, piece: str) -> str:
    """A literal piece of an f-string as the source of a plain text literal."""
    found = _TOKEN.match(text, fstring.start)
    assert found is not None, "scan() found it here"
    prefix = "r" if "r" in found["prefix"].lower() else ""
    return f"{prefix}{found['quote']}{piece}{found['quote']}"


_BREAKS = {
    quote: re.compile(
        rf"\\(?:N\{{[^{{}}\n]*\}}|.)|\{{\{{|\}}\}}|\{{|\}}|{quote}" + ("|\n" if len(quote) == 1 else ""), re.DOTALL
    )
    for quote in _REST
}


def _pieces(text: str, at: int, end: int, quote: str, raw: bool, depth: int) -> Iterator[_Piece]:
    """`("text", end, source)`, `("field", end, Field)`, and at last `("end", end of the literal, "")`."""
    start, literal = at, ""
    while True:
        found = _BREAKS[quote].search(text, at, end)
        if found is None or found[0] == "\n":
            raise _unclosed(text, start - len(quote), start, end)
        literal += text[at : found.start()]
        at = found.end()
        match found[0]:
            case "{{" | "}}":
                literal += found[0][0]
            case "}":
                raise ScanError("GR101", "a single `}` in an f-string: write `}}`", found.start(), at)
            case "{":
                if literal:
                    yield "text", at, literal
                literal = ""
                field, at = _field(text, at, end, depth)
                yield "field", at, field
            case mark if mark == quote:
                if literal:
                    yield "text", at, literal
                yield "end", at, ""
                return
            case escape if raw and escape.startswith("\\N"):
                literal, at = literal + "\\N", found.start() + 2
            case escape:
                literal += escape


def _field(text: str, start: int, end: int, depth: int) -> tuple[Field, int]:
    stop, _ = scan(text, start, end, ":!}", depth + 1)
    if text[stop] == "!":
        raise ScanError("GR111", "there is no conversion (`!`) here", stop, stop + 1, "write str(x) or json(x)")
    if text[stop] == "}":
        return Field(start, stop), stop + 1
    close = text.find("}", stop, end)
    brace = text.find("{", stop, end)
    if close < 0 or 0 <= brace < close:
        raise ScanError("GR111", "a format specification holds no expressions", stop, close + 1 if close > 0 else end)
    return Field(start, stop, text[stop + 1 : close]), close + 1


def template_pieces(text: str) -> Iterator[str | Field]:
    """The pieces of a template: literal text, and the fields of its `${…}`. Raises ScanError."""
    at, literal = 0, ""
    while (mark := text.find("${", at)) >= 0:
        if mark > at and text[mark - 1] == "$":
            literal += text[at : mark - 1] + "${"
            at = mark + 2
            continue
        literal += text[at:mark]
        stop = open_end(text, mark + 2)
        try:
            if stop is None:
                stop, _ = scan(text, mark + 2, len(text), "}")
        except ScanError as error:
            if error.code == "GR110":
                raise ScanError("GR110", "`${` is never closed: a `}` is missing", mark, mark + 2) from None
            raise
        if literal:
            yield literal
        literal = ""
        yield Field(mark + 2, stop)
        at = stop + 1
    if literal or text[at:]:
        yield literal + text[at:]
