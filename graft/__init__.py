"""Graft: durable structured concurrency. Flows in TOML or Python, run by Trio, kept in LMDB.

Names are loaded when they are first used, so `import graft` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graft.client.client import Client as Client
    from graft.cluster.cluster import Cluster as Cluster
    from graft.cluster.cluster import Factory as Factory
    from graft.registry.context import Context as Context
    from graft.registry.secret import Secret as Secret
    from graft.registry.skip import Skip as Skip

__version__ = "0.1.0"

_HOMES = {
    "Client": "graft.client.client",
    "Cluster": "graft.cluster.cluster",
    "Context": "graft.registry.context",
    "Factory": "graft.cluster.cluster",
    "Secret": "graft.registry.secret",
    "Skip": "graft.registry.skip",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
