"""What a worker host gets of the member, and as whom it runs."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

import graft
from graft.errors import UsageError
from graft.worker import HostSettings, open_hosted_worker
from graft.worker.host_environment import Identity, host_environment, identity_of

OURS = {
    "PATH": "/bin",
    "LC_ALL": "C",
    "HOME": "/root",
    "AWS_SECRET_ACCESS_KEY": "no",
    "GRAFT_SECURITY__KEY": "no",
    "MINE_A": "a",
    "LD_PRELOAD": "no",
}


def of(
    passed: tuple[str, ...] = (), given: dict[str, str] | None = None, who: Identity | None = None
) -> dict[str, str]:
    found = host_environment(OURS, passed, given or {}, who)
    return {os.fsdecode(name): os.fsdecode(value) for name, value in found.items()}


def test_only_what_is_listed_goes_along() -> None:
    assert of().keys() == {"PATH", "LC_ALL", "HOME", "PYTHONPATH"}
    assert of(("MINE_*",))["MINE_A"] == "a"


def test_the_members_own_settings_never_do() -> None:
    assert not any(name.startswith("GRAFT_") for name in of(("*",)))


def test_what_the_settings_give_comes_last() -> None:
    assert of(("MINE_A",), {"MINE_A": "b"})["MINE_A"] == "b"


def test_a_checkout_is_found_again() -> None:
    assert str(Path(graft.__file__).parent.parent) in of()["PYTHONPATH"].split(os.pathsep)


def test_another_user_is_told_who_it_is() -> None:
    entry = pwd.getpwuid(65534)
    variables = of(who=Identity(entry.pw_uid, entry.pw_gid, (), {"HOME": entry.pw_dir, "USER": entry.pw_name}))
    assert (variables["HOME"], variables["USER"]) == (entry.pw_dir, entry.pw_name)


@pytest.mark.parametrize(
    ("user", "group", "message"),
    [
        ("nobody-at-all", None, "worker hosts cannot be started: there is no user nobody-at-all"),
        ("4294967294", None, "worker hosts cannot be started: there is no user 4294967294"),
        (None, "no-such-group", "worker hosts cannot be started: there is no group no-such-group"),
    ],
)
async def test_users_that_are_not_there(user: str | None, group: str | None, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        async with open_hosted_worker(HostSettings(user=user, group=group)):
            pass
    assert caught.value.message == message


def test_only_root_may_become_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    other = next(entry for entry in pwd.getpwall() if entry.pw_uid not in (0, 65534))
    nobody = pwd.getpwuid(65534)
    monkeypatch.setattr(os, "geteuid", lambda: nobody.pw_uid)
    monkeypatch.setattr(os, "getegid", lambda: nobody.pw_gid)
    with pytest.raises(UsageError, match=f"cannot run as {other.pw_name}.*only root may change its user"):
        identity_of(other.pw_name, None)
    assert identity_of(nobody.pw_name, None) is None, "that is who we are"
    assert identity_of(None, None) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_becoming_somebody_is_for_good() -> None:
    code = """
import os
from graft.worker.host_environment import become, identity_of
who = identity_of("nobody", None)
become(who.uid, who.gid, list(who.groups))
print(*os.getresuid(), *os.getresgid(), *os.getgroups())
for back in (os.seteuid, os.setegid, os.setgid):
    try:
        back(0)
    except PermissionError:
        continue
    raise SystemExit("it could go back")
"""
    root = str(Path(graft.__file__).parent.parent)
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": root}, capture_output=True)
    entry = pwd.getpwnam("nobody")
    assert (done.returncode, done.stderr) == (0, b"")
    uid, gid = entry.pw_uid, entry.pw_gid
    assert done.stdout.decode().split() == list(map(str, [uid] * 3 + [gid] * 3 + os.getgrouplist("nobody", gid)))
