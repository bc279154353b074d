"""The codes of what can be wrong with an expression: a title and the explanation that `graft explain CODE` prints."""

from __future__ import annotations

EXPRESSION_CODES: dict[str, tuple[str, str]] = {
    "GR101": (
        "not an expression",
        "The text does not follow the grammar of expressions, which is a part of Python's: literals, names,\n"
        "`a.b`, `a[0]`, arithmetic, comparison, `and or not`, `in`, `x if c else y`, comprehensions,\n"
        "f-strings and functions. A field whose name is a word of Python is read as `fetch.out['from']`.",
    ),
    "GR102": (
        "the expression is too large",
        "An expression has at most 10,000 characters and nests at most 80 levels deep. Compute it in steps:\n"
        "a node with `value` per step, or a Python function.",
    ),
    "GR103": (
        "this form is not part of expressions",
        "Lambdas, assignments, sets, `*args`, `await`, `yield` and slices with a step are Python, but not\n"
        "expressions here: an expression is checked when the flow is compiled and runs under a budget.",
    ),
    "GR104": (
        "values have no methods",
        "Values are data. What methods do in Python, functions do here: `lower(x)` for `x.lower()`,\n"
        "`join(items, ', ')` for `', '.join(items)`, `default(x.key, y)` for `x.get('key', y)`.",
    ),
    "GR105": ("unknown function", "The functions of expressions are a fixed list; see the reference of expressions."),
    "GR106": ("wrong arguments", "The function takes other arguments: their number or their names are wrong."),
    "GR107": (
        "names that begin with `_` are not readable",
        "They are private to Python. Read `x['_name']` when a record has such a field.",
    ),
    "GR108": (
        "not a literal of expressions",
        "Values are JSON values: text, numbers, true, false, null, lists and tables. Integers have at most\n"
        "1023 bits, floats are finite. There are no bytes, no complex numbers, no `...`.",
    ),
    "GR109": (
        "unknown operator",
        "The operators are + - * / // % ** == != < <= > >= in, not in, and, or, not. Compare with null by\n`==`.",
    ),
    "GR110": (
        "not a template",
        "Text may hold expressions: `${ … }`. Every `${` needs its `}` and an expression between them.\n"
        "`$${` stands for the two characters `${`.",
    ),
    "GR111": (
        "not a format",
        "In an f-string, `{x:spec}` takes a format specification without braces, such as `>8`, `.2f` or\n"
        "`,`; its width is at most 1000. There is no `!r` and no `{x=}`.",
    ),
    "GR112": (
        "this name cannot be a variable",
        "The variable of a comprehension is a plain name that is not a function, not `params`, `run` or\n"
        "`secrets`, and does not begin with `_`.",
    ),
    "GR120": (
        "unknown name",
        "An expression can read `params`, `run`, `secrets`, the `out`, `error`, `status` and `attempts` of\n"
        "a node that it can see, and in a mapped node its item and `index`. A sub-flow sees only its own\n"
        "params.",
    ),
    "GR121": (
        "unknown field",
        "The type of the value is known (from `params`, `returns` or a Python annotation) and has no such\nfield.",
    ),
    "GR122": (
        "a node is not a value",
        "Say what of the node is meant: `fetch.out`, `fetch.error`, `fetch.status` or `fetch.attempts`.",
    ),
    "GR123": (
        "this may be absent",
        "The node may be skipped, or may not have run when this is read, and then there is no value. Write\n"
        "`default(x, …)` with what stands in for it.",
    ),
    "GR124": (
        "not readable here",
        "The value exists, but may not be read at this place. Secrets, for example, are allowed only in\n"
        "`env`, `headers`, `bearer`, `stdin` and the `with` of a function in Python, so that they cannot end up in\n"
        "results, logs or keys.",
    ),
    "GR125": (
        "this may be null",
        "The type says that the value may be null. Write `x or y`, or `x.name if x != null else y`.",
    ),
    "GR130": ("types do not fit the operator", "The operator is not defined for values of these types."),
    "GR131": ("types do not fit the function", "The function takes a value of another type."),
    "GR132": ("wrong type", "The value has another type than the place where it goes."),
    "GR133": ("the comparison is always false", "Values of these types are never equal."),
}
"""Code -> (title, explanation as markdown)."""
