"""The parameters of a flow as options of a command (R25).

A parameter `order_id` is `--order-id`, also accepted as `--order_id`. What stands after the flag is text; its type
converts it later, together with what `--params-file` gave, so that all problems are reported at once. A parameter
whose flag the command has for itself (`--id`) can only be given by `--params-file`, and the help says so.

==========  ===========================================================================
type        on the command line
==========  ===========================================================================
bool        `--force`, `--no-force`
list[T]     items between commas, or the flag again for each; `[…]` and `{…}` are JSON, for items with commas
record any  JSON
optional T  like T; `null` is none
others      their text: `12`, `0.5`, `2026-01-31`, `15m`, `20MiB`
==========  ===========================================================================
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click
from attrs import frozen
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from graft.cli.flows import read_text
from graft.errors import UsageError
from graft.files import MAX_BYTES
from graft.plan import Param

_PREFIX = "flow_param_"


class FlowOption(click.Option):
    """The option of one parameter. Its value is text (a list of texts, a bool) until all are converted together."""

    def __init__(self, param: Param, taken: frozenset[str]) -> None:
        self.param = param
        self.base = base_type(param.type)
        self.is_list = isinstance(self.base, tuple) and self.base[0] == "list"
        super().__init__(
            [_PREFIX + param.name, *_declarations(param, taken, is_bool=self.base == "bool")],
            is_flag=self.base == "bool" or None,
            multiple=self.is_list,
            default=None,
            type=bool if self.base == "bool" else str,
            metavar=metavar(self.base[1] if self.is_list else self.base),
            help=describe(param),
        )

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        """Without the second spelling, which would only be noise."""
        flag = flag_of(self.param.name)
        if self.base != "bool":
            return f"{flag} {self.make_metavar(ctx)}", self.help or ""
        off = f" / --no-{flag[2:]}" if f"--no-{flag[2:]}" in self.secondary_opts else ""
        return flag + off, self.help or ""

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        values = self.param.values or enum_values(self.base[1] if self.is_list else self.base)
        return [CompletionItem(text) for text in map(_as_text, values) if text.startswith(incomplete)]


@frozen
class Flags:
    options: tuple[FlowOption, ...]
    only_in_file: tuple[Param, ...]  # the command has their flag for itself


def flags_of(params: Iterable[Param], own: frozenset[str]) -> Flags:
    """The options of `params`, for a command that has the options `own` (`--id`, …) already."""
    every = list(params)
    free = [param for param in every if flag_of(param.name) not in own]
    taken = own | {spelling for param in free for spelling in (flag_of(param.name), f"--{param.name}")}
    hidden = tuple(param for param in every if flag_of(param.name) in own)
    return Flags(tuple(FlowOption(param, taken) for param in free), hidden)


def flag_of(name: str) -> str:
    return "--" + name.replace("_", "-")


def given(ctx: click.Context, flags: Flags) -> dict[str, Any]:
    """Take the values that stood on the command line out of `ctx.params`, by the parameter's name."""
    found: dict[str, Any] = {}
    for option in flags.options:
        assert option.name is not None
        value = ctx.params.pop(option.name, None)
        if ctx.get_parameter_source(option.name) is ParameterSource.COMMANDLINE:
            found[option.param.name] = _joined(option.opts[0], value) if option.is_list else value
    return found


def read_params_file(name: str) -> dict[str, Any]:
    """The table in a `.toml` or JSON file; `-` is JSON on standard input. Raises UsageError."""
    if name == "-":
        text, path = _standard_input(), Path("standard input")
    else:
        path = Path(name)
        text = read_text(path)
    try:
        table = _toml(text) if path.suffix == ".toml" else json.loads(text)
    except RecursionError:
        raise UsageError(f"{path} nests too deep") from None
    except ValueError as error:
        why = "an integer has too many digits" if "set_int_max_str_digits" in str(error) else error
        raise UsageError(
            f"{path}: {why}", hint="a params file is TOML when its name ends in .toml, else JSON"
        ) from None
    if not isinstance(table, dict):
        raise UsageError(f"{path}: expected a table of parameters, got {type(table).__name__}")
    return table


