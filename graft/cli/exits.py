"""Exit codes. They are part of the language's contract; nothing else in the package writes such a number."""

from __future__ import annotations

SUCCEEDED = 0
FAILED = 1
USAGE = 2  # or an invalid flow
WAITING = 3  # only waiting steps remain
CANCELLED = 4
TIMED_OUT = 5
UNREACHABLE = 6
UNCERTAIN = 7
INTERRUPTED = 130  # resumable

OF_STATUS: dict[str, int] = {
    "succeeded": SUCCEEDED,
    "failed": FAILED,
    "cancelled": CANCELLED,
    "timed_out": TIMED_OUT,
    "waiting": WAITING,
    "uncertain": UNCERTAIN,
}
"""Of a run's status when its command ends. Any other status means that the command left the run in flight."""


def of_status(status: str) -> int:
    return OF_STATUS.get(status, INTERRUPTED)
