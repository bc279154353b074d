"""The version gate: a change of replicated behaviour is switched on by an entry of the log, for all at one index.

Programs are upgraded one by one; each tells in its answers the newest version that it understands. When all members
do, an operator (or the cluster by itself) raises the cluster's version. A program that is too old for what is
committed stops before it applies anything of it; so does one that has forgotten a version as old as the cluster's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .effects import AnswerRequest
from .events import VersionRequested
from .records import Kind

if TYPE_CHECKING:
    from .state import State


def at(s: State, index: int) -> tuple[int, int]:
    """(index of the entry, version) in force at `index`."""
    return next(pair for pair in reversed(s.versions) if pair[0] <= index)


def adopt(s: State, index: int, data: bytes) -> None:
    """A version entry was appended; it counts once it is committed."""
    s.versions.append((index, int(data)))
    s.hard_dirty = True


def roll_back(s: State, index: int) -> None:
    while s.versions[-1][0] >= index:
        s.versions.pop()
        s.hard_dirty = True


def replace(s: State, index: int, version: int) -> None:
    s.versions = [(index, version)]
    s.hard_dirty = True
    take_effect(s, version)


def forget_before(s: State, index: int) -> None:
    while len(s.versions) > 1 and s.versions[1][0] <= index:
        del s.versions[0]


def commit_advanced(s: State) -> None:
    index, version = at(s, s.commit)
    if version != s.version:
        take_effect(s, version)
    if s.version_request is not None and s.version_request[1] <= index:
        s.emit(AnswerRequest(s.version_request[0], "", s.leader))
        s.version_request = None


def take_effect(s: State, version: int) -> None:
    s.version = version
    check(s)


def check(s: State) -> None:
    """Stop if this program cannot run the cluster's version."""
    oldest, newest = s.config.min_version, s.config.max_version
    if not oldest <= s.version <= newest:
        s.stop(f"the cluster runs at version {s.version}, this program understands {oldest} to {newest}")


def version_requested(s: State, event: VersionRequested) -> None:
    from . import replication

    reason = refusal(s, event.version)
    if reason:
        s.emit(AnswerRequest(event.request, reason, s.leader))
        return
    data = str(event.version).encode()
    index = replication.append(s, Kind.VERSION, data)
    adopt(s, index, data)
    s.version_request = (event.request, index)


def refusal(s: State, version: int) -> str:
    if s.role != "leader":
        return "not_leader"
    if s.version_request is not None or s.versions[-1][0] > s.commit:
        return "busy"
    if version <= s.version:
        return "no_change"
    known = [s.config.max_version, *(s.progress[id].max_version for id in s.view.others)]
    return "" if min(known) >= version else "unsupported"
