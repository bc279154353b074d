"""A process that runs a door of one voter on a real LMDB until it is killed: `python -c ... PATH`.

Prints the number of every command that was acknowledged. Commands are numbered from where the store left off.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import trio

from graft.raft_driver import RaftDoor
from graft.storage import open_store
from tests.raft_driver.members import Clock, Dice, KeyValues

ROOT = Path(__file__).resolve().parents[2]
IN_FLIGHT = 8


def key(number: int) -> bytes:
    return number.to_bytes(8, "big")


def start(path: Path) -> subprocess.Popen[str]:
    program = f"import sys; sys.path.append({str(ROOT)!r}); from tests.raft_driver import child; child.main()"
    return subprocess.Popen([sys.executable, "-P", "-c", program, str(path)], stdout=subprocess.PIPE, text=True)


async def propose_for_ever(path: str) -> None:
    store = open_store(path, quota_bytes=1 << 28, map_bytes=1 << 29)
    machine = KeyValues(store)
    door = RaftDoor(store, machine, "local", Clock(), Dice(int.from_bytes(os.urandom(8), "big")))
    door.replay()
    number = len(machine.values)
    answered = trio.Event()
    in_flight = 0

    def done(n: int) -> None:
        nonlocal in_flight
        os.write(1, b"%d\n" % n)
        in_flight -= 1
        answered.set()

    async with trio.open_nursery() as nursery:
        await nursery.start(door.run)
        while True:
            answered = trio.Event()
            while in_flight < IN_FLIGHT:
                number += 1
                in_flight += 1

                def answer(_: Any, n: int = number) -> None:
                    done(n)

                door.propose((key(number), b"%d:" % number + b"v" * 200), answer)
            await answered.wait()


def main() -> None:
    trio.run(propose_for_ever, sys.argv[1])
