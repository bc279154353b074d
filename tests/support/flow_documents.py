"""Flow files made by Hypothesis: TOML that is laid out in every way, and flows that are right or nearly so."""

from __future__ import annotations

import json

from hypothesis import strategies as st

from graft_dsl.keys import KINDS, LATER_KEYS, MODIFIERS, TOP, keys_of

_BARE = st.text("abcxyz_-019", min_size=1, max_size=5)
_SPACE = st.sampled_from(["", " ", "  ", "\t"])
_COMMENT = st.sampled_from(["", "", "", " # note", "#", "  # ünïcödé `x` = [1]"])
_BREAK = st.sampled_from(["", "", "\n", "\n\n", " # c\n", "\n  # own line\n"])


def _basic(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


_STRINGS = st.one_of(
    st.text(max_size=8).filter(lambda t: not any(0xD800 <= ord(c) <= 0xDFFF for c in t)).map(_basic),
    st.sampled_from(
        [
            "'lit # eral'",
            '"""\nmulti\n  "line" \\\n   joined"""',
            "'''\nraw \\ ''x'''",
            '""',
            '"a#b"',
            '"${ params.x }"',
        ]
    ),
)
_SCALARS = st.one_of(
    _STRINGS,
    st.integers(-(2**40), 2**40).map(str),
    st.sampled_from(["true", "false", "1.5", "-0.0", "1e9", "inf", "0xFF", "1_000", "07:32:00"]),
    st.sampled_from(["1979-05-27", "1979-05-27T07:32:00Z", "1979-05-27 07:32:00"]),
)


@st.composite
def _arrays(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    items = draw(st.lists(values, max_size=4))
    text = "[" + draw(_BREAK)
    for number, item in enumerate(items):
        last = number == len(items) - 1
        text += draw(_SPACE) + item + draw(_SPACE) + ("" if last else ",") + draw(_BREAK)
    return text + draw(_SPACE) + "]"


@st.composite
def _tables(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    keys = draw(st.lists(_BARE, max_size=3, unique=True))
    pairs = [f"{key}{draw(_SPACE)}={draw(_SPACE)}{draw(values)}" for key in keys]
    return "{" + draw(_SPACE) + f",{draw(_SPACE)}".join(pairs) + draw(_SPACE) + "}"


VALUES = st.recursive(_SCALARS, lambda inner: st.one_of(_arrays(inner), _tables(inner)), max_leaves=8)


@st.composite
def documents(draw: st.DrawFn) -> str:
    """Any TOML document: tables, arrays of tables, dotted and quoted keys, comments, blank lines."""
    lines: list[str] = []
    for number in range(draw(st.integers(0, 3))):
        header = draw(st.sampled_from(["", f"[t{number}]", f"[ a . 'q {number}' ]", f"[[ list{number} ]]"]))
        if header:
            lines.append(draw(_SPACE) + header + draw(_COMMENT))
        for key in draw(st.lists(_BARE, max_size=4, unique=True)):
            name = f"k{number}{key}" if not header else key
            name = draw(st.sampled_from([name, f'"{name}"', f"{name} . sub"]))
            lines.append(f"{draw(_SPACE)}{name}{draw(_SPACE)}={draw(_SPACE)}{draw(VALUES)}{draw(_COMMENT)}")
            lines += [""] * draw(st.integers(0, 2))
    return "\n".join(lines) + draw(st.sampled_from(["", "\n", "\n\n"]))


_NAMES = ("a", "b", "c", "d", "fetch")
_KINDS = {
    "run": ['"true"', "'echo $X'"],
    "exec": ['["true", "${ params.x }"]'],
    "python": ['"shop:anything"'],
    "http": ['"https://x/${ params.x }"', '{ url = "https://x", json = { a = "${ params.x }" } }'],
    "sleep": ['"1s"', '"${ params.x }"'],
    "value": ["1", '"${ params.x + 1 }"', '{ a = ["${ params.x }"] }'],
    "fail": ['"no"'],
}
_GOOD = {
    "when": ['"params.x > 1"', "false"],
    "join": ['"all_done"', '"all_succeeded"', '"any_succeeded"'],
    "for_each": ["[1, 2]", '"${ range(3) }"', "{ k = 1 }"],
    "on_failure": ['"continue"'],
    "total_timeout": ['"1m"'],
    "retry": ["{ attempts = 2 }", "{}", '{ on = ["exit.1"], max = "5s" }'],
    "timeout": ['"5s"'],
    "env": ['{ X = "${ params.x }" }'],
    "stdin": ['"text"', '"${ params.x }"'],
    "output": ['"lines"', '"none"'],
    "doc": ['"text"'],
    "labels": ['{ a = "b" }'],
    "runs_on": ['{ gpu = "*" }'],
}
_BAD = st.sampled_from(
    [
        "1",
        "true",
        "[]",
        "{}",
        '"x"',
        '"${ a.out }"',
        '"${ item }"',
        '"${"',
        "nan",
        '["a"]',
        "{ x = { y = 1 } }",
        '"10%"',
    ]
)
_ODD_KEYS = st.sampled_from([*KINDS, *MODIFIERS, *LATER_KEYS, "timout", "x"])


@st.composite
def flows(draw: st.DrawFn) -> str:
    """Something like a flow: mostly right, few names, so that edges, groups, cycles and mistakes arise."""
    lines = ["[params.x]", 'type = "int"']
    rarely = st.integers(0, 9).map(lambda n: n == 0)
    if draw(rarely):
        lines = [f"{draw(st.sampled_from(list(TOP)))} = {draw(_BAD)}", *lines]
    seen: list[str] = []
    for name in draw(st.lists(st.sampled_from(_NAMES), min_size=1, max_size=5, unique=True)):
        group = draw(st.sampled_from(["", "", "", "", "g.nodes.", "g.nodes.h.nodes.", "g.finally."]))
        section = "finally" if not group and draw(rarely) else "nodes"
        lines.append(f"[{section}.{group}{name}]")
        kind = draw(st.sampled_from(list(_KINDS)))
        if not draw(rarely):
            lines.append(f"{kind} = {draw(st.sampled_from(_KINDS[kind]))}")
        lines += draw(_keys(kind, list(_NAMES) if draw(rarely) else seen, draw(rarely)))
        seen += [] if group or section == "finally" else [name]
    if draw(st.booleans()):
        lines += ["[outputs]", f'x = "${{ default({draw(st.sampled_from([*seen, "g", "nobody"]))}.out, 1) }}"']
    return "\n".join(lines) + "\n"


@st.composite
def _keys(draw: st.DrawFn, kind: str, others: list[str], odd: bool) -> list[str]:
    found = {}
    for key in draw(st.lists(st.sampled_from([key for key in keys_of(kind) if key in _GOOD]), max_size=3)):
        found[key] = draw(st.sampled_from(_GOOD[key]))
    if others and draw(st.booleans()):
        found["needs"] = f'["{draw(st.sampled_from(others))}"]'
    if others and draw(st.booleans()) and kind in ("run", "exec"):
        source = draw(st.sampled_from(others))
        field = draw(st.sampled_from(["out", "status", "attempts"]))
        found["env"] = f'{{ Y = "${{ json(default({source}.{field}, 1)) }}" }}'
    if odd:
        found[draw(_ODD_KEYS)] = draw(_BAD)
    return [f"{key} = {value}" for key, value in found.items() if key != kind]
