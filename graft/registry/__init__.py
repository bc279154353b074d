"""Python targets: importing them, what their annotations say, and how they are called.

`resolve(target, base)` gives a `PythonFunction`, `signature(target, base)` is the
`SignatureResolver` that `graft_dsl` asks; `apart` has one that does it in another process, with a deadline.
"""

from graft.registry.context import Context
from graft.registry.functions import ArgumentProblem, PythonFunction, resolve
from graft.registry.signatures import signature
from graft.registry.skip import Skip
from graft.registry.targets import TargetProblem

__all__ = ["ArgumentProblem", "Context", "PythonFunction", "Skip", "TargetProblem", "resolve", "signature"]
