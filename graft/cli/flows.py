"""FLOW on the command line: which file it names, and its compiled plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft.cli.guess import closest
from graft.errors import UsageError
from graft.files import read_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graft.plan import Plan
    from graft_dsl import Compiled

DEFAULT_NAME = "flow.toml"  # of a directory


def find_flow(target: str) -> Path:
    """The flow file that `target` names: a file, or a directory with a `flow.toml`. Raises UsageError."""
    if not target:
        raise UsageError("FLOW is empty", hint="FLOW is a .toml file, or a directory with one")
    path = Path(target)
    if path.is_dir():
        if (path / DEFAULT_NAME).is_file():
            return path / DEFAULT_NAME
        raise UsageError(f"{target} is a directory without a {DEFAULT_NAME}", hint=_others(path))
    if path.suffix == ".py" or (not path.exists() and _names_python(target)):
        raise UsageError(
            f"{target}: flows in Python are not in this version", hint="FLOW is a .toml file, or a directory with one"
        )
    if not path.exists():
        raise UsageError(f"there is no file {target}", hint=_others(path.parent, path.name))
    return path


def compile_flow(target: str, *, resolve_python: bool = True) -> Compiled:
    """The compiled flow that `target` names.

    Imports the Python functions that it names, unless `resolve_python` is False. Raises UsageError (no such file,
    or it cannot be read) and InvalidFlow.
    """
    import graft_dsl

    path = find_flow(target)
    try:
        if not resolve_python:
            return graft_dsl.compile_file(path)
        from graft.registry.apart import Apart

        with Apart() as resolver:
            return graft_dsl.compile_file(path, python=resolver)
    except OSError as error:
        raise unreadable(path, error) from error


def too_short_secrets(plan: Plan, base: Path, params: Mapping[str, Any] | None = None) -> list[str]:
    """A sentence for each secret that is known here, and whose text cannot be told from ordinary text."""
    declared = {secret.name: secret for block in plan.blocks for secret in block.secrets}
    given = {param.name: (params or {}).get(param.name) for param in plan.root.params if param.secret}
    if not declared and not given:
        return []
    from graft.worker.redaction import is_too_short, too_short
    from graft.worker.secrets import Vault

    told = [
        too_short(f"the secret param {name}", value)
        for name, value in given.items()
        if isinstance(value, str) and value and is_too_short(value)
    ]
    return [*Vault().short(declared, base), *told]


def read_text(path: Path) -> str:
    """The text of a file. Raises UsageError when it cannot be had, or has more than MAX_BYTES."""
    try:
        data = read_file(path)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    try:
        return data.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8: byte {error.start} is 0x{error.object[error.start]:02x}") from error


def unreadable(path: Path, error: OSError | ValueError) -> UsageError:
    return UsageError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}")


def _names_python(target: str) -> bool:
    module, colon, _name = target.partition(":")
    return bool(colon) and (module.endswith(".py") or module.replace(".", "").isidentifier())


def _others(directory: Path, name: str = DEFAULT_NAME) -> str:
    """A hint at flow files that are there."""
    try:
        names = sorted(each.name for each in directory.glob("*.toml"))
    except OSError:
        names = []
    close = closest(name, names, cutoff=0.5) or names[:1]
    if not close:
        return "`graft new NAME` makes a flow"
    return f"did you mean {directory / close[0]}?"
