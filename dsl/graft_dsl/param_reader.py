"""`[params.NAME]`: the type of a param, its default and what else limits its values (R25)."""

from __future__ import annotations

from typing import Any

from graft.plan import Param
from graft.plan.limits import limit_problems
from graft.plan.patterns import PatternError, compile_pattern
from graft.plan.types import convert, head, infer, is_number, render_type
from graft_dsl.declarations import MISSING, ParamDecl
from graft_dsl.diagnostics import At
from graft_dsl.keys import PARAM
from graft_dsl.reading import BAD, ValueReader
from graft_dsl.suggest import a, quoted

_SIZED = ("list", "table", "record")


def read_param(values: ValueReader, name: str, table: dict[str, Any], at: At) -> ParamDecl | None:
    """The declaration of one param; of a param whose type is wrong, one of type `any`; None when even that fails."""
    bare_enum = table.get("type") == "enum"
    read = {key: values.read(PARAM.keys[key].shape, table[key], (*at, key)) for key in _known(values, name, table, at)}
    for key in ("default", "values"):
        _refuse_templates(values, read.get(key), table.get(key), (*at, key))
    param = ParamDecl(name, at, _type(values, read, table, at, bare_enum))
    for key in ("doc", "secret"):
        if read.get(key, BAD) is not BAD:
            setattr(param, key, read[key])
    if param.type is BAD:
        param.type, param.default = "any", table.get("default", MISSING) and None
        return param
    _limits(values, param, read, table)
    if "default" in table and read.get("default") is not BAD:
        _default(values, param, table["default"])
    return param


def _known(values: ValueReader, name: str, table: dict[str, Any], at: At) -> list[str]:
    found = []
    for key in table:
        if key in PARAM.keys:
            if not (key == "type" and table[key] == "enum"):
                found.append(key)
        else:
            guess = {
                "description": "doc",
                "help": "doc",
                "enum": "values",
                "choices": "values",
                "regex": "pattern",
            }.get(key)
            values.unknown(key, PARAM.keys, (*at, key), f"of the param {quoted(name)}", guess)
    return found


def _refuse_templates(values: ValueReader, read: Any, value: Any, at: At) -> None:
    if values.leaves and read is not None:
        values.leaves.clear()
        values.report.error(
            "GR026",
            "a param's default and values cannot be computed",
            at,
            suggestion="write the value itself, or compute it in a `value` node",
        )


def _type(values: ValueReader, read: dict[str, Any], table: dict[str, Any], at: At, bare_enum: bool) -> Any:
    if bare_enum:
        allowed = table.get("values")
        if isinstance(allowed, list) and allowed and read.get("values") is not BAD:
            return ("enum", tuple(allowed))
        if "values" not in table:
            values.report.error(
                "GR019", "an `enum` needs its values", (*at, "type"), suggestion='values = ["small", "large"]'
            )
        return BAD
    if "type" in read:
        return read["type"]
    if "default" in table and read["default"] is not BAD:
        return infer(convert("any", table["default"]))
    if "values" in table and read["values"] is not BAD:
        return ("enum", tuple(table["values"]))
    if "default" not in table and "values" not in table:
        values.report.error(
            "GR019", f"the param {quoted(at[-1])} has no type", at, part="key", suggestion='type = "string"'
        )
    return BAD


def _limits(values: ValueReader, param: ParamDecl, read: dict[str, Any], table: dict[str, Any]) -> None:
    report, text = values.report, render_type(param.type)
    if read.get("pattern", BAD) is not BAD:
        param.pattern = _pattern(values, param, read["pattern"])
    for key in ("min", "max"):
        if read.get(key, BAD) is BAD:
            continue
        measure: Any = param.type if is_number(param.type) else "int"
        if not (is_number(param.type) or param.type == "string" or param.type[0] in _SIZED):
            report.error(
                "GR502", f"`{key}` says nothing about {a(text)}", (*param.at, key), wanted="a number, string or list"
            )
            continue
        try:
            setattr(param, key, convert(measure, read[key]))
        except ValueError as error:
            report.error("GR502", f"`{key}` does not fit the type {text}: {error}", (*param.at, key))
    if param.min is not None and param.max is not None and param.min > param.max:
        report.error("GR502", f"`min` is greater than `max`: no {text} is between them", (*param.at, "min"))
    if "values" in table and read.get("values") is not BAD:
        param.values = _values(values, param, table["values"])


def _pattern(values: ValueReader, param: ParamDecl, pattern: str) -> str | None:
    at = (*param.at, "pattern")
    if param.type not in ("string", "any", ("optional", "string")):
        values.report.error(
            "GR502", f"`pattern` says nothing about {a(render_type(param.type))}", at, wanted="a string"
        )
        return None
    try:
        compile_pattern(pattern)
    except PatternError as error:
        span = (error.position, error.position + 1)
        values.report.error("GR502", f"`pattern` is not a regular expression of Graft: {error}", at, span=span)
        return None
    return pattern


def _values(values: ValueReader, param: ParamDecl, allowed: list[Any]) -> tuple[Any, ...]:
    made = []
    if head(param.type) == "enum" and param.type[1] == tuple(allowed):
        return param.type[1] if all(isinstance(each, (str, int, float, bool)) for each in allowed) else ()
    for number, each in enumerate(allowed):
        try:
            made.append(convert(param.type, each))
        except ValueError as error:
            values.report.error(
                "GR502", f"a value that the type does not allow: {error}", (*param.at, "values", number)
            )
    return tuple(made) if all(isinstance(each, (str, int, float, bool)) for each in made) else ()


def _default(values: ValueReader, param: ParamDecl, value: Any) -> None:
    at = (*param.at, "default")
    try:
        param.default = convert(param.type, value)
    except ValueError as error:
        param.default = None
        values.report.error(
            "GR501",
            f"the default of {quoted(param.name)} is wrong: {error}",
            at,
            wanted=render_type(param.type),
        )
        return
    for problem in limit_problems(record(param, default=None), param.default):
        values.report.error("GR501", f"the default of {quoted(param.name)} is wrong: {problem}", at)


def record(param: ParamDecl, default: str | None) -> Param:
    """The plan's record of a declared param."""
    return Param(
        name=param.name,
        type=param.type,
        default=default,
        doc=param.doc,
        pattern=param.pattern,
        min=param.min,
        max=param.max,
        values=param.values,
        secret=param.secret,
    )
