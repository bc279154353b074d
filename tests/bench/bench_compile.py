"""How long it takes to compile a flow of 10,000 nodes, each with one expression. The aim: at most 1 s of CPU.

    python tests/bench/bench_compile.py [--nodes 10000] [--profile]

The floor beside each figure is tomli alone reading the same text.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import pstats
import time
from collections.abc import Callable

import tomli

from graft_dsl import compile_text


def chain(nodes: int) -> str:
    """Each node reads the one before."""
    first = '[nodes.n0]\npython = "m:f"\n'
    return first + "".join(
        f'[nodes.n{i}]\npython = "m:f"\nwith = {{ x = "${{ n{i - 1}.out }}" }}\n' for i in range(1, nodes)
    )


def wide(nodes: int) -> str:
    """Nobody waits for anybody; each expression computes something."""
    params = '[params.x]\ntype = "int"\n'
    return params + "".join(
        f'[nodes.n{i}]\npython = "m:f"\nwith = {{ x = "${{ params.x + {i} }}" }}\n' for i in range(nodes)
    )


def groups(nodes: int) -> str:
    """Groups of ten, each node of which reads one outside."""
    text = '[nodes.start]\npython = "m:f"\n'
    for i in range(nodes // 10):
        for j in range(10):
            text += f'[nodes.g{i}.nodes.n{j}]\nvalue = "${{ start.out }}"\n'
    return text


def conditional(nodes: int) -> str:
    """Every node may be skipped, and joins the two before."""
    text = '[params.x]\ntype = "int"\n[nodes.n0]\nvalue = 1\n[nodes.n1]\nvalue = 1\n'
    for i in range(2, nodes):
        value = f"${{ default(n{i - 1}.out, 0) + default(n{i - 2}.out, 0) }}"
        text += f'[nodes.n{i}]\nwhen = "params.x > {i}"\nvalue = "{value}"\n'
    return text


def seconds(work: Callable[[], object]) -> float:
    gc.collect()
    gc.disable()
    start = time.process_time()
    work()
    taken = time.process_time() - start
    gc.enable()
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    compile_text(chain(10))
    for shape in (chain, wide, groups, conditional):
        text = shape(options.nodes)
        if options.profile:
            profile = cProfile.Profile()
            profile.runcall(compile_text, text)
            pstats.Stats(profile).sort_stats("tottime").print_stats(15)
        best = min(seconds(lambda text=text: compile_text(text)) for _ in range(3))
        floor = seconds(lambda text=text: tomli.loads(text))
        print(f"{shape.__name__:12} {options.nodes} nodes: {best:.2f} s CPU (tomli alone {floor:.2f} s)")


if __name__ == "__main__":
    main()
