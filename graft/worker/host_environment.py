"""What a worker host is started with: an environment of its own, and perhaps another user.

Steps run in the host, so whatever the host can read they can read. Nothing of the member's environment goes to it but
what is on a list: the member's may hold the pass phrase of its key, tokens of its discovery, secrets of other flows.
"""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from attrs import frozen

import graft
from graft.errors import UsageError

ALLOWED = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "LC_*",
    "TZ",
    "TMPDIR",
    "PYTHONPATH",
    "VIRTUAL_ENV",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)
NEVER = ("GRAFT_*",)  # the member's own settings


@frozen
class Identity:
    """A user to run as."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    variables: Mapping[str, str]  # that tell programs who they are


def identity_of(user: str | None, group: str | None) -> Identity | None:
    """Whom a host is to become; None: it stays who we are.

    Raises UsageError when there is no such user or group, or when we may not become it.
    """
    if user is None and group is None:
        return None
    try:
        entry = pwd.getpwuid(os.geteuid()) if user is None else _user(user)
        gid = entry.pw_gid if group is None else _group(group)
    except KeyError as error:
        raise UsageError(f"worker hosts cannot be started: {error.args[0]}") from None
    if os.geteuid() != 0:
        if (entry.pw_uid, gid) == (os.geteuid(), os.getegid()):
            return None
        raise UsageError(
            f"worker hosts cannot run as {entry.pw_name} ({entry.pw_uid}:{gid}): only root may change its user",
            hint=f"start graft as root, or as {entry.pw_name} itself; or leave out the user of the worker hosts",
        )
    groups = tuple(os.getgrouplist(entry.pw_name, gid))
    variables = {"HOME": entry.pw_dir, "USER": entry.pw_name, "LOGNAME": entry.pw_name, "SHELL": entry.pw_shell}
    return Identity(entry.pw_uid, gid, groups, variables)


def _user(name: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except KeyError:
        raise KeyError(f"there is no user {name}") from None


def _group(name: str) -> int:
    try:
        return int(name) if name.isdecimal() else grp.getgrnam(name).gr_gid
    except KeyError:
        raise KeyError(f"there is no group {name}") from None


def become(uid: int, gid: int, groups: list[int]) -> None:
    """Become that user for good. Raises OSError; whoever goes on after that would run steps as root."""
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def host_environment(
    ours: Mapping[str, str], passed: tuple[str, ...], given: Mapping[str, str], identity: Identity | None
) -> dict[bytes, bytes]:
    """`passed` are names (or patterns with `*`) of ours that go along; `given` is what the settings say."""
    kept = {name: value for name, value in ours.items() if _matches(name, ALLOWED) or _matches(name, passed)}
    kept = {name: value for name, value in kept.items() if not _matches(name, NEVER)}
    if identity is not None:
        kept |= identity.variables
    kept |= given
    home = str(Path(graft.__file__).parent.parent)
    paths = [each for each in kept.get("PYTHONPATH", "").split(os.pathsep) if each]
    if home not in paths and "site-packages" not in home:  # a checkout, which the host must find as we did
        kept["PYTHONPATH"] = os.pathsep.join([*paths, home])
    return {os.fsencode(name): os.fsencode(value) for name, value in kept.items()}


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
