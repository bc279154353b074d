"""`graft run` and what follows it, in this process: screens as golden text, exit codes, `--json`, `--from`, `--id`."""

from __future__ import annotations

import json
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.support.commands import Graft
from tests.support.screens import golden, steady

SHOP = """
    graft = 1
    name = "shop"

    [params.order]
    type = "string"
    doc = "which order"

    [nodes.fetch]
    run = "echo fetching $ORDER; test -e stock"
    env = { ORDER = "${ params.order }" }

    [nodes.pack]
    needs = ["fetch"]
    for_each = ["box", "tape"]
    value = "${ item }"

    [finally.tidy]
    value = "${ run.status }"

    [outputs]
    packed = "${ pack.out }"
"""


@pytest.fixture
def shop(write: Any, tmp_path: Path) -> Path:
    write("flow.toml", SHOP)
    return tmp_path


def test_a_run_that_succeeds(graft: Graft, shop: Path) -> None:
    (shop / "stock").touch()
    ended = graft("run", "flow.toml", "--order", "7", "--id", "mine")
    assert ended.code == 0
    assert json.loads(ended.out) == {"packed": ["box", "tape"]}
    assert steady(ended.err) == golden("""
        <s>  mine     running
        <s>  fetch    running
        <s>  fetch    succeeded in <took>
        <s>  pack     running
        <s>  pack[0]  succeeded
        <s>  pack[1]  succeeded
        <s>  pack     succeeded in <took>
        <s>  tidy     succeeded
        ✓ shop succeeded in <took>  mine
    """)


def test_a_run_that_fails_then_is_retried(graft: Graft, shop: Path) -> None:
    ended = graft("run", "flow.toml", "--order", "7", "--id", "mine")
    assert (ended.code, ended.out) == (1, "")
    ending = steady(ended.err[ended.err.index("✗ shop") :])
    assert ending == golden("""
        ✗ shop failed in <took>  mine

        fetch  exit.1: the command exited with 1
            │ fetching 7

          graft logs mine fetch  everything it wrote
          graft show mine        every step of the run
          graft retry mine       try again what failed; what succeeded is kept
    """)

    shown = graft("show", "mine")
    assert shown.code == 0
    assert steady(shown.out) == golden("""
        ✗ shop failed in <took>  mine
          started <moment>
          order = "7"

          ✗ fetch  <took>  exit.1
          ⊘ pack   its scope ended before
          ✓ tidy   <took>

        fetch  exit.1: the command exited with 1
            fetching 7
    """)

    planned = graft("retry", "mine", "--plan")
    assert (planned.code, planned.out) == (0, "")
    assert planned.err == golden("""
        retry mine (shop), generation 2
          runs again: fetch, pack, tidy
    """)

    (shop / "stock").touch()
    retried = graft("retry", "last")
    assert retried.code == 0
    assert json.loads(retried.out) == {"packed": ["box", "tape"]}
    assert "✓ shop succeeded" in retried.err

    again = graft("retry", "last")
    assert again.code == 2
    assert again.err == "error: run mine succeeded\n  name a step to run again from: --from NODE\n"

    from_pack = graft("retry", "mine", "--from", "pack", "--plan")
    assert from_pack.err == golden("""
        retry mine (shop), generation 3
          runs again: pack, tidy
          keeps: fetch
    """)


def test_what_failed_is_told_whole_and_once(graft: Graft, write: Any) -> None:
    write("flow.toml", 'graft = 1\nname = "wide"\n[nodes.a]\nrun = "printf %01500d 0; exit 1"\n')
    ended = graft("run", "flow.toml")
    assert ended.code == 1
    assert ended.err.count("0" * 1500) == 1
    assert graft("show").out.count("exited with 1") == 1


def test_the_same_id_is_the_same_run(graft: Graft, shop: Path) -> None:
    (shop / "stock").touch()
    first = graft("run", "flow.toml", "--order", "7", "--id", "mine")
    again = graft("run", "flow.toml", "--order", "7", "--id", "mine")
    assert (again.code, again.out) == (0, first.out)
    assert "fetch" not in again.err
    other = graft("run", "flow.toml", "--order", "8", "--id", "mine")
    assert other.code == 2
    assert other.err.startswith("error: there is a run mine already, of another flow or with other params\n")


