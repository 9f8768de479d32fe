"""The mark on lines that only a person can decide, and how many of a paper's lines still carry it.

Not for: refusing anything. A starting value that somebody has read and kept is a decision too; the mark reminds.
"""

from __future__ import annotations

import re

DECIDE = "DECIDE"


def to_decide(text: str) -> int:
    """How many comments of a paper begin with the mark."""
    return len(re.findall(rf"#\s*{DECIDE}\b", text))
