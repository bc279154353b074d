"""One record for every refusal, for whoever keeps them: readable as it is, and with fields to search for."""

from __future__ import annotations

import logging
from collections.abc import Callable

from attrs import frozen

log = logging.getLogger("graft.audit")


@frozen
class AuditRecord:
    """Somebody was refused. `reason` is a stable word; `identity` and `roles` are empty while nobody knows who it is.

    `method` is `Service/Method`, or empty when the connection itself was refused.
    """

    reason: str
    text: str
    address: str = ""
    identity: str = ""
    roles: tuple[str, ...] = ()
    method: str = ""


Audit = Callable[[AuditRecord], None]


def log_refusal(record: AuditRecord) -> None:
    """For an operator who reads the log."""
    log.warning("refused (%s): %s", record.reason, record.text)
