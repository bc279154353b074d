"""`runs show logs events explain cancel` on runs that were really made."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from graft.cli.data import complete_id
from graft.errors import UnknownRun, UsageError
from tests.support.commands import Graft
from tests.support.screens import golden, steady

FLOW = """
    graft = 1
    name = "shop"
    [nodes.fetch]
    run = "echo one; echo two >&2; printf three"
    [nodes.pick]
    needs = ["fetch"]
    for_each = ["box", "tape"]
    run = "echo picking $X; test $X = box"
    env = { X = "${ item }" }
    retry = { attempts = 2, initial = "1ms" }
    [nodes.pack]
    needs = ["pick"]
    value = 1
    [nodes.note]
    needs = ["fetch"]
    when = "len(fetch.out) > 100"
    value = 2
"""


@pytest.fixture
def failed(graft: Graft, write: Any) -> None:
    write("flow.toml", FLOW)
    assert graft("run", "flow.toml", "--id", "mine").code == 1


@pytest.mark.usefixtures("failed")
def test_runs(graft: Graft, write: Any) -> None:
    write("other.toml", 'graft = 1\nname = "other"\n[nodes.a]\nvalue = 1\n')
    assert graft("run", "other.toml", "--id", "second").code == 0
    assert steady(graft("runs").out) == golden("""
        RUN     FLOW   STATUS       STARTED              TOOK
        second  other  ✓ succeeded  <moment>  <took>
        mine    shop   ✗ failed     <moment>  <took>
    """)
    as_json = [json.loads(line) for line in graft("runs", "--json").out.splitlines()]
    assert [(run["run"], run["status"]) for run in as_json] == [("second", "succeeded"), ("mine", "failed")]
    limited = graft("runs", "--limit", "1")
    assert limited.out.count("\n") == 2
    assert limited.err == "the newest 1; --all lists all\n"


@pytest.mark.usefixtures("failed")
@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("status == 'failed'", True),
        ("status in ['succeeded', 'cancelled']", False),
        ("name == 'shop' and took < 3600 and generation == 1", True),
        ("starts_with(started_at, '20') and ended_at > started_at", True),
        ("age > 3600", False),
    ],
)
def test_runs_where(graft: Graft, where: str, found: bool) -> None:
    ended = graft("runs", "--where", where)
    assert ended.code == 0
    assert ("mine" in ended.out) is found
    assert ended.err == ("" if found else "no runs for which that is true\n")


@pytest.mark.usefixtures("failed")
@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("stauts == 'failed'", "error: --where: there is nothing called `stauts` (did you mean `status`?)\n"),
        ("status ==", "error: --where: "),
        ("name", "error: --where: "),
        ("1 / (generation - 1) > 0", "error: --where: division by zero"),
    ],
)
def test_runs_where_it_is_wrong(graft: Graft, where: str, message: str) -> None:
    ended = graft("runs", "--where", where)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(message)


@pytest.mark.usefixtures("failed")
def test_show(graft: Graft) -> None:
    assert steady(graft("show").out) == golden("""
        ✗ shop failed in <took>  mine
          started <moment>

          ✓ fetch               <took>
          ✗ pick 1/2, 1 failed  <took>  1 of 2 items failed
            ✓ pick[0] box       <took>
            ✗ pick[1] tape      <took>  attempt 2  exit.1
          ⊘ pack                its scope ended before
          – note                <took>  `when` said no: len(fetch.out) > 100

        pick[1]  exit.1: the command exited with 1  (attempt 2)
            picking tape
    """)
    run, *steps = [json.loads(line) for line in graft("show", "mine", "--json").out.splitlines()]
    assert (run["type"], run["run"], run["status"]) == ("run", "mine", "failed")
    assert (run["error"]["type"], run["error"]["cause"][0]["type"]) == ("group", "exit.1")
    assert [step["path"] for step in steps] == ["fetch", "pick", "pick[0]", "pick[1]", "pack", "note"]
    assert steps[3]["attempt"] == 2
    assert (steps[1]["items"], steps[1]["items_ended"]) == (2, 2)


@pytest.mark.usefixtures("failed")
def test_logs(graft: Graft) -> None:
    whole = graft("logs", "mine")
    assert sorted(whole.out.splitlines()) == [
        "fetch | one",
        "fetch | three",
        "fetch | two",
        "pick[0] | picking box",
        "pick[1] | picking tape",
        "pick[1] | picking tape",
    ]
    assert sorted(graft("logs", "mine", "fetch").out.splitlines()) == ["one", "three", "two"]
    of_map = graft("logs", "last", "pick").out.splitlines()
    assert sorted(of_map) == ["pick[0] | picking box", "pick[1] | picking tape", "pick[1] | picking tape"]
    assert graft("logs", "mine", "pick[1]", "--attempt", "2").out == "picking tape\n"
    assert re.fullmatch(r"\d{4}-[-:.\dT]+Z  picking box\n", graft("logs", "mine", "pick[0]", "--time").out)
    line = json.loads(graft("logs", "mine", "pick[0]", "--json").out)
    assert line | {"at": ""} == {
        "run": "mine",
        "path": "pick[0]",
        "at": "",
        "attempt": 1,
        "stream": "out",
        "text": "picking box",
        "continues": False,
        "member": None,
        "stale": False,
    }
    followed = graft("logs", "mine", "fetch", "-f")
    assert sorted(followed.out.splitlines()) == ["one", "three", "two"]


@pytest.mark.usefixtures("failed")
def test_logs_that_are_not_there(graft: Graft) -> None:
    nothing = graft("logs", "mine", "pack")
    assert (nothing.code, nothing.out, nothing.err) == (0, "", "it wrote nothing\n")
    wrong = graft("logs", "mine", "fetsh")
    assert (wrong.code, wrong.err) == (2, "error: run mine has no step fetsh\n  did you mean fetch?\n")


@pytest.mark.usefixtures("failed")
def test_events(graft: Graft) -> None:
    lines = [line.split(maxsplit=3)[3] for line in graft("events", "mine").out.splitlines()]
    assert lines[0] == "running       mine"
    assert "backing off   pick[1]  exit.1: the command exited with 1" in lines
    assert "failed        pick[1]  attempt 2  exit.1: the command exited with 1" in lines
    assert "skipped       note  `when` said no: len(fetch.out) > 100" in lines
    assert lines[-1].startswith("failed        mine  ")
    assert graft("events", "mine", "-f").out == graft("events", "mine").out


@pytest.mark.usefixtures("failed")
def test_explain_a_step(graft: Graft) -> None:
    assert steady(graft("explain", "mine", "pack").out) == golden("""
        pack is cancelled: its scope ended before
          needs pick failed: 1 of 2 items failed
    """)
    assert (
        "note is skipped: `when` said no: len(fetch.out) > 100\n  needs fetch succeeded\n"
        in graft("explain", "mine", "note").out
    )
    of_item = graft("explain", "mine", "pick[1]").out.splitlines()
    assert of_item[0] == "pick[1] is failed: exit.1: the command exited with 1"
    assert any(line.endswith("backing off: exit.1: the command exited with 1") for line in of_item)
    of_run = graft("explain", "mine").out.splitlines()
    assert of_run[0] == "mine is failed"
    assert "note is skipped: `when` said no: len(fetch.out) > 100" in of_run


@pytest.mark.usefixtures("failed")
def test_cancel_a_run_that_has_ended(graft: Graft) -> None:
    ended = graft("cancel", "mine")
    assert (ended.code, ended.err) == (2, "error: run mine has ended: failed\n")


@pytest.mark.usefixtures("failed")
def test_resume_a_run_that_has_ended(graft: Graft) -> None:
    ended = graft("resume", "mine")
    assert ended.code == 2
    assert ended.err == "error: run mine has ended: failed\n  `graft retry mine` runs again what did not succeed\n"
    assert graft("resume").err.startswith("error: there is no run to go on with: all have ended\n")


def test_cancel_an_interrupted_run(graft: Graft, write: Any, tmp_path: Path) -> None:
    write(
        "flow.toml",
        """
        graft = 1
        name = "nap"
        [nodes.a]
        sleep = "1h"
        [finally.tidy]
        run = "touch tidied"
        """,
    )
    assert graft("run", "flow.toml", "--no-wait", "--id", "mine").code == 3
    planned = graft("resume", "--plan")
    assert planned.err == golden("""
        resume mine (nap): 0 of 2 steps have ended and stay as they are
          still to come: 2 steps
    """)
    ended = graft("cancel", "mine")
    assert ended.code == 0
    assert "⊘ nap cancelled" in ended.err
    assert (tmp_path / "tidied").exists()


IDS = ["shop-3b", "shop-3a", "order/7", "shop"]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("shop-3a", "shop-3a"), ("o", "order/7"), ("last", "shop-3b"), ("-", "shop-3b"), ("shop", "shop")],
)
def test_a_run_is_named_by_its_id_or_a_prefix(name: str, wanted: str) -> None:
    assert complete_id(name, IDS) == wanted


def test_a_run_that_is_not_there() -> None:
    with pytest.raises(UsageError, match=r"shop- is the beginning of 2 run ids\n  which one\? shop-3b, shop-3a"):
        complete_id("shop-", IDS)
    with pytest.raises(UnknownRun, match=r"there is no run shop-4b\n  did you mean shop-3b\?"):
        complete_id("shop-4b", IDS)
    with pytest.raises(UnknownRun, match="there are no runs yet"):
        complete_id("last", [])


@pytest.mark.parametrize("arguments", [["show"], ["runs"], ["events"], ["logs"], ["events", "-f"]], ids=" ".join)
def test_looking_at_a_directory_loads_no_event_loop(graft: Graft, write: Any, arguments: list[str]) -> None:
    write("flow.toml", 'graft = 1\nname = "one"\n[nodes.a]\nvalue = 1\n')
    graft("run", "flow.toml")
    script = (
        f"import sys, graft.cli; code = graft.cli.main({arguments!r});"
        "heavy = {'trio', 'asyncio', 'grpclib', 'google.protobuf', 'graft.client'};"
        "print(code, sorted(heavy & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "0 []"


WAITING = """
    graft = 1
    name = "parked"
    [nodes.a]
    run = "exit 3"
    retry = { attempts = 1, then = "pause" }
