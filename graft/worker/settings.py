"""How attempts are run, and how the processes are in which they run under `graft serve`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from attrs import field, frozen, validators


@frozen
class WorkerSettings:
    log_dir: Path | None = None  # None: logs are not kept
    grace_ms: int = 5000  # between SIGTERM and SIGKILL
    thread_limit: int = 64  # plain functions that run at once, in threads
    isolated_limit: int = field(factory=lambda: os.cpu_count() or 1)  # … in processes
    process_limit: int = 512  # programs that run at once
    stop_seconds: float = 10.0  # how long closing the worker may take beyond the grace
    capture_print: bool = True  # print() of Python steps goes to their logs


@frozen
class HostSettings:
    """How worker hosts are run. `worker` is the settings of the `Worker` in each, so its limits are for one host."""

    worker: WorkerSettings = field(factory=WorkerSettings)
    hosts: int = field(default=2, validator=validators.ge(1))
    attempts_per_host: int = field(default=1024, validator=validators.ge(1))  # in flight; others wait in the member
    user: str | None = None  # name or number; needs root
    group: str | None = None  # name or number; None: the user's own
    environment: Mapping[str, str] = field(factory=dict)  # added for hosts, and so for steps
    pass_environment: tuple[str, ...] = ()  # names of our variables, or patterns with `*`, that hosts get too
    hang_seconds: float = 0.5  # a host that has not answered for so long gets no new attempts
    lease_grace_ms: int = 500  # from the end of the lease, when attempts are stopped, until they are killed
