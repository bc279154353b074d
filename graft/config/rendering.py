"""Settings as text: TOML that can be read back, each value with its origin where that is wanted. Secrets are hidden.

Hidden is a value of the type `Secret`, and every value that came from a reference (`env:NAME`, `file:PATH`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from graft.config.converting import Leaf
from graft.config.fields import HIDDEN, Seconds, Secret, Size
from graft.config.loading import DEFAULT, LEAVES, Loaded, value_of
from graft.config.sources import Origin

_TIMES = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
_SIZES = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))
_NAMES = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


def render(loaded: Loaded, *, origin: bool = False) -> str:
    """TOML of all settings; with `origin`, a comment after each line says where its value came from."""
    rows = list(_rows(loaded))
    widest = min(60, max(len(line) for _, line, _ in rows))
    lines, section = [], ""
    for table, line, where in rows:
        if table != section:
            lines += ["", f"[{table}]"]
            section = table
        lines.append(f"{line:<{widest}}  # {where}" if origin else line)
    return "\n".join(lines) + "\n"


def as_json(loaded: Loaded, *, origin: bool = False) -> dict[str, Any]:
    """The settings as nested tables of plain values: seconds, bytes. With `origin`: `{"settings": …, "origins": …}`."""
    tree: dict[str, Any] = {}
    for key, leaf in LEAVES.items():
        place = tree
        for name in leaf.path[:-1]:
            place = place.setdefault(name, {})
        place[leaf.path[-1]] = _plain(value_of(loaded.settings, key), key, loaded.origins)
    if not origin:
        return tree
    return {"settings": tree, "origins": {key: str(each) for key, each in sorted(loaded.origins.items())}}


def written(type_: Any, value: Any) -> str:
    """A value of a setting's type as it is written in TOML."""
    if type_ is Seconds:
        return json.dumps(duration(value)) if value else "0"
    if type_ is Size:
        return json.dumps(size(value))
    return _toml(value)


def duration(seconds: float) -> str:
    """The shortest text that reads back as `seconds`: `90s`, `5m`, `250ms`."""
    for unit, name in _TIMES:
        if seconds >= unit and seconds % unit == 0:
            return f"{round(seconds / unit)}{name}"
    in_ms = seconds * 1000
    if abs(in_ms - round(in_ms)) < 1e-9:
        return f"{round(in_ms)}ms"
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"


def size(number: int) -> str:
    for unit, name in _SIZES:
        if number and number % unit == 0:
            return f"{number // unit}{name}"
    return str(number)


def _rows(loaded: Loaded) -> Iterator[tuple[str, str, str]]:
    """Section, line and origin, with the settings of a section before those of the sections in it."""
    for leaf in sorted(LEAVES.values(), key=_place):
        yield from _rows_of(leaf, value_of(loaded.settings, leaf.key), loaded.origins)


_ORDER = {key: index for index, key in enumerate(LEAVES)}


def _place(leaf: Leaf) -> tuple[int, str, int]:
    """TOML wants what a table holds itself before its sub-tables."""
    of_section = next(index for key, index in _ORDER.items() if key.split(".")[0] == leaf.path[0])
    top = -1 if len(leaf.path) == 1 else of_section
    return top, ".".join(leaf.path[:-1]), _ORDER[leaf.key]


def _rows_of(leaf: Leaf, value: Any, origins: Mapping[str, Origin]) -> Iterator[tuple[str, str, str]]:
    table, name = ".".join(leaf.path[:-1]), leaf.path[-1]
    if isinstance(value, dict) and value:
        for each in value:
            key = f"{leaf.key}.{each}"
            shown = f'"{HIDDEN}"' if _secret(key, origins) else _toml(value[each])
            yield table, f"{name}.{_key(each)} = {shown}", str(_origin(key, origins))
        return
    shown = (
        f'"{HIDDEN}"' if value and (leaf.type is Secret or _secret(leaf.key, origins)) else written(leaf.type, value)
    )
    yield table, f"{name} = {shown}", str(_origin(leaf.key, origins))


def _origin(key: str, origins: Mapping[str, Origin]) -> Origin:
    """Of the key, or of the nearest table around it that has one."""
    parts = key.split(".")
    names = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((origins[name] for name in names if name in origins), DEFAULT)


def _secret(key: str, origins: Mapping[str, Origin]) -> bool:
    below = (origin.secret for name, origin in origins.items() if name.startswith(key + "."))
    return _origin(key, origins).secret or any(below)


def _plain(value: Any, key: str, origins: Mapping[str, Origin]) -> Any:
    if isinstance(value, Secret):
        return HIDDEN if value else ""
    if isinstance(value, dict):
        return {name: _plain(each, f"{key}.{name}", origins) for name, each in value.items()}
    if _secret(key, origins):
        return HIDDEN
    return list(value) if isinstance(value, tuple) else value


def _toml(value: Any) -> str:
    if isinstance(value, Secret):
        return '""'
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, dict):
        return (
            "{ " + ", ".join(f"{_key(name)} = {_toml(each)}" for name, each in value.items()) + " }" if value else "{}"
        )
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, float) and value.is_integer():
        return f"{value:.1f}"
    return json.dumps(value)


def _key(name: str) -> str:
    return name if name and set(name) <= _NAMES else _toml(name)
