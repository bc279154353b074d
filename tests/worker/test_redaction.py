"""What is taken out of what a step printed, returned and failed with, and what is left whole."""

from __future__ import annotations

import base64
import json
import shlex
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graft.plan import RunAction, Secret
from graft.worker.redaction import Redactor
from tests.support.attempts import Bench, const, everywhere

SECRET = "kéy/with+odd&\"chars'42"
TEXTS = st.text(st.characters(blacklist_categories=["Cs"]), min_size=6, max_size=40).filter(
    lambda t: len(t.strip()) >= 6
)
ENCODINGS = {
    "as it is": lambda text: text,
    "json": json.dumps,
    "json in json": lambda text: json.dumps(json.dumps(text)),
    "python": repr,
    "shell": shlex.quote,
    "url": quote,
    "url, all": lambda text: quote(text, safe=""),
    "url, lower": lambda text: quote(text, safe="").lower(),
    "form": quote_plus,
    "hex": lambda text: text.encode().hex(),
    "hex, upper": lambda text: text.encode().hex().upper(),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64, one before": lambda text: base64.b64encode(b":" + text.encode() + b"?").decode(),
    "base64, two before": lambda text: base64.b64encode(b"u:" + text.encode()).decode(),
    "base64 of an echo": lambda text: base64.b64encode(text.encode() + b"\n").decode(),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(b"user:" + text.encode()).decode(),
}


@pytest.mark.parametrize("name", [name for name in ENCODINGS if name != "json in json"])
def test_a_secret_is_found_in_each_encoding(name: str) -> None:
    encoded = ENCODINGS[name](SECRET)
    cleaned = Redactor([SECRET]).text(f"<{encoded}>")
    assert "***" in cleaned
    assert len(cleaned) < 16, cleaned  # at most the bits around it are left


@given(TEXTS, st.binary(max_size=5), st.binary(max_size=5))
def test_base64_of_any_text_around_a_secret_tells_nothing_of_it(secret: str, before: bytes, after: bytes) -> None:
    data = secret.encode()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        cleaned = Redactor([secret]).clean(encode(before + data + after))
        assert b"***" in cleaned
        around = cleaned.split(b"***")
        assert sum(map(len, around)) <= len(encode(before)) + len(encode(after)) + 8


def test_a_long_base64_text_is_broken_into_lines() -> None:
    secret = "-----BEGIN KEY-----\n" + "\n".join(f"{line:064x}" for line in range(20))
    for text in (base64.encodebytes(secret.encode()).decode(), "\n".join(_wrapped(secret, 64))):
        assert set(Redactor([secret]).text(text).split()) == {"***"}


def _wrapped(secret: str, columns: int) -> list[str]:
    text = base64.b64encode(secret.encode()).decode()
    return [text[at : at + columns] for at in range(0, len(text), columns)]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text() | st.just("x kéy-4711 y"),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("kéy-4711"), inner),
        max_leaves=8,
    )
)
def test_a_cleaned_result_is_json_without_the_secret(value: object) -> None:
    secrets = ("kéy-4711", "12345678")
    data = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    try:
        json.loads(data.decode())
    except UnicodeDecodeError:
        return
    cleaned = Redactor(secrets).json(data)
    json.loads(cleaned)
    assert not any(secret.encode() in cleaned for secret in secrets)
    if not any(secret in data.decode() for secret in secrets):
        assert json.loads(cleaned) == value


def test_names_and_numbers_of_a_result_are_cleaned_too() -> None:
    redactor = Redactor(["12345678", "87654321"])
    cleaned = json.loads(redactor.json(b'{"12345678": 12345678, "87654321": [1, "a 12345678"], "ok": 1.5}'))
    assert cleaned == {"***": "***", "****": [1, "a ***"], "ok": 1.5}
    assert (
        json.loads(redactor.json(json.dumps({"body": json.dumps({"pin": "12345678"})}).encode()))["body"]
        == '{"pin": "***"}'
    )


def test_what_is_cut_out_of_a_text_may_begin_and_end_within_a_secret() -> None:
    redactor = Redactor(["correct-horse-battery"])
    assert redactor.excerpt("horse-battery was refused\nnext: correct-hor") == "*** was refused\nnext: ***"
    assert redactor.excerpt("a correct battery") == "a correct battery"


@pytest.mark.parametrize("secret", ["a", "é", "abc", "true", "False", " no\n", ""])
def test_a_text_that_is_too_short_is_left_alone(secret: str) -> None:
    assert not Redactor([secret])


@everywhere
async def test_a_secret_in_a_result(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    (bench.base / "token").write_text("kéy-4711\n")
    bench.secrets["TOKEN"] = Secret("TOKEN", "file", "token")
    env = ("dict", (("const", "TOKEN"), ("var", "secrets.TOKEN")))
    for output, command, value in (
        ("text", 'echo "bearer $TOKEN"', "bearer ***"),
        ("lines", 'echo "$TOKEN"; echo x', ["***", "x"]),
        ("json", """printf '{"t": "%s", "n": 1}' "$TOKEN" """, {"t": "***", "n": 1}),
    ):
        outcome = await bench.do(RunAction(command, env=env, output=output))
        assert json.loads(outcome.value or b"") == value, output
    (bench.base / "steps.py").write_text(
        "from pathlib import Path\ndef f(): return {'t': [Path(__file__).with_name('token').read_text('utf-8'), 1]}\n"
    )
    for isolation in ("thread", "process"):
        outcome = await bench.call("steps:f", isolation=isolation)
        assert json.loads(outcome.value or b"") == {"t": ["***\n", 1]}, isolation


@everywhere
@pytest.mark.parametrize("word", ["m", "command", "exited", "graft"])
async def test_our_own_words_stay_whole(bench: Bench, word: str) -> None:
    (bench.base / "token").write_text(word)
    bench.secrets["TOKEN"] = Secret("TOKEN", "file", "token")
    outcome = await bench.run(f"echo 'm: {word}' >&2; exit 3")
    assert outcome.error is not None
    assert outcome.error.title == "the command exited with 3"
    assert outcome.error.detail == ("m: m" if word == "m" else "m: ***")
    late = await bench.do(RunAction("sleep 60"), timeout_ms=1)
    assert late.error is not None
    assert late.error.title == "did not end within 0.001 s"


async def test_a_secret_that_is_too_short_is_told(bench: Bench) -> None:
    (bench.base / "pin").write_text("a\n")
    bench.secrets["PIN"] = Secret("PIN", "file", "pin")
    await bench.do(RunAction("echo banana", env=const({})))
    assert bench.log() == [
        "graft the secret PIN has 1 character, too few to be told from ordinary text: it is not hidden",
        "out banana",
    ]
