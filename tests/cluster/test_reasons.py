from __future__ import annotations

import pytest

from graft.cluster.reasons import told_once


@pytest.mark.parametrize(
    ("logged", "told"),
    [
        ("a step failed: exit.3: the command exited with 3", "a step failed: exit.3: the command exited with 3"),
        ("a step failed: a step failed: a step failed: exit.3: x", "a step failed: exit.3: x"),
        ("python.KeyError: KeyError: 7", "python.KeyError: 7"),
        ("a step failed: a step failed: python.KeyError: KeyError: 7", "a step failed: python.KeyError: 7"),
        ("python.KeyError: KeyErrors: 7", "python.KeyError: KeyErrors: 7"),
        ("", ""),
    ],
)
def test_a_reason_is_told_once(logged: str, told: str) -> None:
    assert told_once(logged) == told
