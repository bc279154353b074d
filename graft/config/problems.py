"""What is wrong with a configuration: all at once, each with its place, its key, what was wanted and what was got."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from graft.errors import InvalidConfig


@frozen
class Problem:
    """`where`: `graft.toml:12`, `GRAFT_TRANSPORT__LISTEN_PORT`, `--listen-port`; empty when it has no place.

    `key`: `transport.listen_port`; empty when a source as a whole is meant.
    """

    where: str
    key: str
    message: str
    suggestion: str | None = None

    def __str__(self) -> str:
        head = ": ".join(part for part in (self.where, self.key and f"`{self.key}`") if part)
        tail = f" ({self.suggestion})" if self.suggestion else ""
        return f"{head}: {self.message}{tail}" if head else f"{self.message}{tail}"


def invalid(problems: Sequence[Problem]) -> InvalidConfig:
    """The error for `problems`, at least one. Equal problems are told once."""
    unique = tuple(dict.fromkeys(problems))
    if len(unique) == 1:
        return InvalidConfig(str(unique[0]), unique)
    lines = "".join(f"\n  {problem}" for problem in unique)
    return InvalidConfig(f"the configuration has {len(unique)} problems:{lines}", unique)
