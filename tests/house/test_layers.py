"""The import contracts of pyproject.toml: kept by the tree, and each seen to break on a planted import."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
NAMES = {contract["id"]: contract["name"] for contract in CONTRACTS}
PURE = {"errors", "ids", "plan", "expressions", "queues", "resources", "raft", "engine"}

# (file to plant in, the line, the contract that must break). The other contracts may break too.
BREACHES = [
    ("graft/plan/records.py", "import graft.engine", "layers"),
    ("graft/errors.py", "import graft.plan", "layers"),
    ("graft/raft/__init__.py", "import graft.engine", "layers"),
    ("graft/worker/__init__.py", "import graft.storage", "layers"),
    ("graft/engine/__init__.py", "import graft.registry", "layers"),
    ("graft/cluster/__init__.py", "import graft.cli", "layers"),
    ("graft/transport/__init__.py", "import trio_asyncio", "asyncio-bridge"),
    ("graft/engine/__init__.py", "import trio", "pure-cores"),
    ("graft/plan/records.py", "import lmdb", "pure-cores"),
    ("graft/raft/__init__.py", "from random import random", "pure-cores"),
    ("graft/expressions/__init__.py", "import time", "pure-cores"),
    ("graft/ids.py", "import os", "pure-cores"),
    ("dsl/graft_dsl/__init__.py", "import graft.engine", "language"),
    ("dsl/graft_dsl/__init__.py", "import graft.interfaces", "language"),
    ("graft/worker/__init__.py", "import graft_dsl", "front-doors"),
    ("graft/cluster/__init__.py", "from graft_dsl import compile_file", "front-doors"),
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of both packages and of the configuration."""
    ignore = shutil.ignore_patterns("__pycache__")
    for package in ("graft", "dsl"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint(tree: Path, *contracts: str) -> tuple[int, str]:
    """Exit code and output of import-linter for the packages in `tree`."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    for contract in contracts:
        command += ["--contract", contract]
    environment = os.environ | {"PYTHONPATH": f"{tree}{os.pathsep}{tree / 'dsl'}", "COLUMNS": "200"}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_the_tree_keeps_every_contract(tree: Path) -> None:
    code, output = lint(tree)
    assert code == 0, output
    assert f"Contracts: {len(CONTRACTS)} kept, 0 broken." in output


@pytest.mark.parametrize(("file", "line", "contract"), BREACHES, ids=[f"{f} {line}" for f, line, _ in BREACHES])
def test_a_planted_breach_breaks_its_contract(tree: Path, file: str, line: str, contract: str) -> None:
    path = tree / file
    path.write_text(f"{path.read_text()}\n{line}\n")
    code, output = lint(tree, contract)
    assert code == 1, output
    assert f"{NAMES[contract]} BROKEN" in output


def test_a_new_room_must_take_its_place(tree: Path) -> None:
    (tree / "graft" / "attic").mkdir()
    (tree / "graft" / "attic" / "__init__.py").touch()
    code, output = lint(tree, "layers")
    assert code == 1, output
    assert "attic" in output


def test_every_contract_has_a_planted_breach() -> None:
    assert {contract for _, _, contract in BREACHES} == set(NAMES)


def test_every_pure_room_that_exists_is_under_the_purity_contract() -> None:
    (contract,) = (each for each in CONTRACTS if each["id"] == "pure-cores")
    exist = {
        room
        for room in PURE
        if any((ROOT / "graft").glob(f"{room}.py")) or (ROOT / "graft" / room / "__init__.py").exists()
    }
    assert set(contract["source_modules"]) == {f"graft.{room}" for room in exist}
