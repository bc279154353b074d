"""What the other side's TLS says when it does not want us, and how a server of ours says it.

TLS has a fixed list of alerts. With TLS 1.3 a client learns of them after its handshake, for the server looks at the
client's certificate last. What no alert can say (the certificate is for another cluster) our server says in the reason
of an HTTP/2 GOAWAY, as its first and last words.
"""

from __future__ import annotations

import ssl
from typing import Final

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes

from graft.errors import Denied

UNWANTED: Final = ErrorCodes.INADEQUATE_SECURITY
"""The code of a GOAWAY whose debug data says why a certificate was refused: `REASON TEXT`."""
MAX_WORDS: Final = 500  # characters

# alert: (reason of `Denied`, what it means for who showed the certificate `{file}`)
_ABOUT_US: Final[dict[str, tuple[str, str]]] = {
    "UNKNOWN_CA": ("not_trusted", "the members do not trust your certificate {file}: another authority signed it"),
    "CERTIFICATE_EXPIRED": ("expired", "your certificate {file} has expired, or is not valid yet"),
    "CERTIFICATE_REVOKED": ("not_trusted", "your certificate {file} was revoked"),
    "CERTIFICATE_REQUIRED": ("no_certificate", "the members want a certificate, and got none"),
    "BAD_CERTIFICATE": ("not_trusted", "the members cannot use your certificate {file}: it is damaged or not allowed"),
    "UNSUPPORTED_CERTIFICATE": ("not_trusted", "the members cannot use your certificate {file}: it is of another kind"),
    "CERTIFICATE_UNKNOWN": ("not_trusted", "the members do not accept your certificate {file}; their logs say why"),
    "DECRYPT_ERROR": ("not_trusted", "the members cannot verify your certificate {file}: its signature is wrong"),
}


def alert_of(error: BaseException | None) -> str:
    """The name of the alert that the other side sent, such as `UNKNOWN_CA`; "" when it was none."""
    if not isinstance(error, ssl.SSLError):
        return ""
    return (error.reason or "").partition("_ALERT_")[2]


def refusal_of(alert: str, file: object) -> Denied | None:
    """The error of who showed the certificate `file`; None when the alert is about something else."""
    found = _ABOUT_US.get(alert)
    return None if found is None else Denied(found[1].format(file=file), reason=found[0])


def farewell(error: Denied) -> bytes:
    """All that a server sends to who has finished TLS with a certificate that it does not want."""
    h2 = H2Connection(config=H2Configuration(client_side=False))
    h2.initiate_connection()
    h2.close_connection(UNWANTED, additional_data=f"{error.reason} {error.message}"[:MAX_WORDS].encode())
    return h2.data_to_send()


def read_farewell(data: bytes | None, file: object) -> Denied:
    """The other end of `farewell`. It comes from a member whose certificate was verified, and is text all the same."""
    reason, _, text = (data or b"").decode(errors="replace")[:MAX_WORDS].partition(" ")
    return Denied(f"the members refuse your certificate {file}: {text or 'their logs say why'}", reason=reason)


__all__ = ["UNWANTED", "alert_of", "farewell", "read_farewell", "refusal_of"]
