"""How attempts are run."""

from __future__ import annotations

import os
from pathlib import Path

from attrs import field, frozen


@frozen
class WorkerSettings:
    log_dir: Path | None = None  # None: logs are not kept
    grace_ms: int = 5000  # between SIGTERM and SIGKILL
    thread_limit: int = 64  # plain functions that run at once, in threads
    isolated_limit: int = field(factory=lambda: os.cpu_count() or 1)  # … in processes
    process_limit: int = 512  # programs that run at once
    stop_seconds: float = 10.0  # how long closing the worker may take beyond the grace
    capture_print: bool = True  # print() of Python steps goes to their logs
