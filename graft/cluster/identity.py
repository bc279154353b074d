"""Who a data directory is: the member's name, the incarnation of the directory, and the cluster that it belongs to.

Written once, before the directory's first vote, in the file `member.json`; the cluster's id is added when there is one.
A directory that `graft run` made has none until it is served: then its only voter founds a cluster of its own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Final

from attrs import evolve, frozen

from graft import raft
from graft.errors import StorageError, StoreCorrupt, UsageError
from graft.storage.failures import translate

FILE: Final = "member.json"
FORMAT: Final = 1
LOST_HINT: Final = (
    "put back a copy of the file, or start with an empty data directory and join again; "
    "without the file this member cannot tell which cluster it belongs to"
)


@frozen
class Identity:
    """`founders` are the first members, once it is known who they are: by them the cluster's id was made.

    `agreed`: names, sorted. This directory told others that it would found with these, and so with no others: one of
    those who heard it may have begun. `forgot`: why the directory must not be used any more; empty if it may.
    """

    member: str
    incarnation: int
    cluster: str = ""
    founders: tuple[raft.Member, ...] = ()
    agreed: tuple[str, ...] = ()
    forgot: str = ""


def cluster_id(name: str, founders: Iterable[raft.Member], again: int = 0) -> str:
    """Two clusters never have the same: it stands for the data directories that founded it.

    `again`: a number that was drawn for a cluster that goes on under another id with a directory of an older one.
    """
    who = sorted((each.id, each.incarnation) for each in founders)
    what = (name, who, again) if again else (name, who)
    return f"{name}-{blake2b(repr(what).encode(), digest_size=8).hexdigest()}"


def load_identity(directory: Path) -> Identity | None:
    """Raises StoreCorrupt for a file that is damaged."""
    path = directory / FILE
    try:
        fields = json.loads(path.read_bytes())
        founders = tuple(raft.Member(id, int(incarnation)) for id, incarnation in fields["founders"])
        agreed = tuple(str(name) for name in fields.get("agreed", ()))
        member, incarnation, cluster = str(fields["member"]), int(fields["incarnation"]), str(fields["cluster"])
        return Identity(member, incarnation, cluster, founders, agreed, str(fields.get("forgot", "")))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise translate(error, path) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreCorrupt(
            f"{path} is damaged: {error}",
            hint=LOST_HINT,
        ) from error


def save_identity(directory: Path, identity: Identity) -> None:
    """All or nothing, and synced. Raises StorageError."""
    fields = {
        "format": FORMAT,
        "member": identity.member,
        "incarnation": identity.incarnation,
        "cluster": identity.cluster,
        "founders": [[each.id, each.incarnation] for each in identity.founders],
        "agreed": list(identity.agreed),
        "forgot": identity.forgot,
    }
    path, unfinished = directory / FILE, directory / (FILE + ".new")
    try:
        with open(unfinished, "wb") as file:
            file.write(json.dumps(fields, indent=1).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise translate(error, path) from error


def forgotten(why: str) -> StorageError:
    """What ends a member whose data directory is older than what it acknowledged."""
    return StorageError(
        f"this data directory has lost what was acknowledged: {why}",
        hint="empty it: the member joins anew and gets all from the others. One that was put back to an older copy "
        "must not vote, or what is committed could be lost",
    )


def check_whole(identity: Identity) -> None:
    """Raises StorageError for a directory that was found to be put back to an older copy."""
    if identity.forgot:
        raise forgotten(identity.forgot)


def check_name(identity: Identity, wanted: str, directory: Path) -> None:
    """Raises UsageError when the settings name another member than the one that the directory is."""
    if wanted and identity.member != wanted:
        raise UsageError(
            f"{directory} belongs to the member {identity.member}, but node_id is {wanted}",
            hint="set node_id to that name, or use an empty data directory",
        )


def belong(identity: Identity, cluster: str, founders: Iterable[raft.Member] = ()) -> Identity:
    """The identity of a directory that is now part of `cluster`. Raises StorageError: it never changes clusters."""
    if identity.cluster not in ("", cluster):
        raise StorageError(
            f"this data directory belongs to the cluster {identity.cluster}, not to {cluster}",
            hint="two clusters never merge; use an empty data directory to join the other one",
        )
    return evolve(identity, cluster=cluster, founders=tuple(founders))
