"""`graft config`: what it prints, and its exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tomli

from tests.support.commands import Graft

Write = Callable[[str, str], Path]


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRAFT_CONFIG", raising=False)


def test_show_is_toml_with_origins(graft: Graft, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("g.toml", "[transport]\nlisten_port = 1\n")
    monkeypatch.setenv("GRAFT_TRANSPORT__MAX_CALLS", "7")
    ended = graft("config", "show", "--config", "g.toml", "--origin")
    assert ended.code == 0
    assert tomli.loads(ended.out)["transport"]["listen_port"] == 1
    lines = {line.partition(" = ")[0]: line.partition("  # ")[2] for line in ended.out.splitlines()}
    assert (lines["listen_port"], lines["max_calls"], lines["listen_host"]) == (
        "g.toml:2",
        "GRAFT_TRANSPORT__MAX_CALLS",
        "default",
    )


def test_the_environment_may_name_the_file(graft: Graft, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("g.json", '{"node_id": "n1"}')
    monkeypatch.setenv("GRAFT_CONFIG", "g.json")
    assert json.loads(graft("config", "show", "--json").out)["node_id"] == "n1"
    shown = json.loads(graft("config", "show", "--json", "--origin").out)
    assert shown["origins"]["node_id"] == "g.json:1"


def test_no_secret_is_printed(graft: Graft, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_SECURITY__KEY_PASSWORD", "hunter2")
    write("g.toml", "[security]\nplaintext = 'hunter2'\n")
    for argv in (("show",), ("show", "--origin", "--json")):
        ended = graft("config", *argv)
        assert ended.code == 0
        assert "hunter2" not in ended.out + ended.err
        assert "********" in ended.out


def test_check_says_ok_and_what_serving_would_miss(graft: Graft, write: Write) -> None:
    write("g.toml", "node_id = 'a'\n")
    ended = graft("config", "check", "g.toml")
    assert (ended.code, ended.out) == (0, "g.toml: ok\n")
    assert "`graft serve` needs more: `security.cert_file`" in ended.err


def test_check_tells_every_problem(graft: Graft, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_TRANSPORT__MAX_CALLS", "not looked at")
    monkeypatch.setenv("ZONE", "eu")
    write("g.toml", "[engine]\nleese = '5s'\n\n[transport]\nmax_calls = 'x'\n[resources]\nzone = 'env:ZONE'\n")
    ended = graft("config", "check", "g.toml")
    assert ended.code == 2
    assert ended.out == ""
    assert "g.toml:2: `engine.leese`: there is no such setting (did you mean `engine.lease`?)" in ended.err
    assert "g.toml:5: `transport.max_calls`: expected int, got 'x'" in ended.err
    assert "2 problems" in ended.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[discovery]\nkind = 'consul'\n",
            "g.toml:2: `discovery.kind`: there is no discovery `consul` (there are: auto,",
        ),
        ("[resources.slots]\nrun = 1\nshell = 2\n", "g.toml:3: `resources.slots.shell`: expected a kind of node that"),
    ],
)
def test_check_knows_the_kinds(graft: Graft, write: Write, text: str, said: str) -> None:
    write("g.toml", text)
    ended = graft("config", "check", "g.toml")
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err


def test_text_of_a_file_cannot_drive_the_terminal(graft: Graft, write: Write) -> None:
    write("g.toml", '"\\u001b[2J" = 1\n[resources]\nzone = "\\u001b[2J"\n')
    ended = graft("config", "check", "g.toml")
    assert ended.code == 2
    assert "\x1b" not in ended.out + ended.err


MEMBER = """node_id = "{name}"
service_name = "{cluster}"
[security]
ca_file = "certs/ca.crt"
cert_file = "certs/graft-1.crt"
key_file = "certs/graft-1.key"
"""


@pytest.mark.parametrize(
    ("name", "cluster", "code", "message"),
    [
        ("graft-1", "orders", 0, ""),
        ("graft-2", "orders", 2, "certs/graft-1.crt names graft://orders/member/graft-1, the settings say graft-2"),
        ("graft-1", "order", 2, "certs/graft-1.crt names graft://orders/member/graft-1, the settings say order"),
    ],
)
def test_check_looks_at_the_certificates(
    graft: Graft, write: Write, name: str, cluster: str, code: int, message: str
) -> None:
    write("g.toml", MEMBER.format(name=name, cluster=cluster))
    ended = graft("config", "check", "g.toml")
    assert ended.code == 2
    assert "certs/ca.crt: No such file or directory" in ended.err or "certs/graft-1.crt: No such file" in ended.err
    assert graft("config", "check", "g.toml", "--no-certs").code == 0
    assert graft("certs", "dev", "certs", "--cluster", "orders", "--member", "graft-1").code == 0
    ended = graft("config", "check", "g.toml")
    assert (ended.code, message in ended.err) == (code, True)
    assert ended.out == ("" if code else "g.toml: ok\n")


def test_check_compares_no_name_that_the_file_does_not_say(graft: Graft, write: Write) -> None:
    """`node_id` may come from the environment, in a file that several members share."""
    write("g.toml", "\n".join(MEMBER.splitlines()[2:]))
    assert graft("certs", "dev", "certs", "--cluster", "orders", "--member", "graft-1").code == 0
    assert graft("config", "check", "g.toml").code == 0
