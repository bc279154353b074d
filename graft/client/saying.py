"""What several addresses said before patience with them ended, as one error: the most telling first, then the rest."""

from __future__ import annotations

from typing import Final

from graft.errors import GraftError, NoQuorum, NotReady, Rejected, Unreachable

# From what tells most to what tells least: a member that is there knows more than one that is not.
_RANKS: Final[tuple[type[GraftError], ...]] = (NoQuorum, NotReady, Rejected, Unreachable)


class Said:
    """The last error of each address, in the order in which they were tried."""

    def __init__(self) -> None:
        self._errors: dict[str, GraftError] = {}

    @property
    def is_quorum_lost(self) -> bool:
        return any(isinstance(error, NoQuorum) for error in self._errors.values())

    def add(self, address: str, error: GraftError) -> None:
        """What tells more stays: that a connection was refused meanwhile does not undo what a member said."""
        before = self._errors.get(address)
        if before is None or _rank(error) <= _rank(before):
            self._errors[address] = error

    def summary(self) -> GraftError:
        """One error of the kind of the most telling one; it names every address that said something else."""
        address = min(self._errors, key=lambda each: _rank(self._errors[each]))
        telling = self._errors[address]
        if len(self._errors) == 1:
            return telling
        others = [named(each, error.message) for each, error in self._errors.items() if error is not telling]
        if _rank(telling) < _RANKS.index(Unreachable):
            telling.hint = "\n".join([*filter(None, [telling.hint]), *others])
            return telling
        every = [named(each, error.message) for each, error in self._errors.items()]
        hints = [error.hint for error in self._errors.values() if error.hint]
        return Unreachable(
            f"no member answers at any of the {len(every)} addresses",
            address=address,
            sent=any(getattr(error, "sent", True) for error in self._errors.values()),
            hint="\n".join([*every, *dict.fromkeys(hints)]),
        )


def named(address: str, text: str) -> str:
    """`text` with the address before it, unless it stands there already."""
    return text if text.startswith(f"{address}:") else f"{address}: {text}"


def _rank(error: GraftError) -> int:
    told = next((rank for rank, kind in enumerate(_RANKS) if isinstance(error, kind)), len(_RANKS))
    return told + (0 if getattr(error, "sent", True) else 1)


__all__ = ["Said", "named"]
