"""Settings of a member: from files, environment and flags to one frozen record, with where each value came from.

::

    loaded = load(["graft.toml"], environ=os.environ, flags={"transport.listen_port": 7401})
    loaded.settings.transport.listen_port       # 7401
    loaded.origins["transport.listen_port"]     # --listen-port
    loaded, changed, refused = reload(loaded)   # on SIGHUP

`load` and `reload` block while they read: call them before Trio runs, or in a thread.
"""

from __future__ import annotations

from graft.config.consistency import contradictions, is_loopback, unfit_for_serving
from graft.config.fields import Seconds, Secret, Size
from graft.config.loading import LEAVES, Loaded, Reloaded, Sources, load, reload, value_of
from graft.config.problems import Problem
from graft.config.settings import (
    DiscoverySettings,
    DnsSettings,
    EngineSettings,
    KubernetesSettings,
    MdnsSettings,
    ObservabilitySettings,
    ResourcesSettings,
    SecuritySettings,
    Settings,
    StorageSettings,
    TransportSettings,
)
from graft.config.sources import CONFIG, Flag, Origin

__all__ = [
    "CONFIG",
    "LEAVES",
    "DiscoverySettings",
    "DnsSettings",
    "EngineSettings",
    "Flag",
    "KubernetesSettings",
    "Loaded",
    "MdnsSettings",
    "ObservabilitySettings",
    "Origin",
    "Problem",
    "Reloaded",
    "ResourcesSettings",
    "Seconds",
    "Secret",
    "SecuritySettings",
    "Settings",
    "Size",
    "Sources",
    "StorageSettings",
    "TransportSettings",
    "contradictions",
    "is_loopback",
    "load",
    "reload",
    "unfit_for_serving",
    "value_of",
]
