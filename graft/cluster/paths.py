"""Step paths: `pick[3]/pack`. The engine knows steps by number; people know them by path.

The keys of a mapped table are the author's data: what would make a path ambiguous or could steer a terminal stands in
it as `%2F`, so that every path is one printable line and names one step.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from urllib.parse import quote, unquote

from graft.cluster.values import Values
from graft.engine.records import NONE, Scope
from graft.ids import StepKey
from graft.plan import Node

CACHED_SCOPES = 4096
MAX_DIGITS = 9  # of the number of an item, whose key has 32 bits

_STRUCTURE = re.compile(r"[%/\[\]]")
_PART = re.compile(r"([^\[\]/]+)((?:\[[^\[\]]*\])*)")


class Paths:
    """Both ways between step keys and paths, of any run that `values` can read."""

    def __init__(self, values: Values) -> None:
        self._values = values
        self._prefixes: OrderedDict[tuple[int, int], tuple[str, Scope]] = OrderedDict()

    def path(self, run: int, scope: int, ordinal: int) -> str:
        """Path of a step; of the scope itself when `ordinal` is NONE (the run's own scope: "")."""
        prefix, record = self._prefix(run, scope)
        if ordinal == NONE:
            return prefix.rstrip("/")
        if record.kind == "map":
            return f"{prefix}[{_shown(self._values.items(run, scope).index(ordinal))}]"
        return prefix + self._values.graph(run, record.block).nodes[ordinal].name

    def _prefix(self, run: int, scope: int) -> tuple[str, Scope]:
        """What stands before a step of the scope (`""`, `"ship/"`, and `"pick"` in a map), and the scope.

        Only what never changes of the scope may be used: it is kept.
        """
        key = (run, scope)
        known = self._prefixes.get(key)
        if known is None:
            record = self._values.scope(run, scope)
            if record.parent_scope == NONE:
                prefix = ""
            else:
                prefix = self.path(run, record.parent_scope, record.parent_ordinal)
                prefix += "" if record.kind == "map" else "/"
            known = self._prefixes[key] = (prefix, record)
            if len(self._prefixes) > CACHED_SCOPES:
                self._prefixes.popitem(last=False)
        return known

    def node(self, run: int, scope: Scope, ordinal: int) -> Node:
        nodes = self._values.graph(run, scope.block).nodes
        return nodes[scope.node if scope.kind == "map" else ordinal]

    def find(self, run: int, path: str) -> StepKey | None:
        """The step with this path, None when there is none (yet)."""
        scope: int | None = 0
        key: StepKey | None = None
        for part in path.split("/"):
            match = _PART.fullmatch(part)
            if match is None or scope is None:
                return None
            ordinal = self._values.graph(run, self._values.scope(run, scope).block).ordinals.get(match[1])
            if ordinal is None:
                return None
            key = (run, scope, ordinal)
            for index in re.findall(r"\[([^\[\]]*)\]", match[2]):
                key = self._item(key, index)
                if key is None:
                    return None
            step = self._values.step(*key)
            scope = None if step is None or step.child == NONE else step.child
        return key if key is not None and self._values.step(*key) is not None else None

    def _item(self, key: StepKey, index: str) -> StepKey | None:
        step = self._values.step(*key)
        if step is None or step.child == NONE:
            return None
        items = self._values.items(key[0], step.child)
        if items.keys is not None:
            name = unquote(index)
            return (key[0], step.child, items.keys.index(name)) if name in items.keys else None
        is_number = index.isascii() and index.isdigit() and len(index) <= MAX_DIGITS
        return (key[0], step.child, int(index)) if is_number else None


def _shown(index: int | str) -> str:
    if isinstance(index, int):
        return str(index)
    if index.isprintable() and not _STRUCTURE.search(index):
        return index
    return "".join(quote(each, safe="") if _STRUCTURE.match(each) or not each.isprintable() else each for each in index)