def _standard_input() -> str:
    try:
        text = "" if sys.stdin is None else sys.stdin.read(MAX_BYTES + 1)
    except UnicodeDecodeError as error:
        raise UsageError(f"standard input is not text: {error.reason}") from None
    except OSError as error:
        raise UsageError(f"standard input cannot be read: {error.strerror}") from None
    if len(text) > MAX_BYTES:
        raise UsageError(f"standard input is too large: more than {MAX_BYTES} characters")
    return text


def _toml(text: str) -> dict[str, Any]:
    import tomli

    return tomli.loads(text)


def _joined(flag: str, values: Sequence[str]) -> list[Any]:
    """The items of a list from all its flags."""
    items: list[Any] = []
    for value in values:
        text = value.strip()
        if text[:1] not in ("[", "{"):
            items += [part.strip() for part in text.split(",")] if text else []
            continue
        try:
            made = json.loads(text)
        except RecursionError:
            raise UsageError(f"{flag}: the value nests too deep") from None
        except ValueError as error:
            raise UsageError(f"{flag}: {error}", hint="a value that begins with [ or { is read as JSON") from None
        items += made if isinstance(made, list) else [made]
    return items


def base_type(tree: Any) -> Any:
    """A type without its `optional`."""
    return tree[1] if isinstance(tree, tuple) and tree[0] == "optional" else tree


def enum_values(tree: Any) -> tuple[Any, ...]:
    return tuple(tree[1]) if isinstance(tree, tuple) and tree[0] == "enum" else ()


def metavar(tree: Any) -> str:
    if values := enum_values(tree):
        return "|".join(map(_as_text, values))
    return (tree if isinstance(tree, str) else "json" if tree[0] != "optional" else metavar(tree[1])).upper()


def describe(param: Param) -> str:
    """The help of a parameter: its doc, then what it accepts."""
    facts = []
    if isinstance(base_type(param.type), tuple) and base_type(param.type)[0] == "list":
        facts.append("commas between, or repeat it")
    if param.values and not enum_values(base_type(param.type)):
        facts.append("one of " + ", ".join(map(_as_text, param.values)))
    if param.pattern is not None:
        facts.append(f"matches {param.pattern}")
    if param.min is not None:
        facts.append(f"at least {param.min}")
    if param.max is not None:
        facts.append(f"at most {param.max}")
    if param.default is None:
        facts.append("required")
    elif not param.secret:
        facts.append(f"default: {_shown_default(base_type(param.type), param.default)}")
    return " ".join(part for part in (" ".join(param.doc.split()), f"[{'; '.join(facts)}]" if facts else "") if part)


def _shown_default(tree: Any, text: str) -> str:
    value = json.loads(text)
    if tree in _UNITS and isinstance(value, (int, float)) and value > 0:
        return _with_units(value, _UNITS[tree])
    if isinstance(value, list) and value and all(isinstance(each, (str, int, float)) for each in value):
        return ", ".join(map(_as_text, value))
    return _as_text(value) if value != "" else '""'


_UNITS: dict[str, tuple[tuple[str, float], ...]] = {
    "duration": (("d", 86400), ("h", 3600), ("m", 60), ("s", 1), ("ms", 0.001)),
    "bytes": (("GiB", 2**30), ("MiB", 2**20), ("kiB", 2**10), ("B", 1)),
}


def _with_units(value: float, units: tuple[tuple[str, float], ...]) -> str:
    """`5400` seconds as `1h 30m`; a size in the largest unit that leaves nothing over."""
    if units is _UNITS["bytes"]:
        unit, size = next((unit, size) for unit, size in units if value % size == 0)
        return f"{value / size:.0f}{unit}"
    parts = []
    for unit, size in units:
        number = int(value / size + 1e-9)
        value -= number * size
        parts += [f"{number}{unit}"] if number else []
    return " ".join(parts) or "0s"


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _declarations(param: Param, taken: frozenset[str], *, is_bool: bool) -> list[str]:
    spellings = [flag_of(param.name)]
    if f"--{param.name}" != spellings[0]:
        spellings.append(f"--{param.name}")
    if not is_bool:
        return spellings
    return [each + (f"/--no-{each[2:]}" if f"--no-{each[2:]}" not in taken else "") for each in spellings]
