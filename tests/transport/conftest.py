from __future__ import annotations

import pytest

from graft.security.certs import DevCertificates, make_dev


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> DevCertificates:
    """Of cluster `demo`, members a, b and c."""
    return make_dev(tmp_path_factory.mktemp("certificates"), "demo", ["a", "b", "c"])
