"""Ids of runs that nobody chose."""

from __future__ import annotations

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's: no letters that look like digits


def new_run_id(name: str, wall_ms: int, entropy: int) -> str:
    """`NAME-TTTTTTRRRR`: seconds since the epoch in base 32, so that ids sort by age, then 20 random bits."""
    number = (wall_ms // 1000) << 20 | entropy & 0xFFFFF
    digits = ""
    for _ in range(11):
        number, digit = divmod(number, 32)
        digits = _ALPHABET[digit] + digits
    return f"{name}-{digits.lstrip('0')}"
