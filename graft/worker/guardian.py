"""The guardian: one small process that is the parent of every process that steps run.

Why: when Graft is killed with SIGKILL it cannot clean up, and its children would live on. The guardian's end of a
socket pair then reads end-of-file, and it kills them all. It is a child subreaper (Linux), so a grandchild that made
itself a daemon becomes its child when its parent ends: it is found in `/proc` and dies too. A program of its own, not
a fork of Graft: it imports little (it starts in about 12 ms), has one thread, and forks fast because it is small.

Programs are started with `posix_spawn`, which does not copy the guardian's memory map: 1 ms less a step than `fork`,
`PR_SET_PDEATHSIG`, `exec`. The price is that the leaders do not die by themselves when the guardian alone is killed;
then Graft kills them (`guardian_client`).

It speaks frames: four bytes of length, then `marshal` of a tuple (the same interpreter is on both ends). Requests::

    ("spawn", id, argv, env, cwd, tag)   with stdin, stdout, stderr as SCM_RIGHTS
    ("close", id, grace_ms, term)        end the step: SIGTERM to the group when `term`; when the grace is over, or
                                         nothing of the group is left, SIGKILL to the group; reap; sweep
    ("lease", deadline)                  when CLOCK_BOOTTIME (seconds) passes `deadline`, kill everything and go on;
                                         None: there is no deadline (again)

and answers::

    ("started", id, pid)                 the program runs; pid is also its process group
    ("failed", id, stage, errno, text)   it could not be started: stage is "cwd" or "exec"; `text` when errno is 0
    ("exited", id, status)               the leader ended; `status` as of `os.waitstatus_to_exitcode`
    ("closed", id, killed)               nothing of the group is left; `killed`: SIGKILL was needed
    ("told", 0)                          a signal that asks to stop reached the guardian, and so perhaps all that it has
    ("crashed", 0, traceback)            a bug of ours; the guardian kills everything and ends

Steps are in sessions of their own, as the guardian is. So whoever sends a signal to the group of Graft or presses
Ctrl-C reaches neither, and a service manager that signals every process of its control group reaches both: then what
ends now was stopped from outside, and did not fail.

A leader that ended stays a zombie until its step is closed: so its number, which is that of the group, cannot be given
to another process meanwhile, and a signal to the group cannot hit a stranger.

Which daemons belong to a step is told by the variable GRAFT_GUARD in their environment, the request's `tag`. One that
wiped its environment is left alone when its step ends, and killed when Graft ends.

A lease is what lets a member of a cluster run steps. A member that is stopped (SIGSTOP, a frozen container, a laptop
that slept) cannot see that its own has ended, while the others give its steps to somebody else. The guardian sees it.
The clock goes on while the machine sleeps; a poll may not, so with a lease none is longer than `LEASE_POLL_SECONDS`.
"""

# ruff: noqa: SIM105  (contextlib costs 3 ms of a start of 12)

from __future__ import annotations

import errno
import marshal
import os
import resource
import select
import struct
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs 5 ms more
    import signal
    import socket
    from typing import Any
else:  # the C halves: their Python halves (enum, selectors) would double the time that the guardian takes to start
    import _signal as signal
    import _socket as socket

TAG = "GRAFT_GUARD"
SWEEP_SECONDS = 0.05  # daemons are looked for this long after a step ended, once for all that ended meanwhile
POLL_SECONDS = 0.02  # how often a group that is ending is looked at
SHARE = 20  # of the time at most one part in so many goes into reading /proc, which grows with the machine
LEASE_POLL_SECONDS = 0.2
MAX_START_BYTES = 8 * 1024 * 1024  # of arguments and environment; no system takes so much
LAST_SECONDS = 10.0  # how long the guardian of a dead Graft tries to kill what does not die
LINUX = sys.platform.startswith("linux")
KEEPS_ZOMBIES = hasattr(os, "waitid")  # macOS has it since Python 3.13

_PR_SET_CHILD_SUBREAPER = 36
# All of them: a shell that put us into the background had us ignore SIGINT and SIGQUIT, nohup SIGHUP, and so on.
_STOP_SIGNALS = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)
_DEFAULT_SIGNALS = tuple(set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP})


