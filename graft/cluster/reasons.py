"""Why something ended, in as many words as it takes."""

from __future__ import annotations

import re
from typing import Final

_AGAIN: Final = re.compile(r"^(a step failed: )(?:a step failed: )+")
_TWICE: Final = re.compile(r"\bpython\.(\w+): \1\b")


def told_once(reason: str) -> str:
    """A reason as a person reads it. The log keeps what every scope said of the one below, and what every name said of
    the error: `a step failed: a step failed: python.KeyError: KeyError: 7` is `a step failed: python.KeyError: 7`."""
    return _TWICE.sub(r"python.\1", _AGAIN.sub(r"\1", reason))
