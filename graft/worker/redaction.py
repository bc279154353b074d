"""Taking secrets out of what a step printed, returned and failed with, also when one is split over chunks of output.

A secret is looked for as it is, line by line when it has several lines (a private key is often printed that way), and
in the encodings of `forms`. What a step has computed from a secret in another way (a hash, a part of it, its text
backwards) cannot be found, and is not.

Texts that are too short to be told from ordinary ones are left alone (`is_too_short`): replacing each `a` or each
`true` by `***` hides nothing, and spoils everything.
"""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus

import msgspec

MASK_TEXT = "***"
MASK = MASK_TEXT.encode()
MIN_CHARS = 4  # a shorter secret is not looked for
MIN_LINE = 8  # shorter lines of a secret of several lines ("}", "-----") say nothing
MIN_PART = 6  # of a secret that was cut off
ORDINARY = frozenset({"true", "false", "null", "none"})
WRAPPED = (64, 76)  # columns at which PEM and MIME break a base64 text
HEAD = 4  # bytes of a pattern that are looked for first

_json = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def is_too_short(secret: str) -> bool:
    """Whether `secret` cannot be told from ordinary text, and so is not taken out of it."""
    return len(secret.strip()) < MIN_CHARS or secret.strip().lower() in ORDINARY


def too_short(what: str, secret: str) -> str:
    """The sentence that says so; it does not tell the secret."""
    count = len(secret.strip())
    if count >= MIN_CHARS:
        return f"{what} is an ordinary word: it is not hidden"
    characters = "1 character" if count == 1 else f"{count} characters"
    return f"{what} has {characters}, too few to be told from ordinary text: it is not hidden"


def forms(secret: str) -> set[str]:
    """Every text under which `secret` may show up; none when it is too short."""
    if is_too_short(secret):
        return set()
    found = {secret, secret.strip(), *_quoted(secret), *_quoted(secret.strip())}
    lines = secret.splitlines()
    if len(lines) > 1:
        found |= {line.strip() for line in lines if len(line.strip()) >= MIN_LINE}
    data = secret.encode("utf-8", "surrogateescape")
    found |= {data.hex(), data.hex().upper(), *_base64(data)}
    return {form for form in found if len(form) >= MIN_CHARS}


def _quoted(secret: str) -> Iterator[str]:
    """As it stands inside the quotes of JSON, Python and the shell, in a URL, and in HTML."""
    yield from (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1])
    yield from (shlex.quote(secret).removeprefix("'").removesuffix("'"), html.escape(secret))
    for form in (
        quote(secret, errors="replace"),
        quote(secret, "", errors="replace"),
        quote_plus(secret, "", errors="replace"),
    ):
        yield form
        yield re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), form)


