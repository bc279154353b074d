"""The root command: a table of commands, each imported when it is named.

`graft --help` is written from the table alone. That is what keeps it fast: a command's module may import rich, trio
and the engine, and none of them is wanted for a list of names.
"""

from __future__ import annotations

from importlib import import_module

import click

from graft.cli.guess import closest
from graft.errors import UsageError

SECTIONS: dict[str, dict[str, str]] = {
    "Run a flow": {
        "run": "Run a flow, here and durably.",
        "resume": "Go on with a run that was interrupted.",
        "retry": "Try the failed steps of a run again.",
        "cancel": "Cancel a run.",
    },
    "Look at runs": {
        "runs": "List the runs.",
        "show": "Show a run: its steps, their states and errors.",
        "logs": "Print what the steps of a run wrote.",
        "events": "Print what happened in a run, in order.",
        "rm": "Remove runs that have ended.",
        "prune": "Remove old runs.",
    },
    "Write a flow": {
        "new": "Start a new flow from a template.",
        "check": "Check flows; report every error.",
        "fmt": "Format flows.",
        "graph": "Draw a flow, or a run of it.",
        "explain": "Explain an error code, or why a step is as it is.",
        "schema": "Print the JSON Schema of flow files, for editors.",
    },
    "Run a cluster": {
        "serve": "Run a member of a cluster.",
        "dev": "Run a cluster on this machine, to try it out.",
        "status": "Show how a cluster stands.",
        "member": "See and change the members of a cluster.",
        "snapshot": "Let a member take a snapshot.",
        "backup": "Write all state of a cluster to a file.",
        "restore": "Make a data directory of a backup.",
        "recover": "Make one member the cluster, when the majority is lost for ever.",
        "doctor": "Look for damage in a data directory.",
    },
    "Set up": {
        "config": "Show and check the settings of a member.",
        "certs": "Make certificates for trying a cluster.",
        "completion": "Print the completion script of a shell.",
    },
}
COMMANDS: dict[str, str] = {name: about for section in SECTIONS.values() for name, about in section.items()}

# Commands of the language's contract that are to come. They are known by name, so that the answer is a plain one.
_TO_COME = """
    approve artifacts backfill diff export pause reject replay resolve schedule signal sim test top ui unpause upgrade
"""
NOT_YET = frozenset(_TO_COME.split())

ALIASES: dict[str, str] = {
    "ls": "runs",
    "list": "runs",
    "ps": "runs",
    "log": "logs",
    "init": "new",
    "create": "new",
    "start": "run",
    "trigger": "run",
    "exec": "run",
    "execute": "run",
    "apply": "run",
    "submit": "run --detach",
    "rerun": "retry",
    "describe": "show RUN",
    "inspect": "show RUN",
    "get": "show RUN",
    "info": "show RUN",
    "history": "events RUN",
    "tail": "logs -f RUN",
    "cluster": "member",
    "abort": "cancel",
    "terminate": "cancel",
    "stop": "cancel",
    "kill": "cancel",
    "format": "fmt",
    "lint": "check",
    "validate": "check",
    "plot": "graph",
}
"""What people type who know other tools: never accepted, only suggested."""


class LazyGroup(click.Group):
    """Commands live in modules of their own name: `graft.cli.run` has `command`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"graft.cli.commands.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            raise unknown_command(name)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        widest = max(map(len, COMMANDS))
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(widest), about) for name, about in commands.items()])


def unknown_command(name: str) -> UsageError:
    """The error for a command that is not there: to come, misspelt, or another tool's name for it."""
    if name in NOT_YET:
        return UsageError(f"`graft {name}` is not in this version", hint="`graft --help` lists the commands that are")
    if name.endswith((".toml", ".py")):
        return UsageError(f"there is no command `{name}`", hint=f"did you mean `graft run {name}`?")
    close = closest(name, COMMANDS)
    alias = ALIASES.get(name)
    guess = alias if alias and alias.split()[0] in COMMANDS else close[0] if close else None
    hint = f"did you mean `graft {guess}`?" if guess else "`graft --help` lists the commands"
    return UsageError(f"there is no command `{name}`", hint=hint)


def _print_version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        import platform

        from graft import __version__

        click.echo(f"graft {__version__} (Python {platform.python_version()})")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`graft COMMAND --help` says more; `graft run flow.toml --help` shows the parameters of that flow.",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version."
)
def cli() -> None:
    """Graft runs workflows durably: kill it at any moment, `graft resume`, and no finished step runs again."""
