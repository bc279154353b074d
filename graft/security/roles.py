"""Which role may call which method. One table: what is not in it cannot be called by anybody.

The page docs/reference/roles.md is generated from it.
"""

from __future__ import annotations

from typing import Literal, get_args

Role = Literal["member", "operator", "author", "viewer"]

ROLES: frozenset[str] = frozenset(get_args(Role))

WHO: dict[str, str] = {
    "member": "a process of the cluster",
    "operator": "runs the cluster: members, snapshots, backups; and whatever an author may",
    "author": "starts, stops and repairs runs, and reads them",
    "viewer": "reads",
}

_members = frozenset({"member"})
_operators = frozenset({"operator"})
_authors = frozenset({"operator", "author"})
_readers = frozenset({"member", "operator", "author", "viewer"})

METHOD_ROLES: dict[str, frozenset[str]] = {
    "Raft/Exchange": _members,
    "Raft/Snapshots": _members,
    "Cluster/Probe": _members,
    "Cluster/Join": _members,
    "Cluster/Status": _readers,
    "Cluster/Members": _readers,
    "Cluster/AddMember": _operators,
    "Cluster/RemoveMember": _operators,
    "Cluster/SetRole": _operators,
    "Cluster/Transfer": _operators,
    "Cluster/Drain": _operators,
    "Cluster/RaiseVersion": _operators,
    "Cluster/TakeSnapshot": _operators,
    "Cluster/Backup": _operators,
    "Workflows/Start": _authors,
    "Workflows/StartMany": _authors,
    "Workflows/Get": _readers,
    "Workflows/GetStep": _readers,
    "Workflows/List": _readers,
    "Workflows/Events": _readers,
    "Workflows/Watch": _readers,
    "Workflows/Logs": _readers,
    "Workflows/Cancel": _authors,
    "Workflows/Retry": _authors,
    "Workflows/Resume": _authors,
    "Workflows/Remove": _authors,
    "Health/Check": _readers,
    "Health/Watch": _readers,
    "ServerReflection/ServerReflectionInfo": _readers,
}


def may_call(method: str, roles: frozenset[str]) -> bool:
    """True if one of `roles` may call `method` ("Workflows/Start")."""
    return not roles.isdisjoint(METHOD_ROLES.get(method, frozenset()))
