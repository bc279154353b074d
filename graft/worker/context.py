"""The `ctx` of a Python step. It lives in the registry, which has to know it when it reads a function's parameters."""

from graft.registry.context import Context

__all__ = ["Context"]
