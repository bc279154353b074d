"""Regular expressions of authors (`pattern` of a param): a strict part of the common dialect, matched in linear time.

::

    alternatives = sequence ("|" sequence)*
    sequence     = (atom ("*" | "+" | "?" | "{n}" | "{n,}" | "{n,m}")?)*
    atom         = character | "." | "[" class "]" | "(" alternatives ")" | "(?:" alternatives ")" | "^" | "$" | escape

What is written here means the same in Python, JavaScript, Go and Java, and a pattern has to match the whole value.
What they read in different ways, or what cannot be matched in linear time (look-around, back references), is refused.

Matching goes through the value once with the set of all places where the pattern may be (Thompson, "Regular expression
search algorithm", 1968; Cox, "Regular expression matching can be simple and fast", 2007). Sets that were met are kept,
so that most characters cost one look-up.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, NoReturn

MAX_LENGTH = 1000  # characters of a pattern
MAX_DEPTH = 50  # groups in groups
MAX_STATES = 5000  # places in a pattern, repeats written out
MAX_KEPT = 10_000  # sets of places that are kept
MAX_WORK = 20_000_000  # places looked at for one value: some seconds

Range = tuple[int, int]
Node = tuple[Any, ...]
"""`("set", ranges, negated)`, `("cat", nodes)`, `("alt", nodes)`, `("repeat", node, least, most)`, `("start",)`, or
`("end",)`."""

_LAST = 0x10FFFF
_CLASSES: dict[str, tuple[Range, ...]] = {
    "d": ((48, 57),),
    "w": ((48, 57), (65, 90), (95, 95), (97, 122)),
    "s": ((9, 13), (32, 32)),
}
_CONTROLS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v", "0": "\0"}
_HEX = {"x": 2, "u": 4}
_COUNT = re.compile(r"\{([0-9]{1,4})(,([0-9]{1,4})?)?\}")
_NAMED = re.compile(r"\?P?<[A-Za-z_]\w*>", re.ASCII)
_REFUSED: dict[str, str] = {
    "b": "`\\b` is not supported: a pattern matches the whole value",
    "B": "`\\B` is not supported: a pattern matches the whole value",
    "A": "`\\A` is not needed: a pattern matches the whole value",
    "Z": "`\\Z` is not needed: a pattern matches the whole value",
    "z": "`\\z` is not needed: a pattern matches the whole value",
    "p": "classes of Unicode are not supported: write the characters, such as `[a-zäöü]`",
    "P": "classes of Unicode are not supported: write the characters, such as `[a-zäöü]`",
}


class PatternError(ValueError):
    """A text is not a pattern. `position` is the offset of what is wrong."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


class TooMuchWork(Exception):
    """The value is too long for the pattern."""


@lru_cache(maxsize=256)
def compile_pattern(text: str) -> Pattern:
    """The pattern that `text` says. Raises PatternError."""
    if len(text) > MAX_LENGTH:
        raise PatternError(f"longer than {MAX_LENGTH} characters", MAX_LENGTH)
    reader = _Reader(text)
    return Pattern(reader.whole(), ignore_case=reader.ignore_case)


