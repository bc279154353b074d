"""The statuses of steps, scopes and runs, and every legal move between them, as tables.

A move that is not in a table is illegal: `graft.engine.state.State.move` raises on it, which quarantines the run.
`docs/internals/engine.md` is generated from this file.
"""

from __future__ import annotations

from typing import Final

# A step. `reopen` is a person's retry: it opens the scope of a final step again.
# R4 of the language names the statuses; the key of an inner table is the reason class for the move.
STEP: Final[dict[str, dict[str, str]]] = {
    "pending": {"join": "ready", "skip": "skipped", "cancel": "cancelled", "give": "succeeded"},
    "ready": {
        "queue": "queued",
        "open": "running",
        "wait": "waiting",
        "succeed": "succeeded",
        "fail": "failed",
        "skip": "skipped",
        "cancel": "cancelled",
        "time_out": "timed_out",
    },
    "queued": {"start": "running", "strand": "waiting", "cancel": "cancelled", "time_out": "timed_out"},
    "running": {
        "succeed": "succeeded",
        "fail": "failed",
        "skip": "skipped",
        "time_out": "timed_out",
        "back_off": "backing_off",
        "lose": "queued",
        "park": "waiting",
        "stop": "cancelling",
        "cancel": "cancelled",
    },
    "cancelling": {
        "succeed": "succeeded",
        "cancel": "cancelled",
        "time_out": "timed_out",
        "fail": "failed",
    },
    "backing_off": {"queue": "queued", "cancel": "cancelled", "time_out": "timed_out"},
    "waiting": {
        "succeed": "succeeded",
        "queue": "queued",
        "cancel": "cancelled",
        "time_out": "timed_out",
    },
    "succeeded": {"reopen": "running"},
    "failed": {"reopen": "running"},
    "skipped": {},
    "cancelled": {"reopen": "running"},
    "timed_out": {"reopen": "running"},
}

# A scope: the durable nursery of a run, a group, a map or a sub-flow.
SCOPE: Final[dict[str, dict[str, str]]] = {
    "running": {"stop": "cancelling", "conclude": "concluding", "finalise": "finalising", "end": "ended"},
    "concluding": {"stop": "cancelling", "finalise": "finalising", "end": "ended"},
    "cancelling": {"finalise": "finalising", "end": "ended"},
    "finalising": {"end": "ended"},
    "ended": {"reopen": "running"},
}

# A run, as people see it.
RUN: Final[dict[str, dict[str, str]]] = {
    "running": {
        "stop": "cancelling",
        "succeed": "succeeded",
        "fail": "failed",
        "cancel": "cancelled",
        "time_out": "timed_out",
    },
    "cancelling": {"fail": "failed", "cancel": "cancelled", "time_out": "timed_out", "succeed": "succeeded"},
    "succeeded": {"reopen": "running"},
    "failed": {"reopen": "running"},
    "cancelled": {"reopen": "running"},
    "timed_out": {"reopen": "running"},
}

FINAL: Final = frozenset({"succeeded", "failed", "skipped", "cancelled", "timed_out"})
BAD: Final = frozenset({"failed", "timed_out"})  # what R5 counts as failed

# The move that ends a step or a run with a status.
ENDING: Final = {
    "succeeded": "succeed",
    "failed": "fail",
    "skipped": "skip",
    "cancelled": "cancel",
    "timed_out": "time_out",
}

MEANING: Final = {
    "pending": "some of its needs have not ended",
    "ready": "its join rule is met; an expression of it is being decided",
    "queued": "waits for a slot on a member",
    "running": "an attempt runs, or its scope is open",
    "cancelling": "it was told to stop and has not stopped yet",
    "backing_off": "an attempt failed; the next one starts when the backoff is over",
    "waiting": "waits for a timer, a person, or a member that can run it; the reason says which",
    "succeeded": "its result is recorded",
    "failed": "it failed and is not tried again",
    "skipped": "its join rule or its `when` said no, or it skipped itself",
    "cancelled": "it was stopped, or never started because its scope was",
    "timed_out": "a timeout of its own ended it; counts as failed",
}
