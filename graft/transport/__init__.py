"""Messages between members, and calls of clients: over gRPC, and in memory for tests.

asyncio, grpclib and protobuf stay in `server`, `channel` and `peers`, and are imported by whoever needs those.
"""

from graft.transport.limits import Limits
from graft.transport.memory import MemoryNetwork, MemoryTransport

__all__ = ["Limits", "MemoryNetwork", "MemoryTransport"]
