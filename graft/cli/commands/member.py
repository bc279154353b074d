"""`graft member`: who is in a cluster, and changing that."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from graft.cli.cluster import ask, say_change
from graft.cli.looks import Piece, paint_line
from graft.cli.place import Place, place_options
from graft.cli.stale import naming_stale, say_stale
from graft.cli.table import table
from graft.cli.terminal import Paint, note, out, out_json, plain_text, width
from graft.cli.upgrading import Upgrade, check_held_back, intention, upgrade_of, upgrade_record
from graft.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from graft.client import Client
    from graft.cluster.membership import Change, MemberView

HEAD = ("MEMBER", "ROLE", "STATE", "ADDRESS", "RUNNING", "LOG")

SILENT_SECONDS = 2.0
LOOK_SECONDS = 0.2
NO_SUCH_MEMBER = "there is no such member"
STYLES = {"live": "green", "draining": "yellow", "silent": "yellow", "unknown": "yellow", "down": "red"}
"""What STATE can be, in colours."""

json_option = click.option("--json", "as_json", is_flag=True, help="As JSON.")


@click.group("member")
def command() -> None:
    """See and change the members of a cluster."""


@command.command("ls")
@click.option(
    "--stale", is_flag=True, help="As the member that answers knows it, also without a quorum; it may be old."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@place_options
def ls(stale: bool, as_json: bool, place: Place) -> None:
    """List the members."""

    async def body(client: Client) -> tuple[str, Sequence[MemberView]]:
        leader, members = (await client.status()).leader, await client.members(stale=stale)
        if stale and not as_json:
            say_stale(client)
        return leader, members

    with naming_stale():
        leader, members = ask(place, body)
    if as_json:
        for each in members:
            out_json(member_record(each, stale=stale))
        return
    paint = Paint.of(sys.stdout)
    for line in table(HEAD, [row(each, leader) for each in members], width(sys.stdout), give_way=3):
        out(paint_line(line, paint).rstrip())


@command.command("wait")
@click.argument("member", metavar="NAME")
@click.option(
    *("--timeout", "seconds"),
    metavar="DURATION",
    default="2m",
    show_default=True,
    callback=lambda _ctx, _param, text: _seconds(text),
    help="`30s`, `2m`; a number is seconds.",
)
@json_option
@place_options
def wait(member: str, seconds: float, as_json: bool, place: Place) -> None:
    """Wait until NAME takes part: it has joined, is live, heard by the leader, takes work, and has all of the log.

    For upgrades, one member after the other. All of the log: what there was when the wait began. Exit code 1 when it
    takes longer than --timeout.
    """
    found = ask(place, lambda client: wait_for(client, member, seconds))
    if as_json:
        out_json(member_record(found, stale=False))
    else:
        out(plain_text(f"{member} takes part, with the log to {found.match}"))


def _seconds(text: str) -> float:
    from graft.plan.types import convert

    try:
        return max(0.0, float(text)) if text.replace(".", "", 1).isdecimal() else float(convert("duration", text))
    except ValueError as error:
        raise UsageError(f"--timeout: {error}", hint="such as 30s or 2m") from None


async def wait_for(client: Client, name: str, seconds: float) -> MemberView:
    """The member, when it takes part; it may be yet to join. Raises GraftError when that takes longer."""
    import trio

    from graft.errors import GraftError, NoQuorum, Unreachable

    wanted, lacks, said = 0, "the cluster did not answer", False
    with trio.move_on_after(seconds):
        while True:
            try:
                members = await client.members()
            except (NoQuorum, Unreachable) as error:
                lacks = error.message
            else:
                wanted = wanted or max((each.match for each in members), default=0)
                found = next((each for each in members if each.id == name), None)
                lacks = NO_SUCH_MEMBER if found is None else lacking(found, wanted)
                if found is not None and not lacks:
                    return found
                if found is None and not said:
                    said = True
                    note(plain_text(f"there is no member {name} yet: waiting for it to join"))
            await trio.sleep(LOOK_SECONDS)
    hint = "see `graft member ls`" if lacks == NO_SUCH_MEMBER else "look at its log"
    raise GraftError(f"{name} does not take part after {seconds:g} s: {lacks}", hint=hint)


def lacking(member: MemberView, wanted: int) -> str:
    """What keeps it from taking part in all: nothing, if it does. `wanted`: a log index, 0 while no leader tells."""
    state = state_of(member)
    if state != "live":
        return f"it is {state}"
    if member.role == "learner":
        return "it is a learner, and becomes a voter when it has the log"
    if not wanted or member.heard_seconds is None:
        return "no leader tells how far it is"
    return "" if member.match >= wanted else f"it has the log to {member.match}, not to {wanted}"


@command.command("add")
@click.argument("member", metavar="NAME")
@click.argument("address", metavar="HOST:PORT")
@click.option(
    "--role",
    type=click.Choice(["voter", "executor"]),
    default="voter",
    show_default=True,
    help="What it joins as. Its own settings (`resources.roles`) must allow that.",
)
@json_option
@place_options
def add(member: str, address: str, role: str, as_json: bool, place: Place) -> None:
    """Let NAME join, which is reached at HOST:PORT and waits there. A voter is a learner until it has caught up.

    A member that is started with the address of another one joins by itself, as its settings say. What it joined as
    stays: no later --role or setting makes an executor of a voter (`graft member demote` does), or the other way round.
    """
    from graft.client.addresses import checked

    checked(address)
    change = ask(place, lambda client: client.add_member(member, address, role))
    say_change(change, f"{member} is a {role} now", as_json=as_json)


@command.command("rm")
@click.argument("member", metavar="NAME")
@json_option
@place_options
def rm(member: str, as_json: bool, place: Place) -> None:
    """Remove NAME for good. It can join again only with an empty directory.

    Drain it first, if it is up: what it runs is started again elsewhere.
    """
    say_change(ask(place, lambda client: client.remove_member(member)), f"removed {member}", as_json=as_json)


@command.command("promote")
@click.argument("member", metavar="NAME")
@json_option
@place_options
def promote(member: str, as_json: bool, place: Place) -> None:
    """Make the learner NAME a voter."""
    change = ask(place, lambda client: client.set_role(member, "voter"))
    say_change(change, f"{member} is a voter now", as_json=as_json)


@command.command("demote")
@click.argument("member", metavar="NAME")
@json_option
@place_options
def demote(member: str, as_json: bool, place: Place) -> None:
    """Make the voter NAME an executor: it runs steps, votes no more, and is never promoted."""
    change = ask(place, lambda client: client.set_role(member, "executor"))
    say_change(change, f"{member} is an executor now", as_json=as_json)


@command.command("transfer")
@click.argument("member", metavar="[NAME]", required=False, default="")
@json_option
@place_options
def transfer(member: str, as_json: bool, place: Place) -> None:
    """Let NAME lead (default: the voter that is most up to date)."""
    change = ask(place, lambda client: client.transfer(member))
    say_change(change, f"{member or 'another member'} leads now", as_json=as_json)


@command.command("drain")
@click.argument("member", metavar="NAME")
@click.option("--undo", is_flag=True, help="Give it work again.")
@json_option
@place_options
def drain(member: str, undo: bool, as_json: bool, place: Place) -> None:
    """Give NAME no new steps; what it runs goes on to its end."""
    change = ask(place, lambda client: client.drain(member, undo=undo))
    done = f"{member} takes work again" if undo else f"{member} gets no new work"
    say_change(change, done, as_json=as_json)


@command.command("finalize-upgrade")
@click.option("--plan", is_flag=True, help="Say what it would do, and do nothing.")
@json_option
@place_options
def finalize_upgrade(plan: bool, as_json: bool, place: Place) -> None:
    """Raise the cluster's version, after the programs of all members were upgraded. There is no way back.

    Until then the members do nothing that the older program would not understand, and each can go back to it.
    """

    async def body(client: Client) -> tuple[Upgrade, Change | None]:
        upgrade = upgrade_of((await client.status()).cluster_version, await client.members())
        if not (plan and as_json):  # who reads the record sees who holds it back
            check_held_back(upgrade)
        if not as_json:
            for line in intention(upgrade):
                note(plain_text(line))
        wanted = upgrade.is_needed and not plan
        return upgrade, await client.raise_version(upgrade.target) if wanted else None

    upgrade, change = ask(place, body)
    if as_json:
        out_json(upgrade_record(upgrade, done=change is not None))
    elif change is not None:
        say_change(change, f"the cluster's version is {upgrade.target}", as_json=False)


def member_record(member: MemberView, *, stale: bool) -> dict[str, Any]:
    """`stale`: as one member knows it, which may be old."""
    return {
        "member": member.id,
        "incarnation": f"{member.incarnation:016x}",
        "role": member.role,
        "address": member.address or None,
        "live": None if member.unknown else member.live,
        "draining": member.draining,
        "labels": dict(member.labels),
        "node_types": list(member.node_types),
        "zone": member.zone or None,
        "slots": dict(member.slots),
        "used": dict(member.used),
        "match": member.match or None,
        "heard_seconds": None if member.heard_seconds is None else round(member.heard_seconds, 3),
        "version": member.version,
        "stale": stale,
    }


def state_of(member: MemberView) -> str:
    """One of STYLES. What the log says of it is told only with a quorum."""
    if member.unknown:
        return "unknown"
    if not member.live:
        return "down"
    if is_silent(member):
        return "silent"
    return "draining" if member.draining else "live"


def is_silent(member: MemberView) -> bool:
    """Its lease has not ended, and the leader hears nothing."""
    return member.heard_seconds is not None and member.heard_seconds > SILENT_SECONDS


def row(member: MemberView, leader: str) -> list[Piece]:
    state = state_of(member)
    style = STYLES[state]
    used, most = member.used.get("*", sum(member.used.values())), member.slots.get("*")
    return [
        (plain_text(member.id), "bold" if member.id == leader else ""),
        (member.role + (", leads" if member.id == leader else ""), ""),
        (state, style),
        (plain_text(member.address) or "-", "dim"),
        (f"{used} of {most}" if most else f"{used}", ""),
        (f"{member.match}" if member.match else "-", "dim"),
    ]
