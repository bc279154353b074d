"""Addresses as people write them: taken, or refused with the reason."""

from __future__ import annotations

import pytest

from graft.client.addresses import is_local, read_addresses
from graft.errors import UsageError


def test_several_addresses_each_once_in_order() -> None:
    assert read_addresses(["b:1, a:2", "a:2", "[::1]:3,unix:/x/y"]) == ("b:1", "a:2", "[::1]:3", "unix:/x/y")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no address"),
        (" , ", "no address"),
        ("host", "names no port"),
        (":80", "names no port"),
        ("host:", "'' is no port"),
        ("host:http", "'http' is no port"),
        ("host:0", "'0' is no port"),
        ("host:65536", "'65536' is no port"),
        ("host:٣", "is no port"),
        ("http://host:80", "is no address"),
        ("::1:80", "is no address"),
        ("unix:", "names no path"),
        ("/var/run/graft", "is no address"),
    ],
)
def test_what_is_no_address(text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_addresses([text])
    assert says in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("unix:/x", True),
        ("127.0.0.1:1", True),
        ("127.8.9.1:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("10.0.0.1:1", False),
        ("example.org:1", False),
        ("localhost.example.org:1", False),
    ],
)
def test_what_cannot_leave_this_machine(address: str, local: bool) -> None:
    assert is_local(address) is local
