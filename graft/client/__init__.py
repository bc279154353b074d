"""Asking a cluster, or the process that holds a data directory, from a program: `graft.Client`."""

from graft.client.client import Client, Start, Started

__all__ = ["Client", "Start", "Started"]
