"""`python -m tests.mutation [--room engine] [--sample 60 --seed N] [--jobs 2] [--only TEXT]`: what do tests not see?

Every mutant is tried in a fork of one pytest process, which imported and collected everything once. It runs the tests
that enter the changed function, those first that have found most, and ends with the first that fails. A mutant that
passes all of them survives: a test is missing, or it is equivalent and stands in `equivalents.toml` with the reason.
Tests draw the same examples every time, so the same source gives the same survivors.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import sys
import time
import tomllib
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from tests.mutation.mutants import Mutant, find_mutants

ROOT = Path(__file__).resolve().parents[2]
EQUIVALENTS = Path(__file__).with_name("equivalents.toml")
NOT_MUTATED = {"invariants.py"}  # tests of the state: they only see
NOT_RUN = ["test_planted_bugs.py"]  # a test that fails is what these expect
MEMORY = 4 << 30
SURVIVED, KILLED = 0, 1


class Hunt:
    """The pytest plugin that takes the place of the run of the tests."""

    def __init__(self, mutants: list[Mutant], jobs: int) -> None:
        self.mutants, self.jobs = mutants, jobs
        self.survivors: list[Mutant] = []
        self.seconds: dict[str, float] = {}  # by test, of CPU
        self.entered: dict[str, set[str]] = {}  # by test: "file function"
        self.found: Counter[str] = Counter()  # mutants by test

    def pytest_sessionstart(self) -> None:
        from hypothesis import Phase, settings  # now: pytest rewrites its assertions

        calm = [Phase.explicit, Phase.generate]
        settings.register_profile("mutation", settings(), derandomize=True, database=None, phases=calm)
        settings.load_profile("mutation")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        session.items = [item for item in session.items if item.path.name not in NOT_RUN]
        self._measure(session)
        waiting, running = list(reversed(self.mutants)), dict[int, tuple[Mutant, int]]()
        while waiting or running:
            while waiting and len(running) < self.jobs:
                mutant = waiting.pop()
                child, answer = self._fork(lambda write, mutant=mutant: self._try(session, mutant, write))  # type: ignore[misc]
                running[child] = (mutant, answer)
            child, status = os.wait()
            mutant, answer = running.pop(child)
            with os.fdopen(answer) as file:
                killer = file.read()
            self._judge(mutant, status, killer)
            tried = len(self.mutants) - len(waiting) - len(running)
            if tried % 50 == 0:
                print(f"{tried} of {len(self.mutants)} tried, {len(self.survivors)} survived", flush=True)
        return True

    def _judge(self, mutant: Mutant, status: int, killer: str) -> None:
        if os.waitstatus_to_exitcode(status) == SURVIVED:
            self.survivors.append(mutant)
            print(f"SURVIVED {mutant.path.name}:{mutant.line} {mutant.name}", flush=True)
        elif killer:
            self.found[killer] += 1

    @staticmethod
    def _fork(work: Any) -> tuple[int, int]:
        """Run `work(write end)` in a child; its process id and the end of the pipe that its answer comes from."""
        read, write = os.pipe()
        child = os.fork()
        if child:
            os.close(write)
            return child, read
        code = KILLED
        try:
            null = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(null, stream)
            code = work(write)
        finally:
            os._exit(code)

    def _measure(self, session: pytest.Session) -> None:
        """Run everything once without a mutant: what takes how long and enters what."""
        child, answer = self._fork(lambda write: self._run_all(session, write))
        with os.fdopen(answer) as file:
            told = file.read()
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) != SURVIVED:
            pytest.exit(f"the tests fail without a mutant: {told}", 1)
        for test, seconds, entered in json.loads(told):
            self.seconds[test], self.entered[test] = seconds, set(entered)
        print(f"{len(self.seconds)} tests, {sum(self.seconds.values()):.1f} s of CPU", flush=True)

    def _run_all(self, session: pytest.Session, write: int) -> int:
        told = []
        for item in session.items:
            began, entered = time.process_time(), set[str]()

            def note(frame: FrameType, event: str, _: object, entered: set[str] = entered) -> None:
                if event == "call":
                    entered.add(f"{frame.f_code.co_filename} {frame.f_code.co_qualname}")

            sys.setprofile(note)
            failed = not _passes(session, item)
            sys.setprofile(None)
            if failed:
                os.write(write, item.nodeid.encode())
                return KILLED
            ours = sorted(each for each in entered if each.startswith(f"{ROOT}/graft/"))
            told.append((item.nodeid, time.process_time() - began, ours))
        with os.fdopen(write, "w") as file:
            json.dump(told, file)
        return SURVIVED

    def _try(self, session: pytest.Session, mutant: Mutant, write: int) -> int:
        place = f"{mutant.path} {mutant.function}"
        items = [item for item in session.items if place in self.entered[item.nodeid]]
        if not items:
            return SURVIVED
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        mutant.apply()
        for item in sorted(items, key=lambda item: self.seconds[item.nodeid] / (1 + self.found[item.nodeid])):
            # A loop that does not end: the signal ends the process.
            signal.setitimer(signal.ITIMER_PROF, 2 + 3 * self.seconds[item.nodeid])
            if not _passes(session, item):
                os.write(write, item.nodeid.encode())
                return KILLED
        return SURVIVED


def _passes(session: pytest.Session, item: pytest.Item) -> bool:
    session.testsfailed = 0
    session.shouldfail = False
    session.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
    return not session.testsfailed


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation")
    parser.add_argument("--room", default="engine")
    parser.add_argument("--sample", type=int, help="so many mutants, drawn with the seed; all, if not given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", default="", help="mutants whose name contains this text")
    asked = parser.parse_args(arguments)
    files = [file for file in sorted((ROOT / "graft" / asked.room).glob("*.py")) if file.name not in NOT_MUTATED]
    every = [mutant for file in files for mutant in find_mutants(file, ROOT)]
    equivalents: dict[str, str] = tomllib.loads(EQUIVALENTS.read_text())
    room = f"graft/{asked.room}/"
    if gone := sorted({name for name in equivalents if name.startswith(room)} - {mutant.name for mutant in every}):
        print("equivalents.toml names what is no mutant (any more):", *gone, sep="\n  ", file=sys.stderr)
        return 2
    mutants = [mutant for mutant in every if mutant.name not in equivalents and asked.only in mutant.name]
    if asked.sample is not None:
        mutants = random.Random(asked.seed).sample(mutants, min(asked.sample, len(mutants)))
    print(f"{len(every)} mutants, {len(every) - len(mutants)} of them equivalent or not asked for", flush=True)
    hunt = Hunt(mutants, asked.jobs)
    quiet = ["-q", "-s", "--no-header", "-o", "faulthandler_timeout=0"]
    if code := pytest.main([*quiet, str(ROOT / "tests" / asked.room)], plugins=[hunt]):
        return int(code)
    report(mutants, hunt.survivors)
    return int(bool(hunt.survivors))


def report(mutants: list[Mutant], survivors: list[Mutant]) -> None:
    tried = Counter(mutant.path.name for mutant in mutants)
    left = Counter(mutant.path.name for mutant in survivors)
    print(f"\n{'file':<16} mutants  survived")
    for name in sorted(tried):
        print(f"{name:<16} {tried[name]:>7}  {left[name]:>8}")
    print(f"{'all':<16} {len(mutants):>7}  {len(survivors):>8}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
