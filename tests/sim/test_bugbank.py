"""The simulator finds the bugs that others shipped, and those of each kind that we planted. Each search is bounded; of
the kinds a sample is hunted in every run, the rest and the rare ones are marked slow."""

from __future__ import annotations

from typing import Any

import pytest

from graft.raft import outbox
from graft.sim.__main__ import main, render_harmless, render_table
from graft.sim.bugbank import BUGS, BY_NAME, KINDS, Bug, BugLost, Edit, hunt, planted, shipped
from graft.sim.sweep import Hunt
from graft.sim.world import run

LIMIT = 2_000
RARE = ("6", "9", "13", "14", "16", "16r", "18", "18m")
SAMPLE = (
    *("budget1", "budget15", "gap1", "gap2", "gap7", "gap11", "ack8", "removed3"),
    *("version1", "version7", "learner3", "learner5", "prevote1", "prevote4", "prevote5", "transfer1", "transfer2"),
    *("lease1", "lease7", "retain1", "retain8"),
)
"""Of each kind two or three that are found quickly."""
OFTEN = [bug for bug in shipped.BUGS if bug.name not in RARE] + [BY_NAME[name] for name in SAMPLE]


def test_the_bank_holds_all_twenty() -> None:
    assert {bug.name.rstrip("rm") for bug in shipped.BUGS} == {str(number) for number in range(1, 21)}


def test_the_bank_holds_ten_of_each_kind() -> None:
    few = [kind for kind, bugs in KINDS.items() if len([bug for bug in bugs if not bug.harmless]) < 10]
    assert few == []
    assert len(BY_NAME) == len(BUGS)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_bug_can_be_planted(bug: Bug) -> None:
    with planted(bug):
        pass


# The plan that finds one of these fails after healing without the bug, too (the burst of the drill is not answered):
# whether the drill is too strict there or the core too slow is not known yet.
UNSETTLED = pytest.mark.xfail(reason="its plan fails the drill without the bug", strict=False)
UNSETTLED_BUGS = frozenset({"18m", "gap18"})


def case(bug: Bug) -> Any:
    marks = [*([] if bug in OFTEN else [pytest.mark.slow]), *([UNSETTLED] if bug.name in UNSETTLED_BUGS else [])]
    return pytest.param(bug, marks=marks)


@pytest.mark.parametrize(
    "bug",
    [case(bug) for bug in BUGS if not bug.harmless],
    ids=lambda bug: f"{bug.name}-{bug.title}",
)
def test_a_planted_bug_is_found_and_its_absence_is_not(bug: Bug) -> None:
    found = hunt(bug, 0, LIMIT)
    assert found is not None, "not found"
    assert run(found.plan).ok


def test_a_bug_is_there_only_while_it_is_planted() -> None:
    before = outbox.vote_waits.__code__
    with planted(BY_NAME["1"]):
        assert outbox.vote_waits.__code__ is not before
    assert outbox.vote_waits.__code__ is before


def test_an_edit_whose_code_has_moved_on_is_an_error() -> None:
    lost = Bug("0", "", "", (Edit("graft.raft.outbox:vote_waits", "no such text", ""),))
    with pytest.raises(BugLost, match="no such text"), planted(lost):
        pass


def test_the_table_says_what_was_not_found() -> None:
    hunts = [Hunt("5", 0, 12, "S16", 10, 1.0), Hunt("5", 2_000, 0, "", 0, 9.0), Hunt("5", 4_000, 7, "S16", 10, 0.5)]
    row = render_table(hunts, 2_000).splitlines()[-1]
    assert row.startswith("| 5 | read index before the first commit of the term | 12 | 7 | > 2000 | 2/3 | 9.0 | S16 |")


def test_a_harmless_edit_is_listed_with_its_reason() -> None:
    assert render_harmless().count("\n") + 1 == len([bug for bug in BUGS if bug.harmless])
    assert "* gap17, a configuration that is taken back is not stored so: a truncation" in render_harmless()


def test_the_command_line_hunts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--bugs", "--only", "1,2", "--ranges", "1", "--limit", "50", "--quiet"]) == 0
    assert "| 2 | append acknowledged before the sync |" in capsys.readouterr().out
