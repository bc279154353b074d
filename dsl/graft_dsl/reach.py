"""Which nodes may be skipped, whose `out` may be absent when another node reads it, and which can never start.

A node that runs knows something about those before it: with the default join, one need alone must have succeeded. So a
chain behind a conditional node needs no `default()`, while a node that joins it with another one does (R5, R14).
"""

from __future__ import annotations

from attrs import define, field

from graft_dsl.declarations import BlockDecl, FlowDecl, NodeDecl
from graft_dsl.suggest import listed, quoted

MAX_VISITS = 500  # nodes looked at for one question; after that the answer is "cannot tell"
MAX_TOTAL_VISITS = 200_000


def mark(block: BlockDecl) -> None:
    """Fill in `skippable` and `partial` of the nodes of a block, which must be in order."""
    for node in block.order:
        keys = node.keys
        contained = keys.get("on_failure") == "continue" or bool(keys.get("catch"))
        node.skippable = has_own_skip(node) or _may_not_join(block, node)
        node.partial = node.skippable or contained
        node.fate = _fate(block, node)


def has_own_skip(node: NodeDecl) -> bool:
    """Whether a node has reasons of its own to be skipped. The items of a map skip themselves, and not the map."""
    skips_itself = "skip_on" in node.keys and "for_each" not in node.written
    return bool(node.caught) or "when" in node.written or skips_itself


def _may_not_join(block: BlockDecl, node: NodeDecl) -> bool:
    """Whether the needs of a node can end so that its join is not met, while the scope goes on."""
    needs = [found for name in node.needs if (found := block.find(name)) is not None]
    if not needs:
        return False
    match node.keys.get("join", "none_failed"):
        case "all_done":
            return False
        case "any_failed":
            return True
        case "all_succeeded":
            return any(need.partial for need in needs)
        case "any_succeeded":
            return all(need.partial for need in needs)
    return all(need.skippable for need in needs) or any(map(_contains, needs))


def _fate(block: BlockDecl, node: NodeDecl) -> NodeDecl:
    """The first node that is skipped exactly when `node` is; itself when it has reasons of its own."""
    if not node.skippable or has_own_skip(node):
        return node
    needs = [found for name in node.needs if (found := block.find(name)) is not None]
    if any(map(_contains, needs)) or node.keys.get("join", "none_failed") not in ("none_failed", "all_succeeded"):
        return node
    fates = {id(need.fate): need.fate for need in needs if need.skippable}
    return next(iter(fates.values())) or node if len(fates) == 1 else node


def _contains(node: NodeDecl) -> bool:
    return node.keys.get("on_failure") == "continue" or bool(node.keys.get("catch"))


@define(eq=False)
class Presence:
    """Answers whether one node has surely succeeded when another starts. Bounded: gives up in favour of yes."""

    visits: int = field(default=0)

    def sure(self, block: BlockDecl, reader: NodeDecl, source: NodeDecl) -> bool:
        """Whether `source` (of the same block) has succeeded whenever `reader` starts."""
        if not source.partial:
            return True
        if reader.caught:
            return all(catcher is not source and self._before(block, catcher, source) for catcher in reader.caught)
        return self._before(block, reader, source)

    def _before(self, block: BlockDecl, node: NodeDecl, source: NodeDecl) -> bool:
        budget = [MAX_VISITS]
        memo: dict[int, bool] = {}
        stack = [node]
        while stack:  # depth first without recursion: a node is decided when its needs are
            current = stack[-1]
            budget[0] -= 1
            self.visits += 1
            if budget[0] < 0 or self.visits > MAX_TOTAL_VISITS:
                return True
            needs = [each for name in current.needs if (each := block.find(name)) is not None]
            first = source.index if source.fate is None else source.fate.index
            open_needs = [
                each for each in needs if id(each) not in memo and not _same(each, source) and each.index > first
            ]
            if open_needs:
                stack += open_needs
                continue
            stack.pop()
            memo[id(current)] = self._implied(current, needs, source, memo)
        return memo[id(node)]

    def _implied(self, node: NodeDecl, needs: list[NodeDecl], source: NodeDecl, memo: dict[int, bool]) -> bool:
        """Whether `node` having started implies that `source` succeeded. A need that succeeded had started."""
        known = [_same(each, source) or memo.get(id(each), False) for each in needs]
        if not known:
            return False
        match node.keys.get("join", "none_failed"):
            case "all_done" | "any_failed":
                return False
            case "all_succeeded":
                return any(known)
            case "any_succeeded":
                return all(known)
        return all(known) or any(k and not each.skippable for k, each in zip(known, needs, strict=True))


