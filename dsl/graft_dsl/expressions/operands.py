"""What the operators and functions do with types: the type of the result, or what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graft.expressions.functions import element
from graft.plan.types import (
    Type,
    assignable,
    head,
    infer,
    is_integer,
    is_number,
    is_text,
    join,
    kind,
    problems,
    required,
)
from graft_dsl.expressions.names import Complaint, shown
from graft_dsl.suggest import closest

_VERBS = {"+": "add", "-": "subtract", "*": "multiply", "/": "divide", "//": "divide", "%": "divide", "**": "raise"}


def number_type(type_: Type) -> Type:
    """The type of a number after arithmetic: a size is an int then, a duration a float."""
    return "int" if is_integer(type_) else "float"


def binary(op: str, left: Type, right: Type, exponent: Any = None) -> Type | Complaint:
    """The type of `left op right`. `exponent` is the right operand of `**` where it is a literal."""
    if is_number(left) and is_number(right):
        return _arithmetic(op, left, right, exponent)
    if op == "+" and (special := _sum(left, right)) is not None:
        return special
    if op == "*" and (special := _repetition(left, right) or _repetition(right, left)) is not None:
        return special
    if "any" in (left, right) and all(_may_take_part(op, each) for each in (left, right)):
        return "any"
    return _refused(op, left, right)


def _arithmetic(op: str, left: Type, right: Type, exponent: Any) -> Type:
    whole = is_integer(left) and is_integer(right)
    if op == "/":
        return "float"
    if op == "**":
        return "int" if whole and type(exponent) is int and exponent >= 0 else "float"
    return "int" if whole else "float"


def _sum(left: Type, right: Type) -> Type | None:
    if is_text(left) and is_text(right):
        return "string"
    if head(left) == head(right) == "list":
        return ("list", join(left[1], right[1]))
    return None


def _repetition(repeated: Type, times: Type) -> Type | None:
    if times != "any" and not is_integer(times):
        return None
    if is_text(repeated):
        return "string"
    return repeated if head(repeated) == "list" else None


def _may_take_part(op: str, type_: Type) -> bool:
    if type_ == "any" or is_number(type_):
        return True
    return op in ("+", "*") and (is_text(type_) or head(type_) == "list")


def _refused(op: str, left: Type, right: Type) -> Complaint:
    verb = _VERBS[op]
    message = f"cannot {verb} {shown(left)} and {shown(right)}"
    if op == "-":
        message = f"cannot subtract {shown(right)} from {shown(left)}"
    elif op in ("/", "//", "%"):
        message = f"cannot divide {shown(left)} by {shown(right)}"
    elif op == "**":
        message = f"cannot raise {shown(left)} to the power of {shown(right)}"
    suggestion = None
    if op == "+" and (is_text(left) or is_text(right)):
        suggestion = "`str(…)` makes text of a value, f'{a}{b}' writes several"
    elif is_text(left) or is_text(right):
        suggestion = "`int(…)` or `float(…)` makes a number of text"
    elif "bool" in (left, right):
        suggestion = "`int(…)` makes a number of a bool"
    return Complaint("GR130", message, suggestion)


def ordering(op: str, left: Type, right: Type) -> Complaint | None:
    """What is wrong with `left < right`."""
    if "any" in (left, right):
        other = right if left == "any" else left
        sortable = other in ("any", "bool") or is_number(other) or is_text(other) or head(other) in ("list", "enum")
        return None if sortable else Complaint("GR130", f"{shown(other)} has no order", got=shown(other))
    for test in (is_number, is_text, lambda each: head(each) == "list", lambda each: head(each) == "enum"):
        if test(left) and test(right):
            return None
    if {left, right} <= {"bool", "int", "float"}:
        return None
    suggestion = "`int(…)` or `float(…)` makes a number of text" if is_text(left) or is_text(right) else None
    return Complaint("GR130", f"cannot compare {shown(left)} with {shown(right)} by `{op}`", suggestion)


def containment(item: Type, container: Type) -> Complaint | None:
    """What is wrong with `item in container`."""
    if container == "any":
        return None
    if is_text(container) or head(container) in ("record", "table"):
        if item == "any" or (is_text(item) if is_text(container) else assignable(item, "string")):
            return None
        what = "text holds only text" if is_text(container) else "the keys of a record are text"
        return Complaint("GR130", what, None, "string", shown(item))
    if head(container) == "list":
        return equality("==", item, container[1])
    return Complaint(
        "GR130", "`in` looks into a list, a record or a text", None, "list, record or string", shown(container)
    )


def equality(op: str, left: Type, right: Type) -> Complaint | None:
    """What is wrong with `left == right`: that they cannot ever be equal."""
    if may_equal(left, right):
        return None
    always = "false" if op == "==" else "true"
    return Complaint(
        "GR133", f"this is always {always}: {shown(left)} is never {shown(right)}", None, shown(left), shown(right)
    )


def equality_with(op: str, text: str, type_: Type, value: Any) -> Complaint | None:
    """What is wrong with comparing the value that `text` gives with a literal."""
    plain = required(type_)
    if value is None:
        return None
    if head(plain) == "enum" and not any(each == value for each in plain[1]):
        near = closest(value, [each for each in plain[1] if isinstance(each, str)]) if isinstance(value, str) else None
        always = "false" if op == "==" else "true"
        suggestion = f"did you mean '{near}'?" if near else None
        return Complaint("GR133", f"this is always {always}: `{text}` is never {value!r}", suggestion, shown(plain))
    if plain in ("date", "datetime") and isinstance(value, str) and problems(plain, value):
        return Complaint("GR133", f"{value!r} is not a {plain}", None, f"{plain} as ISO text")
    complaint = equality(op, type_, infer(value))
    if complaint is not None and is_text(plain) and kind(value) in ("int", "float"):
        return Complaint(complaint.code, complaint.message, f"'{value}'", complaint.wanted, complaint.got)
    return complaint


def may_equal(left: Type, right: Type) -> bool:
    """Whether values of both types can be equal as Python compares."""
    if head(left) == "optional" and head(right) in ("optional", "none"):
        return True
    if head(right) == "optional" and left == "none":
        return True
    left, right = required(left), required(right)
    if "any" in (left, right) or assignable(left, right) or assignable(right, left):
        return True
    if "enum" in (head(left), head(right)):
        values, other = (left[1], right) if head(left) == "enum" else (right[1], left)
        return (
            any(may_equal(infer(each), other) for each in values)
            if head(other) != "enum"
            else bool({*values} & {*other[1]})
        )
    if head(left) == head(right) and head(left) in ("list", "record", "table"):
        return True
    numbers = {"bool", "int", "float", "bytes", "duration"}
    return (left in numbers and right in numbers) or (is_text(left) and is_text(right))


_WANTS = {"sum": "numbers", "min": "numbers or texts", "max": "numbers or texts", "sorted": "numbers or texts"}


def items(function: str, types: Sequence[Type]) -> Complaint | None:
    """What is wrong with the items of a list that a function adds or sorts."""
    if function not in _WANTS or not types:
        return None
    inner = element(types[0]) if len(types) == 1 else types[0]
    if inner in ("any", "bool") or is_number(inner) or head(inner) == "enum":
        return None
    if function != "sum" and (is_text(inner) or head(inner) == "list"):
        return None
    field = "column(items, 'name') takes one field of every record" if head(inner) == "record" else None
    return Complaint(
        "GR131", f"{function}() takes {_WANTS[function]}", field, f"list of {_WANTS[function]}", shown(types[0])
    )


def conversion(text: str, expected: Type, got: Type) -> str | None:
    """The function that makes an `expected` of a `got`."""
    wanted = required(expected)
    if wanted == "string" and got != "none":
        return f"`str({text})`"
    if wanted == "int" and got == "float":
        return f"`round({text})` or `int({text})`"
    if wanted in ("int", "float") and (is_text(got) or got == "bool"):
        return f"`{wanted}({text})`"
    if wanted == "bool" and (is_number(got) or is_text(got) or head(got) in ("list", "record", "table")):
        return f"`bool({text})`, or a comparison"
    if head(wanted) == "list" and assignable(got, wanted[1]):
        return f"`[{text}]`"
    return None
