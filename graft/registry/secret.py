"""`Secret`: what a function gets for an argument that holds a declared secret."""

from __future__ import annotations

from typing import Any, Final, NoReturn

MASK: Final = "***"


class Secret:
    """A text that shows itself only when it is asked to: `token.reveal()`.

    `str`, `repr` and formats give `***`; JSON and pickle refuse it. Two are equal when their texts are.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __repr__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a Secret is not pickled or copied: hand its text on with `reveal()`, where it has to go")


def hide(value: Any) -> Any:
    """`value`, of JSON's types, with a Secret for each text."""
    if isinstance(value, str):
        return Secret(value)
    if isinstance(value, list):
        return [hide(each) for each in value]
    return {name: hide(each) for name, each in value.items()} if isinstance(value, dict) else value
