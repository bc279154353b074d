"""Waiting for what the machine has too little of: open files, processes, memory, space for temporary files.

A shortage is no fault of the step that meets it. It waits while other attempts of this worker hold what it needs, and
a little longer when none does; then its attempt is given back as lost, so another member may run it, and after
`max_lost` times a person is asked.
"""

from __future__ import annotations

import errno
import resource
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

import trio

from graft.worker.failures import AttemptLost

if TYPE_CHECKING:
    from graft.worker.attempt import Attempt

SHORT: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM, errno.ENOBUFS, errno.ENOSPC, errno.EDQUOT}
)
FIRST_SECONDS: Final = 0.01
LONGEST_SECONDS: Final = 0.25  # between two tries
ALONE_SECONDS: Final = 2.0  # how long an attempt waits when nothing of this worker holds what it needs
FILES_EACH: Final = 3  # open files of an attempt: two pipes or a connection, and its log
RESERVED_FILES: Final = 40  # for the store, the sockets, the event loop, and for starting a program
AMPLE_FILES: Final = 4096  # nobody counts them where so many may be open


Made = TypeVar("Made")


class Shortage(Exception):
    """The text says of what, for what, and where."""


@contextmanager
def scarce(what: str, numbers: frozenset[int] | None = SHORT) -> Iterator[None]:
    """An OSError of a number in `numbers` (None: of any) inside of the block is a Shortage. `what` was to be done."""
    try:
        yield
    except OSError as error:
        if numbers is not None and error.errno not in numbers:
            raise
        raise Shortage(f"{what}: {error.strerror or error}") from None


async def patiently(attempt: Attempt, make: Callable[[], Awaitable[Made]]) -> Made:
    """What `make` gives, tried again while it raises Shortage. Raises AttemptLost."""
    delay, alone = FIRST_SECONDS, 0.0
    while True:
        try:
            made = await make()
        except Shortage as error:
            if attempt.short_of is None:
                attempt.log.note(f"waits: {error}")
            attempt.short_of = str(error)
        else:
            attempt.short_of = None
            return made
        alone = 0.0 if attempt.tools.processes_running else alone + delay
        if alone > ALONE_SECONDS:
            raise AttemptLost("shortage", attempt.short_of)
        await trio.sleep(delay)
        delay = min(delay * 2, LONGEST_SECONDS)


def file_slots() -> trio.CapacityLimiter | None:
    """How many attempts the limit of open files allows at once; None where there are files enough for all."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY or limit >= AMPLE_FILES:
        return None
    return trio.CapacityLimiter(max(1, (limit - RESERVED_FILES) // FILES_EACH))
