"""Taking secrets out of logs and errors (R16), also when a secret is split over chunks of output.

A secret is looked for as it is, as it looks inside a JSON text and in a URL, and line by line when it has several
lines (a private key is often printed that way).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from urllib.parse import quote

MASK = b"***"
MIN_LINE = 8  # shorter lines of a secret of several lines ("}", "-----") say nothing


def forms(secret: str) -> set[str]:
    """Every text under which `secret` may show up."""
    found = {secret, secret.strip(), json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    found |= {quote(secret), quote(secret, safe="")}
    lines = secret.splitlines()
    if len(lines) > 1:
        found |= {line.strip() for line in lines if len(line.strip()) >= MIN_LINE}
    return {form for form in found if form.strip()}


class Redactor:
    """Replaces each of `secrets` by `***`."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self.secrets = frozenset(secrets)
        texts = {form for secret in self.secrets for form in forms(secret)}
        # Longest first: of two secrets of which one begins with the other, all of the longer one must go.
        self.patterns = tuple(
            sorted((text.encode("utf-8", "surrogateescape") for text in texts), key=len, reverse=True)
        )
        self.expression = re.compile(b"|".join(map(re.escape, self.patterns)))

    def __bool__(self) -> bool:
        return bool(self.patterns)

    def clean(self, data: bytes) -> bytes:
        return self.expression.sub(MASK, data) if self.patterns else data

    def text(self, text: str) -> str:
        if not self.patterns:
            return text
        return self.clean(text.encode("utf-8", "surrogatepass")).decode("utf-8", "replace")


class RedactedStream:
    """A `Redactor` over a stream that comes in chunks: holds back an end that may be the start of a secret.

    Invariant: what is held back is shorter than the longest pattern, and is a proper prefix of one.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """The part of all that came so far, cleaned, that later chunks cannot change."""
        buffer = self._held + data
        open_at = self._first_open(buffer)
        clean: list[bytes] = []
        done = 0
        for match in self._redactor.expression.finditer(buffer):
            if match.start() >= open_at:
                break  # it may yet become a longer secret
            clean += buffer[done : match.start()], MASK
            done = match.end()
        keep_from = max(done, open_at)
        if done > open_at:
            keep_from = done + self._first_open(buffer[done:])
        clean.append(buffer[done:keep_from])
        self._held = buffer[keep_from:]
        return b"".join(clean)

    def finish(self) -> bytes:
        rest, self._held = self._redactor.clean(self._held), b""
        return rest

    def _first_open(self, buffer: bytes) -> int:
        """Index of the longest end of `buffer` that is a proper prefix of a pattern; its length when there is none."""
        longest = 0
        for pattern in self._redactor.patterns:
            for length in range(min(len(pattern) - 1, len(buffer)), longest, -1):
                if buffer.endswith(pattern[:length]):
                    longest = length
                    break
        return len(buffer) - longest
