"""`run` and `exec`: real programs, real groups, real signals."""

from __future__ import annotations

import hashlib
import json

import pytest

from graft.plan import ExecAction
from tests.support.attempts import Bench, const


async def test_text_loses_one_final_newline(bench: Bench) -> None:
    outcome = await bench.run("printf 'a\\nb\\n\\n'")
    assert outcome.status == "succeeded"
    assert json.loads(outcome.value or b"") == "a\nb\n"


@pytest.mark.parametrize(
    ("output", "printed", "value"),
    [
        ("none", "hello", None),
        ("text", "", ""),
        ("lines", "a\\n\\nb\\n", ["a", "", "b"]),
        ("lines", "", []),
        ("json", ' {"a": [1, 2.5, null]}\\n', {"a": [1, 2.5, None]}),
    ],
)
async def test_outputs(bench: Bench, output: str, printed: str, value: object) -> None:
    outcome = await bench.run(f"printf '{printed}'", output=output)
    assert json.loads(outcome.value or b"") == value


async def test_environment(bench: Bench) -> None:
    command = 'echo "$A|$B|$C|$GRAFT_RUN_ID|$GRAFT_STEP|$GRAFT_ATTEMPT|$GRAFT_IDEMPOTENCY_KEY|$PWD"'
    outcome = await bench.run(command, env={"A": "x y", "B": 3, "C": {"d": [True]}})
    assert json.loads(outcome.value or b"") == f'x y|3|{{"d":[true]}}|r1|step|1|key-1|{bench.base}'


async def test_stdin_text_and_json(bench: Bench) -> None:
    assert json.loads((await bench.run("cat", stdin="héllo")).value or b"") == "héllo"
    assert json.loads((await bench.run("cat", stdin={"a": 1}, output="json")).value or b"") == {"a": 1}
    assert json.loads((await bench.run("cat")).value or b"") == ""


async def test_exec_takes_arguments_as_they_are(bench: Bench) -> None:
    outcome = await bench.do(ExecAction(const(["printf", "%s|", "a b", "$HOME", 3]), output="text"))
    assert json.loads(outcome.value or b"") == "a b|$HOME|3|"


async def test_file_record(bench: Bench) -> None:
    outcome = await bench.run("printf hello > out.txt", output="file", output_path="out.txt")
    digest = hashlib.sha256(b"hello").hexdigest()
    assert json.loads(outcome.value or b"") == {"path": "out.txt", "size": 5, "sha256": digest}
