"""Who is next. Pure."""

from graft.queues.ready import ReadyQueue

__all__ = ["ReadyQueue"]
