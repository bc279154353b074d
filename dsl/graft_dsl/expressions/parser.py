"""From text to expression trees, by Python's own parser (R14).

`ast` reads the text, `lowering` makes trees of what it found and refuses the rest of Python. Bad input never raises: it
becomes problems with their places. Hostile input is stopped before `ast` sees it (`scanning`), by the length of the
text, or by the depth of the result.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from graft_dsl.expressions.lowering import SURROGATE, Lowering, TooDeep
from graft_dsl.expressions.parsed import Parsed, Problem
from graft_dsl.expressions.scanning import Field, ScanError, template_pieces

MAX_EXPRESSION = 10_000
MAX_TEMPLATE = 1_000_000
MAX_TEMPLATE_EXPRESSIONS = 1000

_WRAPPED = re.compile(r"\s*\$\{")


def parse_expression(text: str, names: Iterable[str] = ()) -> Parsed:
    """Read an expression: `fetch.out.risk > 0.8`.

    `names` are the variables that are neither roots nor nodes: the `as` names of the mapped nodes around. Only these,
    roots and comprehension variables may have a field called `out`, `error`, `status` or `attempts`: for any other name
    `x.out` is the `out` of node `x`.
    """
    lowering = Lowering(text, frozenset(names))
    try:
        tree = lowering.expression(0, len(text), MAX_EXPRESSION)
    except (ScanError, TooDeep) as error:
        tree = lowering.failed(error)
    return lowering.parsed(tree)


def parse_template(text: str, names: Iterable[str] = ()) -> Parsed:
    """Read text that may hold `${…}`. One `${…}` alone is that expression; otherwise the tree formats text.

    Text without `${` is a constant. `$${` stands for `${`.
    """
    lowering = Lowering(text, frozenset(names))
    if not text.isascii() and (found := SURROGATE.search(text)):
        return lowering.parsed(lowering.problem("GR108", "a text holds no surrogates", *found.span()))
    if "${" not in text:
        return lowering.parsed(lowering.constant(text, 0, len(text)))
    try:
        if len(text) > MAX_TEMPLATE:
            raise ScanError("GR102", f"the text has more than {MAX_TEMPLATE:,} characters", 0, len(text))
        pieces = list(template_pieces(text))
    except ScanError as error:
        return lowering.parsed(lowering.failed(error))
    return lowering.parsed(_template(lowering, pieces))


def _template(lowering: Lowering, pieces: list[str | Field]) -> tuple[object, ...]:
    if sum(isinstance(piece, Field) for piece in pieces) > MAX_TEMPLATE_EXPRESSIONS:
        problem = f"the text has more than {MAX_TEMPLATE_EXPRESSIONS:,} expressions"
        return lowering.failed(ScanError("GR102", problem, 0, len(lowering.text)))
    parts = []
    for piece in pieces:
        if isinstance(piece, str):
            parts.append(lowering.constant(piece, 0, len(lowering.text)))
            continue
        try:
            parts.append(lowering.expression(piece.start, piece.end, MAX_EXPRESSION))
        except (ScanError, TooDeep) as error:
            parts.append(lowering.failed(error))
    if len(parts) == 1 and isinstance(pieces[0], Field):
        return parts[0]
    return lowering.format(parts, 0, len(lowering.text))


def parse_bare(text: str, names: Iterable[str] = ()) -> Parsed:
    """Read an expression that may also stand in one `${…}`, as in `when`, `until` and `for_each`."""
    if not _WRAPPED.match(text):
        return parse_expression(text, names)
    stripped = text.strip()
    parsed = parse_template(stripped, names)
    if parsed.tree[0] == "format" and not parsed.problems:
        message = "an expression is wanted here, not text with expressions in it"
        return Parsed(text, parsed.tree, parsed.refs, (Problem("GR110", message, 0, len(text)),))
    return _moved(parsed, text, text.index("$"))


def _moved(parsed: Parsed, text: str, by: int) -> Parsed:
    """`parsed`, read from a part of `text` that begins at `by`."""
    problems = tuple(
        Problem(each.code, each.message, each.start + by, each.end + by, each.wanted, each.got, each.suggestion)
        for each in parsed.problems
    )
    spans = {key: (start + by, end + by) for key, (start, end) in parsed.spans.items()}
    return Parsed(text, parsed.tree, parsed.refs, problems, spans, parsed.broken)
