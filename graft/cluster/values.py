"""What the names in expressions stand for: `params`, `fetch.out`, `item`, `run`, … seen from one step.

A name is looked up through the scopes around the step, innermost first, up to the flow that the step belongs to: a
sub-flow sees nothing of the flow around it. Every look-up decodes anew, so a step that changes what it was given
changes nothing for others.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import attrs
import msgspec

from graft.cluster import secret_params
from graft.cluster.state_view import StateView
from graft.engine.graph import BlockGraph
from graft.engine.records import NONE, Run, Scope, Step
from graft.engine.state import State
from graft.errors import AbsentValue
from graft.plan import Block, ErrorRecord, Param
from graft.security.sealing import Sealer

CACHED_MAPS: Final = 64

_raw_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_json = msgspec.json.Decoder().decode


class MapItems:
    """The items of a map, each still JSON. `keys` is set when a table was mapped."""

    def __init__(self, data: bytes) -> None:
        keys, items = msgspec.json.decode(data, type=tuple[list[str] | None, list[msgspec.Raw]])
        self.keys: list[str] | None = keys
        self._items = items

    def item(self, index: int) -> Any:
        return _json(self._items[index])

    def index(self, index: int) -> int | str:
        return index if self.keys is None else self.keys[index]


def encode_items(items: list[Any] | dict[str, Any]) -> tuple[bytes, int]:
    """The stored form of what a map is over, and how many items it has."""
    keys, values = (list(items), list(items.values())) if isinstance(items, dict) else (None, items)
    return msgspec.json.encode((keys, values)), len(values)


class Values:
    """Look-ups for the steps that a process runs, and for the expressions that it decides."""

    def __init__(self, state: State, view: StateView) -> None:
        self._state = state
        self._view = view
        self.plans = state.plans  # indexed plans by hash, shared with the engine
        self.sealer = Sealer()  # of the process; without a key it seals nothing
        self._items: OrderedDict[tuple[int, int], MapItems] = OrderedDict()

    def rebase(self, state: State) -> None:
        """Another state took the place of the one that was read until now."""
        self._state = state
        self.plans = state.plans
        self._items.clear()

    def lookup(self, run: int, scope: int, ordinal: int) -> Lookup:
        return Lookup(self, run, scope, ordinal)

    def scope(self, run: int, no: int) -> Scope:
        scope = self._state.scopes.get((run, no)) or self._view.scope(run, no)
        assert scope is not None, f"run {run} has no scope {no}"
        return scope

    def step(self, run: int, scope: int, ordinal: int) -> Step | None:
        return self._state.steps.get((run, scope, ordinal)) or self._view.step(run, scope, ordinal)

    def run(self, run: int) -> Run:
        found = self._state.runs.get(run) or self._view.run(run)
        assert found is not None, f"there is no run {run}"
        return found

    def graph(self, run: int, block: int) -> BlockGraph:
        return self.plans[self.run(run).plan].blocks[block]

    def items(self, run: int, scope: int) -> MapItems:
        key = (run, scope)
        items = self._items.get(key)
        if items is None:
            data = self._view.items(run, scope)
            assert data is not None, f"map {run}/{scope} has no items"
            items = self._items[key] = MapItems(data)
            if len(self._items) > CACHED_MAPS:
                self._items.popitem(last=False)
        return items

    def out(self, run: int, scope: int, ordinal: int) -> Any:
        """The result of a step. Those of a map and a group are put together from the steps in them.

        Raises AbsentValue when the step has not succeeded.
        """
        data = self._view.out(run, scope, ordinal)
        if data is not None:
            return _json(data)
        step = self.step(run, scope, ordinal)
        if step is None or step.status != "succeeded":
            raise AbsentValue("it has no result" if step is None else f"it was {step.status}, so it has no result")
        return None if step.child == NONE else self._collected(self.scope(run, step.child))

    def _collected(self, scope: Scope) -> Any:
        if scope.kind == "map":
            keys = self.items(scope.run, scope.no).keys
            outs = [self._out_or_none(scope, i) for i in range(scope.total)]
            return outs if keys is None else dict(zip(keys, outs, strict=True))
        graph = self.graph(scope.run, scope.block)
        if graph.block.outputs is not None:
            return None
        return {
            node.name: self._out_or_none(scope, i)
            for i, node in enumerate(graph.nodes[: graph.body])
            if (step := self.step(scope.run, scope.no, i)) is not None and step.status == "succeeded"
        }

    def errors(self, run: int, step: Step | None) -> list[Any] | dict[str, Any]:
        """Of every item of a map its error, or None; in the shape of the map's result. Empty when it never began."""
        if step is None or step.child == NONE:
            return []
        scope = self.scope(run, step.child)
        found = [None if item is None or item.error is None else error_table(item.error) for item in self._steps(scope)]
        keys = self.items(run, scope.no).keys
        return found if keys is None else dict(zip(keys, found, strict=True))

    def _steps(self, scope: Scope) -> Iterator[Step | None]:
        for ordinal in range(scope.total):
            yield self.step(scope.run, scope.no, ordinal)

    def _out_or_none(self, scope: Scope, ordinal: int) -> Any:
        try:
            return self.out(scope.run, scope.no, ordinal)
        except AbsentValue:
            return None

    def sealed(self, run_id: str, block: Block, values: Mapping[str, Any]) -> dict[str, Any]:
        """Params of a flow as they may be kept. Raises UsageError when a secret one has no key to be sealed with."""
        return secret_params.seal(self.sealer, run_id, block.params, values)

    def run_table(self, run_no: int, scope_no: int) -> dict[str, Any]:
        run, scope = self.run(run_no), self.scope(run_no, scope_no)
        started = datetime.fromtimestamp(run.started_wall / 1000, UTC).isoformat(timespec="milliseconds")
        error = scope.errors[0] if scope.errors else None
        return {
            "id": run.id,
            "name": run.name,
            "generation": run.generation,
            "started_at": started,
            "status": scope.outcome or "running",
            "error": None if error is None or scope.outcome == "succeeded" else error_table(error),
        }


