"""Identifiers, each with one meaning. They are plain integers and strings at run time.

Times are integers: `Millis` on engine time (advances only while a leader leads), `WallMillis` since the Unix epoch.
"""

from __future__ import annotations

import re
from typing import NewType

# Without `/`, which separates a run from a step: `RUN/pick[1]/pack`.
RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+=,-]{0,199}")

RunId = NewType("RunId", str)  # what a person types: natural key of a run, unique in the cluster
RunNo = NewType("RunNo", int)  # its number inside the store, 1, 2, 3, …
ScopeNo = NewType("ScopeNo", int)  # of a scope within its run; 0 is the run's own scope
Ordinal = NewType("Ordinal", int)  # of a step within its scope: node index, or item index in a map
StepPath = NewType("StepPath", str)  # `pick[3]/pack`
MemberId = NewType("MemberId", str)
Incarnation = NewType("Incarnation", int)  # drawn at every start of a process
Token = NewType("Token", int)  # fencing token of an attempt: 1, 2, 3, … within a step
LogIndex = NewType("LogIndex", int)
Term = NewType("Term", int)
Millis = NewType("Millis", int)
WallMillis = NewType("WallMillis", int)

StepKey = tuple[int, int, int]  # (RunNo, ScopeNo, Ordinal)
ScopeKey = tuple[int, int]  # (RunNo, ScopeNo)