def _same(node: NodeDecl, source: NodeDecl) -> bool:
    """Whether `node` having succeeded means that `source` has."""
    return node is source or (node.fate is source.fate and source.skippable and not _contains(source))


def report_unreachable(flow: FlowDecl, block: BlockDecl) -> None:
    """Report nodes that can never start, whatever happens. The block must be in order and marked."""
    for node in block.order:
        at, report = node.at, flow.report
        _catch_target_keys(flow, node)
        needs = [found for name in node.needs if (found := block.find(name)) is not None]
        join = node.keys.get("join", "none_failed")
        stuck = _always_failing(needs, join)
        if stuck:
            what = listed([each.name for each in stuck], "and")
            report.error(
                "GR204",
                f"{quoted(node.name)} can never start: what it needs, {what}, never succeeds",
                at,
                part="key",
                suggestion='`join = "any_failed"` starts a node after a failure that `on_failure` or `catch` contains',
            )
        elif join == "any_failed" and needs and not any(_contains(need) for need in needs):
            report.error(
                "GR204",
                f"{quoted(node.name)} can never start: a failure of what it needs ends the scope before",
                (*at, "join"),
                suggestion='let one of them say `on_failure = "continue"`, or `catch` its failure',
            )
        elif join == "all_succeeded":
            _both_ways(flow, node, needs)
        if join != "none_failed" and not needs and not node.caught and "join" in node.keys:
            report.warning("GR023", f"`join` says nothing: {quoted(node.name)} needs no node", (*at, "join"))


def _always_failing(needs: list[NodeDecl], join: str) -> list[NodeDecl]:
    """The `fail` nodes among `needs` that keep a node with this join from ever starting."""
    failing = [need for need in needs if need.kind == "fail"]
    sure = [need for need in failing if not need.skippable]
    match join:
        case "none_failed":
            return failing if len(failing) == len(needs) else sure
        case "all_succeeded":
            return failing
        case "all_done":
            return [need for need in sure if not _contains(need)]
        case "any_succeeded":
            return failing if len(failing) == len(needs) else []
    return []


def _both_ways(flow: FlowDecl, node: NodeDecl, needs: list[NodeDecl]) -> None:
    """A node and the handler of its failure never both succeed."""
    names = {id(need) for need in needs}
    for handler in needs:
        blocked = [each for each in handler.caught if id(each) in names]
        if len(handler.caught) != 1 or not blocked:
            continue
        flow.report.error(
            "GR204",
            f"{quoted(node.name)} can never start: {quoted(handler.name)} runs only when "
            f"{quoted(blocked[0].name)} has failed",
            node.at,
            part="key",
            suggestion='join = "any_succeeded"',
        )


def _catch_target_keys(flow: FlowDecl, node: NodeDecl) -> None:
    report = flow.report
    if node.caught and node.keys.get("needs"):
        catcher = node.caught[0]
        report.error(
            "GR206",
            f"{quoted(node.name)} is started by the `catch` of {quoted(catcher.name)} alone: it cannot need anything",
            (*node.at, "needs"),
            part="key",
            suggestion="remove `needs`",
            notes=[("the catch is here", (*catcher.at, "catch"), "key", None)],
        )
    if node.caught and "join" in node.keys:
        report.error(
            "GR206",
            f"{quoted(node.name)} is started by a `catch` alone: it joins nothing",
            (*node.at, "join"),
            part="key",
        )
    if "ends" in node.keys and not node.caught:
        report.error(
            "GR206",
            f"no `catch` leads to {quoted(node.name)}: `ends` stands only on the target of one",
            (*node.at, "ends"),
            part="key",
            suggestion=f'catch = [{{ on = ["*"], to = "{node.name}" }}] on the node whose failure it handles',
        )
