"""The executor of `run` and `exec`: a program in a group of its own, under the guardian.

Input comes from an anonymous file, so nothing has to feed it and a program that ignores it does no harm. Output comes
through two pipes that are read all the time, also while a cancelled program uses its grace; so a program never blocks
on us, however much it prints.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import msgspec
import trio
from attrs import frozen

from graft.plan import ExecAction, RunAction
from graft.plan.error_types import signal_name
from graft.worker.attempt import Attempt
from graft.worker.capture import Capture, Tail
from graft.worker.failures import AttemptLost, StepFailure, StepSkipped
from graft.worker.files import file_record, passes, path_of
from graft.worker.guardian_client import GuardianLost, Process, SpawnFailed
from graft.worker.results import check_size, decode_json, lines_of
from graft.worker.shells import default_shell
from graft.worker.shortage import SHORT, Shortage, patiently, scarce

DRAIN_SECONDS = 0.5  # how long output may come after the program ended (a pipeline's last process, say)
LAST_OUTPUT_SECONDS = 0.05  # when the group is gone, what its pipes still hold is at hand at once
TOLD_SECONDS = 0.2  # between the signals to a command and to its guardian, when somebody signals all processes
CLOSE_SECONDS = 5.0  # how long a killed group may take to be gone
READ_BYTES = 64 * 1024

TOLD_STATUSES = frozenset(
    each for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP) for each in (-number, 128 + number)
)
"""How a command ends that was told to stop, or whose shell says that of its own command."""

_START_PROBLEMS = {2: (127, "command not found"), 20: (127, "command not found"), 13: (126, "permission denied")}


@frozen
class Command:
    """What is to be started, evaluated and checked."""

    argv: list[str]
    env: dict[bytes, bytes]
    cwd: Path
    stdin: bytes | None


async def run_command(attempt: Attempt, action: RunAction | ExecAction) -> Any:
    """Run it to its end: the value of its output. Raises StepFailure."""
    command = prepare(attempt, action)
    output_path = path_of(attempt, action.output_path, "output_path")
    capture = Capture(attempt.assignment.max_result_bytes) if action.output in ("text", "lines", "json") else None
    stderr = Tail()
    stdout = Tail()

    def take_stdout(data: bytes) -> None:
        attempt.log.write("out", data)
        stdout.feed(data)
        if capture is not None:
            capture.feed(data)

    def take_stderr(data: bytes) -> None:
        attempt.log.write("err", data)
        stderr.feed(data)

    async with attempt.tools.process_slots:
        status = await _run(attempt, command, take_stdout, take_stderr)
    attempt.log.flush()
    if status in action.skip_on:
        raise StepSkipped(f"exit.{status}", f"the command exited with {status}", is_ours=True)
    if status != 0:
        raise _bad_end(status, stderr.text() or stdout.text())
    if action.output == "file":
        return await file_record(attempt.assignment.base, output_path)
    return _value(attempt, action.output, capture) if capture is not None else None


async def _run(
    attempt: Attempt, command: Command, take_stdout: Callable[[bytes], None], take_stderr: Callable[[bytes], None]
) -> int:
    """Exit status of the program; nothing of its group is left when this returns or raises."""
    process, pumps = await patiently(attempt, lambda: _start(attempt, command, take_stdout, take_stderr))
    attempt.tools.processes_running += 1
    try:
        return await _attend(attempt, process, pumps)
    finally:
        attempt.tools.processes_running -= 1


async def _attend(attempt: Attempt, process: Process, pumps: list[_Pump]) -> int:
    async with trio.open_nursery() as nursery:
        for pump in pumps:
            nursery.start_soon(pump.run)
        try:
            status = await process.wait()
            with trio.move_on_after(DRAIN_SECONDS) as drain:
                for pump in pumps:
                    await pump.ended.wait()
            if drain.cancelled_caught:
                attempt.log.note("the program ended, but something that it started holds its output open; killing that")
            with trio.move_on_after(CLOSE_SECONDS, shield=True):
                await process.close()
            process.kill()
            if status != 0 and await process.was_told_to_stop(TOLD_SECONDS if status in TOLD_STATUSES else 0):
                raise AttemptLost("lost_member", "all processes here were told to stop, and so was the command")
        except GuardianLost as error:
            raise _lost(error) from None
        except BaseException:
            grace = attempt.tools.grace_seconds
            with trio.move_on_after(grace + CLOSE_SECONDS, shield=True):
                await process.close(grace)
            process.kill()
            raise
        finally:
            with trio.move_on_after(LAST_OUTPUT_SECONDS, shield=True) as rest:
                for pump in pumps:
                    pump.scope.deadline = rest.deadline
                for pump in pumps:
                    await pump.ended.wait()
    return status


async def _start(
    attempt: Attempt, command: Command, take_stdout: Callable[[bytes], None], take_stderr: Callable[[bytes], None]
) -> tuple[Process, list[_Pump]]:
    """Raises StepFailure, Shortage."""
    ends: list[int] = []
    try:
        with _stdin_file(command.stdin) as stdin:
            with scarce("no pipe can be made for the command"):
                ends += os.pipe()
                ends += os.pipe()
            out, out_end, err, err_end = ends
            process = await _spawn(attempt, command, (stdin.fileno(), out_end, err_end))
            ends = [out_end, err_end]
            return process, [_Pump(out, take_stdout), _Pump(err, take_stderr)]
    finally:
        for end in ends:
            os.close(end)


class _Pump:
    """Reads a pipe until its end, shielded: it goes on while a cancelled program uses its grace."""

    def __init__(self, descriptor: int, take: Callable[[bytes], None]) -> None:
        self._stream = trio.lowlevel.FdStream(descriptor)
        self._take = take
        self.scope = trio.CancelScope(shield=True)
        self.ended = trio.Event()

    async def run(self) -> None:
        async with self._stream:
            with self.scope:
                while data := await self._stream.receive_some(READ_BYTES):
                    self._take(data)
        self.ended.set()


def prepare(attempt: Attempt, action: RunAction | ExecAction) -> Command:
    """Evaluate the inputs. Raises StepFailure of type `expression`."""
    base = attempt.assignment.base
    argv = _arguments(_shell(action) if isinstance(action, RunAction) else attempt.evaluate(action.argv))
    table = attempt.evaluate(action.env)
    if not isinstance(table, dict):
        raise StepFailure("expression", f"`env` needs a table, not {as_text(table)[:80]}")
    env = dict(os.environb)
    for name, value in ({name: as_text(value) for name, value in table.items()} | graft_variables(attempt)).items():
        if not name or "=" in name or not (passes(name) and passes(value)):
            raise StepFailure("expression", f"env {name!r} cannot be passed: NUL or broken Unicode, or = in the name")
        env[os.fsencode(name)] = os.fsencode(value)
    stdin = None if action.stdin is None else as_text(attempt.evaluate(action.stdin)).encode("utf-8", "surrogatepass")
    return Command(argv, env, base / (path_of(attempt, action.cwd, "cwd") or ""), stdin)


def _shell(action: RunAction) -> list[str]:
    return [*(action.shell or default_shell()), action.command]


def graft_variables(attempt: Attempt) -> dict[str, str]:
    a = attempt.assignment
    return {
        "GRAFT_RUN_ID": a.run_id,
        "GRAFT_STEP": a.path,
        "GRAFT_ATTEMPT": str(a.attempt),
        "GRAFT_IDEMPOTENCY_KEY": a.idempotency_key,
    }


def as_text(value: Any) -> str:
    """A value for a program: text as it is, anything else as JSON. Raises StepFailure of type `expression`."""
    return value if isinstance(value, str) else as_json(value).decode()


def as_json(value: Any) -> bytes:
    """Raises StepFailure of type `expression` when `value` has no JSON form."""
    try:
        return msgspec.json.encode(value)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise StepFailure("expression", f"a value has no JSON form: {error}") from None


def _arguments(value: Any) -> list[str]:
    if not isinstance(value, list) or not value:
        raise StepFailure("expression", "`exec` needs a list with at least the program's name")
    argv = [as_text(each) for each in value]
    if not argv[0]:
        raise StepFailure("expression", "the program's name, the first of `exec`, is empty")
    if not all(map(passes, argv)):
        raise StepFailure("expression", "an argument of the command holds a NUL character or broken Unicode")
    return argv


def _stdin_file(data: bytes | None) -> IO[bytes]:
    """To be closed by the caller. Raises Shortage."""
    if data is None:
        with scarce("the input of the command cannot be opened"):
            return Path(os.devnull).open("rb")
    with scarce("there is no directory for temporary files", None):
        directory = tempfile.gettempdir()
    with scarce(f"the input of the command cannot be written to {directory}", None), ExitStack() as stack:
        file = stack.enter_context(tempfile.TemporaryFile(dir=directory, buffering=0))
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest) or 0 :]
        file.seek(0)
        stack.pop_all()
        return file


async def _spawn(attempt: Attempt, command: Command, files: tuple[int, int, int]) -> Process:
    try:
        with scarce("no process can be started for the command"):
            return await attempt.tools.guardians.spawn(command.argv, command.env, command.cwd, files)
    except SpawnFailed as error:
        if error.errno in SHORT:
            raise Shortage(f"no process can be started for the command: {error.reason}") from None
        raise _not_started(command, error) from None
    except GuardianLost as error:
        raise _lost(error) from None


def _lost(error: GuardianLost) -> AttemptLost:
    return AttemptLost("lost_member", "the guardian of the step's processes died, and they with it", str(error))


def _not_started(command: Command, error: SpawnFailed) -> StepFailure:
    if error.stage == "cwd":
        return StepFailure("exit.126", f"the working directory {command.cwd} cannot be used: {error.reason}")
    code, text = _START_PROBLEMS.get(error.errno, (126, error.reason))
    size = sum(len(each) for each in (*map(os.fsencode, command.argv), *command.env, *command.env.values()))
    detail = {
        7: f"arguments and environment are {size} bytes; pass large values through stdin, long scripts as files",
        2: f"looked for it in PATH: {os.fsdecode(command.env.get(b'PATH', os.defpath.encode()))}",
    }.get(error.errno, "")
    if error.errno == 2 and "/" in command.argv[0]:
        detail = ""
        text = _interpreter_problem(command) or text
    return StepFailure(f"exit.{code}", f"`{command.argv[0]}`: {text}", detail)


def _interpreter_problem(command: Command) -> str | None:
    """Why a script that is there was not found: the system looked for what its first line names."""
    path = command.cwd / command.argv[0]
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            line = file.readline(256)
    except OSError:
        return None
    if not line.startswith(b"#!"):
        return None
    if line.endswith(b"\r\n"):
        return "its first line ends with a carriage return; save it with Unix line ends"
    words = line[2:].decode(errors="replace").split()
    return f"its first line names {words[0]}, which is not there" if words else "its first line names no program"


def _bad_end(status: int, detail: str) -> StepFailure:
    if status > 0:
        return StepFailure(f"exit.{status}", f"the command exited with {status}", detail, is_ours=True)
    name = signal_name(-status)
    return StepFailure(f"signal.{name}", f"the command was killed by {name}", detail, is_ours=True)


def _value(attempt: Attempt, output: str, capture: Capture) -> Any:
    limit = attempt.assignment.max_result_bytes
    check_size(capture.size, limit)
    data = capture.content()
    if output == "json":
        return decode_json(data, "what the command printed")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        text = data.decode("utf-8", "replace")
        attempt.log.note(f"the output is not UTF-8 (byte {error.start}); such bytes became U+FFFD in the result")
    return text.removesuffix("\n") if output == "text" else lines_of(text)
