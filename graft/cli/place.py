"""Where the runs are that a command is about: a data directory here, or the members of a cluster."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from attrs import frozen
from click.core import ParameterSource

from graft.errors import UsageError

if TYPE_CHECKING:
    from graft.client import Client

DEFAULT = ".graft"
PATIENCE_SECONDS = 10.0  # an election takes one; who typed a wrong address waits for so long

F = TypeVar("F", bound=Callable[..., Any])


@frozen
class Place:
    """`servers` are addresses, none for a data directory; the `tls` files are given all together or not at all.

    `inherited`: names of those that the environment gave, which every other command here finds, too.
    """

    data: str = DEFAULT
    servers: tuple[str, ...] = ()
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    no_tls: bool = False
    inherited: frozenset[str] = frozenset()

    @property
    def is_remote(self) -> bool:
        return bool(self.servers)

    @property
    def flags(self) -> str:
        """What a command needs to find the same place, with a blank before it."""
        if not self.servers:
            return "" if self.data == DEFAULT else f" --data {shlex.quote(self.data)}"
        named = [("server", ",".join(self.servers)), ("tls_ca", self.tls_ca)]
        named += [("tls_cert", self.tls_cert), ("tls_key", self.tls_key)]
        typed = [(name.replace("_", "-"), value) for name, value in named if value and name not in self.inherited]
        flags = "".join(f" --{flag} {shlex.quote(value)}" for flag, value in typed)
        return flags + (" --no-tls" if self.no_tls else "")

    def client(self, **options: Any) -> Client:
        """A client of the servers, not yet open. Raises UsageError."""
        from graft.client import Client
        from graft.client.addresses import is_local, read_addresses

        addresses = read_addresses(self.servers)
        options.setdefault("patience_seconds", PATIENCE_SECONDS)
        files = [self.tls_ca, self.tls_cert, self.tls_key]
        if self.no_tls or not any(files):
            strange = [each for each in addresses if not is_local(each)]
            if strange and not self.no_tls:
                raise UsageError(
                    f"{strange[0]} is not on this machine, and no certificate is given",
                    hint="give --tls-ca, --tls-cert and --tls-key; --no-tls speaks in plain text",
                )
            return Client(*addresses, **options)
        if not all(files):
            raise UsageError("--tls-ca, --tls-cert and --tls-key belong together", hint="give all three")
        from graft.security.tls import ClientSecurity, TlsFiles

        assert self.tls_ca is not None
        assert self.tls_cert is not None
        assert self.tls_key is not None
        security = ClientSecurity(TlsFiles(Path(self.tls_cert), Path(self.tls_key), Path(self.tls_ca)))
        security.current()  # what is wrong with the files is said before anything is tried
        return Client(*addresses, security=security, **options)


def _not_empty(_ctx: click.Context, _param: click.Parameter, data: str) -> str:
    if not data:
        raise UsageError("--data is empty", hint=f"leave it out for {DEFAULT} in the current directory")
    return data


_DATA = click.option(
    "--data",
    metavar="DIR",
    envvar="GRAFT_DATA",
    default=DEFAULT,
    callback=_not_empty,
    help="Data directory (default: .graft in the current directory; env var: GRAFT_DATA).",
)
_SERVER = (
    click.option(
        "--server",
        metavar="HOST:PORT",
        envvar="GRAFT_SERVER",
        multiple=True,
        help="Ask the members of a cluster instead; several with commas (env var: GRAFT_SERVER).",
    ),
    click.option("--tls-ca", metavar="FILE", envvar="GRAFT_TLS_CA", help="Its authority (env var: GRAFT_TLS_CA)."),
    click.option(
        "--tls-cert", metavar="FILE", envvar="GRAFT_TLS_CERT", help="Your certificate (env var: GRAFT_TLS_CERT)."
    ),
    click.option("--tls-key", metavar="FILE", envvar="GRAFT_TLS_KEY", help="Its key (env var: GRAFT_TLS_KEY)."),
    click.option("--no-tls", is_flag=True, help="Plain text, also to another machine."),
)
NAMES = ("data", "server", "tls_ca", "tls_cert", "tls_key", "no_tls")


def place_options(command: F) -> F:
    """`--data` and `--server` with what belongs to it, given to the command as `place`."""

    @wraps(command)
    def placed(*args: Any, **kwargs: Any) -> Any:
        return command(*args, place=place_of(click.get_current_context(), kwargs), **kwargs)

    result: Any = placed
    for option in reversed((_DATA, *_SERVER)):
        result = option(result)
    return result  # type: ignore[no-any-return]


def place_of(ctx: click.Context, options: dict[str, Any]) -> Place:
    """The place that the options name; they are taken out of `options`. Raises UsageError."""
    values = {name: options.pop(name) for name in NAMES}
    servers = tuple(part for text in values.pop("server") for part in text.replace(",", " ").split())
    if servers and _stood(ctx, "data"):
        if _stood(ctx, "server"):
            raise UsageError("--data and --server exclude each other")
        servers = ()  # what is typed wins over the environment
    if not servers and _stood(ctx, "server"):
        raise UsageError("--server is empty", hint="write --server HOST:PORT")
    inherited = {name for name in NAMES if ctx.get_parameter_source(name) is ParameterSource.ENVIRONMENT}
    return Place(servers=servers, inherited=frozenset(inherited), **values)


def _stood(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
