"""Opening the LMDB environment of a data directory, and the proof that it is what the last commit left.

Cheap enough for every start: the two meta pages as bytes, the tables, and the head record, which must name the very
transaction that the meta page names. The full walk is `check.py`'s.
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

import lmdb

from graft.storage.directory import FORMAT, Layout, sync_directory, write_format
from graft.storage.failures import corrupt, translate
from graft.storage.metas import Insane, Meta, Read, read_newest
from graft.storage.reads import Reads
from graft.storage.records import ALL_TABLES, EMPTY, HEAD, HEAD_KEY, ODD_TABLES, Head, seal
from graft.storage.walk import Walk

MAX_READERS = 254
LOCK_FILE = "lock.mdb"
LOCK_BYTES = 20 * 1024  # a head, and a cache line for each reader; LMDB takes what the file has
LOOKS = 3
SPARE_READS = 1  # py-lmdb keeps at most one finished read transaction to reuse


def create_store(layout: Layout, map_bytes: int) -> bool:
    """Under the lock: make the format file and the environment of a new directory. False when both are there.

    A crash in between leaves a directory that the next start finishes: the environment gets its name last.
    """
    formed, unfinished = layout.format.exists(), layout.new_store
    if layout.store.exists():
        if not formed:
            raise corrupt(layout.root, f"{layout.format} is missing")
        return False
    if formed and not unfinished.exists():
        raise corrupt(layout.root, f"{layout.store} is missing")
    shutil.rmtree(unfinished, ignore_errors=True)
    _create(unfinished, map_bytes)
    sync_directory(unfinished)
    if not formed:
        write_format(layout, FORMAT)
    os.rename(unfinished, layout.store)
    sync_directory(layout.root)
    return True


def _create(directory: Path, map_bytes: int) -> None:
    """A new environment with every table and the head, in one transaction."""
    directory.mkdir(mode=0o700)
    environment = _open(directory, map_bytes, readonly=False)
    try:
        with environment.begin(write=True) as transaction:
            tables = {table: environment.open_db(table.encode(), txn=transaction) for table in ALL_TABLES}
            head = Head(EMPTY, transaction.id()).pack()
            transaction.put(HEAD_KEY, seal(HEAD, HEAD_KEY, head), db=tables[HEAD])
    finally:
        environment.close()


def open_environment(layout: Layout, map_bytes: int, *, readonly: bool) -> tuple[lmdb.Environment, Reads, Head]:
    """The environment, its reads and its head. Raises StoreCorrupt when they do not belong together."""
    read_meta(layout.data)
    environment = _open(layout.store, map_bytes, readonly=readonly)
    try:
        reads, head = _prove(environment, layout.root)
    except lmdb.Error as error:
        environment.close()
        raise translate(error, layout.root) from error
    except BaseException:
        environment.close()
        raise
    return environment, reads, head


def _open(directory: Path, map_bytes: int, *, readonly: bool) -> lmdb.Environment:
    try:
        if not readonly:
            _reserve_lock(directory / LOCK_FILE)
        return lmdb.Environment(
            os.fspath(directory),
            map_size=map_bytes,
            max_dbs=len(ALL_TABLES) + len(ODD_TABLES),
            max_readers=MAX_READERS,
            max_spare_txns=SPARE_READS,
            readonly=readonly,
            create=False,
            mode=0o600,
            metasync=True,
            sync=True,
        )
    except (lmdb.Error, OSError) as error:
        raise translate(error, directory.parent) from error


def _reserve_lock(file: Path) -> None:
    """Have the blocks of LMDB's table of readers on the disk: LMDB maps the file with holes in it, and on a full disk
    the first touch of one is a SIGBUS. Raises OSError."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, os.fstat(descriptor).st_size or LOCK_BYTES)
    finally:
        os.close(descriptor)


def _prove(environment: lmdb.Environment, root: Path) -> tuple[Reads, Head]:
    tables = {}
    for table in ALL_TABLES:
        try:
            tables[table] = environment.open_db(table.encode(), create=False)
        except (lmdb.NotFoundError, lmdb.IncompatibleError, lmdb.ReadonlyError) as error:
            raise corrupt(root, f"table {table} is missing") from error
    reads = Reads(environment, tables, root)
    reads.add(open_odd(environment))
    with environment.begin() as transaction:
        head = reads.head(transaction)
        if head.transaction != transaction.id():
            raise corrupt(root, f"its root is of transaction {transaction.id()}, its head of {head.transaction}")
    if head.generation & 1 and not reads.has(ODD_TABLES[0]):
        raise corrupt(root, f"the tables of generation {head.generation} are missing")
    reads.use(head.generation)
    return reads, head


def open_odd(environment: lmdb.Environment) -> dict[str, lmdb._Database]:
    """The tables of odd generations; none when no snapshot ever arrived. They are made in one transaction."""
    try:
        return {name: environment.open_db(name.encode(), create=False) for name in ODD_TABLES}
    except (lmdb.NotFoundError, lmdb.ReadonlyError):
        return {}


def read_meta(data: Path) -> Meta:
    """The newest meta page of a data file, which was looked at as bytes before LMDB maps it.

    Raises StoreCorrupt, or StorageError when it cannot be read.
    """
    root = data.parent.parent
    try:
        descriptor = os.open(data, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise corrupt(root, f"{data} is missing") from error
    except OSError as error:
        raise translate(error, root) from error
    try:
        return _look(lambda offset, size: os.pread(descriptor, size, offset), root)
    finally:
        os.close(descriptor)


def _look(read: Read, root: Path) -> Meta:
    """A writer may be changing pages right now, so what looks wrong is looked at again."""
    for attempt in range(LOOKS):
        damages = Walk(read).run_top()
        with suppress(Insane):
            meta = read_newest(read)
            if not damages:
                return meta
        if attempt < LOOKS - 1:
            time.sleep(0.001)
    raise corrupt(root, str(damages[0]))
