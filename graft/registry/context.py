"""What a Python step may ask of Graft: the object it gets for a parameter named `ctx` (or annotated `Context`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Context:
    """The attempt that runs. It may be handed to other tasks and threads of the step."""

    __slots__ = ("_log", "attempt", "idempotency_key", "index", "item", "run_id", "step")

    def __init__(
        self,
        run_id: str,
        step: str,
        attempt: int,
        idempotency_key: str,
        log: Callable[[str], None],
        item: Any = None,
        index: int | None = None,
    ) -> None:
        self.run_id = run_id
        self.step = step  # path: `pick[3]/pack`
        self.attempt = attempt  # 1 at the first try
        self.idempotency_key = idempotency_key  # the same on every attempt: hand it to the service you call
        self.item = item  # of a mapped step, else None
        self.index = index  # of a mapped step, else None
        self._log = log

    def log(self, *parts: object) -> None:
        """Write a line to the step's log, as `print` would put it together."""
        self._log(" ".join(map(str, parts)))

    def __repr__(self) -> str:
        return f"<Context of {self.run_id} {self.step}, attempt {self.attempt}>"
