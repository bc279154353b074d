"""Members as `graft serve` makes them: gRPC over loopback, worker hosts, real directories; several in this process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from attrs import evolve

from graft import raft
from graft.cli.commands.member import member_record, state_of, wait_for
from graft.cli.data import is_held
from graft.cli.serving import the_cause
from graft.client import Client
from graft.cluster import serving as serving_module
from graft.cluster.embedded import open_embedded
from graft.cluster.identity import Identity, load_identity
from graft.cluster.meeting import Meeting, joiner
from graft.cluster.recovering import look, recover
from graft.cluster.restoring import restore
from graft.cluster.serving import Serving, _locate, _waits_for, host_settings, identify, open_serving
from graft.config import Settings, load
from graft.engine.commands import CLUSTER_VERSION
from graft.errors import GraftError, NotReady, Rejected, StorageError, StoreCorrupt, Unreachable, UsageError
from graft.raft_driver import sole_member
from graft.security.audit import AuditRecord
from graft.security.certs import make_dev
from graft.security.tls import ClientSecurity, TlsFiles
from graft.storage import open_store
from graft.transport.calls import anybody
from graft.transport.proto import graft_pb2 as pb
from graft_dsl import compile_text
from tests.chaos.fleet import free_port
from tests.cluster.members import until

NAME = "test"

FLOW = """
graft = 1
name = "double"
[params]
x = { type = "int" }
[nodes.a]
run = "echo $((2 * $X))"
env = { X = "${ params.x }" }
output = "json"
[outputs]
result = "${ a.out }"
"""


class Field:
    """Ports, certificates and directories of the members of one test."""

    def __init__(self, base: Path, names: Sequence[str]) -> None:
        self.base, self.names = base, names
        self.audited: list[AuditRecord] = []
        self.lines: list[str] = []
        self.ended: dict[str, str] = {}  # members that ended by themselves, and why
        self.scopes: dict[str, trio.CancelScope] = {}  # of those that are together; to cancel one is to kill it
        certificates = make_dev(base / "certs", NAME, names)
        self.files: TlsFiles = certificates.clients["operator"]
        self.address = {name: f"127.0.0.1:{free_port()}" for name in names}

    def certificate_of(self, name: str) -> dict[str, str]:
        certs = self.base / "certs"
        return {"security.cert_file": str(certs / f"{name}.crt"), "security.key_file": str(certs / f"{name}.key")}

    def settings(self, name: str, founders: Sequence[str], **more: Any) -> Settings:
        flags = {
            "node_id": name,
            "service_name": NAME,
            "storage.directory": str(self.base / name),
            "storage.quota": "256MiB",
            "storage.map_size": "1GiB",
            "transport.listen_host": "127.0.0.1",
            "transport.listen_port": int(self.address[name].rpartition(":")[2]),
            "discovery.founders": list(founders),
            "discovery.peers": list(self.address.values()),
            "resources.worker_processes": 1,
            "security.ca_file": str(self.base / "certs/ca.crt"),
            "security.cert_file": str(self.base / f"certs/{name}.crt"),
            "security.key_file": str(self.base / f"certs/{name}.key"),
            "engine.drain_timeout": "2s",
            "engine.lease": "2s",
        }
        return load(flags=flags | more).settings

    def open(self, name: str, founders: Sequence[str] = (), **more: Any) -> Any:
        settings = self.settings(name, founders, **more)
        return open_serving(
            settings, peers=lambda: settings.discovery.peers, tell=self.lines.append, audit=self.audited.append
        )

    @asynccontextmanager
    async def together(self, names: Sequence[str], **more: Any) -> AsyncIterator[dict[str, Serving]]:
        """Founders, started at the same time."""
        serving: dict[str, Serving] = {}
        async with trio.open_nursery() as nursery:

            async def keep(name: str, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
                try:
                    with trio.CancelScope() as self.scopes[name]:
                        async with self.open(name, names, **more) as serving[name]:
                            task_status.started()
                            await trio.sleep_forever()
                except* UsageError as group:
                    self.ended[name] = str(the_cause(group))

            async with trio.open_nursery() as starting:
                for name in names:
                    starting.start_soon(nursery.start, keep, name)
            yield serving
            nursery.cancel_scope.cancel()

    async def wait_to_be_added(self, name: str, roles: list[str]) -> None:
        async with self.open(name, **{"discovery.peers": [], "resources.roles": roles}):
            await trio.sleep_forever()

    def client(self, *names: str, **options: Any) -> Client:
        security = ClientSecurity(self.files, NAME)
        return Client(*(self.address[name] for name in names or self.names), security=security, **options)


@pytest.fixture
def field(tmp_path: Path) -> Field:
    return Field(tmp_path, "abcd")


async def double(client: Client, base: Path, x: int) -> Any:
    plan = compile_text(FLOW, filename="flow.toml", base=base).plan
    run_id = await client.start(plan, {"x": x}, base=base)
    view = await client.wait(run_id)
    assert view.status == "succeeded", view
    return view.outputs["result"]


async def test_three_founders_and_one_that_joins(field: Field, tmp_path: Path) -> None:
    with trio.fail_after(90):
        async with field.together("abc") as serving:
            clusters = {each.identity.cluster for each in serving.values()}
            assert len(clusters) == 1
            async with field.client("a") as client:
                assert await double(client, tmp_path, 4) == 8
            async with field.open("d") as joined, field.client("a") as client:
                assert {joined.identity.cluster} == clusters
                await until(lambda: any(m.id == "d" and m.role == "voter" for m in joined.member.configuration.members))
                members = {each.id: each for each in await client.members()}
                assert set(members) == set("abcd")
                assert members["d"].address == field.address["d"]
                assert (await client.drain("a")).text == "a gets no new work"
                assert (
                    await client.set_role("c", "executor")
                ).text == "c is executor"  # what `graft member demote` asks
                for _ in range(2):
                    assert (await client.transfer("d")).text == "d leads"
                await client.remove_member("a")
                async with field.client("b", "d") as other:
                    assert await double(other, tmp_path, 5) == 10
                    assert {each.id for each in await other.members()} == set("bcd")
                await until(lambda: "a was removed from the cluster" in field.ended.get("a", ""))


async def test_one_that_joins_is_reached_by_a_leader_that_was_never_told_where_it_is(field: Field) -> None:
    """As when the leader that took it in falls before the new one has registered."""
    with trio.fail_after(90):
        async with field.together("abc") as serving:
            for each in serving.values():
                assert each.member is not None
                each.member.changes._located = lambda member, address: None
            async with field.open("d") as joined:
                await until(lambda: any(m.id == "d" and m.role == "voter" for m in joined.member.configuration.members))


async def test_a_directory_of_graft_run_becomes_the_first_member(field: Field, tmp_path: Path) -> None:
    """Its runs are there; members with empty directories join it."""
    plan = compile_text(FLOW, filename="flow.toml", base=tmp_path).plan
    async with open_embedded(tmp_path / "a") as embedded:
        old = await embedded.start_run(plan, {"x": 1}, base=tmp_path)
        await embedded.wait_end(old)
    with trio.fail_after(60):
        async with field.open("a") as first, field.client("a") as client:
            assert (await client.get(old)).outputs == {"result": 2}
            assert [each.id for each in await client.members()] == ["a"]
            async with field.open("b", **{"discovery.peers": [field.address["a"]]}) as second:
                assert second.identity.cluster == first.identity.cluster
                await second.member.runs.fresh()
                assert second.member.runs.run_view(old).outputs == {"result": 2}
                assert await double(client, tmp_path, 3) == 6
                await until(lambda: any(m.id == "b" and m.role == "voter" for m in second.member.configuration.members))
    with pytest.raises(UsageError, match="belongs to a member of a cluster"):
        async with open_embedded(tmp_path / "a"):
            pass


async def test_one_member_survives_its_cluster(field: Field, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The majority is lost: what one voter knew goes on, and the lost ones are refused when they come back."""
    with trio.fail_after(90):
        async with field.together("abc") as serving, field.client() as client:
            assert await double(client, tmp_path, 1) == 2
            before = serving["a"].identity.cluster
            runs = [each.run_id for each in await client.list()]
            with pytest.raises(StorageError, match="is held by process"):
                look(tmp_path / "a")
        with pytest.raises(UsageError, match="there is no directory"):
            await recover(tmp_path / "nothing")
        (tmp_path / "empty").mkdir()
        with pytest.raises(UsageError, match="belongs to no cluster"):
            await recover(tmp_path / "empty")
        outlook = look(tmp_path / "a")
        assert (outlook.cluster, outlook.member, outlook.lost) == (before, "a", ("b", "c"))
        assert (outlook.runs, outlook.live_runs) == (1, 0)
        assert min(outlook.last, outlook.last_term) > 0
        found = await recover(tmp_path / "a")
        assert found.lost == ("b", "c")
        assert found.cluster != before
        assert len(found.cluster) == len(before)
        for again in (look, lambda path: trio.from_thread.run(recover, path)):
            with pytest.raises(UsageError, match=f"is a cluster of one already, {found.cluster}: nothing is lost"):
                await trio.to_thread.run_sync(again, tmp_path / "a")
        async with field.open("a"), field.client("a") as client:
            assert [each.run_id for each in await client.list()] == runs
            assert await double(client, tmp_path, 2) == 4
            assert [each.id for each in await client.members()] == ["a"]
            monkeypatch.setattr(serving_module, "WAIT_SECONDS", 0.2)
            why = f"a at {field.address['a']} is of {found.cluster}; two clusters never merge"
            async with trio.open_nursery() as nursery:

                async def come_back() -> None:
                    async with field.open("b"):
                        raise AssertionError("b has no cluster that it could take part in")

                nursery.start_soon(come_back)
                await until(lambda: any(why in line for line in field.lines))
                nursery.cancel_scope.cancel()