def become_subreaper() -> None:
    if LINUX:
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Step:
    """One spawned program and its group. `pid` is both."""

    def __init__(self, pid: int, tag: str) -> None:
        self.pid = pid
        self.tag = tag
        self.exited = False
        self.reaped = False
        self.closing = False
        self.killed = False
        self.deadline = 0.0  # of the grace, when `closing`

    def signal(self, number: int) -> None:
        if not self.reaped:
            try:
                os.killpg(self.pid, number)
            except (ProcessLookupError, PermissionError):  # macOS: EPERM when all are zombies
                pass


class Guardian:
    def __init__(self, control: socket.socket, graft: int) -> None:
        self.control = control
        self.pid = os.getpid()
        self.steps: dict[int, Step] = {}
        self.received = b""
        self.descriptors: list[int] = []
        self.short_of_files = False  # descriptors that came with the next request were lost
        self.child_ended = False
        self.told = False  # to stop, from outside; not said yet
        self.sweep_at: float | None = None
        self.sweep_not_before = 0.0
        self.look_at = 0.0  # not before this time is /proc read again for groups that are ending
        self.tags: set[str] = set()  # of steps that ended since the last sweep
        self.lease: float | None = None  # deadline, seconds of CLOCK_BOOTTIME
        self.poll = select.poll()
        self.wakeup = self._listen_for_signals()
        self.poll.register(control, select.POLLIN)
        self.poll.register(self.wakeup, select.POLLIN)
        # End-of-file alone is not enough: a fork that a step's Python code made of Graft holds our socket open.
        self.graft = _open_process(graft)
        if self.graft is not None:
            self.poll.register(self.graft, select.POLLIN)

    def _listen_for_signals(self) -> int:
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in _STOP_SIGNALS:
            signal.signal(number, self._note_stop)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        return reader

    def _note_stop(self, *_: Any) -> None:
        self.told = True

    def run(self) -> None:
        """Until Graft ends."""
        while True:
            for descriptor, _ in self.poll.poll(self._timeout()):
                if descriptor == self.control.fileno():
                    if not self._receive():
                        return
                elif descriptor == self.wakeup:
                    _drain(self.wakeup)
                    self.child_ended = True
                else:  # `self.graft`
                    return
            if self.told:  # before the ends that it may be the reason of
                self.told = False
                self._answer("told", 0)
            if self.lease is not None and boottime() >= self.lease:
                self.lease = None
                self._kill_everything()
                self.child_ended = True
            if self.child_ended:
                self.child_ended = False
                self._reap()
            self._close_due()
            if self.sweep_at is not None and time.monotonic() >= max(self.sweep_at, self.sweep_not_before):
                self._sweep()

    def _timeout(self) -> float | None:
        now = time.monotonic()
        waits = []
        if any(step.closing for step in self.steps.values()):
            waits.append(max(POLL_SECONDS, self.look_at - now))
        if self.sweep_at is not None:
            waits.append(max(0.0, self.sweep_at - now, self.sweep_not_before - now))
        if self.lease is not None:
            waits.append(min(max(0.0, self.lease - boottime()), LEASE_POLL_SECONDS))
        return min(waits) * 1000 if waits else None

    # Requests

    def _receive(self) -> bool:
        """Take what arrived. False when Graft has gone."""
        try:
            data, ancillary, flags, _ = self.control.recvmsg(1 << 16, socket.CMSG_SPACE(8 * 4))
        except (ConnectionResetError, BrokenPipeError):
            return False
        if flags & socket.MSG_CTRUNC:
            self.short_of_files = True
        for level, kind, body in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self.descriptors += struct.unpack(f"{len(body) // 4}i", body)
        for descriptor in self.descriptors:
            os.set_inheritable(descriptor, False)
        if not data:
            return False
        self.received += data
        while len(self.received) >= 4:
            (length,) = struct.unpack_from("!I", self.received)
            if len(self.received) < 4 + length:
                break
            request = marshal.loads(self.received[4 : 4 + length])
            self.received = self.received[4 + length :]
            if request[0] == "spawn":
                self._spawn(*request[1:])
            elif request[0] == "lease":
                self.lease = request[1]
            else:
                self._close(*request[1:])
        return True

    def _answer(self, *answer: Any) -> None:
        data = marshal.dumps(answer)
        try:
            self.control.sendall(struct.pack("!I", len(data)) + data)
        except (BrokenPipeError, ConnectionResetError):  # `_receive` sees the end next
            pass

    def _spawn(self, number: int, argv: list[bytes], env: dict[bytes, bytes], cwd: bytes, tag: str) -> None:
        files, self.descriptors = self.descriptors[:3], self.descriptors[3:]
        stage = "cwd"
        try:
            if self.short_of_files or len(files) < 3:
                self.short_of_files = False
                raise OSError(errno.EMFILE, "too many open files")
            os.chdir(cwd)
            stage = "exec"
            pid = _start(argv, env, files)
        except OSError as error:
            self._answer("failed", number, stage, error.errno, "")
        except Exception as error:  # whatever was sent for one step must not end the others
            self._answer("failed", number, stage, 0, f"{type(error).__name__}: {error}")
        else:
            self.steps[number] = Step(pid, tag)
            self._answer("started", number, pid)
        finally:
            os.chdir("/")
            for descriptor in files:
                os.close(descriptor)

    def _close(self, number: int, grace_ms: int, term: bool) -> None:
        step = self.steps.get(number)
        if step is None:
            self._answer("closed", number, False)
            return
        step.closing = True
        step.deadline = time.monotonic() + grace_ms / 1000
        if term:
            step.signal(signal.SIGTERM)
            step.signal(signal.SIGCONT)  # a stopped process does not see SIGTERM

    # What becomes of steps

    def _reap(self) -> None:
        ended = False
        for number, step in self.steps.items():
            if step.exited:
                continue
            status = _exit_status(step)
            if status is not None:
                step.exited = ended = True
                self._answer("exited", number, status)
        if not ended and LINUX:  # a daemon, which is ours since its parent ended
            self.sweep_at = self.sweep_at or time.monotonic() + SWEEP_SECONDS

    def _close_due(self) -> None:
        closing = [(number, step) for number, step in self.steps.items() if step.closing]
        now = time.monotonic()
        waiting = {step for _, step in closing if now < step.deadline}
        alone = self._alone(waiting) if waiting else set()
        for number, step in closing:
            if step in waiting and step.pid not in alone:
                continue
            step.killed = step.killed or not step.exited
            step.signal(signal.SIGKILL)
            if step.exited and self._bury(step):
                del self.steps[number]
                self.tags.add(step.tag)
                self.sweep_at = self.sweep_at or now + SWEEP_SECONDS
                self._answer("closed", number, step.killed)

    def _alone(self, steps: set[Step]) -> set[int]:
        """Groups of `steps` of which nothing but the leader, a zombie, is left. Looks only now and then."""
        began = time.monotonic()
        if began < self.look_at:
            return set()
        if not LINUX:
            return {step.pid for step in steps if step.exited and not _group_exists(step.pid)}
        busy = {group for _, _, group in processes()}
        self.look_at = time.monotonic() + SHARE * (time.monotonic() - began)
        return {step.pid for step in steps if step.exited and step.pid not in busy}

    def _bury(self, step: Step) -> bool:
        """Reap the leader, then wait for the others of its killed group. True when all are gone."""
        if not step.reaped:
            _reaped(step.pid)
            step.reaped = True
        if not _group_exists(step.pid):  # signal 0 harms nobody, should the number be in use again
            return True
        step.killed = True
        while _reaped(-step.pid, every=False):
            pass
        return not _group_exists(step.pid)

    def _sweep(self) -> None:
        """Kill the daemons of steps that ended, and reap those that ended themselves, whosever they were.

        `waitpid(-1)` would take the zombies that we keep, so each child that leads no step is asked for.
        """
        began = time.monotonic()
        self.sweep_at = None
        tags, self.tags = self.tags, set()
        table = list(processes(zombies=True))
        leaders = {step.pid for step in self.steps.values()}
        orphans = {pid for pid, parent, _ in table if parent == self.pid and pid not in leaders and not _reaped(pid)}
        doomed = {pid for pid in orphans if tag_of(pid) in tags}
        for pid in descendants(table, doomed) | doomed:
            kill(pid)
        if doomed:  # what a killed daemon leaves behind comes to us, and must go too
            self.tags |= tags
            self.sweep_at = began + SWEEP_SECONDS
        self.sweep_not_before = time.monotonic() + SHARE * (time.monotonic() - began)

    def _kill_everything(self) -> None:
        """Until no process below us runs any more. Those that led a step stay zombies, and are reaped as ever."""
        deadline = time.monotonic() + LAST_SECONDS
        while time.monotonic() < deadline:
            for step in self.steps.values():
                step.signal(signal.SIGKILL)
            below = descendants(list(processes()), {self.pid})
            for pid in below:
                kill(pid)
            if not below:
                return
            time.sleep(0.005)

    def end(self) -> None:
        """Graft has gone: kill everything, until nothing is left."""
        deadline = time.monotonic() + LAST_SECONDS
        while time.monotonic() < deadline:
            for step in self.steps.values():
                step.signal(signal.SIGKILL)
            if LINUX:
                for pid in descendants(list(processes()), {os.getpid()}):
                    kill(pid)
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                return
            for step in self.steps.values():
                step.reaped = step.reaped or not _group_exists(step.pid)
            time.sleep(0.005)


