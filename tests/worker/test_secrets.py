"""Secrets: resolved where the step runs, missing ones named, redacted everywhere (R16)."""

from __future__ import annotations

import json

import pytest

from graft.plan import PythonAction, RunAction, Secret
from tests.support.attempts import Bench, const


async def test_from_the_environment_and_from_a_file(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_A", "alpha-secret")
    (bench.base / "b.txt").write_text("beta-secret\n")
    bench.secrets |= {"A": Secret("A", "env", "TEST_A"), "B": Secret("B", "file", "b.txt")}
    env = ("dict", (("const", "X"), ("var", "secrets.A")), (("const", "Y"), ("var", "secrets.B")))
    outcome = await bench.do(RunAction('printf "$X/$Y" | wc -c; echo "$X and $Y"; echo "$TEST_A" >&2', env=env))
    assert json.loads(outcome.value or b"").split()[0] == "24"
    assert sorted(bench.log()) == ["err ***", "out *** and ***", "out 24"]  # two pipes: their order is not kept
    (bench.base / "b.txt").write_text("a new secret, rotated\n")
    await bench.do(RunAction('echo "$Y"; exit 1', env=env))
    assert bench.log()[-1] == "out ***"


async def test_redacted_in_errors(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_A", "alpha-secret")
    bench.secrets["A"] = Secret("A", "env", "TEST_A")
    outcome = await bench.run('echo "cannot log in with $TEST_A" >&2; exit 1')
    assert outcome.error is not None
    assert outcome.error.detail == "cannot log in with ***"


@pytest.mark.parametrize(
    ("secret", "why"),
    [
        (
            Secret("A", "env", "NO_SUCH_VARIABLE"),
            "the environment variable NO_SUCH_VARIABLE is not set where the step runs",
        ),
        (Secret("A", "file", "none.txt"), "the file {base}/none.txt cannot be read: No such file or directory"),
        (Secret("A", "file", "."), "the file {base} cannot be read: Is a directory"),
        (Secret("A", "file", "binary"), "the file {base}/binary is not UTF-8 text"),
    ],
)
async def test_missing(bench: Bench, secret: Secret, why: str) -> None:
    (bench.base / "binary").write_bytes(b"\xff\xfe")
    bench.secrets["A"] = secret
    env = ("dict", (("const", "X"), ("var", "secrets.A")))
    outcome = await bench.do(RunAction("echo $X", env=env))
    assert outcome.error is not None
    assert (outcome.error.type, outcome.error.title) == ("expression", "the secret A is not available")
    assert outcome.error.detail == why.format(base=bench.base)
    assert (await bench.run("true")).status == "succeeded", "a step that does not read it is not concerned"


async def test_python_steps_print_no_secrets(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_A", "alpha-secret")
    bench.secrets["A"] = Secret("A", "env", "TEST_A")
    (bench.base / "leaky.py").write_text(
        "import os\ndef leak():\n    print('x', os.environ['TEST_A'])\n    raise ValueError(os.environ['TEST_A'])\n"
    )
    outcome = await bench.do(PythonAction("leaky:leak", const({})))
    assert outcome.error is not None
    assert outcome.error.title == "ValueError: ***"
    assert bench.log() == ["out x ***"]
