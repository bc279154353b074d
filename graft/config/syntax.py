"""Text of a file to a tree of plain values and the line of each key: TOML, YAML, JSON.

Lines are counted from 1. None of the three parsers gives them for keys, so each has its own way here:

* TOML: a statement begins where the text before it is valid by itself. Prefixes of the text are parsed, begun anew at
  each table header, so that the cost stays near one parse of the whole. tomli judges; nothing here scans TOML.
* YAML: the nodes of PyYAML have marks. The values are made here, by the core schema of YAML 1.2, so that `no` is a
  text and `1:30` is no number of seconds; tags are refused, aliases are bounded, and a key may stand only once.
* JSON: the text is walked once more with the standard library's own scanner of strings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any

import tomli
from attrs import frozen

Path = tuple[str, ...]

MAX_BYTES = 1024 * 1024
MAX_NODES = 20_000
MAX_DEPTH = 32
MAX_TOML_LINES = 400  # of one table; longer ones are known by the line of their header


class BadSyntax(ValueError):
    """`line` is 0 when it is not known."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


@frozen
class Parsed:
    tree: dict[str, Any]
    lines: dict[Path, int]


def parse(text: str, format_: str) -> Parsed:
    """The tree of `text`, written in a format of `FORMATS`. Raises BadSyntax."""
    parsed = FORMATS[format_](text.removeprefix("\ufeff"))
    if not isinstance(parsed.tree, dict):
        raise BadSyntax(f"expected a table of settings, got a {type(parsed.tree).__name__}", 1)
    return parsed


# TOML


def _toml(text: str) -> Parsed:
    try:
        tree = tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        raise BadSyntax(f"it is no TOML: {error.msg}", error.lineno) from None
    except RecursionError:
        raise BadSyntax("it nests too deep") from None
    return Parsed(tree, dict(_toml_lines(text.splitlines())))


def _toml_lines(lines: list[str]) -> Iterator[tuple[Path, int]]:
    """Every path with the line of the statement that made it; the first one wins where a table is opened twice."""
    seen: set[Path] = set()
    start, statement = 0, 1  # index of the chunk's first line; number of the line at which the statement began
    for number, line in enumerate(lines, 1):
        if statement == number and line.lstrip().startswith("["):
            start = number - 1
        if number - start > MAX_TOML_LINES:
            continue
        try:
            tree = tomli.loads("\n".join(lines[start:number]))
        except tomli.TOMLDecodeError:
            continue
        for path in _paths(tree):
            if path not in seen:
                seen.add(path)
                yield path, statement
        statement = number + 1


def _paths(tree: Any, path: Path = ()) -> Iterator[Path]:
    if isinstance(tree, dict):
        for name, value in tree.items():
            yield (*path, name)
            yield from _paths(value, (*path, name))


# YAML

_YAML_SCALARS: tuple[tuple[re.Pattern[str], Callable[[str], Any]], ...] = (
    (re.compile(r"|~|null|Null|NULL"), lambda text: None),
    (re.compile(r"true|True|TRUE"), lambda text: True),
    (re.compile(r"false|False|FALSE"), lambda text: False),
    (re.compile(r"[-+]?[0-9]{1,300}"), int),
    (re.compile(r"0o[0-7]{1,300}"), lambda text: int(text[2:], 8)),
    (re.compile(r"0x[0-9a-fA-F]{1,300}"), lambda text: int(text[2:], 16)),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
)
"""The core schema of YAML 1.2.2, section 10.3.2, without infinity and not-a-number: no setting may be one."""


def _yaml(text: str) -> Parsed:
    try:
        import yaml  # type: ignore[import-untyped]
    except ImportError:
        raise BadSyntax("YAML needs the extra `yaml`: pip install 'graft-flow[yaml]'; or write TOML or JSON") from None

    try:
        documents = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise BadSyntax(f"it is no YAML: {error.problem or error.context}", line) from None
    except yaml.YAMLError as error:
        raise BadSyntax(f"it is no YAML: {error}") from None
    except RecursionError:
        raise BadSyntax("it nests too deep") from None
    if len(documents) > 1:
        raise BadSyntax("expected one document, got several", documents[1].start_mark.line + 1)
    reader = _YamlReader()
    return Parsed(reader.value(documents[0], (), 0) if documents else {}, reader.lines)


