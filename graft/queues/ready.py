"""Steps that wait for a slot: one line per class of slot, in order of the positions that they were given."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item", bound=Hashable)
Line = TypeVar("Line", bound=Hashable)


class ReadyQueue(Generic[Line, Item]):
    """Invariant: an item stands in at most one line; lines without items are not kept.

    Who is next follows from the positions alone, never from when an item was pushed. A push almost always has the
    highest position so far; a line that got another one is sorted when its head is asked for.
    """

    def __init__(self) -> None:
        # An OrderedDict pops its head in O(1) and forgets any item in O(1); a plain dict walks over dead heads.
        self._lines: dict[Line, OrderedDict[Item, int]] = {}
        self._last: dict[Line, int] = {}  # the highest position that was pushed to the line
        self._unsorted: set[Line] = set()

    def push(self, line: Line, item: Item, position: int) -> None:
        waiting = self._lines.get(line)
        if waiting is None:
            waiting = self._lines[line] = OrderedDict()
            self._last[line] = position
        elif position < self._last[line]:
            self._unsorted.add(line)
        else:
            self._last[line] = position
        waiting[item] = position

    def head(self, line: Line) -> tuple[int, Item]:
        """The next item of a line that has some, and its position."""
        if line in self._unsorted:
            self._sort(line)
        item, position = next(iter(self._lines[line].items()))
        return position, item

    def _sort(self, line: Line) -> None:
        self._unsorted.discard(line)
        self._lines[line] = OrderedDict(sorted(self._lines[line].items(), key=lambda pair: pair[1]))

    def pop(self, line: Line) -> Item:
        if line in self._unsorted:
            self._sort(line)
        waiting = self._lines[line]
        item, _ = waiting.popitem(last=False)
        if not waiting:
            self._drop(line)
        return item

    def discard(self, line: Line, item: Item) -> None:
        """Forget `item` if it waits in `line`."""
        waiting = self._lines.get(line)
        if waiting is not None and waiting.pop(item, None) is not None and not waiting:
            self._drop(line)

    def _drop(self, line: Line) -> None:
        del self._lines[line], self._last[line]
        self._unsorted.discard(line)

    def take_line(self, line: Line) -> list[Item]:
        """Empty a line; its items in order."""
        items = []
        while line in self._lines:
            items.append(self.pop(line))
        return items

    def lines(self) -> list[Line]:
        """The lines that have items, in the order in which they came to have some."""
        return list(self._lines)

    def is_empty(self) -> bool:
        return not self._lines

    def has_line(self, line: Line) -> bool:
        return line in self._lines

    def __contains__(self, item: Item) -> bool:
        return any(item in line for line in self._lines.values())

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def __iter__(self) -> Iterator[Item]:
        """All items, line by line, in no order."""
        for line in self._lines.values():
            yield from line
