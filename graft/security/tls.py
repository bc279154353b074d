"""TLS both ways: contexts from files, made again when the files change.

A context is made for the next connection; those that are open keep theirs, so no stream drops when a certificate is
renewed. When the new files do not fit together (one is written, the other is not yet), the old context stays until they
do.

Hostnames: the cluster's authority signs for members and for clients, and only a member's certificate may serve
(`serverAuth`, and role `member`), so who is at the other end is known by the name in the certificate and not by the
address it was reached under. `verify_hostname` asks for both.
"""

from __future__ import annotations

import logging
import os
import re
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from attrs import define, field, frozen

from graft.errors import UsageError
from graft.files import check_regular, read_file

log = logging.getLogger(__name__)

Version = Literal["1.2", "1.3"]
VERSIONS: dict[str, ssl.TLSVersion] = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
CERTIFICATE, KEY = "certificate", "private key"
_BEGINNINGS = {
    CERTIFICATE: rb"-----BEGIN (TRUSTED |X509 )?CERTIFICATE-----",
    KEY: rb"-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY-----",
}


@frozen
class TlsFiles:
    """PEM files. `certificate` may hold a chain, `authority` several certificates (old and new, while one is renewed).

    `ciphers` is OpenSSL's list for TLS 1.2; those of 1.3 are all good. `password` is that of the key's file.
    """

    certificate: Path
    key: Path
    authority: Path
    minimum_version: Version = "1.3"
    ciphers: str = ""
    maximum_version: Version = "1.3"
    password: str = field(default="", repr=False)

    def context(self, purpose: ssl.Purpose) -> ssl.SSLContext:
        """Raises OSError (ssl.SSLError is one) for files that are not there, or not what they should be."""
        server = purpose is ssl.Purpose.CLIENT_AUTH
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = VERSIONS[self.minimum_version]
        context.maximum_version = VERSIONS[self.maximum_version]
        if self.ciphers:
            context.set_ciphers(self.ciphers)
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        for path in (self.certificate, self.key, self.authority):
            check_regular(path)  # OpenSSL would wait for a pipe
        context.load_cert_chain(self.certificate, self.key, self.password)
        context.load_verify_locations(self.authority)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.set_alpn_protocols(["h2"])
        return context

    def fingerprint(self) -> tuple[tuple[int, int, int], ...]:
        """Changes when a file is replaced or written. Raises OSError."""
        stats = [os.stat(path) for path in (self.certificate, self.key, self.authority)]
        return tuple((stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in stats)


@define
class Contexts:
    """The context for the next connection. The files are looked at once in `check_seconds` at most."""

    files: TlsFiles
    purpose: ssl.Purpose
    check_seconds: float = 1.0
    clock: Callable[[], float] = time.monotonic
    _context: ssl.SSLContext | None = field(default=None, init=False)
    _print: tuple[tuple[int, int, int], ...] = field(default=(), init=False)
    _checked_at: float = field(default=0.0, init=False)

    def current(self) -> ssl.SSLContext:
        """Raises UsageError when the files were never good."""
        now = self.clock()
        if self._context is not None and now - self._checked_at < self.check_seconds:
            return self._context
        self._checked_at = now
        try:
            fingerprint = self.files.fingerprint()
            if self._context is None or fingerprint != self._print:
                self._context = self.files.context(self.purpose)
                self._print = fingerprint
        except OSError as error:
            if self._context is None:
                hint = f"certificate, key and authority, in this order: {_names(self.files)}"
                raise UsageError(f"TLS: {_what(error, self.files)}", hint=hint) from error
            log.warning("TLS files changed and cannot be used, the old ones stay: %s", _what(error, self.files))
        assert self._context is not None
        return self._context


def _what(error: OSError, files: TlsFiles) -> str:
    if not isinstance(error, ssl.SSLError):
        return f"{error.filename or _unreadable(files) or 'a file'}: {error.strerror or error}"
    wanted = ((files.certificate, CERTIFICATE), (files.key, KEY), (files.authority, CERTIFICATE))
    for path, what in wanted:
        if (problem := _misses(path, what)) is not None:
            return problem
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"the key {files.key} is not that of the certificate {files.certificate}"
    if error.reason == "BAD_DECRYPT" or _is_encrypted(files.key):
        return f"the key {files.key} is encrypted, and the password is missing or wrong"
    return f"certificate, key and authority are damaged or do not belong together ({error.reason or error})"


def _misses(path: Path, what: str) -> str | None:
    """Why `path` cannot be the PEM file that is wanted; None when it may be."""
    try:
        data = read_file(path)
    except OSError as error:
        return f"{path}: {error.strerror or error}"
    found = [kind for kind, beginning in _BEGINNINGS.items() if re.search(beginning, data)]
    if what in found:
        return None
    return f"{path}: expected a {what} in PEM, found {f'a {found[0]}' if found else 'none'}"


def _unreadable(files: TlsFiles) -> Path | None:
    return next(
        (path for path in (files.certificate, files.key, files.authority) if not os.access(path, os.R_OK)), None
    )


def _is_encrypted(path: Path) -> bool:
    return b"ENCRYPTED" in read_file(path)


def _names(files: TlsFiles) -> str:
    return ", ".join(map(str, (files.certificate, files.key, files.authority)))


@define
class ServerSecurity:
    """What a server shows and asks of who connects: a certificate of the authority, for `cluster` ("" for any)."""

    files: TlsFiles
    cluster: str = ""
    contexts: Contexts = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.contexts = Contexts(self.files, ssl.Purpose.CLIENT_AUTH)


@define
class ClientSecurity:
    """What a client shows, and asks of whom it connects to: a member of `cluster` ("" for any)."""

    files: TlsFiles
    cluster: str = ""
    verify_hostname: bool = False
    contexts: Contexts = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.contexts = Contexts(self.files, ssl.Purpose.SERVER_AUTH)

    def current(self) -> ssl.SSLContext:
        """The context for the next connection. Raises UsageError."""
        context = self.contexts.current()
        context.check_hostname = self.verify_hostname
        return context
