"""Certificates for trying things: what is in them, and what is done with those that are there already."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography import x509

from graft.errors import UsageError
from graft.security.certs import make_dev


def names(file: Path) -> list[str]:
    found = x509.load_pem_x509_certificate(file.read_bytes())
    san = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in san]


def test_members_have_their_name_and_their_hosts(tmp_path: Path) -> None:
    made = make_dev(tmp_path, "demo", ["n1", "n2"], ["graft.example.org", "192.0.2.7"])
    assert names(made.members["n1"].certificate) == [
        "graft://demo/member/n1",
        "localhost",
        "127.0.0.1",
        "::1",
        "graft.example.org",
        "192.0.2.7",
    ]
    assert names(made.clients["viewer"].certificate) == ["graft://demo/viewer/viewer"]
    assert {file.name for file in tmp_path.iterdir()} == {
        f"{name}.{kind}" for name in ("ca", "n1", "n2", "operator", "author", "viewer") for kind in ("crt", "key")
    }


def test_keys_are_for_this_user_only(tmp_path: Path) -> None:
    make_dev(tmp_path, "demo", ["n1"])
    for file in tmp_path.glob("*.key"):
        assert file.stat().st_mode & 0o777 == 0o600


def test_members_can_be_added_under_the_same_authority(tmp_path: Path) -> None:
    first = make_dev(tmp_path, "demo", ["n1"])
    before = (tmp_path / "ca.crt").read_bytes()
    second = make_dev(tmp_path, "demo", ["n2"])
    assert (tmp_path / "ca.crt").read_bytes() == before
    for files in (first.members["n1"], second.members["n2"], first.clients["operator"]):
        files.context(ssl.Purpose.SERVER_AUTH)


def test_an_authority_that_cannot_sign_is_refused(tmp_path: Path) -> None:
    make_dev(tmp_path / "one", "demo", ["n1"])
    make_dev(tmp_path / "two", "demo", ["n1"])
    key = tmp_path / "one" / "ca.key"
    key.write_bytes((tmp_path / "two" / "ca.key").read_bytes())
    with pytest.raises(UsageError, match="is not the key of"):
        make_dev(tmp_path / "one", "demo", ["n1"])
    key.unlink()
    with pytest.raises(UsageError, match="cannot be used"):
        make_dev(tmp_path / "one", "demo", ["n1"])


@pytest.mark.parametrize("name", ["", "a/b", "a b", "-a", "é", "a\n", "x" * 300])
def test_names_that_cannot_stand_in_a_certificate(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="not a name"):
        make_dev(tmp_path, "demo", [name])
    with pytest.raises(UsageError, match="not a name"):
        make_dev(tmp_path, name, ["n1"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["ca", "operator", "viewer"])
def test_a_member_cannot_take_the_name_of_another_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be called"):
        make_dev(tmp_path, "demo", [name])
