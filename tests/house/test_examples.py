"""Every example, run by `graft run` as a process, on the input that ships with it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted(path.parent.name for path in (ROOT / "examples").glob("*/flow.toml"))
GRAFT = str(Path(sys.executable).with_name("graft"))


class Examples:
    """A copy of the examples, and a data directory beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        shutil.copytree(
            ROOT / "examples", path, ignore=shutil.ignore_patterns("out", "__pycache__"), dirs_exist_ok=True
        )

    def graft(self, *args: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"NO_COLOR": "1", "GRAFT_DATA": str(self.path / "data")}
        # python3 of the flows is the one that runs the tests
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        return subprocess.run(
            [GRAFT, *args],
            cwd=self.path,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def run(self, name: str, *args: str, code: int = 0) -> Any:
        """The outputs of the run; None where it printed none."""
        done = self.graft("run", f"{name}/flow.toml", *args)
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None


@pytest.fixture
def examples(tmp_path: Path) -> Examples:
    return Examples(tmp_path)


def test_the_five_examples_are_there() -> None:
    assert EXAMPLES == ["almanac", "hello", "orders", "release", "weather"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_has_a_readme_with_its_command(name: str) -> None:
    assert f"graft run examples/{name}/flow.toml" in (ROOT / "examples" / name / "README.md").read_text()


def test_all_flow_files_are_valid_and_formatted(examples: Examples) -> None:
    flows = sorted(str(path.relative_to(examples.path)) for path in examples.path.rglob("*.toml"))
    checked = examples.graft("check", *flows)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    formatted = examples.graft("fmt", "--check", *flows)
    assert formatted.returncode == 0, formatted.stdout + formatted.stderr


def test_hello(examples: Examples) -> None:
    assert examples.run("hello") == {"greeting": "Hello, world!", "characters": 13}
    assert examples.run("hello", "--who", "$(id) \"'", "--language", "ja") == {
        "greeting": "こんにちは, $(id) \"'!",
        "characters": 16,
    }


def test_hello_refuses_a_language_that_is_none(examples: Examples) -> None:
    done = examples.graft("run", "hello/flow.toml", "--language", "English")
    assert done.returncode == 2
    assert "language" in done.stderr


def test_weather(examples: Examples) -> None:
    assert examples.run("weather") == {"days": 1461, "wettest": "2015-12", "report": "out/report.html"}
    report = (examples.path / "weather" / "out" / "report.html").read_text()
    assert report.count("<rect ") == 48
    assert "<tr><td>2015-12<td>284.5<td>" in report
    shown = examples.graft("show", "--json").stdout
    statuses = {step["path"]: step["status"] for step in map(json.loads, shown.splitlines()) if "path" in step}
    assert statuses["server"] == "cancelled"
    assert statuses["summaries[47]"] == "succeeded"


def test_weather_names_the_line_of_a_faulty_file(examples: Examples) -> None:
    good = (examples.path / "weather" / "data" / "seattle-weather.csv").read_text().splitlines(keepends=True)
    (examples.path / "weather" / "data" / "gap.csv").write_text("".join(good[:100] + good[101:]))
    done = examples.graft("run", "weather/flow.toml", "--file", "gap.csv")
    assert done.returncode == 1
    assert "line 101: expected 2012-04-09, got 2012-04-10" in done.stderr


def test_almanac(examples: Examples) -> None:
    assert examples.run("almanac", "--pause", "0") == {"months": 48, "hottest": [35.6, "2014/08/11"]}


def test_release_gets_through_an_outage(examples: Examples) -> None:
    outputs = examples.run("release")
    assert outputs["version"] == "1.4.0"
    out = examples.path / "release" / "out"
    assert (out / "depot" / "RELEASES").read_text() == f"1.4.0 {outputs['sha256']}\n"
    greeting = subprocess.run(
        [sys.executable, str(out / "depot" / "greeter-1.4.0.pyz"), "Ada"], capture_output=True, text=True, check=True
    )
    assert greeting.stdout == "Good morning, Ada.\n"
    assert not (out / "build").exists()


@pytest.mark.parametrize("fault", [("--outage", "9"), ("--broken",)], ids=["depot stays down", "does not start"])
def test_release_rolls_back(examples: Examples, fault: tuple[str, ...]) -> None:
    examples.run("release", *fault, code=1)
    out = examples.path / "release" / "out"
    assert list((out / "depot").iterdir()) == []
    assert (out / "history").read_text() == "1.4.0 failed\n"
    assert not (out / "build").exists()


def test_orders(examples: Examples) -> None:
    totals = {"shipped": 4, "back_ordered": ["ord_1004"], "cents": 21207}
    assert examples.run("orders") == {"totals": totals}
    out = examples.path / "orders" / "out"
    assert (out / "ord_1003.txt").read_text() == "J. Dupont, Lyon, 3658 g\n"
    assert (out / "back-orders").read_text() == "ord_1004: OutOfStock: Desk lamp: 2 wanted\n"
