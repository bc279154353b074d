"""A command whose options include the parameters of the flow that it is given.

The flow is compiled while the arguments are parsed, because only then is it known what they may be.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import click

from graft.cli.flags import Flags, flag_of, flags_of
from graft.cli.flows import compile_flow
from graft.cli.interrupts import Interrupts
from graft.cli.terminal import plain_text
from graft.errors import GraftError, InvalidFlow, UsageError

COMPILED, FLAGS, PROBLEM, INTERRUPTS = (f"graft.cli.{name}" for name in ("compiled", "flags", "problem", "interrupts"))
NO_FLAGS = Flags((), ())


class RunCommand(click.Command):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        only_looks = ctx.resilient_parsing or self._asks_for_help(ctx, args)
        if not only_looks:
            ctx.meta[INTERRUPTS] = ctx.with_resource(Interrupts())
        try:
            target = first_positional(args, self.params)
            if target is not None:
                self._compile(ctx, target, resolve_python=not only_looks)
        except GraftError as error:
            if not only_looks:
                raise
            ctx.meta[PROBLEM] = error
        return super().parse_args(ctx, args)

    def _asks_for_help(self, ctx: click.Context, args: list[str]) -> bool:
        """Whether an option of help is among `args`, and not as the value of another one."""
        if not any(each in ctx.help_option_names for each in args):
            return False
        try:
            target = first_positional(args, self.params)
            if target is not None:  # the flow's parameters take values, too
                self._compile(ctx, target, resolve_python=False)
        except GraftError:
            pass
        return any(each in ctx.help_option_names for each in _options_in(args, self.get_params(ctx)))

    def _compile(self, ctx: click.Context, target: str, *, resolve_python: bool) -> None:
        compiled = compile_flow(target, resolve_python=resolve_python)
        own = frozenset(opt for param in super().get_params(ctx) for opt in (*param.opts, *param.secondary_opts))
        ctx.meta[COMPILED] = compiled
        ctx.meta[FLAGS] = flags_of(compiled.plan.root.params, own)

    def get_help(self, ctx: click.Context) -> str:
        return plain_text(super().get_help(ctx))  # the flow's own words are among it

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return ["FLOW", "[OPTIONS]"]

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), *ctx.meta.get(FLAGS, NO_FLAGS).options]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own = [param.get_help_record(ctx) for param in super().get_params(ctx) if isinstance(param, click.Option)]
        flags: Flags = ctx.meta.get(FLAGS, NO_FLAGS)
        if COMPILED in ctx.meta:
            with formatter.section(f"Parameters of {ctx.meta[COMPILED].plan.name}"):
                self._format_parameters(ctx, formatter, flags)
        with formatter.section("Options"):
            formatter.write_dl([record for record in own if record is not None])
        if PROBLEM in ctx.meta:
            formatter.write_paragraph()
            formatter.write_text(_why_no_parameters(ctx.meta[PROBLEM]))

    def _format_parameters(self, ctx: click.Context, formatter: click.HelpFormatter, flags: Flags) -> None:
        rows = [option.get_help_record(ctx) for option in flags.options]
        for param in flags.only_in_file:
            flag = flag_of(param.name)
            rows.append((param.name, f"{param.doc} [only in --params-file: {flag} is an option of graft run]".strip()))
        if rows:
            formatter.write_dl(rows)
        else:
            formatter.write_text("it has none")


def _why_no_parameters(problem: GraftError) -> str:
    if isinstance(problem, InvalidFlow):
        return "The flow does not compile, so its parameters are not known: `graft check` says why."
    return f"The parameters of the flow are not known: {problem.message}."


def first_positional(args: Sequence[str], options: Sequence[click.Parameter]) -> str | None:
    """The first argument that is neither an option nor the value of one.

    Raises UsageError when an option that is not among `options` stands before it: whether it takes a value is known
    only after the flow was read. (`--name=value` is clear and may stand anywhere.)
    """
    takes_value = _takes_value(options)
    rest = iter(args)
    for arg in rest:
        if arg == "--":
            return next(rest, None)
        if not arg.startswith("-") or arg == "-":
            return arg
        name, equals, _value = arg.partition("=")
        if equals:
            continue
        if takes_value.get(name):
            next(rest, None)
        elif name not in takes_value and name not in ("-h", "--help"):
            _refuse_early_parameter(name, args)
    return None


def _options_in(args: Sequence[str], options: Sequence[click.Parameter]) -> Iterator[str]:
    """The names of the options among `args`: what stands there as a value of one is none."""
    takes_value = _takes_value(options)
    rest = iter(args)
    for arg in rest:
        if arg == "--":
            return
        yield arg
        if takes_value.get(arg):
            next(rest, None)


def _takes_value(options: Sequence[click.Parameter]) -> dict[str, bool]:
    return {
        name: not (option.is_flag or option.count)
        for option in options
        if isinstance(option, click.Option)
        for name in option.opts
    }


def _refuse_early_parameter(name: str, args: Sequence[str]) -> None:
    if any(not arg.startswith("-") for arg in args):
        raise UsageError(f"{name} stands before the flow", hint=f"write `graft run FLOW {name} …`: FLOW comes first")


def compiled_of(ctx: click.Context) -> Any:
    return ctx.meta[COMPILED]
