"""`python -m graft.storage DIRECTORY`: the walk of `check.py` as a process of its own."""

from __future__ import annotations

import sys

from graft.storage.check import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
