"""Majorities, of one set of voters or of both of a joint configuration (thesis 4.3).

A configuration of voters is a pair of tuples of ids `(incoming, outgoing)`; `outgoing` is empty unless it is joint.
Pure functions of mappings; an id that is missing from a mapping has said nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

Voters = tuple[tuple[str, ...], tuple[str, ...]]


def ordered(values: list[int]) -> list[int]:
    """Descending."""
    values.sort(reverse=True)
    return values


def majority_value(voters: tuple[str, ...], value: Callable[[str], int]) -> int:
    """The greatest v such that a majority of `voters` (at least one) has a value >= v (section 5.3 and figure 2)."""
    count = len(voters)
    if count == 1:
        return value(voters[0])
    return ordered([value(voter) for voter in voters])[count // 2]


def agreed(voters: Voters, value: Callable[[str], int]) -> int:
    """The greatest v that a majority of each set has reached; 0 if there are no voters."""
    incoming, outgoing = voters
    if not incoming:
        return 0
    least = majority_value(incoming, value)
    return min(least, majority_value(outgoing, value)) if outgoing else least


def reached(voters: Voters, ids: Collection[str]) -> bool:
    """True if `ids` hold a majority of each set of voters. False if there are no voters."""
    incoming, outgoing = voters
    if not incoming or 2 * sum(voter in ids for voter in incoming) <= len(incoming):
        return False
    return not outgoing or 2 * sum(voter in ids for voter in outgoing) > len(outgoing)


def lost(voters: Voters, votes: Mapping[str, bool]) -> bool:
    """True if those who refused leave no majority of some set that could still say yes."""
    refused = {voter for voter, granted in votes.items() if not granted}
    return not reached(voters, {voter for group in voters for voter in group} - refused)
