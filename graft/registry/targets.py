"""Importing `package.module:function` with the flow's directory on the path, behind the standard library.

There it hides no module that Python or we need: a `queue.py` beside a flow is not what `import queue` means to a
library. For the same reason a module that we depend on is never taken from there (`_Dependencies`). A target that
names such a file is refused with the file's name.

Two flows in different directories may each have a `steps.py`. Python has one module of a name, so a module that
belongs to another directory is taken out of `sys.modules` first; functions that were resolved from it keep working,
for they hold their own globals.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.machinery
import importlib.util
import os
import re
import sys
import sysconfig
from difflib import get_close_matches
from importlib import metadata
from pathlib import Path
from typing import Any

DISTRIBUTION = "graft-flow"


class TargetProblem(LookupError):
    """A target cannot be used. `type` is the error type of a step that fails with it; `str()` is for a person."""

    def __init__(self, message: str, *, type: str, hint: str = "") -> None:
        super().__init__(f"{message}\n{hint}" if hint else message)
        self.message = message
        self.type = type
        self.hint = hint


def split_target(target: str) -> tuple[str, str]:
    """`("package.module", "function")`. Raises TargetProblem when `target` is not of this form."""
    module, colon, name = target.partition(":")
    names = [*module.split("."), *name.split(".")]
    if not colon or not all(part.isidentifier() for part in names):
        raise TargetProblem(f"`{target}` is not of the form package.module:function", type="python.ValueError")
    return module, name


def import_target(target: str, base: Path) -> Any:
    """The object that `target` names; `base` goes on `sys.path`, behind the standard library.

    Raises TargetProblem when the module or the name is missing. Whatever the module itself raises while it is
    imported comes through as it is.
    """
    module_name, name = split_target(target)
    module = _import_module(target, module_name, base)
    found: Any = module
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise _no_such_name(target, module_name, part, found) from None
    return found


def _import_module(target: str, name: str, base: Path) -> Any:
    directory = str(base.resolve())
    if directory not in sys.path:
        sys.path.insert(behind_the_standard_library(), directory)
        importlib.invalidate_caches()
    if directory not in _dependencies.guarded:
        _dependencies.guard(directory)
    top = name.partition(".")[0]
    _refuse_taken_name(target, top, directory)
    _forget_namesake(top, directory)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module is there; something that it imports is not
        raise TargetProblem(
            f"there is no module `{error.name}` (wanted by `{target}`)",
            type="python.ModuleNotFoundError",
            hint=f"looked in {directory} and in the environment of {sys.executable}",
        ) from None


def behind_the_standard_library() -> int:
    """The index in `sys.path` at which a directory hides no module of Python."""
    library = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    library |= {str(Path(each, "lib-dynload")) for each in library}
    return max((index + 1 for index, each in enumerate(sys.path) if each in library), default=0)


class _Dependencies:
    """Finds what we depend on where it is installed, also when a file beside a flow has its name."""

    def __init__(self) -> None:
        self.guarded: dict[str, set[str]] = {}  # names of dependencies that stand in a flow's directory, too

    def guard(self, directory: str) -> None:
        try:
            names = {each.partition(".")[0] for each in os.listdir(directory) if each.isidentifier() or ".py" in each}
        except OSError:
            names = set()
        elsewhere = [each for each in sys.path if each not in self.guarded and os.path.realpath(each) != directory]
        names = {each for each in names - sys.stdlib_module_names if _find(each, elsewhere) is not None}
        self.guarded[directory] = names & dependencies() if names else set()
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if path is None and any(name in names for names in self.guarded.values()):
            return _find(name, [each for each in sys.path if each not in self.guarded])
        return None


_dependencies = _Dependencies()


def is_of_a_flow(directory: str) -> bool:
    """Whether this entry of `sys.path` is there for a flow."""
    return directory in _dependencies.guarded


@functools.cache
def dependencies() -> frozenset[str]:
    """The top-level modules of Graft and of everything that it needs."""
    found: set[str] = set()
    waiting = [DISTRIBUTION]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            with contextlib.suppress(metadata.PackageNotFoundError):
                needed = metadata.requires(name) or []
                waiting += [re.split(r"[^\w.-]", each, maxsplit=1)[0].lower().replace("_", "-") for each in needed]
    modules = metadata.packages_distributions()
    ours = {top for top, names in modules.items() if any(each.lower().replace("_", "-") in found for each in names)}
    return frozenset(ours | {"graft", "graft_dsl"})


def _find(name: str, path: list[str]) -> importlib.machinery.ModuleSpec | None:
    return importlib.machinery.PathFinder.find_spec(name, path)


def _refuse_taken_name(target: str, top: str, directory: str) -> None:
    """A file beside the flow that has the name of a module of Python's or ours cannot be imported."""
    is_pythons = top in sys.stdlib_module_names
    if not is_pythons and top not in _dependencies.guarded[directory]:
        return
    spec = _find(top, [directory])
    if spec is not None and spec.origin is not None:
        owner = "the standard library" if is_pythons else "a package that Graft needs"
        raise TargetProblem(
            f"{spec.origin} has the name of a module of {owner}, so `{target}` does not reach it",
            type="python.ImportError",
            hint="give the file another name",
        )


def _forget_namesake(top: str, directory: str) -> None:
    """Forget the loaded module `top` when `directory` has one of its own of that name."""
    loaded = sys.modules.get(top)
    if loaded is None or top in sys.builtin_module_names:
        return
    spec = importlib.machinery.PathFinder.find_spec(top, [directory])
    if spec is None or spec.origin is None or spec.origin == getattr(loaded.__spec__, "origin", None):
        return
    if getattr(loaded, "__file__", None) is None or not _is_of_a_flow(loaded.__file__ or ""):
        return  # of the standard library or an installed package: Python's own order decided, leave it
    for each in [each for each in sys.modules if each == top or each.startswith(f"{top}.")]:
        del sys.modules[each]
    importlib.invalidate_caches()
    if directory in sys.path:
        sys.path.remove(directory)
        sys.path.insert(behind_the_standard_library(), directory)


def _is_of_a_flow(file: str) -> bool:
    return not any(
        part in ("site-packages", "dist-packages") or part.startswith("python3") for part in Path(file).parts
    )


def _no_such_name(target: str, module: str, name: str, found: Any) -> TargetProblem:
    public = [each for each in vars(found) if not each.startswith("_")] if hasattr(found, "__dict__") else []
    near = get_close_matches(name, public, 1)
    return TargetProblem(
        f"module `{module}` has no `{name}` (wanted by `{target}`)",
        type="python.AttributeError",
        hint=f"did you mean `{near[0]}`?" if near else "",
    )
