"""The live view on a pseudo terminal: it shows the tree, fits, and gives the terminal back, however it ends."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.terminals import Terminal

FLOW = """
    graft = 1
    name = "shop"
    [nodes.fetch]
    run = "true"
    [nodes.pick]
    needs = ["fetch"]
    for_each = ["a", "b", "c", "d"]
    max_parallel = 2
    run = "while [ ! -e go-$X ]; do sleep 0.05; done"
    env = { X = "${ item }" }
    [outputs]
    n = "${ len(pick.out) }"
"""

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


@pytest.fixture
def flow(write: Any, tmp_path: Path) -> Path:
    write("flow.toml", FLOW)
    return tmp_path


def let_go(directory: Path, *names: str) -> None:
    for name in names:
        (directory / f"go-{name}").touch()


def cursor_is_visible(seen: str) -> bool:
    return seen.rfind(SHOW) > seen.rfind(HIDE)


def test_the_tree_grows_and_is_replaced_by_the_result(flow: Path) -> None:
    with Terminal("run", "flow.toml", cwd=flow) as terminal:
        terminal.see("● pick 0/4")
        terminal.see("  ● pick[1]")
        let_go(flow, "a")
        terminal.see("● pick 1/4")
        let_go(flow, "b", "c", "d")
        assert terminal.end() == 0
    assert HIDE in terminal.seen
    assert cursor_is_visible(terminal.seen)
    ending = terminal.text[terminal.text.rindex("✓ shop succeeded") :]
    assert ending.endswith('\n{"n": 4}\n')
    assert "pick" not in ending


def test_no_line_is_wider_than_the_terminal_nor_the_view_higher(flow: Path) -> None:
    with Terminal("run", "flow.toml", cwd=flow, rows=8, columns=30) as terminal:
        terminal.see("● pick 0/4")
        let_go(flow, "a", "b", "c", "d")
        assert terminal.end() == 0
    view = terminal.text[: terminal.text.index("✓ shop succeeded")]
    assert max(map(len, view.splitlines())) <= 30
    frames = terminal.seen.split("\x1b[1A")  # the cursor goes up once a line of the frame before
    assert max(frame.count("\n") for frame in frames) <= 8


def test_ctrl_c_gives_the_terminal_back(flow: Path) -> None:
    with Terminal("run", "flow.toml", cwd=flow) as terminal:
        terminal.see("● pick 0/4")
        terminal.press("\x03")
        terminal.see("cancelling (Ctrl-C again stops now")
        assert terminal.end() == 4
    assert cursor_is_visible(terminal.seen)
    assert "⊘ shop cancelled" in terminal.text


def test_leaving_at_once_gives_the_terminal_back_too(write: Any, tmp_path: Path) -> None:
    write("flow.toml", 'graft = 1\nname = "stuck"\n[nodes.a]\npython = "stuck:step"\n')
    write(
        "stuck.py",
        """
        import time
        async def step():
            time.sleep(0.3)  # a frame has been drawn
            open("blocking", "w").close()
            time.sleep(60)
        """,
    )
    os.mkfifo(tmp_path / "blocking")
    with Terminal("run", "flow.toml", "--id", "mine", cwd=tmp_path) as terminal:
        (tmp_path / "blocking").read_bytes()  # once the step opens it
        terminal.press("\x03")
        time.sleep(0.1)  # sooner, it would count as the same Ctrl-C
        terminal.press("\x03")
        assert terminal.end() == 130
    assert cursor_is_visible(terminal.seen)
    assert terminal.text.endswith("stopped; `graft resume mine` goes on\n")


def test_no_color_and_dumb_terminals(flow: Path) -> None:
    let_go(flow, "a", "b", "c", "d")
    with Terminal("run", "flow.toml", cwd=flow, env={"NO_COLOR": "1"}) as terminal:
        assert terminal.end() == 0
    assert HIDE in terminal.seen
    assert not any(f"\x1b[{code}m" in terminal.seen for code in ("31", "32", "33", "36"))
    with Terminal("run", "flow.toml", cwd=flow, env={"TERM": "dumb"}) as terminal:
        assert terminal.end() == 0
    assert "\x1b" not in terminal.seen
    assert "pick[0]" in terminal.text
