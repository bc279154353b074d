"""Every error that Graft raises on purpose, as one tree.

::

    GraftError                     anything below; `str()` is meant for a person
    +-- UsageError                 the caller asked for something that makes no sense (exit code 2)
    |   +-- InvalidFlow            a flow file does not compile; carries the diagnostics
    |   +-- InvalidConfig          settings of a member are wrong; carries every problem
    |   +-- InvalidParams          params of a run are missing, unknown or of a wrong type
    |   +-- UnknownRun             no run has this id
    |   +-- RunConflict            the run is not in a state that allows the request
    +-- ExpressionError            an expression could not be evaluated
    |   +-- AbsentValue            it read something that is not there (a skipped node's `out`)
    |   +-- BudgetExceeded         it built or did too much
    +-- PlanError                  a stored plan cannot be read
    |   +-- PlanFormatUnknown      it was written by a newer Graft
    +-- StorageError               the data directory cannot be used
    |   +-- StoreHeld              another process holds it; named
    |   +-- StoreReadOnly          it cannot be written to
    |   +-- StoreFull              the disk or our own quota is full
    |   +-- StoreCorrupt           a checksum or the structure of the store is wrong
    |   +-- StoreFormatUnknown     it was written by a newer Graft
    |   +-- SyncFailed             an fsync failed: what the disk holds is unknown
    +-- DiscoveryError             where the members are cannot be found out; what was asked is named
    |   +-- DiscoveryUnfit         what the settings ask for cannot work here (exit code 2)
    +-- Rejected                   the door refused a command, with the reason
    |   +-- NoQuorum               no leader took it: too few members can reach each other (exit code 6)
    |   +-- NotReady               who was asked is in no cluster yet (exit code 6)
    |   +-- NoRoom                 a store is nearly full: it takes no new work
    +-- Unreachable                no answer came over the network in time (exit code 6)
    +-- Denied                     who asked may not do that

Errors of the user's steps are not exceptions: they are `graft.plan.ErrorRecord`s, recorded as data.
"""

from __future__ import annotations


class GraftError(Exception):
    """Base of all. `message` says what went wrong and where; `hint` says what to do about it."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n  {self.hint}"


class UsageError(GraftError):
    exit_code = 2


class InvalidFlow(UsageError):
    """A flow does not compile. `diagnostics` holds every problem that was found, rendered by `graft_dsl`."""

    def __init__(self, message: str, diagnostics: tuple[object, ...] = (), *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.diagnostics = diagnostics


class InvalidConfig(UsageError):
    """Settings of a member are wrong. `problems` holds every one that was found, as `graft.config.Problem`."""

    def __init__(self, message: str, problems: tuple[object, ...] = (), *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.problems = problems


class InvalidParams(UsageError):
    pass


class UnknownRun(UsageError):
    pass


class RunConflict(UsageError):
    pass


class ExpressionError(GraftError):
    """`where` is the canonical text of the (sub-)expression that failed."""

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.where = where


class AbsentValue(ExpressionError):
    pass


class BudgetExceeded(ExpressionError):
    pass


class PlanError(GraftError):
    pass


class PlanFormatUnknown(PlanError):
    pass


class StorageError(GraftError):
    pass


class StoreHeld(StorageError):
    """Another process holds the data directory. `pid` is None when it cannot be told."""

    def __init__(self, message: str, *, pid: int | None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.pid = pid


class StoreReadOnly(StorageError):
    pass


class StoreFull(StorageError):
    exit_code = 1


class StoreCorrupt(StorageError):
    pass


class StoreFormatUnknown(StorageError):
    pass


class SyncFailed(StorageError):
    pass


class DiscoveryError(GraftError):
    pass


class DiscoveryUnfit(DiscoveryError):
    """The settings ask for what cannot work here at all: no other try makes it better."""

    exit_code = 2


class Rejected(GraftError):
    """The commit door refused a command. `reason` is a stable word: `overloaded`, `too_large`, `stopping`, …

    `leader`: who may take it, if known.
    """

    def __init__(self, message: str, *, reason: str, hint: str | None = None, leader: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason
        self.leader = leader


MAJORITY = "a majority of the voters has to be up and to reach each other; see `graft status`"


def _no_quorum(seconds: float, leader: str | None) -> str:
    if leader is None:
        return f"there is no quorum: no leader was found in {seconds:g} s"
    return f"there is no quorum, or it is slow: the leader {leader} did not answer in {seconds:g} s"


class NoQuorum(Rejected):
    """The cluster can neither take a command nor answer a linearizable read for now."""

    exit_code = 6

    def __init__(self, message: str, *, hint: str | None = None, leader: str | None = None) -> None:
        super().__init__(message, reason="no_quorum", hint=hint, leader=leader)

    @classmethod
    def after(cls, seconds: float, leader: str | None) -> NoQuorum:
        """Nobody took a change for `seconds`."""
        return cls(_no_quorum(seconds, leader), hint=MAJORITY + ". It may still be carried out", leader=leader)

    @classmethod
    def reading(cls, seconds: float, leader: str | None) -> NoQuorum:
        """Nobody confirmed for `seconds` that what is read is the newest."""
        return cls(_no_quorum(seconds, leader), hint=MAJORITY, leader=leader)


class NotReady(Rejected):
    """Who answers is in no cluster yet: it waits for others, or is being let in."""

    exit_code = 6

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, reason="not_ready", hint=hint)


MAKE_ROOM = "make room with `graft prune --older-than 7d` or `graft rm RUN`; what is stored already stays as it is"


class NoRoom(Rejected):
    """A store is nearly full, so that no new work is taken: what is there and under way needs the rest."""

    exit_code = 1
    REASON = "store_full"

    def __init__(self, message: str, *, hint: str | None = MAKE_ROOM) -> None:
        super().__init__(message, reason=self.REASON, hint=hint)


class Unreachable(GraftError):
    """No answer came from `address`: nobody listens, the connection broke, or the time was over.

    Whether the request was carried out is unknown, unless it says that no connection was made (`sent` is False).
    """

    exit_code = 6

    def __init__(self, message: str, *, address: str, sent: bool = True, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.address = address
        self.sent = sent


class Denied(GraftError):
    """Who asked could not show who he is, or none of his roles may do that. `reason` is a stable word."""

    def __init__(self, message: str, *, reason: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason
