"""For each code of an expression a file that gives it and the same file put right."""

from __future__ import annotations


def _when(bad: str, good: str) -> tuple[str, str]:
    def flow(text: str) -> str:
        return f"[params.n]\ntype = 'int'\n[nodes.a]\nrun = 'true'\nwhen = \"{text}\""

    return flow(bad), flow(good)


def _value(bad: str, good: str) -> tuple[str, str]:
    def flow(text: str) -> str:
        return f"[params.names]\ntype = 'list[string]'\n[nodes.a]\nvalue = \"{text}\""

    return flow(bad), flow(good)


_FETCH = "[nodes.fetch]\nrun = 'true'\noutput = 'json'\nreturns = { total = 'int', note = 'string?' }\n"
_MAYBE = "[nodes.fetch]\nwhen = 'params.n > 0'\nrun = 'true'\n[params.n]\ntype = 'int'\n"

EXPRESSION_EXAMPLES: dict[str, tuple[str, str]] = {
    "GR101": _when("params.n >", "params.n > 3"),
    "GR102": _value("${ " + "(" * 90 + "1" + ")" * 90 + " }", "${ 1 }"),
    "GR103": _value("${ params.names[::2] }", "${ params.names[0:2] }"),
    "GR104": _value("${ params.names[0].upper() }", "${ upper(params.names[0]) }"),
    "GR105": _value("${ size(params.names) }", "${ len(params.names) }"),
    "GR106": _value("${ len() }", "${ len(params.names) }"),
    "GR107": _value("${ params._x }", "${ params.names }"),
    "GR108": _value("${ b'x' }", "${ 'x' }"),
    "GR109": _value("${ 6 ^ 3 }", "${ 6 ** 3 }"),
    "GR110": _value("${ params.names", "${ params.names }"),
    "GR111": _value("${ f'{params.names[0]!r}' }", "${ f'{params.names[0]:>8}' }"),
    "GR112": _value("${ [len for len in params.names] }", "${ [name for name in params.names] }"),
    "GR120": _value("${ parms.names }", "${ params.names }"),
    "GR121": (
        _FETCH + "[nodes.a]\nvalue = '${ fetch.out.totl }'",
        _FETCH + "[nodes.a]\nvalue = '${ fetch.out.total }'",
    ),
    "GR122": (
        _FETCH + "[nodes.a]\nvalue = '${ fetch.total }'",
        _FETCH + "[nodes.a]\nvalue = '${ fetch.out.total }'",
    ),
    "GR123": (
        _MAYBE + "[outputs]\ntext = '${ fetch.out }'",
        _MAYBE + "[outputs]\ntext = \"${ default(fetch.out, '') }\"",
    ),
    "GR124": (
        "[secrets.token]\nenv = 'TOKEN'\n[nodes.a]\nvalue = '${ secrets.token }'",
        "[secrets.token]\nenv = 'TOKEN'\n[nodes.a]\nrun = 'true'\nenv = { TOKEN = '${ secrets.token }' }",
    ),
    "GR125": (
        _FETCH + "[nodes.a]\nvalue = '${ upper(fetch.out.note) }'",
        _FETCH + "[nodes.a]\nvalue = \"${ upper(fetch.out.note or '') }\"",
    ),
    "GR130": _value("${ params.names + 1 }", "${ params.names + ['more'] }"),
    "GR131": _value("${ upper(params.names) }", "${ upper(params.names[0]) }"),
    "GR132": _when("params.n", "params.n > 0"),
    "GR133": _when("params.n == 'three'", "params.n == 3"),
}
