"""A member looks at its own certificate before anybody else does."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from attrs import evolve

from graft.errors import UsageError
from graft.security.certs import make_dev
from graft.security.identity import Identity
from graft.security.own import _check_names, check_own
from graft.security.tls import TlsFiles


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("own")
    make_dev(base / "certs", "orders", ["graft-1", "graft-2"])
    make_dev(base / "others", "orders", ["graft-1"])
    return base


def files(base: Path, certificate: str = "graft-1", key: str = "", directory: str = "certs") -> TlsFiles:
    place = base / directory
    return TlsFiles(place / f"{certificate}.crt", place / f"{key or certificate}.key", place / "ca.crt")


def test_its_own_certificate_is_good(base: Path) -> None:
    check_own(files(base), "orders", "graft-1")
    check_own(files(base), "", "")


@pytest.mark.parametrize(
    ("cluster", "member", "message"),
    [
        ("orders", "graft-2", "graft-1.crt names graft://orders/member/graft-1, the settings say graft-2"),
        ("order", "graft-1", "graft-1.crt names graft://orders/member/graft-1, the settings say order"),
    ],
)
def test_the_certificate_of_another_is_told(base: Path, cluster: str, member: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_own(files(base), cluster, member)


def test_a_client_is_no_member(base: Path) -> None:
    with pytest.raises(UsageError, match=r"operator.crt does not hold against .*: unsuitable certificate purpose"):
        check_own(files(base, "operator"), "orders", "operator")
    may_serve = Identity("orders", "graft-1", frozenset({"operator"}), 0.0)
    with pytest.raises(UsageError, match=r"x.crt names graft://orders/operator/graft-1, which is no member"):
        _check_names(Path("x.crt"), may_serve, "orders", "graft-1")


def test_files_that_do_not_belong_together(base: Path) -> None:
    with pytest.raises(UsageError, match="do not belong together"):
        check_own(files(base, "graft-1", "graft-2"), "orders", "graft-1")
    foreign = evolve(files(base), authority=base / "others/ca.crt")
    with pytest.raises(UsageError, match=r"graft-1.crt does not hold against .*others/ca.crt"):
        check_own(foreign, "orders", "graft-1")


def test_one_that_has_expired(tmp_path: Path) -> None:
    make_dev(tmp_path / "certs", "orders", ["graft-1"], days=1, now=datetime.now(UTC) - timedelta(days=3))
    with pytest.raises(UsageError, match=r"graft-1.crt does not hold against .*: certificate has expired"):
        check_own(files(tmp_path), "orders", "graft-1")


def test_files_that_cannot_be_read(base: Path, tmp_path: Path) -> None:
    for name in ("certificate", "key", "authority"):
        with pytest.raises(UsageError, match=r"nothing.pem: No such file or directory"):
            check_own(evolve(files(base), **{name: tmp_path / "nothing.pem"}), "", "")
    (tmp_path / "rubbish.pem").write_text("rubbish")
    with pytest.raises(UsageError, match="are damaged"):
        check_own(evolve(files(base), authority=tmp_path / "rubbish.pem"), "", "")
    if os.geteuid():
        (tmp_path / "secret.pem").touch(mode=0)
        with pytest.raises(UsageError, match=r"secret.pem: Permission denied"):
            check_own(evolve(files(base), key=tmp_path / "secret.pem"), "", "")
