"""Running attempts at steps: `open_worker` gives a `Worker`, which is handed `Assignment`s and settles `Outcome`s.

The names are imported when they are asked for: `graft logs` needs no Trio, and neither does the process of a step with
`isolation = "process"`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graft.worker.assignment import Assignment, Outcome, Settle
    from graft.worker.hosted import HostedWorker, open_hosted_worker
    from graft.worker.logs import LogFollower, LogLine, LogStore
    from graft.worker.settings import HostSettings, WorkerSettings
    from graft.worker.worker import Worker, open_worker

_HOMES = {
    "Assignment": "assignment",
    "HostSettings": "settings",
    "HostedWorker": "hosted",
    "LogFollower": "logs",
    "LogLine": "logs",
    "LogStore": "logs",
    "Outcome": "assignment",
    "Settle": "assignment",
    "Worker": "worker",
    "WorkerSettings": "settings",
    "open_hosted_worker": "hosted",
    "open_worker": "worker",
}
__all__ = [
    "Assignment",
    "HostSettings",
    "HostedWorker",
    "LogFollower",
    "LogLine",
    "LogStore",
    "Outcome",
    "Settle",
    "Worker",
    "WorkerSettings",
    "open_hosted_worker",
    "open_worker",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
