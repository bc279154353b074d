"""Whether a failed attempt is tried again, and when (R7, R9).

The backoff before attempt n + 1 is `min(max, initial * factor ** (n - 1))`; with full jitter the delay is drawn
uniformly from [0, backoff] (Brooker, "Exponential Backoff and Jitter", 2015). The die is in the command: a u32.
"""

from __future__ import annotations

from collections.abc import Iterator

from graft.plan import Catch, ErrorRecord, Retry
from graft.plan.error_types import matches


def leaves(error: ErrorRecord) -> Iterator[ErrorRecord]:
    """The errors of a group, flattened; a plain error is its own leaf."""
    if error.type != "group":
        yield error
        return
    for cause in error.cause:
        yield from leaves(cause)


def find_catch(catches: tuple[Catch, ...], error: ErrorRecord) -> Catch | None:
    """The first catch that matches every leaf of `error`."""
    kinds = [leaf.type for leaf in leaves(error)]
    for catch in catches:
        if all(any(matches(pattern, kind) for pattern in catch.on) for kind in kinds):
            return catch
    return None


def may_retry(retry: Retry | None, attempt: int, error: ErrorRecord) -> bool:
    """Whether another attempt is allowed after attempt number `attempt` (from 1) failed with `error`."""
    if retry is None or attempt >= retry.attempts:
        return False
    return is_retryable(retry, error)


def is_retryable(retry: Retry, error: ErrorRecord) -> bool:
    if any(matches(pattern, error.type) for pattern in retry.never):
        return False
    return any(matches(pattern, error.type) for pattern in retry.on)


def may_park(retry: Retry | None, error: ErrorRecord) -> bool:
    """Whether a step that gave up with `error` is parked, and not failed."""
    if retry is None or retry.then == "fail":
        return False
    return retry.then == "pause" or is_retryable(retry, error)


def delay_ms(retry: Retry, attempt: int, dice: int, retry_after_ms: int | None = None) -> int:
    """Milliseconds until the attempt after `attempt`. `dice` is a u32; `Retry-After` is honoured up to `max`."""
    backoff = float(retry.initial_ms)
    for _ in range(attempt - 1):  # repeated multiplication: the same on every machine, no libm
        backoff *= retry.factor
        if backoff >= retry.max_ms:
            break
    ceiling = min(int(backoff), retry.max_ms)
    delay = ceiling * (dice & 0xFFFFFFFF) // 0xFFFFFFFF if retry.jitter else ceiling
    return max(delay, min(retry_after_ms, retry.max_ms)) if retry_after_ms else delay