"""


def test_a_run_is_called_the_same_everywhere(graft: Graft, write: Any) -> None:
    write("parked.toml", WAITING)
    write("flow.toml", FLOW)
    assert graft("run", "flow.toml", "--id", "mine").code == 1
    assert graft("run", "parked.toml", "--id", "held").code == 3
    assert graft("show", "held").out.startswith("◌ parked waiting ")
    assert "◌ waiting" in graft("runs", "parked").out
    for argv in (("--where", "status == 'waiting'"), ("--waiting",), ("parked",), ("parked.toml",)):
        (line,) = graft("runs", *argv, "--json").out.splitlines()
        assert (json.loads(line)["run"], json.loads(line)["status"]) == ("held", "waiting")
    assert steady(graft("runs", "--waiting").out) == golden("""
        RUN   FLOW    STATUS     STARTED              TOOK   WAITS FOR
        held  parked  ◌ waiting  <moment>  <took>  a: gave up after 1 attempts: exit.3
    """)
    assert graft("runs", "nothing").err == "no runs for which that is true\n"
    assert graft("runs", "--watch").err.startswith("error: --watch needs a terminal")


@pytest.mark.usefixtures("failed")
def test_events_are_numbered(graft: Graft) -> None:
    every = [json.loads(line)["seq"] for line in graft("events", "--json").out.splitlines()]
    assert every == list(range(1, len(every) + 1))
    assert graft("events", "--after", str(len(every) - 1)).out.startswith(f"{len(every):>5}  ")
    follows = [json.loads(line)["seq"] for line in graft("events", "--after", "3", "-f", "--json").out.splitlines()]
    assert follows == every[3:]


def test_events_of_a_command_are_numbered_like_those_of_the_run(graft: Graft, write: Any) -> None:
    write("flow.toml", FLOW)
    first = [json.loads(line) for line in graft("run", "flow.toml", "--id", "mine", "--json").out.splitlines()]
    again = [json.loads(line) for line in graft("retry", "mine", "--json").out.splitlines()]
    numbers = [each["seq"] for each in (*first, *again) if each["type"] == "event"]
    assert numbers == list(range(1, len(numbers) + 1))


LINES = """
    graft = 1
    name = "lines"
    [nodes.a]
    run = "seq 5"
    [nodes.b]
    needs = ["a"]
    run = "echo last"
