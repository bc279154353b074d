"""Screens of commands as golden text."""

from __future__ import annotations

import re
from textwrap import dedent


def steady(text: str) -> str:
    """`text` without what differs from run to run: moments, durations, run ids that were drawn."""
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{3})?", "<moment>", text)
    text = re.sub(r"^ +\d+\.\d\ds  ", "<s>  ", text, flags=re.M)
    text = re.sub(r"\b\d+(\.\d+)?(ms|s)\b", "<took>", text)
    return re.sub(r"\b([a-z]+)-[0-9a-hj-km-np-tv-z]{11}\b", r"\1-<id>", text)


def golden(text: str) -> str:
    return dedent(text).removeprefix("\n")
