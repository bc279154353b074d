"""Where settings come from, each as a tree of plain values in which every leaf knows its origin.

======== ============================================ ======================================
source   written as                                   origin
======== ============================================ ======================================
file     TOML, YAML or JSON, by the file's suffix      `graft.toml:12`
url      the same, over http or https                  `https://…/graft.yaml:3`
env      `GRAFT_TRANSPORT__LISTEN_PORT=7401`           `GRAFT_TRANSPORT__LISTEN_PORT`
flag     what the command line gives, by key           `--listen-port`
======== ============================================ ======================================

A text of the form `env:NAME` or `file:PATH` stands for what is there, in every source; it counts as secret. A relative
PATH is relative to the directory of the configuration file.

Of the environment only the names with a double underscore are settings, and those of the top level: Kubernetes sets
`GRAFT_SERVICE_HOST` and its like for a Service called `graft`, so unknown single names can be no errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from attrs import evolve, frozen

from graft import files
from graft.config.problems import Problem
from graft.config.syntax import FORMATS, MAX_BYTES, SUFFIXES, BadSyntax, parse

PREFIX = "GRAFT_"
DATA = "GRAFT_DATA"  # older than the settings, and short
CONFIG = "GRAFT_CONFIG"
URL_TIMEOUT_SECONDS = 10.0
MEDIA = {"application/json": "json", "application/yaml": "yaml", "application/toml": "toml", "text/yaml": "yaml"}

Keys = tuple[str, ...]


@frozen
class Origin:
    """Where a value came from. `kind`: default, file, url, env, flag. `where`: see the module; empty for a default."""

    kind: str
    where: str = ""
    secret: bool = False

    def __str__(self) -> str:
        return self.where or self.kind


@frozen
class Flag:
    """A value from the command line, and what was typed to give it: `--name`, `--set engine.lease`."""

    value: Any
    typed: str


@frozen
class Entry:
    """One leaf of a source: a value that is no table, or an empty table."""

    keys: Keys
    value: Any
    origin: Origin


@frozen
class Read:
    """What a source had. `base`: the directory that relative paths of references start from."""

    entries: tuple[Entry, ...] = ()
    problems: tuple[Problem, ...] = ()


def read_file(name: str, environ: Mapping[str, str]) -> Read:
    """The file or URL `name`. `environ` is what references to variables mean."""
    kind = "url" if is_url(name) else "file"
    shown = _without_password(name) if kind == "url" else name
    try:
        text, format_ = _fetch(name) if kind == "url" else _load(Path(name))
        parsed = parse(text, format_)
    except BadSyntax as error:
        return Read(problems=(Problem(f"{shown}:{error.line}" if error.line else shown, "", error.message),))
    base = Path(name).parent if kind == "file" else Path()

    def origin(keys: Keys) -> Origin:
        line = next((parsed.lines[keys[:n]] for n in range(len(keys), 0, -1) if keys[:n] in parsed.lines), 0)
        return Origin(kind, f"{shown}:{line}" if line else shown)

    return _resolved([Entry(keys, value, origin(keys)) for keys, value in _flat(parsed.tree)], base, environ)


def read_environment(environ: Mapping[str, str], top: tuple[str, ...]) -> Read:
    """The settings among environment variables. `top`: the keys of the top level that are no sections."""
    found = []
    if environ.get(DATA):
        found.append(Entry(("storage", "directory"), environ[DATA], Origin("env", DATA)))
    for name in sorted(environ):
        if (keys := _keys(name, top)) is not None:
            found.append(Entry(keys, environ[name], Origin("env", name)))
    return _resolved(found, Path(), environ)


def _keys(name: str, top: tuple[str, ...]) -> Keys | None:
    """The setting that a variable means, None if it means none."""
    keys = tuple(part.lower() for part in name.removeprefix(PREFIX).split("__"))
    return keys if name.startswith(PREFIX) and all(keys) and (len(keys) > 1 or keys[0] in top) else None


def without_settings(environ: Mapping[str, str], top: tuple[str, ...]) -> dict[str, str]:
    """`environ` for a file that is read alone: only what its references may mean."""
    return {name: value for name, value in environ.items() if name != DATA and _keys(name, top) is None}


def read_flags(flags: Mapping[str, Any], environ: Mapping[str, str]) -> Read:
    """Values by key (`transport.listen_port`), those that are None left out.

    One that is no `Flag` is named after the key's end: `--listen-port`.
    """
    found = []
    for key, given in flags.items():
        typed = "--" + key.rpartition(".")[2].replace("_", "-")
        flag = given if isinstance(given, Flag) else Flag(given, typed)
        if flag.value is not None:
            found.append(Entry(tuple(key.split(".")), flag.value, Origin("flag", flag.typed)))
    return _resolved(found, Path(), environ)


def is_url(name: str) -> bool:
    return name.lower().startswith(("http://", "https://"))


def _flat(tree: Any, keys: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    if isinstance(tree, dict) and (tree or not keys):
        for name, value in tree.items():
            yield from _flat(value, (*keys, name))
    else:
        yield keys, tree


def _resolved(entries: list[Entry], base: Path, environ: Mapping[str, str]) -> Read:
    """The entries with their references replaced by what these stand for."""
    made, problems = [], []
    for entry in entries:
        if isinstance(entry.value, str) and entry.value.startswith(("env:", "file:")):
            try:
                value = _dereference(entry.value, base, environ)
            except LookupError as error:
                problems.append(Problem(str(entry.origin), ".".join(entry.keys), str(error.args[0])))
                continue
            entry = evolve(entry, value=value, origin=evolve(entry.origin, secret=True))
        made.append(entry)
    return Read(tuple(made), tuple(problems))


def _dereference(reference: str, base: Path, environ: Mapping[str, str]) -> str:
    """Raises LookupError that says what is missing."""
    scheme, _, rest = reference.partition(":")
    if scheme == "env":
        value = environ.get(rest)
        if value is None:
            raise LookupError(f"the environment variable {rest} is not set")
        return value
    try:
        return _text_of(base / rest).rstrip("\r\n")
    except BadSyntax as error:
        raise LookupError(f"{base / rest}: {error.message}") from None


def _load(path: Path) -> tuple[str, str]:
    format_ = SUFFIXES.get(path.suffix.lower())
    if format_ is None:
        raise BadSyntax(f"its name must end with {', '.join(SUFFIXES)}")
    return _text_of(path), format_


def _text_of(path: Path) -> str:
    try:
        data = files.read_file(path, MAX_BYTES)
    except (OSError, ValueError) as error:
        raise BadSyntax(f"it cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return _decoded(data)


def _decoded(data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise BadSyntax(f"it is too large: more than {MAX_BYTES} bytes")
    try:
        return data.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise BadSyntax(f"it is not UTF-8: byte {error.start}", data.count(b"\n", 0, error.start) + 1) from None


def _fetch(url: str) -> tuple[str, str]:
    """Text and format of what is at `url`. Blocks for up to URL_TIMEOUT_SECONDS a step."""
    import httpx2

    data = bytearray()
    try:
        with (
            httpx2.Client(timeout=URL_TIMEOUT_SECONDS, follow_redirects=True, max_redirects=5) as client,
            client.stream("GET", url) as response,
        ):
            if response.status_code != 200:
                raise BadSyntax(f"the server answered {response.status_code} {response.reason_phrase}")
            for chunk in response.iter_bytes():
                data += chunk
                if len(data) > MAX_BYTES:
                    break
            media = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise BadSyntax(f"it cannot be fetched: {error or type(error).__name__}") from None
    format_ = SUFFIXES.get(Path(urlsplit(url).path).suffix.lower()) or MEDIA.get(media)
    if format_ is None:
        raise BadSyntax(f"neither its name nor its type ({media or 'none'}) says whether it is {', '.join(FORMATS)}")
    return _decoded(bytes(data)), format_


def _without_password(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "the URL"
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host, query="").geturl()
