"""The reference page of the flow file, and completion of its keys: both written from the key tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from graft_dsl.keys import KINDS, LATER_KEYS, LATER_KINDS, LATER_TOP, MODIFIERS, PARAM, SECRET, TOP, keys_of
from graft_dsl.shapes import Choice, Fields, Shape, wanted

_LAYERS = ("of the kind", "once a node", "once an item", "once an attempt", "anywhere")


def reference_page() -> str:
    """Every key of a flow file as markdown: kinds, modifiers, which goes with which, and the tables at the top."""
    return "\n".join(_lines()) + "\n"


def complete(path: Sequence[str], present: Sequence[str] = ()) -> dict[str, str]:
    """Keys that may come next in the table at `path` (`("nodes", "fetch")`), each with what it is for.

    `present` are the keys that the table has already: they decide the kind, and are not offered again.
    """
    found = _complete(tuple(path), present)
    return {key: doc for key, doc in found.items() if key not in present}


def _complete(path: tuple[str, ...], present: Sequence[str]) -> dict[str, str]:
    if not path:
        return {key: field.doc for key, field in TOP.items()}
    if path[0] in ("nodes", "finally") and len(path) % 2 == 0:
        kind = next((key for key in present if key in KINDS), None)
        kinds = {} if kind else {name: each.doc for name, each in KINDS.items()}
        keys = keys_of(kind) if kind else tuple(MODIFIERS)
        return kinds | {key: MODIFIERS[key].doc for key in keys}
    fields = {"params": PARAM, "secrets": SECRET}.get(path[0])
    if fields is not None and len(path) == 2:
        return {key: field.doc for key, field in fields.keys.items()}
    if path[0] == "defaults" and len(path) <= 2:
        kind = path[1] if len(path) == 2 else None
        allowed = {m.name: m.doc for m in MODIFIERS.values() if m.default == "every" or (kind and m.default == "kind")}
        return {key: doc for key, doc in allowed.items() if kind is None or key in keys_of(kind)}
    return {}


def _lines() -> Iterator[str]:
    yield from ("# The flow file", "", "Every key, from the tables that the reader itself uses.", "")
    yield from ("## At the top", "", "| key | value | what it says |", "| --- | --- | --- |")
    for key, field in TOP.items():
        yield f"| `{key}` | {_cell(wanted(field.shape))} | {_cell(field.doc)} |"
    yield from ("", "## Kinds", "", "A node has exactly one of these.", "")
    for kind in KINDS.values():
        yield from (f"### `{kind.name}`", "", f"{kind.doc[0].upper()}{kind.doc[1:]}.", "")
        yield from ("```toml", kind.example, "```", "")
        if isinstance(kind.shape, Fields):
            yield from _fields(kind.shape)
        yield from (f"Modifiers: {', '.join(f'`{key}`' for key in keys_of(kind.name))}.", "")
    yield from _modifiers()
    yield from ("## `[params.NAME]`", "", *_fields(PARAM), "## `[secrets.NAME]`", "", *_fields(SECRET))
    yield from _later()


def _modifiers() -> Iterator[str]:
    yield from (
        "## Modifiers",
        "",
        "They nest in this order; what is once a node is outside of what is once an item.",
        "",
    )
    for layer in _LAYERS:
        yield from (f"### {layer[0].upper()}{layer[1:]}", "")
        yield from ("| key | value | where | what it says | example |", "| --- | --- | --- | --- | --- |")
        for modifier in MODIFIERS.values():
            if modifier.layer == layer:
                where = "all" if len(modifier.kinds) == len(KINDS) else " ".join(f"`{kind}`" for kind in modifier.kinds)
                value, doc = _cell(_value(modifier.shape)), _cell(modifier.doc)
                yield f"| `{modifier.name}` | {value} | {where} | {doc} | `{_cell(modifier.example)}` |"
        yield ""
    retry = MODIFIERS["retry"].shape
    assert isinstance(retry, Fields)
    yield from ("### `retry`", "", *_fields(retry))
    yield from ("### Which goes with which", "", f"| | {' | '.join(f'`{kind}`' for kind in KINDS)} |")
    yield "| --- |" + " :-: |" * len(KINDS)
    for modifier in MODIFIERS.values():
        yield f"| `{modifier.name}` | {' | '.join('×' if kind in modifier.kinds else '' for kind in KINDS)} |"
    yield ""


def _value(shape: Shape) -> str:
    text = wanted(shape)
    return f"{text} (default `{shape.default}`)" if isinstance(shape, Choice) and shape.default else text


def _fields(shape: Fields) -> Iterator[str]:
    yield from ("| key | value | what it says |", "| --- | --- | --- |")
    for key, field in shape.keys.items():
        need = " (required)" if field.required else ""
        yield f"| `{key}` | {_cell(_value(field.shape))}{need} | {_cell(field.doc)} |"
    yield ""


def _later() -> Iterator[str]:
    yield from (
        "## Not in this version",
        "",
        "Part of the language, and refused by this version rather than ignored.",
        "",
    )
    for title, table in (("kinds", LATER_KINDS), ("keys of nodes", LATER_KEYS), ("at the top", LATER_TOP)):
        yield f"- {title}: {', '.join(f'`{key}` ({doc})' for key, doc in table.items())}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
