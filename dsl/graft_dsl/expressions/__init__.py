"""Expressions of the flow language: read, and checked against the types of what they name.

`parse_expression` and `parse_template` make the tree that goes into the plan; `check` gives its type and every problem
that can be known before anything runs. `graft.expressions` evaluates.
"""

from graft_dsl.expressions.checker import Checked, check
from graft_dsl.expressions.codes import EXPRESSION_CODES
from graft_dsl.expressions.parsed import Parsed, Problem
from graft_dsl.expressions.parser import parse_bare, parse_expression, parse_template
from graft_dsl.expressions.scope import Scope

__all__ = [
    "EXPRESSION_CODES",
    "Checked",
    "Parsed",
    "Problem",
    "Scope",
    "check",
    "parse_bare",
    "parse_expression",
    "parse_template",
]
