"""The ways into Graft, each in processes of their own: what breaks first on another version of Python."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

import graft
from tests.support.processes import until
from tests.support.terminals import COMMAND, PATIENCE_SECONDS, Program, environment, graft_process

FLOW = """
    graft = 1
    name = "shop"
    [params.until]
    type = "string"
    default = "/"
    [nodes.first]
    run = 'touch begun; until test -e "$UNTIL"; do sleep 0.05; done; echo hello'
    env = { UNTIL = "${ params.until }" }
    output = "text"
    [nodes.loud]
    python = "steps:loud"
    with = { text = "${ first.out }" }
    [nodes.each]
    for_each = "${ [1, 2, 3] }"
    value = "${ item + len(loud.out) }"
    [outputs]
    said = "${ loud.out }"
    each = "${ each.out }"
"""
OUTPUTS = {"said": "HELLO", "each": [6, 7, 8]}
STEPS = "def loud(text: str) -> str:\n    return text.strip().upper()\n"


@pytest.fixture(autouse=True)
def flow(tmp_path: Path) -> None:
    (tmp_path / "flow.toml").write_text(FLOW)
    (tmp_path / "steps.py").write_text(STEPS)


def run(cwd: Path, *flags: str) -> None:
    code, out, err = graft_process("run", "flow.toml", *flags, cwd=cwd)
    assert code == 0, err
    assert json.loads(out) == OUTPUTS


@contextmanager
def member(cwd: Path) -> Iterator[str]:
    """The address of the only member of a cluster. It is ended as an operator would, and ends well."""
    words = ("--name", "a", "--founder", "a", "--data", "member", "--listen", "127.0.0.1:0", "--plaintext")
    with Program("serve", *words, cwd=cwd) as program:
        program.see("leads now")
        listens = re.search(r"listens on (127\.0\.0\.1:\d+)", program.err)
        assert listens is not None
        yield listens[1]
        program.send(signal.SIGTERM)
        assert program.end() == 0, program.err


def test_run(tmp_path: Path) -> None:
    run(tmp_path)


async def test_two_processes_in_one_directory(tmp_path: Path) -> None:
    with Program("run", "flow.toml", "--until", "go", cwd=tmp_path) as first:
        await until((tmp_path / "begun").exists, PATIENCE_SECONDS)
        run(tmp_path)
        (tmp_path / "go").touch()
        assert first.end() == 0, first.err
    assert json.loads(first.out) == OUTPUTS


async def test_serve(tmp_path: Path) -> None:
    with member(tmp_path) as address:
        run(tmp_path, "--server", address, "--id", "one")
        async with graft.Client(address) as client:
            view = await client.get("one")
    assert view.outputs == OUTPUTS


async def test_dev(tmp_path: Path) -> None:
    with Program("dev", cwd=tmp_path) as dev:
        await until((tmp_path / ".graft-dev" / "leader.pid").exists, 2 * PATIENCE_SECONDS)
        shell = '. .graft-dev/env && "$@"'
        words = ["sh", "-c", shell, "sh", *COMMAND, "run", "flow.toml"]
        shop = await trio.run_process(words, cwd=tmp_path, env=environment(), capture_stdout=True)
        dev.send(signal.SIGINT)
        assert dev.end() == 0, dev.err
    assert json.loads(shop.stdout) == OUTPUTS
