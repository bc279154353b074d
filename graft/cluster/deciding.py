"""Expressions that have to be decided before the engine can go on: `when`, `for_each`, `value`, `sleep`, `fail`, the
params of a sub-flow, the outputs of a flow. Evaluated here, logged as `Decided`; so the engine depends on no evaluator.
"""

from __future__ import annotations

from typing import Any

import msgspec
from attrs import evolve

from graft.cluster.paths import Paths
from graft.cluster.secret_params import cleaned, redactor_of
from graft.cluster.values import Lookup, Values, encode_items
from graft.engine.commands import Decision
from graft.engine.effects import Decide
from graft.engine.records import NONE, Scope
from graft.errors import ExpressionError, UsageError
from graft.expressions import ProgramCache, render
from graft.plan import Block, ErrorRecord, FailAction, FlowAction, Node, SleepAction, ValueAction
from graft.plan.limits import limit_problems
from graft.plan.quantities import MAX_DURATION_MS
from graft.plan.types import convert, problems

_encode = msgspec.json.Encoder().encode


class Refused(Exception):
    """An expression gave something that cannot be used."""

    def __init__(self, error: ErrorRecord) -> None:
        super().__init__(error.title)
        self.error = error


class Decider:
    """`programs` gives the compiled expressions of a plan by its hash."""

    def __init__(self, values: Values, paths: Paths, max_result_bytes: int) -> None:
        self._values, self._paths = values, paths
        self._max_bytes = max_result_bytes
        self._programs: dict[str, ProgramCache] = {}

    def programs(self, plan_hash: str) -> ProgramCache:
        cache = self._programs.get(plan_hash)
        if cache is None:
            cache = self._programs[plan_hash] = ProgramCache()
        return cache

    def forget(self, plan_hash: str) -> None:
        """No live run has this plan any more."""
        self._programs.pop(plan_hash, None)

    def decide(self, effect: Decide, scope: Scope, block: Block, node: Node | None, plan_hash: str) -> Decision:
        """What the expressions of one step give; of the scope's outputs when `node` is None."""
        lookup = self._values.lookup(*effect.key)
        decision = self._decide(effect, lookup, block, node, plan_hash)
        hidden = lookup.hidden()
        return cleaned(decision, hidden) if hidden else decision

    def _decide(self, effect: Decide, lookup: Lookup, block: Block, node: Node | None, plan_hash: str) -> Decision:
        _, scope_no, ordinal = effect.key
        programs = self.programs(plan_hash)
        try:
            if node is None:
                assert block.outputs is not None
                outputs = self._checked(programs[block.outputs](lookup), "outputs")
                return Decision(scope_no, NONE, "outputs", data=outputs)
            return self._decide_node(scope_no, ordinal, node, lookup, programs, item=effect.item)
        except ExpressionError as error:
            record = ErrorRecord("expression", error.message, error.where or "")
        except Refused as refusal:
            record = refusal.error
        record = evolve(record, node=self._paths.path(*effect.key))
        return Decision(scope_no, ordinal, "fail", reason=f"{record.type}: {record.title}"[:200], error=record)

    def _decide_node(
        self, scope: int, ordinal: int, node: Node, lookup: Lookup, programs: ProgramCache, *, item: bool
    ) -> Decision:
        if not item and node.when is not None and not programs[node.when](lookup):
            return Decision(scope, ordinal, "skip", reason=f"`when` said no: {render(node.when)}"[:200])
        if not item and node.for_each is not None:
            return self._items(scope, ordinal, programs[node.for_each.items](lookup))
        match node.action:
            case ValueAction(value):
                return Decision(scope, ordinal, "value", data=self._checked(programs[value](lookup), "value", node))
            case SleepAction(duration):
                return Decision(scope, ordinal, "sleep", number=_milliseconds(programs[duration](lookup)))
            case FailAction(message, kind):
                raise Refused(ErrorRecord(kind, str(programs[message](lookup))))
            case FlowAction(block, with_):
                params = self._params(lookup.block(block), programs[with_](lookup))
                return Decision(scope, ordinal, "params", data=self._kept(lookup, lookup.block(block), params))
        return Decision(scope, ordinal, "go")

    def _kept(self, lookup: Lookup, block: Block, params: dict[str, Any]) -> bytes:
        """Params of a sub-flow as they may be kept: sealed what is secret there, without secrets of ours the rest."""
        secret = {param.name for param in block.params if param.secret}
        if hidden := lookup.hidden():
            redactor = redactor_of(hidden)
            params = {name: each if name in secret else redactor.value(each) for name, each in params.items()}
        try:
            return _encode(self._values.sealed(lookup.run_id, block, params))
        except UsageError as error:
            raise Refused(ErrorRecord("expression", error.message, error.hint or "")) from None

    def _items(self, scope: int, ordinal: int, items: Any) -> Decision:
        if not isinstance(items, (list, dict)):
            kind = type(items).__name__
            raise Refused(ErrorRecord("expression", f"for_each needs a list or a table, and got {kind}"))
        data, count = encode_items(items)
        self._check_size(data, "for_each")
        return Decision(scope, ordinal, "items", data=data, number=count)

    def _checked(self, value: Any, what: str, node: Node | None = None) -> bytes:
        if node is not None and node.returns is not None and (wrong := problems(node.returns, value)):
            raise Refused(ErrorRecord("output_schema", f"the {what} does not match `returns`", "; ".join(wrong)))
        data = _encode(value)
        self._check_size(data, what)
        return data

    def _check_size(self, data: bytes, what: str) -> None:
        if len(data) > self._max_bytes:
            raise Refused(ErrorRecord("too_large", f"{what} has {len(data)} bytes; the limit is {self._max_bytes}"))

    def _params(self, block: Block, given: dict[str, Any]) -> dict[str, Any]:
        """Params of a sub-flow: what `with` gave, defaults for the rest, all checked."""
        params: dict[str, Any] = {}
        wrong: list[str] = []
        for param in block.params:
            if param.name in given:
                value = given[param.name]
                bad = problems(param.type, value, param.name)
                wrong += bad or [f"`{param.name}`: {each}" for each in limit_problems(param, value)]
                params[param.name] = value
            elif param.default is not None:
                params[param.name] = convert(param.type, msgspec.json.decode(param.default))
            else:
                wrong.append(f"`{param.name}` is missing")
        if wrong:
            raise Refused(ErrorRecord("expression", f"params of the flow `{block.name}`", "; ".join(wrong)))
        return params


def _milliseconds(value: Any) -> int:
    """A duration: milliseconds as a number, or text such as "15m"."""
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            millis = int(convert("float", value))
        else:
            millis = round(convert("duration", value) * 1000)
    except (ValueError, TypeError) as error:
        raise Refused(ErrorRecord("expression", f"sleep needs a duration, and got {value!r}"[:200])) from error
    if millis > MAX_DURATION_MS:
        raise Refused(ErrorRecord("expression", f"sleep takes at most a century, and got {value!r}"[:200]))
    return max(0, millis)
