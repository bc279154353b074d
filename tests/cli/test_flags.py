"""Parameters as options: spelling, what the parser accepts, and what the help says."""

from __future__ import annotations

from typing import Any

import click
import pytest
from hypothesis import given as hypothesis_given
from hypothesis import strategies as st

from graft.cli.flags import Flags, flag_of, flags_of, given, metavar, read_params_file
from graft.cli.runcommand import first_positional
from graft.errors import UsageError
from graft.plan import Param

OWN = frozenset({"--id", "--data", "--json", "--no-wait", "--help"})


def parse(flags: Flags, *args: str) -> dict[str, Any]:
    found: dict[str, Any] = {}

    @click.pass_context
    def callback(ctx: click.Context, **_values: Any) -> None:
        found.update(given(ctx, flags))

    command = click.Command("run", params=list(flags.options), callback=callback)
    command.main(args, standalone_mode=False)
    return found


PARAMS = [
    Param("order_id", "string"),
    Param("count", "int", default="3"),
    Param("force", "bool", default="false"),
    Param("regions", ("list", "string"), default='["ams"]'),
    Param("size", ("enum", ("small", "large")), default='"small"'),
]


@pytest.mark.parametrize(
    ("args", "wanted"),
    [
        ([], {}),
        (["--order-id", "7"], {"order_id": "7"}),
        (["--order_id=7"], {"order_id": "7"}),
        (["--order-id", "-7"], {"order_id": "-7"}),
        (["--order-id", ""], {"order_id": ""}),
        (["--force"], {"force": True}),
        (["--no-force"], {"force": False}),
        (["--regions", "ams", "--regions", "fra"], {"regions": ["ams", "fra"]}),
        (["--regions", "ams, fra", "--regions", "lon"], {"regions": ["ams", "fra", "lon"]}),
        (["--regions", '["a,b", "c"]', "--regions", "d"], {"regions": ["a,b", "c", "d"]}),
        (["--regions", '{"a": 1, "b": 2}'], {"regions": [{"a": 1, "b": 2}]}),
        (["--regions", ""], {"regions": []}),
        (["--count", "many"], {"count": "many"}),  # converted later, with everything else
    ],
)
def test_values_are_text_until_all_are_converted(args: list[str], wanted: dict[str, Any]) -> None:
    assert parse(flags_of(PARAMS, OWN), *args) == wanted


def test_a_list_that_is_no_json() -> None:
    with pytest.raises(UsageError, match=r"--regions: Expecting"):
        parse(flags_of(PARAMS, OWN), "--regions", "[ams")


def test_an_option_of_the_command_wins() -> None:
    flags = flags_of([Param("id", "string"), Param("name", "string")], OWN)
    assert [option.param.name for option in flags.options] == ["name"]
    assert [param.name for param in flags.only_in_file] == ["id"]


def test_the_off_switch_yields_to_a_parameter_and_to_an_option() -> None:
    flags = flags_of([Param("force", "bool"), Param("no_force", "bool"), Param("wait", "bool")], OWN)
    assert parse(flags, "--no-force") == {"no_force": True}
    assert parse(flags, "--force") == {"force": True}
    assert next(o for o in flags.options if o.param.name == "wait").secondary_opts == []


identifiers = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,6}", fullmatch=True)


@hypothesis_given(st.lists(identifiers, unique=True, max_size=8), st.data())
def test_any_names_make_options_that_do_not_collide(names: list[str], data: st.DataObject) -> None:
    params = [Param(name, data.draw(st.sampled_from(["bool", "int"]))) for name in names]
    flags = flags_of(params, OWN)
    spellings = [opt for option in flags.options for opt in (*option.opts, *option.secondary_opts)]
    assert len(spellings) == len(set(spellings))
    assert not OWN & set(spellings)
    assert {o.param.name for o in flags.options} | {p.name for p in flags.only_in_file} == set(names)


