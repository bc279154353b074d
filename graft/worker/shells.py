"""The shell that runs the text of `run`, where the flow names none.

A step of several lines must not go on after an error, and a pipe must not hide one. So it is `bash -euo pipefail -c`
where there is a bash, and `sh -eu -c` elsewhere. Which one is a matter of the machine alone: the step's own PATH does
not decide it, so all steps of a member run in the same.
"""

from __future__ import annotations

import os
import shutil
from functools import cache
from typing import Final

BASH: Final = ("-euo", "pipefail", "-c")
SH: Final = ("/bin/sh", "-eu", "-c")
PLACES: Final = ("/bin/bash", "/usr/bin/bash", "/usr/local/bin/bash")


@cache
def default_shell() -> tuple[str, ...]:
    """The program by its whole path and its arguments; looked for once in the life of the process."""
    for place in PLACES:
        if os.access(place, os.X_OK):
            return (place, *BASH)
    found = shutil.which("bash")
    return (os.path.abspath(found), *BASH) if found else SH
