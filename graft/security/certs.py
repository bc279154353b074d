"""A certificate authority of one's own, for trying a cluster on a laptop. Real clusters get theirs from somebody else.

What `make_dev` writes shows what Graft wants of certificates, wherever they come from: a key of its own for everybody,
the name `graft://CLUSTER/ROLE/NAME` in the subjectAltName, `clientAuth` for all and `serverAuth` for members only. The
DNS names and addresses of members beside it are for programs that know nothing of Graft, such as curl and probes.
"""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from graft.errors import UsageError
from graft.files import read_file
from graft.security.identity import san_uri
from graft.security.tls import TlsFiles

HOST = re.compile(r"(\*\.)?[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
CLIENTS = ("operator", "author", "viewer")
AUTHORITY_DAYS, DAYS = 3650, 365
BACKDATED = datetime.timedelta(hours=1)  # clocks of a cluster differ


@frozen
class DevCertificates:
    """What was made. `members` by member id, `clients` by role."""

    authority: Path
    members: Mapping[str, TlsFiles]
    clients: Mapping[str, TlsFiles]


def make_dev(
    directory: Path,
    cluster: str,
    members: Sequence[str],
    hosts: Sequence[str] = (),
    *,
    days: int = DAYS,
    now: datetime.datetime | None = None,
) -> DevCertificates:
    """Certificates of `cluster` for `members` and for one client of each role, signed by an authority in `directory`.

    Makes `ca.crt` `ca.key`, and `NAME.crt` `NAME.key` for each; keys are for the user only. An authority that is there
    is used again, so that members can be added later; certificates are made anew. `hosts`: names and addresses under
    which members are reached, beside loopback and their own names. Raises UsageError (a name or a host that cannot
    stand in a certificate, an authority without its key), OSError.
    """
    now = now or datetime.datetime.now(datetime.UTC)
    if taken := sorted({"ca", *CLIENTS} & set(members)):
        raise UsageError(f"a member cannot be called {', '.join(taken)}: that is the name of another certificate")
    names = [("member", member) for member in members] + [(role, role) for role in CLIENTS]
    try:
        uris = {name: san_uri(cluster, role, name) for role, name in names}
    except ValueError as error:
        raise UsageError(str(error), hint="letters, digits, `.`, `_` and `-`") from None
    reached = [_host(each) for each in hosts]
    directory.mkdir(parents=True, exist_ok=True)
    authority, key = _authority(directory, cluster, now)
    files = {}
    for role, name in names:
        alternatives = [_host(each) for each in (*LOOPBACK, name)] + reached if role == "member" else []
        certificate, private = _sign(authority, key, uris[name], alternatives, now, days)
        _write(directory / f"{name}.key", _pem(private), secret=True)
        _write(directory / f"{name}.crt", certificate.public_bytes(serialization.Encoding.PEM))
        files[name] = TlsFiles(directory / f"{name}.crt", directory / f"{name}.key", directory / "ca.crt")
    return DevCertificates(
        directory / "ca.crt",
        {member: files[member] for member in members},
        {role: files[role] for role in CLIENTS},
    )


def _authority(
    directory: Path, cluster: str, now: datetime.datetime
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    certificate_file, key_file = directory / "ca.crt", directory / "ca.key"
    if certificate_file.exists():
        try:
            key = serialization.load_pem_private_key(read_file(key_file), None)
            certificate = x509.load_pem_x509_certificate(read_file(certificate_file))
        except (OSError, ValueError) as error:
            raise UsageError(f"{directory}: the authority there cannot be used: {error}") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise UsageError(f"{key_file} is not the key of {certificate_file}")
        return certificate, key
    key = ec.generate_private_key(ec.SECP256R1())
    name = _subject(f"Graft development authority of {cluster}")
    usage = _key_usage(signs_certificates=True)
    certificate = (
        _builder(name, name, key.public_key(), now, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(key_file, _pem(key), secret=True)
    _write(certificate_file, certificate.public_bytes(serialization.Encoding.PEM))
    return certificate, key


def _sign(
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    uri: str,
    hosts: Sequence[x509.GeneralName],
    now: datetime.datetime,
    days: int,
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """`hosts`: where a server is reached; none: the certificate of a client."""
    key = ec.generate_private_key(ec.SECP256R1())
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if hosts else [])]
    names = [x509.UniformResourceIdentifier(uri), *dict.fromkeys(hosts)]
    subject_key = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())
    certificate = (
        _builder(_subject(uri.rpartition("/")[2]), authority.subject, key.public_key(), now, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(subject_key),
            critical=False,
        )
        .sign(authority_key, hashes.SHA256())
    )
    return certificate, key


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime.datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _host(text: str) -> x509.GeneralName:
    """Raises UsageError."""
    try:
        return x509.IPAddress(ip_address(text.strip("[]")))
    except ValueError:
        if HOST.fullmatch(text) is None:
            hint = "without a port, such as graft-0.example.org, *.example.org or 10.0.0.1"
            raise UsageError(f"not a host name or an IP address: {text!r}", hint=hint) from None
        return x509.DNSName(text)


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)


def _write(path: Path, data: bytes, *, secret: bool = False) -> None:
    """By a rename, so that a server that reads it meanwhile sees the old or the new one."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if secret else 0o644)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    temporary.replace(path)
