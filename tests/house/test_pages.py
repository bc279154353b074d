"""The generated parts of the documentation are up to date, and a stale one is seen."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_parts_are_up_to_date(generate: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate.main(check=True) == 0, capsys.readouterr().out


def test_a_stale_part_is_renewed(generate: ModuleType) -> None:
    page = "before\n<!-- generated: exit-codes -->\nold\n<!-- end -->\nafter\n"
    fresh = generate.renew(page)
    assert "old" not in fresh
    assert fresh.startswith("before\n<!-- generated: exit-codes -->\n| code | means |")
    assert fresh.endswith("<!-- end -->\nafter\n")
    assert generate.renew(fresh) == fresh


def test_every_generator_is_used_by_a_page(generate: ModuleType) -> None:
    pages = "".join(page.read_text() for page in (ROOT / "docs").rglob("*.md") if "_build" not in page.parts)
    assert {name for name in generate.PARTS if f"<!-- generated: {name} -->" not in pages} == set()
