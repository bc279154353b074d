"""From one TOML value of a shape to what the plan needs.

`ValueReader.read` looks at the value alone: whether it has the form that its shape asks for. What it means beside other
values is the business of the checks. A value that is wrong is reported here and becomes `BAD`; the reader above leaves
the key out and goes on, so that every error of a file is found.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import date, datetime, time
from typing import Any

from attrs import define, field

from graft.plan.error_types import FAMILIES, PLAIN, WrongErrorType, canonical_pattern
from graft.plan.types import parse_type
from graft_dsl.declarations import Expr
from graft_dsl.diagnostics import At, Report
from graft_dsl.expressions import parse_bare, parse_template
from graft_dsl.habits import FOREIGN
from graft_dsl.shapes import (
    Anything,
    Argv,
    Bool,
    Bound,
    Choice,
    Condition,
    Duration,
    ErrorType,
    Fields,
    FilePath,
    Integer,
    Items,
    ListOf,
    Name,
    Number,
    Pause,
    Shape,
    TableOf,
    Template,
    Text,
    Tolerance,
    TypeText,
    wanted,
)
from graft_dsl.suggest import listed, quoted
from graft_dsl.units import parse_duration, parse_percent, suggest_duration

BAD: Any = type("Bad", (), {"__repr__": lambda self: "BAD"})()
"""Stands for a value that was wrong and has been reported."""

MAX_NESTING = 32  # tables and lists within one value

_KIND_NAMES: dict[type, str] = {
    bool: "a boolean",
    int: "a whole number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "a table",
    datetime: "a date with a time",
    date: "a date",
    time: "a time",
}


_ANY_PERCENT = re.compile(r"\s*[0-9]{1,9}(\.[0-9]{1,9})?\s*%\s*")


def shown(value: Any) -> str:
    """What a TOML value is, for "got": `a text, "5"`."""
    kind = _KIND_NAMES.get(type(value), "a value")
    if isinstance(value, (list, dict)):
        return f"{kind} of {len(value)}" if value else f"an empty {kind[2:]}"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if isinstance(value, str):
        text = quoted(text, 40)[1:-1]
        return f'{kind}, "{text}"'
    return f"{kind}, {text[:40]}"


@define
class ValueReader:
    """Reads the values of one file.

    `leaves`: where templates are collected; `key`: the key they stand under; `names`: the names of items (`as`) that
    they can read.
    """

    report: Report
    leaves: list[Expr] = field(factory=list)
    key: str = ""
    names: tuple[str, ...] = ()

    def read(self, shape: Shape, value: Any, at: At) -> Any:
        """What `value` means as a `shape`, or BAD after reporting why it means nothing."""
        return _READERS[type(shape)](self, shape, value, at)

    def wrong(self, shape: Shape, value: Any, at: At, suggestion: str | None = None) -> Any:
        """Report a value of a wrong TOML type."""
        self.report.error(
            "GR012",
            f"{quoted(self.named(at))} cannot be {_KIND_NAMES.get(type(value), 'a value')}",
            at,
            wanted=wanted(shape),
            got=shown(value),
            suggestion=suggestion,
        )
        return BAD

    def named(self, at: At) -> str:
        """The key that `at` ends with, with what it is inside of: `timeout`, `env.PATH`, `needs[1]`."""
        parts = list(at)
        while len(parts) > 2 and parts[0] in ("nodes", "finally"):
            parts = parts[2:]
        text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
        return text[1:] or "the file"

    def computed(self, value: Any, at: At) -> bool:
        """Report a template where nothing is computed."""
        if not isinstance(value, str) or "${" not in value:
            return False
        start = value.index("${")
        end = value.find("}", start) + 1 or len(value)
        self.report.error(
            "GR026",
            f"{quoted(self.named(at))} cannot be computed: it is read when the flow is compiled",
            at,
            span=(start, end),
            suggestion="write the value itself",
        )
        return True

    # Scalars

    def text(self, shape: Text, value: Any, at: At) -> Any:
        if not isinstance(value, str):
            return self.wrong(shape, value, at, f'"{value}"' if type(value) in (int, float) else None)
        if shape.plain and self.computed(value, at):
            return BAD
        if not value.strip() and not shape.empty:
            self.report.error("GR012", f"{quoted(self.named(at))} is empty", at, wanted=shape.wanted)
            return BAD
        return value

    def name(self, shape: Name, value: Any, at: At) -> Any:
        return value if isinstance(value, str) else self.wrong(shape, value, at)

    def boolean(self, shape: Bool, value: Any, at: At) -> Any:
        if isinstance(value, bool):
            return value
        word = str(value).lower()
        return self.wrong(
            shape,
            value,
            at,
            {"yes": "true", "on": "true", "true": "true"}.get(word, "false") if isinstance(value, str) else None,
        )

    def integer(self, shape: Integer, value: Any, at: At) -> Any:
        if self.computed(value, at):
            return BAD
        if isinstance(value, bool) or not isinstance(value, int):
            return self.wrong(
                shape, value, at, value.strip() if isinstance(value, str) and value.strip().isdigit() else None
            )
        if not shape.minimum <= value <= shape.maximum:
            return self.out_of_range(shape, value, at, shape.minimum, shape.maximum)
        return value

    def number(self, shape: Number, value: Any, at: At) -> Any:
        if self.computed(value, at):
            return BAD
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return self.wrong(shape, value, at)
        if not shape.minimum <= value <= shape.maximum:
            return self.out_of_range(shape, value, at, shape.minimum, shape.maximum)
        return float(value)

    def out_of_range(self, shape: Shape, value: Any, at: At, least: float, most: float) -> Any:
        limit = f"at least {least:,g}" if value < least else f"at most {int(most):,}"
        self.report.error(
            "GR014", f"{quoted(self.named(at))} must be {limit}", at, wanted=wanted(shape), got=str(value)[:40]
        )
        return BAD

    def bound(self, shape: Bound, value: Any, at: At) -> Any:
        if isinstance(value, bool) or not isinstance(value, (int, float, str, date, datetime)):
            return self.wrong(shape, value, at)
        return value

    def duration(self, shape: Duration | Pause, value: Any, at: At) -> Any:
        if self.computed(value, at):
            return BAD
        number = not isinstance(value, bool) and isinstance(value, (int, float))
        if not isinstance(value, str) and not number:
            return self.wrong(shape, value, at)
        try:
            millis = parse_duration(value if isinstance(value, str) else str(value))
            if not millis and isinstance(shape, Duration) and shape.positive:
                return self.no_time(value, at)
            return millis
        except ValueError as error:
            guess = suggest_duration(str(value))
            self.report.error(
                "GR015",
                f"{quoted(self.named(at))} has no unit" if number else f"{quoted(self.named(at))} is {error}",
                at,
                wanted=wanted(shape),
                got=shown(value),
                suggestion=guess and f'did you mean "{guess}"?',
            )
            return BAD

    def no_time(self, value: str, at: At) -> Any:
        self.report.error(
            "GR014",
            f"{quoted(self.named(at))} gives no time at all: {quoted(value)} is over before anything begins",
            at,
            wanted="1ms or more",
            suggestion="leave the key out for no limit",
        )
        return BAD

    def pause(self, shape: Pause, value: Any, at: At) -> Any:
        if isinstance(value, str) and "${" in value:
            return self.template(Template(), value, at)
        millis = self.duration(shape, value, at)
        return millis if millis is BAD else self.constant(millis, at)

    def tolerance(self, shape: Tolerance, value: Any, at: At) -> Any:
        if self.computed(value, at):
            return BAD
        if isinstance(value, str):
            percent = parse_percent(value)
            if percent is not None:
                return percent, True
            if _ANY_PERCENT.fullmatch(value):
                whole = min(100, int(float(value.strip().rstrip("% "))))
                self.report.error(
                    "GR014",
                    f"{quoted(self.named(at))} takes a whole percentage, from 0% to 100%",
                    at,
                    got=shown(value),
                    suggestion=f'"{whole}%"',
                )
                return BAD
            guess = value.strip() if value.strip().isdigit() else None
            return self.wrong(shape, value, at, guess)
        count = self.integer(Integer(0), value, at)
        return count if count is BAD else (count, False)

    def choice(self, shape: Choice, value: Any, at: At) -> Any:
        if self.computed(value, at):
            return BAD
        if value in shape.values and isinstance(value, str):
            return value
        if not isinstance(value, str):
            return self.wrong(shape, value, at)
        guess = self.report.closest(value, shape.values)
        self.report.error(
            "GR013",
            f"{quoted(self.named(at))} cannot be {quoted(value)}",
            at,
            wanted=wanted(shape),
            suggestion=guess and f'did you mean "{guess}"?',
        )
        return BAD

    def type_text(self, shape: TypeText, value: Any, at: At) -> Any:
        if not isinstance(value, (str, dict, list)):
            return self.wrong(shape, value, at)
        try:
            return parse_type(value)
        except ValueError as error:
            self.report.error("GR028", str(error), at, wanted=wanted(shape))
            return BAD

    def error_type(self, shape: ErrorType, value: Any, at: At) -> Any:
        if not isinstance(value, str):
            return self.wrong(shape, value, at, f"exit.{value}" if isinstance(value, int) else None)
        if self.computed(value, at):
            return BAD
        try:
            return canonical_pattern(value)
        except WrongErrorType as error:
            return self.not_an_error_type(shape, value, at, error)

    def not_an_error_type(self, shape: ErrorType, value: str, at: At, error: WrongErrorType) -> Any:
        guess = error.suggestion or self.report.closest(value, (*PLAIN, *(each.example for each in FAMILIES.values())))
        self.report.error(
            "GR027",
            f"{quoted(value)} is not an error type: {error}",
            at,
            wanted=wanted(shape),
            suggestion=guess and f'did you mean "{guess}"?',
        )
        return BAD

    # Values that are computed

    def template(self, shape: Template, value: Any, at: At) -> Any:
        if isinstance(value, str):
            return self.text_or_template(value, at)
        if isinstance(value, (list, dict)):
            return self.wrong(shape, value, at)
        return self.scalar(value, at)

    def text_or_template(self, value: str, at: At) -> Expr:
        self.foreign(value, at)
        return self.templated(value, at) if "${" in value else self.constant(value, at)

    def foreign(self, text: str, at: At) -> None:
        """Warn of the template of another tool, which is only text here."""
        found = FOREIGN.search(text) if "{{" in text else None
        if found is not None:
            self.report.warning(
                "GR211",
                f"{quoted(found[0])} is only text here",
                at,
                span=found.span(),
                suggestion=f"`${{ {found[1]} }}` computes a value",
            )

    def file_path(self, shape: FilePath, value: Any, at: At) -> Any:
        """The path itself, an Expr when it is computed."""
        if isinstance(value, str):
            self.foreign(value, at)
            if "${" in value:
                return self.templated(value, at)
        return self.text(Text(shape.wanted), value, at)

    def templated(self, text: str, at: At) -> Expr:
        return self.leaf(parse_template(text, self.names), at)

    def leaf(self, parsed: Any, at: At) -> Expr:
        made = Expr(parsed.tree, at, self.key, parsed)
        self.leaves.append(made)
        for problem in parsed.problems:
            self.report.error(
                problem.code,
                problem.message,
                at,
                span=(problem.start, problem.end),
                wanted=problem.wanted,
                got=problem.got,
                suggestion=problem.suggestion,
            )
        return made

    def constant(self, value: Any, at: At) -> Expr:
        return Expr(("const", value), at, self.key, constant=True)

    def scalar(self, value: Any, at: At) -> Any:
        kind = type(value)
        if kind is bool:
            return self.constant(value, at)
        if kind is int or kind is float:
            if kind is float and not math.isfinite(value):
                self.report.error("GR030", f"{value} has no JSON form", at, wanted="a finite number")
                return BAD
            return self.constant(value, at)
        return self.constant(value.isoformat(), at)

    def condition(self, shape: Condition, value: Any, at: At) -> Any:
        if isinstance(value, bool):
            return self.constant(value, at)
        return self.expression(value, at) if isinstance(value, str) else self.wrong(shape, value, at)

    def expression(self, text: str, at: At) -> Any:
        return self.leaf(parse_bare(text, self.names), at)

    def items(self, shape: Items, value: Any, at: At) -> Any:
        if isinstance(value, str):
            return self.expression(value, at)
        return self.anything(shape, value, at) if isinstance(value, (list, dict)) else self.wrong(shape, value, at)

    def argv(self, shape: Argv, value: Any, at: At) -> Any:
        if isinstance(value, str) and value.lstrip().startswith("${"):
            return self.expression(value, at)
        if not isinstance(value, list):
            guess = value.split() if isinstance(value, str) else None
            words = (
                "[" + ", ".join(f'"{word}"' for word in guess[:8]) + "]" if guess and "${" not in str(value) else None
            )
            return self.wrong(shape, value, at, words and f"{words}, or `run` for a shell command")
        if not value:
            self.report.error("GR012", "`exec` is an empty list", at, wanted=wanted(shape))
            return BAD
        return self.gather([self.template(Template(), each, (*at, i)) for i, each in enumerate(value)], at)

    def anything(self, shape: Shape, value: Any, at: At, depth: int = 0) -> Any:
        if isinstance(value, str):
            return self.text_or_template(value, at)
        if depth > MAX_NESTING and isinstance(value, (list, dict)):
            self.report.error(
                "GR007", f"{quoted(self.named(at))} nests too deep", at, wanted=f"at most {MAX_NESTING} levels"
            )
            return BAD
        if isinstance(value, list):
            return self.gather([self.anything(shape, each, (*at, i), depth + 1) for i, each in enumerate(value)], at)
        if isinstance(value, dict):
            return self.gather({k: self.anything(shape, each, (*at, k), depth + 1) for k, each in value.items()}, at)
        return self.scalar(value, at)

    def gather(self, items: dict[str, Any] | list[Any], at: At) -> Any:
        """A container of what was read; BAD when any of it is."""
        if isinstance(items, list):
            if any(each is BAD for each in items):
                return BAD
            return Expr(("list", *(each.tree for each in items)), at, self.key, items=items)
        if any(each is BAD for each in items.values()):
            return BAD
        return Expr(("dict", *((("const", k), each.tree) for k, each in items.items())), at, self.key, items=items)

    # Containers

    def list_of(self, shape: ListOf, value: Any, at: At) -> Any:
        if not isinstance(value, list):
            single = isinstance(value, str) and "${" not in value
            example = f"[{shape.element.example}]" if isinstance(shape.element, Fields) else None
            if type(value) is int and isinstance(shape.element, Integer):
                example = f"[{value}]"
            return self.wrong(shape, value, at, f'["{value}"]' if single and not example else example)
        if len(value) < shape.least:
            self.report.error("GR012", f"{quoted(self.named(at))} is an empty list", at, wanted=wanted(shape))
            return BAD
        made = [self.read(shape.element, each, (*at, i)) for i, each in enumerate(value)]
        if isinstance(shape.element, Anything):
            return self.gather(made, at)
        return [each for each in made if each is not BAD]

    def table_of(self, shape: TableOf, value: Any, at: At) -> Any:
        if not isinstance(value, dict):
            return self.wrong(shape, value, at)
        made = {key: self.read(shape.element, each, (*at, key)) for key, each in value.items()}
        if isinstance(shape.element, (Template, Anything)):
            return self.gather(made, at)
        return {key: each for key, each in made.items() if each is not BAD}

    def fields(self, shape: Fields, value: Any, at: At) -> Any:
        if shape.shorthand is not None and not isinstance(value, dict):
            made = self.read(shape.keys[shape.shorthand].shape, value, at)
            return BAD if made is BAD else {shape.shorthand: made}
        if not isinstance(value, dict):
            return self.wrong(shape, value, at, shape.example)
        found: dict[str, Any] = {}
        outer = self.key
        for key, each in value.items():
            known = shape.keys.get(key)
            if known is None:
                self.unknown(key, shape.keys, (*at, key), f"of {quoted(self.named(at))}", help=shape.elsewhere.get(key))
                continue
            self.key = f"{outer}.{key}"
            read = self.read(known.shape, each, (*at, key))
            if read is not BAD:
                found[key] = read
        self.key = outer
        self.incomplete(shape, value, at)
        return found

    def unknown(
        self, key: str, known: Any, at: At, where: str, guess: str | None = None, help: str | None = None
    ) -> None:
        """Report a key that does not exist, with the key that was meant or with `help`."""
        known = () if self.report.full else known
        guess = guess or self.report.closest(key, known)
        self.report.error(
            "GR010",
            f"unknown key {quoted(key)} {where}",
            at,
            part="key",
            wanted=None if guess or help else listed(known, limit=20),
            suggestion=help or (guess and f"did you mean `{guess}`?"),
        )

    def incomplete(self, shape: Fields, value: dict[str, Any], at: At) -> None:
        """Report required keys that are missing."""
        missing = [key for key, known in shape.keys.items() if known.required and key not in value]
        if missing:
            self.report.error(
                "GR019",
                f"{quoted(self.named(at))} lacks {listed(missing, 'and')}",
                at,
                wanted=wanted(shape),
            )


_READERS: dict[type, Callable[[ValueReader, Any, Any, At], Any]] = {
    Text: ValueReader.text,
    Name: ValueReader.name,
    Bool: ValueReader.boolean,
    Integer: ValueReader.integer,
    Number: ValueReader.number,
    Bound: ValueReader.bound,
    Duration: ValueReader.duration,
    Pause: ValueReader.pause,
    Tolerance: ValueReader.tolerance,
    Choice: ValueReader.choice,
    TypeText: ValueReader.type_text,
    ErrorType: ValueReader.error_type,
    Template: ValueReader.template,
    FilePath: ValueReader.file_path,
    Condition: ValueReader.condition,
    Items: ValueReader.items,
    Anything: ValueReader.anything,
    Argv: ValueReader.argv,
    ListOf: ValueReader.list_of,
    TableOf: ValueReader.table_of,
    Fields: ValueReader.fields,
}
