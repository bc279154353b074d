"""Did you mean …?"""

from __future__ import annotations

from collections.abc import Iterable


def closest(word: str, known: Iterable[str], *, most: int = 1, cutoff: float = 0.6) -> list[str]:
    """Those of `known` that are like `word`, the likest first."""
    import difflib  # 15 ms, and only mistakes need it

    return difflib.get_close_matches(word, list(known), n=most, cutoff=cutoff)
