"""What is free. Pure."""

from graft.resources.ledger import Ledger

__all__ = ["Ledger"]
