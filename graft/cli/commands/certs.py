"""`graft certs`: certificates for trying a cluster."""

from __future__ import annotations

from pathlib import Path

import click

from graft.cli.terminal import note, out_json
from graft.errors import UsageError


@click.group("certs")
def command() -> None:
    """Make certificates for trying a cluster."""


@command.command("dev")
@click.argument("directory", metavar="DIR")
@click.option("--cluster", default="dev", show_default=True, metavar="NAME", help="The cluster that they are for.")
@click.option(
    "--member", "members", multiple=True, metavar="NAME", help="A member; may be repeated (default: n1, n2, n3)."
)
@click.option(
    "--host",
    "hosts",
    multiple=True,
    metavar="HOST",
    help="A name or an IP address of members, beside localhost and their own names; may be repeated.",
)
@click.option("--days", type=click.IntRange(min=1), default=365, show_default=True, help="How long they are good.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def dev(
    directory: str, cluster: str, members: tuple[str, ...], hosts: tuple[str, ...], days: int, as_json: bool
) -> None:
    """Write a certificate authority to DIR, and certificates for members and for a client of each role.

    An authority that is there already is used again. For real clusters take one that somebody looks after.
    """
    from graft.security.certs import make_dev

    names = members or ("n1", "n2", "n3")
    try:
        made = make_dev(Path(directory), cluster, names, hosts, days=days)
    except OSError as error:
        raise UsageError(f"{error.filename or directory} cannot be written: {error.strerror or error}") from error
    if as_json:
        files = {**made.members, **made.clients}
        out_json(
            {
                "authority": str(made.authority),
                "certificates": {
                    name: {"certificate": str(each.certificate), "key": str(each.key)} for name, each in files.items()
                },
            }
        )
        return
    note(f"{directory}: an authority (ca.crt), members {', '.join(made.members)}, clients {', '.join(made.clients)}")
    note("  as a client:")
    operator = made.clients["operator"]
    note(f"  export GRAFT_TLS_CA={made.authority} GRAFT_TLS_CERT={operator.certificate} GRAFT_TLS_KEY={operator.key}")
