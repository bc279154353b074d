"""From a tree of plain values to the records, every problem at once.

cattrs walks the records, refuses keys that are none, and collects errors with their paths. What a leaf may look like
(`"5s"`, `"64MiB"`, a list as words between commas) is the language's own conversion, so that a duration in a flow and
one in a configuration are written alike.

cattrs' `transform_error` makes texts. Here the path is needed as data, to find the file and line that a value came
from, so its exceptions are walked by the same rules (see docs/decisions/0008).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, TypeVar, get_type_hints

import attrs
from cattrs import Converter
from cattrs.errors import (
    AttributeValidationNote,
    ClassValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
)
from cattrs.gen import make_dict_structure_fn, override

from graft.config.fields import META, Every, Meaning, Seconds, Secret, Size
from graft.plan import conversion

R = TypeVar("R")
Path = tuple[str, ...]

LEAVES: dict[Any, tuple[Any, str]] = {
    str: ("string", "text"),
    int: ("int", "number"),
    float: ("float", "number"),
    bool: ("bool", "true or false"),
    Seconds: ("duration", "duration, `5s`"),
    Size: ("bytes", "size, `64MiB`"),
    Secret: ("string", "secret text"),
    tuple[str, ...]: (("list", "string"), "list of texts"),
    Mapping[str, int]: (("table", "int"), "table of numbers"),
    Mapping[str, str]: (("table", "string"), "table of texts"),
    Mapping[str, Any]: (("table", "any"), "table"),
}
"""How a setting of a Python type is converted, and how the reference page calls it."""

NAMES = {dict: "a table", list: "a list", tuple: "a list", str: "a text", bool: "a bool", type(None): "nothing"}


@attrs.frozen
class Leaf:
    """One setting: where it is in the tree, and what is known of it."""

    path: Path
    type: Any
    default: Any
    meaning: Meaning

    @property
    def key(self) -> str:
        return ".".join(self.path)


@attrs.frozen
class Mistake:
    path: Path
    message: str
    suggestion: str | None = None


def leaves(record: type, path: Path = ()) -> Iterator[Leaf]:
    """Every setting below a settings record, in the order of its declaration."""
    hints = get_type_hints(record)
    for field in attrs.fields(record):
        type_ = hints[field.name]
        if attrs.has(type_):
            yield from leaves(type_, (*path, field.name))
        else:
            default = field.default.factory() if isinstance(field.default, attrs.Factory) else field.default  # type: ignore[arg-type]
            yield Leaf((*path, field.name), type_, default, field.metadata[META])


def structure(tree: Mapping[str, Any], record: type[R]) -> tuple[R | None, list[Mistake]]:
    """The record of `tree` and no mistakes, or None and all of them."""
    try:
        return _converter().structure(tree, record), []
    except Exception as error:
        return None, list(_mistakes(error, (), record))


def convert(type_: Any, value: Any) -> Any:
    """One value of a setting's type. Raises ValueError that says what was expected and what was got."""
    tree, _ = LEAVES[type_]
    if isinstance(value, str) and isinstance(tree, tuple) and tree[0] == "table":
        value = _table_of(value)
    if value is None:
        raise ValueError(f"expected {LEAVES[type_][1]}, got nothing")
    if isinstance(value, Mapping) and isinstance(tree, tuple) and tree[0] == "table":
        return {str(name): _entry(tree[1], name, each) for name, each in value.items()}
    made = conversion.convert(tree, value)
    if type_ is Secret:
        return Secret(made)
    if type_ is float or type_ is Seconds:
        return float(made)
    return tuple(made) if isinstance(made, list) and isinstance(tree, tuple) and tree[0] == "list" else made


def kind_of(type_: Any) -> str:
    """What a setting of this type is called on the reference page."""
    return LEAVES[type_][1]


def _entry(tree: Any, name: Any, value: Any) -> Any:
    try:
        return conversion.convert(tree, value)
    except ValueError as error:
        raise ValueError(f"`{name}`: {error}") from None


def _table_of(text: str) -> Any:
    """A table from `a=1,b=2` or from JSON."""
    if text.lstrip()[:1] in ("{", "["):
        return conversion.convert(("table", "any"), text)
    made = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"expected a table such as a=1,b=2, got {part!r}")
        made[name.strip()] = value.strip()
    return made


@cache
def _converter() -> Converter:
    converter = Converter(forbid_extra_keys=True, detailed_validation=True)
    converter.register_structure_hook_factory(attrs.has, lambda record: _hook_of(converter, record))
    return converter


def _hook_of(converter: Converter, record: type) -> Any:
    hints = get_type_hints(record)
    settings = {field.name: field.metadata[META] for field in attrs.fields(record)}
    overrides: Any = {
        name: override(struct_hook=_checked(hints[name], meaning))
        for name, meaning in settings.items()
        if not attrs.has(hints[name])
    }
    inner: Any = make_dict_structure_fn(
        record, converter, _cattrs_forbid_extra_keys=True, _cattrs_detailed_validation=True, **overrides
    )

    def read(value: Any, type_: Any) -> Any:
        if not isinstance(value, Mapping):
            raise ValueError(f"expected a table of settings, got {NAMES.get(type(value), 'a number')}")
        return inner(value, type_)

    return read


def _checked(type_: Any, meaning: Meaning) -> Any:
    def read(value: Any, _type: Any) -> Any:
        made = convert(type_, value)
        check = meaning.check
        if isinstance(check, Every):
            for name, item in made.items() if isinstance(made, dict) else enumerate(made):
                if (wanted := check.check(item)) is not None:
                    head = f"`{name}`: " if isinstance(made, dict) else ""
                    raise ValueError(f"{head}expected {wanted}, got {_shown(item)}")
        elif check is not None and (wanted := check(made)) is not None:
            raise ValueError(f"expected {wanted}, got {_shown(value)}")
        return made

    return read


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


def _mistakes(error: BaseException, path: Path, record: type) -> Iterator[Mistake]:
    """The leaves of cattrs' tree of exceptions with their paths, as `cattrs.transform_error` walks it."""
    if isinstance(error, (ClassValidationError, IterableValidationError)):
        noted, others = error.group_exceptions()
        for inner, note in noted:
            step = note.name if isinstance(note, AttributeValidationNote) else str(note.index)
            yield from _mistakes(inner, (*path, step), record)
        for other in others:
            yield from _mistakes(other, path, record)
    elif isinstance(error, ForbiddenExtraKeysError):
        for name in sorted(error.extra_fields, key=str):
            yield Mistake((*path, str(name)), "there is no such setting", _guess((*path, str(name)), error.cl, record))
    else:
        yield Mistake(path, str(error))


def _guess(path: Path, cl: type, record: type) -> str | None:
    """`did you mean …?`, among the keys beside it, or the same key in another section."""
    name = path[-1].replace("-", "_").lower()
    if close := difflib.get_close_matches(name, [field.name for field in attrs.fields(cl)], n=1):
        return f"did you mean `{'.'.join((*path[:-1], close[0]))}`?"
    known = {leaf.path[-1]: leaf.key for leaf in leaves(record)}
    if close := difflib.get_close_matches(name, known, n=1, cutoff=0.8):
        return f"did you mean `{known[close[0]]}`?"
    return None
