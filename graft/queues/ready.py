"""Steps that wait for a slot: one first-in first-out line per class of slot."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item", bound=Hashable)


class ReadyQueue(Generic[Item]):
    """Invariant: an item stands in at most one line; lines without items are not kept."""

    def __init__(self) -> None:
        # An OrderedDict pops its head in O(1) and forgets any item in O(1); a plain dict walks over dead heads.
        self._lines: dict[str, OrderedDict[Item, None]] = {}

    def push(self, line: str, item: Item) -> None:
        self._lines.setdefault(line, OrderedDict())[item] = None

    def head(self, line: str) -> Item:
        return next(iter(self._lines[line]))

    def pop(self, line: str) -> Item:
        waiting = self._lines[line]
        item, _ = waiting.popitem(last=False)
        if not waiting:
            del self._lines[line]
        return item

    def discard(self, line: str, item: Item) -> None:
        """Forget `item` if it waits in `line`."""
        waiting = self._lines.get(line)
        if waiting is not None and waiting.pop(item, self) is None and not waiting:
            del self._lines[line]

    def lines(self) -> list[str]:
        """The lines that have items, in the order in which they came to have some."""
        return list(self._lines)

    def __contains__(self, item: Item) -> bool:
        return any(item in line for line in self._lines.values())

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def __iter__(self) -> Iterator[Item]:
        for line in self._lines.values():
            yield from line