async def test_an_old_directory_is_told_that_the_cluster_goes_on_without_it(field: Field, tmp_path: Path) -> None:
    """It only waited for the leader, which does not answer it."""

    async def start_again() -> str:
        try:
            async with field.open("c"):
                raise AssertionError("it took part")
        except* UsageError as group:
            error = the_cause(group)
        assert isinstance(error, UsageError)
        assert "with an empty data directory it can join again" in str(error)
        return error.message

    with trio.fail_after(120):
        async with field.together("abc") as serving, field.client("a", "b") as client:
            await serving["c"].stop()
            field.scopes["c"].cancel()
            old = tmp_path / "old"
            await until(lambda: not is_held(str(tmp_path / "c")))
            shutil.move(tmp_path / "c", old)
            async with field.open("c"):
                assert await double(client, tmp_path, 1) == 2
            shutil.rmtree(tmp_path / "c")
            shutil.copytree(old, tmp_path / "c", ignore=shutil.ignore_patterns("socket"))
            assert await start_again() == "another data directory has taken the place of c: wipe this one"
            await client.remove_member("c")
            assert await start_again() == "c was removed from the cluster"


@pytest.mark.parametrize("step", ["save", "make alone"])
async def test_a_recovery_that_was_killed_is_no_second_leader_of_the_old_cluster(
    field: Field, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """It has done all, or nothing, or waits to be recovered again."""
    with trio.fail_after(90):
        async with field.together("abc") as serving, field.client() as client:
            assert await double(client, tmp_path, 1) == 2
            before = serving["a"].identity.cluster

        async def killed(*arguments: Any) -> None:
            raise KeyError("killed")

        def killed_here(*arguments: Any) -> None:
            raise KeyError("killed")

        with monkeypatch.context() as patch:
            if step == "save":
                patch.setattr("graft.cluster.recovering.save_identity", killed_here)
            else:
                patch.setattr("graft.raft_driver.RaftDoor.recover_quorum", killed)
            with pytest.RaisesGroup(KeyError, flatten_subgroups=True):
                await recover(tmp_path / "a")
        with trio.move_on_after(2):
            async with field.open("a") as started:
                assert started.identity.cluster != before
        found = await recover(tmp_path / "a")
        assert found.cluster != before
        async with field.open("a") as started, field.client("a") as client:
            assert started.identity.cluster == found.cluster
            assert await double(client, tmp_path, 2) == 4


async def test_a_member_that_lost_its_member_json_says_so(field: Field, tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with field.together("abc"):
            pass
        (tmp_path / "a" / "member.json").unlink()
        with pytest.raises(StoreCorrupt, match=r"a/member\.json is missing") as caught:
            async with field.open("a"):
                pass
    assert "an empty data directory and join again" in str(caught.value.hint)


async def test_a_backup_is_the_beginning_of_another_cluster(field: Field, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    with trio.fail_after(60):
        async with field.open("a", "a"), field.client("a") as client:
            assert await double(client, tmp_path, 1) == 2
            runs = [each.run_id for each in await client.list()]
            with open(file, "wb") as target:  # noqa: ASYNC230 - a test
                await client.backup(target)
        restored = restore(file, tmp_path / "b")
        assert restored.runs == 1
        restore(file, tmp_path / "alone")
        async with open_embedded(tmp_path / "alone") as embedded:
            assert embedded.run_ids() == runs
            assert set(embedded.host.engine.state.members) == {"local"}
        async with field.open("b"), field.client("b") as client:
            assert [each.run_id for each in await client.list()] == runs
            assert await double(client, tmp_path, 2) == 4


async def test_a_member_looks_at_its_own_certificate_first(field: Field) -> None:
    with pytest.raises(UsageError, match=r"b.crt names graft://test/member/b, the settings say a"):
        async with field.open("a", "a", **field.certificate_of("b")):
            raise AssertionError("it took part")
    assert field.lines == []


async def test_what_cannot_be_served_says_why(field: Field, tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with field.open("a", "a"):
            with pytest.raises(StorageError, match="held"):
                async with field.open("a", "a"):
                    pass
            taken = evolve(field.settings("b", "b"), transport=field.settings("a", "a").transport)
            with pytest.raises((OSError, UsageError)) as caught:
                async with open_serving(taken, peers=tuple, tell=print, audit=print):
                    pass
            assert field.address["a"] in str(caught.value)
        settings = evolve(field.settings("a", "a"), node_id="x")
        with pytest.raises(UsageError, match="belongs to the member a"):
            async with open_serving(settings, peers=tuple, tell=print, audit=print):
                pass


async def _why_it_ended(field: Field, settings: Settings, *peers: str) -> str:
    ended = ""
    try:
        async with open_serving(settings, peers=lambda: peers, tell=field.lines.append, audit=field.audited.append):
            await trio.sleep_forever()
    except* UsageError as group:
        ended = str(the_cause(group))
    return ended


async def test_a_member_with_the_certificate_of_another_founds_nothing(
    field: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it when it does not look at its own certificate, as an attacker would not."""
    monkeypatch.setattr(serving_module, "check_own", lambda *arguments: None)
    certificate = field.certificate_of("d")
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:

            async def found(name: str, **more: Any) -> None:
                async with field.open(name, "abc", **more):
                    raise AssertionError(f"{name} is in a cluster with an impostor")

            nursery.start_soon(found, "a")
            nursery.start_soon(found, "b")
            nursery.start_soon(partial(found, "c", **certificate))
            why = "it says that it is c, and its certificate is that of d"
            await until(lambda: sum(why in line and "waiting for c" in line for line in field.lines) > 1)
            await until(lambda: sum("d says that it is c" in line for line in field.lines) > 0)
            await trio.sleep(1)
            nursery.cancel_scope.cancel()
        assert {load_identity(field.base / name).cluster for name in "abc"} == {""}  # type: ignore[union-attr]
        texts = {(each.reason, each.identity, each.text) for each in field.audited}
        assert ("identity", "d", why) in texts
        assert ("identity", "d", "d says that it is c") in texts


@pytest.mark.parametrize("victim", ["a", "c"])
async def test_a_copy_of_a_data_directory_is_refused_and_says_why(field: Field, tmp_path: Path, victim: str) -> None:
    """It dials the others as `a`, and waits to be dialled as `c`. The one that was there goes on."""
    with trio.fail_after(120):
        async with field.together("abc"), field.client("b") as client:
            assert await double(client, tmp_path, 4) == 8
        shutil.copytree(tmp_path / victim, tmp_path / "copy")
        async with field.together("abc") as serving, field.client("b") as client:
            again = field.settings(victim, "abc", **{"storage.directory": str(tmp_path / "copy")})
            again = evolve(again, transport=evolve(again.transport, listen_port=0))
            error = await _why_it_ended(field, again)
            assert f"{victim} runs already, with the same data directory" in error
            assert "join with an empty data directory" in error
            assert await double(client, tmp_path, 5) == 10
            assert serving[victim].identity == load_identity(tmp_path / "copy")
            assert {each.id for each in await client.members()} == set("abc")
            assert "duplicate" in {each.reason for each in field.audited}


async def test_a_copy_that_has_joined_nothing_yet_is_found_out(field: Field, tmp_path: Path) -> None:
    """Of a directory that only waits: its two processes ask each other."""
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                async with field.open("a", "ab"):
                    raise AssertionError("b is not there")

            nursery.start_soon(wait)
            await until(lambda: any("a listens on" in line for line in field.lines))
            shutil.copytree(tmp_path / "a", tmp_path / "copy", ignore=shutil.ignore_patterns("socket"))
            again = field.settings("a", "ab", **{"storage.directory": str(tmp_path / "copy")})
            again = evolve(again, transport=evolve(again.transport, listen_port=0))
            error = await _why_it_ended(field, again, field.address["a"])
            assert [each.reason for each in field.audited] == ["duplicate"]
            assert "a runs already, with the same data directory" in error
            nursery.cancel_scope.cancel()


async def _put_back(field: Field, client: Client, tmp_path: Path) -> str:
    """Let c take part with a directory that lacks what it acknowledged; what ends it, "" if nothing did.

    Only the leader of the same term can tell; on a busy machine somebody else may be elected meanwhile.
    """
    directory, old = tmp_path / "c", tmp_path / "old"
    async with field.open("c"):
        await double(client, tmp_path, 1)
    shutil.copytree(directory, old)
    async with field.open("c") as serving:
        await double(client, tmp_path, 2)
        applied = (await client.status()).applied
        await until(lambda: serving.member.host.door.applied >= applied)
    shutil.rmtree(directory)
    old.rename(directory)
    ended = ""
    try:
        with trio.move_on_after(15):
            async with field.open("c"):
                await trio.sleep_forever()
    except* StorageError as group:
        ended = str(the_cause(group))
    return ended


async def test_a_directory_that_was_put_back_to_an_older_copy_is_never_used_again(field: Field, tmp_path: Path) -> None:
    with trio.fail_after(150):
        async with field.together("ab"), field.client("a", "b") as client:
            for _ in range(5):
                if ended := await _put_back(field, client, tmp_path):
                    break
            assert "this data directory has lost what was acknowledged: c acknowledged the log up to entry" in ended
            assert "empty it: the member joins anew" in ended
            assert ("forgotten", "c") in {(each.reason, each.identity) for each in field.audited}
            assert load_identity(tmp_path / "c").forgot  # type: ignore[union-attr]
            with pytest.raises(StorageError, match="has lost what was acknowledged"):
                async with field.open("c"):
                    raise AssertionError("it took part")
            shutil.rmtree(tmp_path / "c")
            async with field.open("c"):
                assert await double(client, tmp_path, 3) == 6
                assert {each.id for each in await client.members()} == set("abc")


async def test_who_stops_in_order_is_down_at_once_and_live_when_it_is_back(field: Field, tmp_path: Path) -> None:
    """It was shown live until its lease was over, and a script took down the next one."""
    with trio.fail_after(90):
        async with field.together("abc") as serving:
            leader = serving["a"].member.host.door.leader
            follower, other = (name for name in "abc" if name != leader)
            async with field.client(other) as client, AsyncExitStack() as again:
                assert await double(client, tmp_path, 1) == 2
                for name in (follower, leader):
                    await serving[name].stop()
                    field.scopes[name].cancel()
                    members = {each.id: each for each in await client.members()}
                    assert {id: each.live for id, each in members.items()} == {id: id != name for id in "abc"}
                    with pytest.raises(GraftError, match=f"{name} does not take part after 0.5 s: it is down"):
                        await wait_for(client, name, 0.5)
                    await until(lambda name=name: f"{name} has stopped" in field.lines)
                    last = members[other].match
                    await again.enter_async_context(field.open(name))
                    found = await wait_for(client, name, 60)
                    assert found.live
                    assert found.match >= last > 0
                    await until(lambda name=name: f"{name} has registered" in field.lines)
                await until(lambda: sum(" leads now, in term " in line for line in field.lines) > 1)
                assert any(line.startswith(f"follows {leader}, in term ") for line in field.lines)
                assert not any("declared dead" in line for line in field.lines)


STOPPED = """
graft = 1
name = "stopped"
[nodes.long]
run = "echo $$ > pid; mv pid runs; sleep 300"
"""


async def test_a_command_that_is_told_to_stop_together_with_its_member_is_lost(field: Field, tmp_path: Path) -> None:
    """Only the member's process and those of the steps are signalled here; what else a service manager signals tells
    the worker more, see `tests/worker/test_losses.py`."""
    with trio.fail_after(60):
        async with field.together("a") as serving, field.client("a") as client:
            plan = compile_text(STOPPED, filename="flow.toml", base=tmp_path).plan
            run_id = await client.start(plan, base=tmp_path)
            await until((tmp_path / "runs").exists)
            async with trio.open_nursery() as nursery:
                os.kill(int((tmp_path / "runs").read_text()), signal.SIGTERM)
                nursery.start_soon(serving["a"].stop)
                await until(lambda: serving["a"].member.host.running == 0)
                view = await client.get(run_id)
                assert view.status == "running"
                (step,) = view.steps
                assert step.status in ("queued", "waiting")
                assert step.error is None


async def test_without_a_quorum_nobody_is_said_to_be_live(field: Field) -> None:
    with trio.fail_after(90):
        async with field.together("abc") as serving, field.client("a") as client:
            me = serving["a"].member
            await until(lambda: me.lease.holds and sum(", in term " in line for line in field.lines) >= len(serving))
            for name in "bc":
                field.scopes[name].cancel()
            await until(lambda: me.host.door.leader is None)
            members = {each.id: each for each in await client.members(stale=True)}
            assert {id: state_of(each) for id, each in members.items()} == {"a": "live", "b": "unknown", "c": "unknown"}
            assert member_record(members["b"], stale=True)["live"] is None
            assert not (await client.status()).has_quorum
            for text in ("no leader is known, ", "the lease is over: no steps were stopped"):
                await until(lambda text=text: any(line.startswith(text) for line in field.lines))


async def test_how_far_the_others_are_is_known_to_whoever_is_asked(field: Field) -> None:
    with trio.fail_after(90):
        async with field.together("abc", **{"engine.lease": "20s"}) as serving:
            leader = serving["a"].member.host.door.leader
            other = next(name for name in "abc" if name != leader)
            async with field.client(other) as client:
                for name in "abc":
                    assert (await wait_for(client, name, 30)).match > 0
                with pytest.raises(GraftError, match=r"x does not take part after 0\.2 s: there is no such member"):
                    await wait_for(client, "x", 0.2)
                dead = next(name for name in "abc" if name not in (leader, other))
                field.scopes[dead].cancel()
                seen: list[str] = []
                while "silent" not in seen:
                    seen += [state_of(each) for each in await client.members() if each.id == dead]
                    await trio.sleep(0.05)
                assert "down" not in seen


async def test_nobody_answers(field: Field) -> None:
    with pytest.raises(Unreachable):
        async with field.client("a", patience_seconds=0.2) as client:
            await client.status()


async def test_who_founds_says_for_whom_it_waits(field: Field) -> None:
    """The client named only the address that it had tried last, and the member's log named each address twice."""
    async with trio.open_nursery() as nursery:

        async def keep() -> None:
            async with field.open("b", "ab"):
                raise AssertionError("it founded a cluster alone")

        nursery.start_soon(keep)
        await until(lambda: any("waiting for a" in line for line in field.lines), 30)
        with trio.fail_after(60), pytest.raises(NotReady) as caught:
            async with field.client("b", "a", patience_seconds=1) as client:
                await client.status()
        nursery.cancel_scope.cancel()
    assert caught.value.exit_code == 6
    assert "b does not take part in a cluster yet: waiting for a" in caught.value.message
    assert f"{field.address['a']}: cannot connect" in str(caught.value.hint)
    twice = f"{field.address['a']}: {field.address['a']}"
    assert twice not in str(caught.value) + "".join(field.lines)


class Configured:
    """What `_locate` looks at of a member that joins: who is in the cluster, as the log says so far."""

    id = "c"

    def __init__(self, *ids: str) -> None:
        self.configuration = raft.Configuration(tuple(raft.Member(id, 1) for id in ids))
        self.host = SimpleNamespace(
            engine=SimpleNamespace(state=SimpleNamespace(members={})), door=SimpleNamespace(leader=None)
        )


async def test_one_that_still_reads_of_the_time_before_it_joined_was_not_removed(autojump_clock: Any) -> None:
    """The log tells of the members that there were, one after the other; the newest entry has this one."""
    member: Any = Configured("a", "b")
    with trio.move_on_after(30) as reading:
        await _locate(member, None)  # type: ignore[arg-type]
    assert reading.cancelled_caught
    assert "c is not one of the members (a, b)" in _waits_for(member)
    member.configuration = Configured("a", "b", "c").configuration
    with trio.move_on_after(30):
        await _locate(member, None)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:

        async def remove() -> None:
            await trio.sleep(2)
            member.configuration = Configured("a", "b").configuration

        nursery.start_soon(remove)
        with pytest.raises(UsageError, match="c was removed"):
            await _locate(member, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("role", "roles"),
    [("voter", ["voter", "executor"]), ("executor", ["voter", "executor"]), ("executor", ["executor"])],
)
async def test_a_member_that_waits_to_be_added_joins_as_it_is_asked_to(
    field: Field, role: str, roles: list[str]
) -> None:
    """`graft member add --role executor` only checked the role, when a member that it did not fit had joined."""
    async with trio.open_nursery() as nursery:
        with trio.fail_after(60):
            async with field.open("a", "a"), field.client("a") as client:
                nursery.start_soon(field.wait_to_be_added, "b", roles)
                await until(lambda: any("b listens on" in line for line in field.lines))
                assert (await client.add_member("b", field.address["b"], role)).text == f"b joins as {role}"
                members = {each.id: each.role for each in await client.members()}
                assert (members["b"] == "executor") is (role == "executor")
                with pytest.raises(UsageError, match=f"b has joined as {role}, not as"):
                    await client.add_member("b", field.address["b"], "voter" if role == "executor" else "executor")
                nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("role", "roles"), [("voter", ["executor"]), ("executor", ["voter"])])
async def test_a_role_that_the_settings_do_not_allow_changes_nothing(field: Field, role: str, roles: list[str]) -> None:
    async with trio.open_nursery() as nursery:
        with trio.fail_after(60):
            async with field.open("a", "a"), field.client("a") as client:
                nursery.start_soon(field.wait_to_be_added, "b", roles)
                await until(lambda: any("b listens on" in line for line in field.lines))
                with pytest.raises(UsageError, match=f"b cannot join as {role}: its settings make it {roles[0]}"):
                    await client.add_member("b", field.address["b"], role)
                assert [each.id for each in await client.members()] == ["a"]
                nursery.cancel_scope.cancel()


async def test_a_directory_that_waited_and_was_then_used_alone_is_not_empty_any_more(
    field: Field, tmp_path: Path
) -> None:
    """`graft serve`, which found no cluster; `graft run`; `graft serve`: it joins nobody with a state of its own."""
    plan = compile_text(FLOW, filename="flow.toml", base=tmp_path).plan
    with trio.fail_after(60):
        with trio.move_on_after(1):
            async with field.open("a"):
                raise AssertionError("there is no cluster")
        assert load_identity(tmp_path / "a").cluster == ""  # type: ignore[union-attr]
        async with open_embedded(tmp_path / "a") as embedded:
            old = await embedded.start_run(plan, {"x": 1}, base=tmp_path)
            await embedded.wait(old)
        async with field.open("a"), field.client("a") as client:
            assert [each.run_id for each in await client.list()] == [old]


@pytest.mark.parametrize("died_at", ["adopt", "save_identity"])
async def test_a_directory_is_adopted_though_the_first_try_died(
    field: Field, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, died_at: str
) -> None:
    """Before the write and after it."""
    async with open_embedded(tmp_path / "a"):
        pass
    settings = field.settings("a", ())
    real = getattr(serving_module, died_at)
    for is_done in (False, True):

        def die(*arguments: Any, is_done: bool = is_done) -> None:
            if is_done:
                real(*arguments)
            raise InterruptedError

        with closing(open_store(tmp_path / "a")) as store:
            monkeypatch.setattr(serving_module, died_at, die)
            if not (is_done and died_at == "adopt" and load_identity(tmp_path / "a")):
                with pytest.raises(InterruptedError):
                    identify(tmp_path / "a", store, settings)
    monkeypatch.setattr(serving_module, died_at, real)
    with closing(open_store(tmp_path / "a")) as store:
        identity = identify(tmp_path / "a", store, settings)
        assert identity.member == "a"
        assert identity.founders == (sole_member(store),)
        assert identify(tmp_path / "a", store, settings) == identity


async def test_what_is_agreed_is_on_the_disk_before_it_is_said() -> None:
    """A member that forgot it could found with others, while those who heard it begin."""
    kept: list[Identity] = []
    meeting = Meeting(
        Identity("a", 1), NAME, "a:1", founders=("b", "a"), expect=0, version=1, security=None, keep=kept.append
    )
    question = pb.ProbeRequest(cluster_name=NAME, member="c", incarnation=3, address="c:1")
    assert list((await meeting.probe(question, anybody("test"))).founders) == []
    assert kept == []
    question = pb.ProbeRequest(cluster_name=NAME, member="b", incarnation=2, address="b:1")
    for _ in range(2):
        assert list((await meeting.probe(question, anybody("test"))).founders) == ["a=1", "b=2"]
    assert kept == [Identity("a", 1, agreed=("a", "b"))]
    changed = Meeting(kept[0], NAME, "a:1", founders=("a", "c"), expect=0, version=1, security=None, keep=kept.append)
    question = pb.ProbeRequest(cluster_name=NAME, member="c", incarnation=3, address="c:1")
    assert list((await changed.probe(question, anybody("test"))).founders) == []

    def fail(identity: Identity) -> None:
        raise StorageError("the disk is full")

    full = Meeting(Identity("a", 1), NAME, "a:1", founders=("a",), expect=0, version=1, security=None, keep=fail)
    with pytest.raises(StorageError):
        await full.probe(question, anybody("test"))
    assert full.identity == Identity("a", 1)


@pytest.mark.parametrize(
    ("field_name", "value"),
    [
        ("member", "x" * 600),
        ("member", "a\n"),
        ("member", ""),
        ("incarnation", 0),
        ("incarnation", (1 << 64) - 1),
        ("address", "garbage"),
        ("address", "a" * 10_000 + ":1"),
        ("role", "king"),
    ],
)
async def test_who_cannot_be_a_member_does_not_become_one(field_name: str, value: Any) -> None:
    meeting = Meeting(Identity("a", 1, "c"), NAME, "a:1", founders=(), expect=0, version=1, security=None)
    joined: list[Any] = []

    async def join(*arguments: Any) -> None:
        joined.append(arguments)

    handle = joiner(meeting, join, dict)
    fields: Any = {"cluster_name": NAME, "member": "b", "incarnation": 7, "address": "[::1]:7400", "role": "voter"}
    await handle(pb.JoinRequest(**fields), anybody("test"))
    with pytest.raises(UsageError):
        await handle(pb.JoinRequest(**(fields | {field_name: value})), anybody("test"))
    assert joined == [("b", 7, "voter", "[::1]:7400")]


@pytest.mark.parametrize("grace", ["0s", "200ms", "1s", "1m"])
def test_what_a_lease_ends_is_killed_before_others_begin_it(grace: str, tmp_path: Path) -> None:
    settings = load(flags={"node_id": "a", "engine.grace": grace}).settings
    lease_grace = host_settings(settings, tmp_path).lease_grace_ms / 1000
    assert lease_grace * (1 + settings.engine.clock_drift) <= settings.engine.grace
    assert lease_grace <= 0.5


async def finalize(field: Field, name: str, *more: str) -> tuple[int, str]:
    """`graft member finalize-upgrade`, asked of one member: its exit code, and all that it printed."""
    files = {"--tls-ca": field.files.authority, "--tls-cert": field.files.certificate, "--tls-key": field.files.key}
    at = ["--server", field.address[name], *(str(word) for pair in files.items() for word in pair)]
    words = [sys.executable, "-m", "graft", "member", "finalize-upgrade", *more, *at]
    done = await trio.run_process(words, capture_stdout=True, stderr=subprocess.STDOUT, check=False)
    return done.returncode, done.stdout.decode()


async def test_an_upgrade_is_finalized_when_all_members_understand_the_new_version(
    field: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One member after the other gets a program that understands a newer version; the command waits for the last."""
    old, new = CLUSTER_VERSION, CLUSTER_VERSION + 1
    with trio.fail_after(120):
        async with field.open("a", "a"), field.client("a") as client:
            await raised_to(client, old)  # a new cluster begins with what its founders understand
        monkeypatch.setattr(serving_module, "VERSION", new)
        async with field.open("a"), field.client("a") as client:
            monkeypatch.setattr(serving_module, "VERSION", old)
            to_a = {"discovery.peers": [field.address["a"]]}
            async with field.open("b", **to_a):
                await until(lambda: any("b takes part" in line for line in field.lines))
                await all_up(client, 2)
                code, said = await finalize(field, "a")
                assert code == 2
                assert (
                    f"the cluster's version stays {old}, it cannot be {new}: b understands no newer than {old}" in said
                )
                with pytest.raises(Rejected, match=f"not every member understands the version {new}: b"):
                    await client.raise_version(new)
            monkeypatch.setattr(serving_module, "VERSION", new)
            async with field.open("b", **to_a):
                await all_up(client, 2, version=new)
                code, said = await finalize(field, "b", "--plan")
                assert (code, (await client.status()).cluster_version) == (0, old)
                assert f"goes from {old} to {new}, which all its members understand (a, b)" in said
                assert "there is no way back" in said
                code, said = await finalize(field, "b")
                assert (code, said.splitlines()[-1]) == (0, f"the cluster's version is {new}")
                assert (await client.status()).cluster_version == new
                assert "nothing to do" in (await finalize(field, "a"))[1]
            monkeypatch.setattr(serving_module, "VERSION", old)
            with pytest.raises(GraftError, match=f"runs at version {new}, this program understands 1 to {old}"):
                async with field.open("b", **to_a):
                    await trio.sleep_forever()


async def raised_to(client: Client, version: int) -> None:
    """Return when the cluster has this version."""
    while True:
        if (await client.status()).cluster_version == version:
            return
        await trio.sleep(0.05)


async def all_up(client: Client, count: int, *, version: int = 0) -> None:
    """Return when so many members are live, and each said that it understands `version`."""
    while True:
        members = await client.members()
        if len(members) == count and all(each.live and each.version >= version for each in members):
            return
        await trio.sleep(0.05)
