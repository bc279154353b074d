"""`graft show RUN STEP`: what a step was given and came to, from a directory and from the process that holds it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.commands import Graft

FLOW = """
    graft = 1
    name = "shop"
    [params]
    token = { type = "string", secret = true }
    city = { type = "string", default = "Bern" }
    [secrets]
    key = { env = "SHOP_KEY" }
    [nodes.first]
    value = { city = "${ params.city }" }
    [nodes.pay]
    needs = ["first", "pack"]
    retry = { attempts = 2, initial = "1ms" }
    run = "echo paying; exit 3"
    env = { CITY = "${ first.out.city }", TOKEN = "T ${ params.token }", KEY = "${ secrets.key }" }
    [nodes.pack]
    for_each = ["red", "blue"]
    run = "echo $X"
    env = { X = "${ item }" }
    [finally.after]
    run = "echo $X"
    env = { X = "n ${ 1 / (len(params.city) - 4) }" }
"""
TOKEN, KEY = "tok-4711-secret", "key-0815-secret"


@pytest.fixture
def shop(graft: Graft, write: Any, monkeypatch: pytest.MonkeyPatch) -> Graft:
    monkeypatch.setenv("SHOP_KEY", KEY)
    write("flow.toml", FLOW)
    write("params.json", json.dumps({"token": TOKEN}))
    assert graft("run", "flow.toml", "--params-file", "params.json", "--id", "mine").code == 1
    return graft


def test_a_step_whole(shop: Graft) -> None:
    said = shop("show", "mine", "pay")
    assert said.code == 0
    for text in (
        '"CITY": "Bern"',
        "backing off",
        "exit.3: the command exited with 3",
        "\n  paying\n",
        "graft logs mine",
    ):
        assert text in said.out, text
    assert shop("show", "last/pay").out == said.out


def test_no_secret_is_shown(shop: Graft) -> None:
    both = shop("show", "mine", "pay").out + shop("show", "mine", "pay", "--json").out
    assert TOKEN not in both
    assert KEY not in both
    env = json.loads(shop("show", "mine", "pay", "--json").out)["inputs"]["env"]
    assert env == {"CITY": "Bern", "TOKEN": "T ***", "KEY": "***"}


def test_as_json(shop: Graft) -> None:
    step = json.loads(shop("show", "mine", "pay", "--json").out)
    assert (step["type"], step["status"], step["result"]) == ("step", "failed", None)
    assert [(each["attempt"], each["outcome"]) for each in step["attempts"]] == [(1, "backing_off"), (2, "failed")]
    assert [each["text"] for each in step["log"]] == ["paying", "paying"]
    first = json.loads(shop("show", "mine", "first", "--json").out)
    assert first["result"] == {"city": "Bern"}
    assert first["inputs"] == {"value": {"city": "Bern"}}


def test_a_map_has_its_items(shop: Graft) -> None:
    step = json.loads(shop("show", "mine", "pack", "--json").out)
    assert [(each["path"], each["item"]) for each in step["inside"]] == [
        ("pack[0]", None),
        ("pack[1]", None),
    ]  # a secret could be in it
    assert "pack[1]  succeeded" in shop("show", "mine", "pack").out
    item = json.loads(shop("show", "mine", "pack[1]", "--json").out)
    assert item["inputs"]["env"] == {"X": "blue"}


def test_what_cannot_be_told_is_said(shop: Graft) -> None:
    assert "pending" not in shop("show", "mine", "after").out
    step = json.loads(shop("show", "mine", "after", "--json").out)
    assert step["result"] is None
    assert "env" not in step["inputs"]
    assert list(step["unknown_inputs"]) == ["env"]
    assert "env  cannot be told: " in shop("show", "mine", "after").out


def test_a_step_that_is_not_there(shop: Graft) -> None:
    assert "did you mean" in shop("show", "mine", "pai").err
