"""`graft status`: how a cluster stands, as one member of it sees it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from graft.cli import exits
from graft.cli.cluster import ask, size_text
from graft.cli.commands.member import HEAD, member_record, row
from graft.cli.looks import paint_line
from graft.cli.place import Place, place_options
from graft.cli.table import table
from graft.cli.terminal import Paint, out, out_json, plain_text, width
from graft.cli.upgrading import upgrade_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from graft.client import Client
    from graft.cluster.membership import ClusterStatus, MemberView


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@place_options
def command(as_json: bool, place: Place) -> int:
    """Show how a cluster stands: its leader, its log, its store, its members.

    Asks the members of --server, or the process that holds the data directory. Exit code 6 when the member that
    answers has no quorum.
    """

    async def body(client: Client) -> tuple[ClusterStatus, Sequence[MemberView]]:
        return await client.status(), await client.members(stale=True)

    status, members = ask(place, body)
    if as_json:
        out_json(status_record(status) | {"members": [member_record(each, stale=True) for each in members]})
    else:
        _print(status, members)
    return exits.SUCCEEDED if status.has_quorum else exits.UNREACHABLE


def status_record(status: ClusterStatus) -> dict[str, Any]:
    return {
        "cluster": status.cluster or None,
        "member": status.member,
        "role": status.role,
        "leader": status.leader or None,
        "has_quorum": status.has_quorum,
        "term": status.term,
        "first_index": status.first_index,
        "last_index": status.last_index,
        "commit": status.commit,
        "applied": status.applied,
        "state_hash": f"{status.state_hash:016x}",
        "cluster_version": status.cluster_version,
        "store_used_bytes": status.store_used_bytes,
        "store_quota_bytes": status.store_quota_bytes,
        "live_runs": status.live_runs,
        "warnings": list(status.warnings),
        "graft_version": status.graft_version,
    }


def _version(status: ClusterStatus, members: Sequence[MemberView]) -> str:
    upgrade = upgrade_of(status.cluster_version, members)
    is_due = upgrade.is_needed and not upgrade.held_back
    due = f"; all members understand {upgrade.target}: `graft member finalize-upgrade`" if is_due else ""
    return f"{status.cluster_version} (graft {status.graft_version}){due}"


def _print(status: ClusterStatus, members: Sequence[MemberView]) -> None:
    paint = Paint.of(sys.stdout)
    quorum = "" if status.has_quorum else paint("  no quorum: it takes no writes, and what it knows may be old", "red")
    rows = [
        ("cluster", status.cluster or "none: the process of a `graft run`"),
        ("answered by", f"{status.member}, {status.role}"),
        ("leader", (status.leader or "none known") + quorum),
        ("log", f"{status.first_index} to {status.last_index}, commit {status.commit}, applied {status.applied}"),
        ("term", f"{status.term}"),
        ("state hash", f"{status.state_hash:016x}"),
        ("store", f"{size_text(status.store_used_bytes)} of {size_text(status.store_quota_bytes)}"),
        ("live runs", f"{status.live_runs}"),
        ("version", _version(status, members)),
    ]
    for name, text in rows:
        out(f"{paint(name.ljust(11), 'dim')}  {plain_text(text) if name != 'leader' else text}")
    for warning in status.warnings:
        out(f"{paint('warning'.ljust(11), 'dim')}  {paint(plain_text(warning), 'yellow')}")
    out()
    for line in table(HEAD, [row(each, status.leader) for each in members], width(sys.stdout), give_way=3):
        out(paint_line(line, paint).rstrip())
