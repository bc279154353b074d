"""`graft serve`: one member of a cluster, until it is told to stop."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from graft.errors import UsageError

if TYPE_CHECKING:
    from graft.config import Loaded


@click.command("serve", short_help="Run a member of a cluster.")
@click.option(
    "--config",
    "files",
    multiple=True,
    metavar="FILE",
    help="A TOML, YAML or JSON file, or an http(s) URL; may be repeated, later ones win. (env var: GRAFT_CONFIG)",
)
@click.option("--name", metavar="NAME", help="The member's id in the cluster (`node_id`).")
@click.option("--data", metavar="DIR", help="Data directory (`storage.directory`; env var: GRAFT_DATA).")
@click.option("--listen", metavar="HOST:PORT", help="Where members and clients reach it (`transport.listen_*`).")
@click.option("--peer", "peers", multiple=True, metavar="HOST:PORT", help="A member to ask (`discovery.peers`).")
@click.option(
    "--founder",
    "founders",
    multiple=True,
    metavar="NAME",
    help="One of those that make the cluster, each to be named; 'graft-{0..2}' names three.",
)
@click.option("--certs", metavar="DIR", help="NAME.crt, NAME.key and ca.crt, such as `graft certs dev` makes.")
@click.option("--plaintext", is_flag=True, help="No TLS: for one machine only.")
@click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any other setting, such as engine.lease=3s."
)
@click.option("--stop-at-eof", is_flag=True, hidden=True, help="End when standard input does.")
def command(
    files: tuple[str, ...],
    name: str | None,
    data: str | None,
    listen: str | None,
    peers: tuple[str, ...],
    founders: tuple[str, ...],
    certs: str | None,
    plaintext: bool,
    assignments: tuple[str, ...],
    stop_at_eof: bool,
) -> int:
    """Run a member of a cluster.

    The first time, all founders are started with the same names; each waits for the others and they make the cluster
    together. A member that is none of them joins the cluster that its peers are in. After that the data directory
    knows who it is, and `graft serve` goes on where it was.

    A directory that `graft run` made becomes the first member of a cluster of its own.

    SIGTERM and Ctrl-C drain it: it hands its work over, waits for its steps (`engine.drain_timeout`) and ends; a second
    one ends it now. SIGHUP reads the settings again.
    """
    from graft.config import Flag, load

    flags = _flags(name, data, listen, peers, founders, plaintext, assignments)
    named = os.environ.get("GRAFT_CONFIG")
    loaded = load(files or ((named,) if named else ()), environ=os.environ, flags=flags)
    if certs is not None:
        names = {"ca_file": "ca", "cert_file": loaded.settings.node_id, "key_file": loaded.settings.node_id}
        endings = {"ca_file": "crt", "cert_file": "crt", "key_file": "key"}
        made = {key: f"{certs}/{stem}.{endings[key]}" for key, stem in names.items()}
        flags |= {f"security.{key}": Flag(path, "--certs") for key, path in made.items()}
        loaded = load(files or ((named,) if named else ()), environ=os.environ, flags=flags)
    _check_fit(loaded)
    from graft.cli.serving import serve

    return serve(loaded, stop_at_eof=stop_at_eof)


def _flags(
    name: str | None,
    data: str | None,
    listen: str | None,
    peers: tuple[str, ...],
    founders: tuple[str, ...],
    plaintext: bool,
    assignments: tuple[str, ...],
) -> dict[str, Any]:
    """The settings that were given on the command line, by key."""
    from graft.config import Flag

    flags: dict[str, Any] = {}
    if name is not None:
        flags["node_id"] = Flag(name, "--name")
    if data is not None:
        flags["storage.directory"] = Flag(data, "--data")
    if listen is not None:
        host, colon, port = listen.rpartition(":")
        if not colon or not host or not port.isdigit():
            raise UsageError(f"--listen {listen!r} is no address", hint="write HOST:PORT, such as 127.0.0.1:7400")
        flags["transport.listen_host"] = Flag(host.strip("[]"), "--listen")
        flags["transport.listen_port"] = Flag(int(port), "--listen")
    if peers:
        flags["discovery.peers"] = Flag(list(peers), "--peer")
    if founders:
        flags["discovery.founders"] = Flag(list(founders), "--founder")
    if plaintext:
        flags["security.plaintext"] = Flag(True, "--plaintext")
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise UsageError(f"--set {assignment!r} sets nothing", hint="write --set KEY=VALUE")
        flags[key] = Flag(value, f"--set {key}")
    return flags


def _check_fit(loaded: Loaded) -> None:
    """Raises UsageError for settings that are valid and of no use to a member."""
    from graft.config import unfit_for_serving

    problems = unfit_for_serving(loaded.settings)
    if problems:
        lines = [f"`{'.'.join(each.path)}`: {each.message}" for each in problems]
        hints = [each.suggestion for each in problems if each.suggestion]
        hint = "; ".join(hints) or "`graft config show --origin` says where each setting comes from"
        raise UsageError("this cannot be served: " + "; ".join(lines), hint=hint)
