"""`python -m graft.sim`: sweeps, replays, shrinking, the bug bank.

::

    python -m graft.sim --seeds 0:500 --jobs 2       run seeds; exit code 1 when a promise broke or a fault never struck
    python -m graft.sim --fresh 300                  the same with seeds that nobody has tried
    python -m graft.sim --replay 4711                one seed, its plan, the last of its trace
    python -m graft.sim --replay '{"seed":…}'        one plan, as a failure prints it
    python -m graft.sim --shrink 4711                the least that fails in the same way, as one line to replay
    python -m graft.sim --bugs --jobs 2              hunt the planted bugs in nine ranges of seeds, print the table
    … --bug 14                                       with that bug planted (replay, shrink)
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from graft.sim.bugbank import BUGS, BY_NAME, KINDS, Bug, planted, shipped
from graft.sim.faults import Plan, draw, loads
from graft.sim.shrink import shrink
from graft.sim.sweep import Hunt, Summary, hunt_all, sweep
from graft.sim.world import Result, run

RANGES = 9
END = "<!-- end measured -->"


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.bugs:
        return _bugs(options)
    if options.replay or options.shrink:
        return _one(options)
    return _sweep(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m graft.sim", description="Simulate Raft clusters.")
    parser.add_argument("--seeds", metavar="A:B", default="0:200", help="seeds A to B-1")
    parser.add_argument("--fresh", metavar="N", type=int, help="N seeds that nobody has tried")
    parser.add_argument("--jobs", metavar="N", type=int, default=1, help="processes")
    parser.add_argument("--replay", metavar="SEED|PLAN", help="run one seed or plan and show its trace")
    parser.add_argument("--shrink", metavar="SEED|PLAN", help="find the least that fails in the same way")
    parser.add_argument("--trace", metavar="N", type=int, default=40, help="records of the trace to show; 0: all")
    parser.add_argument("--hash", action="store_true", help="show only the hash of the trace")
    parser.add_argument("--bug", metavar="NAME", choices=sorted(BY_NAME), help="plant this bug")
    parser.add_argument("--bugs", action="store_true", help="hunt the planted bugs and print the table")
    parser.add_argument("--kinds", action="store_true", help="with --bugs: our own, of each kind, not the shipped ones")
    parser.add_argument("--only", metavar="NAMES", help="with --bugs: these alone, by comma")
    parser.add_argument("--ranges", metavar="N", type=int, default=RANGES, help="with --bugs: ranges of seeds")
    parser.add_argument("--limit", metavar="N", type=int, default=2_000, help="with --bugs: seeds a range")
    parser.add_argument("--table", metavar="FILE", type=Path, help="with --bugs: write the table into this page")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    return parser


# -- sweeps --------------------------------------------------------------------------------------------------------


def _sweep(options: argparse.Namespace) -> int:
    if options.fresh:
        first = int.from_bytes(os.urandom(5), "big")
        seeds = range(first, first + options.fresh)
    else:
        low, high = map(int, options.seeds.split(":"))
        seeds = range(low, high)
    print(f"seeds {seeds.start}:{seeds.stop}", flush=True)
    total = sweep(seeds, options.jobs, _progress(len(seeds)) if not options.quiet else lambda summary: None)
    return _report(total)


def _progress(count: int) -> Callable[[Summary], None]:
    told = 0

    def tell(summary: Summary) -> None:
        nonlocal told
        for seed, rule, _ in summary.failures[told:]:
            print(f"  seed {seed}: {rule}", flush=True)
        told = len(summary.failures)
        if summary.seeds % 1_000 < 25:
            print(f"  {summary.seeds} of {count}, {len(summary.failures)} failed", flush=True)

    return tell


def _report(total: Summary) -> int:
    for name, count in sorted(total.fired.items()):
        print(f"  {name:34} {count:>10,}")
    rate = total.events / total.seconds if total.seconds else 0
    print(f"{total.seeds:,} seeds, {total.events:,} events, {rate:,.0f} events a second and core")
    for seed, rule, text in total.failures:
        print(f"\nseed {seed}: {rule}: {text.strip()[:2000]}\n  python -m graft.sim --shrink {seed}")
    missing = total.missing()
    if missing:
        print(f"never happened: {', '.join(missing)}")
    return 1 if total.failures or missing else 0


# -- one run -------------------------------------------------------------------------------------------------------


def _one(options: argparse.Namespace) -> int:
    text = options.replay or options.shrink
    bug = BY_NAME[options.bug] if options.bug else None
    plan = loads(text) if text.startswith("{") else (bug.draw if bug else draw)(int(text))
    around: AbstractContextManager[None] = planted(bug) if bug else nullcontext()
    with around:
        keep = None if options.trace == 0 else options.trace
        result = run(plan, keep_trace=keep)
        if options.shrink and not result.ok:
            small = shrink(result, show=lambda smaller: print(f"  {len(smaller.faults)} faults", file=sys.stderr))
            result = run(small.plan, keep_trace=keep)
    if options.hash:
        print(result.trace_hash)
    else:
        _show(result, options.bug)
    return 0 if result.ok else 1


def _show(result: Result, bug: str | None) -> None:
    for record in result.records:
        print(" ".join(str(part) for part in record))
    print(f"{result.rule or 'held'}: {result.text.strip()}" if result.rule else "every promise held")
    print(f"{result.events:,} events, {result.virtual_us / 1e6:.3f} s of virtual time, trace {result.trace_hash}")
    print(replay_line(result.plan, bug))


def replay_line(plan: Plan, bug: str | None = None) -> str:
    """The command that runs this plan again."""
    return f"python -m graft.sim --replay {shlex.quote(plan.dumps())}" + (f" --bug {bug}" if bug else "")


# -- the bug bank --------------------------------------------------------------------------------------------------


def _bugs(options: argparse.Namespace) -> int:
    bank = [bug for bug in BUGS if (bug in shipped.BUGS) is not options.kinds and not bug.harmless]
    names = options.only.split(",") if options.only else [bug.name for bug in bank]
    tell = (lambda hunt: None) if options.quiet else _tell_hunt
    hunts = hunt_all(names, options.ranges, options.limit, options.jobs, tell)
    table = render_table(hunts, options.limit)
    print(table)
    if options.table:
        if options.kinds:
            table += f"\n\nNot counted, for they do no harm:\n\n{render_harmless()}"
        _write_table(options.table, table, "bug kinds" if options.kinds else "bug bank")
    return 1 if any(not hunt.seeds for hunt in hunts) else 0


def _write_table(page: Path, table: str, what: str) -> None:
    """Put the table between the page's marks. Raises ValueError when the page has none."""
    text, mark = page.read_text(), f"<!-- measured: {what} -->"
    before, found, rest = text.partition(mark)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        raise ValueError(f"{page} has no place for the table: {mark} … {END}")
    page.write_text(f"{before}{mark}\n{table}\n{END}{after}")


