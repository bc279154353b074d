"""What is printed when a command does not end well, and its exit code. No traceback, ever, unless it is asked for.

============================  ==================================================  =================
what came out                 what is shown (stderr)                              exit code
============================  ==================================================  =================
`click.exceptions.Exit`       nothing                                             its own
`click.ClickException`        `error:` message, the help to ask for               its own (2)
`GraftError`                  `error:` message, hint; a flow's diagnostics        its own
`ExceptionGroup` of these     each of them                                        the highest
`KeyboardInterrupt`           one line                                            130
`BrokenPipeError`             nothing: the reader of the pipe had enough          0
`OSError`, `MemoryError`      `error:` what the system refused, the crash file    1
anything else                 one line, the crash file to report it with          1
============================  ==================================================  =================

`GRAFT_TRACEBACK=1` prints the traceback of the last two rows instead of writing a crash file.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import click

from graft.cli import exits
from graft.cli.terminal import Paint, has_color, let_go_of_broken_pipes, plain_text, shown
from graft.errors import GraftError, InvalidFlow

if TYPE_CHECKING:
    from graft_dsl import Diagnostic


def report(error: BaseException) -> int:
    """Print `error` for a person and give the exit code of the process."""
    try:
        return _report(error)
    except BrokenPipeError:
        return _quiet_pipe()
    except KeyboardInterrupt:
        return exits.INTERRUPTED


def _report(error: BaseException) -> int:
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else exits.FAILED
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        return _quiet_pipe()
    leaves = _leaves(error)
    if any(isinstance(leaf, (KeyboardInterrupt, click.Abort)) for leaf in leaves):
        _print("interrupted")
        return exits.INTERRUPTED
    strangers = [leaf for leaf in leaves if not isinstance(leaf, (GraftError, click.ClickException))]
    if strangers:
        return _crash(error, strangers[0])
    return max(_explain(leaf) for leaf in leaves)


def _leaves(error: BaseException) -> list[BaseException]:
    """The errors of a group, however deep, without repeats; the error itself when it is none."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    found: list[BaseException] = []
    for each in error.exceptions:
        found += [leaf for leaf in _leaves(each) if leaf not in found]
    return found


def _explain(error: BaseException) -> int:
    paint = Paint.of(sys.stderr)
    if isinstance(error, InvalidFlow):
        _print(_diagnostics(error, paint))
        return error.exit_code
    if isinstance(error, GraftError):
        _print(f"{paint('error:', 'red', 'bold')} {plain_text(error.message)}")
        if error.hint:
            _print("  " + plain_text(error.hint).replace("\n", "\n  "))
        return error.exit_code
    assert isinstance(error, click.ClickException)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        _print(error.format_message())
        return error.exit_code
    _print(f"{paint('error:', 'red', 'bold')} {plain_text(error.format_message())}")
    context = getattr(error, "ctx", None)
    hint = _usage_hint(error, context)
    if hint:
        _print(f"  {hint}")
    if context is not None:
        _print(f"  see `{context.command_path} --help`")
    return error.exit_code


_TRUTHS = frozenset({"true", "false", "yes", "no", "on", "off", "0", "1"})


def _usage_hint(error: click.ClickException, context: click.Context | None) -> str | None:
    """What was meant by words that click does not know what to do with."""
    message = error.format_message()
    if isinstance(error, click.BadOptionUsage) and "does not take a value" in message:
        name = error.option_name.lstrip("-").removeprefix("no-")
        return f"a flag takes no value: `--{name}` is true, `--no-{name}` is false"
    if "unexpected extra argument" not in message or context is None:
        return None
    if message.rpartition("(")[2].rstrip(")").lower() in _TRUTHS:
        return "a flag takes no value: `--NAME` is true, `--no-NAME` is false"
    return "`graft show RUN` shows a run" if context.info_name == "status" else None


def _diagnostics(error: InvalidFlow, paint: Paint) -> str:
    text = error.message
    if paint.on and error.diagnostics:
        from graft_dsl import render

        text = paint.adopt(render(cast("Sequence[Diagnostic]", error.diagnostics), color=True))
    return text.rstrip("\n") + (f"\n  {error.hint}" if error.hint else "")


def _crash(error: BaseException, stranger: BaseException) -> int:
    import traceback

    text = "".join(traceback.format_exception(error))
    if os.environ.get("GRAFT_TRACEBACK", "") not in ("", "0"):
        _print(text.rstrip())
        return exits.FAILED
    path = _crash_file(text)
    if isinstance(stranger, (OSError, MemoryError)):
        _print(f"{Paint.of(sys.stderr)('error:', 'red', 'bold')} {_refusal(stranger)}")
        _print(f"  the system refused it{f'; the details are in {path}' if path else ''}")
        return exits.FAILED
    what = " ".join(plain_text(f"{type(stranger).__name__}: {stranger}").split())
    _print(f"graft: internal error: {what}")
    where = f"please report it with the file {path}" if path else "please report it"
    _print(f"  this is a bug in Graft, not in your flow; {where} (GRAFT_TRACEBACK=1 shows the traceback here)")
    return exits.FAILED


def _refusal(error: OSError | MemoryError) -> str:
    if isinstance(error, MemoryError):
        return "out of memory"
    where = f": {error.filename}" if error.filename is not None else ""
    return plain_text(f"{error.strerror or error}{where}")


def _crash_file(text: str) -> str | None:
    """Write the traceback where only this user can read it; None when nothing can be written."""
    import platform
    import tempfile
    import time

    from graft import __version__
    from graft.storage.lock import shown_command

    head = f"graft {__version__}, Python {platform.python_version()}, {platform.platform()}\n"
    try:
        handle, path = tempfile.mkstemp(prefix=time.strftime("graft-crash-%Y%m%d-%H%M%S-"), suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(head + f"command: {shown_command(sys.argv)}\n\n" + text)
    except OSError:
        return None
    return path


def _quiet_pipe() -> int:
    let_go_of_broken_pipes()
    return exits.SUCCEEDED


def _print(text: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(shown(text, color=has_color(sys.stderr, os.environ)) + "\n")
        sys.stderr.flush()
