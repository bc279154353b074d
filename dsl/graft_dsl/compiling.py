"""From a flow file, and the files it includes, to a plan.

::

    bytes -> document -> declarations -> included flows, the same way -> links -> checks -> plan

A file that several nodes name is read once and has one block in the plan. Everything that is wrong anywhere is gathered
before anything is raised.
"""

from __future__ import annotations

import gc
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import define, field, frozen

from graft.errors import InvalidFlow
from graft.plan import Plan
from graft.plan.signature import SignatureResolver
from graft_dsl.building import build_plan
from graft_dsl.checking import check_flow
from graft_dsl.declarations import FlowDecl, NodeDecl
from graft_dsl.diagnostics import Diagnostic, NoteAt, Report, render
from graft_dsl.linking import link
from graft_dsl.places import Offset, TomlSource
from graft_dsl.reach import report_unreachable
from graft_dsl.suggest import quoted
from graft_dsl.toml_document import parse_document
from graft_dsl.toml_reader import read_flow
from graft_dsl.void_rules import report_void_rules

MAX_FILE_BYTES = 16 * 1024 * 1024
MAX_INCLUDES = 16  # flows inside flows


@frozen
class Compiled:
    """A plan, where it came from (None: from a text), and what its author should know about it."""

    plan: Plan
    path: Path | None
    warnings: tuple[Diagnostic, ...] = ()


def compile_file(path: Path, *, python: SignatureResolver | None = None) -> Compiled:
    """The plan of a flow file. `python` tells the signatures of Python targets; without it they are not checked.

    Raises InvalidFlow with every diagnostic of the file and of the files it includes.
    """
    compiler = _Compiler(python)
    problem = _unreadable(path)
    if problem is not None:
        _refuse(str(path), *problem)
    source, report = _read(path, str(path))
    return compiler.compile(source, report, path, path.parent, path.stem)


def compile_text(
    text: str, *, filename: str = "flow.toml", base: Path | None = None, python: SignatureResolver | None = None
) -> Compiled:
    """The plan of a flow text. `filename` is for diagnostics; `base` is where relative paths start."""
    compiler = _Compiler(python)
    source = TomlSource(filename, _normal(text))
    return compiler.compile(source, Report(source), None, base or Path(), Path(filename).stem)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Nothing that compiling makes can be collected before its end; looking for it would take half of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _refuse(name: str, code: str, message: str) -> None:
    diagnostic = Diagnostic(code, message, name, 1, 1, 2)
    raise InvalidFlow(render([diagnostic]), (diagnostic,))


def _normal(text: str) -> str:
    return text.removeprefix("\ufeff").replace("\r\n", "\n")


def _unreadable(path: Path) -> tuple[str, str] | None:
    """Why a file cannot be a flow, by code and text; None when it can be read."""
    shown = quoted(path, 200)
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            inside = path / "flow.toml"
            more = f"; did you mean {quoted(inside, 200)}?" if inside.is_file() else ""
            return "GR003", f"{shown} is a directory, not a flow file{more}"
        if not stat.S_ISREG(status.st_mode):
            return "GR003", f"{shown} is not a regular file"
        if status.st_size > MAX_FILE_BYTES:
            return (
                "GR005",
                f"{shown} is too large for a flow file: {status.st_size} bytes, and {MAX_FILE_BYTES} are allowed",
            )
        with path.open("rb"):
            return None
    except (FileNotFoundError, NotADirectoryError):
        return "GR003", f"there is no file {shown}"
    except (OSError, ValueError) as error:
        return "GR003", f"{shown} cannot be read: {getattr(error, 'strerror', None) or error}"


def _read(path: Path, name: str) -> tuple[TomlSource, Report]:
    """The text of a file; bytes that are not UTF-8 are reported."""
    data = path.read_bytes()
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        source = TomlSource(name, _normal(data.decode(errors="replace")))
        report = Report(source)
        before = len(_normal(data[: error.start].decode(errors="replace")))
        report.error(
            "GR004",
            f"not UTF-8: byte 0x{data[error.start]:02x} cannot stand here",
            Offset(before, before + 1),
            suggestion="this is UTF-16, which some editors call Unicode; save the file as UTF-8"
            if data[:2] in (b"\xff\xfe", b"\xfe\xff")
            else "save the file in the encoding UTF-8",
        )
        return source, report
    source = TomlSource(name, _normal(text))
    return source, Report(source)


