"""A member whose data directory was put back to an older copy: its leader notices, tells it, and it ends.

`graft.raft.forgetting` says what a leader can know. The member itself cannot know it; so it believes the letter, writes
it down beside its data, and is never started with them again: it has forgotten votes, too, and could elect somebody who
lacks what is committed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from graft.cluster.post import Post
from graft.raft.effects import ReportForgotten
from graft.raft_driver import RaftDoor
from graft.transport.letters import Ask

KIND: Final = "forgotten"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[int, str]).decode


class Forgetting:
    """Both sides. `noticed(member, text)` is called at the leader, once for each loss; `told(text)` at the member."""

    def __init__(
        self, door: RaftDoor, post: Post, noticed: Callable[[str, str], None], told: Callable[[str], None]
    ) -> None:
        self._door, self._post, self._noticed, self._told = door, post, noticed, told
        self._known: set[tuple[str, int, int]] = set()
        door.on_forgotten = self._report
        post.on(KIND, self._take)

    def _report(self, found: ReportForgotten) -> None:
        text = (
            f"{found.id} acknowledged the log up to entry {found.acknowledged} and agrees only up to {found.last} now: "
            "its data directory was put back to an older copy, or its disk lost what it had synced"
        )
        self._post.tell(found.id, KIND, _encode((found.incarnation, text)))
        loss = (found.id, found.incarnation, found.acknowledged)
        if loss not in self._known:
            self._known.add(loss)
            self._noticed(found.id, text)

    def _take(self, ask: Ask) -> None:
        try:
            incarnation, text = _decode(ask.body)
        except ValueError:
            return  # of a version to come
        if incarnation == self._door.identity.incarnation:  # else it is about the disk that was here before
            self._told(f"{text}, says {ask.source}")
