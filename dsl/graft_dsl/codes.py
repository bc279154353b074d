"""Every diagnostic code with its explanation, a file that gives it, and the same file put right.

`graft explain CODE` and the page of codes are printed from here; the tests compile both files of every code.
"""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import dedent
from typing import Any

from attrs import field, frozen

from graft_dsl.code_examples import EXPRESSION_EXAMPLES
from graft_dsl.expressions.codes import EXPRESSION_CODES


@frozen
class Code:
    """`bad` gives the code, `good` compiles; None where no text of a flow can give it. `files` stand beside both."""

    code: str
    title: str
    text: str
    bad: str | None = None
    good: str | None = None
    files: dict[str, str] = field(factory=dict, hash=False)
    encoding: str = "utf-8"


def _code(code: str, title: str, text: str, bad: str | None = None, good: str | None = None, **more: Any) -> Code:
    return Code(code, title, _trimmed(text) or "", _trimmed(bad), _trimmed(good), **more)


def _trimmed(text: str | None) -> str | None:
    return None if text is None else dedent(text).strip("\n") + "\n"


_OWN = (
    _code(
        "GR001",
        "not TOML",
        """
        The file does not follow the grammar of TOML. The place is where reading stopped; the mistake is
        there or just before. Texts stand between quotes, keys and values are joined by `=`, a `[table]`
        stands on its own line.
        """,
        """
        [nodes.hello]
        run = echo hello
        """,
        """
        [nodes.hello]
        run = 'echo hello'
        """,
    ),
    _code(
        "GR002",
        "a key is set twice",
        """
        TOML allows each key once. Both places are shown; remove one.
        """,
        """
        [nodes.hello]
        run = 'echo hello'
        timeout = '5s'
        timeout = '9s'
        """,
        """
        [nodes.hello]
        run = 'echo hello'
        timeout = '9s'
        """,
    ),
    _code(
        "GR003",
        "the file cannot be read",
        """
        There is no such file, it is a directory or a device, or its permissions forbid it.
        """,
    ),
    _code(
        "GR004",
        "not UTF-8",
        """
        TOML files are UTF-8. Save the file in that encoding.
        """,
        """
        name = 'café'
        [nodes.hello]
        run = 'true'
        """,
        """
        name = 'cafe'
        [nodes.hello]
        run = 'true'
        """,
        encoding="latin-1",
    ),
    _code(
        "GR005",
        "the file is too large",
        """
        A flow file has at most 16 MiB. Data belongs in files that the nodes read.
        """,
    ),
    _code(
        "GR006",
        "a newer version of the language",
        """
        `graft = 1` names the version of the language. This Graft does not know the version of this file:
        use a newer one.
        """,
        """
        graft = 2
        [nodes.hello]
        run = 'true'
        """,
        """
        graft = 1
        [nodes.hello]
        run = 'true'
        """,
    ),
    _code(
        "GR007",
        "nested too deep",
        """
        Values nest at most 32 levels deep, groups 16. Deeper structures belong into sub-flows, or into
        files of data.
        """,
        "[nodes.x]\nvalue = " + "[" * 40 + "]" * 40,
        """
        [nodes.x]
        value = [[[]]]
        """,
    ),
    _code(
        "GR008",
        "more problems than are told",
        """
        Of a file with very many problems the first hundred are told, by their places, and how many more
        there are. Often one mistake near the top makes most of them.
        """,
    ),
    _code(
        "GR010",
        "unknown key",
        """
        The language has no such key at this place. If it is a key of another tool, the suggestion says what
        it is called here. `graft schema` prints a JSON Schema that editors complete keys with.
        """,
        """
        [nodes.hello]
        run = 'true'
        timout = '5s'
        """,
        """
        [nodes.hello]
        run = 'true'
        timeout = '5s'
        """,
    ),
    _code(
        "GR011",
        "not in this version",
        """
        The key is part of the language, but this version of Graft does not run it yet. It is refused rather
        than ignored: a flow must not run differently from what it says.
        """,
        """
        [nodes.hello]
        run = 'true'
        priority = 5
        """,
        """
        [nodes.hello]
        run = 'true'
        """,
    ),
    _code(
        "GR012",
        "wrong type of value",
        """
        The key takes another type of TOML value: a list in brackets, a table in braces, a text in quotes.
        """,
        """
        [nodes.a]
        run = 'true'
        [nodes.b]
        run = 'true'
        needs = 'a'
        """,
        """
        [nodes.a]
        run = 'true'
        [nodes.b]
        run = 'true'
        needs = ['a']
        """,
    ),
    _code(
        "GR013",
        "not one of the choices",
        """
        The key takes one of a few words.
        """,
        """
        [nodes.a]
        run = 'true'
        output = 'jsn'
        """,
        """
        [nodes.a]
        run = 'true'
        output = 'json'
        """,
    ),
    _code(
        "GR014",
        "out of range",
        """
        The number is too small or too large for this key.
        """,
        """
        [nodes.a]
        run = 'true'
        retry = { attempts = 0 }
        """,
        """
        [nodes.a]
        run = 'true'
        retry = { attempts = 3 }
        """,
    ),
    _code(
        "GR015",
        "not a duration",
        """
        A duration is a number and a unit: `500ms`, `90s`, `1.5h`, `2d`, also `1h 30m`. A number without a
        unit could mean anything, so it is refused. Units: ms, s, m, h, d, w.
        """,
        """
        [nodes.a]
        run = 'true'
        timeout = 30
        """,
        """
        [nodes.a]
        run = 'true'
        timeout = '30s'
        """,
    ),
    _code(
        "GR017",
        "not a name",
        """
        Names begin with a letter and go on with letters, digits and `_`; those of nodes also with `-`. A
        name is a node first, and a function only where it is called, so a node may be called `count` or
        `split`. One with a dash is read as `nodes['build-wheel'].out`. The roots `params run item secrets`
        cannot be names of nodes, and of an item neither these nor words of the expression language (`if`,
        `in`, `not`, …).
        """,
        """
        [nodes."fetch order"]
        run = 'true'
        """,
        """
        [nodes.fetch-order]
        run = 'true'
        """,
    ),
    _code(
        "GR018",
        "a name is taken",
        """
        Two things that can be read at the same place need different names: nodes of a scope and its
        `finally`, and the item of a map.
        """,
        """
        [nodes.a]
        run = 'true'
        [finally.a]
        run = 'true'
        """,
        """
        [nodes.a]
        run = 'true'
        [finally.tidy]
        run = 'true'
        """,
    ),
    _code(
        "GR019",
        "something is missing",
        """
        A key that must be there is not.
        """,
        """
        [nodes.a]
        http = { method = 'GET' }
        """,
        """
        [nodes.a]
        http = { method = 'GET', url = 'https://example.com' }
        """,
    ),
    _code(
        "GR020",
        "two kinds",
        """
        A node has exactly one kind: `run exec python http flow sleep value nodes` or `fail`. Make two nodes
        of it.
        """,
        """
        [nodes.a]
        run = 'true'
        python = 'shop:total'
        """,
        """
        [nodes.a]
        run = 'true'
        [nodes.b]
        needs = ['a']
        python = 'shop:total'
        with = { order = { cents = 5 } }
        """,
    ),
    _code(
        "GR021",
        "no kind",
        """
        A node has exactly one kind, the key that says what it does.
        """,
        """
        [nodes.a]
        timeout = '5s'
        """,
        """
        [nodes.a]
        run = 'true'
        timeout = '5s'
        """,
    ),
    _code(
        "GR022",
        "a key in the wrong place",
        """
        The key exists, but says nothing about a node of this kind; the message names the kinds that have
        it.
        """,
        """
        [nodes.a]
        sleep = '5s'
        env = { X = '1' }
        """,
        """
        [nodes.a]
        run = 'sleep $X'
        env = { X = '1' }
        """,
    ),
    _code(
        "GR023",
        "a key without its partner",
        """
        The key says more about another one, which is not there.
        """,
        """
        [nodes.a]
        run = 'true'
        max_parallel = 4
        """,
        """
        [nodes.a]
        run = 'echo $X'
        env = { X = '${ item }' }
        for_each = [1, 2, 3]
        max_parallel = 4
        """,
    ),
    _code(
        "GR024",
        "no default for this key",
        """
        `[defaults]` holds keys that mean the same on many nodes, such as `timeout`, `retry` and `env`;
        `[defaults.KIND]` also those of one kind. Edges and maps belong to one node.
        """,
        """
        [defaults]
        needs = ['a']
        [nodes.a]
        run = 'true'
        """,
        """
        [defaults]
        timeout = '1m'
        [nodes.a]
        run = 'true'
        """,
    ),
    _code(
        "GR025",
        "the text of run is not templated",
        """
        A value that is put into the text of a shell command can become part of the program. So `run` is
        handed to the shell as it stands, and values come in through `env`, `stdin`, or the arguments of
        `exec`. Shell variables such as `$NAME` and `${NAME:-x}` are the shell's own, and fine.
        """,
        """
        [params.id]
        type = 'string'
        [nodes.a]
        run = 'echo ${ params.id }'
        """,
        """
        [params.id]
        type = 'string'
        [nodes.a]
        run = 'echo "$ID"'
        env = { ID = '${ params.id }' }
        """,
    ),
    _code(
        "GR026",
        "this cannot be computed",
        """
        The plan is made before the flow runs, so what shapes it (names, files, durations, defaults) is
        written out.
        """,
        """
        [params.t]
        type = 'duration'
        [nodes.a]
        run = 'true'
        timeout = '${ params.t }'
        """,
        """
        [nodes.a]
        run = 'true'
        timeout = '5s'
        """,
    ),
    _code(
        "GR027",
        "not an error type",
        """
        Error types are `timeout`, `exit.1`, `signal.SIGKILL`, `http.404`, `http.5xx`, `http.connect`,
        `python.ValueError`, `expression`, `output_schema`, `too_large`, `lost_member`, `rejected`, the
        types of `fail`, and `*` for all. `exit` and `exit.*` both mean every `exit.N`; so it is with the
        other families. A spelling that no error could ever have is refused.
        """,
        """
        [nodes.a]
        run = 'true'
        retry = { on = ['exit.one'] }
        """,
        """
        [nodes.a]
        run = 'true'
        retry = { on = ['exit.1'] }
        """,
    ),
    _code(
        "GR028",
        "not a type",
        """
        Types are `string int float bool date datetime duration bytes record any`, `list[T]`, `table[T]`,
        `T?` for what may be null, `enum["a", "b"]`, and tables of fields.
        """,
        """
        [nodes.a]
        run = 'true'
        output = 'json'
        returns = 'strng'
        """,
        """
        [nodes.a]
        run = 'true'
        output = 'json'
        returns = 'string'
        """,
    ),
    _code(
        "GR029",
        "not a Python function",
        """
        A Python target is a module and a function in it, with a colon between them: `shop.pricing:quote`.
        """,
        """
        [nodes.a]
        python = 'shop.total'
        with = { order = { cents = 5 } }
        """,
        """
        [nodes.a]
        python = 'shop:total'
        with = { order = { cents = 5 } }
        """,
    ),
    _code(
        "GR030",
        "not a JSON number",
        """
        Values of a flow are JSON values. Infinite numbers and `nan` have no JSON form, and whole numbers
        have 64 bits.
        """,
        """
        [nodes.a]
        value = { limit = inf }
        """,
        """
        [nodes.a]
        value = { limit = 1e300 }
        """,
    ),
    _code(
        "GR201",
        "unknown need",
        """
        `needs` names nodes of the same block: of the flow, or of the same group.
        """,
        """
        [nodes.fetch]
        run = 'true'
        [nodes.b]
        needs = ['fetsh']
        run = 'true'
        """,
        """
        [nodes.fetch]
        run = 'true'
        [nodes.b]
        needs = ['fetch']
        run = 'true'
        """,
    ),
    _code(
        "GR202",
        "a node needs itself",
        """
        A node starts when what it needs has ended, so it can need neither itself nor the group that it is
        in.
        """,
        """
        [nodes.a]
        run = 'true'
        needs = ['a']
        """,
        """
        [nodes.a]
        run = 'true'
        """,
    ),
    _code(
        "GR203",
        "a cycle",
        """
        Each of these nodes waits for the next one, so none could ever start. `needs`, every reference to
        another node and `catch` count. Remove one of the edges; for repeated work use `for_each`.
        """,
        """
        [nodes.a]
        needs = ['c']
        run = 'true'
        [nodes.b]
        needs = ['a']
        run = 'true'
        [nodes.c]
        needs = ['b']
        run = 'true'
        """,
        """
        [nodes.a]
        run = 'true'
        [nodes.b]
        needs = ['a']
        run = 'true'
        [nodes.c]
        needs = ['b']
        run = 'true'
        """,
    ),
    _code(
        "GR204",
        "a node that can never start",
        """
        Whatever happens, the join of this node is never met: what it needs excludes itself, or ends the
        scope before.
        """,
        """
        [nodes.a]
        run = 'true'
        [nodes.b]
        needs = ['a']
        join = 'any_failed'
        run = 'true'
        """,
        """
        [nodes.a]
        run = 'true'
        on_failure = 'continue'
        [nodes.b]
        needs = ['a']
        join = 'any_failed'
        run = 'true'
        """,
    ),
    _code(
        "GR205",
        "unknown target of a catch",
        """
        `to` names the node that a caught failure starts; it stands in the same block.
        """,
        """
        [nodes.a]
        run = 'true'
        catch = [{ on = ['*'], to = 'tidyy' }]
        [nodes.tidy]
        run = 'true'
        """,
        """
        [nodes.a]
        run = 'true'
        catch = [{ on = ['*'], to = 'tidy' }]
        [nodes.tidy]
        run = 'true'
        """,
    ),
    _code(
        "GR206",
        "what the target of a catch can be",
        """
        A node that a `catch` leads to is started by that alone: it has no `needs` and no `join`, and it is
        not the node whose failure it handles. `ends = "failed"` stands only on such a node.
        """,
        """
        [nodes.a]
        run = 'true'
        ends = 'failed'
        """,
        """
        [nodes.a]
        run = 'true'
        catch = [{ on = ['*'], to = 'b' }]
        [nodes.b]
        run = 'true'
        ends = 'failed'
        """,
    ),
    _code(
        "GR207",
        "needs across a scope",
        """
        A group starts and ends as a whole: outside, it is the group that is needed; what a node inside
        waits for outside, the group waits for. `finally` begins when all other nodes have ended.
        """,
        """
        [nodes.a]
        run = 'true'
        [nodes.g.nodes.b]
        needs = ['a']
        run = 'true'
        """,
        """
        [nodes.a]
        run = 'true'
        [nodes.g]
        needs = ['a']
        [nodes.g.nodes.b]
        run = 'true'
        """,
    ),
    _code(
        "GR208",
        "needed twice",
        """
        The list names a node twice. Once is enough. (A warning.)
        """,
        """
        [nodes.a]
        run = 'true'
        [nodes.b]
        needs = ['a', 'a']
        run = 'true'
        """,
        """
        [nodes.a]
        run = 'true'
        [nodes.b]
        needs = ['a']
        run = 'true'
        """,
    ),
    _code(
        "GR209",
        "reading a finally node",
        """
        `finally` nodes run when all others have ended, so only other `finally` nodes can read them.
        """,
        """
        [nodes.a]
        value = '${ tidy.out }'
        [finally.tidy]
        run = 'true'
        """,
        """
        [nodes.a]
        value = 1
        [finally.tidy]
        run = 'true'
        """,
    ),
    _code(
        "GR210",
        "an error type that never comes",
        """
        `retry` and `catch` choose by the type of an error, and no error of this node has this one. Types are
        built in, belong to a kind (`exit` and `signal` to commands, `http` to requests, `python` to
        functions), or come from a `fail` node.
        """,
        """
        [nodes.a]
        run = 'true'
        retry = { on = ['http.503'] }
        """,
        """
        [nodes.a]
        http = 'https://example.com'
        retry = { on = ['http.503'] }
        """,
    ),
    _code(
        "GR211",
        "a template of another tool",
        """
        Graft computes what stands in `${ … }`. `{{ … }}` stays as it is: it is for the program that gets the
        text.
        """,
        """
        [params.who]
        type = 'string'
        [nodes.a]
        run = 'echo "$WHO"'
        env = { WHO = '{{ params.who }}' }
        """,
        """
        [params.who]
        type = 'string'
        [nodes.a]
        run = 'echo "$WHO"'
        env = { WHO = '${ params.who }' }
        """,
    ),
    _code(
        "GR212",
        "a rule that never takes effect",
        """
        Another rule is always there first. A node all of whose needs were skipped is skipped, so `default()`
        in it is never asked; what `never` names is not tried again, whatever `on` says; of several catches
        the first that matches is taken; a deadline ends what is inside before a longer one can.
        """,
        """
        [params.fast]
        type = 'bool'
        [nodes.slow]
        when = 'not params.fast'
        value = 1
        [nodes.sum]
        value = '${ default(slow.out, 0) + 1 }'
        """,
        """
        [params.fast]
        type = 'bool'
        [nodes.slow]
        when = 'not params.fast'
        value = 1
        [nodes.sum]
        join = 'all_done'
        value = '${ default(slow.out, 0) + 1 }'
        """,
    ),
    _code(
        "GR301",
        "a parameter is missing",
        """
        The function, or the flow, has a parameter without a default that `with` does not give.
        """,
        """
        [nodes.a]
        python = 'shop:total'
        """,
        """
        [nodes.a]
        python = 'shop:total'
        with = { order = { cents = 5 } }
        """,
    ),
    _code(
        "GR302",
        "an unknown parameter",
        """
        `with` names a parameter that the function, or the flow, does not have.
        """,
        """
        [nodes.a]
        python = 'shop:total'
        with = { order = { cents = 5 }, currncy = 'EUR' }
        """,
        """
        [nodes.a]
        python = 'shop:total'
        with = { order = { cents = 5 }, currency = 'EUR' }
        """,
    ),
    _code(
        "GR303",
        "an argument of another type",
        """
        The value has another type than the parameter it is for: see `[params]` of the flow, or the
        function's annotations.
        """,
        """
        [nodes.a]
        python = 'shop:total'
        with = { order = 'o1' }
        """,
        """
        [nodes.a]
        python = 'shop:total'
        with = { order = { cents = 5 } }
        """,
    ),
    _code(
        "GR304",
        "not a text",
        """
        Variables, arguments, headers and the standard input are texts. Lists and tables have several: say
        which one, with `json(x)`, `join(x, ',')`, or a field.
        """,
        """
        [nodes.a]
        value = [1, 2]
        [nodes.b]
        run = 'true'
        env = { ALL = '${ a.out }' }
        """,
        """
        [nodes.a]
        value = [1, 2]
        [nodes.b]
        run = 'true'
        env = { ALL = '${ json(a.out) }' }
        """,
    ),
    _code(
        "GR305",
        "returns does not fit",
        """
        `returns` declares the type of the result, and `output`, or the function's annotation, gives another
        one.
        """,
        """
        [nodes.a]
        run = 'true'
        returns = 'int'
        """,
        """
        [nodes.a]
        run = 'echo 5'
        output = 'json'
        returns = 'int'
        """,
    ),
    _code(
        "GR306",
        "the Python function cannot be called",
        """
        The module or the function is not there, seen from the directory of the flow file and the Python
        that runs `graft`.
        """,
        """
        [nodes.a]
        python = 'shop:totl'
        """,
        """
        [nodes.a]
        python = 'shop:total'
        with = { order = { cents = 5 } }
        """,
    ),
    _code(
        "GR307",
        "nothing to map over",
        """
        `for_each` takes a list or a table, or an expression that gives one.
        """,
        """
        [nodes.a]
        for_each = '${ 5 }'
        value = '${ item }'
        """,
        """
        [nodes.a]
        for_each = '${ range(5) }'
        value = '${ item }'
        """,
    ),
    _code(
        "GR308",
        "a value outside of a param's limits",
        """
        The sub-flow's param says `values`, `pattern`, `min` or `max`, and the value that is written here is
        outside of them: the run would fail when it comes to this node.
        """,
        """
        [nodes.a]
        flow = 'pick.toml'
        with = { size = 'huge' }
        """,
        """
        [nodes.a]
        flow = 'pick.toml'
        with = { size = 'large' }
        """,
        files={"pick.toml": "[params.size]\ntype = 'string'\npattern = 'small|large'\n[nodes.a]\nvalue = 1\n"},
    ),
    _code(
        "GR401",
        "the sub-flow cannot be read",
        """
        `flow` names a file, from the directory of the file that says it.
        """,
        """
        [nodes.a]
        flow = 'pic.toml'
        """,
        """
        [nodes.a]
        flow = 'pick.toml'
        """,
        files={"pick.toml": "[nodes.x]\nvalue = 1\n"},
    ),
    _code(
        "GR402",
        "flows that include each other",
        """
        A flow that contains itself would have no end. The files are shown in the order in which they
        include each other.
        """,
        """
        [nodes.a]
        flow = 'flow.toml'
        """,
        """
        [nodes.a]
        flow = 'pick.toml'
        """,
        files={"pick.toml": "[nodes.x]\nvalue = 1\n"},
    ),
    _code(
        "GR403",
        "flows nest too deep",
        """
        Flows include flows at most 16 levels deep.
        """,
    ),
    _code(
        "GR501",
        "a wrong default",
        """
        The default of a param has another type than the param, or breaks its limits.
        """,
        """
        [params.n]
        type = 'int'
        default = 'three'
        [nodes.a]
        value = '${ params.n }'
        """,
        """
        [params.n]
        type = 'int'
        default = 3
        [nodes.a]
        value = '${ params.n }'
        """,
    ),
    _code(
        "GR502",
        "a limit that does not fit",
        """
        `pattern` limits strings; `min` and `max` limit numbers, and the length of strings and lists;
        `values` are of the param's type. A pattern has to match the whole value, and is written in the part
        of regular expressions that can be matched in linear time: no look-around, no back references.
        """,
        """
        [params.n]
        type = 'int'
        pattern = '^a'
        [nodes.a]
        value = '${ params.n }'
        """,
        """
        [params.n]
        type = 'int'
        min = 1
        [nodes.a]
        value = '${ params.n }'
        """,
    ),
    _code(
        "GR503",
        "the source of a secret",
        """
        A secret comes from one place: an environment variable (`env`) or a file (`file`) of the member that
        runs the step.
        """,
        """
        [secrets.token]
        env = 'TOKEN'
        file = 'token.txt'
        [nodes.a]
        run = 'true'
        """,
        """
        [secrets.token]
        env = 'TOKEN'
        [nodes.a]
        run = 'true'
        """,
    ),
)


def _all() -> Iterator[Code]:
    yield from _OWN
    for code, (title, text) in EXPRESSION_CODES.items():
        bad, good = EXPRESSION_EXAMPLES.get(code, (None, None))
        yield _code(code, title, text, bad, good)


CODES: dict[str, Code] = {each.code: each for each in sorted(_all(), key=lambda each: each.code)}


def explain(code: str) -> str:
    """What a code means, as markdown. Raises KeyError for a code that does not exist."""
    known = CODES[code.upper()]
    parts = [f"# {known.code}: {known.title}", known.text.strip()]
    if known.bad is not None:
        parts.append(f"```toml\n{known.bad}```")
    if known.good is not None:
        parts.append(f"Put right:\n\n```toml\n{known.good}```")
    return "\n\n".join(parts) + "\n"


def codes_page() -> str:
    """The reference page of all codes, as markdown."""
    sections = [explain(code).replace("# ", "## ", 1) for code in CODES]
    head = "# Diagnostics\n\nEvery code that a flow file can be refused with, and how to put it right.\n"
    return "\n".join([head, *sections])
