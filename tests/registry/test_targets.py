"""Resolving `module:function`: what is missing and where, namesakes, contexts, signatures."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from graft.plan.signature import Signature
from graft.registry import Context, TargetProblem, resolve, signature


@pytest.fixture(autouse=True)
def _import_state() -> Iterator[None]:
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.fixture
def name() -> str:
    return f"steps_{uuid.uuid4().hex[:8]}"


def test_signature(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").write_text('''
from graft.registry import Context
async def charge(ctx: Context, cents: int, note: str | None = None) -> dict[str, int]:
    """Take the money.

    All of it."""
def bare(a, ctx, *more, **rest): pass
''')
    find = partial(signature, base=str(tmp_path))
    assert find(f"{name}:charge") == Signature(
        params=(("cents", "int", True), ("note", ("optional", "string"), False)),
        returns=("table", "int"),
        context="ctx",
        is_async=True,
        doc="Take the money.\n\nAll of it.",
    )
    assert find(f"{name}:bare") == Signature((("a", None, True),), None, accepts_any=True, context="ctx")


def test_annotations_of_names_that_are_not_there_at_run_time(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").write_text("""
from __future__ import annotations
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from graft import Context
    from pandas import DataFrame
def step(c: Context, frame: DataFrame, n: int) -> DataFrame: ...
""")
    found = signature(f"{name}:step", str(tmp_path))
    assert found.context == "c"
    assert found.params == (("frame", None, True), ("n", None, True))


@pytest.mark.parametrize(
    ("target", "message", "type"),
    [
        ("steps", "`steps` is not of the form package.module:function", "python.ValueError"),
        ("a b:c", "`a b:c` is not of the form package.module:function", "python.ValueError"),
        ("no_such:f", "there is no module `no_such` (wanted by `no_such:f`)", "python.ModuleNotFoundError"),
        ("NAME.sub:f", "there is no module `NAME.sub` (wanted by `NAME.sub:f`)", "python.ModuleNotFoundError"),
        ("NAME:quot", "module `NAME` has no `quot` (wanted by `NAME:quot`)\ndid you mean", "python.AttributeError"),
        ("NAME:Thing", "`NAME:Thing` is a class", "python.TypeError"),
        ("NAME:number", "`NAME:number` is a int, not a function", "python.TypeError"),
    ],
)
def test_what_is_missing(tmp_path: Path, name: str, target: str, message: str, type: str) -> None:
    (tmp_path / f"{name}.py").write_text("def quote(): ...\nclass Thing: ...\nnumber = 3\n")
    with pytest.raises(TargetProblem) as caught:
        signature(target.replace("NAME", name), str(tmp_path))
    assert str(caught.value).startswith(message.replace("NAME", name))
    assert caught.value.type == type


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library' ({file}:1)"),
        ("x = 1\n{}['a']", "KeyError: 'a' ({file}:2)"),
        ("def f(:", "SyntaxError: invalid syntax ({name}.py, line 1) ({file}:1)"),
        ("import sys; sys.exit(3)", "SystemExit: 3 ({file}:1)"),
    ],
)
def test_a_module_that_fails_when_imported(tmp_path: Path, name: str, source: str, message: str) -> None:
    file = tmp_path / f"{name}.py"
    file.write_text(source)
    with pytest.raises(TargetProblem) as caught:
        signature(f"{name}:f", str(tmp_path))
    wanted = f"importing module `{name}` (wanted by `{name}:f`) failed: {message.format(file=file, name=name)}"
    assert str(caught.value) == wanted


def test_two_flows_with_modules_of_the_same_name(tmp_path: Path, name: str) -> None:
    for which in ("one", "two"):
        package = tmp_path / which / name
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "inner.py").write_text(f"def f():\n    return helper()\ndef helper():\n    return '{which}'\n")
    first = resolve(f"{name}.inner:f", tmp_path / "one")
    second = resolve(f"{name}.inner:f", tmp_path / "two")
    assert (first.call({}), second.call({}), first.call({})) == ("one", "two", "one")
    assert resolve(f"{name}.inner:f", tmp_path / "one") is first


def test_a_flow_does_not_replace_an_installed_package(tmp_path: Path) -> None:
    import msgspec

    (tmp_path / "msgspec.py").write_text("def f(): return 'mine'\n")
    with pytest.raises(TargetProblem, match=r"msgspec.py has the name of a module of a package that Graft needs"):
        resolve("msgspec:f", tmp_path)
    assert sys.modules["msgspec"] is msgspec


def test_nested_names_and_partials(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").write_text(
        "import functools\nclass A:\n    @staticmethod\n    def f(x: int): return x\n"
        "g = functools.partial(A.f, x=3)\n"
        "class Callable:\n    async def __call__(self, y): return y\nh = Callable()\n"
    )
    assert resolve(f"{name}:A.f", tmp_path).call({"x": 5}) == 5
    assert resolve(f"{name}:g", tmp_path).call({}) == 3
    assert resolve(f"{name}:h", tmp_path).is_async


def test_a_builtin_function(tmp_path: Path) -> None:
    function = resolve("math:sqrt", tmp_path)
    assert function.call(function.bind({"x": 4})) == 2


def test_context_is_shown_and_logs() -> None:
    said: list[str] = []
    context = Context("r1", "pick[0]", 2, "key", said.append, item="a", index=0)
    context.log("x", 3)
    assert said == ["x 3"]
    assert repr(context) == "<Context of r1 pick[0], attempt 2>"


@pytest.mark.parametrize(
    "name", ["queue", "logging", "secrets", "socket", "http", "attrs", "trio", "click", "trio_parallel"]
)
def test_a_file_beside_the_flow_hides_nothing_that_python_or_graft_needs(tmp_path: Path, name: str) -> None:
    """In a process of its own: here the modules are loaded already."""
    (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong file')\n")
    (tmp_path / "innocent.py").write_text(f"import {name}\ndef f():\n    return {name}.__file__\n")
    code = (
        "import sys, pathlib\n"
        "from graft.registry import TargetProblem\n"
        "from graft.registry.targets import import_target\n"
        "base = pathlib.Path(sys.argv[1])\n"
        "assert not import_target('innocent:f', base)().startswith(str(base))\n"
        "try: import_target(sys.argv[2] + ':f', base)\n"
        "except TargetProblem as problem: print(problem)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path), name], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert f"{tmp_path / name}.py has the name of a module of" in ran.stdout
    assert "give the file another name" in ran.stdout
