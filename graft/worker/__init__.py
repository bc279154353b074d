"""Running attempts at steps: `open_worker` gives a `Worker`, which is handed `Assignment`s and settles `Outcome`s."""

from graft.worker.assignment import Assignment, Outcome, Settle
from graft.worker.logs import LogFollower, LogLine, LogStore
from graft.worker.worker import Worker, WorkerSettings, open_worker

__all__ = [
    "Assignment",
    "LogFollower",
    "LogLine",
    "LogStore",
    "Outcome",
    "Settle",
    "Worker",
    "WorkerSettings",
    "open_worker",
]
