"""`Skip`: what a function raises when its step has nothing to do."""

from __future__ import annotations


class Skip(Exception):
    """The step is skipped, and not failed: `raise graft.Skip("nothing to send")`. The text is the reason."""
