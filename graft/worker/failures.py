"""How an executor says that a step failed: an exception inside the worker, an `ErrorRecord` outside of it."""

from __future__ import annotations

from graft.plan import ErrorRecord

DETAIL_CHARS = 4000
TITLE_CHARS = 500


class StepFailure(Exception):
    """The step failed. `type` is one of R9's; `title` is one line for a person; `detail` may be several lines.

    Texts may still hold secrets: the attempt redacts and shortens them when it makes the record. It leaves a title
    alone that `is_ours`, which holds nothing of the step's: a secret may be a word that we use.
    """

    def __init__(
        self,
        type: str,
        title: str,
        detail: str = "",
        *,
        cause: tuple[ErrorRecord, ...] = (),
        retry_after_ms: int | None = None,
        is_ours: bool = False,
    ) -> None:
        super().__init__(f"{type}: {title}")
        self.type = type
        self.title = title
        self.detail = detail
        self.cause = cause
        self.retry_after_ms = retry_after_ms
        self.is_ours = is_ours


class AttemptLost(StepFailure):
    """A part of Graft, the machine or whoever stops both ended the attempt, not its own code: it is not counted."""


class StepSkipped(StepFailure):
    """The step's own code skipped it. The title is why; the type is what it would be as a failure."""


def shorten(text: str, limit: int) -> str:
    """`text`, or its head and its tail with a note between them when it has more than `limit` characters.

    Halves of surrogate pairs, which bytes that are no UTF-8 become in Python, are written out: no record can hold them.
    """
    text = text.encode("utf-8", "backslashreplace").decode()
    if len(text) <= limit:
        return text
    head = limit // 3
    return f"{text[:head]}\n… {len(text) - limit} characters left out …\n{text[head - limit :]}"
