"""What the operators do. Python's semantics for JSON values, with limits.

Every function takes the meter first, and raises ExpressionError without a place: the program adds it. An integer has at
most MAX_INT_BITS bits, so every integer has a finite float; infinity and NaN are errors, for JSON has neither.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from graft.errors import AbsentValue, ExpressionError
from graft.expressions.budget import Meter
from graft.plan.quantities import MAX_INT_BITS
from graft.plan.types import kind

_INT_LIMIT = 1 << MAX_INT_BITS

_NUMBERS = frozenset({int, float, bool})
_CONTAINERS = frozenset({list, dict})


def number(value: Any) -> Any:
    """The result of arithmetic, if it is a number that Graft keeps. Raises ExpressionError."""
    if type(value) is float:
        if not math.isfinite(value):
            raise ExpressionError("the result is not a finite number")
    elif type(value) is complex:
        raise ExpressionError("the result is not a real number")
    elif not -_INT_LIMIT < value < _INT_LIMIT:
        raise ExpressionError(f"the integer has more than {MAX_INT_BITS} bits")
    return value


def _are_numbers(left: Any, right: Any) -> bool:
    return type(left) in _NUMBERS and type(right) in _NUMBERS


def _refuse(what: str, left: Any, right: Any) -> ExpressionError:
    return ExpressionError(f"cannot {what} {kind(left)} and {kind(right)}")


def add(meter: Meter, left: Any, right: Any) -> Any:
    if _are_numbers(left, right):
        return number(left + right)
    if type(left) is str and type(right) is str:
        meter.spend(0, 49 + len(left) + len(right))
    elif type(left) is list and type(right) is list:
        meter.spend((len(left) + len(right)) // 8, 56 + 8 * (len(left) + len(right)))
    else:
        raise _refuse("add", left, right)
    return left + right


def subtract(meter: Meter, left: Any, right: Any) -> Any:
    if not _are_numbers(left, right):
        raise ExpressionError(f"cannot subtract {kind(right)} from {kind(left)}")
    return number(left - right)


def multiply(meter: Meter, left: Any, right: Any) -> Any:
    if _are_numbers(left, right):
        return number(left * right)
    if type(left) in _NUMBERS:
        left, right = right, left
    if type(left) not in (str, list) or type(right) not in (int, bool):
        raise _refuse("multiply", left, right)
    length = len(left) * max(right, 0)
    meter.spend(*_size(left, length))
    return left * right


def divide(meter: Meter, left: Any, right: Any) -> Any:
    _check_division(left, right)
    return number(left / right)


def floor_divide(meter: Meter, left: Any, right: Any) -> Any:
    _check_division(left, right)
    return number(left // right)


def remainder(meter: Meter, left: Any, right: Any) -> Any:
    _check_division(left, right)
    return number(left % right)


def _check_division(left: Any, right: Any) -> None:
    if not _are_numbers(left, right):
        raise ExpressionError(f"cannot divide {kind(left)} by {kind(right)}")
    if right == 0:
        raise ExpressionError("division by zero")


def power(meter: Meter, left: Any, right: Any) -> Any:
    if not _are_numbers(left, right):
        raise ExpressionError(f"cannot raise {kind(left)} to the power of {kind(right)}")
    if left == 0 and right < 0:
        raise ExpressionError("division by zero")
    if type(left) is not float and type(right) is not float:
        bits = (int(left).bit_length() - 1) * right  # the result has more bits than this
        if bits > MAX_INT_BITS:
            raise ExpressionError(f"the integer has more than {MAX_INT_BITS} bits")
    return number(left**right)


def negate(meter: Meter, value: Any) -> Any:
    if type(value) not in _NUMBERS:
        raise ExpressionError(f"cannot negate {kind(value)}")
    return -value


def keep_sign(meter: Meter, value: Any) -> Any:
    if type(value) not in _NUMBERS:
        raise ExpressionError(f"expected a number, got {kind(value)}")
    return +value


BINARY: dict[str, Callable[[Meter, Any, Any], Any]] = {
    "+": add,
    "-": subtract,
    "*": multiply,
    "/": divide,
    "//": floor_divide,
    "%": remainder,
    "**": power,
}


def equal(meter: Meter, left: Any, right: Any) -> bool:
    if type(left) in _CONTAINERS and type(left) is type(right):
        # Python stops at the first difference, but may walk through all of both.
        meter.visit(left)
        meter.visit(right)
    elif type(left) is str and type(right) is str:
        meter.spend(len(left) // 256)
    return bool(left == right)


def different(meter: Meter, left: Any, right: Any) -> bool:
    return not equal(meter, left, right)


def _ordering(compare: Callable[[Any, Any], bool]) -> Callable[[Meter, Any, Any], bool]:
    def ordered(meter: Meter, left: Any, right: Any) -> bool:
        if type(left) is str and type(right) is str:
            meter.spend(len(left) // 256)
        elif type(left) is list and type(right) is list:
            meter.visit(left)
            meter.visit(right)
        elif not _are_numbers(left, right):
            raise _refuse("compare", left, right)
        try:
            return compare(left, right)
        except TypeError:
            raise ExpressionError("cannot compare these lists: their items have different types") from None

    return ordered


def contains(meter: Meter, item: Any, container: Any) -> bool:
    """`item in container`."""
    if type(container) is list:
        meter.visit(container)
        if type(item) in _CONTAINERS:
            meter.visit(item, max(1, len(container)))
        elif type(item) is str:
            meter.spend(len(item) // 256 * len(container))
    elif type(container) is dict:
        if type(item) in _CONTAINERS:
            raise ExpressionError(f"the keys of a record are text, not {kind(item)}")
        return type(item) is str and item in container
    elif type(container) is str:
        if type(item) is not str:
            raise ExpressionError(f"cannot look for {kind(item)} in a text")
        meter.spend((len(container) + len(item)) // 64)
    else:
        raise ExpressionError(f"cannot look into {kind(container)}")
    return item in container


def lacks(meter: Meter, item: Any, container: Any) -> bool:
    return not contains(meter, item, container)


COMPARE: dict[str, Callable[[Meter, Any, Any], bool]] = {
    "==": equal,
    "!=": different,
    "<": _ordering(lambda left, right: left < right),
    "<=": _ordering(lambda left, right: left <= right),
    ">": _ordering(lambda left, right: left > right),
    ">=": _ordering(lambda left, right: left >= right),
    "in": contains,
    "not in": lacks,
}


def field(value: Any, name: str) -> Any:
    """`value.name`. Raises AbsentValue when a record has no such field and when there is no record at all: null."""
    if type(value) is dict:
        if name in value:
            return value[name]
        raise AbsentValue(f"there is no field `{name}`")
    if value is None:
        raise AbsentValue(f"this is null: it has no field `{name}`")
    raise ExpressionError(f"{kind(value)} has no fields: `{name}` cannot be read")


def item(value: Any, index: Any) -> Any:
    """`value[index]`. Raises AbsentValue when there is no such item."""
    if type(value) is dict:
        if type(index) is not str:
            raise ExpressionError(f"the keys of a record are text, not {kind(index)}")
        return field(value, index)
    if value is None:
        raise AbsentValue("this is null: it has no items")
    if type(value) not in (list, str):
        raise ExpressionError(f"{kind(value)} has no items")
    if type(index) not in (int, bool):
        raise ExpressionError(f"the index of {_a(value)} is an int, not {kind(index)}")
    if not -len(value) <= index < len(value):
        raise AbsentValue(f"there is no item {index}: it has {len(value)}")
    return value[index]


def part(meter: Meter, value: Any, start: Any, stop: Any) -> Any:
    """`value[start:stop]`."""
    if type(value) not in (list, str):
        raise ExpressionError(f"{kind(value)} cannot be sliced")
    for bound in (start, stop):
        if bound is not None and type(bound) not in (int, bool):
            raise ExpressionError(f"a bound of a slice is an int, not {kind(bound)}")
    first, last, _ = slice(start, stop).indices(len(value))
    length = max(0, last - first)
    meter.spend(*_size(value, length))
    return value[start:stop]


def _size(value: Any, length: int) -> tuple[int, int]:
    """Operations and bytes of making a list or a text like `value`, of `length` items or characters."""
    return (length // 8, 56 + 8 * length) if type(value) is list else (length // 1024, 49 + length)


def _a(value: Any) -> str:
    return "a list" if type(value) is list else "a text"


def iterate(value: Any) -> Any:
    """What a comprehension or a function goes through: the items of a list, the keys of a record."""
    if type(value) is list or type(value) is dict:
        return value
    raise ExpressionError(f"expected a list, got {kind(value)}")
