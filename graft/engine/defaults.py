"""What the cluster's configuration adds to a node that does not say it itself."""

from __future__ import annotations

from attrs import evolve

from graft.engine.graph import is_task
from graft.engine.records import ClusterConfig
from graft.plan import Node


def with_defaults(node: Node, config: ClusterConfig | None) -> Node:
    """The node as an attempt of it runs now: a node without `timeout` has that of the cluster.

    For the shell that starts the attempt: an attempt's own timeout is enforced where it runs.
    """
    if config is None or not config.attempt_timeout_ms or node.timeout_ms is not None or not is_task(node):
        return node
    return evolve(node, timeout_ms=config.attempt_timeout_ms)
