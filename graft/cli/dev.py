"""A cluster of processes on this machine, and a view of it (`graft dev`)."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import string
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from subprocess import DEVNULL, PIPE

import trio
from attrs import define, frozen
from rich.console import Console
from rich.live import Live
from rich.table import Table

from graft.cli.terminal import flush, is_terminal, note, out
from graft.client import Client
from graft.cluster.membership import ClusterStatus
from graft.errors import GraftError, UsageError
from graft.security.certs import make_dev
from graft.security.sealing import KEY_FILE, make_key_file
from graft.security.tls import ClientSecurity, TlsFiles
from graft.storage.lock import DirectoryLock

NAME = "dev"
FILE = "dev.json"
LOCK = "dev.lock"
LEADER = "leader.pid"
LOOK_SECONDS = 0.5
HURRIED_SECONDS = 0.1  # while nobody is known to lead: `leader.pid` is missed
ANSWER_SECONDS = 1.0
HAND_OVER_SECONDS = 2.0  # in order; when all members end at once there is nobody to hand over to
STOP_SECONDS = 20.0


@frozen
class Plan:
    """What the members are: in `dev.json`, so that they are the same the next time."""

    names: tuple[str, ...]
    ports: tuple[int, ...]

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(f"127.0.0.1:{port}" for port in self.ports)


@define(eq=False)
class Process:
    """A member's process, now and then. `pid` is None while there is none."""

    name: str
    address: str
    pid: int | None = None
    deaths: int = 0
    status: ClusterStatus | None = None


def run_dev(directory: Path, members: int, restart_seconds: float) -> int:
    """Until Ctrl-C. Gives the exit code. Raises UsageError; StoreHeld while another one runs there."""
    plan = plan_of(directory, members)
    lock = take_lock(directory)
    try:
        return _run(directory, plan, restart_seconds)
    finally:
        lock.release(None)


def take_lock(directory: Path) -> DirectoryLock:
    """A second one would make new certificates under the members of the first. Raises StoreHeld, UsageError."""
    try:
        return DirectoryLock.take(directory / LOCK)
    except OSError as error:
        raise UsageError(f"{directory / LOCK} cannot be written: {error.strerror or error}") from error


def _run(directory: Path, plan: Plan, restart_seconds: float) -> int:
    certificates = make_dev(directory / "certs", NAME, plan.names)
    make_key_file(directory / KEY_FILE)
    environment = write_environment(directory, plan, certificates.clients["operator"])
    out(f"in another terminal:  . {shlex.quote(str(environment))}")
    kill = f'kill -9 "$(cat {shlex.quote(str(directory / LEADER))})"'
    out(f"then, for example:     graft run flow.toml    graft member ls    {kill}")
    return trio.run(_main, directory, plan, certificates.clients["operator"], restart_seconds)


def plan_of(directory: Path, members: int) -> Plan:
    """That of an earlier time, or a new one on ports that are free. Raises UsageError."""
    path = directory / FILE
    if path.exists():
        try:
            fields = json.loads(path.read_text())
            plan = Plan(tuple(fields["names"]), tuple(fields["ports"]))
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path} is damaged: {error}", hint="remove the directory, or name another one") from None
        if len(plan.names) != members:
            raise UsageError(
                f"{directory} has a cluster of {len(plan.names)} members, not of {members}",
                hint=f"give --members {len(plan.names)}, or another directory with --data",
            )
        return plan
    plan = Plan(tuple(string.ascii_lowercase[:members]), free_ports(members))
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(json.dumps({"names": plan.names, "ports": plan.ports}) + "\n")
    return plan


def free_ports(count: int) -> tuple[int, ...]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = tuple(each.getsockname()[1] for each in sockets)
    for each in sockets:
        each.close()
    return ports


def write_environment(directory: Path, plan: Plan, files: TlsFiles) -> Path:
    """A file for the shell, by which every command reaches the cluster."""
    values = {
        "GRAFT_SERVER": ",".join(plan.addresses),
        "GRAFT_TLS_CA": str(files.authority.absolute()),
        "GRAFT_TLS_CERT": str(files.certificate.absolute()),
        "GRAFT_TLS_KEY": str(files.key.absolute()),
    }
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in values.items()]
    program = Path(sys.executable).with_name("graft")
    if program.exists() and shutil.which("graft") != str(program):  # of a virtual environment that is not activated
        lines.append(f'export PATH={shlex.quote(str(program.parent))}:"$PATH"\n')
    path = directory / "env"
    path.write_text("".join(lines))
    return path


async def _main(directory: Path, plan: Plan, files: TlsFiles, restart_seconds: float) -> int:
    processes = [Process(name, address) for name, address in zip(plan.names, plan.addresses, strict=True)]
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_show, processes, directory)
            for process in processes:
                nursery.start_soon(_ask, process, files)
                nursery.start_soon(_keep, process, directory, plan, restart_seconds)
            await anext(signals)
            nursery.cancel_scope.cancel()
    (directory / LEADER).unlink(missing_ok=True)  # who uses that number later is none of ours
    note("stopped; start it again with the same command")
    return 0


async def _keep(process: Process, directory: Path, plan: Plan, restart_seconds: float) -> None:
    """Run the member, again whenever it died. A cancel stops it."""
    while True:
        async with _running(process, directory, plan) as child:
            code = await child.wait()
        process.pid, process.deaths = None, process.deaths + 1
        note(f"{process.name} ended ({_ending(code, log_of(process, directory))}); it is back in {restart_seconds:g} s")
        await trio.sleep(restart_seconds)


