"""`graft doctor`: look for damage in a data directory."""

from __future__ import annotations

from pathlib import Path

import click
from attrs import evolve

from graft.cli import exits
from graft.cli.data import is_held, must_exist
from graft.cli.place import DEFAULT
from graft.cli.terminal import note, out, out_json, plain_text
from graft.errors import StoreCorrupt

MAX_SHOWN = 20


@click.command("doctor")
@click.argument("data", metavar="[DIR]", required=False, envvar="GRAFT_DATA", default=DEFAULT)
@click.option(
    "--accept", is_flag=True, help="When nothing is wrong, trust the directory: the next start checks nothing."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(data: str, accept: bool, as_json: bool) -> int:
    """Read every page and record of a data directory (default: .graft) and name what is wrong with it.

    Also while a process works on it. Exit code 1 when there is damage; a restored backup, or the other members of a
    cluster, are the way out then: what a disk has lost cannot be made good here.

    After a sync that failed, or a stop that was not in order, a start makes this check itself, beside its work when the
    directory is large. --accept does it once, now, and records that it went well.
    """
    from graft.storage.check import Report, verify
    from graft.storage.walk import Damage

    root = must_exist(data)
    try:
        report = verify(root)
    except StoreCorrupt as error:
        report = Report((Damage("structure", error.message),), 0, 0, 0.0)
    if why := _why_not_to_use(root):
        report = evolve(report, damages=(Damage("member.json", why), *report.damages))
    accepted = accept and not report.damages and _accept(data)
    if as_json:
        damages = [{"where": each.where, "what": each.what} for each in report.damages]
        out_json(
            {"pages": report.pages, "records": report.records, "seconds": round(report.seconds, 3), "damages": damages}
            | {"accepted": accepted}
        )
    else:
        for each in report.damages[:MAX_SHOWN]:
            out(plain_text(str(each)))
        if len(report.damages) > MAX_SHOWN:
            out(f"… and {len(report.damages) - MAX_SHOWN} more")
        verdict = f"{len(report.damages)} damaged" if report.damages else "nothing is wrong"
        note(f"{data}: {verdict} ({report.pages} pages, {report.records} records, {report.seconds:.1f} s)")
        if report.damages:
            note("  restore a backup; a member of a cluster starts again with an empty directory")
        elif accepted:
            note("  accepted: the next start trusts it")
    return exits.FAILED if report.damages else exits.SUCCEEDED


def _why_not_to_use(root: Path) -> str:
    """What a member of a cluster wrote down about its own directory; "" where all is well."""
    from graft.cluster.identity import load_identity

    try:
        identity = load_identity(root)
    except StoreCorrupt as error:
        return error.message
    return "" if identity is None else identity.forgot


def _accept(data: str) -> bool:
    """Take the directory and let it go in order. False when a process holds it: then it is in use already."""
    if is_held(data):
        note(f"a process works on {data}, so there is nothing to accept")
        return False
    from graft.storage import open_store

    open_store(Path(data), inline_check_bytes=1 << 62).close()
    return True
