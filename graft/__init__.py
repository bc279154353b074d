"""Graft: durable structured concurrency. Flows in TOML or Python, run by Trio, kept in LMDB."""

__version__ = "0.1.0"
