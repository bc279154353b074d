"""A resolver of Python targets that imports nothing: signatures for flows under test."""

from __future__ import annotations

from graft.plan.signature import Signature
from graft.plan.types import parse_type

_FUNCTIONS: dict[str, tuple[dict[str, tuple[str, bool]], str | None]] = {
    # name -> parameters (type, required), type of the result
    "shop:total": ({"order": ("record[cents: int]", True), "currency": ("string", False)}, "int"),
    "shop:rows": ({"count": ("int", False)}, "list[record[name: string, cents: int]]"),
    "shop:anything": ({"x": ("any", False)}, None),
}


def fake_signatures(target: str, base: str) -> Signature:
    """The signature of a function of `shop`. Raises LookupError as the real resolver does."""
    module, _, name = target.partition(":")
    if module != "shop":
        raise LookupError(f"there is no module `{module}`")
    if target not in _FUNCTIONS:
        raise LookupError(f"the module `shop` has no function `{name}`")
    params, returns = _FUNCTIONS[target]
    return Signature(
        params=tuple((name, parse_type(type_), required) for name, (type_, required) in params.items()),
        returns=None if returns is None else parse_type(returns),
    )
