"""How much a command shows of a run while it goes on: `-q`, `-v`, and of what the steps print `--logs`.

=========  =================================================================================================
`all`      every line as it comes; the default on a terminal
`failed`   the end of what the failed steps printed, once the run has ended; the default elsewhere, and in CI
`none`     nothing
=========  =================================================================================================

Programs that read `--json` get no lines unless they ask for `all`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar

import click
from attrs import frozen

from graft.cli.terminal import is_terminal
from graft.errors import UsageError

ALL, FAILED, NONE = "all", "failed", "none"

F = TypeVar("F", bound=Callable[..., Any])


@frozen
class Verbosity:
    """`logs`: what is shown of the lines that steps print. `in_groups`: in the form that GitHub's runner folds."""

    logs: str = FAILED
    quiet: bool = False
    verbose: bool = False
    in_groups: bool = False


def verbosity_options(command: F) -> F:
    """`-q`, `-v` and `--logs`, given to the command as `verbosity`. They have no long forms: a flow may have params of
    that name."""

    @wraps(command)
    def told(*args: Any, quiet: bool, verbose: bool, logs: str | None, **kwargs: Any) -> Any:
        if quiet and verbose:
            raise UsageError("-q and -v exclude each other")
        asked = ALL if verbose and logs is None else logs
        chosen = choose(asked, os.environ, on_terminal=is_terminal(sys.stderr), quiet=quiet, **_json_of(kwargs))
        return command(*args, verbosity=Verbosity(chosen, quiet, verbose, in_groups(os.environ)), **kwargs)

    result: Any = told
    for option in reversed(_OPTIONS):
        result = option(result)
    return result  # type: ignore[no-any-return]


_OPTIONS = (
    click.option(
        "--logs",
        type=click.Choice([FAILED, ALL, NONE]),
        help="What steps print: all as it comes, or its end for those that failed (default: all on a terminal).",
    ),
    click.option("-q", "quiet", is_flag=True, help="Show only how it ended, and the outputs."),
    click.option("-v", "verbose", is_flag=True, help="Show all that steps print, and every change of theirs."),
)


def _json_of(options: Mapping[str, Any]) -> dict[str, bool]:
    return {"as_json": bool(options.get("as_json"))}


def choose(
    asked: str | None, environment: Mapping[str, str], *, on_terminal: bool, quiet: bool = False, as_json: bool = False
) -> str:
    if asked is not None:
        return asked
    return ALL if on_terminal and not quiet and not as_json and not is_ci(environment) else FAILED


def is_ci(environment: Mapping[str, str]) -> bool:
    return environment.get("CI", "").lower() not in ("", "0", "false")


def in_groups(environment: Mapping[str, str]) -> bool:
    return environment.get("GITHUB_ACTIONS") == "true"
