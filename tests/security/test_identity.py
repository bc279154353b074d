"""Who a certificate speaks for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graft.errors import Denied
from graft.security.identity import identify, san_uri
from graft.security.roles import METHOD_ROLES, ROLES, may_call

WORDS = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?", fullmatch=True)


def certificate(*uris: str) -> dict[str, Any]:
    names = (*(("URI", uri) for uri in uris), ("DNS", "graft://demo/operator/dns"))
    return {"subjectAltName": names, "notAfter": "Nov 23 00:00:00 2027 GMT"}


@given(WORDS, st.sampled_from(sorted(ROLES)), WORDS)
def test_a_name_is_read_as_it_was_written(cluster: str, role: str, name: str) -> None:
    found = identify(certificate(san_uri(cluster, role, name)), cluster)
    assert (found.cluster, found.roles, found.name) == (cluster, {role}, name)
    assert found.expires_at > 1.8e9


def test_several_roles_of_one_name() -> None:
    found = identify(certificate("graft://demo/member/n1", "graft://demo/operator/n1"), "")
    assert found.roles == {"member", "operator"}


@pytest.mark.parametrize(
    ("uris", "reason"),
    [
        ([], "no_identity"),
        (["https://example.org"], "no_identity"),
        (["graft://demo/king/n1"], "no_identity"),
        (["graft://demo/member/"], "no_identity"),
        (["graft://demo/member/n1/more"], "no_identity"),
        (["graft://demo/member/n1?x"], "no_identity"),
        (["graft://demo/member/n1\n"], "no_identity"),
        (["GRAFT://demo/member/n1"], "no_identity"),
        (["graft://demo/member/n1", "graft://demo/member/n2"], "no_identity"),
        (["graft://demo/member/n1", "graft://other/member/n1"], "no_identity"),
        (["graft://other/member/n1"], "foreign_cluster"),
    ],
)
def test_names_that_are_refused(uris: list[str], reason: str) -> None:
    with pytest.raises(Denied) as raised:
        identify(certificate(*uris), "demo")
    assert raised.value.reason == reason


def test_no_certificate() -> None:
    for nothing in (None, {}):
        with pytest.raises(Denied) as raised:
            identify(nothing, "demo")
        assert raised.value.reason == "no_certificate"


def test_nobody_may_call_what_is_not_in_the_table() -> None:
    assert not may_call("Workflows/Dance", ROLES)
    assert not any(may_call(method, frozenset()) for method in METHOD_ROLES)
