"""What is known about a Python target without running it."""

from __future__ import annotations

from typing import Any, Protocol

from attrs import frozen


@frozen
class Signature:
    """Types are `graft.plan.types` trees, None where nothing is annotated."""

    params: tuple[tuple[str, Any, bool], ...]  # (name, type, required)
    returns: Any | None
    accepts_any: bool = False  # has **kwargs
    context: str | None = None  # name of the parameter that receives the `Context`
    is_async: bool = False
    doc: str = ""


class SignatureResolver(Protocol):
    """Imports a Python target of a flow in the directory `base`.

    Raises LookupError whose text says what is missing (module or function) and where.
    """

    def __call__(self, target: str, base: str) -> Signature: ...
