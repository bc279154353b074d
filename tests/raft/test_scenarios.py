"""Every scenario of `scenarios/*.txt` gives what the file says. To change the files on purpose:
`python -m tests.raft.scenario --rewrite`, then read the difference."""

from __future__ import annotations

import pytest

from tests.raft.scenario import DIRECTORY, play, scenarios

CASES = [
    pytest.param(lines, id=f"{path.stem}: {title}")
    for path in sorted(DIRECTORY.glob("*.txt"))
    for title, lines in scenarios(path.read_text()).items()
]


@pytest.mark.parametrize("lines", CASES)
def test_scenario(lines: list[str]) -> None:
    expected = "\n".join(lines).rstrip()
    assert "\n".join(play(lines)).rstrip() == expected


def test_there_are_scenarios_enough() -> None:
    assert len(CASES) >= 60
