"""Drawings: what is in them, and that names of any kind do not break them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import pytest
from hypothesis import given, settings

from graft.errors import InvalidFlow
from graft.plan import Plan
from graft_dsl import compile_text, render_graph
from graft_dsl.graphs import FORMATS, graph_of
from graft_dsl.graphs.layout import Drawing, lay_out
from graft_dsl.graphs.svg import measure
from tests.support.flow_documents import flows

TEXT = """
name = "demo"
[nodes.fetch]
run = 'curl "$URL" | sed "s/<a>/&\\t/"'
[nodes.pick]
for_each = "${ [1, 2, 3] }"
nodes.pack.value = "${ item }"
nodes.send.needs = ["pack"]
nodes.send.run = "true"
needs = ["fetch"]
catch = [{ on = ["exit.1", "timeout"], to = "rescue" }]
[nodes.rescue]
run = "true"
[nodes.end]
needs = ["pick"]
value = "${ fetch.status }"
[finally.tidy]
run = "true"
"""


@pytest.fixture(scope="module")
def plan() -> Plan:
    return compile_text(TEXT).plan


def test_text(plan: Plan) -> None:
    assert render_graph(plan, "text") == (
        "demo\n"
        "├─ fetch    run\n"
        "├─ pick ×   group  ← fetch\n"
        "│  ├─ pack  value\n"
        "│  └─ send  run    ← pack\n"
        "├─ rescue   run    ⚡ pick\n"
        "├─ end      value  ← pick  ⇠ fetch\n"
        "└─ finally\n"
        "   └─ tidy  run\n"
    )


STATUSES = {
    "fetch": "succeeded",
    "pick": "running",
    "pick[0]": "succeeded",
    "pick[1]": "running",
    "pick[0]/pack": "succeeded",
    "pick[0]/send": "succeeded",
    "pick[1]/pack": "failed",
    "tidy": "pending",
}


def test_text_of_a_run_folds_maps(plan: Plan) -> None:
    assert render_graph(plan, "text", STATUSES) == (
        "demo\n"
        "├─ ✓ fetch        run\n"
        "├─ ▶ pick 1/2     group  ← fetch\n"
        "│  ├─ ✗ pack 2/2  value\n"
        "│  └─ ✓ send      run    ← pack\n"
        "├─ · rescue       run    ⚡ pick\n"
        "├─ · end          value  ← pick  ⇠ fetch\n"
        "└─ finally\n"
        "   └─ · tidy      run\n"
    )


def test_json(plan: Plan) -> None:
    document = json.loads(render_graph(plan, "json", STATUSES))
    nodes = {node["path"]: node for node in document["nodes"]}
    assert set(nodes) == {"fetch", "pick", "pick/pack", "pick/send", "rescue", "end", "tidy"}
    assert (nodes["pick"]["status"], nodes["pick"]["done"], nodes["pick"]["total"]) == ("running", 1, 2)
    assert nodes["pick/send"]["parent"] == "pick"
    assert nodes["tidy"]["final"] is True
    edges = {(edge["source"], edge["target"], edge["kind"], edge["label"]) for edge in document["edges"]}
    assert edges == {
        ("fetch", "pick", "need", ""),
        ("pick/pack", "pick/send", "need", ""),
        ("pick", "rescue", "catch", "exit.1, timeout"),
        ("pick", "end", "need", ""),
        ("fetch", "end", "after", ""),
    }


def test_mermaid_is_escaped(plan: Plan) -> None:
    text = render_graph(plan, "mermaid", STATUSES)
    assert text.startswith("flowchart TD\n")
    for line in text.splitlines():
        label = re.search(r'\["(.*)"\]', line)
        if label:
            assert '"' not in label[1]
            assert not re.search(r"<(?!br/>|/?small>)", label[1])
    assert "classDef failed" in text
    assert text.count("subgraph") == text.count("\n  end\n") == 2


def test_dot_is_escaped(plan: Plan) -> None:
    text = render_graph(plan, "dot", STATUSES)
    assert text.count("{") == text.count("}")
    assert '\\"$URL\\"' in text
    assert 'ltail="cluster_pick"' in text


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_graphviz_reads_dot(plan: Plan) -> None:
    done = subprocess.run(["dot", "-Tsvg"], input=render_graph(plan, "dot").encode(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_svg_is_xml_with_every_name(plan: Plan) -> None:
    text = render_graph(plan, "svg", STATUSES)
    root = ElementTree.fromstring(text)
    words = " ".join(root.itertext())
    for name in (
        "demo",
        "fetch",
        "pick 1/2",
        "pack 2/2",
        "send",
        "rescue",
        "end",
        "tidy",
        "finally",
        "exit.1, timeout",
    ):
        assert name in words
    assert "<script" not in text


def overlaps(drawing: Drawing) -> list[str]:
    """Boxes of a block that lie on each other, and arrows that go up."""
    found = []
    boxes = [place for place in drawing.places if place.box is not None]
    rows = sorted(boxes, key=lambda place: (place.row, place.x))
    for left, right in pairwise(rows):
        if left.row == right.row and left.x + left.width / 2 > right.x - right.width / 2 + 0.01:
            found.append(f"{left.box and left.box.path} on {right.box and right.box.path}")
    for arrow in drawing.arrows:
        if any(upper.y + upper.height > lower.y + 0.01 for upper, lower in pairwise(arrow.places)):
            found.append(f"{arrow.edge} goes up")
    for place in boxes:
        if place.x - place.width / 2 < -0.01 or place.x + place.width / 2 > drawing.width + 0.01:
            found.append("outside")
        found += overlaps(place.inner) if place.inner else []
    return found


@settings(max_examples=100)
@given(flows())
def test_layouts_have_no_overlaps_and_arrows_go_down(text: str) -> None:
    try:
        plan = compile_text(text).plan
    except InvalidFlow:
        return
    assert overlaps(lay_out(graph_of(plan).picture, measure)) == []
    for form in FORMATS:
        assert render_graph(plan, form, {"a": "failed", "a[0]": "running"})
    ElementTree.fromstring(render_graph(plan, "svg"))


def test_flows_that_are_included_often_stay_drawable(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("flows")
    for level in range(15):
        text = "".join(f'[nodes.n{i}]\nflow = "f{level + 1}.toml"\n' for i in range(4))
        (directory / f"f{level}.toml").write_text(text)
    (directory / "f15.toml").write_text("[nodes.x]\nvalue = 1\n")
    plan = compile_text((directory / "f0.toml").read_text(), base=directory).plan
    start = time.process_time()
    assert "…" in render_graph(plan, "text")
    assert time.process_time() - start < 10


def test_an_unknown_format() -> None:
    with pytest.raises(KeyError):
        render_graph(compile_text("[nodes.a]\nvalue = 1\n").plan, "png")
