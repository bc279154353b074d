"""Messages between members: the in-memory fake."""

from graft.transport.memory import MemoryNetwork, MemoryTransport

__all__ = ["MemoryNetwork", "MemoryTransport"]
