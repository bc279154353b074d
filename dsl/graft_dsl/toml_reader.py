"""The TOML front end: from a document to declarations.

Reads key by key through the tables of `graft_dsl.keys`; every key that is wrong is reported and left out. Nothing here
looks from one node to another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from attrs import define, field

from graft_dsl.declarations import BlockDecl, Expr, FlowDecl, NodeDecl, SecretDecl
from graft_dsl.diagnostics import At, Part, Report
from graft_dsl.habits import ADVICE, EXAMPLES, SYNONYMS, UNTIL, normal
from graft_dsl.keys import (
    HTTP_DEFAULTS,
    KINDS,
    LATER_KEYS,
    LATER_KIND_KEYS,
    LATER_KINDS,
    LATER_TOP,
    LATER_VALUES,
    MODIFIERS,
    PARAM,
    SECRET,
    TASKS,
    TOP,
    Modifier,
    keys_of,
)
from graft_dsl.names import FLOW_NAME, MAX_NAME, flow_name, item_name_problem, name_problem, node_name_problem, repaired
from graft_dsl.param_reader import read_param
from graft_dsl.places import TomlSource
from graft_dsl.reading import BAD, ValueReader, shown
from graft_dsl.shapes import Nodes
from graft_dsl.suggest import listed, quoted

_SUFFIXES = {"a param": "value", "a secret": "secret", "an item": "item"}
LATER = "later"
BROKEN = "broken"
MAX_GROUPS = 16  # groups inside groups
# A node's own entries of these join those of the defaults; every other key replaces.
MERGED = ("env", "labels", "runs_on", "with")


def read_flow(document: Mapping[str, Any], source: TomlSource, report: Report, base: Path, stem: str) -> FlowDecl:
    """The declarations of one document. Problems go to `report`."""
    root = BlockDecl(name="", at=())
    flow = FlowDecl(name=flow_name(stem), source=source, report=report, base=base, root=root)
    reader = _FlowReader(flow, ValueReader(report))
    reader.top(document)
    root.name = flow.name
    return flow


@define
class _FlowReader:
    flow: FlowDecl
    values: ValueReader
    defaults: dict[str, dict[str, Any]] = field(factory=dict)  # kind -> key -> value

    @property
    def report(self) -> Report:
        return self.flow.report

    def top(self, document: Mapping[str, Any]) -> None:
        for key in document:
            if key in LATER_TOP:
                self.later(key, LATER_TOP[key], (key,))
            elif key not in TOP:
                self.unknown_top(key, document[key])
        if "graft" in document and document["graft"] != 1:
            self.version_of_language(document["graft"])
        self.settings(document)
        self.params(document.get("params", {}))
        self.secrets(document.get("secrets", {}))
        self.all_defaults(document.get("defaults", {}))
        self.nodes(document.get("nodes", {}), ("nodes",), self.flow.root, final=False)
        self.nodes(document.get("finally", {}), ("finally",), self.flow.root, final=True)
        self.outputs(document.get("outputs"))
        if not self.flow.root.nodes and not document.get("nodes"):
            self.report.error("GR019", "the flow has no nodes", (), suggestion="[nodes.hello]\nrun = 'echo hello'")

    def version_of_language(self, value: Any) -> None:
        if isinstance(value, int) and not isinstance(value, bool) and value > 1:
            self.report.error(
                "GR006", f"the file is written in version {value} of the language", ("graft",), wanted="1"
            )
        else:
            self.values.wrong(TOP["graft"].shape, value, ("graft",))

    def settings(self, document: Mapping[str, Any]) -> None:
        found = {
            key: self.values.read(TOP[key].shape, document[key], (key,))
            for key in ("name", "version", "doc", "labels", "timeout")
            if key in document
        }
        right = {key: value for key, value in found.items() if value is not BAD}
        name = right.get("name", self.flow.name)
        if not FLOW_NAME.fullmatch(name) or len(name) > MAX_NAME:
            self.report.error(
                "GR017",
                f"{quoted(name)} cannot be the name of a flow",
                ("name",),
                wanted=f"letters, digits, `_`, `-` and `.`, at most {MAX_NAME}",
                suggestion=f'"{flow_name(name)}"',
            )
        self.flow.name = name
        self.flow.version = right.get("version", "")
        self.flow.doc = right.get("doc", "")
        self.flow.labels = tuple(sorted(right.get("labels", {}).items()))
        self.flow.timeout_ms = right.get("timeout")

    def unknown_top(self, key: str, value: Any) -> None:
        guess = _synonym(key, TOP) or self.report.closest(key, TOP)
        if guess is None and isinstance(value, dict) and any(kind in value for kind in KINDS):
            guess = f"nodes.{key}"
        elif guess is None and key in (*KINDS, *MODIFIERS):
            self.values.unknown(
                key,
                TOP,
                (key,),
                "at the top of the file",
                help="keys of a node stand under its name: a line `[nodes.NAME]` above it",
            )
            return
        self.values.unknown(key, TOP, (key,), "at the top of the file", guess, _habit(key, guess))

    def later(self, key: str, what: str, at: At, part: Any = "key") -> None:
        self.report.error(
            "GR011",
            f"{quoted(key)} is part of the language ({what}), but this version of Graft does not run it yet",
            at,
            part=part,
            suggestion=f"until then: {UNTIL[key.partition(' ')[0]]}",
        )

    # Tables of the top

    def table(self, key: str, value: Any, at: At) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        self.values.wrong(TOP[key].shape, value, at, f"[{key}.NAME]")
        return {}

    def params(self, value: Any) -> None:
        self.values.key = "params"
        for name, each in self.table("params", value, ("params",)).items():
            at = ("params", name)
            self.check_name(name, at, "a param", name_problem(name))
            if not isinstance(each, dict):
                self.values.wrong(PARAM, each, at)
                continue
            param = read_param(self.values, name, each, at)
            if param is not None:
                self.flow.params[name] = param
        self.values.leaves.clear()

    def secrets(self, value: Any) -> None:
        for name, each in self.table("secrets", value, ("secrets",)).items():
            at = ("secrets", name)
            self.check_name(name, at, "a secret", name_problem(name))
            read = self.values.read(SECRET, each, at)
            if read is BAD:
                continue
            if len(each) != 1:
                self.report.error(
                    "GR503",
                    f"the secret {quoted(name)} has {'two sources' if each else 'no source'}",
                    at,
                    part="key",
                    wanted="`env` or `file`",
                )
                continue
            for source, ref in read.items():
                self.flow.secrets[name] = SecretDecl(name, at, source, ref)

    def outputs(self, value: Any) -> None:
        if value is None:
            return
        self.values.key, self.values.leaves = "outputs", self.flow.output_leaves
        if isinstance(value, dict):
            read = self.values.read(TOP["outputs"].shape, value, ("outputs",))
            self.flow.outputs = None if read is BAD else read
        else:
            self.values.wrong(TOP["outputs"].shape, value, ("outputs",), 'outputs = { result = "${ … }" }')
        self.values.leaves = []

    def check_name(self, name: str, at: At, what: str, problem: str | None, part: Part = "key") -> None:
        if problem is None:
            return
        self.report.error(
            "GR017",
            f"{quoted(name)} cannot be the name of {what}: it {problem}",
            at,
            part=part,
            wanted=f"letters, digits{', `_` and `-`' if what == 'a node' else ' and `_`'}, a letter first"
            if "not a name" in problem
            else None,
            suggestion=f"such as `{repaired(name, _SUFFIXES.get(what, 'step'))}`",
        )

    # Defaults

    def all_defaults(self, value: Any) -> None:
        self.values.leaves = self.flow.default_leaves
        every: dict[str, Any] = {}
        for key, each in self.table("defaults", value, ("defaults",)).items():
            if key not in KINDS and key not in LATER_KINDS:
                self.default_key(key, each, ("defaults", key), None, every)
        for key, each in value.items() if isinstance(value, dict) else ():
            at = ("defaults", key)
            if key in LATER_KINDS:
                self.later(key, LATER_KINDS[key], at)
            elif key in KINDS and not isinstance(each, dict):
                self.values.wrong(Nodes(), each, at, f"[defaults.{key}]")
            elif key in KINDS:
                own = self.defaults.setdefault(key, {})
                for name, inner in each.items():
                    self.default_key(name, inner, (*at, name), key, own)
        for kind in TASKS:
            own = self.defaults.setdefault(kind, {})
            for key, made in every.items():
                if kind in MODIFIERS[key].kinds:
                    own[key] = _merged(key, own[key], made) if key in own else made
        self.values.leaves = []

    def default_key(self, key: str, value: Any, at: At, kind: str | None, into: dict[str, Any]) -> None:
        self.values.key = key
        modifier = MODIFIERS.get(key)
        where = f"in `[defaults.{kind}]`" if kind else "in `[defaults]`"
        if kind == "http" and key in HTTP_DEFAULTS:
            shape = KINDS["http"].shape.keys[key].shape  # type: ignore[union-attr]
        elif modifier is None and key in LATER_KEYS:
            return self.later(key, LATER_KEYS[key], at)
        elif modifier is None:
            known = [m.name for m in MODIFIERS.values() if m.default != "never"]
            self.values.unknown(key, known, at, where, _synonym(key, known) or self.report.closest(key, known))
            return None
        elif modifier.default == "never" or (kind is None and modifier.default == "kind"):
            allowed = "; it may stand in `[defaults.KIND]`" if modifier.default == "kind" else ""
            self.report.error("GR024", f"{quoted(key)} cannot have a default {where}{allowed}", at, part="key")
            return None
        elif kind is not None and kind not in modifier.kinds:
            return self.misplaced(modifier, f"a `{kind}` node", at)
        elif self.later_value(key, value, at):
            return None
        else:
            shape = modifier.shape
        read = self.values.read(shape, value, at)
        if read is not BAD:
            into[key] = read
        return None

    # Nodes

    def nodes(self, value: Any, at: At, block: BlockDecl, final: bool) -> None:
        if not isinstance(value, dict):
            self.values.wrong(Nodes(), value, at, f"[{'.'.join(map(str, at))}.NAME]")
            return
        into = block.finals if final else block.nodes
        for name, table in value.items():
            made = self.node(name, table, (*at, name), block, final)
            if made is not None:
                into[name] = made

    def node(self, name: str, table: Any, at: At, block: BlockDecl, final: bool) -> NodeDecl | None:
        problem = node_name_problem(name)
        if not isinstance(table, dict):
            self.report.error(
                "GR012",
                f"{quoted(name)} stands where a node is named, so it cannot be {shown(table)}",
                at,
                wanted="a table of the node's keys",
                suggestion=f"[{'.'.join(map(str, at[:-1]))}.NAME] above the keys of a node",
            )
            return None
        if problem is not None:
            self.check_name(name, at, "a node", problem)
        if final and name in block.nodes:
            first = (*at[:-2], "nodes", name)
            self.report.error(
                "GR018",
                f"two nodes have the name {quoted(name)}",
                at,
                part="key",
                notes=[("the other one is here", first, "key", None)],
            )
        leaves: list[Expr] = []
        outer_names = self.values.names
        self.values.leaves = leaves
        item = table.get("as")
        if isinstance(item, str) and "for_each" in table:
            self.values.names = (item, *outer_names)
            self.check_name(item, (*at, "as"), "an item", item_name_problem(item), part="value")
        kind = self.kind(name, table, at)
        made = NodeDecl(name=name, at=at, kind=kind, keys={}, written=table, leaves=leaves, final=final)
        keys = made.keys
        for key, value in table.items():
            if key == kind and kind in KINDS:
                self.kind_value(made, value, block)
            else:
                self.modifier(made, key, value, block)
        if kind in self.defaults:
            self.take_defaults(keys, kind)
        self.values.names = outer_names
        return made

    def kind(self, name: str, table: dict[str, Any], at: At) -> str:
        """The kind of a node; `later` for one of a later version, `broken` when it has none or several."""
        found = [key for key in table if key in KINDS or key in LATER_KINDS]
        if len(found) == 1:
            kind = found[0]
            if kind in KINDS:
                return kind
            self.later(kind, LATER_KINDS[kind], (*at, kind))
            return LATER
        if len(found) > 1:
            what = "two kinds" if len(found) == 2 else f"{len(found)} kinds"
            self.report.error(
                "GR020",
                f"{quoted(name)} has {what}: {listed(found, 'and')}",
                (*at, found[1]),
                part="key",
                wanted="exactly one",
                suggestion="make it two nodes, one with `needs` on the other",
                notes=[("the first one is here", (*at, found[0]), "key", None)],
            )
        elif not any(self.meant_as_kind(key) for key in table):
            self.report.error(
                "GR021", f"{quoted(name)} has no kind", at, part="key", wanted=f"one of {listed(KINDS, limit=20)}"
            )
        return BROKEN

    def meant_as_kind(self, key: str) -> bool:
        """Whether an unknown key will be told as a misspelt kind, which says enough."""
        return key not in MODIFIERS and (_synonym(key, KINDS) or self.report.closest(key, KINDS)) is not None

    def kind_value(self, node: NodeDecl, value: Any, block: BlockDecl) -> None:
        kind, at = node.kind, (*node.at, node.kind)
        self.values.key = kind
        if kind == "nodes":
            self.group(node, value, at, block)
            return
        read = self.values.read(KINDS[kind].shape, value, at)
        if read is BAD:
            return
        if kind in ("python", "flow") and self.values.computed(value, at):
            return
        node.keys[kind] = read

    def group(self, node: NodeDecl, value: Any, at: At, block: BlockDecl) -> None:
        if node.block is None:
            node.block = BlockDecl(name=node.name, at=node.at, parent=block, owner=node)
        if len(at) > 2 * MAX_GROUPS:
            self.report.error("GR007", "groups nest too deep", at, part="key", wanted=f"at most {MAX_GROUPS} levels")
            return
        final = at[-1] == "finally"
        if value == {}:
            self.report.error("GR019", f"the group {quoted(node.name)} has no nodes", at, part="key")
        leaves = self.values.leaves
        self.nodes(value, at, node.block, final)
        self.values.leaves = leaves

    def modifier(self, node: NodeDecl, key: str, value: Any, block: BlockDecl) -> None:
        kind, at = node.kind, (*node.at, key)
        modifier = MODIFIERS.get(key)
        if modifier is None:
            self.other_key(node, key, at)
        elif kind in modifier.kinds or kind in (LATER, BROKEN):
            if key == "finally":
                self.group(node, value, at, block)
            elif not self.later_value(key, value, at):
                self.values.key = key
                read = self.values.read(modifier.shape, value, at)
                if read is not BAD:
                    node.keys[key] = read
                if modifier.wants is not None and modifier.wants not in node.written:
                    self.report.error(
                        "GR023", f"{quoted(key)} makes sense only with `{modifier.wants}`", at, part="key"
                    )
        else:
            self.misplaced(modifier, f"a `{kind}` node", at)

    def other_key(self, node: NodeDecl, key: str, at: At) -> None:
        if key in KINDS or key in LATER_KINDS:
            return  # told as "two kinds"
        if node.kind == LATER and key in LATER_KIND_KEYS:
            return
        if key in LATER_KEYS:
            self.later(key, LATER_KEYS[key], at)
            return
        known = (*keys_of(node.kind), node.kind) if node.kind in KINDS else (*KINDS, *MODIFIERS)
        guess = _synonym(key, known) or self.report.closest(key, known)
        where = f"of a `{node.kind}` node" if node.kind in KINDS else f"of the node {quoted(node.name)}"
        self.values.unknown(key, known, at, where, guess, _habit(key, guess))

    def misplaced(self, modifier: Modifier, where: str, at: At) -> None:
        self.report.error(
            "GR022",
            f"{quoted(modifier.name)} has no place on {where}",
            at,
            part="key",
            wanted=f"{quoted(modifier.name)} ({modifier.doc}) stands on {listed(modifier.kinds, 'and')} nodes",
        )

    def later_value(self, key: str, value: Any, at: At) -> bool:
        later = isinstance(value, str) and value in LATER_VALUES.get(key, ())
        if later:
            self.later(f'{key} = "{value}"', "how an attempt is repeated", at, "value")
        return later

    def take_defaults(self, keys: dict[str, Any], kind: str) -> None:
        for key, value in self.defaults[kind].items():
            if kind == "http" and key in HTTP_DEFAULTS:
                http = keys.get("http")
                if http is not None:
                    http[key] = (
                        _merged("headers", http[key], value)
                        if key in http and key != "bearer"
                        else http.get(key, value)
                    )
            elif key not in keys:
                keys[key] = value
            elif key in MERGED:
                keys[key] = _merged(key, keys[key], value)


def _merged(key: str, own: Any, default: Any) -> Any:
    if key in ("labels", "runs_on"):
        return {**default, **own}
    if not isinstance(own, Expr):
        return own
    items = {**default.items, **own.items}  # type: ignore[dict-item]
    return Expr(("dict", *((("const", k), each.tree) for k, each in items.items())), own.at, own.key, items=items)


def _synonym(key: str, known: Iterable[str]) -> str | None:
    guess = SYNONYMS.get(normal(key))
    return guess if guess in set(known) else None


def _habit(key: str, guess: str | None) -> str | None:
    """What to write for a key of another tool, where its name alone does not say it."""
    if guess is not None and guess == SYNONYMS.get(normal(key)):
        return EXAMPLES.get(normal(key))
    return ADVICE.get(normal(key)) if guess is None or normal(key) in ADVICE else None
