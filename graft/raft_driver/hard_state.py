"""The stored forms of what Raft keeps: its hard state with the member's incarnation, and entries with their kind."""

from __future__ import annotations

import msgspec

from graft import raft
from graft.errors import StoreCorrupt, StoreFormatUnknown
from graft.interfaces import Entry

FORMAT = 2
"""1 had no incarnation: a member of that time stands in its own configuration."""

_encode = msgspec.msgpack.Encoder().encode


def encode_hard_state(state: raft.HardState, incarnation: int) -> bytes:
    return _encode((FORMAT, state, incarnation))


def decode_hard_state(data: bytes) -> tuple[raft.HardState, int | None]:
    """The hard state, and the incarnation if it was stored.

    Raises StoreFormatUnknown for a newer format, StoreCorrupt for what is no hard state.
    """
    try:
        version, fields, *more = msgspec.msgpack.decode(data)
        if version > FORMAT:
            raise StoreFormatUnknown(
                f"the store's Raft state has format {version}; this version of Graft reads formats up to {FORMAT}",
                hint="use the version of Graft that wrote it, or a newer one",
            )
        return msgspec.convert(fields, raft.HardState), int(more[0]) if more else None
    except (ValueError, TypeError) as error:
        raise StoreCorrupt(f"the store's Raft state cannot be read: {error}") from error


def to_stored(entry: raft.Entry) -> Entry:
    """The kind of an entry is the first byte of its stored data."""
    return Entry(entry.index, entry.term, bytes((entry.kind,)) + entry.data)


def from_stored(entry: Entry) -> raft.Entry:
    return raft.Entry(entry.index, entry.term, entry.data[0], entry.data[1:])