def _tell_hunt(hunt: Hunt) -> None:
    found = f"{hunt.seeds} seeds, {hunt.rule}" if hunt.seeds else "not found"
    print(f"  bug {hunt.bug} from {hunt.first}: {found}, {hunt.seconds:.1f} s", flush=True)


def render_table(hunts: list[Hunt], limit: int) -> str:
    """Markdown: a row a bug, with the median over the ranges. A range without a find counts as more than `limit`."""
    rows = [
        "| bug | | median seeds | least | most | found | seconds, longest search | seen as |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for kind, bugs in KINDS.items():
        found = [row for bug in bugs if (row := _row(bug, [hunt for hunt in hunts if hunt.bug == bug.name], limit))]
        if found:
            rows += [f"| | **{kind}** |{' |' * 6}", *found]
    return "\n".join(rows)


def _row(bug: Bug, mine: list[Hunt], limit: int) -> str:
    """The row of a bug that was hunted; empty for another one."""
    if not mine:
        return ""
    needed = sorted(hunt.seeds or limit + 1 for hunt in mine)
    rules = ", ".join(sorted({hunt.rule for hunt in mine if hunt.rule}))
    cells = [
        bug.name,
        bug.title,
        _count(statistics.median_low(needed), limit),
        _count(needed[0], limit),
        _count(needed[-1], limit),
        f"{sum(bool(hunt.seeds) for hunt in mine)}/{len(mine)}",
        f"{max(hunt.seconds for hunt in mine):.1f}",
        rules,
    ]
    return f"| {' | '.join(cells)} |"


def render_harmless() -> str:
    """Markdown: the edits that nobody can tell from the code as it is, each with the reason."""
    return "\n".join(f"* {bug.name}, {bug.title}: {bug.harmless}." for bug in BUGS if bug.harmless)


def _count(seeds: int, limit: int) -> str:
    return str(seeds) if seeds <= limit else f"> {limit}"


if __name__ == "__main__":
    sys.exit(main())
