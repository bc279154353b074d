"""`graft completion`: what a shell needs to complete commands, options, runs, and the parameters of a flow."""

from __future__ import annotations

import os

import click

from graft.cli.terminal import out
from graft.errors import UsageError

SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", required=False, type=click.Choice(SHELLS))
def command(shell: str | None) -> None:
    """Print the completion script of a shell (default: the one of $SHELL).

    \b
    bash   graft completion bash >> ~/.bashrc
    zsh    graft completion zsh  >> ~/.zshrc
    fish   graft completion fish > ~/.config/fish/completions/graft.fish

    It completes the flags that a flow's parameters become, too: `graft run flow.toml --<TAB>`.
    """
    from click.shell_completion import get_completion_class

    from graft.cli.app import cli
    from graft.cli.entry import COMPLETE_VAR

    name = shell or os.path.basename(os.environ.get("SHELL", ""))
    made = get_completion_class(name) if name in SHELLS else None
    if made is None:
        raise UsageError("which shell? $SHELL names none that is known", hint=f"graft completion {' | '.join(SHELLS)}")
    out(made(cli, {}, "graft", COMPLETE_VAR).source())
