"""What expressions cost: reading, checking, compiling, evaluating. Microseconds, the best of several rounds.

    python tests/bench/bench_expressions.py

The floor beside the evaluation is the same expression as a compiled Python lambda over the same values.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable
from typing import Any

from graft.errors import BudgetExceeded
from graft.expressions import compile_tree
from graft.plan.types import parse_type
from graft_dsl.expressions import Scope, check, parse_expression, parse_template

ROWS = [{"sku": f"s{index}", "count": index, "price": 1.5} for index in range(10_000)]
VALUES: dict[str, Any] = {
    "item": {"id": 7, "name": "seven"},
    "params": {"n": 3, "who": "Ann"},
    "fetch.out": {"total": 12, "risk": 0.5},
    "rows.out": ROWS,
}
SCOPE = Scope(
    {
        "item": parse_type({"id": "int", "name": "string"}),
        "params": parse_type({"n": "int", "who": "string"}),
        "fetch.out": parse_type({"total": "int", "risk": "float"}),
        "rows.out": parse_type([{"sku": "string", "count": "int", "price": "float"}]),
    },
    nodes=["fetch", "rows"],
)

CASES: list[tuple[str, Callable[[dict[str, Any]], Any]]] = [
    ("${ item }", lambda v: v["item"]),
    ("${ item.id }", lambda v: v["item"]["id"]),
    ("${ params.n + 1 }", lambda v: v["params"]["n"] + 1),
    ("${ fetch.out.total / params.n > 2 and fetch.out.risk < 0.8 }", lambda v: v["fetch.out"]["total"] / 3 > 2),
    ("Order ${ item.id } of ${ params.who }", lambda v: f"Order {v['item']['id']} of {v['params']['who']}"),
    ("${ default(fetch.out.missing, 0) }", lambda v: v["fetch.out"].get("missing", 0)),
    ("${ sum(r.count for r in rows.out) }", lambda v: sum(r["count"] for r in v["rows.out"])),
    (
        "${ [{'sku': upper(r.sku), 'total': r.count * r.price} for r in rows.out if r.count > 3] }",
        lambda v: [
            {"sku": r["sku"].upper(), "total": r["count"] * r["price"]} for r in v["rows.out"] if r["count"] > 3
        ],
    ),
]


def microseconds(work: Callable[[], Any]) -> float:
    timer = timeit.Timer(work)
    number = max(1, int(0.02 / max(timer.timeit(1), 1e-6)))
    return min(timer.repeat(5, number)) / number * 1e6


def main() -> None:
    print(f"{'read':>9} {'check':>9} {'compile':>9} {'evaluate':>12} {'floor':>12}   microseconds")
    for text, floor in CASES:
        print("{:9.1f} {:9.1f} {:9.1f} {:12.2f} {:12.2f}   {}".format(*figures(text, floor), text))
    program = compile_tree(parse_expression("[x for x in range(1000) for y in range(1000)]").tree)
    refused = min(timeit.repeat(lambda: _refused(program), number=1, repeat=3))
    print(f"an evaluation that runs into its budget: {refused * 1e3:.0f} ms")


def figures(text: str, floor: Callable[[dict[str, Any]], Any]) -> tuple[float, float, float, float, float]:
    parsed = parse_template(text)
    assert not parsed.problems
    program = compile_tree(parsed.tree)
    lookup = VALUES.__getitem__
    return (
        microseconds(lambda: parse_template(text)),
        microseconds(lambda: check(parsed, SCOPE)),
        microseconds(lambda: compile_tree(parsed.tree)),
        microseconds(lambda: program(lookup)),
        microseconds(lambda: floor(VALUES)),
    )


def _refused(program: Any) -> None:
    try:
        program(VALUES.__getitem__)
    except BudgetExceeded:
        return
    raise AssertionError("not refused")


if __name__ == "__main__":
    main()
