"""From where on a store counts as nearly full."""

from __future__ import annotations

from pathlib import Path

import pytest

from graft.interfaces import Entry, Turn, Usage
from graft.storage import open_store
from graft.storage.space import OF_DISK, OF_QUOTA, Level, describe, level_of

MIB = 1 << 20


@pytest.mark.parametrize(
    ("used", "free", "level", "words"),
    [
        (0, None, Level.FREE, "0.0 MiB of its quota of 100.0 MiB are used"),
        (80 * MIB - 1, 1 << 40, Level.FREE, "80.0 MiB of its quota of 100.0 MiB are used"),
        (80 * MIB, 1 << 40, Level.WARNING, "80.0 MiB of its quota of 100.0 MiB are used"),
        (90 * MIB, 1 << 40, Level.REFUSING, "90.0 MiB of its quota of 100.0 MiB are used"),
        (100 * MIB, 1 << 40, Level.PAUSING, "100.0 MiB of its quota of 100.0 MiB are used"),
        (0, 64 * MIB, Level.WARNING, "its disk has 64.0 MiB left"),
        (85 * MIB, 16 * MIB, Level.REFUSING, "its disk has 16.0 MiB left"),
        (95 * MIB, 16 * MIB, Level.REFUSING, "95.0 MiB of its quota of 100.0 MiB are used"),
        (0, 0, Level.PAUSING, "its disk has 0.0 MiB left"),
    ],
)
def test_the_worse_of_quota_and_disk_counts(used: int, free: int | None, level: Level, words: str) -> None:
    usage = Usage(used, 100 * MIB, free)
    assert level_of(usage) == level
    assert describe(usage) == words


def test_the_worst_comes_first() -> None:
    for table in (OF_QUOTA, OF_DISK):
        assert [level for level, _ in table] == [Level.PAUSING, Level.REFUSING, Level.WARNING]


def test_a_store_whose_quota_was_lowered_can_be_opened_and_removed_from(tmp_path: Path) -> None:
    store = open_store(tmp_path / "d", quota_bytes=16 * MIB)
    for n in range(100):
        store.commit(Turn(changes=[("values", b"%d" % n, b"v" * 100_000)]))
    store.close()
    store = open_store(tmp_path / "d", quota_bytes=MIB)
    assert store.usage().used_bytes > 3 * MIB
    store.commit(Turn(entries=[Entry(1, 1, b"a command that removes")], applied=1))
    store.commit(Turn(changes=[("values", b"%d" % n, None) for n in range(100)]))
    assert store.usage().used_bytes < MIB
    store.close()
