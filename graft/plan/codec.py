"""Canonical JSON of a plan, and its identity.

Canonical means: keys sorted, no white space, every field present, UTF-8. A field that came later (`LATER`) is left
out while it has its default, so that it changes no identity of a plan that does not use it. The document is
`{"format": 1, "plan": {…}}`; the identity is the SHA-256 of exactly these bytes, in hexadecimal. An action is its
fields plus `kind`. Reading refuses a newer format, an unknown key and a value of a wrong type.
"""

from __future__ import annotations

import hashlib
from typing import Any, get_args, get_type_hints

import attrs
import msgspec

from graft.errors import PlanError, PlanFormatUnknown
from graft.plan.records import ACTIONS, Block, Catch, ExecAction, ForEach, Node, Param, Plan, Retry, RunAction, Secret

FORMAT = 1

LATER: dict[type[Any], tuple[str, ...]] = {
    Node: ("runs_on",),
    RunAction: ("shell", "skip_on"),
    ExecAction: ("skip_on",),
}
"""Fields that the first plans of format 1 did not have."""

_encoder = msgspec.json.Encoder(order="sorted")


def encode(plan: Plan) -> bytes:
    """The canonical bytes of `plan`."""
    return _encoder.encode({"format": FORMAT, "plan": _plan_document(plan)})


def plan_hash(plan: Plan) -> str:
    """The identity of `plan`: 64 hexadecimal digits."""
    return hashlib.sha256(encode(plan)).hexdigest()


def decode(data: bytes) -> Plan:
    """The plan of canonical bytes.

    Raises PlanFormatUnknown for a newer format, PlanError for anything that is not a plan.
    """
    try:
        document = msgspec.json.decode(data)
        version = document["format"]
        if type(version) is not int:
            raise ValueError(f"its format is {version!r}")
        if version > FORMAT:
            raise PlanFormatUnknown(
                f"this plan has format {version}; this version of Graft reads formats up to {FORMAT}",
                hint="use the version of Graft that wrote it, or a newer one",
            )
        return _plan(document["plan"])
    except KeyError as error:
        raise PlanError(f"not a plan: there is no {error}") from error
    except RecursionError:
        raise PlanError("not a plan: it nests too deep") from None
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise PlanError(f"not a plan: {error}") from error


def encode_node(node: Node) -> bytes:
    """One node as JSON, for a process that runs it and needs no more of the plan."""
    return _encoder.encode(_node_document(node))


def decode_node(data: bytes) -> Node:
    """The node of `encode_node`. Raises KeyError, TypeError, ValueError otherwise."""
    return _node(msgspec.json.decode(data))


def _plan_document(plan: Plan) -> dict[str, Any]:
    return _fields(plan) | {"blocks": [_block_document(block) for block in plan.blocks]}


def _block_document(block: Block) -> dict[str, Any]:
    return _fields(block) | {
        "nodes": [_node_document(node) for node in block.nodes],
        "finals": [_node_document(node) for node in block.finals],
    }


def _node_document(node: Node) -> dict[str, Any]:
    return _without_later(node) | {"action": _without_later(node.action) | {"kind": node.action.kind}}


def _without_later(record: Any) -> dict[str, Any]:
    """Its fields, without those that came later and say nothing."""
    later = LATER.get(type(record), ())
    return {name: value for name, value in _fields(record).items() if value or name not in later}


_names: dict[type[Any], tuple[str, ...]] = {}


def _field_names(record: type[Any]) -> tuple[str, ...]:
    names = _names.get(record)
    if names is None:
        names = _names[record] = tuple(a.name for a in attrs.fields(record))
    return names


def _fields(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in _field_names(type(record))}


_checks: dict[type[Any], dict[str, tuple[Any, Any]]] = {}


def _field_checks(record: type[Any]) -> dict[str, tuple[Any, Any]]:
    """Field -> its type and its default. A record inside was built before: such a field takes anything."""
    checks = _checks.get(record)
    if checks is None:
        hints = get_type_hints(record)
        checks = _checks[record] = {a.name: (_plain(hints[a.name]), a.default) for a in attrs.fields(record)}
    return checks


def _plain(hint: Any) -> Any:
    return Any if any(attrs.has(each) for each in (hint, *get_args(hint)) if isinstance(each, type)) else hint


def _make(record: type[Any], document: dict[str, Any], **replaced: Any) -> Any:
    """Build `record` from a document, strictly: an unknown or missing key is an error, so is a value of a wrong type.

    Lists become tuples. Most values are the default, and need no look at their type.
    """
    checks = _field_checks(record)
    if unknown := document.keys() - checks.keys() - {"kind"}:
        raise ValueError(f"{record.__name__} has no {', '.join(sorted(unknown))}")
    values = {}
    later = LATER.get(record, ())
    for name, (hint, default) in checks.items():
        if name in later and name not in document:
            continue
        value = values[name] = replaced[name] if name in replaced else frozen(document[name])
        if hint is Any or value is default:
            continue
        try:
            values[name] = msgspec.convert(value, hint)
        except msgspec.ValidationError as error:
            message, _, place = str(error).partition(" - at `$")
            raise ValueError(f"{message} - at `{record.__name__}.{name}{place or '`'}") from None
    return record(**values)


def frozen(value: Any) -> Any:
    """`value` with every list made a tuple, recursively; tables (in enum values) stay as they are."""
    return tuple(map(frozen, value)) if isinstance(value, (list, tuple)) else value


def _plan(document: dict[str, Any]) -> Plan:
    plan: Plan = _make(Plan, document, blocks=tuple(map(_block, document["blocks"])))
    if not plan.blocks or plan.root.kind != "flow":
        raise ValueError("block 0 is not a flow")
    return plan


def _block(document: dict[str, Any]) -> Block:
    made: Block = _make(
        Block,
        document,
        nodes=tuple(map(_node, document["nodes"])),
        finals=tuple(map(_node, document["finals"])),
        params=tuple(_make(Param, each) for each in document["params"]),
        secrets=tuple(_make(Secret, each) for each in document["secrets"]),
    )
    return made


def _node(document: dict[str, Any]) -> Node:
    action = document["action"]
    for_each, retry = document["for_each"], document["retry"]
    made: Node = _make(
        Node,
        document,
        action=_make(ACTIONS[action["kind"]], action),
        for_each=for_each and _make(ForEach, for_each),
        retry=retry and _make(Retry, retry),
        catch=tuple(_make(Catch, each) for each in document["catch"]),
    )
    return made