_YAML_TAGS = frozenset(
    ["bool", "float", "int", "map", "merge", "null", "seq", "str", "timestamp", "value"]
)  # what PyYAML takes plain text for


class _YamlReader:
    def __init__(self) -> None:
        self.lines: dict[Path, int] = {}
        self._left = MAX_NODES

    def value(self, node: Any, path: Path, depth: int) -> Any:
        line = node.start_mark.line + 1
        self._left -= 1
        if self._left < 0 or depth > MAX_DEPTH:
            raise BadSyntax("it has too many values, or nests too deep", line)
        if node.tag.removeprefix("tag:yaml.org,2002:") not in _YAML_TAGS:
            raise BadSyntax(f"the tag {node.tag} is not allowed", line)
        if node.id == "mapping":
            return self._table(node, path, depth)
        if node.id == "sequence":
            return [self.value(each, (*path, str(index)), depth + 1) for index, each in enumerate(node.value)]
        return self._scalar(node)

    def _table(self, node: Any, path: Path, depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.id != "scalar":
                raise BadSyntax("expected a name as key", line)
            if key.value in made:
                raise BadSyntax(f"the key `{key.value}` stands twice", line)
            self.lines.setdefault((*path, key.value), line)
            made[key.value] = self.value(value, (*path, key.value), depth + 1)
        return made

    def _scalar(self, node: Any) -> Any:
        if node.style is not None:  # quoted, or a block of text
            return node.value
        return next((make(node.value) for known, make in _YAML_SCALARS if known.fullmatch(node.value)), node.value)


# JSON


def _json(text: str) -> Parsed:
    def refuse(word: str) -> Any:
        raise BadSyntax(f"it is no JSON: {word} is no JSON value")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            twice = next(name for index, (name, _) in enumerate(pairs) if name in dict(pairs[:index]))
            raise BadSyntax(f"the key `{twice}` stands twice")
        return made

    try:
        tree = json.loads(text, parse_constant=refuse, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise BadSyntax(f"it is no JSON: {error.msg}", error.lineno) from None
    except RecursionError:
        raise BadSyntax("it nests too deep") from None
    lines: dict[Path, int] = {}
    _walk_json(text, 0, (), lines)
    return Parsed(tree, lines)


_SPACE = re.compile(r"[ \t\r\n]*")
_ATOM = re.compile(r"[^ \t\r\n,\]}]+")


def _walk_json(text: str, at: int, path: Path, lines: dict[Path, int]) -> int:
    """Notes the line of each key of the value at `at` in a text that is known to be JSON. Gives where it ends."""
    at = _skip(text, at)
    if text[at] == '"':
        return int(scanstring(text, at + 1)[1])
    if text[at] not in "{[":
        return _ATOM.match(text, at).end()  # type: ignore[union-attr]
    opening, at, index = text[at], _skip(text, at + 1), 0
    while text[at] not in "}]":
        name = str(index)
        if opening == "{":
            start = at
            name, at = scanstring(text, at + 1)
            lines.setdefault((*path, name), text.count("\n", 0, start) + 1)
            at = _skip(text, at) + 1  # the colon
        at = _skip(text, _walk_json(text, at, (*path, name), lines))
        at = _skip(text, at + 1) if text[at] == "," else at
        index += 1
    return at + 1


def _skip(text: str, at: int) -> int:
    return _SPACE.match(text, at).end()  # type: ignore[union-attr]


FORMATS: dict[str, Callable[[str], Parsed]] = {"toml": _toml, "yaml": _yaml, "json": _json}
SUFFIXES: dict[str, str] = {".toml": "toml", ".yaml": "yaml", ".yml": "yaml", ".json": "json"}
