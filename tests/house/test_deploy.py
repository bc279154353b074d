"""The files of `examples/deploy/`: valid where they are used, and settings that a member can serve with."""

from __future__ import annotations

import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest

from graft.cluster.serving import GOODBYE_SECONDS, HAND_OVER_SECONDS, LOSE_SECONDS
from graft.config import Settings, load, unfit_for_serving

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "examples" / "deploy"
UNIT = DEPLOY / "systemd" / "graft.service"
STOP_SECONDS = float(Settings().engine.drain_timeout) + HAND_OVER_SECONDS + LOSE_SECONDS + GOODBYE_SECONDS


def test_the_manifests_are_what_kubernetes_accepts() -> None:
    validate = pytest.importorskip("kubernetes_validate")
    objects = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "graft.yaml").read_text()))
    assert len(objects) == 7
    for each in objects:
        validate.validate(each, "1.30", strict=True)
    objects[-1]["spec"]["replica"] = 3
    with pytest.raises(validate.ValidationError):
        validate.validate(objects[-1], "1.30", strict=True)


def test_every_container_of_compose_can_serve() -> None:
    compose = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())
    services: dict[str, Any] = compose["services"]
    certs = services.pop("certs")
    assert list(services) == ["graft-0", "graft-1", "graft-2"]
    assert (DEPLOY / "compose" / certs["build"]["context"]).resolve() == ROOT
    assert (ROOT / certs["build"]["dockerfile"]).is_file()
    for name, service in services.items():
        settings = load(environ=service["environment"], host_name="other").settings
        assert unfit_for_serving(settings) == []
        assert settings.node_id == name
        assert settings.discovery.initial_set() == tuple(services)
        assert settings.transport.advertise_address == f"{name}:{settings.transport.listen_port}"
        assert f"--member {name}" in certs["command"]
        assert settings.security.cert_file.endswith(f"/{name}.crt")
        mounts = dict(each.split(":")[:2] for each in service["volumes"])
        assert mounts.keys() <= compose["volumes"].keys()
        assert settings.storage.directory in mounts.values()
        assert set(service["depends_on"]) == {"certs"}
        assert settings.observability.http_listen in service["healthcheck"]["test"][-1]
        assert float(service["stop_grace_period"].rstrip("s")) > STOP_SECONDS


def test_the_unit_lets_a_member_stop_in_order() -> None:
    unit = ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(UNIT)
    service = unit["Service"]
    assert service["KillMode"] == "mixed"
    assert float(service["TimeoutStopSec"]) > STOP_SECONDS
    assert service["RestartPreventExitStatus"] == "2"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
@pytest.mark.parametrize("mistake", [False, True])
def test_systemd_accepts_the_unit(tmp_path: Path, mistake: bool) -> None:
    text = UNIT.read_text().replace("/opt/graft/.venv/bin/graft", str(Path(sys.executable).with_name("graft")))
    (tmp_path / "graft.service").write_text(text.replace("KillMode=", "KilMode=") if mistake else text)
    verify = ["systemd-analyze", "verify", "--man=no", str(tmp_path / "graft.service")]
    done = subprocess.run(verify, capture_output=True, text=True, timeout=60)
    assert ("KilMode" in done.stderr) == mistake
    assert mistake or done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("page", "file"),
    [("three-machines.md", "systemd/graft.service"), ("find-members.md", "kubernetes/graft.yaml")],
)
def test_the_pages_name_the_files(page: str, file: str) -> None:
    assert f"examples/deploy/{file}" in (ROOT / "docs" / "how-to" / page).read_text()
