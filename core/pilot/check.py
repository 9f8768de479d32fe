"""What one attempt of the doctor's found, as a value.

For: doctor.py, blindness.py and deep.py, which make attempts, and the command that shows them.
Not for: anything that a study's report says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

NOISE_TOLERANCE = 6.0  # standard errors: a right mechanism fails this once in 500 million runs


@dataclass(frozen=True)
class Check:
    """One attempt: what was tried, whether the protection held, and what was seen.

    ``figures`` are those of ``seen`` that a program may want.
    """

    name: str
    held: bool
    seen: str
    figures: Mapping[str, float] = field(default_factory=dict)
