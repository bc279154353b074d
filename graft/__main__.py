"""`python -m graft` is `graft`."""

import os
import sys

if sys.path and not sys.flags.safe_path and sys.path[0] in ("", os.getcwd()):
    sys.path.append(sys.path.pop(0))  # a `queue.py` of the working directory is not what our imports mean

from graft.cli import main

if __name__ == "__main__":
    sys.argv[0] = "graft"  # what other processes are told who holds a data directory
    sys.exit(main())
