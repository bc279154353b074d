"""Types of errors (R9), and the patterns of `retry` and `catch` that mean them: one spelling, one matcher.

::

    pattern = "*" | type | family | family ".*" | "http.4xx" | "http.5xx"

A plan holds canonical patterns only: the language reads what an author wrote with `canonical_pattern`, which refuses
whatever no error could ever have as its type. So the engine's matcher stays what it was when the first logs were
written, and a pattern that compiles is one that can match.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from attrs import frozen

PLAIN: dict[str, str] = {
    "timeout": "an attempt, a step or a scope took too long",
    "heartbeat": "the step was silent for too long",
    "expression": "an expression could not be evaluated",
    "output_schema": "the result is not what `output` or `returns` says",
    "too_large": "the result is larger than the limit",
    "lost_member": "the process that ran it was lost, too many times",
    "shortage": "its member had too few files or processes, or too little memory or space to begin it, too many times",
    "rejected": "a person refused it",
    "failed": "what a `fail` node gives that names no type",
}
"""Built-in types that are only a name, and what they mean."""

GROUP = "group"
"""The type of several errors of a scope. It is never matched itself: a `catch` has to match each of its causes."""

_SIGNALS = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG "
    "XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"
)
SIGNALS: dict[int, str] = {number: f"SIG{name}" for number, name in enumerate(_SIGNALS.split(), 1)} | {
    34: "SIGRTMIN",
    64: "SIGRTMAX",
}
"""Linux's signals by number: a table of our own, as a plan means the same on every machine."""

_ALIASES = {"SIGIOT": "SIGABRT", "SIGCLD": "SIGCHLD", "SIGPOLL": "SIGIO"}
_NUMBERS = {name: number for number, name in SIGNALS.items()}

_OWN = re.compile(r"[A-Za-z_][A-Za-z0-9_\-]*(\.[A-Za-z0-9_\-]+)*")


class WrongErrorType(ValueError):
    """A text is not an error type. `suggestion` is what may have been meant."""

    def __init__(self, message: str, suggestion: str | None = None) -> None:
        super().__init__(message)
        self.suggestion = suggestion


@frozen
class Family:
    """Types with a common beginning: `exit.1`. `read` gives the canonical form of what stands behind the dot.

    `kinds`: the kinds of steps that fail so.
    """

    shown: str
    doc: str
    kinds: tuple[str, ...]
    example: str
    read: Callable[[str], str]


def _exit(code: str) -> str:
    if not re.fullmatch(r"[0-9]{1,9}", code):
        raise WrongErrorType("an exit code is a number from 1 to 255", "exit.1")
    if not 1 <= int(code) <= 255:
        raise WrongErrorType("no command fails with this code: exit codes of failures are 1 to 255", "exit.1")
    return str(int(code))


def _signal(name: str) -> str:
    """`SIGKILL` for `KILL`, `SIGKILL` and `9`: the name that the worker gives."""
    try:
        number = int(name.removeprefix("SIG")) if re.fullmatch(r"(SIG)?[0-9]{1,3}", name) else _signal_number(name)
        if 1 <= number <= 64:
            return signal_name(number)
    except (KeyError, ValueError):
        pass
    raise WrongErrorType("there is no such signal", "signal.SIGKILL")


def _signal_number(name: str) -> int:
    base, plus, more = name.partition("+")
    full = base if base.startswith("SIG") else f"SIG{base}"
    known = _NUMBERS[_ALIASES.get(full, full)]
    return known + int(more) if plus else known


def signal_name(number: int) -> str:
    """The name of a signal in the type of an error: `SIGKILL`; `SIG35` where the system has no name for it."""
    return SIGNALS.get(number, f"SIG{number}")


def _http(what: str) -> str:
    if what in ("connect", "4xx", "5xx"):
        return what
    if re.fullmatch(r"[1-5][0-9]{2}", what):
        return what
    if what.lower() in ("4xx", "5xx"):
        raise WrongErrorType("classes of statuses are written small", f"http.{what.lower()}")
    if re.fullmatch(r"[123](xx|XX)", what):
        raise WrongErrorType(
            "of the classes only 4xx and 5xx are failures; any other status is named itself", "http.304"
        )
    raise WrongErrorType("a status is a number of three digits", "http.503")


def _python(name: str) -> str:
    if name.isidentifier():
        return name
    last = name.rpartition(".")[2]
    if last.isidentifier():
        raise WrongErrorType("an exception is named by its class alone, without its module", f"python.{last}")
    raise WrongErrorType("an exception is named by its class", "python.ValueError")


FAMILIES: dict[str, Family] = {
    "exit": Family("exit.N", "a command ended with code N, from 1 to 255", ("run", "exec"), "exit.1", _exit),
    "signal": Family(
        "signal.NAME",
        "a command was ended by a signal, such as `signal.SIGKILL`",
        ("run", "exec"),
        "signal.SIGKILL",
        _signal,
    ),
    "python": Family("python.CLASS", "a Python function raised CLASS", ("python",), "python.ValueError", _python),
    "http": Family(
        "http.N",
        "a server answered with status N; `http.connect`: there was no answer, no connection, or it broke",
        ("http",),
        "http.503",
        _http,
    ),
}


def canonical_pattern(text: str) -> str:
    """The pattern that `text` says, as plans hold it. Raises WrongErrorType when it could never match."""
    if text == "*":
        return text
    name, dot, rest = text.partition(".")
    if dot and rest == "*" and _OWN.fullmatch(name):
        _refuse_group(name)
        return name
    family = FAMILIES.get(name)
    if family is not None and dot:
        return f"{name}.{family.read(rest)}"
    own = text.removesuffix(".*")
    if not _OWN.fullmatch(own):
        raise WrongErrorType("it is made of letters, digits, `_`, `-` and dots", _meant(text))
    _refuse_group(own)
    return own


def own_type_problem(text: str) -> str | None:
    """Why a `fail` node cannot give `text` as the type of its error; None when patterns can name it."""
    if not _OWN.fullmatch(text):
        return "it is made of letters, digits, `_`, `-` and dots"
    if text == GROUP:
        return "`group` is the type of several errors together"
    if text in FAMILIES or text in ("http.4xx", "http.5xx"):
        return "it names a family of errors, not one of them"
    try:
        return None if canonical_pattern(text) == text else f"it is written `{canonical_pattern(text)}`"
    except WrongErrorType as error:
        return str(error)


def _refuse_group(name: str) -> None:
    if name == GROUP:
        raise WrongErrorType("a group is caught by the types of all errors in it", "*")


def _meant(text: str) -> str | None:
    if re.fullmatch(r"[0-9]{1,3}", text):
        return f"http.{text}" if len(text) == 3 and text[0] in "45" else f"exit.{text}"
    name = text.strip().rstrip("*").rstrip(".")
    return name if name != text and _OWN.fullmatch(name) else None


def matches(pattern: str, error_type: str) -> bool:
    """Whether an error type is meant by a canonical pattern.

    `*` means all, `http.4xx` and `http.5xx` a class, and a type means itself and what is below it: `exit` means
    `exit.2`.
    """
    if pattern in ("*", error_type):
        return True
    if pattern in ("http.4xx", "http.5xx"):
        code = error_type.removeprefix("http.")
        return len(code) == 3 and code.isdigit() and code[0] == pattern[5]
    return error_type.startswith(pattern + ".")
