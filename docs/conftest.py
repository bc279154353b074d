"""Runs the code blocks of these pages, in order, each page in a directory of its own with a copy of `examples/`.

=======================  ===============================================================================
``sh``                   run by bash; must exit with 0, or with N where the block is opened as ``sh exit=N``
``sh terminal``          run beside the blocks after it, as in a terminal of its own
``sh until=TEXT``        the same, and the block after it begins when this one has printed TEXT
``sh not-run``           left alone
``text``                 what the ``sh`` block before it printed, standard error included; `…` stands for anything
``LANGUAGE file=PATH``   written to PATH
``toml config``          a member's configuration: `graft config check` has nothing to say about it
=======================  ===============================================================================

Every other block is an illustration. What runs in terminals gets a Ctrl-C when the page ends, and is killed when that
does not end it.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sybil import Document, Example, Region, Sybil
from sybil.parsers.markdown.lexers import RawFencedCodeBlockLexer

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 60
STOP_SECONDS = 20
SHELL = ["bash", "-euo", "pipefail", "-c"]
fences = RawFencedCodeBlockLexer(re.compile(r"(?P<language>\w+)[ \t]*(?P<attributes>[^\n]*)\n"))


def blocks(document: Document) -> Iterator[Region]:
    for region in fences(document):
        language, attributes = region.lexemes["language"], region.lexemes["attributes"]
        region.parsed = region.lexemes["source"]
        if attributes.startswith("file="):
            region.evaluator = write
        elif language == "sh" and (attributes == "terminal" or attributes.startswith("until=")):
            region.evaluator = open_terminal
        elif language == "toml" and attributes == "config":
            region.evaluator = check_config
        elif language == "sh" and attributes != "not-run":
            region.evaluator = run
        elif language == "text" and not attributes:
            region.evaluator = compare
        else:
            continue
        yield region


def write(example: Example) -> None:
    path = example.namespace["directory"] / example.region.lexemes["attributes"].removeprefix("file=")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(example.parsed, encoding="utf-8")


def run(example: Example) -> None:
    expected = int(example.region.lexemes["attributes"].removeprefix("exit=") or 0)
    done = subprocess.run(
        [*SHELL, example.parsed],
        cwd=example.namespace["directory"],
        env=environment(example.namespace["directory"]),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=SECONDS,
        text=True,
    )
    example.namespace["output"] = done.stdout
    if done.returncode != expected:
        raise AssertionError(f"exit code {done.returncode}, expected {expected}:\n{done.stdout}")


def open_terminal(example: Example) -> None:
    """A process group of its own, with its output in a file."""
    directory, terminals = example.namespace["directory"], example.namespace["terminals"]
    path = Path(example.namespace["temporary"].name + f".terminal-{len(terminals)}")
    with path.open("w") as output:
        process = subprocess.Popen(
            [*SHELL, example.parsed],
            cwd=directory,
            env=environment(directory),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    terminals.append((process, path))
    wanted = example.region.lexemes["attributes"].removeprefix("terminal").removeprefix("until=")
    deadline = time.monotonic() + SECONDS
    while wanted not in path.read_text():
        if time.monotonic() > deadline or process.poll() is not None:
            raise AssertionError(f"it has not printed {wanted!r} (exit code {process.poll()}):\n{path.read_text()}")
        time.sleep(0.1)


def close_terminal(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGINT, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
            return


def check_config(example: Example) -> None:
    """As it stands, and fit to be served."""
    with TemporaryDirectory() as directory:
        (Path(directory) / "graft.toml").write_text(example.parsed, encoding="utf-8")
        done = subprocess.run(
            ["graft", "config", "check", "--no-certs", "graft.toml"],
            cwd=directory,
            env=environment(Path(directory)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=SECONDS,
            text=True,
        )
    if done.stdout != "graft.toml: ok\n":
        raise AssertionError(done.stdout)


def compare(example: Example) -> None:
    wanted, got = example.parsed.strip(), example.namespace["output"].strip()
    pattern = ".*".join(map(re.escape, wanted.split("…")))
    if re.fullmatch(pattern, got, re.DOTALL) is None:
        raise AssertionError(f"the page says:\n{wanted}\n\nit printed:\n{got}")


def environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GRAFT", "PYTHON"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return kept | {"PATH": path, "HOME": str(home), "NO_COLOR": "1", "COLUMNS": "100", "LC_ALL": "C.UTF-8"}


def set_up(namespace: dict[str, Any]) -> None:
    namespace["temporary"] = TemporaryDirectory(prefix="graft-docs-")
    namespace["directory"] = Path(namespace["temporary"].name)
    namespace["terminals"] = []
    (namespace["directory"] / ".venv").mkdir()  # where a reader has it
    (namespace["directory"] / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    shutil.copytree(ROOT / "examples", namespace["directory"] / "examples", ignore=shutil.ignore_patterns("out"))


def tear_down(namespace: dict[str, Any]) -> None:
    for process, path in reversed(namespace["terminals"]):
        close_terminal(process)
        path.unlink()
    namespace["temporary"].cleanup()


pytest_collect_file = Sybil(
    parsers=[blocks], patterns=["*.md"], excludes=["_build/**"], setup=set_up, teardown=tear_down
).pytest()
