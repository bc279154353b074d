"""URLs as they are written.

An HTTP library parses a URL and writes it anew, and that is another one for whoever signed it: `%20` becomes `+`, `;`
becomes `%3B`, `/a/../b` becomes `/b`. So what is asked for is cut out of the text here, and handed on as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, unquote_plus, urlencode, urljoin

from attrs import evolve, frozen

VISIBLE = "".join(map(chr, range(0x21, 0x7F)))  # what a request line can hold
_PARTS = re.compile(r"(?P<origin>https?://[^/?#]+)(?P<target>[^#]*)", re.IGNORECASE | re.DOTALL)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")


@frozen
class Url:
    """`origin` is scheme, user, host and port; `target` is path and query, in visible ASCII characters."""

    origin: str
    target: str

    @property
    def text(self) -> str:
        return self.origin + self.target

    def with_query(self, pairs: Iterable[tuple[str, str]]) -> Url:
        """`pairs` take the place of those of the same name; the other ones stay as they are written."""
        pairs = list(pairs)
        if not pairs:
            return self
        names = {name for name, _ in pairs}
        path, _, query = self.target.partition("?")
        kept = [each for each in query.split("&") if each and unquote_plus(each.partition("=")[0]) not in names]
        return evolve(self, target=f"{path}?{'&'.join((*kept, urlencode(pairs)))}")

    def join(self, reference: str) -> Url:
        """What a `Location` leads to. Raises ValueError when that is not an http or https URL."""
        if _SCHEME.match(reference) is None:
            reference = urljoin(self.text, reference)
        return parse_url(reference)


def parse_url(text: str) -> Url:
    """Raises ValueError when it is not an absolute http or https URL."""
    found = _PARTS.match(text)
    if found is None:
        raise ValueError(f"{text!r} is not an http or https URL")
    target = found["target"]
    return Url(found["origin"], quote(target if target.startswith("/") else f"/{target}", safe=VISIBLE))