def log_of(process: Process, directory: Path) -> Path:
    return directory / f"{process.name}.log"


def _ending(code: int, log: Path) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}; {log} says why"


@asynccontextmanager
async def _running(process: Process, directory: Path, plan: Plan) -> AsyncIterator[trio.Process]:
    """Its standard input is a pipe from us: when we are gone, however that came, it ends, too."""
    certs = directory / "certs"
    arguments = ["serve", "--name", process.name, "--data", str(directory / process.name), "--listen", process.address]
    arguments += [text for name in plan.names for text in ("--founder", name)]
    arguments += [text for address in plan.addresses for text in ("--peer", address)]
    arguments += ["--certs", str(certs), "--set", f"service_name={NAME}", "--stop-at-eof"]
    with open(log_of(process, directory), "ab") as log:  # noqa: ASYNC230 - it only opens
        child = await trio.lowlevel.open_process(
            [sys.executable, "-P", "-m", "graft", *arguments],  # -P: no modules of the directory that we are in
            stdin=PIPE,
            stdout=DEVNULL,
            stderr=log,
            start_new_session=True,
            env={name: value for name, value in os.environ.items() if not name.startswith("GRAFT_")}
            | {"GRAFT_SECURITY__SECRETS_KEY": f"file:{(directory / KEY_FILE).absolute()}"},
        )
    process.pid = child.pid
    try:
        yield child
    finally:
        if child.returncode is None:
            for seconds in (HAND_OVER_SECONDS, STOP_SECONDS):  # a second SIGTERM ends it at once
                child.terminate()
                with trio.move_on_after(seconds, shield=True):
                    await child.wait()
            if child.returncode is None:
                child.kill()


async def _ask(process: Process, files: TlsFiles) -> None:
    """Keep the member's own view of the cluster fresh."""
    while True:
        try:
            async with Client(process.address, security=ClientSecurity(files, NAME), patience_seconds=0) as client:
                while True:
                    with trio.fail_after(ANSWER_SECONDS):
                        process.status = await client.status()
                    await trio.sleep(LOOK_SECONDS if process.status.leader else HURRIED_SECONDS)
        except (GraftError, trio.TooSlowError):
            process.status = None
        await trio.sleep(LOOK_SECONDS)


# The view


async def _show(processes: list[Process], directory: Path) -> None:
    """A table on a terminal; otherwise a line whenever something is different."""
    told: dict[str, str] = {}
    live = Live(console=Console(), auto_refresh=False) if is_terminal(sys.stdout) else None
    around: AbstractContextManager[object] = nullcontext() if live is None else live
    with around:
        while True:
            if live is not None:
                live.update(table(processes, directory), refresh=True)
            note_leader(processes, directory)
            for process in processes:
                line = summary(process)
                if live is None and told.get(process.name) != line:
                    told[process.name] = line
                    out(line)
            flush()  # who reads it from a pipe is following
            await trio.sleep(LOOK_SECONDS if leader_of(processes) else HURRIED_SECONDS)


def leader_of(processes: Sequence[Process]) -> Process | None:
    """Of two that believe it, for a moment, the one of the later term."""
    leading = [
        (each.status.term, each) for each in processes if each.pid and each.status and each.status.role == "leader"
    ]
    return max(leading, key=lambda found: found[0], default=(0, None))[1]


def note_leader(processes: Sequence[Process], directory: Path) -> None:
    """`leader.pid`, for `kill`. It stays while nobody is known to lead, unless that process has ended."""
    leader, path = leader_of(processes), directory / LEADER
    noted = path.read_text().strip() if path.exists() else ""
    if leader is not None and noted != str(leader.pid):
        unfinished = path.with_name(LEADER + ".new")
        unfinished.write_text(f"{leader.pid}\n")
        os.replace(unfinished, path)
    elif leader is None and noted not in {str(each.pid) for each in processes if each.pid}:
        path.unlink(missing_ok=True)


def summary(process: Process) -> str:
    status = process.status
    if process.pid is None:
        return f"{process.name}: down"
    if status is None:
        return f"{process.name}: pid {process.pid}, starting"
    leader = "" if status.role == "leader" else f", follows {status.leader or 'nobody: no leader is known'}"
    return f"{process.name}: pid {process.pid}, {process.address}, {status.role}{leader}"


def table(processes: list[Process], directory: Path) -> Table:
    grid = Table(title=f"graft dev in {directory}", title_justify="left", caption="Ctrl-C ends it")
    for column in ("member", "pid", "address", "role", "term", "log", "runs under way"):
        grid.add_column(column, justify="right" if column in ("pid", "term", "log", "runs under way") else "left")
    for process in processes:
        status = process.status
        pid = "" if process.pid is None else str(process.pid)
        if status is None:
            state = "down" if process.pid is None else "starting"
            grid.add_row(process.name, pid, process.address, state, "", "", "", style="red" if not pid else "yellow")
        else:
            role = status.role if status.has_quorum else f"{status.role}, no quorum"
            style = "bold green" if status.role == "leader" else None if status.has_quorum else "yellow"
            numbers = (str(status.term), str(status.applied), str(status.live_runs))
            grid.add_row(process.name, pid, process.address, role, *numbers, style=style)
    return grid
