"""Hypothesis strategies for plans: every record, every field, acyclic edges, trees and types of every form."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from graft.plan import (
    JOINS,
    Action,
    Block,
    Catch,
    ExecAction,
    FailAction,
    FlowAction,
    ForEach,
    GroupAction,
    HttpAction,
    Node,
    Param,
    Plan,
    PythonAction,
    Retry,
    RunAction,
    Secret,
    SleepAction,
    ValueAction,
)
from tests.support.trees import json_values, short_texts, trees

names = st.from_regex(r"[a-z][a-z0-9_]{0,6}", fullmatch=True)
millis = st.integers(0, 10**12)
outputs = st.sampled_from(["none", "text", "lines", "json", "file"])
patterns = st.sampled_from(["*", "timeout", "exit.1", "http.5xx", "python.Declined"])
types: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(
        ["string", "int", "float", "bool", "date", "datetime", "duration", "bytes", "record", "any", "none"]
    ),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["list", "table", "optional"]), inner),
        st.lists(st.tuples(names, inner), max_size=2).map(lambda fields: ("record", tuple(fields))),
        st.lists(short_texts | st.integers(), min_size=1, max_size=2).map(lambda values: ("enum", tuple(values))),
    ),
    max_leaves=4,
)
small_trees = trees(depth=1)
tables = st.lists(st.tuples(names.map(lambda name: ("const", name)), small_trees), max_size=2).map(
    lambda pairs: ("dict", *pairs)
)
labels = st.dictionaries(names, short_texts, max_size=2).map(lambda found: tuple(sorted(found.items())))

_process: dict[str, Any] = {
    "env": tables,
    "stdin": st.none() | small_trees,
    "output": outputs,
    "output_path": st.none() | short_texts,
    "cwd": st.none() | short_texts,
}
leaf_actions: st.SearchStrategy[Action] = st.one_of(
    st.builds(RunAction, command=short_texts, **_process),
    st.builds(ExecAction, argv=small_trees, **_process),
    st.builds(PythonAction, target=short_texts, with_=tables, isolation=st.sampled_from(["thread", "process"])),
    st.builds(
        HttpAction,
        url=small_trees,
        method=st.sampled_from(["GET", "POST"]),
        headers=tables,
        query=tables,
        bearer=st.none() | small_trees,
        json=st.none() | small_trees,
        body=st.none() | small_trees,
        output=outputs,
    ),
    st.builds(SleepAction, duration=small_trees),
    st.builds(ValueAction, value=small_trees),
    st.builds(FailAction, message=small_trees, type=short_texts),
)
retries = st.builds(
    Retry,
    attempts=st.integers(1, 50),
    initial_ms=millis,
    factor=st.floats(1, 10),
    max_ms=millis,
    jitter=st.booleans(),
    on=st.lists(patterns, max_size=2).map(tuple),
    never=st.lists(patterns, max_size=2).map(tuple),
    then=st.sampled_from(["fail", "pause", "pause_on"]),
    max_lost=st.integers(0, 20),
)
for_eaches = st.builds(
    ForEach,
    items=small_trees,
    name=names,
    max_parallel=st.none() | st.integers(1, 100),
    tolerate=st.integers(0, 100),
    tolerate_percent=st.booleans(),
)
params = st.builds(
    Param,
    name=names,
    type=types,
    default=st.none() | json_values.map(json.dumps),
    doc=short_texts,
    pattern=st.none() | short_texts,
    min=st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    max=st.none() | st.integers(),
    values=st.lists(short_texts, max_size=2).map(tuple),
    secret=st.booleans(),
)
secrets = st.builds(Secret, name=names, source=st.sampled_from(["env", "file"]), ref=short_texts)


@st.composite
def nodes(draw: st.DrawFn, name: str, before: list[str], action: Action | None = None) -> Node:
    """A node that may need only the nodes `before`."""
    edges = draw(st.lists(st.sampled_from(before), unique=True, max_size=3)) if before else []
    cut = draw(st.integers(0, len(edges)))
    return Node(
        name=name,
        action=action or draw(leaf_actions),
        needs=tuple(sorted(edges[:cut])),
        after=tuple(sorted(edges[cut:])),
        join=draw(st.sampled_from(JOINS)),
        when=draw(st.none() | small_trees),
        for_each=draw(st.none() | for_eaches),
        on_failure=draw(st.sampled_from(["fail", "continue"])),
        catch=tuple(Catch((draw(patterns),), each) for each in edges[:1] if draw(st.booleans())),
        ends=draw(st.sampled_from([None, "failed"])),
        retry=draw(st.none() | retries),
        timeout_ms=draw(st.none() | millis),
        total_timeout_ms=draw(st.none() | millis),
        returns=draw(st.none() | types),
        doc=draw(short_texts),
        labels=draw(labels),
        runs_on=draw(labels),
    )


@st.composite
def blocks(draw: st.DrawFn, kind: str, inner: list[Action], max_nodes: int = 3) -> Block:
    """A block with one node for each of the scope actions `inner`, and a few others."""
    named = draw(st.lists(names, unique=True, min_size=len(inner), max_size=len(inner) + max_nodes))
    made: list[Node] = []
    for index, name in enumerate(named):
        made.append(draw(nodes(name, [each.name for each in made], inner[index] if index < len(inner) else None)))
    flow = kind == "flow"
    return Block(
        kind="flow" if flow else "group",
        name=draw(names),
        nodes=tuple(made),
        finals=(draw(nodes("last", [])),) if draw(st.booleans()) else (),
        params=tuple(draw(st.lists(params, max_size=2))) if flow else (),
        secrets=tuple(draw(st.lists(secrets, max_size=1))) if flow else (),
        outputs=draw(st.none() | tables) if flow else None,
        timeout_ms=draw(st.none() | millis),
    )


@st.composite
def plans(draw: st.DrawFn, max_blocks: int = 3) -> Plan:
    """A plan whose blocks form a chain or a tree: every block but the root is named by one before it."""
    kinds = ["flow", *draw(st.lists(st.sampled_from(["flow", "group"]), max_size=max_blocks - 1))]
    owners: list[list[Action]] = [[] for _ in kinds]
    for index, kind in enumerate(kinds[1:], 1):
        owner = draw(st.integers(0, index - 1))
        owners[owner].append(FlowAction(index, draw(tables)) if kind == "flow" else GroupAction(index))
    return Plan(
        name=draw(names),
        blocks=tuple(draw(blocks(kind, inner)) for kind, inner in zip(kinds, owners, strict=True)),
        version=draw(short_texts),
        doc=draw(short_texts),
        labels=draw(labels),
    )