"""


def test_the_end_of_the_logs(graft: Graft, write: Any) -> None:
    write("flow.toml", LINES)
    assert graft("run", "flow.toml").code == 0
    assert graft("logs", "-n", "2").out == "a | 5\nb | last\n"
    assert graft("logs", "last", "a", "--tail", "1").out == "5\n"
    assert graft("logs", "-f", "--tail", "1").out == "b | last\n"
    assert graft("logs", "--tail", "0").out == ""
    assert len(graft("logs", "--since", "1h").out.splitlines()) == 6
    assert len(graft("logs", "--since", "2020-01-31").out.splitlines()) == 6
    later = graft("logs", "--since", "2999-01-31T06:00")
    assert (later.out, later.err.endswith("wrote nothing since then\n")) == ("", True)
    wrong = graft("logs", "--since", "yesterday")
    assert (wrong.code, wrong.err) == (
        2,
        "error: --since yesterday: expected a duration or a moment\n  such as 10m, 2h, or 2026-01-31T06:00\n",
    )


NEEDS = """
    graft = 1
    name = "needs"
    [nodes.a]
    run = "exit 4"
    on_failure = "continue"
    [nodes.b]
    needs = ["a"]
    run = "true"
    [nodes.g]
    [nodes.g.nodes.c]
    run = "exit 5"
    on_failure = "continue"
    [nodes.g.nodes.d]
    needs = ["c"]
    run = "true"
