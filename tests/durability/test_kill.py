"""`kill -9` at random moments: what was recorded is never done again, and the end is as if nothing had happened.

Real processes: `graft run`, then `graft resume` until the run has ended. Every step writes a line when it runs. After
each kill the store is read, and from then on the steps that it calls succeeded may not write another line.

`GRAFT_KILLS` sets how many kills each flow gets (the issue's number is 50; CI takes fewer).
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from graft.cluster.history import open_history
from graft.errors import StorageError, UnknownRun

KILLS = int(os.environ.get("GRAFT_KILLS", "12"))

MODULE = """
import os, time

def _line(path, text):
    with open(path, "a") as file:
        file.write(text + "\\n")

async def link(log, name, value):
    _line(log, name)
    return value + 1

def square(log, value):
    _line(log, f"each[{value}]")
    return value * value
"""


def chain(length: int) -> str:
    lines = ['graft = 1\nname = "chain"\n[params.log]\ntype = "string"\n']
    for i in range(length):
        value = "0" if i == 0 else f'"${{ n{i - 1}.out }}"'
        lines.append(
            f'[nodes.n{i}]\npython = "killsteps:link"\n'
            f'with = {{ log = "${{ params.log }}", name = "n{i}", value = {value} }}\n'
        )
    lines.append(f'[outputs]\nresult = "${{ n{length - 1}.out }}"\n')
    return "\n".join(lines)


def wide(width: int) -> str:
    return f"""graft = 1
name = "wide"
[params.log]
type = "string"
[nodes.each]
for_each = "range({width})"
python = "killsteps:square"
with = {{ log = "${{ params.log }}", value = "${{ item }}" }}
[outputs]
result = "${{ each.out }}"
"""


class Victim:
    """One data directory, one run that is killed and resumed."""

    def __init__(self, directory: Path, flow: str) -> None:
        directory.mkdir()
        self.directory, self.data, self.log = directory, directory / "data", directory / "log"
        (directory / "killsteps.py").write_text(MODULE)
        self.flow = directory / "flow.toml"
        self.flow.write_text(flow)
        self.recorded: set[str] = set()
        self.lines_when_recorded: Counter[str] = Counter()

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "graft", *words, "--data", str(self.data)]

    def begin(self) -> subprocess.Popen[bytes]:
        return self._start("run", str(self.flow), "--id", "victim", "--log", str(self.log))

    def resume(self) -> subprocess.Popen[bytes]:
        return self._start("resume", "victim")

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.command(*words),
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def lines(self) -> Counter[str]:
        return Counter(self.log.read_text().splitlines() if self.log.exists() else ())

    def look(self) -> str | None:
        """Read the store as the dead process left it; the run's status, None while it was not recorded."""
        try:
            with open_history(self.data) as history:
                view = history.run_view("victim")
        except (UnknownRun, StorageError):
            return None
        steps = [each for step in view.steps for each in (step, *step.children)]
        done = {step.path for step in steps if step.status == "succeeded" and not step.children}
        assert self.recorded <= done, "a recorded success is gone"
        self.recorded = done
        self.lines_when_recorded = Counter({path: count for path, count in self.lines().items() if path in done})
        return view.status

    def check(self) -> None:
        now = self.lines()
        again = {path for path in self.recorded if now[path] != self.lines_when_recorded[path]}
        assert not again, f"ran again after their success was recorded: {sorted(again)}"


def torment(tmp_path: Path, flow: str, expected: object, longest: float) -> None:
    moments = random.Random(20261122)
    kills = runs = 0
    while kills < KILLS:
        victim = Victim(tmp_path / str(runs), flow)
        runs += 1
        status, process = None, victim.begin()
        while status not in ("succeeded", "failed", "cancelled", "timed_out"):
            # The last kills of the count are done; then the run may end undisturbed.
            try:
                process.communicate(timeout=moments.uniform(0.05, longest) if kills < KILLS else 120)
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
                process.communicate()
                kills += 1
            victim.check()
            status = victim.look()
            if status is None or status == "running":
                process = victim.begin() if status is None else victim.resume()
        assert status == "succeeded"
        assert outputs(victim) == expected
        victim.check()
    print(f"{kills} kills over {runs} runs")


def outputs(victim: Victim) -> object:
    shown = subprocess.run(
        victim.command("show", "victim", "--json"), cwd=victim.directory, capture_output=True, check=True
    )
    return json.loads(shown.stdout.splitlines()[0])["outputs"]["result"]


@pytest.mark.slow
def test_a_chain_of_200_steps(tmp_path: Path) -> None:
    torment(tmp_path, chain(200), 200, 0.9)


@pytest.mark.slow
def test_a_map_of_1000_items(tmp_path: Path) -> None:
    torment(tmp_path, wide(1000), [i * i for i in range(1000)], 0.9)
