"""`check fmt schema graph explain new completion`: the tools of the language, at the command line."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from graft.cli.commands.completion import SHELLS
from tests.support.commands import Graft
from tests.support.screens import golden

GOOD = """
    graft = 1
    name = "good"
    [params.n]
    type = "int"
    default = 1
    [nodes.a]
    run = "true"
    [nodes.b]
    needs = ["a"]
    value = "${ params.n }"
"""
BAD = """
    graft = 1
    name = "bad"
    [nodes.a]
    run = "true"
    needs = ["b"]
    [nodes.c]
    runn = "true"
"""


def test_check_a_flow_that_is_right(graft: Graft, write: Any) -> None:
    write("good.toml", GOOD)
    ended = graft("check", "good.toml")
    assert (ended.code, ended.out, ended.err) == (0, "good.toml: ok, 2 nodes\n", "")
    assert graft("check", "good.toml", "--json").out == ""


def test_check_reports_every_error_of_every_flow(graft: Graft, write: Any) -> None:
    write("good.toml", GOOD)
    write("bad.toml", BAD)
    ended = graft("check", "bad.toml", "good.toml", "gone.toml")
    assert ended.code == 2
    assert ended.out == "good.toml: ok, 2 nodes\n"
    assert ended.err.count("error[GR") >= 2
    assert "--> bad.toml:6:10" in ended.err
    assert "`graft explain GR" in ended.err
    assert "error: there is no file gone.toml\n" in ended.err


def test_check_as_json(graft: Graft, write: Any) -> None:
    write("bad.toml", BAD)
    ended = graft("check", "bad.toml", "gone.toml", "--json")
    assert (ended.code, ended.err) == (2, "")
    *problems, gone = [json.loads(line) for line in ended.out.splitlines()]
    assert {problem["severity"] for problem in problems} == {"error"}
    assert {"code", "message", "file", "line", "column", "end_column", "wanted", "got", "suggestion"} <= problems[
        0
    ].keys()
    assert problems[0]["file"] == "bad.toml"
    assert gone["message"].startswith("there is no file gone.toml")


def test_check_without_python(graft: Graft, write: Any) -> None:
    write("py.toml", 'graft = 1\nname = "py"\n[nodes.a]\npython = "gone_module:f"\n')
    assert graft("check", "py.toml", "--no-python").code == 0
    ended = graft("check", "py.toml")
    assert ended.code == 2
    assert "gone_module" in ended.err


def test_a_flow_that_does_not_compile_does_not_run(graft: Graft, write: Any, tmp_path: Path) -> None:
    write("bad.toml", BAD)
    ended = graft("run", "bad.toml", "--anything")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == graft("check", "bad.toml").err.rstrip("\n") + "\n"
    assert not (tmp_path / ".graft").exists()


def test_diagnostics_in_colour(graft: Graft, write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    write("bad.toml", BAD)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[1;31merror[GR" in graft("run", "bad.toml").err
    assert "\x1b[1;31merror[GR" in graft("check", "bad.toml").err


def test_a_file_that_is_not_text(graft: Graft, tmp_path: Path) -> None:
    (tmp_path / "flow.toml").write_bytes(b"graft = 1\nname = '\xff'\n")
    assert graft("check", "flow.toml").code == 2
    ended = graft("fmt", "flow.toml")
    assert (ended.code, ended.err) == (2, "error: flow.toml is not UTF-8: byte 18 is 0xff\n")


def test_fmt(graft: Graft, write: Any, tmp_path: Path) -> None:
    path = write("flow.toml", 'graft=1\nname="x" # why\n[nodes.a]\nrun="true"\n')
    path.chmod(0o640)
    before = path.read_text()
    checked = graft("fmt", "flow.toml", "--check")
    assert (checked.code, checked.err) == (1, "flow.toml would change\n")
    different = graft("fmt", "flow.toml", "--diff")
    assert different.code == 0
    assert "-graft=1\n" in different.out
    assert path.read_text() == before
    assert graft("fmt", "flow.toml").err == "flow.toml formatted\n"
    assert "# why" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o640
    again = graft("fmt", "flow.toml", "--check")
    assert (again.code, again.out, again.err) == (0, "", "")
    assert [each.name for each in tmp_path.iterdir()] == ["flow.toml"]


def test_fmt_follows_a_link(graft: Graft, write: Any, tmp_path: Path) -> None:
    path = write("real/flow.toml", "graft=1\n")
    (tmp_path / "link.toml").symlink_to(path)
    assert graft("fmt", "link.toml").code == 0
    assert (tmp_path / "link.toml").is_symlink()
    assert path.read_text() == "graft = 1\n"


def test_fmt_of_standard_input(graft: Graft, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("graft=1\n"))
    ended = graft("fmt", "-")
    assert (ended.code, ended.out) == (0, "graft = 1\n")


def test_fmt_of_what_is_no_toml(graft: Graft, write: Any) -> None:
    path = write("flow.toml", "graft = \n")
    ended = graft("fmt", "flow.toml")
    assert ended.code == 2
    assert "flow.toml:1:" in ended.err
    assert path.read_text() == "graft = \n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_fmt_where_nothing_can_be_written(graft: Graft, write: Any, tmp_path: Path) -> None:
    write("sub/flow.toml", "graft=1\n")
    (tmp_path / "sub").chmod(0o555)
    ended = graft("fmt", "sub/flow.toml")
    assert (ended.code, ended.err) == (2, "error: sub/flow.toml cannot be written: Permission denied\n")


def test_schema(graft: Graft, tmp_path: Path) -> None:
    ended = graft("schema")
    assert ended.code == 0
    assert json.loads(ended.out)["properties"].keys() >= {"graft", "nodes", "params"}
    written = graft("schema", "-o", "s.json")
    assert (written.out, written.err) == ("", "wrote s.json; start a flow with `#:schema s.json`\n")
    assert (tmp_path / "s.json").read_text() == ended.out
    refused = graft("schema", "-o", "no/s.json")
    assert (refused.code, refused.err) == (2, "error: no/s.json cannot be written: No such file or directory\n")


@pytest.mark.parametrize(
    ("format_", "beginning"),
    [("text", "good"), ("mermaid", "flowchart"), ("dot", "digraph"), ("svg", "<svg"), ("json", "{")],
)
def test_graph(graft: Graft, write: Any, tmp_path: Path, format_: str, beginning: str) -> None:
    write("good.toml", GOOD)
    ended = graft("graph", "good.toml", "--format", format_)
    assert ended.code == 0
    assert ended.out.lstrip().startswith(beginning)
    assert graft("graph", "good.toml").out.startswith("good")


def test_graph_into_a_file_goes_by_its_name(graft: Graft, write: Any, tmp_path: Path) -> None:
    write("good.toml", GOOD)
    assert graft("graph", "good.toml", "-o", "good.svg").err == "wrote good.svg\n"
    assert "<svg" in (tmp_path / "good.svg").read_text()


def test_graph_of_a_run(graft: Graft, write: Any, tmp_path: Path) -> None:
    flow = write("good.toml", GOOD.replace('run = "true"', 'run = "false"'))
    assert graft("run", "good.toml").code == 1
    flow.unlink()
    of_run = graft("graph", "--run", "last")
    assert of_run.code == 0
    assert "✗ a" in of_run.out
    assert graft("graph").err.startswith("error: which flow?\n")


def test_explain_a_code(graft: Graft) -> None:
    ended = graft("explain", "gr010")
    assert ended.code == 0
    assert ended.out.startswith("# GR010: unknown key\n")
    assert "GR010" in graft("explain").out
    wrong = graft("explain", "GR999")
    assert (wrong.code, wrong.err) == (2, "error: there is no code GR999\n  `graft explain` lists them\n")


@pytest.mark.parametrize("template", ["hello", "pipeline", "release"])
def test_new_makes_a_flow_that_runs(graft: Graft, tmp_path: Path, template: str) -> None:
    made = graft("new", "demo", "--template", template)
    assert made.code == 0
    assert made.err.endswith("run it with `graft run demo/flow.toml`\n")
    assert graft("fmt", "--check", "demo/flow.toml").code == 0
    assert graft("run", "demo/flow.toml").code == 0


def test_new_overwrites_nothing(graft: Graft, write: Any, tmp_path: Path) -> None:
    flow = write("demo/flow.toml", "mine")
    ended = graft("new", "demo")
    assert ended.code == 2
    assert ended.err == "error: demo/flow.toml is there already\n  nothing was written; choose another name\n"
    assert flow.read_text() == "mine"
    assert [each.name for each in (tmp_path / "demo").iterdir()] == ["flow.toml"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "error: what is the new flow called?\n  graft new NAME; `graft new --list` lists templates\n"),
        (["9"], "error: '9' is no name for a flow\n  a letter, then letters, digits, - and _\n"),
        (["x", "--template", "y"], "error: there is no template y\n  there are hello, pipeline, release\n"),
    ],
)
def test_new_that_cannot_be(graft: Graft, args: list[str], message: str) -> None:
    ended = graft("new", *args)
    assert (ended.code, ended.err) == (2, message)


def test_new_list(graft: Graft) -> None:
    assert [line.split()[0] for line in graft("new", "--list").out.splitlines()] == ["hello", "pipeline", "release"]


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_scripts(graft: Graft, shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = graft("completion", shell)
    assert ended.code == 0
    assert "_GRAFT_COMPLETE" in ended.out
    monkeypatch.setenv("SHELL", f"/usr/bin/{shell}")
    assert graft("completion").out == ended.out
    monkeypatch.setenv("SHELL", "/bin/ksh")
    assert graft("completion").code == 2


def complete(graft: Graft, monkeypatch: pytest.MonkeyPatch, words: str) -> list[str]:
    monkeypatch.setenv("_GRAFT_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    ended = graft()
    assert (ended.code, ended.err) == (0, "")
    return [line.partition(",")[2] for line in ended.out.splitlines()]


def test_completion(graft: Graft, write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        "good.toml",
        GOOD + '    [params.size]\n    type = "enum"\n    values = ["small", "large"]\n    default = "small"\n',
    )
    assert graft("run", "good.toml", "--id", "mine-1").code == 0
    assert complete(graft, monkeypatch, "graft re") == ["resume", "retry", "restore", "recover"]
    assert complete(graft, monkeypatch, "graft run good.toml --si") == ["--size"]
    assert complete(graft, monkeypatch, "graft run good.toml --size s") == ["small"]
    assert complete(graft, monkeypatch, "graft show m") == ["mine-1"]
    assert complete(graft, monkeypatch, "graft run bad.toml --js") == ["--json"]
    assert complete(graft, monkeypatch, "graft graph --format m") == ["mermaid"]


PARAMS = """
    graft = 1
    name = "shop"
    [params.order_id]
    type = "string"
    pattern = "^ord_[a-z0-9]+$"
    doc = "which order"
    [params.count]
    type = "int"
    default = 3
    min = 1
    [params.regions]
    type = "list[string]"
    default = ["ams", "fra"]
    [params.force]
    type = "bool"
    default = false
    [params.size]
    type = "enum"
    values = ["small", "large"]
    default = "small"
    [params.wait]
    type = "duration"
    default = "15m"
    [params.id]
    type = "string"
    default = "none"
    doc = "of the customer"
    [params.extra]
    type = "any"
    default = "x"
    [nodes.a]
    value = "${ params }"
    [outputs]
    all = "${ a.out }"
