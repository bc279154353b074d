"""Functions in Python get declared secrets as `graft.Secret`, which does not show itself."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest

from graft import Secret
from graft.plan import PythonAction
from graft.plan import Secret as Declared
from graft_dsl import compile_text
from tests.support.attempts import Bench, everywhere

MODULE = """
from graft import Secret

def use(token: Secret, tokens, plain: str):
    print(token, repr(token), f"{token:>5}", tokens, plain)
    assert token.reveal() == "kéy-4711-secret" and tokens["all"][0].reveal() == "Bearer kéy-4711-secret"
    return {"is": type(token).__name__, "text": token.reveal(), "plain": plain}

def give(token: Secret):
    return token
"""
BEARER = ("format", ("const", "Bearer "), ("var", "secrets.T"))
WITH = (
    "dict",
    (("const", "token"), ("var", "secrets.T")),
    (
        ("const", "tokens"),
        ("dict", (("const", "all"), ("list", BEARER))),
    ),
    (("const", "plain"), ("const", "x")),
)


@everywhere
@pytest.mark.parametrize("isolation", ["thread", "process"])
async def test_a_function_gets_a_secret(bench: Bench, isolation: Any) -> None:
    (bench.base / "token").write_text("kéy-4711-secret\n")
    (bench.base / "steps.py").write_text(MODULE)
    bench.secrets["T"] = Declared("T", "file", "token")
    outcome = await bench.do(PythonAction("steps:use", WITH, isolation))
    assert outcome.error is None, outcome.error
    assert json.loads(outcome.value or b"") == {"is": "Secret", "text": "***", "plain": "x"}
    assert bench.log() == ["out *** ***   *** {'all': [***]} x"]
    given = ("dict", (("const", "token"), ("var", "secrets.T")))
    outcome = await bench.do(PythonAction("steps:give", given, isolation))
    assert outcome.error is not None
    assert outcome.error.type == "output_schema"


def test_a_secret_does_not_show_itself() -> None:
    secret = Secret("hunter2hunter2")
    assert secret.reveal() == "hunter2hunter2"
    for text in (
        str(secret),
        repr(secret),
        f"{secret}",
        f"{secret!r:>8}",
        str([secret]),
        str({"a": secret}),
    ):
        assert "hunter2" not in text
    for refuse in (pickle.dumps, json.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            refuse(secret)
    assert not hasattr(secret, "__dict__")
    assert secret == Secret("hunter2hunter2") != Secret("other")
    assert not Secret("")


def test_only_a_function_may_have_one_in_its_with() -> None:
    flow = 'graft = 1\nsecrets.T.env = "T"\n[nodes.a]\npython = "m:f"\nwith = { t = "${ secrets.T }" }\n'
    assert compile_text(flow, filename="a.toml").plan.root.secrets[0].name == "T"
