"""`--stale`: what one member knows, without asking the others. The default asks a majority, and fails without one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from graft.cli.terminal import Paint, note
from graft.errors import NoQuorum, UsageError

if TYPE_CHECKING:
    from graft.cli.place import Place
    from graft.client import Client

F = TypeVar("F", bound=Callable[..., Any])


def stale_option(command: F) -> F:
    about = "With --server: what the member that answers knows, which may be old; also without a quorum."
    return click.option("--stale", is_flag=True, help=about)(command)


def check_stale(stale: bool, place: Place) -> None:
    """Raises UsageError where there is nobody to ask."""
    if stale and not place.is_remote:
        raise UsageError("--stale is for --server", hint="a data directory is read as it is: leave --stale out")


def say_stale(client: Client) -> None:
    said = f"as the member at {client.address} knows it, which may be old (--stale)"
    note(Paint.of(sys.stderr)(said, "yellow"))


@contextmanager
def naming_stale() -> Iterator[None]:
    """An error for want of a quorum names the way to have an answer all the same."""
    try:
        yield
    except NoQuorum as error:
        advice = "`--stale` shows what the member that answers knows, which may be old"
        hint = f"{error.hint}\n{advice}" if error.hint else advice
        raise NoQuorum(error.message, hint=hint, leader=error.leader) from None


__all__ = ["check_stale", "naming_stale", "say_stale", "stale_option"]
