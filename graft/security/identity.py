"""Who a certificate speaks for: the names in its subjectAltName of the form `graft://CLUSTER/ROLE/NAME`.

A certificate may carry several such names, of one cluster and one NAME: its roles are all of them. The subject and the
DNS names say nothing about who somebody is.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from graft.errors import Denied
from graft.security.roles import ROLES

_WORD = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,253}[A-Za-z0-9])?"
_NAME = re.compile(rf"graft://({_WORD})/([a-z]+)/({_WORD})")


@frozen
class Identity:
    """`expires_at`: seconds since the Unix epoch, when the certificate ends."""

    cluster: str
    name: str
    roles: frozenset[str]
    expires_at: float


def san_uri(cluster: str, role: str, name: str) -> str:
    """The URI of a certificate. Raises ValueError for words that cannot stand in it."""
    uri = f"graft://{cluster}/{role}/{name}"
    if _NAME.fullmatch(uri) is None or role not in ROLES:
        raise ValueError(f"not a name for a certificate: {uri}")
    return uri


def identify(certificate: Mapping[str, Any] | None, cluster: str) -> Identity:
    """The identity in a verified certificate, as `ssl.SSLObject.getpeercert()` gives it; `cluster` "" takes any.

    Raises Denied: `no_certificate`, `no_identity`, `foreign_cluster`.
    """
    if not certificate:
        raise Denied("the other side showed no certificate", reason="no_certificate")
    uris = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "URI"]
    found = [match.groups() for uri in uris if (match := _NAME.fullmatch(uri))]
    found = [(of, role, name) for of, role, name in found if role in ROLES]
    names = {(of, name) for of, _, name in found}
    if len(names) != 1:
        wanted = "graft://CLUSTER/ROLE/NAME"
        raise Denied(f"the certificate has {len(names)} names of the form {wanted}, not one", reason="no_identity")
    ((of, name),) = names
    if cluster and of != cluster:
        raise Denied(f"the certificate of {name} is for cluster {of}, not {cluster}", reason="foreign_cluster")
    expires_at = ssl.cert_time_to_seconds(certificate["notAfter"])
    return Identity(of, name, frozenset(role for _, role, _ in found), float(expires_at))