def test_json_is_one_object_a_line(graft: Graft, shop: Path) -> None:
    (shop / "stock").touch()
    ended = graft("run", "flow.toml", "--order", "7", "--id", "mine", "--json")
    assert (ended.code, ended.err) == (0, "")
    *events, result = [json.loads(line) for line in ended.out.splitlines()]
    assert events[0].keys() == {"type", "run", "seq", "at", "path", "what", "attempt", "reason", "stale"}
    assert {event["type"] for event in events} == {"event"}
    assert [event["seq"] for event in events] == sorted(event["seq"] for event in events)
    assert [(event["path"], event["what"]) for event in events][-1] == ("", "succeeded")
    assert result["type"] == "result"
    assert (result["status"], result["exit_code"]) == ("succeeded", 0)
    assert result["outputs"] == {"packed": ["box", "tape"]}
    assert result["params"] == {"order": "7"}
    listed = graft("events", "mine", "--json")
    assert [json.loads(line) for line in listed.out.splitlines()] == events
    middle = events[2]["seq"]
    rest = graft("events", "mine", "--json", "--after", str(middle))
    assert [json.loads(line) for line in rest.out.splitlines()] == events[3:]


def test_ephemeral_leaves_nothing(graft: Graft, shop: Path) -> None:
    (shop / "stock").touch()
    ended = graft("run", "flow.toml", "--order", "7", "--ephemeral")
    assert ended.code == 0
    assert sorted(each.name for each in shop.iterdir()) == ["flow.toml", "stock"]


def test_the_data_directory_can_be_chosen(graft: Graft, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = graft("run", "flow.toml", "--order", "7", "--data", "my data")
    assert ended.code == 1
    assert "graft retry shop-" in ended.err
    assert "--data 'my data'" in ended.err
    assert graft("runs").err == golden("""
        error: there is no data directory .graft
          nothing has been run here; --data DIR names another directory
    """)
    monkeypatch.setenv("GRAFT_DATA", "my data")
    assert "✗ failed" in graft("runs").out


def test_dry_run(graft: Graft, shop: Path) -> None:
    ended = graft("run", "flow.toml", "--order", "7", "--dry-run")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == golden("""
        shop would run:
          order = "7"
          fetch  run  echo fetching $ORDER; test -e stock
          pack  value  once an item  after fetch
          tidy  value  finally
    """)
    assert not (shop / ".graft").exists()
    as_json = graft("run", "flow.toml", "--order", "7", "--dry-run", "--json")
    nodes = [json.loads(line) for line in as_json.out.splitlines()]
    assert [(node["path"], node["mapped"], node["finally"]) for node in nodes] == [
        ("fetch", False, False),
        ("pack", True, False),
        ("tidy", False, True),
    ]


CHAIN = """
    graft = 1
    name = "chain"
    [params.n]
    type = "int"
    default = 1
    [nodes.a]
    run = "echo a >> ran; echo $N"
    env = { N = "${ params.n }" }
    [nodes.b]
    run = "echo b >> ran; echo \\"$A\\" b"
    env = { A = "${ a.out }" }
    [nodes.c]
    run = "echo c >> ran; echo \\"$B\\" c"
    env = { B = "${ b.out }" }
    [outputs]
    text = "${ c.out }"
"""


def ran(directory: Path) -> str:
    text = "".join((directory / "ran").read_text().split())
    (directory / "ran").unlink()
    return text


def test_from_and_only_take_the_rest_from_an_earlier_run(graft: Graft, write: Any, tmp_path: Path) -> None:
    write("flow.toml", CHAIN)
    early = graft("run", "flow.toml", "--from", "b")
    assert early.code == 2
    assert "there is no data directory" in early.err
    whole = graft("run", "flow.toml")
    assert ran(tmp_path) == "abc"
    later = graft("run", "flow.toml", "--from", "b")
    assert (later.code, later.out) == (0, whole.out)
    assert ran(tmp_path) == "bc"
    alone = graft("run", "flow.toml", "--only", "b")
    assert alone.code == 0
    assert json.loads(alone.out) == {"b": "1 b"}
    assert ran(tmp_path) == "b"
    other = graft("run", "flow.toml", "--n", "2", "--from", "b")
    assert other.code == 2
    assert other.err.startswith("error: no earlier run of chain with these parameters has results of a\n")
    wrong = graft("run", "flow.toml", "--only", "bb")
    assert wrong.err == "error: the flow chain has no node bb\n  did you mean b?\n"
    planned = graft("run", "flow.toml", "--only", "b", "--dry-run")
    assert steady(planned.out) == golden("""
        chain would run:
          n = 1
          a  run  echo a >> ran; echo $N  taken from chain-<id>
          b  run  echo b >> ran; echo "$A" b  after a
          c  run  echo c >> ran; echo "$B" c  left out
    """)


def test_parked_steps_end_the_wait(graft: Graft, write: Any) -> None:
    write(
        "flow.toml",
        """
        graft = 1
        name = "parked"
        [nodes.a]
        run = "test -e ok"
        retry = { attempts = 2, initial = "1ms", then = "pause" }
        """,
    )
    ended = graft("run", "flow.toml", "--id", "mine")
    assert ended.code == 3
    assert steady(ended.err[ended.err.index("◌ parked") :]) == golden("""
        ◌ parked waiting  mine
          a  gave up after 2 attempts: exit.1
            exit.1: the command exited with 1

          graft show mine    what it waits for
          graft retry mine   try again what is parked
          graft resume mine  wait on
    """)
    write("ok", "")
    planned = graft("retry", "mine", "--plan")
    assert planned.err == "retry mine (parked): a new budget for a\n"
    assert graft("retry", "mine").code == 0


def test_timers_are_waited_for_unless_told_not_to(graft: Graft, write: Any) -> None:
    write("flow.toml", 'graft = 1\nname = "nap"\n[nodes.a]\nsleep = "1500ms"\n')
    assert graft("run", "flow.toml", "--no-wait", "--id", "mine").code == 3
    assert graft("resume", "mine").code == 0


def test_a_deadline_is_exit_code_5(graft: Graft, write: Any) -> None:
    write("flow.toml", 'graft = 1\nname = "late"\ntimeout = "200ms"\n[nodes.a]\nrun = "sleep 30"\n')
    ended = graft("run", "flow.toml")
    assert ended.code == 5
    assert "✗ late timed out" in ended.err


@pytest.mark.parametrize("run_id", ["last", "-", "", "a/b", "a b", "-a", "x" * 201, "a\n"])
def test_ids_that_cannot_be(graft: Graft, shop: Path, run_id: str) -> None:
    ended = graft("run", "flow.toml", "--order", "7", f"--id={run_id}")
    assert ended.code == 2
    assert ended.err.startswith("error: --id ")
    assert not (shop / ".graft").exists()


def test_what_user_code_prints_is_no_output(graft: Graft, write: Any) -> None:
    write("flow.toml", 'graft = 1\nname = "loud"\n[nodes.a]\npython = "loud:step"\n[outputs]\nx = "${ a.out }"\n')
    write("loud.py", 'print("imported")\ndef step() -> int:\n    print("called")\n    return 1\n')
    ended = graft("run", "flow.toml")
    assert (ended.code, json.loads(ended.out)) == (0, {"x": 1})
    assert graft("logs", "last", "a").out == "imported\ncalled\n"


def test_an_option_that_is_to_come(graft: Graft, shop: Path) -> None:
    ended = graft("run", "flow.toml", "--order", "7", "--ui")
    assert (ended.code, ended.err) == (2, "error: --ui is not in this version\n")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("gone.toml", "error: there is no file gone.toml\n  did you mean flow.toml?\n"),
        ("shop.py", "error: shop.py: flows in Python are not in this version\n"),
        ("shop.flows:main", "error: shop.flows:main: flows in Python are not in this version\n"),
        ("empty", "error: empty is a directory without a flow.toml\n  `graft new NAME` makes a flow\n"),
    ],
)
def test_flows_that_are_not_there(graft: Graft, shop: Path, argument: str, message: str) -> None:
    (shop / "empty").mkdir()
    ended = graft("run", argument)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(message)


