"""What may stand behind a key: the vocabulary of the key tables.

A shape is data. `graft_dsl.reading` turns a TOML value of a shape into what the plan needs, `graft_dsl.schema` writes
it as JSON Schema, `graft_dsl.reference` as a sentence.
"""

from __future__ import annotations

from attrs import field, frozen


@frozen
class Text:
    """A text that is taken as it is, never templated."""

    wanted: str = "a text"
    empty: bool = False
    plain: bool = False  # a `${…}` in it is a mistake


@frozen
class Name:
    """The name of something in the flow: letters, digits, `_` and `-`, a letter first."""

    of: str = "node"


@frozen
class Bool:
    pass


@frozen
class Integer:
    minimum: int = 0
    maximum: int = 2**31 - 1


@frozen
class Number:
    minimum: float = 0.0
    maximum: float = 1e9


@frozen
class Bound:
    """`min` or `max` of a param: a number, or a text with a unit; which one, the param's type says."""


@frozen
class Duration:
    """Becomes integer milliseconds. `positive`: nothing at all makes no sense."""

    positive: bool = False


@frozen
class Pause:
    """A duration, or a template that gives one."""


@frozen
class Tolerance:
    """A number of items or a percentage of them; becomes `(number, is_percentage)`."""


@frozen
class Choice:
    values: tuple[str, ...]
    default: str | None = None


@frozen
class TypeText:
    """A type of R25, as text or as a table of fields."""


@frozen
class ErrorType:
    """A type of R9, or `*`."""


@frozen
class Template:
    """A text with `${…}` in it; the type is that of the expression when it is the whole text. Also a plain scalar."""

    wanted: str = "a text"


@frozen
class FilePath:
    """A path, in which `${…}` may stand."""

    wanted: str = "a path"


@frozen
class Condition:
    """A bare expression (or one `${…}`) that gives true or false."""


@frozen
class Items:
    """A list or table to map over, or a bare expression that gives one."""


@frozen
class Anything:
    """Any TOML value; every text in it is a template."""


@frozen
class Argv:
    """A list of templates, the program first; or one template that gives such a list."""


@frozen
class ListOf:
    element: Shape
    least: int = 0


@frozen
class TableOf:
    """A table with free keys. `key` says what a key is."""

    element: Shape
    key: str = "name"


@frozen
class Field:
    shape: Shape
    doc: str = ""
    required: bool = False


@frozen
class Fields:
    """A table with fixed keys. `shorthand`: a value that is no table stands for this key alone.

    `elsewhere`: keys that authors look for here, and what to tell them.
    """

    keys: dict[str, Field] = field(hash=False)
    shorthand: str | None = None
    example: str = ""
    elsewhere: dict[str, str] = field(factory=dict, hash=False)


@frozen
class Nodes:
    """A table of nodes by name."""


Shape = (
    Text
    | Name
    | Bool
    | Integer
    | Number
    | Bound
    | Duration
    | Pause
    | Tolerance
    | Choice
    | TypeText
    | ErrorType
    | Template
    | FilePath
    | Condition
    | Items
    | Anything
    | Argv
    | ListOf
    | TableOf
    | Fields
    | Nodes
)


_WANTED: dict[type, str] = {
    Bool: "true or false",
    Bound: "a number, or a text with a unit",
    Duration: 'a duration such as "90s", "1.5h" or "2d"',
    Pause: 'a duration such as "15m", or a template that gives one',
    Tolerance: 'a number of items or a percentage such as "10%"',
    TypeText: 'a type such as "int" or "list[string]", or a table of fields',
    ErrorType: 'an error type such as "timeout", "exit.1", "http.5xx" or "*"',
    Condition: "an expression that gives true or false",
    Items: "a list, a table, or an expression that gives one",
    Anything: "any value",
    Argv: "a list of texts, the program first",
    Nodes: "a table of nodes",
}


def wanted(shape: Shape, plural: bool = False) -> str:
    """What an author is told to write: "a list of node names"."""
    match shape:
        case Text() | Template() | FilePath():
            return "texts" if plural else shape.wanted
        case Name():
            return (
                f"{shape.of} names" if plural else f"the name of {'an' if shape.of[0] in 'aeiou' else 'a'} {shape.of}"
            )
        case Choice():
            return " or ".join(
                [", ".join(f'"{v}"' for v in shape.values[:-1])] * (len(shape.values) > 1) + [f'"{shape.values[-1]}"']
            )
        case Integer():
            if plural:
                return f"whole numbers from {shape.minimum} to {shape.maximum}"
            return "a whole number" + (f", {shape.minimum} or more" if shape.minimum else "")
        case Number():
            return f"a number from {shape.minimum:g} to {shape.maximum:g}"
        case ListOf():
            return f"a list of {wanted(shape.element, plural=True)}"
        case TableOf():
            return f"a table of {wanted(shape.element, plural=True)}"
        case Fields():
            return "tables" if plural else f"a table such as {shape.example}"
    text = _WANTED[type(shape)]
    return {ErrorType: "error types", Anything: "values"}.get(type(shape), text) if plural else text