"""


def outputs(graft: Graft, *args: str) -> Any:
    ended = graft("run", "flow.toml", "--ephemeral", *args)
    assert ended.code == 0, ended.err
    return json.loads(ended.out)["all"]


def test_params_become_flags(graft: Graft, write: Any) -> None:
    write("flow.toml", PARAMS)
    base = {
        "order_id": "ord_1",
        "count": 3,
        "regions": ["ams", "fra"],
        "force": False,
        "size": "small",
        "wait": 900.0,
        "id": "none",
        "extra": "x",
    }
    assert outputs(graft, "--order-id", "ord_1") == base
    assert outputs(
        graft,
        *("--order_id=ord_1", "--count", "7", "--regions", "lon,par", "--regions", "nyc"),
        *("--force", "--size", "large", "--wait", "1h 30m", "--extra", '{"a": [1]}'),
    ) == base | {
        "count": 7,
        "regions": ["lon", "par", "nyc"],
        "force": True,
        "size": "large",
        "wait": 5400.0,
        "extra": {"a": [1]},
    }


def test_params_from_a_file_and_flags_that_win(graft: Graft, write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    write("flow.toml", PARAMS)
    write("p.toml", 'order_id = "ord_2"\ncount = 9\nid = "customer"\n')
    found = outputs(graft, "--params-file", "p.toml", "--count", "8")
    assert (found["order_id"], found["count"], found["id"]) == ("ord_2", 8, "customer")
    monkeypatch.setattr("sys.stdin", io.StringIO('{"order_id": "ord_3", "extra": null}'))
    found = outputs(graft, "--params-file", "-")
    assert (found["order_id"], found["extra"]) == ("ord_3", None)


def test_help_of_a_flow(graft: Graft, write: Any) -> None:
    write("flow.toml", PARAMS)
    ended = graft("run", "flow.toml", "--help")
    assert ended.code == 0
    about = ended.out[ended.out.index("Parameters of shop:") : ended.out.index("\nOptions:")]
    assert about == golden("""
        Parameters of shop:
          --order-id STRING     which order [matches ^ord_[a-z0-9]+$; required]
          --count INT           [at least 1; default: 3]
          --regions STRING      [commas between, or repeat it; default: ams, fra]
          --force / --no-force  [default: false]
          --size small|large    [default: small]
          --wait DURATION       [default: 15m]
          --extra ANY           [default: x]
          id                    of the customer [only in --params-file: --id is an option of graft run]
    """)


def test_params_that_are_wrong_are_told_all_at_once(graft: Graft, write: Any) -> None:
    write("flow.toml", PARAMS)
    ended = graft("run", "flow.toml", "--count", "many", "--size", "huge")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: the flow `shop` cannot start with these params:\n")
    for part in ("`order_id` is missing", "`count`: expected int", "`size`: "):
        assert part in ended.err
    assert ended.err.endswith("\n  `graft run flow.toml --help` lists them\n")


def test_a_flag_that_is_not_there(graft: Graft, write: Any) -> None:
    write("flow.toml", PARAMS)
    ended = graft("run", "flow.toml", "--ordre-id", "x")
    assert ended.code == 2
    assert "--order-id" in ended.err
    assert "see `graft run --help`" in ended.err


def test_help_of_a_flow_that_does_not_compile(graft: Graft, write: Any) -> None:
    write("bad.toml", BAD)
    ended = graft("run", "bad.toml", "--help")
    assert ended.code == 0
    assert "does not compile" in ended.out
    assert "--params-file" in ended.out
    missing = graft("run", "gone.toml", "--help")
    assert missing.code == 0
    assert "there is no file gone.toml" in missing.out


def test_run_without_a_flow(graft: Graft) -> None:
    ended = graft("run")
    assert (ended.code, ended.err) == (2, "error: Missing argument 'FLOW'.\n  see `graft run --help`\n")


def test_a_secret_parameter_is_not_shown(graft: Graft, write: Any) -> None:
    write(
        "flow.toml",
        """
        graft = 1
        name = "hush"
        [params.token]
        type = "string"
        secret = true
        [nodes.a]
        value = 1
        """,
    )
    shown = [graft("run", "flow.toml", "--token", "hunter2", *more) for more in ((), ("--json",), ("--dry-run",))]
    shown += [graft("show"), graft("show", "--json"), graft("run", "flow.toml", "--help")]
    assert [each.code for each in shown] == [0] * 6
    assert not [each for each in shown if "hunter2" in each.out + each.err]
