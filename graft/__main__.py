"""`python -m graft` is `graft`."""

import sys

from graft.cli import main

if __name__ == "__main__":
    sys.argv[0] = "graft"  # what other processes are told who holds a data directory
    sys.exit(main())
