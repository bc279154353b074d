"""The logs of steps: format, bounds, reading, following, redaction."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graft.worker.logs import MAX_PARTIAL, LogStore, StepLog, parse_line, safe_name
from graft.worker.redaction import RedactedStream, Redactor

PREFIX = "2024-02-29T12:00:00.250Z"


def store(directory: Path, **settings: int) -> LogStore:
    return LogStore(directory, wall=lambda: 1709208000.25, **settings)


def written(directory: Path, *chunks: tuple[str, bytes], redactor: Redactor | None = None, **settings: int) -> str:
    logs = store(directory, **settings)
    log = logs.open_writer("r1", "step", 1, redactor)
    for stream, data in chunks:
        log.write(stream, data)
    log.close()
    file = logs.file("r1", "step")
    return file.read_bytes().decode(errors="surrogateescape") if file.exists() else ""


def test_format(tmp_path: Path) -> None:
    text = written(tmp_path, ("out", b"a\nb"), ("err", b"oh\n"), ("out", b"c\n\nlast"))
    assert text.splitlines() == [
        f"{PREFIX} 1 out a",
        f"{PREFIX} 1 err oh",
        f"{PREFIX} 1 out bc",
        f"{PREFIX} 1 out ",
        f"{PREFIX} 1 out last",
    ]


def test_nothing_written_means_no_file(tmp_path: Path) -> None:
    assert written(tmp_path, ("out", b"")) == ""
    assert list(tmp_path.iterdir()) == []


def test_a_long_line_comes_in_pieces(tmp_path: Path) -> None:
    chunk = b"x" * (MAX_PARTIAL - 1)
    written(tmp_path, ("out", chunk), ("out", chunk), ("out", b"end\nnext\n"))
    lines = list(store(tmp_path).read("r1", "step"))
    assert [(len(each.text), each.continues) for each in lines] == [(2 * len(chunk), False), (3, True), (4, False)]


def test_the_file_is_bounded_over_all_attempts(tmp_path: Path) -> None:
    text = written(tmp_path, ("out", b"0123456789\n" * 100), ("out", b"more\n"), max_bytes=200)
    assert text.splitlines() == [
        *[f"{PREFIX} 1 out 0123456789"] * 4,
        f"{PREFIX} 1 graft the log of this step has reached 200 bytes; what follows is not kept",
    ]
    assert written(tmp_path, ("out", b"again\n"), max_bytes=200) == text


def test_a_log_that_cannot_be_written_harms_nobody(tmp_path: Path) -> None:
    (tmp_path / "r1").write_text("a file where the directory should be")
    log = store(tmp_path).open_writer("r1", "step", 1)
    log.note("hello")
    log.close()
    StepLog(None, 1).note("nobody listens")


def test_merged_by_time(tmp_path: Path) -> None:
    ticks = itertools.count(1709208000)
    logs = LogStore(tmp_path, wall=lambda: next(ticks))
    first, second = logs.open_writer("r1", "pick[0]/pack", 1), logs.open_writer("r1", "b", 2)
    for number in range(3):
        first.note(f"a{number}")
        second.note(f"b{number}")
    first.close()
    second.close()
    assert [each.text for each in logs.read("r1")] == ["a0", "b0", "a1", "b1", "a2", "b2"]
    assert logs.paths("r1") == ["b", "pick[0]/pack"]
    assert [(each.path, each.attempt, each.stream) for each in logs.read("r1", "b")] == [("b", 2, "graft")] * 3
    assert list(logs.read("r2")) == []
    assert list(logs.read("r1", "zzz")) == []
    assert logs.run_ids() == ["r1"]
    logs.set_aside("r1")
    logs.set_aside("r2")  # has none
    assert logs.paths("r1") == logs.run_ids() == []
    assert [*tmp_path.iterdir()]
    logs.clear_aside()
    assert [*tmp_path.iterdir()] == []


def test_follow(tmp_path: Path) -> None:
    logs = store(tmp_path)
    follower = logs.follow("r1")
    assert follower.poll() == []
    log = logs.open_writer("r1", "a", 1)
    log.write("out", b"one\ntw")
    assert [each.text for each in follower.poll()] == ["one"]
    assert follower.poll() == []
    log.write("out", b"o\n")
    other = logs.open_writer("r1", "b", 1)
    other.note("new step")
    assert [(each.path, each.text) for each in follower.poll()] == [("a", "two"), ("b", "new step")]
    log.close()
    other.close()


def test_a_follower_gets_past_a_line_that_is_longer_than_one_look(tmp_path: Path) -> None:
    logs = store(tmp_path)
    log = logs.open_writer("run", "a", 1)
    log.write("out", b"x" * 1000 + b"\nshort\n")
    follower = logs.follow("run")
    found = [each.text for _ in range(3) for each in follower.poll(100)]
    assert found == ["x" * 1000, "short"]
    log.close()


def test_threads_may_write_at_once(tmp_path: Path) -> None:
    log = store(tmp_path).open_writer("r1", "step", 1)
    threads = [threading.Thread(target=lambda: [log.note("x" * 100) for _ in range(200)]) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    log.close()
    assert [each.text for each in store(tmp_path).read("r1", "step")] == ["x" * 100] * 800


@given(st.text(max_size=300), st.text(max_size=300))
def test_names_of_files(first: str, second: str) -> None:
    first, second = (each.encode("utf-8", "replace").decode() for each in (first, second))
    name = safe_name(first)
    assert len(f"{name}.log".encode()) <= 255
    assert "/" not in name
    assert "\0" not in name
    assert not name.startswith(".")
    assert (name == safe_name(second)) == (first == second)


@given(st.binary(max_size=200))
def test_a_damaged_line_is_still_shown(raw: bytes) -> None:
    line = parse_line(raw.replace(b"\n", b""), "p")
    assert line.path == "p"


@given(
    st.lists(st.tuples(st.sampled_from(["out", "err"]), st.binary(max_size=40).map(lambda b: b.replace(b"x", b"\n")))),
)
def test_every_byte_is_kept(tmp_path_factory: pytest.TempPathFactory, chunks: list[tuple[str, bytes]]) -> None:
    directory = tmp_path_factory.mktemp("log")
    text = written(directory, *chunks)
    for stream in ("out", "err"):
        wanted = b"".join(data for name, data in chunks if name == stream)
        marker = f"{PREFIX} 1 {stream} ".encode()
        lines = [
            line[len(marker) :]
            for line in text.encode("utf-8", "surrogateescape").split(b"\n")
            if line.startswith(marker)
        ]
        assert lines == wanted.removesuffix(b"\n").split(b"\n") if wanted else lines == []


SECRETS = st.lists(st.text("ab", min_size=4, max_size=7), min_size=1, max_size=3)


@given(SECRETS, st.text("abc\n", max_size=40), st.lists(st.integers(0, 40), max_size=6))
def test_a_stream_is_cleaned_as_its_whole_would_be(secrets: list[str], text: str, cuts: list[int]) -> None:
    redactor = Redactor(secrets)
    stream = RedactedStream(redactor)
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [stream.feed(text[start:end].encode()) for start, end in itertools.pairwise(edges)]
    cleaned = b"".join([*pieces, stream.finish()])
    assert cleaned == redactor.clean(text.encode())
    for secret in secrets:
        assert secret.encode() not in cleaned


def test_forms_of_a_secret() -> None:
    redactor = Redactor(['p"ss\nw&rd-of-two-lines', "töken"])
    assert redactor.text('x p"ss\nw&rd-of-two-lines y') == "x *** y"
    assert redactor.text(r'{"a": "p\"ss\nw&rd-of-two-lines"}') == '{"a": "***"}'
    assert redactor.text("only w&rd-of-two-lines here") == "only *** here"
    assert redactor.text("?q=t%C3%B6ken&r=töken") == "?q=***&r=***"
    assert not Redactor([""])
    assert Redactor([""]).text("x") == "x"


def test_a_secret_that_is_split_over_chunks_does_not_reach_the_log(tmp_path: Path) -> None:
    chunks = [("out", bytes([byte])) for byte in b"the key is hunter2hunter2, twice hunt\n"]
    text = written(tmp_path, *chunks, redactor=Redactor(["hunter2"]))
    assert text == f"{PREFIX} 1 out the key is ******, twice hunt\n"


def test_the_logs_of_a_run_are_bounded_together(tmp_path: Path) -> None:
    """By all who write to it: a member has several processes for steps."""
    here, there = (LogStore(tmp_path, max_run_bytes=4_000) for _ in range(2))
    writers = [logs.open_writer("r", f"step{number}", 1) for number in range(4) for logs in (here, there)]
    for _ in range(100):
        for number, log in enumerate(writers):
            log.write("out", b"%d %s\n" % (number, b"x" * 40))
    for log in writers:
        log.close()
    sizes = [each.stat().st_size for each in (tmp_path / "r").iterdir()]
    assert 3_000 < sum(sizes) < 6_000
    told = [line.text for line in here.read("r") if line.stream == "graft"]
    assert told
    assert set(told) == {"the logs of this run have reached 4000 bytes; what follows is not kept"}
    other = here.open_writer("other", "step", 1)  # bounded by itself
    other.note("fits")
    other.close()
    assert [line.text for line in here.read("other")] == ["fits"]


@pytest.mark.parametrize("more", [False, True])
def test_a_log_that_fits_its_limit_exactly_says_so_only_when_more_follows(tmp_path: Path, more: bool) -> None:
    line = b"2024-02-29T12:00:00.000Z 1 out 0123456789\n"
    logs = LogStore(tmp_path, max_bytes=3 * len(line), wall=lambda: 1709208000.0)
    log = logs.open_writer("r", "s", 1)
    log.write("out", b"0123456789\n" * 3)
    if more:
        log.write("out", b"lost\n")
    log.close()
    texts = [each.text for each in logs.read("r")]
    assert texts[:3] == ["0123456789"] * 3
    assert texts[3:] == ["the log of this step has reached 126 bytes; what follows is not kept"] * more
