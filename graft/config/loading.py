"""From sources to settings, with where each value came from; and again, when the sources have changed.

Precedence: defaults < files, in their order < environment < flags. Tables are merged key by key (also `slots` and
`labels`), everything else is replaced. What is overridden is not judged: `graft config check FILE` does that.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from attrs import evolve, field, frozen

from graft.config.consistency import contradictions
from graft.config.converting import Leaf, Mistake, leaves, structure
from graft.config.fields import Secret
from graft.config.problems import Problem, invalid
from graft.config.settings import Settings
from graft.config.sources import Entry, Keys, Origin, read_environment, read_file, read_flags

DEFAULT = Origin("default")
LEAVES: dict[str, Leaf] = {leaf.key: leaf for leaf in leaves(Settings)}
"""Every setting by key, in the order of the reference page."""
TOP = tuple(key for key in LEAVES if "." not in key)
SECRET = "expected another value than this secret, which is not shown"


@frozen
class Sources:
    """What was asked to be read. Kept, so that it can be read again."""

    files: tuple[str, ...] = ()  # names or http(s) URLs; later ones win
    environ: Mapping[str, str] = field(factory=dict)
    flags: Mapping[str, Any] = field(factory=dict)
    host_name: str = ""


@frozen
class Loaded:
    """`origins`: by key, for every setting; of a table also by its own keys (`resources.slots.run`)."""

    settings: Settings
    origins: Mapping[str, Origin]
    sources: Sources


class Reloaded(NamedTuple):
    """`loaded`: what holds from now on. `refused`: keys that changed in the sources and need a restart."""

    loaded: Loaded
    changed: tuple[str, ...]
    refused: tuple[str, ...]


def load(
    files: Sequence[str] = (),
    *,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
    host_name: str | None = None,
) -> Loaded:
    """The settings of a member. Blocks while files or URLs are read.

    `environ`: variables that are settings, and those that references (`env:NAME`) may name; none by default.
    `flags` are values by key (`{"transport.listen_port": 7401}`), or `Flag`s with what was typed; None means that a
    flag was not given. `host_name` is the default of `node_id`. Raises InvalidConfig with all problems of all sources.
    """
    name = socket.gethostname().partition(".")[0] if host_name is None else host_name
    return read(Sources(tuple(map(str, files)), dict(environ or {}), dict(flags or {}), name))


def read(sources: Sources) -> Loaded:
    """Like `load`. Raises InvalidConfig."""
    reads = [
        *(read_file(name, sources.environ) for name in sources.files),
        read_environment(sources.environ, TOP),
        read_flags(sources.flags, sources.environ),
    ]
    problems = [problem for each in reads for problem in each.problems]
    tree, origins, clashes = _merged([*_defaults(sources), *(entry for each in reads for entry in each.entries)])
    settings, mistakes = structure(tree, Settings)
    problems += clashes
    problems += [_placed(mistake, origins) for mistake in mistakes]
    if settings is not None and not problems:
        problems = [_placed(mistake, origins) for mistake in contradictions(settings)]
    if settings is None or problems:
        raise invalid(problems)
    return Loaded(settings, _named(origins), sources)


def reload(loaded: Loaded) -> Reloaded:
    """The sources read again: settings that may change at run time do, the others keep their values.

    Blocks like `load`. Raises InvalidConfig; then everything stays as it is.
    """
    fresh = read(loaded.sources)
    different = [key for key in LEAVES if value_of(fresh.settings, key) != value_of(loaded.settings, key)]
    changed = tuple(key for key in different if LEAVES[key].meaning.reload)
    refused = tuple(key for key in different if not LEAVES[key].meaning.reload)
    settings = loaded.settings
    for key in changed:
        settings = _with(settings, LEAVES[key].path, value_of(fresh.settings, key))
    if mixed := contradictions(settings):  # of values that are new with values that had to stay
        raise invalid([_placed(mistake, {}) for mistake in mixed])
    origins = {name: origin for name, origin in fresh.origins.items() if not any(_below(name, key) for key in refused)}
    kept = {name: origin for name, origin in loaded.origins.items() if any(_below(name, key) for key in refused)}
    return Reloaded(Loaded(settings, {**origins, **kept}, loaded.sources), changed, refused)


def value_of(settings: Settings, key: str) -> Any:
    """The value of a setting by its key, `transport.listen_port`."""
    value: Any = settings
    for name in key.split("."):
        value = getattr(value, name)
    return value


def _with(record: Any, path: Keys, value: Any) -> Any:
    name, *rest = path
    return evolve(record, **{name: _with(getattr(record, name), tuple(rest), value) if rest else value})


def _below(name: str, key: str) -> bool:
    return name == key or name.startswith(key + ".")


def _defaults(sources: Sources) -> Iterator[Entry]:
    """Of settings that are tables, so that they are merged like others; and of what depends on the machine."""
    for leaf in LEAVES.values():
        if isinstance(leaf.default, dict):
            yield Entry(leaf.path, {}, DEFAULT)
            for name, value in leaf.default.items():
                yield Entry((*leaf.path, name), value, DEFAULT)
    if sources.host_name:
        yield Entry(("node_id",), sources.host_name, Origin("default", "host name"))


def _merged(entries: Sequence[Entry]) -> tuple[dict[str, Any], dict[Keys, Origin], list[Problem]]:
    """One tree of all entries, later ones winning, and the origin of each of its leaves."""
    tree: dict[str, Any] = {}
    origins: dict[Keys, Origin] = {}
    problems = []
    for entry in entries:
        place, blocked = tree, False
        for name in entry.keys[:-1]:
            blocked = blocked or not isinstance(place.setdefault(name, {}), dict)
            place = place[name] if not blocked else {}
        if blocked:
            problems.append(Problem(str(entry.origin), ".".join(entry.keys), "expected a value, not a table"))
        elif entry.value == {} and isinstance(place.get(entry.keys[-1]), dict):
            continue
        else:
            place[entry.keys[-1]] = dict(entry.value) if isinstance(entry.value, dict) else entry.value
            for gone in [keys for keys in origins if keys[: len(entry.keys)] == entry.keys]:
                del origins[gone]
            origins[entry.keys] = entry.origin
    return tree, origins, problems


def _placed(mistake: Mistake, origins: Mapping[Keys, Origin]) -> Problem:
    """The problem of a mistake: with the place of its value, or of the first value below or around it."""
    path = mistake.path
    near = [origin for keys, origin in origins.items() if keys[: len(path)] == path]
    near = [each for each in near if each.kind != "default"] or near
    around = [origins[path[:n]] for n in range(len(path), 0, -1) if path[:n] in origins]
    origin = (near or around or [DEFAULT])[0]
    leaf = LEAVES.get(".".join(path))
    hidden = any(each.secret for each in near) or (leaf is not None and leaf.type is Secret)
    where = "" if origin.kind == "default" else origin.where
    return Problem(where, ".".join(path), SECRET if hidden else mistake.message, mistake.suggestion)


def _named(origins: Mapping[Keys, Origin]) -> dict[str, Origin]:
    named = {".".join(keys): origin for keys, origin in origins.items()}
    for key in LEAVES:
        named.setdefault(key, DEFAULT)
    return named
