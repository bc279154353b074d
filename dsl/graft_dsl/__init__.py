"""The flow language: TOML (and Python) to plans, with diagnostics, formatting, schema and graphs.

Names are loaded when they are first used, so importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graft_dsl.codes import CODES, codes_page, explain
    from graft_dsl.compiling import Compiled, compile_file, compile_text
    from graft_dsl.diagnostics import Diagnostic, render
    from graft_dsl.formatting import format_text
    from graft_dsl.graphs import render_graph
    from graft_dsl.params import coerce_params
    from graft_dsl.reference import complete, reference_page
    from graft_dsl.schema import json_schema
    from graft_dsl.templates import TEMPLATES

_HOMES = {
    "Compiled": "compiling",
    "compile_file": "compiling",
    "compile_text": "compiling",
    "TEMPLATES": "templates",
    "CODES": "codes",
    "coerce_params": "params",
    "format_text": "formatting",
    "json_schema": "schema",
    "render_graph": "graphs",
    "complete": "reference",
    "reference_page": "reference",
    "codes_page": "codes",
    "explain": "codes",
    "Diagnostic": "diagnostics",
    "render": "diagnostics",
}

__all__ = [
    "CODES",
    "TEMPLATES",
    "Compiled",
    "Diagnostic",
    "codes_page",
    "coerce_params",
    "compile_file",
    "compile_text",
    "complete",
    "explain",
    "format_text",
    "json_schema",
    "reference_page",
    "render",
    "render_graph",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
