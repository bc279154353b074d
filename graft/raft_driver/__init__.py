"""The Trio loop around `graft.raft`: persist, send, apply."""

from graft.raft_driver.door import RaftDoor
from graft.raft_driver.founding import adopt, is_of_many, sole_member
from graft.raft_driver.machine import Machine
from graft.raft_driver.overlay import Overlay

__all__ = ["Machine", "Overlay", "RaftDoor", "adopt", "is_of_many", "sole_member"]
