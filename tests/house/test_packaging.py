"""The lock file, the wheel's contents and the commands of the README, as a newcomer and CI meet them."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import graft
import graft_dsl

ROOT = Path(__file__).resolve().parents[2]
PUBLIC = ("https://pypi.org/simple", "https://files.pythonhosted.org/packages/")


def fenced(name: str) -> str:
    """The content of the README's block that is opened with ```sh NAME."""
    found = re.search(rf"^```sh {name}\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    assert found is not None, f"the README has no block `sh {name}`"
    return found[1].strip()


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=;~! ]", each)[0].lower() for each in requirements}


def test_the_lock_file_points_at_the_public_index_only() -> None:
    urls = re.findall(r'(?:url|registry) = "([^"]*)"', (ROOT / "uv.lock").read_text())
    assert urls
    assert [url for url in urls if not url.startswith(PUBLIC)] == []


def test_the_lock_file_has_every_requirement_of_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    (ours,) = (package for package in lock["package"] if package["name"] == "graft-flow")
    wanted = list(project["project"]["dependencies"])
    wanted += [each for extra in project["project"]["optional-dependencies"].values() for each in extra]
    wanted += [each for group in project["dependency-groups"].values() for each in group if isinstance(each, str)]
    locked = [each["name"] for each in ours["metadata"]["requires-dist"]]
    locked += [each["name"] for group in ours["metadata"]["requires-dev"].values() for each in group]
    assert names(wanted) == set(locked)
    specifiers = {each["name"]: each.get("specifier", "") for each in ours["metadata"]["requires-dist"]}
    for each in project["project"]["dependencies"]:
        (name,) = names([each])
        assert specifiers[name] == each.removeprefix(name), "run `uv lock`"


def test_the_constraints_are_the_versions_of_the_lock_file() -> None:
    """`nox -s generated` compares the whole file; this says it to whoever runs the tests only."""
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    locked = {(package["name"], package.get("version")) for package in lock["package"]}
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    constrained = [tuple(line.partition(" ;")[0].split("==")) for line in lines]
    assert set(constrained) <= locked, "run `nox -s generated -- --write`"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [each for extra in project["optional-dependencies"].values() for each in extra]
    assert names(project["dependencies"] + extras) <= {name for name, _ in constrained}


def test_the_readme_opens_with_two_commands_that_newcomers_can_paste() -> None:
    run, test = fenced("run"), fenced("test")
    assert "\n" not in run
    assert "\n" not in test
    for command in (run, test):
        assert "pip install --quiet -c constraints.txt " in command
    assert run.endswith("graft run examples/hello/flow.toml")
    assert test.endswith("pytest -n auto")
    blocks = re.findall(r"^```(\w.*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert blocks[:2] == ["sh run", "sh test"]


def test_ci_runs_the_readmes_test_command_and_not_a_copy_of_it() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert "README.md" in script
    assert "pytest" not in script


def test_the_readmes_flow_compiles() -> None:
    flow = re.search(r"^```toml\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    assert flow is not None
    assert graft_dsl.compile_text(flow[1], filename="README.md", base=ROOT).plan.name == "thumbnails"


def test_the_wheel_and_the_source_have_one_version() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+)?", graft.__version__)
    assert metadata.version("graft-flow") == graft.__version__
