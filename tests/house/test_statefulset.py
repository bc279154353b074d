"""The StatefulSet of `examples/deploy/`: its pods share one ConfigMap, and each can serve with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from graft.cluster.bootstrap import Found, Seen, Wait, decide
from graft.cluster.identity import Identity
from graft.config import Settings, load, unfit_for_serving
from graft.raft import Member

yaml = pytest.importorskip("yaml")
FILE = Path(__file__).resolve().parents[2] / "examples" / "deploy" / "kubernetes" / "graft.yaml"


@pytest.fixture(scope="module")
def objects() -> dict[str, Any]:
    return {each["kind"]: each for each in yaml.safe_load_all(FILE.read_text())}


def settings_of(objects: dict[str, Any], pod: str, directory: Path) -> Settings:
    """As the container has them: the mounted file, and the environment with `$(POD_NAME)` put in."""
    (container,) = objects["StatefulSet"]["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["graft", "serve", "--config", "/etc/graft/graft.toml"]
    environ = {each["name"]: each["value"].replace("$(POD_NAME)", pod) for each in container["env"] if "value" in each}
    file = directory / "graft.toml"
    file.write_text(objects["ConfigMap"]["data"]["graft.toml"])
    return load([str(file)], environ=environ, host_name=pod).settings


def test_every_pod_has_settings_it_can_serve_with(objects: dict[str, Any], tmp_path: Path) -> None:
    spec = objects["StatefulSet"]["spec"]
    name = objects["StatefulSet"]["metadata"]["name"]
    pods = [f"{name}-{ordinal}" for ordinal in range(spec["replicas"])]
    for pod in [*pods, f"{name}-{spec['replicas']}"]:
        settings = settings_of(objects, pod, tmp_path)
        assert unfit_for_serving(settings) == []
        assert settings.node_id == pod
        assert list(settings.discovery.initial_set()) == pods
        assert settings.transport.advertise_address == f"{pod}.{spec['serviceName']}:{settings.transport.listen_port}"
        assert settings.security.cert_file.endswith(f"/{pod}.crt")


def test_the_objects_fit_together(objects: dict[str, Any], tmp_path: Path) -> None:
    spec, service = objects["StatefulSet"]["spec"], objects["Service"]
    settings = settings_of(objects, "graft-0", tmp_path)
    template = spec["template"]
    assert service["metadata"]["name"] == spec["serviceName"] == settings.service_name
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    assert spec["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    ports = {each["name"]: each["port"] for each in service["spec"]["ports"]}
    assert ports[settings.discovery.kubernetes.port_name] == settings.transport.listen_port
    (container,) = template["spec"]["containers"]
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    volumes = {
        each["name"] for each in [*template["spec"]["volumes"], *(v["metadata"] for v in spec["volumeClaimTemplates"])]
    }
    assert set(mounts) == volumes
    assert mounts["data"] == settings.storage.directory
    assert template["spec"]["terminationGracePeriodSeconds"] > settings.engine.drain_timeout
    (rule,) = objects["Role"]["rules"]
    assert rule == {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]}


def test_the_pods_found_together_and_one_more_does_not(objects: dict[str, Any], tmp_path: Path) -> None:
    founders = settings_of(objects, "graft-0", tmp_path).discovery.initial_set()
    members = tuple(Member(name, n + 1) for n, name in enumerate(founders))
    seen = {each.id: Seen(each.id, each.incarnation, f"{each.id}.graft:7400", "", members) for each in members}
    for each in members:
        others = {name: answer for name, answer in seen.items() if name != each.id}
        assert isinstance(decide(Identity(each.id, each.incarnation), "graft", founders, 0, others), Found)
    assert isinstance(decide(Identity("graft-3", 9), "graft", founders, 0, seen), Wait)
