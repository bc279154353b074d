"""Golden files: what each `golden/<name>/flow.toml` compiles to, or how it is refused.

`pytest tests/dsl --rewrite-golden` writes them anew; the difference is what a reviewer reads.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from graft.errors import InvalidFlow
from graft.plan import decode, encode, plan_hash
from graft_dsl import compile_file
from tests.support.signatures import fake_signatures

GOLDEN = Path(__file__).parent / "golden"
BLANK = (None, "", [], ["dict"])
DEFAULTS = (("join", "none_failed"), ("on_failure", "fail"), ("secret", False), ("tolerate_percent", False))
NAMES = sorted(path.parent.name for path in GOLDEN.glob("*/flow.toml"))


def pretty(value: Any, indent: int = 0, width: int = 110) -> str:
    """JSON with what fits on a line on one line, so that an expression reads as one."""
    flat = json.dumps(value, ensure_ascii=False)
    if len(flat) + indent <= width or not isinstance(value, (list, dict)) or not value:
        return flat
    pad = " " * (indent + 2)
    if isinstance(value, dict):
        rows = [f"{pad}{json.dumps(key)}: {pretty(each, indent + 2, width)}" for key, each in value.items()]
        return "{\n" + ",\n".join(rows) + "\n" + " " * indent + "}"
    return "[\n" + ",\n".join(pad + pretty(each, indent + 2, width) for each in value) + "\n" + " " * indent + "]"


def without_blanks(document: Any) -> Any:
    """The plan's document without the fields that say nothing, for reading."""
    if isinstance(document, list) and any(isinstance(each, dict) for each in document):
        return [without_blanks(each) for each in document]
    if isinstance(document, dict):
        kept = {key: without_blanks(value) for key, value in document.items()}
        return {key: value for key, value in kept.items() if value not in BLANK and (key, value) not in DEFAULTS}
    return document


@pytest.mark.parametrize("name", NAMES)
def test_golden(name: str, rewrite: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(GOLDEN / name)
    files = {"plan.json": "", "diagnostics.txt": ""}
    try:
        compiled = compile_file(Path("flow.toml"), python=fake_signatures)
    except InvalidFlow as error:
        files["diagnostics.txt"] = f"{error.message}\n"
    else:
        assert plan_hash(decode(encode(compiled.plan))) == plan_hash(compiled.plan)
        document = without_blanks(json.loads(encode(compiled.plan))["plan"])
        files["plan.json"] = pretty({"hash": plan_hash(compiled.plan), **document}) + "\n"
        assert compiled.warnings == ()
    for file, content in files.items():
        path = Path(file)
        if rewrite:
            path.write_text(content) if content else path.unlink(missing_ok=True)
        assert (path.read_text() if path.exists() else "") == content


def test_there_are_golden_files() -> None:
    assert len(NAMES) >= 40
