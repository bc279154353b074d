"""`graft serve`: what is wrong with a flag is said by the flag that was typed."""

from __future__ import annotations

import pytest

from tests.support.commands import Graft


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--set", "engine.leese=3s"), "error: --set engine.leese: `engine.leese`: there is no such setting"),
        (("--set", "engine.lease=x"), "error: --set engine.lease: `engine.lease`: "),
        (("--name", "a b"), "error: --name: `node_id`: "),
        (("--peer", "x y"), "error: --peer: `discovery.peers`: "),
        (("--founder", "x y"), "error: --founder: `discovery.founders`: "),
        (("--listen", "h:99999"), "error: --listen: `transport.listen_port`: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_the_flag_is_named_that_was_typed(
    graft: Graft, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.delenv("GRAFT_CONFIG", raising=False)
    ended = graft("serve", "--plaintext", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(said)
