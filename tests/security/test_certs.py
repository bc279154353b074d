"""Certificates for trying things: what is in them, and what is done with those that are there already."""

from __future__ import annotations

import ssl
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509

from graft.errors import UsageError
from graft.security.certs import DevCertificates, make_dev


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
        "n1",
        "graft.example.org",
        "192.0.2.7",
    ]
    assert names(made.clients["viewer"].certificate) == ["graft://demo/viewer/viewer"]
    assert {file.name for file in tmp_path.iterdir()} == {
        f"{name}.{kind}" for name in ("ca", "n1", "n2", "operator", "author", "viewer") for kind in ("crt", "key")
    }


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1", "n1", "graft.example.org", "a.pods.example.org"])
def test_programs_that_know_nothing_of_graft_verify_a_member_by_its_host(tmp_path: Path, host: str) -> None:
    """curl, probes and load balancers compare the host with the certificate."""
    made = make_dev(tmp_path, "demo", ["n1"], ["graft.example.org", "*.pods.example.org", "[::1]"])
    handshake(made, "n1", host)


def test_a_member_is_not_verified_as_another(tmp_path: Path) -> None:
    made = make_dev(tmp_path, "demo", ["n1", "n2"])
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(made, "n1", "n2")


def handshake(made: DevCertificates, member: str, host: str) -> None:
    """Of an ordinary client with a member, without a network."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context(cafile=str(made.authority)).wrap_bio(to_client, to_server, server_hostname=host)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.members[member].certificate, made.members[member].key)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server, client):
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    assert client.getpeercert()


@pytest.mark.parametrize("host", ["", "a b", "10.0.0.1:7400", "é.example.org", "https://a", "a\n", "*", "x" * 300])
def test_hosts_that_cannot_stand_in_a_certificate(tmp_path: Path, host: str) -> None:
    with pytest.raises(UsageError, match="not a host name"):
        make_dev(tmp_path, "demo", ["n1"], [host])
    assert list(tmp_path.iterdir()) == []


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
