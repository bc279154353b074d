"""What `run`, `resume` and `retry` have in common once a run is on its way: show it, then say how it ended."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import trio

from graft.cli import exits
from graft.cli.ending import print_ending, tails_of
from graft.cli.following import DEFAULT, follow, parting_words
from graft.cli.interrupts import Interrupts
from graft.cli.records import result_record
from graft.cli.sources import Engine
from graft.cli.terminal import flush, let_go_of_broken_pipes, note, out_json
from graft.cli.verbosity import Verbosity
from graft.worker.descriptors import own_streams


def run_in_loop(main: Callable[[], Awaitable[int]], interrupts: Interrupts) -> int:
    """`trio.run`, with Ctrl-C in our hands from its first moment to its last.

    Until `follow` listens, the first Ctrl-C ends it all: what has been recorded so far can be resumed.
    """

    async def guarded() -> int:
        later = trio.lowlevel.current_trio_token().run_sync_soon
        with trio.CancelScope() as scope:
            interrupts.listen(lambda: later(scope.cancel), lambda: later(scope.cancel))
            return await main()
        raise KeyboardInterrupt

    with own_streams():
        return trio.run(guarded)


async def attend(
    engine: Engine,
    run_id: str,
    interrupts: Interrupts,
    *,
    as_json: bool,
    wait: bool,
    fresh: bool = False,
    since: int | None = None,
    flags: str = "",
    kept: bool = True,
    verbosity: Verbosity = DEFAULT,
) -> int:
    """Show the run until it ends and print how it ended. Gives the exit code.

    `fresh`: show it from its beginning, not from now on; `since`: from behind that event on, for who caused what came
    after it: elsewhere a run goes on before it is looked at. `kept`: it can be asked for later. `flags`: what a command
    needs to find the same place.
    """
    known = 0 if fresh else since
    after = await last_event(engine, run_id) if known is None else known
    view = await engine.run_view(run_id)
    opened_at = None if since is None else await _opened_at(engine, run_id, since)
    final, code = await follow(
        engine,
        view,
        after,
        interrupts,
        as_json=as_json,
        wait=wait,
        also_ended=since is not None,
        verbosity=verbosity,
        printed_since=None if fresh else opened_at or await _going_since(engine, run_id),
    )
    tails = {} if as_json or code == exits.INTERRUPTED else await tails_of(engine, final, verbosity)
    try:
        if as_json:
            out_json(result_record(final, code))
        elif code == exits.INTERRUPTED:
            note(parting_words(engine, run_id, flags, kept=kept))
        else:
            print_ending(final, code, tails, flags=flags, kept=kept, opened_at=opened_at, verbosity=verbosity)
        flush()
    except BrokenPipeError:  # how the run ended counts, not whether somebody read it
        let_go_of_broken_pipes()
    return code


async def _opened_at(engine: Engine, run_id: str, after: int) -> int | None:
    """When the first generation began that was opened behind the event `after`."""
    opened = (event.at for event in await engine.events(run_id, after) if not event.path and event.what == "running")
    return next(opened, None)


async def _going_since(engine: Engine, run_id: str) -> int:
    """When the run was last let go on by somebody, or now."""
    resumed = [event.at for event in await engine.events(run_id) if not event.path and event.what == "resumed"]
    return resumed[-1] if resumed else int(time.time() * 1000)


async def last_event(engine: Engine, run_id: str) -> int:
    """The newest event of a run: what a view of it that is asked for later includes."""
    return max((event.seq for event in await engine.events(run_id)), default=0)
