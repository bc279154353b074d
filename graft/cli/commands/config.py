"""`graft config`: what a member would be told, where each value comes from, and whether a file is right."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from graft.cli.terminal import note, out, plain_text

if TYPE_CHECKING:
    from graft.config import Loaded


@click.group("config")
def command() -> None:
    """Show and check the settings of a member (`graft serve`)."""


@command.command("show")
@click.option(
    "--config",
    "files",
    multiple=True,
    metavar="FILE",
    help="A TOML, YAML or JSON file, or an http(s) URL; may be repeated, later ones win. (env var: GRAFT_CONFIG)",
)
@click.option("--origin", is_flag=True, help="Say where each value came from.")
@click.option("--json", "as_json", is_flag=True, help="As JSON; durations in seconds, sizes in bytes.")
def show(files: tuple[str, ...], origin: bool, as_json: bool) -> None:
    """Print the settings that are in effect.

    They are the defaults, overridden by files, overridden by the environment. What is printed is TOML that can be
    used as a file. Secrets are not shown.
    """
    from graft.config import rendering

    loaded = _load(files)
    if not as_json:
        out(plain_text(rendering.render(loaded, origin=origin).rstrip("\n")))
        return
    import json

    out(json.dumps(rendering.as_json(loaded, origin=origin), indent=2))


@command.command("check")
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@click.option("--no-certs", is_flag=True, help="Do not look at the certificates: they are on another machine.")
def check(files: tuple[str, ...], no_certs: bool) -> None:
    """Check a configuration and report every error. GRAFT_ variables are left out.

    Several files are read together, later ones win. Exit code 0 when they are valid, 2 otherwise. The certificates that
    they name are read: they have to be there, belong together, be valid now, and be those of this member. A way of
    discovery that is a plugin has to be installed here. What
    `graft serve` would miss is said too; it is no error, because flags and the environment may bring it.
    """
    from graft.config import load, unfit_for_serving
    from graft.config.loading import TOP
    from graft.config.sources import without_settings

    loaded = load(files, environ=without_settings(os.environ, TOP))
    _check_discovery(loaded)
    if not no_certs:
        _check_certificates(loaded)
    for missing in unfit_for_serving(loaded.settings):
        tail = f" ({missing.suggestion})" if missing.suggestion else ""
        note(plain_text(f"`graft serve` needs more: `{'.'.join(missing.path)}`: {missing.message}{tail}"))
    out(f"{', '.join(files)}: ok")


def _check_discovery(loaded: Loaded) -> None:
    from graft.config.problems import Problem, invalid
    from graft.discovery.kinds import check_kind
    from graft.errors import DiscoveryUnfit

    try:
        check_kind(loaded.settings.discovery.kind)
    except DiscoveryUnfit as error:
        where = loaded.origins["discovery.kind"].where
        raise invalid([Problem(where, "discovery.kind", error.message, error.hint)]) from None


def _check_certificates(loaded: Loaded) -> None:
    """A name that no file says may come from elsewhere, so it is compared with nothing. Raises UsageError."""
    from graft.cluster.serving import tls_files
    from graft.security.own import check_own

    security, said = loaded.settings.security, loaded.origins
    if not security.cert_file:
        return
    files = tls_files(loaded.settings)
    assert files is not None, "who has certificates has not said `plaintext`"
    cluster = "" if said["service_name"].kind == "default" else loaded.settings.service_name
    check_own(files, cluster, "" if said["node_id"].kind == "default" else loaded.settings.node_id)


def _load(files: tuple[str, ...]) -> Loaded:
    from graft.config import CONFIG, load

    named = os.environ.get(CONFIG)
    return load(files or ((named,) if named else ()), environ=os.environ)
