"""What the functions of expressions do. `functions.py` is their table, with types and documentation."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import msgspec

from graft.errors import AbsentValue, ExpressionError
from graft.expressions.budget import MAX_VALUE_DEPTH, Meter
from graft.expressions.operators import equal, field, iterate, number
from graft.expressions.text import to_json, to_text
from graft.plan.nesting import nests_deeper
from graft.plan.types import kind

MAX_NUMBER_TEXT = 400
MAX_DIGITS = 400

_MISSING: Any = object()


def _text(value: Any) -> str:
    if type(value) is not str:
        raise ExpressionError(f"expected text, got {kind(value)}")
    return value


def _list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise ExpressionError(f"expected a list, got {kind(value)}")
    return value


def _record(value: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise ExpressionError(f"expected a record, got {kind(value)}")
    return value


def _number(value: Any) -> Any:
    if type(value) not in (int, float, bool):
        raise ExpressionError(f"expected a number, got {kind(value)}")
    return value


def _int(value: Any) -> int:
    if type(value) not in (int, bool):
        raise ExpressionError(f"expected an int, got {kind(value)}")
    return int(value)


def length(meter: Meter, x: Any) -> int:
    if type(x) not in (str, list, dict):
        raise ExpressionError(f"{kind(x)} has no length")
    return len(x)


def _candidates(meter: Meter, values: tuple[Any, ...]) -> Any:
    items = iterate(values[0]) if len(values) == 1 else list(values)
    meter.visit(items)
    return items


def _extreme(choose: Any, what: str) -> Any:
    def extreme(meter: Meter, *values: Any, default: Any = _MISSING) -> Any:
        items = _candidates(meter, values)
        if not items:
            if default is _MISSING:
                raise ExpressionError(f"{what}() of an empty list; give it a `default=…`")
            return default
        try:
            return choose(items)
        except TypeError:
            raise ExpressionError(f"the items cannot be compared: {_kinds(items)}") from None

    return extreme


minimum = _extreme(min, "min")
maximum = _extreme(max, "max")


def _kinds(items: Any) -> str:
    return ", ".join(sorted({kind(each) for each in items}))


def total(meter: Meter, numbers: Any) -> Any:
    items = _list(numbers)
    meter.spend(len(items))
    result: Any = 0
    for each in items:
        result += _number(each)
    return number(result)


def ordered(meter: Meter, items: Any, reverse: Any = False) -> list[Any]:
    found = iterate(items)
    # A comparison sort: n log2 n comparisons, each of which may walk through an item.
    meter.visit(found, 1 + len(found).bit_length() // 4)
    meter.spend(0, 56 + 8 * len(found))
    try:
        return sorted(found, reverse=bool(reverse))
    except TypeError:
        raise ExpressionError(f"the items cannot be compared: {_kinds(found)}") from None


def absolute(meter: Meter, x: Any) -> Any:
    return abs(_number(x))


def rounded(meter: Meter, x: Any, digits: Any = None) -> Any:
    if digits is None:
        return number(round(_number(x)))
    if abs(_int(digits)) > MAX_DIGITS:
        raise ExpressionError(f"round() takes at most {MAX_DIGITS} digits")
    try:
        return number(round(_number(x), int(digits)))
    except OverflowError:
        raise ExpressionError("the result is not a finite number") from None


def counted(meter: Meter, *bounds: Any) -> list[int]:
    numbers = [_int(each) for each in bounds]
    if len(numbers) == 3 and numbers[2] == 0:
        raise ExpressionError("the step of range() is 0")
    start, stop = (0, numbers[0]) if len(numbers) == 1 else numbers[:2]
    step = numbers[2] if len(numbers) == 3 else 1
    size = max(0, -((start - stop) // step))
    meter.spend(size // 8, 56 + 40 * size)
    return list(range(start, stop, step))


def any_true(meter: Meter, values: Any) -> bool:
    meter.spend(len(iterate(values)) // 8)
    return any(values)


def all_true(meter: Meter, values: Any) -> bool:
    meter.spend(len(iterate(values)) // 8)
    return all(values)


def to_int(meter: Meter, x: Any) -> int:
    if type(x) is str:
        if len(x) <= MAX_NUMBER_TEXT:
            try:
                return int(number(int(x)))
            except ValueError:
                pass
        raise ExpressionError(f"{_quoted(x)} is not an int")
    return int(number(int(_number(x))))


def to_float(meter: Meter, x: Any) -> float:
    try:
        value = float(x) if type(x) is str and len(x) <= MAX_NUMBER_TEXT else math.nan
    except ValueError:
        value = math.nan
    if type(x) is str:
        if not math.isfinite(value):
            raise ExpressionError(f"{_quoted(x)} is not a finite number")
        return value
    return float(number(_number(x)))


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:39] + "…")


def to_str(meter: Meter, x: Any) -> str:
    return to_text(meter, x)


def to_bool(meter: Meter, x: Any) -> bool:
    return bool(x)


def to_list(meter: Meter, x: Any) -> list[Any]:
    if type(x) is str:
        meter.spend(len(x) // 8, 56 + 60 * len(x))
        return list(x)
    meter.spend(len(iterate(x)) // 8, 56 + 8 * len(x))
    return list(x)


def to_dict(meter: Meter, x: Any) -> dict[str, Any]:
    if type(x) is dict:
        return x
    meter.spend(len(_list(x)), 64 + 100 * len(x))
    made: dict[str, Any] = {}
    for each in x:
        if type(each) is not list or len(each) != 2 or type(each[0]) is not str:
            raise ExpressionError(f"dict() takes a list of [name, value] pairs, got an item that is {kind(each)}")
        made[each[0]] = each[1]
    return made


def joined(meter: Meter, items: Any, separator: Any) -> str:
    parts = [to_text(meter, each) for each in _list(items)]
    meter.spend(len(parts), 49 + sum(map(len, parts)) + len(_text(separator)) * len(parts))
    return str(separator).join(parts)


_PART_BYTES = 58  # of a short text and its place in a list


def parts(meter: Meter, text: Any, separator: Any = None) -> list[str]:
    if separator is not None and _text(separator) == "":
        raise ExpressionError("split() takes no empty separator")
    most = max(0, meter.size - len(_text(text))) // _PART_BYTES
    found = text.split(separator, most)
    meter.spend(len(found) + len(text) // 256, len(text) + _PART_BYTES * len(found))
    return list(found)


def lowered(meter: Meter, text: Any) -> str:
    meter.spend(0, 49 + 2 * len(_text(text)))
    return str(text).lower()


def uppered(meter: Meter, text: Any) -> str:
    meter.spend(0, 49 + 3 * len(_text(text)))
    return str(text).upper()


def stripped(meter: Meter, text: Any, characters: Any = None) -> str:
    if characters is not None and len(_text(characters)) > 1000:
        raise ExpressionError("strip() takes at most 1000 characters")
    # Every character at the ends is looked for among those to strip.
    meter.spend(len(_text(text)) * (1 + len(characters or "")) // 256, 49 + len(text))
    return str(text).strip(characters)


def replaced(meter: Meter, text: Any, old: Any, new: Any) -> str:
    meter.spend(len(_text(text)) // 64)
    places = text.count(_text(old))
    meter.spend(places // 8, 49 + len(text) + places * max(0, len(_text(new)) - len(old)))
    return str(text).replace(old, new)


def starts_with(meter: Meter, text: Any, start: Any) -> bool:
    meter.spend(len(_text(start)) // 256)
    return _text(text).startswith(start)


def ends_with(meter: Meter, text: Any, end: Any) -> bool:
    meter.spend(len(_text(end)) // 256)
    return _text(text).endswith(end)


def as_json(meter: Meter, x: Any) -> str:
    return to_json(meter, x)


def from_json(meter: Meter, text: Any) -> Any:
    marks = _text(text).count("[") + text.count("{")
    meter.spend(len(text) // 16, len(text) + 64 * marks + 60 * text.count(",") + 60 * text.count(":"))
    if marks > MAX_VALUE_DEPTH and nests_deeper(text.encode("utf-8", "surrogatepass"), MAX_VALUE_DEPTH):
        raise ExpressionError(f"the value nests deeper than {MAX_VALUE_DEPTH} levels")
    try:
        value = msgspec.json.decode(text)
    except ValueError as error:
        raise ExpressionError(f"not JSON: {error}") from None
    meter.visit(value)
    return value


def digest(meter: Meter, x: Any) -> str:
    return hashlib.sha256(to_json(meter, x, sort_keys=True).encode()).hexdigest()


def counted_items(meter: Meter, items: Any, value: Any = _MISSING) -> int:
    if type(items) is str:
        if value is _MISSING or _text(value) == "":
            raise ExpressionError("count() of a text needs to know what to count")
        meter.spend(len(items) // 64)
        return items.count(value)
    meter.spend(len(_list(items)))
    if value is _MISSING:
        return sum(map(bool, items))
    return sum(1 for each in items if equal(meter, each, value))


def keys(meter: Meter, x: Any) -> list[str]:
    meter.spend(len(_record(x)) // 8, 56 + 8 * len(x))
    return list(x)


def values(meter: Meter, x: Any) -> list[Any]:
    meter.spend(len(_record(x)) // 8, 56 + 8 * len(x))
    return list(x.values())


def column(meter: Meter, records: Any, name: Any) -> list[Any]:
    meter.spend(len(_list(records)), 56 + 8 * len(records))
    made = []
    for index, each in enumerate(records):
        try:
            made.append(field(each, _text(name)))
        except AbsentValue as error:
            raise AbsentValue(f"item {index}: {error.message}") from None
    return made
