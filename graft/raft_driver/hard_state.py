"""The stored forms of what Raft keeps: its hard state, and entries with their kind."""

from __future__ import annotations

import msgspec

from graft import raft
from graft.errors import StoreCorrupt, StoreFormatUnknown
from graft.interfaces import Entry

FORMAT = 1

_encode = msgspec.msgpack.Encoder().encode


def encode_hard_state(state: raft.HardState) -> bytes:
    return _encode((FORMAT, state))


def decode_hard_state(data: bytes) -> raft.HardState:
    """Raises StoreFormatUnknown for a newer format, StoreCorrupt for what is no hard state."""
    try:
        version, fields = msgspec.msgpack.decode(data)
        if version > FORMAT:
            raise StoreFormatUnknown(
                f"the store's Raft state has format {version}; this version of Graft reads formats up to {FORMAT}",
                hint="use the version of Graft that wrote it, or a newer one",
            )
        return msgspec.convert(fields, raft.HardState)
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        raise StoreCorrupt(f"the store's Raft state cannot be read: {error}") from error


def to_stored(entry: raft.Entry) -> Entry:
    """The kind of an entry is the first byte of its stored data."""
    return Entry(entry.index, entry.term, bytes((entry.kind,)) + entry.data)


def from_stored(entry: Entry) -> raft.Entry:
    return raft.Entry(entry.index, entry.term, entry.data[0], entry.data[1:])
