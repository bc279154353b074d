"""`python -m graft` is `graft`."""

import sys

from graft.cli import main

if __name__ == "__main__":
    sys.exit(main())
