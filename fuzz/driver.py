"""Runs one target under atheris, with the coverage of Graft's own code."""

from __future__ import annotations

import sys

import atheris


def drive(name: str) -> None:
    with atheris.instrument_imports(include=["graft", "graft_dsl", "targets"]):
        from targets import TARGETS
    atheris.Setup(sys.argv, TARGETS[name])
    atheris.Fuzz()
