"""What `graft new` writes compiles, with its Python functions checked, and is laid out as `graft fmt` does."""

from __future__ import annotations

from pathlib import Path

import pytest

from graft.registry import signature
from graft_dsl import TEMPLATES, compile_file, format_text


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_compiles_and_is_formatted(name: str, tmp_path: Path) -> None:
    files = TEMPLATES[name].files("my flow")
    for path, text in files.items():
        (tmp_path / path).write_text(text)
    compiled = compile_file(tmp_path / "flow.toml", python=signature)
    assert compiled.plan.name == "my-flow"
    assert compiled.warnings == ()
    assert format_text(files["flow.toml"]) == files["flow.toml"]
    assert TEMPLATES[name].about


def test_only_files_of_the_flow_are_given_out() -> None:
    assert set(TEMPLATES["pipeline"].files("x")) == {"flow.toml", "pipeline.py", "sales.csv"}
