"""Types of values: one door to the trees, to their text and to the conversion of what a person typed."""

from graft.plan.conversion import convert, parse_duration, parse_size
from graft.plan.type_text import parse_type, render_type
from graft.plan.type_trees import (
    PLAIN,
    SCALARS,
    Type,
    assignable,
    element_type,
    field_type,
    head,
    infer,
    is_integer,
    is_number,
    is_text,
    join,
    kind,
    optional,
    problems,
    required,
    union,
)

__all__ = [
    "PLAIN",
    "SCALARS",
    "Type",
    "assignable",
    "convert",
    "element_type",
    "field_type",
    "head",
    "infer",
    "is_integer",
    "is_number",
    "is_text",
    "join",
    "kind",
    "optional",
    "parse_duration",
    "parse_size",
    "parse_type",
    "problems",
    "render_type",
    "required",
    "union",
]
