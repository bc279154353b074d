"""Importing `package.module:function` with the flow's directory on the path.

Two flows in different directories may each have a `steps.py`. Python has one module of a name, so a module that
belongs to another directory is taken out of `sys.modules` first; functions that were resolved from it keep working,
for they hold their own globals.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Any


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
    """The object that `target` names; `base` goes on `sys.path`.

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
        sys.path.insert(0, directory)
        importlib.invalidate_caches()
    _forget_namesake(name.partition(".")[0], directory)
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
    if sys.path[0] != directory:
        sys.path.remove(directory)
        sys.path.insert(0, directory)


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