def error_table(error: ErrorRecord) -> dict[str, Any]:
    """An error as expressions see it."""
    return attrs.asdict(error) | {"cause": [error_table(each) for each in error.cause]}


class Lookup:
    """`lookup(name)` for the expressions of one step (ordinal NONE: of the scope itself)."""

    __slots__ = ("_ordinal", "_run", "_scope", "_values")

    def __init__(self, values: Values, run: int, scope: int, ordinal: int) -> None:
        self._values = values
        self._run, self._scope, self._ordinal = run, scope, ordinal

    def __call__(self, name: str) -> Any:
        head, _, attribute = name.partition(".")
        if attribute:
            return self._node(head, attribute)
        if head == "params":
            return self._params()
        if head == "run":
            return self._values.run_table(self._run, self._flow_scope().no)
        return self._item(head)

    def _parents(self) -> Iterator[tuple[Scope, int]]:
        """`(scope, ordinal within it)` outwards from the step."""
        no, ordinal = self._scope, self._ordinal
        while no != NONE:
            scope = self._values.scope(self._run, no)
            yield scope, ordinal
            no, ordinal = scope.parent_scope, scope.parent_ordinal

    def block(self, index: int) -> Block:
        """Block `index` of the run's plan."""
        return self._graph(index).block

    def _graph(self, index: int) -> BlockGraph:
        return self._values.graph(self._run, index)

    def _block(self, scope: Scope) -> BlockGraph:
        return self._graph(scope.block)

    def _flow_scope(self) -> Scope:
        for scope, _ in self._parents():
            if scope.kind == "body" and self._block(scope).block.kind == "flow":
                return scope
        raise AssertionError("a run without a flow")

    def _params(self) -> Any:
        flow, kept = self._kept_params()
        if not any(param.secret for param in flow):
            return kept
        return secret_params.unseal(self._values.sealer, self.run_id, flow, kept)

    def shown_params(self) -> dict[str, Any]:
        """The params as they may be shown: no secret one is opened."""
        return secret_params.hide(*self._kept_params())

    @property
    def run_id(self) -> str:
        return self._values.run(self._run).id

    def hidden(self) -> frozenset[str]:
        """Texts of the secret params that the flow of the step was given: what is made of them must not be kept."""
        flow = self._block(self._flow_scope()).block.params
        if not any(param.secret for param in flow):
            return secret_params.NOTHING
        return secret_params.texts(self._values.sealer, self.run_id, *self._kept_params())

    def _kept_params(self) -> tuple[tuple[Param, ...], dict[str, Any]]:
        """The params of the flow of the step, and their values as they are kept."""
        scope = self._flow_scope()
        data = self._values._view.params(self._run, scope.no)
        return self._block(scope).block.params, {} if data is None else _json(data)

    def _item(self, name: str) -> Any:
        for scope, ordinal in self._parents():
            if scope.kind == "map":
                for_each = self._block(scope).nodes[scope.node].for_each
                assert for_each is not None
                items = self._values.items(self._run, scope.no)
                if name == "index":
                    return items.index(ordinal)
                if name == for_each.name:
                    return items.item(ordinal)
        raise AbsentValue(f"there is no {name} here")

    def _node(self, name: str, attribute: str) -> Any:
        for scope, _ in self._parents():
            if scope.kind == "map":
                continue
            block = self._block(scope)
            ordinal = block.ordinals.get(name)
            if ordinal is not None:
                return self._attribute(scope.no, ordinal, attribute)
            if block.block.kind == "flow":
                break
        raise AbsentValue(f"there is no node {name} here")

    def _attribute(self, scope: int, ordinal: int, attribute: str) -> Any:
        if attribute == "out":
            return self._values.out(self._run, scope, ordinal)
        step = self._values.step(self._run, scope, ordinal)
        match attribute:
            case "status":
                return "pending" if step is None else step.status
            case "attempts":
                return 0 if step is None else step.attempt
            case "errors":
                return self._values.errors(self._run, step)
            case "error":
                return None if step is None or step.error is None else error_table(step.error)
        raise AbsentValue(f"a node has no {attribute}")


__all__ = ["Lookup", "MapItems", "Values", "encode_items", "error_table"]