def test_a_flow_in_a_directory(graft: Graft, write: Any) -> None:
    write("sub/flow.toml", 'graft = 1\nname = "sub"\n[nodes.a]\nvalue = 1\n[outputs]\nx = "${ a.out }"\n')
    assert json.loads(graft("run", "sub").out) == {"x": 1}


FILES = """
    graft = 1
    name = "files"

    [params.dir]
    type = "string"

    [params.url]
    type = "string"
    default = "-"

    [nodes.made]
    run = "printf hello > out.txt"
    cwd = "${ params.dir }"
    output = "file"
    output_path = "${ params.dir }/out.txt"

    [nodes.items]
    for_each = ["a", "b"]
    exec = ["sh", "-c", "pwd"]
    cwd = "${ params.dir }/${ item }"

    [nodes.got]
    when = "params.url != '-'"
    http = { url = "${ params.url }" }
    output = "file"
    output_path = "${ params.dir }/got.bin"

    [outputs]
    made = "${ made.out }"
    where = "${ items.out }"
    got = "${ default(got.out, null) }"
"""


def test_computed_paths_and_downloads(graft: Graft, write: Any, tmp_path: Path) -> None:
    write("flow.toml", FILES)
    write("sub/a/x", "")
    write("sub/b/x", "")
    assert graft("check", "flow.toml").code == 0
    body = tmp_path / "body"
    body.write_bytes(b"data" * 100)
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever).start()
        ended = graft("run", "flow.toml", "--dir", "sub", "--url", f"http://127.0.0.1:{server.server_port}/body")
        server.shutdown()
    assert ended.code == 0, ended.err
    out = json.loads(ended.out)
    assert (out["made"]["path"], out["made"]["size"]) == ("sub/out.txt", 5)
    assert out["where"] == [str(tmp_path / "sub/a"), str(tmp_path / "sub/b")]
    assert (out["got"]["path"], out["got"]["size"]) == ("sub/got.bin", 400)
    assert (tmp_path / "sub/got.bin").read_bytes() == body.read_bytes()
    ended = graft("run", "flow.toml", "--dir", "..")
    assert ended.code == 1
    assert "`cwd` leads out of the directory of the flow: .." in ended.err
    assert not (tmp_path.parent / "out.txt").exists()


