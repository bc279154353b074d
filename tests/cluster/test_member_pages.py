"""What a member answers over HTTP, from its start to its end."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest
import trio

from graft.config import load
from graft.errors import InvalidConfig
from tests.cluster.members import until
from tests.cluster.test_serving import Field


async def get(address: str, path: str) -> tuple[int, str]:
    async with httpx2.AsyncClient() as client:
        answer = await client.get(f"http://{address}{path}")
    return answer.status_code, answer.text


def numbers(text: str) -> dict[str, float]:
    return {name: float(value) for name, _, value in (x.rpartition(" ") for x in text.splitlines() if x[0] != "#")}


async def test_a_member_is_ready_once_it_takes_part_and_says_why_not_before(tmp_path: Path) -> None:
    field = Field(tmp_path, ["a", "b"])
    listen = {"observability.http_listen": "127.0.0.1:0"}
    with trio.fail_after(90):
        async with trio.open_nursery() as nursery:
            is_up = trio.Event()

            async def one() -> None:
                async with field.open("a", ["a", "b"], **listen) as serving:
                    (address,) = serving.pages
                    await until(lambda: serving.unready() == [])
                    assert await get(address, "/readyz") == (200, "ok\n")
                    found = numbers((await get(address, "/metrics"))[1])
                    is_up.set()
                    assert found["graft_ready"] == found["graft_raft_has_leader"] == 1
                    assert found["graft_raft_members"] == 2
                    assert found["graft_raft_applied_index"] >= 1
                    assert 0 < found["graft_store_used_bytes"] < found["graft_store_quota_bytes"] == 256 * 2**20
                    assert found['graft_peer_connected{peer="b"}'] in (0, 1)
                    assert found['graft_slots{kind="*"}'] == 1024
                    await serving.stop()
                    assert await get(address, "/readyz") == (503, "a is stopping\n")
                    assert await get(address, "/livez") == (200, "ok\n")
                nursery.cancel_scope.cancel()

            nursery.start_soon(one)
            await until(lambda: any("a answers HTTP on" in line for line in field.lines))
            line = next(line for line in field.lines if "a answers HTTP on" in line)
            address = line.split(" on ")[1].split(": ")[0]
            await until(lambda: any("waiting" in line for line in field.lines))
            status, text = await get(address, "/readyz")
            assert (status, "does not take part in a cluster yet: " in text) == (503, True)
            assert await get(address, "/livez") == (200, "ok\n")
            before = numbers((await get(address, "/metrics"))[1])
            assert before["graft_ready"] == 0
            assert "graft_raft_term" not in before
            async with field.open("b", ["a", "b"]):
                await trio.sleep_forever()


@pytest.mark.parametrize("wrong", ["7480", "127.0.0.1", "a b:1", "h:99999", "http://h:1"])
def test_what_is_no_address_is_told(wrong: str) -> None:
    with pytest.raises(InvalidConfig, match="http_listen"):
        load(flags={"observability.http_listen": wrong})
