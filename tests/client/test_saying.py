"""Several addresses that do not give what was asked: one error, the most telling first, each address once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from graft.client import Client
from graft.client.saying import Said
from graft.errors import GraftError, NoQuorum, NotReady, Unreachable
from tests.support.servers import open_engine, open_services


def down(address: str) -> GraftError:
    return Unreachable(f"{address}: cannot connect", address=address, sent=False)


def summary(*said: tuple[str, GraftError]) -> GraftError:
    every = Said()
    for address, error in said:
        every.add(address, error)
    return every.summary()


@pytest.mark.parametrize(
    "telling", [NoQuorum("no leader", hint="see status"), NotReady("n1 waits for n2", hint="see status")]
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_who_is_there_comes_first_and_the_others_below(telling: GraftError, place: int) -> None:
    telling.hint = "see status"
    errors = {"a:1": down("a:1"), "b:1": down("b:1"), "c:1": down("c:1")}
    errors["abc"[place] + ":1"] = telling
    found = summary(*errors.items())
    assert type(found) is type(telling)
    assert found.exit_code == 6
    others = [f"  {each}: cannot connect" for number, each in enumerate(errors) if number != place]
    assert str(found).splitlines() == [telling.message, "  see status", *(each.strip() for each in others)]


def test_a_quorum_that_is_lost_tells_more_than_a_start() -> None:
    found = summary(("a:1", NotReady("a waits")), ("b:1", NoQuorum("no leader")))
    assert str(found) == "no leader\n  a:1: a waits"


def test_addresses_of_which_none_answers_are_all_named_once() -> None:
    found = summary(("a:1", down("a:1")), ("b:1", Unreachable("no answer in 10 s", address="b:1")))
    assert isinstance(found, Unreachable)
    assert found.sent
    assert str(found) == "no member answers at any of the 2 addresses\n  a:1: cannot connect\nb:1: no answer in 10 s"


def test_one_address_says_what_it_says() -> None:
    error = down("a:1")
    assert summary(("a:1", error), ("a:1", error)) is error


def test_what_a_member_said_is_not_forgotten_when_it_dies() -> None:
    assert str(summary(("a:1", NoQuorum("no leader")), ("a:1", down("a:1")))) == "no leader"


@pytest.mark.parametrize("alive", [0, 1, 2])
async def test_a_member_in_a_minority_is_heard_wherever_it_stands(tmp_path: Path, alive: int) -> None:
    """The last address was named, which was that of a member that was down; the one that is up was not heard out."""

    def wrap(name: str, handler: Any) -> Any:
        async def slow(request: Any, caller: Any) -> Any:
            await trio.sleep(0.3)
            raise NoQuorum("no leader was found", hint="a majority has to be up")

        return slow if name == "List" else handler

    async with open_engine(tmp_path) as engine, open_services(engine, wrap=wrap) as address:
        addresses = [f"unix:{tmp_path}/{number}" for number in range(3)]
        addresses[alive] = address
        async with Client(*addresses, patience_seconds=0.5) as client:
            with trio.fail_after(60), pytest.raises(NoQuorum, match="no leader was found") as caught:
                await client.list()
        hint = str(caught.value.hint).splitlines()
        assert hint[0] == "a majority has to be up"
        assert sorted(line.partition(": ")[0] for line in hint[1:]) == sorted(set(addresses) - {address})


async def test_what_is_known_is_not_waited_for_beyond_patience(tmp_path: Path) -> None:
    """A try that lasts long began patience anew: a change of the members said nothing for minutes."""
    asked = 0

    def wrap(name: str, handler: Any) -> Any:
        async def refuse(request: Any, caller: Any) -> Any:
            nonlocal asked
            asked += 1
            if asked > 1:
                await trio.sleep_forever()
            raise NoQuorum("no leader was found")

        return refuse if name == "RemoveMember" else handler

    async with (
        open_engine(tmp_path) as engine,
        open_services(engine, wrap=wrap) as address,
        Client(address, patience_seconds=1.0) as client,
    ):
        with trio.fail_after(30), pytest.raises(NoQuorum, match="no leader was found"):  # a try may take 60 s
            await client.remove_member("x")
    assert asked == 2


async def test_a_backup_is_made_by_a_member_that_is_up(tmp_path: Path) -> None:
    async with (
        open_engine(tmp_path) as engine,
        open_services(engine) as address,
        Client(f"unix:{tmp_path}/nobody", address, patience_seconds=5) as client,
    ):
        with trio.fail_after(60), (tmp_path / "b").open("wb") as file:
            assert await client.backup(file) > 0