def _base64(data: bytes) -> Iterator[str]:
    """At each of the three places where it may begin within a group, for the text around it is not known.

    Characters that hold bits of what is around it are left out, but for the whole groups and padding of an end.
    """
    for alphabet in (base64.b64encode, base64.urlsafe_b64encode):
        for before in range(3):
            text = alphabet(bytes(before) + data).decode()
            first = (before * 8 + 5) // 6
            yield text[first : (before + len(data)) * 8 // 6]
            yield text[first:]
    text = base64.b64encode(data).decode()
    for columns in WRAPPED:
        if len(text) > columns:
            yield from (text[at : at + columns] for at in range(0, len(text) - columns + 1, columns))
            yield text[len(text) - len(text) % columns :]


class Redactor:
    """Replaces each of `secrets` by `***`."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self.secrets = frozenset(secrets)
        texts = {form for secret in self.secrets for form in forms(secret)}
        # Longest first: of two secrets of which one begins with the other, all of the longer one must go.
        self.patterns = tuple(
            sorted((text.encode("utf-8", "surrogateescape") for text in texts), key=lambda each: (-len(each), each))
        )
        self.expression = re.compile(b"|".join(map(re.escape, self.patterns)))

    def __bool__(self) -> bool:
        return bool(self.patterns)

    def finds(self, data: bytes) -> bool:
        """Cheaper than the expression by far, and most data holds no secret."""
        return any(pattern in data for pattern in self.patterns)

    def clean(self, data: bytes) -> bytes:
        return self.expression.sub(MASK, data) if self.finds(data) else data

    def text(self, text: str) -> str:
        if not self.patterns:
            return text
        return self.clean(text.encode("utf-8", "surrogatepass")).decode("utf-8", "replace")

    def excerpt(self, text: str) -> str:
        """Of text that was cut out of a longer one: a line may begin or end within a secret."""
        return "\n".join(map(self._without_parts, self.text(text).split("\n"))) if self.patterns else text

    def _without_parts(self, line: str) -> str:
        data = line.encode("utf-8", "surrogatepass")
        tail = len(data) - self.open_at(data)
        if tail >= MIN_PART:
            data = data[:-tail] + MASK
        head = max((_overlap(data, pattern) for pattern in self.patterns), default=0)
        if head >= MIN_PART:
            data = MASK + data[head:]
        return data.decode("utf-8", "replace")

    def json(self, data: bytes) -> bytes:
        """A JSON text whose texts, names and numbers hold no secret; it is JSON again."""
        if not (self.finds(data) or (self.patterns and b"\\" in data)):  # in a text within a text `\` stands twice
            return data
        value = _json(data)
        cleaned = self.value(value)
        return data if cleaned == value else _encode(cleaned)

    def value(self, value: Any) -> Any:
        """`value`, of JSON's types, without secrets. A number that holds one becomes a text."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.value(each) for each in value]
        if isinstance(value, dict):
            cleaned: dict[str, Any] = {}
            for name, each in value.items():
                shown = self.text(name)
                while shown in cleaned:  # two names that were secrets stay two
                    shown += "*"
                cleaned[shown] = self.value(each)
            return cleaned
        if value is None or isinstance(value, bool):
            return value
        return MASK_TEXT if self.finds(_encode(value)) else value

    def open_at(self, buffer: bytes) -> int:
        """Index of the longest end of `buffer` that is a proper prefix of a pattern; its length when there is none."""
        return len(buffer) - max((_overlap_at_end(buffer, pattern) for pattern in self.patterns), default=0)


def _overlap_at_end(buffer: bytes, pattern: bytes) -> int:
    """Length of the longest end of `buffer` that is a proper prefix of `pattern`."""
    head = pattern[:HEAD]
    at = buffer.find(head, max(0, len(buffer) - len(pattern) + 1))
    while at >= 0:
        if pattern.startswith(buffer[at:]):
            return len(buffer) - at
        at = buffer.find(head, at + 1)
    return next(
        (
            size
            for size in range(min(HEAD, len(pattern), len(buffer) + 1) - 1, 0, -1)
            if buffer.endswith(pattern[:size])
        ),
        0,
    )


def _overlap(buffer: bytes, pattern: bytes) -> int:
    """Length of the longest beginning of `buffer` that is a proper end of `pattern`."""
    return _overlap_at_end(buffer[: len(pattern) - 1][::-1], pattern[::-1])


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
        open_at = self._redactor.open_at(buffer)
        clean: list[bytes] = []
        done = 0
        for match in self._redactor.expression.finditer(buffer) if self._redactor.finds(buffer) else ():
            if match.start() >= open_at:
                break  # it may yet become a longer secret
            clean += buffer[done : match.start()], MASK
            done = match.end()
        keep_from = max(done, open_at)
        if done > open_at:
            keep_from = done + self._redactor.open_at(buffer[done:])
        clean.append(buffer[done:keep_from])
        self._held = buffer[keep_from:]
        return b"".join(clean)

    def finish(self) -> bytes:
        rest, self._held = self._redactor.clean(self._held), b""
        return rest
