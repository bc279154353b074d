"""Secret params of a run (`secret = true`): kept sealed, opened where an expression reads them, hidden everywhere else.

A secret param may stand in every expression. What an expression makes of it is kept as any other value is, so its text
is taken out of that first; only a secret param of a sub-flow gets it whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from attrs import evolve

from graft.engine.commands import Decision
from graft.errors import ExpressionError
from graft.plan import ErrorRecord, Param
from graft.security.sealing import Sealer
from graft.worker.redaction import MASK_TEXT, Redactor

NOTHING: Final[frozenset[str]] = frozenset()


def seal(sealer: Sealer, run_id: str, params: Iterable[Param], values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` as they may be kept. Raises UsageError when there is no key to seal with."""
    kept = dict(values)
    for param in params:
        if param.secret and param.name in kept:
            kept[param.name] = sealer.seal(kept[param.name], _about(run_id, param))
    return kept


def unseal(sealer: Sealer, run_id: str, params: Iterable[Param], kept: Mapping[str, Any]) -> dict[str, Any]:
    """Raises ExpressionError when one cannot be opened here."""
    values = dict(kept)
    for param in params:
        if param.secret and param.name in values:
            values[param.name] = sealer.open(values[param.name], _about(run_id, param))
    return values


def texts(sealer: Sealer, run_id: str, params: Iterable[Param], kept: Mapping[str, Any]) -> frozenset[str]:
    """What has to be hidden; nothing of what cannot be opened here, for no step here can read it either."""
    found: set[str] = set()
    for param in params:
        if param.secret and param.name in kept:
            try:
                found.update(_texts(sealer.open(kept[param.name], _about(run_id, param))))
            except ExpressionError:
                continue
    return frozenset(found)


def hide(params: Iterable[Param], values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` as they may be shown."""
    secret = {param.name for param in params if param.secret}
    return {name: MASK_TEXT if name in secret else value for name, value in values.items()}


def cleaned(decision: Decision, hidden: frozenset[str]) -> Decision:
    """What was decided, without the texts `hidden`. Params of a sub-flow are clean or sealed already."""
    redactor = redactor_of(hidden)
    data = decision.data
    if data is not None and decision.what != "params":
        data = redactor.json(data)
    error = None if decision.error is None else _clean_error(decision.error, redactor)
    return evolve(decision, data=data, reason=redactor.text(decision.reason), error=error)


@lru_cache(maxsize=64)
def redactor_of(hidden: frozenset[str]) -> Redactor:
    return Redactor(hidden)


def _clean_error(error: ErrorRecord, redactor: Redactor) -> ErrorRecord:
    cause = tuple(_clean_error(each, redactor) for each in error.cause)
    return evolve(error, title=redactor.text(error.title), detail=redactor.excerpt(error.detail), cause=cause)


def _about(run_id: str, param: Param) -> str:
    return f"{run_id}\0{param.name}"


def _texts(value: Any) -> Iterator[str]:
    """Every text and number in a value."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, str):
        yield value
    elif value is not None and not isinstance(value, bool):
        yield str(value)
