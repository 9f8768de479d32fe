"""Whether a block of steps is accepted: a pure function of opened counts and public figures, the same at every site.

For: ``verdict_on``, which compares the counts of now with those of the last accepted state. Post-processing of what was
    opened, so it costs nobody anything (``opened.py``).
Not for: counting, opening, going back (core/site/voting.py), or who is counted.

Source: validation by the clients with a look at each class, BaFFLe (Andreina et al., ICDCS 2021, arXiv:2011.02167);
here on noised counts, so each comparison is a test whose error is written down:

* ``low``: accepted only where the share judged rightly is at least ``least`` with 97.5 % certainty (fails closed).
* ``fell``, ``class-fell``: rejected where the fall is above its tolerance with 99 % certainty. A block that is as good
  as the last one passes these three comparisons (all, and each of two classes) with at least 97 %; a fall of
  tolerance + 2.33 standard errors of the difference is caught in half of all cases, one of tolerance + 4.65 in 99 %.
* ``grew``: more people of a class than before, with all but one chance in 10^5. People may leave and nobody enters, so
  somebody adds to the counts; honest counts never show it, so it asks for more certainty than a fall.

What falls less than the tolerance and the noise is not seen; a fall that is spread over many blocks is not, either,
before it comes to ``least``.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from ..errors import BadParametersError
from .opened import OpenedCounts, vote_on

Z_99 = 2.3263478740408408  # one-sided 99 % of the normal distribution
Z_SURE = 4.264890793922825  # one-sided, all but 10^-5
# What an honest block may lose without a reason: training under noise wanders by a point or two.
FALL = 0.02
# Classes are traded against each other when a threshold moves; a class that loses a fifth is being given up.
CLASS_FALL = 0.2

LOW, FELL, CLASS_FELL, GREW, SPOILT = "low", "fell", "class-fell", "grew", "spoilt"


@dataclass(frozen=True)
class Verdict:
    """``reasons`` for a rejection, in order of the module's list, ``spoilt`` first; none for an acceptance."""

    reasons: tuple[str, ...]

    @property
    def accept(self) -> bool:
        """Whether the block stays."""
        return not self.reasons


def verdict_on(
    now: OpenedCounts, before: OpenedCounts, *, least: float, trained: bool, spoilt: bool = False
) -> Verdict:
    """Judge a block by its counts ``now`` and those of the last accepted state.

    ``trained``: ``before`` is of a state that was trained. The start judges everybody alike, so a class cannot fall
    from it. ``spoilt``: a sum of the block was outside its public bound, as all sites saw.

    Raises:
        BadParametersError: ``COUNTS_FOREIGN`` for anything but two opened counts of one domain.
    """
    if type(now) is not OpenedCounts or type(before) is not OpenedCounts or now.domain != before.domain:
        raise BadParametersError("COUNTS_FOREIGN", "only opened counts of one domain can be compared")
    cells = now.domain.cells
    classes = [(right, wrong) for right, wrong in zip(cells[::2], cells[1::2], strict=True)]
    found = {
        SPOILT: spoilt,
        LOW: not vote_on(now, least=least).accept,
        FELL: _fall(now, before, cells[::2], cells[1::2]) > FALL,
        CLASS_FELL: trained and any(_fall(now, before, (right,), (wrong,)) > CLASS_FALL for right, wrong in classes),
        GREW: any(_growth(now, before, own) > 0 for own in classes),
    }
    return Verdict(tuple(reason for reason, holds in found.items() if holds))


def _fall(now: OpenedCounts, before: OpenedCounts, right: Collection[str], wrong: Collection[str]) -> float:
    """What the share of ``right`` fell at least, with 99 % certainty as far as noise goes; −∞ where nobody can tell."""
    (share, variance), (earlier, its) = (_share(counts, right, wrong) for counts in (now, before))
    return earlier - share - Z_99 * math.sqrt(variance + its) if variance + its < math.inf else -math.inf


def _share(counts: OpenedCounts, right: Collection[str], wrong: Collection[str]) -> tuple[float, float]:
    """A share and its variance to first order in the noise; an infinite one where the noise is as large as the whole.

    To first order the error of R/(R + W) is ((1 − p)·ΔR − p·ΔW)/(R + W).
    """
    hits, misses = counts.total(right), counts.total(wrong)
    everybody, noise = hits + misses, counts.standard_error
    if everybody <= Z_99 * noise * math.sqrt(len(right) + len(wrong)):
        return 0.0, math.inf
    share = min(1.0, max(0.0, hits / everybody))
    spread = len(right) * (1 - share) ** 2 + len(wrong) * share**2
    return share, spread * (noise / everybody) ** 2


def _growth(now: OpenedCounts, before: OpenedCounts, cells: Collection[str]) -> float:
    """How many people more there are at least, with all but one chance in 10^5."""
    spread = math.sqrt(len(cells) * (now.standard_error**2 + before.standard_error**2))
    return now.total(cells) - before.total(cells) - Z_SURE * spread
