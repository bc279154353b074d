"""A secret param and a declared secret stand nowhere but where a step gets them: all that is written is searched."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

SECRET = "hunter2-Tr0ub4dor"
FLOW = """
    graft = 1
    name = "pay"
    [params.token]
    type = "string"
    secret = true
    [params.deep]
    type = "any"
    secret = true
    default = { a = ["nothing"] }
    [secrets]
    KEY = { env = "PAY_KEY" }
    [nodes.use]
    run = 'test "$T" = "$WANTED_T" && test "$K" = "$PAY_KEY" && echo "$T $K" && echo "$T" | base64 >&2'
    env = { T = "${ params.token }", K = "${ secrets.KEY }" }
    [nodes.computed]
    value = { token = "Bearer ${ params.token }", deep = "${ params.deep }" }
    [nodes.items]
    for_each = ["${ params.token }", "x"]
    run = 'echo "$I"'
    env = { I = "${ item }" }
    [nodes.below]
    flow = "below.toml"
    with = { key = "k:${ params.token }", open = "o:${ params.token }" }
    [nodes.bad]
    needs = ["use", "computed", "items", "below"]
    fail = "refused ${ params.token }"
    [nodes.told]
    needs = ["use"]
    python = "steps:raises"
    with = { token = "${ params.token }" }
    retry = { attempts = 2, initial = "1ms" }
    [finally.note]
    value = "${ run.error }"
"""
BELOW = """
    graft = 1
    name = "below"
    [params.key]
    type = "string"
    secret = true
    [params.open]
    type = "string"
    [nodes.s]
    run = 'test "$K" = "k:$WANTED_T"; echo "$O"'
    env = { K = "${ params.key }", O = "${ params.open }" }
    [outputs]
    s = "${ params.key } ${ s.out }"
"""
STEPS = "def raises(token):\n    raise ValueError(f'no {token}') from KeyError(token)\n"


@pytest.fixture
def flow(write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PAY_KEY", "declared-" + SECRET)
    monkeypatch.setenv("WANTED_T", SECRET)
    write("flow.toml", FLOW)
    write("below.toml", BELOW)
    write("steps.py", STEPS)
    return tmp_path


def hidden_forms() -> list[bytes]:
    return [
        SECRET.encode(),
        SECRET[:12].encode(),
        base64.b64encode(SECRET.encode())[:16],
        SECRET.encode().hex().encode(),
    ]


def test_nothing_that_is_written_or_shown_holds_a_secret(flow: Path, graft: Any) -> None:
    shown = [graft("run", "flow.toml", "--token", SECRET, "--deep", json.dumps({"a": [SECRET]}), "--id", "p1")]
    assert shown[0].code == 1
    for command in ("show", "events", "logs", "explain", "retry"):
        shown.append(graft(command, "p1"))
        if command not in ("explain", "retry"):
            shown.append(graft(command, "p1", "--json"))
    shown.append(graft("run", "flow.toml", "--token", SECRET, "--json", "--id", "p2"))
    shown.append(graft("run", "flow.toml", "--token", SECRET, "--dry-run"))
    shown.append(graft("explain", "p1", "told"))
    for ended in shown:
        for form in hidden_forms():
            assert form not in (ended.out + ended.err).encode(), ended
    files = [path for path in flow.rglob("*") if path.is_file()]
    assert {"data.mdb", "lock", "use.log"} <= {path.name for path in files}
    for path in files:
        for form in hidden_forms():
            assert form not in path.read_bytes(), path
    steps = {step["path"]: step for step in map(json.loads, graft("show", "p1", "--json").out.splitlines()[1:])}
    for path in ("use", "computed", "below", "items"):
        assert steps[path]["status"] == "succeeded", steps[path]
    assert graft("logs", "p1", "below/s").out == "o:***\n"


def test_outputs_and_results_have_it_masked(write: Any, flow: Path, graft: Any) -> None:
    write(
        "out.toml",
        """
        graft = 1
        [params.token]
        type = "string"
        secret = true
        [nodes.a]
        run = 'echo "{\\"t\\": \\"$T\\"}"'
        env = { T = "${ params.token }" }
        output = "json"
        [outputs]
        a = "${ a.out.t }"
        b = "<${ params.token }>"
        """,
    )
    assert json.loads(graft("run", "out.toml", "--token", SECRET).out) == {"a": "***", "b": "<***>"}
    assert json.loads(graft("run", "out.toml", "--token", SECRET, "--ephemeral").out) == {"a": "***", "b": "<***>"}


def test_a_start_that_is_repeated_is_the_same(flow: Path, graft: Any) -> None:
    first = graft("run", "flow.toml", "--token", SECRET, "--id", "p1")
    assert graft("run", "flow.toml", "--token", SECRET, "--id", "p1").code == first.code
    other = graft("run", "flow.toml", "--token", "another-value", "--id", "p1")
    assert other.code == 2
    assert "with other params" in other.err


def test_the_directory_is_nothing_to_commit(flow: Path, graft: Any) -> None:
    graft("run", "flow.toml", "--token", SECRET)
    assert (flow / ".graft" / ".gitignore").read_text() == "*\n"
    assert (flow / ".graft" / "secrets.key").stat().st_mode & 0o077 == 0
    lock = json.loads((flow / ".graft" / "lock").read_text())
    assert SECRET not in lock["command"]


def test_without_its_key_a_run_says_what_is_missing(flow: Path, graft: Any) -> None:
    graft("run", "flow.toml", "--token", SECRET, "--id", "p1")
    (flow / ".graft" / "secrets.key").unlink()
    ended = graft("retry", "p1")
    assert "a secret param cannot be opened where the step runs" in ended.err
    assert "secrets.key" in ended.err


@pytest.mark.parametrize("secret", ["m", "true", "abc"])
def test_a_secret_that_cannot_be_hidden_is_told_before_and_our_words_stay_whole(
    write: Any, tmp_path: Path, graft: Any, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    write(
        "short.toml",
        """
        graft = 1
        [params.pin]
        type = "string"
        secret = true
        [secrets]
        KEY = { env = "SHORT_KEY" }
        [nodes.bad]
        run = 'echo "$P"; exit 3'
        env = { P = "${ params.pin }" }
        """,
    )
    monkeypatch.setenv("SHORT_KEY", secret)
    ended = graft("run", "short.toml", "--pin", secret)
    assert ended.err.count("warning: ") == 2, ended.err
    assert "warning: the secret KEY " in ended.err
    assert "warning: the secret param pin " in ended.err
    assert "exit.3: the command exited with 3" in ended.err
    checked = graft("check", "short.toml")
    assert checked.code == 0
    assert "the secret KEY" in checked.err
    monkeypatch.setenv("SHORT_KEY", "long enough")
    assert "not hidden" not in graft("run", "short.toml", "--pin", "1234567").err
