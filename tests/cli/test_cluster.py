"""Commands that ask a cluster of real processes, some of which end while they are asked."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import trio

from tests.chaos.fleet import Fleet, open_fleet
from tests.support.commands import Ended

pytestmark = pytest.mark.slow

# Six items on three members; each goes on until the file is there, so that members can end meanwhile.
FLOW = """
    graft = 1
    name = "tick"
    [params.gate]
    type = "string"
    [nodes.items]
    for_each = "${ [0, 1, 2, 3, 4, 5] }"
    as = "i"
    run = 'echo begin $I; n=0; while [ ! -e "$GATE" ]; do n=$((n+1)); echo $I tick $n; sleep 0.2; done; echo end $I'
    env = { I = "${ i }", GATE = "${ params.gate }" }
"""


async def command(*words: str) -> Ended:
    done = await trio.run_process(
        [sys.executable, "-m", "graft", *words], capture_stdout=True, capture_stderr=True, check=False
    )
    return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())


def server(fleet: Fleet, *ids: str) -> tuple[str, str]:
    return ("--server", ",".join(f"127.0.0.1:{fleet.processes[id].port}" for id in ids or fleet.processes))


def records(ended: Ended) -> list[Any]:
    return [json.loads(line) for line in ended.out.splitlines()]


async def test_who_follows_goes_on_when_members_stop_and_die(tmp_path: Path) -> None:
    """Each command talks to the member that is stopped in order, and then to the one that is killed."""
    (tmp_path / "tick.toml").write_text(dedent(FLOW))
    gate = tmp_path / "gate"
    settings = {"lease": "2s", "grace": "0.5s", "drain_timeout": "1s"}
    async with open_fleet(tmp_path / "fleet", "abc", plaintext=True, **settings) as fleet:
        at = server(fleet, "a", "b", "c")
        flow, params = str(tmp_path / "tick.toml"), ("--gate", str(gate))
        found: dict[str, Ended] = {}

        async def follow(name: str, *words: str) -> None:
            found[name] = await command(*words, *at)

        async with trio.open_nursery() as nursery:
            assert (await command("run", flow, *params, "--id", "r", "--detach", *at)).code == 0
            nursery.start_soon(follow, "run", "run", flow, *params, "--id", "r", "--json")
            nursery.start_soon(follow, "events", "events", "r", "-f", "--json")
            nursery.start_soon(follow, "logs", "logs", "r", "-f", "--json")
            await trio.sleep(3)
            assert await fleet.shut_down("a") == 0
            await trio.sleep(1)
            fleet.start("a")
            await fleet.all_live()
            fleet.kill("b")
            await fleet.leader()
            fleet.start("b")
            await fleet.all_live()
            await trio.sleep(3)  # the items of `b` are begun again elsewhere
            gate.touch()
        assert {name: ended.code for name, ended in found.items()} == {"run": 0, "events": 0, "logs": 0}, found
        whole = records(await command("events", "r", "--json", *at))
        assert records(found["events"]) == whole
        shown = [record for record in records(found["run"]) if record["type"] == "event"]
        assert shown == whole[-len(shown) :]
        assert whole[-1]["what"] == "succeeded"
        kept = Counter(map(key, records(await command("logs", "r", "--json", *at))))
        followed = Counter(map(key, records(found["logs"])))
        assert {line for line, count in followed.items() if count > 1} == set()
        assert kept.keys() == followed.keys()
        assert {line[1] for line in kept} == {"a", "b", "c"}


def key(record: Any) -> tuple[Any, ...]:
    return (record["path"], record["member"], record["attempt"], record["text"], record["at"])


async def test_logs_are_those_of_all_members_and_a_minority_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "tick.toml").write_text(dedent(FLOW))
    gate = tmp_path / "gate"
    gate.touch()
    async with open_fleet(tmp_path / "fleet", "abc", plaintext=True) as fleet:
        flow = str(tmp_path / "tick.toml")
        assert (await command("run", flow, "--gate", str(gate), "--id", "r", *server(fleet))).code == 0
        for id in "abc":
            lines = records(await command("logs", "r", "--json", *server(fleet, id)))
            assert Counter(line["text"] for line in lines) == Counter(
                f"{word} {number}" for word in ("begin", "end") for number in range(6)
            )
            assert {line["member"] for line in lines} == set("abc")
            assert [line["at"] for line in lines] == sorted(line["at"] for line in lines)
        leader = await fleet.leader()
        gone, *others = [id for id in "abc" if id != leader]
        fleet.kill(gone)
        for more in ((), ("-f",)):
            ended = await command("logs", "r", "--json", *more, *server(fleet, leader))
            assert ended.code == 0
            assert {line["member"] for line in records(ended)} == {leader, *others}
            assert ended.err.startswith(f"{gone} does not answer, what it has of the run is missing here: ")
            assert len(ended.err.splitlines()) == 1
        fleet.kill(leader)
        (last,) = others
        for words in ("runs",), ("logs", "r"):
            ended = await command(*words, *server(fleet))
            assert (ended.code, ended.out) == (6, "")
            assert "there is no quorum" in ended.err
            assert "`--stale` shows what the member that answers knows" in ended.err
            ended = await command(*words, "--stale", *server(fleet))
            assert ended.code == 0
            assert ended.out
            address = server(fleet, last)[1]
            assert f"as the member at {address} knows it, which may be old" in ended.err
        ended = await command("status", *server(fleet))
        assert ended.code == 6
        assert "no quorum: it takes no writes, and what it knows may be old" in ended.out
