"""What steps printed in the form that GitHub's runner folds, and its annotations.

https://docs.github.com/actions/reference/workflow-commands-for-github-actions. A line of a step may look like such a
command: the runner is told to take none for one between `::stop-commands::TOKEN` and `::TOKEN::`.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from graft.cli.looks import error_title, one_line

if TYPE_CHECKING:
    from graft.plan import ErrorRecord


def group(title: str, lines: Iterable[str]) -> Iterator[str]:
    """The lines of one group."""
    token = secrets.token_hex(16)
    yield f"::group::{_data(title)}"
    yield f"::stop-commands::{token}"
    yield from lines
    yield f"::{token}::"
    yield "::endgroup::"


def annotation(error: ErrorRecord) -> str:
    """An error as the runner shows it on the page of the job."""
    title = _data(error.node or "graft").replace(":", "%3A").replace(",", "%2C")
    return f"::error title={title}::{_data(error_title(error))}"


def _data(text: str) -> str:
    return one_line(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
