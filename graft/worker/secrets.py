"""Where the member that runs a step finds the text of its secrets (R16)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from graft.files import read_file
from graft.plan import Secret
from graft.worker.failures import StepFailure
from graft.worker.redaction import Redactor, is_too_short, too_short

PREFIX = "secrets."
MAX_SECRET_BYTES = 1024 * 1024


class Vault:
    """Resolves secrets, and remembers files by their time of change, so that a rotated secret is read again."""

    def __init__(self) -> None:
        self._files: dict[Path, tuple[tuple[int, int], str]] = {}
        self._redactors: dict[frozenset[str], Redactor] = {}

    def resolve(self, secret: Secret, base: Path) -> str:
        """The text of `secret`. Raises StepFailure of type `expression` when it is not there."""
        if secret.source == "env":
            text = os.environ.get(secret.ref)
            if text is None:
                raise _missing(secret, f"the environment variable {secret.ref} is not set where the step runs")
            if not text:  # what CI services give for a secret that was never set
                raise _missing(secret, f"the environment variable {secret.ref} is empty where the step runs")
            return text
        path = base / secret.ref
        try:
            return self._read(path)
        except UnicodeDecodeError:
            raise _missing(secret, f"the file {path} is not UTF-8 text") from None
        except (OSError, ValueError) as error:
            raise _missing(secret, f"the file {path} cannot be read: {getattr(error, 'strerror', error)}") from None

    def short(self, secrets: Mapping[str, Secret], base: Path) -> list[str]:
        """A sentence for each secret that is there, and is not hidden because its text is too ordinary."""
        told = []
        for name, secret in sorted(secrets.items()):
            with contextlib.suppress(StepFailure):
                text = self.resolve(secret, base)
                if text and is_too_short(text):
                    told.append(too_short(f"the secret {name}", text))
        return told

    def redactor(self, secrets: Mapping[str, Secret], base: Path, hidden: frozenset[str]) -> Redactor | None:
        """For `hidden` and every declared secret that is there, used by the step or not: `env` prints them all."""
        texts = set(hidden)
        for secret in secrets.values():
            try:
                texts.add(self.resolve(secret, base))
            except StepFailure:
                continue
        key = frozenset(texts)
        found = self._redactors.get(key)
        if found is None:
            if len(self._redactors) >= 64:
                self._redactors.clear()
            found = self._redactors[key] = Redactor(texts)
        return found or None

    def _read(self, path: Path) -> str:
        status = path.stat()
        stamp = (status.st_mtime_ns, status.st_size)
        known = self._files.get(path)
        if known is None or known[0] != stamp:
            text = read_file(path, MAX_SECRET_BYTES).decode()
            known = self._files[path] = (stamp, text.removesuffix("\n").removesuffix("\r"))
        return known[1]


def _missing(secret: Secret, why: str) -> StepFailure:
    return StepFailure("expression", f"the secret {secret.name} is not available", why)
