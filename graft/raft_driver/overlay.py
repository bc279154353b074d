"""State changes on their way to the store: read before the store, newest first."""

from __future__ import annotations

from graft.engine import Change

_Bucket = dict[bytes, bytes | None]


class Overlay:
    """Two layers: what the next turn will write, and what the turn under way is writing.

    Keys are grouped by table and first eight bytes (the run, in most tables), so that reading one run does not walk
    over the changes of all others.
    """

    def __init__(self) -> None:
        self._next: dict[str, dict[bytes, _Bucket]] = {}
        self._writing: dict[str, dict[bytes, _Bucket]] = {}

    def put(self, table: str, key: bytes, value: bytes | None) -> None:
        self._next.setdefault(table, {}).setdefault(key[:8], {})[key] = value

    def get(self, table: str, key: bytes) -> tuple[bool, bytes | None]:
        """`(True, value)` for a change under way (None: a deletion), `(False, None)` when the store is right."""
        for layer in (self._next, self._writing):
            bucket = layer.get(table, {}).get(key[:8])
            if bucket is not None and key in bucket:
                return True, bucket[key]
        return False, None

    def items(self, table: str, group: bytes | None = None) -> _Bucket:
        """The changes of a table, or only those whose keys begin with the eight bytes `group`."""
        merged: _Bucket = {}
        for layer in (self._writing, self._next):
            buckets = layer.get(table, {})
            if group is not None:
                merged.update(buckets.get(group, {}))
                continue
            for bucket in buckets.values():
                merged.update(bucket)
        return merged

    def begin_write(self) -> list[Change]:
        """The changes for the next turn; they stay readable until `end_write`."""
        self._writing, self._next = self._next, {}
        return [
            (table, key, value)
            for table, buckets in self._writing.items()
            for bucket in buckets.values()
            for key, value in bucket.items()
        ]

    def end_write(self) -> None:
        self._writing = {}

    def clear(self) -> None:
        """Another state took the place of the one that was changed."""
        self._next, self._writing = {}, {}

    def __bool__(self) -> bool:
        return bool(self._next)
