"""How deep a JSON text nests, found without recursion.

Where a decoder gives up depends on the version of Python and on the stack it is called with. What one member accepts
every other member has to read, so a text is measured before it is decoded.
"""

from __future__ import annotations

import re

MAX_JSON_DEPTH = 500
"""Levels of lists and tables in a result or a param: half of what Python 3.11 can decode on an empty stack."""

# A string, which hides the brackets in it, or a bracket. Possessive: no text makes it go back.
_MARKS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{]|[\]}]', re.DOTALL)


def nests_deeper(data: bytes, levels: int) -> bool:
    """Whether more than `levels` lists and tables are open at once somewhere in the JSON text `data`."""
    if data.count(b"[") + data.count(b"{") <= levels:
        return False
    depth = 0
    for found in _MARKS.finditer(data):
        mark = found[0]
        if mark in (b"[", b"{"):
            depth += 1
            if depth > levels:
                return True
        elif mark in (b"]", b"}"):
            depth -= 1
    return False
