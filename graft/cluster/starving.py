"""Tell the operator of a member whose own loop is late. It stands for no election then; others may stand instead."""

from __future__ import annotations

import logging
from typing import Final

from graft.interfaces import Clock
from graft.raft_driver import RaftDoor

log = logging.getLogger("graft.cluster")

AGAIN_SECONDS: Final = 30.0  # between two lines


def warnings(door: RaftDoor) -> tuple[str, ...]:
    """For `graft status`; nothing for a member that is alone, which holds no elections."""
    worst = door.lateness.worst()
    if not worst or door.is_alone:
        return ()
    member = door.identity.member
    return (
        f"{member} got no processor time for up to {worst:.2f} s in the last minute: it may look dead to the others",
    )


class Starving:
    """Of one member: a line when its loop was late, not more often than every `AGAIN_SECONDS`."""

    def __init__(self, door: RaftDoor, clock: Clock) -> None:
        self._door, self._clock = door, clock
        self._quiet_until = float("-inf")
        self._times = 0
        door.on_starved = self._report

    def _report(self, seconds: float) -> None:
        if self._door.is_alone:
            return
        self._times += 1
        now = self._clock.monotonic()
        if now < self._quiet_until:
            return
        self._quiet_until = now + AGAIN_SECONDS
        times = f" ({self._times} times since the last such line)" if self._times > 1 else ""
        self._times = 0
        log.warning(
            "this member got no processor time for %.2f s%s: it draws no conclusion from the silence of the others, "
            "and does not stand for election; see docs/how-to/elections-under-load.md",
            seconds,
            times,
        )