"""


def test_explain_names_the_need_that_failed_and_why(graft: Graft, write: Any) -> None:
    write("flow.toml", NEEDS)
    graft("run", "flow.toml", "--id", "mine")
    said = graft("explain", "mine").out
    assert "b is skipped: a need failed\n  it needs a is failed: exit.4: the command exited with 4\n" in said
    assert "g/d is skipped: a need failed\n  it needs g/c is failed: exit.5" in said
    assert "  needs c failed: exit.5: the command exited with 5\n" in graft("explain", "mine", "g/d").out


def test_items_are_named_by_what_they_are_for(graft: Graft, write: Any) -> None:
    write(
        "flow.toml",
        """
        graft = 1
        name = "matrix"
        [nodes.tests]
        for_each = [{ py = "3.10", os = "a" }, { py = 3.5 }, "plain", [1, 2], { deep = [1] }]
        value = 1
        """,
    )
    assert graft("run", "flow.toml").code == 0
    steps = [json.loads(line) for line in graft("show", "--json").out.splitlines()][2:]
    assert [step["item"] for step in steps] == ["py=3.10 os=a", "py=3.5", "plain", None, None]
    assert "✓ tests[0] py=3.10 os=a" in graft("show").out


def test_items_made_of_secrets_have_no_names(graft: Graft, write: Any) -> None:
    write(
        "flow.toml",
        """
        graft = 1
        name = "hidden"
        [params.tokens]
        type = "list[string]"
        secret = true
        [nodes.each]
        for_each = "${ params.tokens }"
        run = "true"
        """,
    )
    ended = graft("run", "flow.toml", "--tokens", "hunter2-first,hunter2-second")
    assert "hunter2" not in ended.err + graft("show").out + graft("show", "--json").out


@pytest.mark.usefixtures("failed")
def test_a_step_is_named_in_one_word_or_two(graft: Graft) -> None:
    for command in ("logs", "explain"):
        two = graft(command, "mine", "pick[1]")
        assert (two.code, two.err) == (0, "")
        assert two.out
        assert graft(command, "mine/pick[1]") == two == graft(command, "last/pick[1]")
    for argv in (("mine/pick[1]",), ("mine", "pick[1]")):
        assert graft("cancel", *argv).err == "error: run mine has ended: failed\n"
    assert graft("logs", "mine/nothing").err.startswith("error: run mine has no step nothing")
