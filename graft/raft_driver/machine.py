"""The state machine behind the log, as the door sees it."""

from __future__ import annotations

from typing import Any, Protocol

from graft.engine import Applied, Change


class Machine(Protocol):
    """All calls come from the door, on the Trio thread, and do not block."""

    def encode(self, command: Any) -> bytes: ...

    def decode(self, data: bytes) -> Any: ...

    def apply(self, index: int, command: Any) -> Applied: ...

    def drain(self) -> list[Change]:
        """State changes since the last call."""
        ...

    def dispatch(self, turn: list[Applied]) -> None:
        """Carry out the effects of a turn. Its state changes can be read by now."""
        ...

    def reset(self) -> None:
        """A snapshot took the place of the state in the store: forget everything and load it from there."""
        ...
