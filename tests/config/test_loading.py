"""Precedence, origins, errors and secrets of settings; reading them again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import attrs
import pytest
import tomli
from hypothesis import example, given
from hypothesis import strategies as st

from graft.config import LEAVES, Loaded, Problem, Secret, Settings, load, reload, unfit_for_serving, value_of
from graft.config.converting import convert
from graft.config.rendering import as_json, duration, render, size
from graft.errors import InvalidConfig

Write = Callable[[str, str], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(name: str, text: str) -> str:
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write_file


def problems(*files: str, **more: Any) -> list[Problem]:
    with pytest.raises(InvalidConfig) as caught:
        load(files, host_name="here", **more)
    assert caught.value.exit_code == 2
    for problem in caught.value.problems:
        assert str(problem) in str(caught.value)
    return [problem for problem in caught.value.problems if isinstance(problem, Problem)]


# Precedence


def test_without_sources_everything_is_a_default() -> None:
    loaded = load(host_name="here")
    assert loaded.settings == attrs.evolve(Settings(), node_id="here")
    assert {str(origin) for origin in loaded.origins.values()} == {"default", "host name"}
    assert set(LEAVES) <= set(loaded.origins)


def test_flags_win_over_environment_over_later_files_over_earlier_ones(write: Write) -> None:
    first = write("a.toml", "[transport]\nlisten_port = 1\nmax_calls = 1\ncall_timeout = 1\nidle_timeout = 1\n")
    second = write("b.yaml", "transport:\n  max_calls: 2\n  call_timeout: 2\n  idle_timeout: 2\n")
    environ = {"GRAFT_TRANSPORT__CALL_TIMEOUT": "3", "GRAFT_TRANSPORT__IDLE_TIMEOUT": "3s"}
    flags = {"transport.idle_timeout": "4s", "transport.listen_host": None}
    loaded = load([first, second], environ=environ, flags=flags, host_name="here")
    transport = loaded.settings.transport
    assert (transport.listen_port, transport.max_calls, transport.call_timeout, transport.idle_timeout) == (1, 2, 3, 4)
    assert transport.listen_host == "127.0.0.1"
    shown = {key: str(loaded.origins[f"transport.{key}"]) for key in ("listen_port", "max_calls", "call_timeout")}
    assert shown == {
        "listen_port": f"{first}:2",
        "max_calls": f"{second}:2",
        "call_timeout": "GRAFT_TRANSPORT__CALL_TIMEOUT",
    }
    assert str(loaded.origins["transport.idle_timeout"]) == "--idle-timeout"


def test_tables_merge_key_by_key_and_lists_are_replaced(write: Write) -> None:
    file = write(
        "a.toml", '[resources]\nslots = { run = 4, "python" = 2 }\nroles = ["voter"]\n[resources.labels]\na = "1"\n'
    )
    environ = {"GRAFT_RESOURCES__SLOTS__HTTP": "5", "GRAFT_RESOURCES__ROLES": "executor"}
    loaded = load([file], environ=environ, flags={"resources.labels": {"b": "2"}}, host_name="here")
    resources = loaded.settings.resources
    assert resources.slots == {"run": 4, "exec": 32, "http": 5, "python": 2}
    assert resources.kinds()[0] == ("*", 1024)
    assert resources.roles == ("executor",)
    assert resources.labels == {"b": "2"}
    assert str(loaded.origins["resources.slots.run"]) == f"{file}:2"
    assert str(loaded.origins["resources.slots.exec"]) == "default"


def test_tables_and_lists_in_the_environment() -> None:
    environ = {
        "GRAFT_RESOURCES__LABELS": "disk=ssd, gpu=a100",
        "GRAFT_RESOURCES__SLOTS": '{"run": 3}',
        "GRAFT_DISCOVERY__PEERS": "a=10.0.0.1:7400,[fd00::1]:7400",
    }
    settings = load(environ=environ, host_name="here").settings
    assert settings.resources.labels == {"disk": "ssd", "gpu": "a100"}
    assert settings.resources.slots == {"run": 3}  # the whole table was given
    assert settings.discovery.peers == ("a=10.0.0.1:7400", "[fd00::1]:7400")


def test_graft_data_is_the_short_name_of_the_directory() -> None:
    assert load(environ={"GRAFT_DATA": "/d"}, host_name="h").settings.storage.directory == "/d"
    both = {"GRAFT_DATA": "/d", "GRAFT_STORAGE__DIRECTORY": "/e"}
    assert load(environ=both, host_name="h").settings.storage.directory == "/e"


def test_variables_of_kubernetes_and_of_steps_are_no_settings() -> None:
    environ = {"GRAFT_SERVICE_HOST": "10.0.0.1", "GRAFT_PORT": "tcp://x", "GRAFT_RUN_ID": "r", "GRAFT_NODE_ID": "n1"}
    assert load(environ=environ, host_name="h").settings == attrs.evolve(Settings(), node_id="n1")


# Units


@given(st.floats(0, 1e7, allow_nan=False))
@example(3.2e-11)
@example(2e-8)
def test_a_duration_is_written_so_that_it_reads_back(seconds: float) -> None:
    from graft.config import Seconds

    assert convert(Seconds, duration(seconds)) == pytest.approx(seconds, rel=1e-12, abs=1e-9)


@given(st.integers(0, 2**49) | st.integers(0, 2**20).map(lambda n: n << 20))
def test_a_size_is_written_so_that_it_reads_back(number: int) -> None:
    from graft.config import Size

    assert convert(Size, size(number)) == number


def test_units() -> None:
    environ = {
        "GRAFT_ENGINE__LEASE": "1m 30s",
        "GRAFT_STORAGE__QUOTA": "64MiB",
        "GRAFT_TRANSPORT__CALL_TIMEOUT": "250ms",
    }
    settings = load(environ=environ, host_name="h").settings
    assert (settings.engine.lease, settings.storage.quota, settings.transport.call_timeout) == (90, 64 * 2**20, 0.25)


# Errors


def test_every_problem_of_every_source_is_told_at_once(write: Write) -> None:
    file = write(
        "g.toml",
        'node_id = "no spaces please"\n[transport]\nlisten_prt = 1\nlisten_port = 70000\n[engine]\nlease = "long"\n'
        "transport = 3\n[resources]\nslots = { run = -1 }\n[discovery]\nfounders = 5\n[raft]\nx = 1\n",
    )
    broken = write("b.yaml", "a: [\n")
    environ = {"GRAFT_TRANSPORT__MAX_MESSAGE_SIZE": "many", "GRAFT_ENGIN__GRACE": "1s"}
    found = {
        (p.where, p.key): p
        for p in problems(file, broken, "/no/such.toml", environ=environ, flags={"transport.max_calls": "x"})
    }
    at = {key: where for where, key in found}
    assert at == {
        "": "/no/such.toml",
        "node_id": f"{file}:1",
        "transport.listen_prt": f"{file}:3",
        "transport.listen_port": f"{file}:4",
        "engine.lease": f"{file}:6",
        "engine.transport": f"{file}:7",
        "resources.slots": f"{file}:9",
        "discovery.founders": f"{file}:11",
        "raft": f"{file}:13",
        "transport.max_message_size": "GRAFT_TRANSPORT__MAX_MESSAGE_SIZE",
        "engin": "GRAFT_ENGIN__GRACE",
        "transport.max_calls": "--max-calls",
    }
    assert len(found) == 13  # the broken YAML has no key either
    by_key = {p.key: p for p in found.values()}
    assert by_key["transport.listen_prt"].suggestion == "did you mean `transport.listen_port`?"
    assert by_key["engin"].suggestion == "did you mean `engine`?"
    assert by_key["transport.listen_port"].message == "expected at least 0 and at most 65535, got 70000"
    assert by_key["engine.lease"].message == "expected a duration such as 15m, 1h 30m or 500ms, got 'long'"
    assert by_key["resources.slots"].message == "`run`: expected at least 0, got -1"
    assert by_key["discovery.founders"].message.startswith("expected list")


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("transport = 5\n", "transport", "expected a table of settings, got a number"),
        ("[transport.listen_port]\nx = 1\n", "transport.listen_port", "expected int, got"),
        ("[resources.slots]\nrun = 'x'\n", "resources.slots", "`run`: expected int, got 'x'"),
        ("[security]\nplaintext = 3\n", "security.plaintext", "expected bool, got int"),
        ("[transport]\nlisten_port = true\n", "transport.listen_port", "expected int, got bool"),
        ("[transport]\nadvertise_address = 'x'\n", "transport.advertise_address", "expected an address such as"),
        ("lease = '5s'\n", "lease", "there is no such setting"),
        ("[discovery]\npeers = ['a', 'b:99999']\n", "discovery.peers", "expected an address such as"),
        ("[observability]\nlog_level = 'loud'\n", "observability.log_level", "expected debug, info, warning or error"),
        ("[engine]\nheartbeat = '1s'\n", "engine.heartbeat", "expected at most a third of `engine.election_timeout`"),
        ("[security]\ncert_file = 'c'\n", "security.ca_file", "expected a file, because there is `security.cert_file`"),
        ("[security]\ntls_min_version='1.3'\ntls_max_version='1.2'\n", "security.tls_max_version", "expected at least"),
        ("[discovery]\nfounders=['a']\nexpect=3\n", "discovery.expect", "expected either"),
        ("[discovery]\nfounders=['a', 'a']\n", "discovery.founders", "expected different ids"),
        ("[resources]\nroles=['executor']\n[discovery]\nfounders=['here']\n", "resources.roles", "expected `voter`"),
        ("[discovery]\nfounders=['g-1', 'g-{0..2}']\n", "discovery.founders", "expected different ids, got g-1 twice"),
        ("[discovery]\nfounders=['g-{2..0}']\n", "discovery.founders", "a series of at most 99"),
        ("[discovery]\nfounders=['g-{0..99}']\n", "discovery.founders", "a series of at most 99"),
        ("[discovery]\nfounders=['g-{0..999999}']\n", "discovery.founders", "a series of at most 99"),
        ("[discovery]\nfounders=['g-{0..1}-{0..1}']\n", "discovery.founders", "a series of at most 99"),
        ("[discovery]\nfounders=['-{0..1}']\n", "discovery.founders", "a series of at most 99"),
    ],
)
def test_one_problem_names_key_expected_and_got(write: Write, text: str, key: str, message: str) -> None:
    found = problems(write("g.toml", text))
    assert [problem.key for problem in found if message in problem.message][:1] == [key]


def test_pods_share_one_file_that_says_the_founders_by_their_ordinals(write: Write) -> None:
    file = write("g.toml", "[discovery]\nfounders = ['graft-{0..2}']\n")
    for pod in ("graft-1", "graft-3"):
        settings = load([file], host_name=pod).settings
        assert settings.node_id == pod
        assert settings.discovery.initial_set() == ("graft-0", "graft-1", "graft-2")
    said = load(environ={"GRAFT_DISCOVERY__FOUNDERS": "graft-{0..1},x"}, host_name="x").settings
    assert said.discovery.initial_set() == ("graft-0", "graft-1", "x")
    assert len(load(flags={"discovery.founders": ["g{1..99}"]}, host_name="x").settings.discovery.initial_set()) == 99


def test_an_unknown_key_is_looked_for_in_other_sections(write: Write) -> None:
    (found,) = problems(write("g.toml", "lease = '5s'\n"))
    assert found.suggestion == "did you mean `engine.lease`?"


def test_a_value_where_the_environment_has_a_table(write: Write) -> None:
    (found,) = problems(write("g.toml", "transport = 5\n"), environ={"GRAFT_TRANSPORT__MAX_CALLS": "3"})[:1]
    assert "GRAFT_TRANSPORT__MAX_CALLS" in str(found) or "g.toml:1" in str(found)


def test_a_value_that_is_overridden_is_not_judged(write: Write) -> None:
    file = write("g.toml", "[transport]\nlisten_port = 'x'\n")
    assert load([file], flags={"transport.listen_port": 7}, host_name="h").settings.transport.listen_port == 7


@pytest.mark.parametrize(("name", "text"), [("g.ini", "a = 1"), ("g.toml", b"\xff\xfe".decode("latin-1"))])
def test_a_file_that_cannot_be_read_says_why(write: Write, name: str, text: str) -> None:
    file = write(name, "")
    Path(file).write_bytes(text.encode("latin-1"))
    (found,) = problems(file)
    assert found.message.startswith(("its name must end with", "it is not UTF-8"))


# Secrets


def test_references_are_resolved_and_never_shown(write: Write, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter2\n")
    text = '[security]\nkey_password = "file:password"\n[resources]\nzone = "env:WHERE"\nlabels = { a = "env:WHERE" }\n'
    loaded = load([write("g.toml", text)], environ={"WHERE": "moonbase"}, host_name="h")
    assert loaded.settings.security.key_password.reveal() == "hunter2"
    assert (loaded.settings.resources.zone, loaded.settings.resources.labels) == ("moonbase", {"a": "moonbase"})
    for shown in (
        render(loaded, origin=True),
        json.dumps(as_json(loaded, origin=True)),
        repr(loaded.settings.security),
    ):
        assert "hunter2" not in shown
    assert "moonbase" not in render(loaded) + json.dumps(as_json(loaded))
    assert 'zone = "********"' in render(loaded)


def test_a_secret_stays_one_in_errors(write: Write) -> None:
    text = '[transport]\nlisten_port = "env:P"\nlisten_host = "env:H"\n[security]\nkey_password = 7\n'
    found = problems(write("g.toml", text), environ={"P": "hunter2", "H": "hunter 2"})
    assert {p.key for p in found} == {"transport.listen_port", "transport.listen_host", "security.key_password"}
    assert "hunter" not in "".join(map(str, found))


def test_a_reference_to_nothing_is_a_problem(write: Write) -> None:
    text = '[security]\nkey_password = "file:no-such"\n[resources]\nzone = "env:NOPE"\n'
    found = {p.key: p.message for p in problems(write("g.toml", text))}
    assert found["resources.zone"] == "the environment variable NOPE is not set"
    assert "no-such: it cannot be read" in found["security.key_password"]


def test_a_secret_has_no_text_form() -> None:
    secret = Secret("hunter2")
    assert "hunter2" not in f"{secret} {secret!r}"
    assert secret == Secret("hunter2") != Secret("x")
    assert not Secret()


# Rendering


def test_what_is_shown_can_be_read_again(write: Write) -> None:
    text = (
        '[resources]\nlabels = { "a b" = "\\u0007\\"x\\"" }\n[discovery]\noptions = { n = 1, t = { u = [1, "x"] } }\n'
    )
    loaded = load([write("g.toml", text)], host_name="here", flags={"engine.grace": 0.0015})
    again = load([write("again.toml", render(loaded, origin=True))], host_name="elsewhere")
    assert again.settings == loaded.settings
    tree = tomli.loads(render(loaded))
    assert list(tree)[:2] == ["node_id", "service_name"]


def test_json_has_seconds_and_bytes() -> None:
    tree = as_json(load(host_name="h"))
    assert tree["engine"]["lease"] == 5
    assert tree["transport"]["max_message_size"] == 16 * 2**20
    assert tree["security"]["key_password"] == ""
    json.dumps(tree)


# Reading again


def test_reload_takes_what_may_change_and_refuses_the_rest(write: Write) -> None:
    file = write("g.toml", "[transport]\nlisten_port = 1\n[resources]\ntotal = 1\n")
    loaded = load([file], host_name="h", environ={"GRAFT_RESOURCES__ZONE": "here"})
    write("g.toml", "\n[transport]\nlisten_port = 2\n[resources]\ntotal = 2\nzone = 'no'\nslots = { run = 1 }\n")
    after, changed, refused = reload(loaded)
    assert changed == ("resources.total", "resources.slots")
    assert refused == ("transport.listen_port",)
    resources = after.settings.resources
    assert (after.settings.transport.listen_port, resources.total, resources.zone) == (1, 2, "here")
    assert resources.slots == {"run": 1, "exec": 32, "http": 128}
    assert str(after.origins["transport.listen_port"]) == f"{file}:2"
    assert str(after.origins["resources.total"]) == f"{file}:5"
    assert reload(after)[1:] == ((), ("transport.listen_port",))


def test_a_mistake_in_the_file_changes_nothing(write: Write) -> None:
    file = write("g.toml", "[resources]\ntotal = 1\n")
    loaded = load([file], host_name="h")
    write("g.toml", "[resources]\ntotal = 'x'\n")
    with pytest.raises(InvalidConfig):
        reload(loaded)


def test_reload_refuses_new_values_that_contradict_old_ones(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    leaf = LEAVES["transport.reconnect_min"]
    may_change = attrs.evolve(leaf, meaning=attrs.evolve(leaf.meaning, reload=True))
    monkeypatch.setitem(LEAVES, leaf.key, may_change)
    file = write("g.toml", "[transport]\nreconnect_min = '20ms'\nreconnect_max = '50ms'\n")
    loaded = load([file], host_name="h")
    write("g.toml", "[transport]\nreconnect_min = '1s'\nreconnect_max = '2s'\n")
    with pytest.raises(InvalidConfig, match=r"`transport\.reconnect_max`: expected at least"):
        reload(loaded)


# Serving


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("", ["security.cert_file"]),
        ("[security]\nplaintext = true\n", []),
        ("[security]\nplaintext = true\n[transport]\nlisten_host = '10.0.0.1'\n", ["transport.listen_host"]),
        ("[security]\nplaintext = true\nforce_plaintext = true\n[transport]\nlisten_host = '10.0.0.1'\n", []),
        (
            "[security]\nplaintext = true\n[transport]\nclient_listen = ['unix:/x', '[::1]:1', 'h:1']\n",
            ["transport.client_listen"],
        ),
        (
            "[security]\nca_file='a'\ncert_file='b'\nkey_file='c'\n[transport]\nlisten_host='0.0.0.0'\n",
            ["transport.advertise_address"],
        ),
        ("[security]\nplaintext = true\n[discovery]\nkind='dns'\n", ["discovery.dns.name"]),
    ],
)
def test_what_serving_needs(write: Write, text: str, keys: list[str]) -> None:
    settings = load([write("g.toml", text)], host_name="h").settings
    assert [".".join(missing.path) for missing in unfit_for_serving(settings)] == keys


# URLs


@pytest.fixture
def server() -> Iterator[tuple[str, dict[str, tuple[int, str, bytes]]]]:
    answers: dict[str, tuple[int, str, bytes]] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, media, body = answers.get(self.path, (404, "text/plain", b"no"))
            self.send_response(status)
            self.send_header("Content-Type", media)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    http = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{http.server_address[1]}", answers
    http.shutdown()
    thread.join()
    http.server_close()


def test_a_url_counts_as_a_file(server: tuple[str, dict[str, tuple[int, str, bytes]]]) -> None:
    url, answers = server
    answers["/g.yaml"] = (200, "text/plain", b"transport:\n  listen_port: 7\n")
    answers["/g"] = (200, "application/json; charset=utf-8", b'{"transport": {"max_calls": 8}}')
    loaded = load([f"{url}/g.yaml", f"{url}/g"], host_name="h")
    assert (loaded.settings.transport.listen_port, loaded.settings.transport.max_calls) == (7, 8)
    assert str(loaded.origins["transport.listen_port"]) == f"{url}/g.yaml:2"
    with_password = url.replace("://", "://me:hunter2@")
    assert "hunter2" not in str(load([f"{with_password}/g"], host_name="h").origins["transport.max_calls"])


def test_what_is_wrong_with_a_url_is_told(server: tuple[str, dict[str, tuple[int, str, bytes]]]) -> None:
    url, answers = server
    answers["/big.json"] = (200, "", b" " * 2_000_000)
    answers["/what"] = (200, "text/html", b"")
    found = problems(
        f"{url}/nope.toml", f"{url}/big.json", f"{url}/what", "http://127.0.0.1:1/x.toml", "http://[x/y.toml"
    )
    said = [problem.message for problem in found]
    assert said[0] == "the server answered 404 Not Found"
    assert said[1].startswith("it is too large")
    assert "text/html" in said[2]
    assert said[3].startswith("it cannot be fetched")
    assert said[4].startswith("it cannot be fetched")


# The table itself


def test_every_setting_says_what_it_means_and_its_default() -> None:
    for leaf in LEAVES.values():
        assert leaf.meaning.about.endswith("."), leaf.key
        if leaf.key != "node_id":
            assert value_of(Settings(), leaf.key) == leaf.default


def test_records_do_not_share_their_tables() -> None:
    first, second = Settings(), Settings()
    assert first.resources.slots is not second.resources.slots


def test_settings_may_be_read_from_an_origin_of_every_key(write: Write) -> None:
    loaded: Loaded = load([write("g.json", json.dumps(as_json(load(host_name="h"))))], host_name="x")
    assert {loaded.origins[key].kind for key, leaf in LEAVES.items() if not isinstance(leaf.default, dict)} == {"file"}
