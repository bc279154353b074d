"""Whether the certificate that a member is to show is its own: told at its start, not by the peers that refuse it."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from graft.errors import Denied, UsageError
from graft.files import read_file
from graft.security.identity import Identity, identify
from graft.security.tls import TlsFiles

MAX_STEPS: Final = 16  # of a handshake without a network


def check_own(files: TlsFiles, cluster: str, member: str) -> None:
    """That `files` can be read, belong together, and make `member` of `cluster` a member; "" for any name or cluster.

    Raises UsageError, which names the file.
    """
    for path in (files.certificate, files.key, files.authority):
        check_readable(path)
    try:
        shown = _shown(files)
    except ssl.SSLCertVerificationError as error:
        raise UsageError(
            f"{files.certificate} does not hold against {files.authority}: {error.verify_message}",
            hint="it has to be signed by that authority, for servers and for clients, and be valid now",
        ) from error
    except ssl.SSLError as error:
        raise UsageError(
            f"{files.certificate}, {files.key} and {files.authority} do not belong together, or are damaged: "
            f"{error.reason or error}",
            hint="the key has to be that of the certificate; `graft certs dev` shows how such files look",
        ) from error
    _check_names(files.certificate, _identity(files.certificate, shown), cluster, member)


def check_readable(path: Path) -> None:
    """Raises UsageError."""
    try:
        read_file(path)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}", hint="`[security]` in the settings names it") from error


def _shown(files: TlsFiles) -> ssl._PeerCertRetDictType:
    """The certificate as a peer sees it that trusts the authority: by a handshake of the files with themselves."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = files.context(ssl.Purpose.SERVER_AUTH).wrap_bio(to_client, to_server)
    server = files.context(ssl.Purpose.CLIENT_AUTH).wrap_bio(to_server, to_client, server_side=True)
    left = [client, server]
    for _ in range(MAX_STEPS):
        for side in list(left):
            try:
                side.do_handshake()
                left.remove(side)
            except ssl.SSLWantReadError:
                continue
        if not left:
            break
    found = client.getpeercert()
    assert found is not None, "a handshake without a network ends"
    return found


def _identity(path: Path, shown: ssl._PeerCertRetDictType) -> Identity:
    try:
        return identify(shown, "")
    except Denied as error:
        raise UsageError(f"{path}: {error.message}", hint="a member needs graft://CLUSTER/member/NAME") from error


def _check_names(path: Path, found: Identity, cluster: str, member: str) -> None:
    roles = ", ".join(sorted(found.roles))
    names = f"graft://{found.cluster}/{'member' if 'member' in found.roles else roles}/{found.name}"
    if "member" not in found.roles:
        raise UsageError(f"{path} names {names}, which is no member", hint="a member's certificate has the role member")
    for setting, said, wanted in (("service_name", found.cluster, cluster), ("node_id", found.name, member)):
        if wanted and said != wanted:
            raise UsageError(
                f"{path} names {names}, the settings say {wanted}",
                hint=f"name the certificate of this member in `[security]`, or correct `{setting}`",
            )


__all__ = ["check_own", "check_readable"]
