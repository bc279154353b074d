"""What others wrote cannot act on a terminal, and is never lost in an encoding."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import graft.cli
from graft.cli import terminal
from graft.cli.terminal import Paint, json_text, plain_text, shown
from tests.support.terminals import Terminal

EVIL = "a\x1b[2Jb\x1b]0;owned\x07c\x9b31md\u202eeli\u2066f\u200e\rover\u2028g\x7fh\ufdd0i\ufdef"
HARM = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufdd0-\ufdef]")
OURS = re.compile(r"\x1b\[(?:[0-9;]*m|\?25[lh]|[0-9]*A|2K|1?G)|\r\n|\r(?=\x1b\[2K)")

STEPS = f"""
EVIL = {EVIL!r}
def talk(text):
    print("said", text)
    return {{"text": EVIL, EVIL: 1}}
def fail():
    print(EVIL)
    raise ValueError(EVIL)
"""
FLOW = """
    graft = 1
    name = "evil"
    doc = "a flow"
    [params.text]
    type = "string"
    doc = "what it says \\u001b[2J \\u202e"
    [nodes.talk]
    python = "steps:talk"
    with = { text = "${ params.text }" }
    [nodes.fail]
    python = "steps:fail"
    tolerate = true
    [nodes.map]
    for_each = { "k\\u001b[2J\\u202e" = 1 }
    value = "${ item }"
    [nodes.bad]
    needs = ["talk", "fail"]
    run = "printf '\\\\033[2J\\\\302\\\\23331m\\\\342\\\\200\\\\256'; printf '\\\\033]0;x\\\\007' >&2; exit 3"
    [outputs]
    text = "${ talk.out }"
"""


@pytest.fixture
def flow(write: Any, tmp_path: Path) -> Path:
    write("steps.py", STEPS)
    write("flow.toml", FLOW.replace("    tolerate = true\n", ""))
    return tmp_path


def harm(seen: str) -> list[str]:
    return HARM.findall(OURS.sub("", seen))


def test_nothing_of_a_run_acts_on_a_terminal(flow: Path) -> None:
    commands = [
        ("run", "flow.toml", "--help"),
        ("run", "flow.toml", "--text", EVIL, "--dry-run"),
        ("run", "flow.toml", "--text", EVIL),
        ("show", "last", "--all"),
        ("events", "last"),
        ("explain", "last", "fail"),
        ("logs", "last"),
        ("logs", "last", "--json"),
        ("show", "last", EVIL),
        ("check", f"no{EVIL}.toml"),
        ("run", "flow.toml", f"--{EVIL}"),
    ]
    for command in commands:
        with Terminal(*command, cwd=flow) as screen:
            screen.end()
        assert not harm(screen.seen), (command, screen.seen)
    with Terminal("logs", "last", "fail", cwd=flow) as screen:
        screen.end()
    assert "\\x1b[2J" in screen.seen


def test_plain_lines_and_files_are_clean_too_but_logs_are_as_they_were_written(flow: Path, graft: Any) -> None:
    ended = graft("run", "flow.toml", "--text", EVIL)
    assert not harm(ended.out + ended.err)
    assert "ValueError: a\\x1b[2J" in ended.err
    assert "\x1b[2J" in graft("logs", "last", "fail").out


@given(st.text())
def test_shown_text_is_harmless(text: str) -> None:
    assert not HARM.search(shown(text))
    assert shown(shown(text)) == shown(text)
    assert plain_text(text) == text or HARM.search(text) or not text.isprintable()


@given(st.text(st.characters(blacklist_characters="\n")), st.text(st.characters(blacklist_characters="\n")))
def test_colours_are_ours_alone(inside: str, around: str) -> None:
    text = shown(around) + Paint(True)(inside, "red", "bold") + shown(around)
    colored = shown(text)
    assert shown(text, color=False) == shown(around) + plain_text(inside) + shown(around)
    assert colored.count("\x1b") == (2 if inside else 0)
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == shown(text, color=False)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_json_says_the_same_escaped(value: object) -> None:
    text = json.dumps(value, ensure_ascii=False)
    for ascii in (False, True):
        escaped = json_text(text, ascii=ascii)
        assert json.loads(escaped) == value
        assert not HARM.search(escaped)
        assert escaped.isascii() or not ascii


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8", "C"])
def test_outputs_are_the_same_json_in_every_encoding(write: Any, tmp_path: Path, encoding: str) -> None:
    write("flow.toml", 'graft = 1\nname = "z"\n[nodes.a]\nvalue = "Zoë ✓ 🦊"\n[outputs]\na = "${ a.out }"')
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONUTF8", "LC_ALL")}
    environment |= (
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
        if encoding == "C"
        else {"PYTHONIOENCODING": encoding}
    )
    for options in ((), ("--json",)):
        command = [sys.executable, "-m", "graft", "run", "flow.toml", *options]
        ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, timeout=60)
        assert ended.returncode == 0, ended.stderr
        last = json.loads(ended.stdout.splitlines()[-1])
        assert (last["outputs"] if options else last) == {"a": "Zoë ✓ 🦊"}
        assert b"?" not in ended.stdout


def test_what_an_encoding_lacks_is_told_by_its_number() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), "latin-1", errors=terminal.ESCAPE)
    stream.write("Zoë ✓ 🦊")
    stream.flush()
    assert stream.buffer.getvalue() == b"Zo\xeb \\u2713 \\ud83e\\udd8a"  # type: ignore[attr-defined]


def test_all_text_goes_through_one_door() -> None:
    """`print`, `click.echo` and the streams themselves are used nowhere but where text is cleaned."""
    allowed = {
        ("terminal.py", "write"),
        ("failure.py", "write"),  # the same, with the same cleaning
        ("entry.py", "print"),  # one word of ours, when nothing can be imported
        ("fmt.py", "write"),  # a flow's text, for the file or program that takes it
        ("app.py", "echo"),  # our own version
        ("explain.py", "print"),  # our own words, through rich
    }
    found = set()
    for file in Path(graft.cli.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            name = called.rpartition(".")[2]
            if called in ("print", "click.echo", "echo", "click.secho") or re.fullmatch(
                r"sys\.std(out|err)\.(write|writelines)|Console\(\)\.print", called
            ):
                found.add((file.name, name))
    assert found <= allowed, found - allowed
    assert allowed <= found, "a place that is allowed and is not there any more"
