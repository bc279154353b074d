"""Prometheus' text format, as its documentation has it."""

from __future__ import annotations

import math

import pytest

from graft.observability import Metric, Sample, render


def test_a_metric_has_its_help_its_kind_and_its_samples() -> None:
    metric = Metric("graft_peers", "gauge", "Of all.", (Sample(1, {"peer": "a", "kind": "*"}), Sample(2.5)))
    assert render([metric]).splitlines() == [
        "# HELP graft_peers Of all.",
        "# TYPE graft_peers gauge",
        'graft_peers{peer="a",kind="*"} 1',
        "graft_peers 2.5",
    ]


def test_what_would_end_a_line_or_a_value_is_escaped() -> None:
    metric = Metric("a", "counter", "one\ntwo \\", (Sample(1, {"l": 'x"\\\ny'}),))
    assert render([metric]) == '# HELP a one\\ntwo \\\\\n# TYPE a counter\na{l="x\\"\\\\\\ny"} 1\n'


@pytest.mark.parametrize(
    ("value", "text"), [(True, "1"), (2**40, "1099511627776"), (0.1, "0.1"), (math.inf, "+Inf"), (-math.inf, "-Inf")]
)
def test_numbers(value: float, text: str) -> None:
    assert render([Metric("a", "gauge", "x", (Sample(value),))]).splitlines()[-1] == f"a {text}"


def test_a_metric_without_samples_is_left_out() -> None:
    assert render([Metric("a", "gauge", "x", ())]) == ""
