"""What is wrong with the files of a certificate is said by the name of the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import evolve

from graft.errors import UsageError
from graft.security.certs import make_dev
from graft.security.tls import ClientSecurity, TlsFiles

Broken = Callable[[TlsFiles, Path], TlsFiles]


def _encrypted(files: TlsFiles, directory: Path) -> TlsFiles:
    path = directory / "secret.key"
    path.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
    return evolve(files, key=path)


def _text(directory: Path) -> Path:
    path = directory / "text"
    path.write_text("no PEM")
    return path


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (
            lambda f, _: TlsFiles(f.key, f.certificate, f.authority),
            "{key}: expected a certificate in PEM, found a private key",
        ),
        (
            lambda f, _: TlsFiles(f.authority, f.certificate, f.key),
            "{cert}: expected a private key in PEM, found a certificate",
        ),
        (
            lambda f, _: TlsFiles(f.certificate, f.key, f.key),
            "{key}: expected a certificate in PEM, found a private key",
        ),
        (lambda f, d: evolve(f, authority=_text(d)), "text: expected a certificate in PEM, found none"),
        (lambda f, _: evolve(f, authority=Path("/no/ca")), "/no/ca: No such file"),
        (lambda f, _: evolve(f, certificate=f.authority), "the key {key} is not that of the certificate {ca}"),
        (_encrypted, "secret.key is encrypted, and the password is missing or wrong"),
    ],
)
def test_the_file_is_named_and_what_was_expected_in_it(broken: Broken, said: str, tmp_path: Path) -> None:
    """It said `PEM lib`."""
    files = make_dev(tmp_path, "demo", ["a"]).clients["operator"]
    with pytest.raises(UsageError) as caught:
        ClientSecurity(broken(files, tmp_path)).current()
    wanted = said.format(cert=files.certificate, key=files.key, ca=files.authority)
    assert wanted in caught.value.message
    assert "in this order" in str(caught.value.hint)
