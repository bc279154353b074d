"""What `graft_dsl` learns about a Python target at compile time."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from graft.plan.signature import Signature
from graft.registry.annotations import type_tree
from graft.registry.functions import PythonFunction, resolve
from graft.registry.targets import TargetProblem


def signature(target: str, base: str) -> Signature:
    """Imports `target` for a flow in the directory `base`: a `SignatureResolver`, in this process.

    Raises LookupError: missing module or function, or a module that fails when imported.
    """
    try:
        return signature_of(resolve(target, Path(base)))
    except TargetProblem:
        raise
    except (Exception, SystemExit, GeneratorExit) as error:
        raise _import_failed(target, error) from error


def signature_of(function: PythonFunction) -> Signature:
    params = tuple((each.name, _known(each.annotation, True), each.required) for each in function.params.values())
    return Signature(
        params=params,
        returns=_known(function.returns, False),
        accepts_any=function.accepts_any,
        context=function.context,
        is_async=function.is_async,
        doc=function.doc,
    )


def _known(annotation: Any, argument: bool) -> Any | None:
    if annotation is inspect.Parameter.empty or isinstance(annotation, str):
        return None
    return type_tree(annotation, argument=argument)


def _import_failed(target: str, error: BaseException) -> TargetProblem:
    module = target.partition(":")[0]
    frame = error.__traceback__
    place = ""
    while frame is not None:  # the innermost frame is where it happened
        code = frame.tb_frame.f_code
        if not code.co_filename.startswith("<frozen"):
            place = f" ({code.co_filename}:{frame.tb_lineno})"
        frame = frame.tb_next
    if isinstance(error, SyntaxError):
        place = f" ({error.filename}:{error.lineno})"
    text = str(error) or type(error).__name__
    return TargetProblem(
        f"importing module `{module}` (wanted by `{target}`) failed: {type(error).__name__}: {text}{place}",
        type=f"python.{type(error).__name__}",
    )