def analyse(flow: FlowDecl, python: SignatureResolver | None) -> None:
    """Link and check one flow, whose included flows have been; problems go to its report. Both front ends end here."""
    acyclic = link(flow)
    check_flow(flow, python)
    report_void_rules(flow)
    if acyclic:
        for block in flow.blocks():
            report_unreachable(flow, block)


@define(eq=False)
class _Compiler:
    python: SignatureResolver | None
    reports: list[Report] = field(factory=list)
    flows: dict[str, FlowDecl | None] = field(factory=dict)  # by real path; None: it could not be read
    done: list[FlowDecl] = field(factory=list)  # each after the flows it includes
    opened: list[tuple[str, str, NodeDecl | None, FlowDecl | None]] = field(factory=list)  # from the root to here

    def compile(self, source: TomlSource, report: Report, path: Path | None, base: Path, stem: str) -> Compiled:
        key = os.path.realpath(path) if path is not None else ""
        self.opened.append((key, source.name, None, None))
        with _without_collector():
            self.flow(source, report, base, stem)
        diagnostics = [each for one in self.reports for each in one.diagnostics()]
        if any(each.severity == "error" for each in diagnostics):
            raise InvalidFlow(render(diagnostics), tuple(diagnostics))
        with _without_collector():
            return Compiled(build_plan(self.done[::-1]), path, tuple(diagnostics))

    def flow(self, source: TomlSource, report: Report, base: Path, stem: str) -> FlowDecl | None:
        """Read, link and check one flow, after the flows it includes."""
        self.reports.append(report)
        if report.errors:
            return None
        document = parse_document(source, report)
        if document is None:
            return None
        flow = read_flow(document, source, report, base, stem)
        for node in flow.nodes():
            if node.kind == "flow" and "flow" in node.keys:
                node.flow = self.included(flow, node)
        analyse(flow, self.python)
        self.done.append(flow)
        return flow

    def included(self, flow: FlowDecl, node: NodeDecl) -> FlowDecl | None:
        """The flow that a node names; None after reporting why there is none."""
        written: str = node.keys["flow"]
        path, at = flow.base / written, (*node.at, "flow")
        key = os.path.realpath(path) if "\0" not in written else written
        if key in self.flows:
            return self.flows[key]
        if any(key == opened for opened, *_ in self.opened):
            self.report_circle(flow, node, key, written)
            return None
        if len(self.opened) > MAX_INCLUDES:
            flow.report.error("GR403", "flows include flows too deep", at, wanted=f"at most {MAX_INCLUDES} levels")
            return None
        problem = _unreadable(path)
        if problem is not None:
            hint = (
                'a path ends with ".toml"; flows by name come with a later version'
                if not written.endswith(".toml")
                else None
            )
            flow.report.error(
                "GR401", problem[1], at, wanted="the path of a flow file, from this file's directory", suggestion=hint
            )
            return None
        self.opened.append((key, written, node, flow))
        shown = os.path.normpath(os.path.join(os.path.dirname(flow.source.name), written))
        source, report = _read(path, shown)
        self.flows[key] = self.flow(source, report, path.parent, path.stem)
        self.opened.pop()
        return self.flows[key]

    def report_circle(self, flow: FlowDecl, node: NodeDecl, key: str, written: str) -> None:
        names = [os.path.basename(opened) or shown for opened, shown, _, _ in self.opened]
        start = next(i for i, (opened, *_) in enumerate(self.opened) if opened == key)
        ring = [*names[start:], names[start]]
        notes: list[NoteAt] = [
            (f"{quoted(names[i])} is included here", (*by.at, "flow"), "value", of.source)
            for i, (_, _, by, of) in enumerate(self.opened)
            if i > start and by is not None and of is not None
        ]
        flow.report.error(
            "GR402",
            f"these files include each other: {' -> '.join(ring)}",
            (*node.at, "flow"),
            suggestion="a flow cannot contain itself; use `for_each` for repeated work",
            notes=notes,
        )
