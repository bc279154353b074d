"""What the live view shows: the tree of a run's steps, kept up to date from events, and the rows that fit.

An event changes one line and the counts of its scope: O(1). Rows are chosen among the few lines of a scope that are
active or failed, which the scope keeps apart: a frame costs O(rows), whatever the size of the run.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from graft.cli import looks
from graft.cli.looks import Piece
from graft.cluster.views import Idle, active_ms

if TYPE_CHECKING:
    from graft.cluster.views import EventView, MapView, RunView
    from graft.plan import ErrorRecord, Node, Plan

ACTIVE = frozenset({"running", "cancelling", "backing_off", "waiting", "uncertain"})

# What an event calls a change, where that is not the status itself.
STATUS_OF_EVENT: dict[str, str] = {"retrying": "backing_off", "started": "running", "stopping": "cancelling"}

_ITEM = re.compile(r"(.+)\[([^\[\]]*)\]")


@define(eq=False)
class Line:
    """One step, or the whole run at the root. `active` and `bad` are those of its children, in order of change."""

    path: str
    label: str
    node: Node | None = None
    parent: Line | None = None
    status: str = "pending"
    reason: str = ""
    attempt: int = 0
    started_at: int | None = None
    ended_at: int | None = None
    due_at: int | None = None  # when a timer lets it go on
    member: str = ""
    contained: bool = False  # its failure was caught
    total: int | None = None  # items of a map, once known
    names: tuple[str, ...] = ()  # of these
    children: dict[str, Line] = field(factory=dict)
    active: dict[str, Line] = field(factory=dict)
    bad: dict[str, Line] = field(factory=dict)
    counts: Counter[str] = field(factory=Counter)

    @property
    def is_map(self) -> bool:
        return self.node is not None and self.node.for_each is not None and not self.path.endswith("]")

    @property
    def is_scope(self) -> bool:
        return self.node is None or self.is_map or self.node.kind in ("nodes", "flow")

    @property
    def ended_children(self) -> int:
        return sum(self.counts[status] for status in looks.FINAL)


def _begins(line: Line) -> bool:
    """Whether a step that runs now did not do so before: another attempt goes on, another generation begins anew."""
    return line.started_at is None or line.ended_at is not None or line.parent is None


@frozen
class Row:
    """One row of the view: a line of the tree, or what stands for lines that do not fit."""

    depth: int
    line: Line | None
    more: tuple[tuple[str, int], ...] = ()


class Board:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.root = Line("", plan.name, status="running")
        self.counts: Counter[str] = Counter()  # of steps that are no scopes
        self.sleeping = 0  # of those that wait, the ones that a timer wakes
        self.paused = ""  # why nothing new starts
        self.idle: Idle = ()
        self._nodes: dict[int, Mapping[str, Node]] = {}
        self._lines: dict[str, Line] = {"": self.root}
        for node in self._block(0).values():
            self._add(self.root, node.name, node.name, node)

    @classmethod
    def of(cls, view: RunView) -> Board:
        """The board of a run as it stands."""
        board = cls(view.plan)
        board.root.status, board.root.started_at, board.root.ended_at = view.status, view.started_at, view.ended_at
        board.paused, board.idle = view.paused or "", view.idle
        board._take(view)
        return board

    def _take(self, view: RunView) -> None:
        waiting = deque(view.steps)
        while waiting:
            step = waiting.popleft()
            line = self.line(step.path)
            line.started_at, line.ended_at, line.attempt = step.started_at, step.ended_at, step.attempt
            line.total, line.due_at, line.member = step.map_total, step.due_at, step.member
            reason = step.reason or (looks.error_title(step.error) if step.error is not None else "")
            if view.paused == "interrupted" and step.status in ("running", "cancelling") and not step.children:
                line.started_at, reason = None, view.paused
            if step.item:
                line.label = f"{path_label(step.path)} {step.item}"
            self._move(line, step.status, reason)
            waiting.extend(step.children)

    def apply(self, event: EventView) -> Line:
        """Take one event; gives the line that it changed."""
        line = self.line(event.path)
        status = STATUS_OF_EVENT.get(event.what, event.what)
        if event.path == "" and event.what in ("paused", "resumed"):
            self._pause(event)
        if event.what == "caught":
            line.contained, line.reason = True, f"{line.reason}, caught {event.reason}".lstrip(", ")
        if event.attempt:
            line.attempt = event.attempt
        if status in looks.STATUSES:
            line.contained = False
            if status == "running" and _begins(line):
                line.started_at = event.at
                self._open(line)
            line.ended_at, line.due_at = event.at if status in looks.FINAL else None, None
            self._move(line, status, event.reason)
        return line

    def _pause(self, event: EventView) -> None:
        self.paused = event.reason if event.what == "paused" else ""
        lasts = bool(self.idle) and not self.idle[-1][1]
        if event.what == "paused" and not lasts:
            self.idle = (*self.idle, (event.at, 0))
        elif event.what == "resumed" and lasts:
            self.idle = (*self.idle[:-1], (self.idle[-1][0], event.at))

    def name_only(self, error: ErrorRecord) -> None:
        """Show of an error only its type, and of the scopes that failed by it only that they did."""
        line: Line | None = self._lines.get(error.node)
        if line is None or line is self.root:
            return
        line.reason = error.type
        while (line := line.parent) is not None:
            if line.status in looks.BAD and error.type in line.reason:
                line.reason = line.reason.partition(":")[0]

    def set_items(self, line: Line, items: MapView | None) -> None:
        """The items of a map are known; some of them may have lines already."""
        if items is not None:
            line.total, line.names = items.total, items.names
            for child in line.children.values():
                child.label = _item_label(child.path, line)

    def line(self, path: str) -> Line:
        """The line of a step; it and the scopes above it are made when they are new."""
        found = self._lines.get(path)
        if found is not None:
            return found
        item = _ITEM.fullmatch(path)
        if item is not None:
            above = self.line(item[1])
            return self._add(above, path, _item_label(path, above), above.node)
        parent, _, name = path.rpartition("/")
        scope = self.line(parent)
        return self._add(scope, path, name, self._node(scope, name))

    def name_of(self, path: str) -> str:
        """The path of a step, and of an item of a map what it is called."""
        line = self._lines.get(path)
        return path if line is None else path + line.label.removeprefix(path_label(path))

    def _open(self, line: Line) -> None:
        """Show what a group or a sub-flow will do, once it has begun."""
        block = getattr(line.node.action, "block", None) if line.node is not None and not line.is_map else None
        if block is not None:
            for node in self._block(block).values():
                if f"{line.path}/{node.name}" not in self._lines:
                    self._add(line, f"{line.path}/{node.name}", node.name, node)

    def _add(self, parent: Line, path: str, label: str, node: Node | None) -> Line:
        line = self._lines[path] = parent.children[path] = Line(path, label, node, parent)
        parent.counts["pending"] += 1
        if not line.is_scope:
            self.counts["pending"] += 1
        return line

    def _move(self, line: Line, status: str, reason: str) -> None:
        line.reason = reason
        if line.parent is not None:
            for table, belongs in ((line.parent.active, status in ACTIVE), (line.parent.bad, status in looks.BAD)):
                if belongs:
                    table.setdefault(line.path, line)
                else:
                    table.pop(line.path, None)
            line.parent.counts[line.status] -= 1
            line.parent.counts[status] += 1
            if not line.is_scope:
                self._count(line, line.status, -1)
                self._count(line, status, 1)
        line.status = status

    def _count(self, line: Line, status: str, change: int) -> None:
        self.counts[status] += change
        if status == "waiting" and line.node is not None and line.node.kind == "sleep":
            self.sleeping += change

    def is_idle(self, *, timers_count: bool) -> bool:
        """Whether only waiting steps remain. `timers_count`: a step that a timer wakes is no waiting step."""
        counts = self.counts
        if counts["running"] or counts["cancelling"]:
            return False
        if self.paused:
            return True
        if counts["ready"] or counts["queued"] or counts["backing_off"]:
            return False
        waiting = counts["waiting"] + counts["uncertain"]
        return waiting > 0 and not (timers_count and self.sleeping)

    def _node(self, scope: Line, name: str) -> Node | None:
        action = scope.node.action if scope.node is not None else None
        block = getattr(action, "block", None) if scope.node is not None else 0
        return None if block is None else self._block(block).get(name)

    def _block(self, index: int) -> Mapping[str, Node]:
        if index not in self._nodes:
            block = self.plan.blocks[index]
            self._nodes[index] = {node.name: node for node in (*block.nodes, *block.finals)}
        return self._nodes[index]

    def rows(self, limit: int) -> list[Row]:
        """At most `limit` rows: failures first, then what is active, then the rest if all of it fits."""
        return _rows(self.root, 0, limit)


def _rows(scope: Line, depth: int, limit: int) -> list[Row]:
    chosen = _chosen(scope, limit)
    shown = set(map(id, chosen))
    hidden = Counter(scope.counts)
    hidden.subtract(Counter(line.status for line in chosen))
    quiet = ("pending", "ready", "queued", "succeeded", "skipped") if scope.is_map else ()
    more = tuple((status, number) for status, number in hidden.items() if number > 0 and status not in quiet)
    spare = limit - len(chosen) - bool(more)
    opened = [line for line in chosen if line.active or line.bad]
    rows: list[Row] = []
    for line in chosen:
        rows.append(Row(depth, line))
        if line.active or line.bad:
            below = _rows(line, depth + 1, spare // len(opened)) if spare >= len(opened) else []
            opened.pop()
            spare -= len(below)
            rows += below
    assert len(shown) == len(chosen)
    return [*rows, Row(depth, None, more)] if more and limit > 0 else rows


def _chosen(scope: Line, limit: int) -> list[Line]:
    if not scope.is_map and len(scope.children) <= limit:
        return list(scope.children.values())
    room = max(0, limit - 1)
    bad = list(islice(scope.bad.values(), (room + 1) // 2))
    active = list(islice((line for line in scope.active.values() if line.path not in scope.bad), room - len(bad)))
    return bad + active


def row_pieces(row: Row, now: int, column: int, *, idle: Idle = (), unicode: bool = True) -> list[Piece]:
    """A row as text. `now`: wall time in ms; `column`: where what follows the label begins."""
    indent = "  " * row.depth
    if row.line is None:
        return [(indent + ("… " if unicode else "... "), "dim"), *looks.counted(row.more)]
    line = row.line
    label = label_of(line)
    color = "yellow" if line.contained else looks.style(line.status)
    bold = "bold" if line.status in ACTIVE else ""
    pieces: list[Piece] = [
        (indent, ""),
        (looks.symbol(line.status, unicode=unicode), color),
        (" ", ""),
        (label, "dim" if line.status in ("pending", "ready", "queued", "skipped") else bold),
    ]
    facts = list(_facts(line, now, idle))
    if facts:
        pad = max(2, column - len(indent) - 2 - len(label))
        pieces.append((" " * pad, ""))
        pieces += [piece for number, fact in enumerate(facts) for piece in ([("  ", "")] if number else []) + [fact]]
    return pieces


def label_of(line: Line) -> str:
    if not line.is_map:
        return line.label
    if line.total is None and not line.children:
        return line.label
    total = line.total if line.total is not None else len(line.children)
    failed = sum(line.counts[status] for status in looks.BAD)
    return f"{line.label} {line.ended_children - failed}/{total}" + (f", {failed} failed" if failed else "")


def path_label(path: str) -> str:
    """The last part of a path: what stands in a tree below the rest."""
    return path.rpartition("/")[2] if not path.endswith("]") else path[path.rfind("/", 0, path.rfind("[")) + 1 :]


def _item_label(path: str, above: Line) -> str:
    index = path[path.rfind("[") + 1 : -1]
    name = above.names[int(index)] if above.names and index.isdecimal() and int(index) < len(above.names) else ""
    return f"{path_label(path)} {name}".rstrip()


def _facts(line: Line, now: int, idle: Idle) -> Iterable[Piece]:
    if line.started_at is not None:
        yield (looks.duration(active_ms(line.started_at, line.ended_at or now, idle)), "dim")
    if line.attempt > 1:
        yield (f"attempt {line.attempt}", "dim" if line.status == "succeeded" else "yellow")
    if (where := looks.where_run(line.member)) not in ("", line.reason):
        yield (where, "dim")
    if line.due_at is not None:
        yield (f"until {looks.moment(line.due_at)}", "yellow")
    if line.reason and line.status not in ("pending", "ready"):
        yield (line.reason, "yellow" if line.contained or line.status == "queued" else looks.style(line.status))
