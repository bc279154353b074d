"""What one evaluation may do, and the meter that counts it.

Two limits. *Operations* bound time: an operation is a few tens of nanoseconds, at most about 200. Straight-line code is
bounded by the size of its text and is not counted; loops count the size of their body each round, and functions count
what they visit. *Bytes* bound memory: everything that gets built is counted before it is built, and never given back.

A value may share parts with itself (`[[x] * 100] * 100`), so that what it takes in memory says nothing about the work
of visiting it or about the size of its JSON. `Meter.visit` therefore walks, counting, before anything is compared,
sorted, hashed or encoded; a result is walked once more when it may share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen

from graft.errors import BudgetExceeded, ExpressionError

MAX_VALUE_DEPTH = 100


@frozen
class Budget:
    """Limits of one evaluation. The defaults let a map of 10,000 items compute its inputs from all of them."""

    max_operations: int = 1_000_000
    max_bytes: int = 16 * 1024 * 1024


DEFAULT_BUDGET = Budget()


class Meter:
    """The state of one evaluation: where variables come from, comprehension variables, and what may still be spent."""

    __slots__ = ("budget", "locals", "lookup", "memo", "operations", "size")

    def __init__(self, lookup: Callable[[str], Any], budget: Budget, slots: int) -> None:
        self.lookup = lookup
        self.budget = budget
        self.locals: list[Any] = [None] * slots
        self.memo: dict[str, Any] = {}
        self.operations = budget.max_operations
        self.size = budget.max_bytes

    def spend(self, operations: int, size: int = 0) -> None:
        """Take from the budget before doing it. Raises BudgetExceeded."""
        self.operations -= operations
        self.size -= size
        if self.operations < 0 or self.size < 0:
            raise self.exceeded()

    def exceeded(self) -> BudgetExceeded:
        if self.operations < 0:
            return BudgetExceeded(f"the expression does too much: more than {self.budget.max_operations:,} operations")
        return BudgetExceeded(f"the expression builds too much: more than {self.budget.max_bytes:,} bytes")

    def visit(self, value: Any, times: int = 1) -> int:
        """Count a walk through the whole of `value`, shared parts every time; its size in bytes.

        The size is that of the Python objects, roughly; the JSON of a value is smaller, text that needs escapes apart.
        Raises BudgetExceeded, and ExpressionError when the value nests deeper than MAX_VALUE_DEPTH.
        """
        left = self.operations // times
        count = size = depth = 0
        level = [value]
        while level:
            inner: list[Any] = []
            for each in level:
                if isinstance(each, str):
                    size += 49 + len(each)
                elif isinstance(each, list):
                    count += len(each)
                    size += 56 + 8 * len(each)
                    if count > left:
                        break
                    inner += each
                elif isinstance(each, dict):
                    count += 2 * len(each)
                    size += 64 + 100 * len(each) + sum(map(len, each))
                    if count > left:
                        break
                    inner += each.values()
                else:
                    size += 32
            if count > left or depth > MAX_VALUE_DEPTH:
                break
            depth += 1
            level = inner
        if depth > MAX_VALUE_DEPTH:
            raise ExpressionError(f"the value nests deeper than {MAX_VALUE_DEPTH} levels")
        self.spend((count + 1 + size // 1024) * times)
        return size