class _Reader:
    """Recursive descent over one text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0
        self.ignore_case = text.startswith("(?i)")
        if self.ignore_case:
            self.at = 4

    def fail(self, message: str, at: int | None = None) -> NoReturn:
        raise PatternError(message, self.at if at is None else at)

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def whole(self) -> Node:
        node = self.alternatives()
        if self.peek():
            self.fail("`)` closes nothing")
        return node

    def alternatives(self) -> Node:
        found = [self.sequence()]
        while self.peek() == "|":
            self.at += 1
            found.append(self.sequence())
        return found[0] if len(found) == 1 else ("alt", found)

    def sequence(self) -> Node:
        found = []
        while self.peek() not in ("", "|", ")"):
            found.append(self.repeated(self.atom()))
        return ("cat", found)

    def repeated(self, node: Node) -> Node:
        start, char = self.at, self.peek()
        if char not in ("*", "+", "?", "{") or not char:
            return node
        least, most = self.count()
        if node[0] in ("start", "end"):
            self.fail("there is nothing to repeat", start)
        if self.peek() == "?":  # lazy: of a whole value it matches the same
            self.at += 1
        if self.peek() in ("*", "+", "?", "{") and self.peek():
            self.fail("two repeats in a row; put the first one in a group")
        return ("repeat", node, least, most)

    def count(self) -> tuple[int, int | None]:
        simple: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        char = self.peek()
        if char in simple:
            self.at += 1
            return simple[char]
        found = _COUNT.match(self.text, self.at)
        if found is None:
            self.fail("not a count: `{n}`, `{n,}` or `{n,m}`; the character itself is `\\{`")
        least = int(found[1])
        most = least if found[2] is None else int(found[3]) if found[3] else None
        if most is not None and most < least:
            self.fail("the first count is greater than the second")
        self.at = found.end()
        return least, most

    def atom(self) -> Node:
        char = self.peek()
        start = self.at
        self.at += 1
        match char:
            case "(":
                return self.group(start)
            case "[":
                return self.bracket(start)
            case ".":
                return ("set", ((10, 10),), True)
            case "^":
                return ("start",)
            case "$":
                return ("end",)
            case "\\":
                return self.escape(start)
            case "*" | "+" | "?" | "{":
                self.fail("there is nothing to repeat", start)
            case "]" | "}":
                self.fail(f"`{char}` closes nothing; the character itself is `\\{char}`", start)
        return ("set", ((ord(char), ord(char)),), False)

    def group(self, start: int) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.fail(f"groups nest deeper than {MAX_DEPTH} levels", start)
        if self.peek() == "?":
            self.group_kind(start)
        node = self.alternatives()
        if self.peek() != ")":
            self.fail("`(` is never closed", start)
        self.at += 1
        self.depth -= 1
        return node

    def group_kind(self, start: int) -> None:
        if self.text.startswith("?:", self.at):
            self.at += 2
        elif named := _NAMED.match(self.text, self.at):
            self.at = named.end()
        elif self.text.startswith(("?=", "?!", "?<=", "?<!"), self.at):
            self.fail("look-around is not supported: it cannot be matched in linear time", start)
        elif self.text.startswith("?i)", self.at):
            self.fail("`(?i)` stands at the beginning", start)
        else:
            self.fail("groups are `(…)` and `(?:…)`", start)

    def escape(self, start: int) -> Node:
        ranges, negated = self.escaped(start)
        return ("set", ranges, negated)

    def escaped(self, start: int) -> tuple[tuple[Range, ...], bool]:
        """The characters of an escape, whose backslash was read."""
        char = self.peek()
        self.at += 1
        if char.lower() in _CLASSES and char:
            return _CLASSES[char.lower()], char.isupper()
        if char in _HEX:
            digits = self.text[self.at : self.at + _HEX[char]]
            if not re.fullmatch(f"[0-9A-Fa-f]{{{_HEX[char]}}}", digits):
                self.fail(f"`\\{char}` takes {_HEX[char]} hexadecimal digits", start)
            self.at += len(digits)
            return ((int(digits, 16), int(digits, 16)),), False
        if char in _CONTROLS:
            char = _CONTROLS[char]
        elif char in _REFUSED:
            self.fail(_REFUSED[char], start)
        elif char.isdigit() or char == "k":
            self.fail("back references are not supported: they cannot be matched in linear time", start)
        elif not char:
            self.fail("a backslash at the end", start)
        elif char.isalpha():
            self.fail(f"there is no `\\{char}`", start)
        return ((ord(char), ord(char)),), False

    def bracket(self, start: int) -> Node:
        negated = self.peek() == "^"
        self.at += negated
        ranges: list[Range] = []
        first = True
        while self.peek() != "]" or first:
            if not self.peek():
                self.fail("`[` is never closed", start)
            if first and self.peek() == "]":
                self.fail("an empty class; the character itself is `\\]`")
            ranges += self.member()
            first = False
        self.at += 1
        return ("set", tuple(ranges), negated)

    def member(self) -> tuple[Range, ...]:
        start = self.at
        low, single = self.member_end()
        if self.peek() != "-" or self.text[self.at + 1 : self.at + 2] in ("]", ""):
            return low
        self.at += 1
        high, also_single = self.member_end()
        if not (single and also_single):
            self.fail("a range is between two characters; the character itself is `\\-`", start)
        if high[0][0] < low[0][0]:
            self.fail("the range runs backwards", start)
        return ((low[0][0], high[0][0]),)

    def member_end(self) -> tuple[tuple[Range, ...], bool]:
        start, char = self.at, self.peek()
        self.at += 1
        if char == "\\":
            ranges, negated = self.escaped(start)
            ranges = _complement(ranges) if negated else ranges
            return ranges, len(ranges) == 1 and ranges[0][0] == ranges[0][1]
        if char == "[" or self.text[start : start + 2] in ("&&", "--", "~~", "||"):
            self.fail(f"other languages read `{char}` in a class in another way; write `\\{char}`", start)
        return ((ord(char), ord(char)),), True


def _complement(ranges: tuple[Range, ...]) -> tuple[Range, ...]:
    found, at = [], 0
    for low, high in sorted(ranges):
        if low > at:
            found.append((at, low - 1))
        at = high + 1
    return (*found, (at, _LAST))


_MATCH = 0  # the place behind the end of the pattern


class Pattern:
    """A compiled pattern. Places are numbers: of what has to come there, and of the place behind it."""

    def __init__(self, node: Node, *, ignore_case: bool) -> None:
        self.ignore_case = ignore_case
        self.places: list[Any] = [("match",)]
        self.start = self._place(node, _MATCH)
        self.kept: dict[tuple[frozenset[int], str, bool], frozenset[int]] = {}

    def matches(self, value: str) -> bool:
        """Whether the whole of `value` matches. Raises TooMuchWork."""
        work = 0
        at = self._reach([self.start], True, not value)
        last = len(value) - 1
        for number, char in enumerate(value):
            key = (at, char, number == last)
            after = self.kept.get(key)
            if after is None:
                work += len(self.places)
                if work > MAX_WORK:
                    raise TooMuchWork
                after = self._step(key)
            if not after:
                return False
            at = after
        return _MATCH in at

    def _step(self, key: tuple[frozenset[int], str, bool]) -> frozenset[int]:
        at, char, last = key
        behind = [self.places[each][3] for each in at if each != _MATCH and self._takes(self.places[each], char)]
        if len(self.kept) >= MAX_KEPT:
            self.kept.clear()
        self.kept[key] = found = self._reach(behind, False, last)
        return found

    def _reach(self, places: list[int], at_start: bool, at_end: bool) -> frozenset[int]:
        """The places where a character is wanted, or the end, that are reached from `places` without any character."""
        seen, found = set(places), set()
        while places:
            place = places.pop()
            form, *rest = self.places[place]
            match form:
                case "set" | "match":
                    found.add(place)
                    continue
                case "start" if not at_start:
                    continue
                case "end" if not at_end:
                    continue
            for each in rest:
                if each not in seen:
                    seen.add(each)
                    places.append(each)
        return frozenset(found)

    def _takes(self, place: Any, char: str) -> bool:
        _, ranges, negated, _ = place
        codes = [ord(char)]
        if self.ignore_case:
            codes += [ord(each) for each in (char.lower(), char.upper()) if len(each) == 1]
        inside = any(low <= code <= high for low, high in ranges for code in codes)
        return inside is not negated

    def _add(self, *place: Any) -> int:
        if len(self.places) >= MAX_STATES:
            raise PatternError("the pattern is too large: its repeats have too many parts", 0)
        self.places.append(place)
        return len(self.places) - 1

    def _place(self, node: Node, behind: int) -> int:
        """The place where `node` begins, when what follows it begins at `behind`."""
        match node:
            case ("set", ranges, negated):
                return self._add("set", ranges, negated, behind)
            case ("cat", nodes):
                for each in reversed(nodes):
                    behind = self._place(each, behind)
                return behind
            case ("alt", nodes):
                return self._add("split", *[self._place(each, behind) for each in nodes])
            case ("repeat", inner, least, most):
                return self._repeat(inner, least, most, behind)
            case (edge,):
                return self._add(edge, behind)
        raise AssertionError(node)

    def _repeat(self, inner: Node, least: int, most: int | None, behind: int) -> int:
        if most is None:
            loop = self._add("split", behind)
            self.places[loop] = ("split", self._place(inner, loop), behind)
            behind = loop
        else:
            end = behind
            for _ in range(most - least):
                behind = self._add("split", self._place(inner, behind), end)
        for _ in range(least):
            behind = self._place(inner, behind)
        return behind
