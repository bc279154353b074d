"""Expressions: trees of nested tuples, compiled to closures and evaluated under a budget. Pure.

`trees` lists the forms, `functions` is the table of functions, `program` compiles, `budget` limits. Parsing text and
checking types is the language's business (`graft_dsl.expressions`); a plan holds trees only.
"""

from graft.expressions.budget import DEFAULT_BUDGET, Budget
from graft.expressions.functions import FUNCTIONS, Function, Parameter
from graft.expressions.program import Program, ProgramCache, compile_tree, evaluate
from graft.expressions.trees import (
    FORMS,
    MAX_DEPTH,
    NODE_FIELDS,
    ROOTS,
    Tree,
    brief,
    free_vars,
    node_text,
    render,
    walk,
)

__all__ = [
    "DEFAULT_BUDGET",
    "FORMS",
    "FUNCTIONS",
    "MAX_DEPTH",
    "NODE_FIELDS",
    "ROOTS",
    "Budget",
    "Function",
    "Parameter",
    "Program",
    "ProgramCache",
    "Tree",
    "brief",
    "compile_tree",
    "evaluate",
    "free_vars",
    "node_text",
    "render",
    "walk",
]