@pytest.mark.parametrize(
    ("path", "code"),
    [("${ secrets.T }/x", "GR"), ("${ nothing.out }", "GR"), ("${ params.d }", "GR304"), ("${ ", "GR"), ("", "GR012")],
)
@pytest.mark.parametrize("key", ["cwd", "output_path"])
def test_paths_are_checked(graft: Graft, write: Any, key: str, path: str, code: str) -> None:
    more = 'output = "file"' if key == "output_path" else ""
    write(
        "flow.toml",
        f"""
        graft = 1
        name = "x"
        [secrets]
        T = {{ env = "T" }}
        [params.d]
        type = "list[string]"
        [nodes.a]
        run = "true"
        {key} = "{path}"
        {more}
        """,
    )
    ended = graft("check", "flow.toml")
    assert ended.code == 2
    assert code in ended.err + ended.out


def test_the_shell_of_a_flow(graft: Graft, write: Any) -> None:
    write(
        "flow.toml",
        """
        graft = 1
        name = "shells"
        [defaults.run]
        shell = ["sh", "-c"]
        [nodes.lax]
        run = "false; echo on"
        [nodes.snake]
        run = "print(6 * 7)"
        shell = ["python3", "-c"]
        output = "json"
        [outputs]
        found = "${ [lax.out, snake.out] }"
        """,
    )
    ended = graft("run", "flow.toml")
    assert (ended.code, json.loads(ended.out)) == (0, {"found": ["on", 42]})


def test_a_step_of_several_lines_ends_at_its_first_error(graft: Graft, write: Any) -> None:
    write(
        "flow.toml",
        """
        graft = 1
        name = "strict"
        [nodes.a]
        run = '''
        false
        echo on
        '''
        """,
    )
    ended = graft("run", "flow.toml")
    assert ended.code == 1
    assert "exit.1" in ended.err


@pytest.mark.parametrize("shell", ["[]", '"bash"', "[1]", '[""]', '["${ params.x }"]'])
def test_a_shell_that_is_none(graft: Graft, write: Any, shell: str) -> None:
    write("flow.toml", f'graft = 1\nname = "x"\n[nodes.a]\nrun = "true"\nshell = {shell}\n')
    assert graft("check", "flow.toml").code == 2


EPHEMERAL = """
    graft = 1
    name = "short"
    [nodes.shell]
    run = "echo said >&2; exit 3"
    [nodes.late]
    run = "echo begun; sleep 60"
    timeout = "100ms"
    [nodes.many]
    for_each = [1, 2]
    exec = ["sh", "-c", "echo item; exit 4"]
    [nodes.parked]
    run = "exit 5"
    retry = { attempts = 1, then = "pause" }
    [finally.tidy]
    run = "echo broken; exit 6"
"""


@pytest.mark.parametrize("only", ["shell", "late", "many", "parked"])
@pytest.mark.parametrize("json_lines", [False, True])
def test_every_failure_without_a_data_directory(
    graft: Graft, write: Any, tmp_path: Path, only: str, json_lines: bool
) -> None:
    nodes = EPHEMERAL.split("    [nodes.")
    kept = [each for each in nodes if each.startswith(f"{only}]")]
    write("flow.toml", nodes[0] + "    [nodes." + kept[0].split("    [finally")[0])
    ended = graft("run", "flow.toml", "--ephemeral", *(["--json"] if json_lines else []))
    assert ended.code == (3 if only == "parked" else 1)
    assert "internal error" not in ended.err
    if only == "shell":
        assert "said" in (ended.out if json_lines else ended.err)
    assert not (tmp_path / ".graft").exists()
