"""The Trio loop around the log: persist, apply. Today the log of a cluster of one, which commits what it synced."""

from graft.raft_driver.overlay import Overlay
from graft.raft_driver.solo import Machine, SoloDoor

__all__ = ["Machine", "Overlay", "SoloDoor"]