@pytest.mark.parametrize(
    ("param", "left", "right"),
    [
        (Param("order_id", "string", doc="Which\n order."), "--order-id STRING", "Which order. [required]"),
        (Param("n", "int", "3", min=1, max=9), "--n INT", "[at least 1; at most 9; default: 3]"),
        (Param("force", "bool", "false"), "--force / --no-force", "[default: false]"),
        (Param("at", ("list", "date"), "[]"), "--at DATE", "[commas between, or repeat it; default: []]"),
        (Param("to", ("list", "string"), '["a","b"]'), "--to STRING", "[commas between, or repeat it; default: a, b]"),
        (Param("size", ("enum", ("s", "l")), '"s"'), "--size s|l", "[default: s]"),
        (Param("key", "string", '"hunter2"', secret=True), "--key STRING", ""),
        (Param("id_no", ("optional", "int"), "null", pattern="x"), "--id-no INT", "[matches x; default: null]"),
        (Param("d", "duration", "5400.5"), "--d DURATION", "[default: 1h 30m 500ms]"),
        (Param("b", "bytes", "10485760"), "--b BYTES", "[default: 10MiB]"),
        (Param("b", "bytes", "1000"), "--b BYTES", "[default: 1000B]"),
        (Param("any_", "any", '""'), "--any- ANY", '[default: ""]'),
    ],
)
def test_help(param: Param, left: str, right: str) -> None:
    (option,) = flags_of([param], OWN).options
    assert option.get_help_record(click.Context(click.Command("run"))) == (left, right)


def test_metavar_of_structures() -> None:
    assert metavar(("record", (("a", "int"),))) == "JSON"
    assert metavar(("table", "int")) == "JSON"


def test_completion_offers_the_values_of_an_enum() -> None:
    (option,) = flags_of([Param("size", ("enum", ("small", "large", 3)))], OWN).options
    context = click.Context(click.Command("run"))
    assert [item.value for item in option.shell_complete(context, "s")] == ["small"]
    assert [item.value for item in option.shell_complete(context, "")] == ["small", "large", "3"]


OPTIONS: list[click.Parameter] = [click.Option(["--id"]), click.Option(["--json"], is_flag=True)]


@pytest.mark.parametrize(
    ("args", "wanted"),
    [
        (["f.toml", "--x", "1"], "f.toml"),
        (["--id", "7", "f.toml"], "f.toml"),
        (["--json", "f.toml"], "f.toml"),
        (["--id=7", "f.toml"], "f.toml"),
        (["--x=1", "f.toml"], "f.toml"),
        (["--help", "f.toml"], "f.toml"),
        (["--", "--odd.toml"], "--odd.toml"),
        (["--x"], None),
        ([], None),
    ],
)
def test_the_flow_is_found_before_its_options_are_known(args: list[str], wanted: str | None) -> None:
    assert first_positional(args, OPTIONS) == wanted


def test_a_parameter_before_the_flow_is_refused() -> None:
    with pytest.raises(UsageError, match="--x stands before the flow"):
        first_positional(["--x", "1", "f.toml"], OPTIONS)


def test_params_files(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_params_file(str(write("a.toml", "n = 3\nday = 2026-01-31"))).keys() == {"n", "day"}
    assert read_params_file(str(write("a.json", '{"n": 3}'))) == {"n": 3}
    with pytest.raises(UsageError, match=r"b\.toml: Invalid value"):
        read_params_file(str(write("b.toml", "n = ")))
    with pytest.raises(UsageError, match=r"b\.json: Expecting value"):
        read_params_file(str(write("b.json", "[")))
    with pytest.raises(UsageError, match="expected a table of parameters, got list"):
        read_params_file(str(write("c.json", "[]")))
    with pytest.raises(UsageError, match=r"gone\.json cannot be read: No such file"):
        read_params_file("gone.json")


def test_flag_of() -> None:
    assert flag_of("order_id") == "--order-id"
