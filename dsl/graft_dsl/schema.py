"""The flow language as JSON Schema, for editors: `#:schema flow.schema.json` on the first line of a file.

Made from the tables of `graft_dsl.keys`, so it knows every key, its place and its meaning, and nothing that this
version does not run. What a schema cannot say (names, edges, types of expressions) is left to `graft check`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graft.plan.quantities import DURATION_TEXT
from graft_dsl.keys import HTTP_DEFAULTS, KINDS, MODIFIERS, PARAM, SECRET, TASKS, TOP, Modifier, keys_of
from graft_dsl.names import NODE_NAME
from graft_dsl.shapes import (
    Anything,
    Argv,
    Bool,
    Bound,
    Choice,
    Condition,
    Duration,
    ErrorType,
    Field,
    Fields,
    FilePath,
    Integer,
    Items,
    ListOf,
    Name,
    Nodes,
    Number,
    Pause,
    Shape,
    TableOf,
    Template,
    Text,
    Tolerance,
    TypeText,
)

Schema = dict[str, Any]

DIALECT = "http://json-schema.org/draft-07/schema#"  # what TOML editors read
_DURATION = rf"^\s*({DURATION_TEXT}\s*)+$"
_SCALAR = ["string", "number", "boolean"]


def json_schema() -> Schema:
    """A JSON Schema (draft 7) of flow files."""
    return {
        "$schema": DIALECT,
        "title": "Graft flow",
        "type": "object",
        "properties": {key: _top(key, field) for key, field in TOP.items()},
        "required": ["nodes"],
        "additionalProperties": False,
        "definitions": {
            "nodes": _nodes(),
            "node": _node(),
            "duration": {"type": "string", "pattern": _DURATION},
            "retry": _shape(MODIFIERS["retry"].shape),
            **{f"node-{kind}": {"propertyNames": {"enum": [kind, *keys_of(kind)]}} for kind in KINDS},
        },
    }


def _top(key: str, field: Field) -> Schema:
    schema = _defaults() if key == "defaults" else _shape(field.shape)
    return (
        {"description": field.doc, **schema} if "$ref" not in schema else {"description": field.doc, "allOf": [schema]}
    )


def _nodes() -> Schema:
    return {
        "type": "object",
        "propertyNames": {"pattern": f"^{NODE_NAME.pattern}$"},
        "additionalProperties": {"$ref": "#/definitions/node"},
    }


def _node() -> Schema:
    """Every key of any kind, exactly one kind, and for each kind the keys that go with it."""
    properties = {kind.name: _described(kind.doc, kind.shape) for kind in KINDS.values()}
    properties |= {modifier.name: _modifier(modifier) for modifier in MODIFIERS.values()}
    return {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "oneOf": [{"required": [kind]} for kind in KINDS],
        "allOf": [{"if": {"required": [kind]}, "then": {"$ref": f"#/definitions/node-{kind}"}} for kind in KINDS],
        "dependencies": {m.name: [m.wants] for m in MODIFIERS.values() if m.wants},
    }


def _modifier(modifier: Modifier) -> Schema:
    if modifier.name == "retry":
        return {"description": modifier.doc, "allOf": [{"$ref": "#/definitions/retry"}]}
    return _described(modifier.doc, modifier.shape)


def _described(doc: str, shape: Shape) -> Schema:
    schema = _shape(shape)
    return {"description": doc, "allOf": [schema]} if "$ref" in schema else {"description": doc, **schema}


def _defaults() -> Schema:
    every = {m.name: _modifier(m) for m in MODIFIERS.values() if m.default == "every" and set(m.kinds) & set(TASKS)}
    kinds = {}
    for kind in KINDS:
        own = {m.name: _modifier(m) for m in MODIFIERS.values() if m.default != "never" and kind in m.kinds}
        if kind == "http":
            fields = _fields(KINDS["http"].shape)
            own |= {key: _described(fields.keys[key].doc, fields.keys[key].shape) for key in HTTP_DEFAULTS}
        kinds[kind] = {"type": "object", "properties": own, "additionalProperties": False}
    return {"type": "object", "properties": {**every, **kinds}, "additionalProperties": False}


def _fields(shape: Shape) -> Fields:
    assert isinstance(shape, Fields)
    return shape


def _shape(shape: Shape) -> Schema:
    return _WRITERS[type(shape)](shape)


def _of_fields(shape: Fields) -> Schema:
    table: Schema = {
        "type": "object",
        "properties": {key: _described(field.doc, field.shape) for key, field in shape.keys.items()},
        "additionalProperties": False,
    }
    required = [key for key, field in shape.keys.items() if field.required]
    if required:
        table["required"] = required
    if shape is SECRET:
        table["oneOf"] = [{"required": [key]} for key in shape.keys]
    if shape is PARAM:
        table["anyOf"] = [{"required": [key]} for key in ("type", "default", "values")]
    if shape.shorthand is None:
        return table
    return {"anyOf": [_shape(shape.keys[shape.shorthand].shape), table]}


def _of_choice(shape: Choice) -> Schema:
    return {"enum": list(shape.values)} | ({"default": shape.default} if shape.default else {})


def _of_list(shape: ListOf) -> Schema:
    return {"type": "array", "items": _shape(shape.element)} | ({"minItems": shape.least} if shape.least else {})


def _of_number(shape: Number) -> Schema:
    return {"type": "number", "minimum": shape.minimum, "maximum": shape.maximum}


def _of_integer(shape: Integer) -> Schema:
    return {"type": "integer", "minimum": shape.minimum, "maximum": shape.maximum}


def _of_text(shape: Text) -> Schema:
    return {"type": "string"} if shape.empty else {"type": "string", "minLength": 1}


_DURATION_REF: Schema = {"$ref": "#/definitions/duration"}
_WRITERS: dict[type, Callable[[Any], Schema]] = {
    Text: _of_text,
    Name: lambda shape: {"type": "string", "minLength": 1},
    Bool: lambda shape: {"type": "boolean"},
    Integer: _of_integer,
    Number: _of_number,
    Bound: lambda shape: {"type": ["number", "string"]},
    Duration: lambda shape: _DURATION_REF,
    Pause: lambda shape: {"type": "string"},
    Tolerance: lambda shape: {
        "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": r"^\s*\d{1,3}\s*%\s*$"}]
    },
    Choice: _of_choice,
    TypeText: lambda shape: {"type": ["string", "object", "array"]},
    ErrorType: lambda shape: {"type": "string", "minLength": 1},
    Template: lambda shape: {"type": _SCALAR},
    FilePath: lambda shape: _of_text(Text(shape.wanted)),
    Condition: lambda shape: {"type": ["string", "boolean"]},
    Items: lambda shape: {"type": ["string", "array", "object"]},
    Anything: lambda shape: {},
    Argv: lambda shape: {"anyOf": [{"type": "array", "items": {"type": _SCALAR}, "minItems": 1}, {"type": "string"}]},
    ListOf: _of_list,
    TableOf: lambda shape: {"type": "object", "additionalProperties": _shape(shape.element)},
    Fields: _of_fields,
    Nodes: lambda shape: {"$ref": "#/definitions/nodes"},
}
