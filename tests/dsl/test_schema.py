"""The JSON Schema of flow files, by a validator that knows exactly the keywords that it uses."""

from __future__ import annotations

import json
import re
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import pytest
import tomli

from graft_dsl import TEMPLATES, complete, json_schema, reference_page
from graft_dsl.keys import KINDS, LATER_KEYS, LATER_KINDS, LATER_TOP, MODIFIERS, keys_of

GOLDEN = Path(__file__).parent / "golden"
VALID = sorted(path.parent.name for path in GOLDEN.glob("*/plan.json"))
SCHEMA = json_schema()
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str, date, datetime, time),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
}


def valid(schema: dict[str, Any], value: Any) -> bool:
    """Draft 7, as far as our schema goes; an unknown keyword is an error of the test."""
    return all(_CHECKS[key](argument, value, schema) for key, argument in schema.items())


def _type(wanted: str | list[str], value: Any, schema: Any) -> bool:
    names = [wanted] if isinstance(wanted, str) else wanted
    if isinstance(value, bool):
        return "boolean" in names
    return any(isinstance(value, _TYPES[name]) for name in names)


def _additional(allowed: Any, value: Any, schema: Any) -> bool:
    extra = [each for key, each in value.items() if key not in schema.get("properties", {})]
    return not extra if allowed is False else all(valid(allowed, each) for each in extra)


def _reference(name: str, value: Any, schema: Any) -> bool:
    return valid(SCHEMA["definitions"][name.removeprefix("#/definitions/")], value)


def _always(argument: Any, value: Any, schema: Any) -> bool:
    return True


_CHECKS: dict[str, Any] = {
    **dict.fromkeys(("$schema", "title", "description", "default", "definitions", "then"), _always),
    "$ref": _reference,
    "type": _type,
    "enum": lambda values, value, _: value in values,
    "pattern": lambda pattern, value, _: not isinstance(value, str) or re.search(pattern, value) is not None,
    "minLength": lambda least, value, _: not isinstance(value, str) or len(value) >= least,
    "minimum": lambda least, value, _: not isinstance(value, (int, float)) or value >= least,
    "maximum": lambda most, value, _: not isinstance(value, (int, float)) or value <= most,
    "minItems": lambda least, value, _: not isinstance(value, list) or len(value) >= least,
    "items": lambda inner, value, _: not isinstance(value, list) or all(valid(inner, each) for each in value),
    "required": lambda keys, value, _: not isinstance(value, dict) or all(key in value for key in keys),
    "properties": lambda keys, value, _: (
        not isinstance(value, dict) or all(valid(keys[key], each) for key, each in value.items() if key in keys)
    ),
    "additionalProperties": lambda allowed, value, schema: (
        not isinstance(value, dict) or _additional(allowed, value, schema)
    ),
    "propertyNames": lambda inner, value, _: not isinstance(value, dict) or all(valid(inner, key) for key in value),
    "dependencies": lambda wants, value, _: all(
        all(want in value for want in names) for key, names in wants.items() if key in value
    ),
    "allOf": lambda parts, value, _: all(valid(part, value) for part in parts),
    "anyOf": lambda parts, value, _: any(valid(part, value) for part in parts),
    "oneOf": lambda parts, value, _: sum(valid(part, value) for part in parts) == 1,
    "if": lambda condition, value, schema: not valid(condition, value) or valid(schema["then"], value),
}


@pytest.mark.parametrize("name", VALID)
def test_every_valid_golden_file_validates(name: str) -> None:
    for path in (GOLDEN / name).rglob("*.toml"):
        assert valid(SCHEMA, tomli.loads(path.read_text())), path


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_templates_validate(name: str) -> None:
    assert valid(SCHEMA, tomli.loads(TEMPLATES[name].files("x")["flow.toml"]))


@pytest.mark.parametrize(
    "text",
    [
        "x = 1",
        "[nodes.a]\ntimeout = '5s'",
        "[nodes.a]\nrun = 'x'\npython = 'm:f'",
        "[nodes.a]\nrun = 'x'\nzzz = 1",
        "[nodes.a]\nsleep = '5s'\nenv = { A = '1' }",
        "[nodes.a]\nrun = 'x'\ntimeout = 5",
        "[nodes.a]\nrun = 'x'\ntimeout = '5 minutes'",
        "[nodes.a]\nrun = 'x'\nneeds = 'b'",
        "[nodes.a]\nrun = 'x'\njoin = 'all'",
        "[nodes.a]\nrun = 'x'\nmax_parallel = 3",
        "[nodes.a]\nrun = 'x'\nretry = { attempts = 0 }",
        "[nodes.a]\nhttp = { method = 'GET' }",
        "[nodes.a]\nrun = 'x'\ncatch = [{ on = [], to = 'b' }]",
        "[nodes.'a b']\nrun = 'x'",
        "[nodes.g.nodes.a]\nrun = 5",
        "[nodes.a]\nrun = 'x'\n[secrets]\nt = { env = 'A', file = 'b' }",
        "[nodes.a]\nrun = 'x'\n[params]\np = { doc = 'x' }",
        "[nodes.a]\nrun = 'x'\n[defaults]\nneeds = ['a']",
        "[nodes.a]\nrun = 'x'\n[defaults.sleep]\nretry = {}",
        "graft = 2\n[nodes.a]\nrun = 'x'",
    ],
)
def test_the_schema_refuses(text: str) -> None:
    assert not valid(SCHEMA, tomli.loads(text))


def test_a_real_validator_agrees() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    validator = jsonschema.Draft7Validator(json.loads(json.dumps(SCHEMA)))
    for name in VALID:
        document = json.loads(json.dumps(tomli.loads((GOLDEN / name / "flow.toml").read_text()), default=str))
        assert not list(validator.iter_errors(document)), name


# Everything else that comes from the tables


def test_the_tables_do_not_overlap() -> None:
    assert not set(KINDS) & set(MODIFIERS)
    assert not {*KINDS, *MODIFIERS} & {*LATER_KEYS, *LATER_KINDS}
    for modifier in MODIFIERS.values():
        assert set(modifier.kinds) <= set(KINDS)
        assert modifier.wants is None or modifier.wants in MODIFIERS
    assert not set(LATER_TOP) & set(SCHEMA["properties"])


def test_the_examples_of_the_tables_are_toml() -> None:
    for row in (*KINDS.values(), *MODIFIERS.values()):
        assert row.name in str(tomli.loads(row.example)), row.name


def test_the_reference_names_every_key() -> None:
    page = reference_page()
    for key in (*KINDS, *MODIFIERS, *LATER_KEYS, *LATER_KINDS, *LATER_TOP, "attempts", "pattern"):
        assert f"`{key}`" in page


def test_completion() -> None:
    assert {"nodes", "params", "finally"} <= set(complete(()))
    assert "name" not in complete((), ["name"])
    assert {"run", "needs", "env"} <= set(complete(("nodes", "a")))
    sleep = complete(("nodes", "a"), ["sleep", "when"])
    assert set(sleep) == set(keys_of("sleep")) - {"when"}
    assert "timeout" in complete(("defaults",))
    assert "output" not in complete(("defaults",))
    assert "output" in complete(("defaults", "run"))
    assert set(complete(("secrets", "x"))) == {"env", "file"}
    assert complete(("nodes", "g", "nodes", "a"), ["fail"]).keys() == set(keys_of("fail"))
