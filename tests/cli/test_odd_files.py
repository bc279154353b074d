"""A file that a person names may be a device without an end, a pipe that nobody writes to, or a directory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from graft.files import check_regular, read_file

SECONDS = 20.0  # far more than a refusal takes, and far less than a device without an end
MEMORY = 3 << 30
COMMANDS: dict[str, tuple[str, ...]] = {
    "flow": ("run", "FILE"),
    "checked": ("check", "FILE"),
    "formatted": ("fmt", "FILE"),
    "params": ("run", "flow.toml", "--params-file", "FILE"),
    "secret": ("run", "secret.toml"),
    "sub-flow": ("check", "calling.toml"),
    "settings": ("config", "check", "FILE"),
    "authority": ("runs", "--server", "127.0.0.1:1", "--tls-ca", "FILE", "--tls-cert", "FILE", "--tls-key", "FILE"),
    "backup": ("restore", "FILE", "new"),
}


@pytest.fixture(params=["/dev/zero", "fifo", "directory"])
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "fifo":
        os.mkfifo(tmp_path / "odd.toml")
    elif request.param == "directory":
        (tmp_path / "odd.toml").mkdir()
    else:
        (tmp_path / "odd.toml").symlink_to(request.param)
    return tmp_path / "odd.toml"


def test_no_command_reads_it(write: Any, tmp_path: Path, odd: Path) -> None:
    write("flow.toml", 'graft = 1\n[params.p]\ntype = "string"\ndefault = ""\n[nodes.a]\nvalue = 1\n')
    write(
        "secret.toml",
        f'graft = 1\nsecrets.K.file = "{odd}"\n[nodes.a]\nrun = "true"\nenv = {{ K = "${{ secrets.K }}" }}\n',
    )
    write("calling.toml", f'graft = 1\n[nodes.a]\nflow = "{odd}"\n')
    for name, command in COMMANDS.items():
        arguments = [each.replace("FILE", str(odd)) for each in command]
        limit = "unlimited" if name == "secret" else MEMORY >> 10  # the map of the store needs addresses
        began = time.monotonic()
        ended = subprocess.run(
            ["sh", "-c", f'ulimit -v {limit}; exec "$0" "$@"', sys.executable, "-m", "graft", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=SECONDS,
        )
        assert ended.returncode in (1, 2), (name, ended)
        assert "odd.toml" in ended.stderr, (name, ended)
        assert any(why in ended.stderr for why in ("regular file", "irectory")), (name, ended)
        assert "internal error" not in ended.stderr, (name, ended)
        assert time.monotonic() - began < SECONDS


def test_a_file_is_read_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * 10)
    assert read_file(file, 10) == b"x" * 10
    with pytest.raises(OSError, match="too large: more than 9 bytes"):
        read_file(file, 9)
    (tmp_path / "link").symlink_to(file)
    assert read_file(tmp_path / "link") == b"x" * 10
    check_regular(file)
    os.mkfifo(tmp_path / "fifo")
    for check in (check_regular, read_file):
        for odd in (tmp_path / "fifo", Path("/dev/null"), Path("/dev/zero")):
            with pytest.raises(OSError, match="not a regular file"):
                check(odd)
        with pytest.raises(IsADirectoryError):
            check(tmp_path)
