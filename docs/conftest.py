"""Runs the code blocks of these pages, in order, each page in a directory of its own with a copy of `examples/`.

=======================  ===============================================================================
``sh``                   run by bash; must exit with 0, or with N where the block is opened as ``sh exit=N``
``sh not-run``           left alone
``text``                 what the ``sh`` block before it printed, standard error included; `…` stands for anything
``LANGUAGE file=PATH``   written to PATH
=======================  ===============================================================================

Every other block is an illustration.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sybil import Document, Example, Region, Sybil
from sybil.parsers.markdown.lexers import RawFencedCodeBlockLexer

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 60
fences = RawFencedCodeBlockLexer(re.compile(r"(?P<language>\w+)[ \t]*(?P<attributes>[^\n]*)\n"))


def blocks(document: Document) -> Iterator[Region]:
    for region in fences(document):
        language, attributes = region.lexemes["language"], region.lexemes["attributes"]
        region.parsed = region.lexemes["source"]
        if attributes.startswith("file="):
            region.evaluator = write
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
        ["bash", "-euo", "pipefail", "-c", example.parsed],
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
    shutil.copytree(ROOT / "examples", namespace["directory"] / "examples", ignore=shutil.ignore_patterns("out"))


def tear_down(namespace: dict[str, Any]) -> None:
    namespace["temporary"].cleanup()


pytest_collect_file = Sybil(
    parsers=[blocks], patterns=["*.md"], excludes=["_build/**"], setup=set_up, teardown=tear_down
).pytest()
