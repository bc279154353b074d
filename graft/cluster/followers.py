"""How far the others are and when they were last heard: only the leader knows, so whoever is asked asks it."""

from __future__ import annotations

import math
from typing import Final

import msgspec

from graft.cluster.host import Host
from graft.cluster.post import Post
from graft.transport.letters import Ask

KIND: Final = "followers"
ASK_SECONDS: Final = 1.0

Known = dict[str, tuple[int, float | None]]
"""By member: the last log index that is known to be on it, and the seconds since it was heard."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Known).decode


class Followers:
    """Both sides."""

    def __init__(self, host: Host, post: Post) -> None:
        self._door, self._post = host.door, post
        post.on(KIND, self._take)

    def known_here(self) -> Known:
        """Nothing, unless this member leads."""
        found = self._door.status()
        if found.role != "leader":
            return {}
        heard = {each.id: None if math.isinf(each.heard_seconds) else each.heard_seconds for each in found.followers}
        return {each.id: (each.match, heard[each.id]) for each in found.followers} | {found.id: (found.last, 0.0)}

    async def ask(self) -> Known:
        """What the leader knows; nothing when there is none, it does not answer, or it is of an older version."""
        leader, known = self._door.leader, self.known_here()
        if known or leader is None:
            return known
        answer = await self._post.ask(leader, KIND, b"", ASK_SECONDS)
        return {} if answer.refused else _decode(answer.body)

    def _take(self, ask: Ask) -> None:
        known = self.known_here()
        self._post.answer(ask, _encode(known), refused="" if known else "not_leader")
