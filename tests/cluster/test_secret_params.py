"""Secret params on their way through a run: sealed where they are kept, whole where an expression reads them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio

from graft.cluster.embedded import open_embedded
from graft.cluster.secret_params import hide, seal, texts, unseal
from graft.errors import UsageError
from graft.security.sealing import Sealer
from graft_dsl import compile_text

KEY = "0123456789abcdef" * 2
FLOW = """
graft = 1
name = "pay"
[params.token]
type = "any"
secret = true
[params.open]
type = "string"
[nodes.a]
run = 'echo "$T"'
env = { T = "${ params.token.key }" }
[outputs]
a = "${ a.out }"
"""
PLAN = compile_text(FLOW, filename="pay.toml").plan
VALUES = {"token": {"key": "hunter2-hunter2", "numbers": [12345678, True, None]}, "open": "hello"}


def test_only_what_is_secret_is_sealed_and_hidden() -> None:
    params = PLAN.root.params
    kept = seal(Sealer(KEY), "r1", params, VALUES)
    assert kept["open"] == "hello"
    assert "hunter2" not in json.dumps(kept)
    assert unseal(Sealer(KEY), "r1", params, kept) == VALUES
    assert texts(Sealer(KEY), "r1", params, kept) == {"hunter2-hunter2", "12345678"}
    assert texts(Sealer(), "r1", params, kept) == frozenset(), "what cannot be opened here no step here can read"
    assert hide(params, kept) == {"token": "***", "open": "hello"}
    assert hide(params, VALUES) == {"token": "***", "open": "hello"}, "also of a run from before there were seals"


async def test_a_member_without_a_key_refuses_the_start(tmp_path: Path) -> None:
    async with open_embedded(tmp_path / "data") as graft:
        graft.host.values.sealer = Sealer(file=tmp_path / "data" / "secrets.key")  # as under `graft serve`
        with pytest.raises(UsageError, match="no key") as caught:
            await graft.start_run(PLAN, VALUES, base=tmp_path, run_id="r1")
        assert "security.secrets_key" in str(caught.value)
        assert graft.run_ids() == []


async def test_a_run_goes_on_where_the_same_key_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_embedded(tmp_path / "data") as graft:
        graft.host.values.sealer = Sealer(KEY)
        await graft.start_run(PLAN, VALUES, base=tmp_path, run_id="r1")
        with trio.fail_after(30):
            view = await graft.wait("r1")
        assert view.outputs == {"a": "***"}
        assert view.params == {"token": "***", "open": "hello"}
        sealed_elsewhere = Sealer("another key, which is long enough")
        monkeypatch.setattr(sealed_elsewhere, "open", Sealer(KEY).open)
        graft.host.values.sealer = sealed_elsewhere
        await graft.start_run(PLAN, VALUES, base=tmp_path, run_id="r2")
        with trio.fail_after(30):
            view = await graft.wait("r2")
    assert view.status == "failed"
    error = view.steps[0].error
    assert error is not None
    assert error.type == "expression"
    assert error.title.startswith("a secret param cannot be opened where the step runs")
    assert not (tmp_path / "data" / "secrets.key").exists()