def _start(argv: list[bytes], env: dict[bytes, bytes], files: list[int]) -> int:
    """Start it in a session, and so a group, of its own; looked for in the PATH of `env`, as `execvpe` does."""
    if b"/" in argv[0]:
        return _spawn_file(argv[0], argv, env, files)
    problem: OSError = FileNotFoundError(errno.ENOENT, "not found")
    for directory in (env.get(b"PATH") or os.fsencode(os.defpath)).split(b":"):
        try:
            return _spawn_file(os.path.join(directory or b".", argv[0]), argv, env, files)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:  # counts more than an absent file
            problem = error
    raise problem


def _spawn_file(path: bytes, argv: list[bytes], env: dict[bytes, bytes], files: list[int]) -> int:
    actions = [(os.POSIX_SPAWN_DUP2, descriptor, target) for target, descriptor in enumerate(files)]
    return os.posix_spawn(path, argv, env, file_actions=actions, setsid=True, setsigmask=(), setsigdef=_DEFAULT_SIGNALS)


def _exit_status(step: Step) -> int | None:
    """Status of the leader when it ended, else None. Where the system can look without reaping, it stays a zombie."""
    if not KEEPS_ZOMBIES:
        pid, status = os.waitpid(step.pid, os.WNOHANG)
        step.reaped = pid != 0
        return os.waitstatus_to_exitcode(status) if pid else None
    found = os.waitid(os.P_PID, step.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if found is None:
        return None
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


def _reaped(pid: int, every: bool = True) -> bool:
    """Reap a child that ended. `every` is the answer when there is no such child."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return every


def _open_process(pid: int) -> int | None:
    """A descriptor that is readable once the process ended, where there is such a thing."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def _drain(descriptor: int) -> None:
    try:
        os.read(descriptor, 4096)
    except BlockingIOError:
        pass


def _group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return LINUX
    return True


def boottime() -> float:
    """Seconds on a clock that goes on while the machine sleeps, the same for all processes of a machine."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if LINUX else time.monotonic()


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


Row = tuple[int, int, int]


def processes(zombies: bool = False) -> list[Row]:
    """`(pid, parent, group)` of every process that is not a zombie, or of every one. Linux; elsewhere empty."""
    rows: list[Row] = []
    if not LINUX:
        return rows
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb", buffering=0) as stream:
                stat = stream.read(1024)
        except OSError:
            continue
        fields = stat[stat.rindex(b")") + 2 :].split(None, 3)  # the name of a program may hold spaces and brackets
        if zombies or fields[0] not in b"ZX":
            rows.append((int(name), int(fields[1]), int(fields[2])))
    return rows


def descendants(table: list[Row], roots: set[int]) -> set[int]:
    """All processes below `roots`, without them."""
    children: dict[int, list[int]] = {}
    for pid, parent, _ in table:
        children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if child not in found:
                found.add(child)
                waiting.append(child)
    return found - roots


def tag_of(pid: int) -> str | None:
    """The tag that the environment of a process holds."""
    marker = TAG.encode() + b"="
    try:
        with open(f"/proc/{pid}/environ", "rb") as stream:
            for variable in stream.read().split(b"\0"):
                if variable.startswith(marker):
                    return variable[len(marker) :].decode("utf-8", "replace")
    except OSError:
        pass
    return None


def main() -> None:
    """`guardian.py FD PID LIMIT`: its end of the socket, Graft's process, the soft limit of open files for steps."""
    for number in (*_STOP_SIGNALS, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    become_subreaper()
    control = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(control.fileno(), False)
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[3]), resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    guardian = Guardian(control, int(sys.argv[2]))
    try:
        guardian.run()
    except Exception:
        import traceback

        guardian._answer("crashed", 0, traceback.format_exc())
    finally:
        guardian.end()


if __name__ == "__main__":
    main()
