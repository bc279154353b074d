"""Python targets: importing them, what their annotations say, and how they are called.

`resolve(target, base)` gives a `PythonFunction`, `Resolver(base)` is the `SignatureResolver` that `graft_dsl` asks.
"""

from graft.registry.context import Context
from graft.registry.functions import ArgumentProblem, PythonFunction, resolve
from graft.registry.signatures import Resolver
from graft.registry.targets import TargetProblem

__all__ = ["ArgumentProblem", "Context", "PythonFunction", "Resolver", "TargetProblem", "resolve"]
