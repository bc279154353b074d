"""What a command that was called in this process came to."""

from __future__ import annotations

from typing import Protocol

from attrs import frozen


@frozen
class Ended:
    code: int
    out: str
    err: str


class Graft(Protocol):
    """The fixture `graft`: calls a command through the door of the installed script."""

    def __call__(self, *argv: str) -> Ended: ...
