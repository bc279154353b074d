"""Where members are, as people write it: `HOST:PORT`, several with commas between, or `unix:/path/of/a/socket`."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from graft.errors import UsageError


def read_addresses(texts: Iterable[str]) -> tuple[str, ...]:
    """The addresses, each once, in order. Raises UsageError for what is none, and when there are none."""
    found = dict.fromkeys(part.strip() for text in texts for part in text.split(","))
    found.pop("", None)
    if not found:
        raise UsageError("no address of a server is given", hint="an address is HOST:PORT")
    return tuple(checked(each) for each in found)


def checked(address: str) -> str:
    if address.startswith("unix:"):
        if len(address) == len("unix:"):
            raise UsageError("unix: names no path", hint="write unix:/path/of/the/socket")
        return address
    host, colon, port = address.rpartition(":")
    if "://" in address or "/" in address:
        raise UsageError(f"{address!r} is no address of a server", hint="an address is HOST:PORT, without a scheme")
    if not colon or not host:
        raise UsageError(f"{address!r} is no address of a server: it names no port", hint="an address is HOST:PORT")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise UsageError(f"{address!r} is no address of a server: {port!r} is no port", hint="a port is 1 to 65535")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise UsageError(f"{address!r} is no address of a server", hint="write an IPv6 address as [::1]:7440")
    return address


def is_local(address: str) -> bool:
    """Whether the address cannot leave this machine."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
