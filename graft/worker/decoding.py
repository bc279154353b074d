"""Undoing gzip and deflate within bounds: 64 KiB of a hostile answer may stand for 64 MiB."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

ENCODINGS = "gzip, deflate"  # what we ask for; anything else in an answer is refused
PIECE = 1024 * 1024


class UnknownEncoding(ValueError):
    pass


class Decoder:
    """Feed it the raw body in chunks; it gives the decoded one in pieces of at most `PIECE` bytes."""

    def __init__(self, encoding: str) -> None:
        """`encoding` is the value of `Content-Encoding`. Raises UnknownEncoding."""
        name = encoding.strip().lower()
        self._may_lack_header = name == "deflate"
        if name in ("", "identity"):
            self._inflate = None
        elif name in ("gzip", "x-gzip", "deflate"):
            self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)  # gzip or zlib, by the header
        else:
            raise UnknownEncoding(f"it is encoded as {encoding!r}, which was not asked for")

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Raises zlib.error when the data is damaged. Take the pieces one by one, to be able to stop."""
        if self._inflate is None:
            yield data
            return
        while data:
            yield self._decompress(data)
            data = self._inflate.unconsumed_tail
            if self._inflate.eof and self._inflate.unused_data:  # a gzip file may be several, one after the other
                data = self._inflate.unused_data
                self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)

    def finish(self) -> None:
        """Raises zlib.error when the body ended too early. Call it when anything was fed."""
        if self._inflate is not None and not self._inflate.eof:
            raise zlib.error("it is cut off")

    def _decompress(self, data: bytes) -> bytes:
        assert self._inflate is not None
        try:
            decoded = self._inflate.decompress(data, PIECE)
        except zlib.error:
            if not self._may_lack_header:
                raise
            self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)  # some servers send deflate without its header
            decoded = self._inflate.decompress(data, PIECE)
        self._may_lack_header = False
        return decoded
