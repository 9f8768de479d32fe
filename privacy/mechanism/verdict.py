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

The share judged rightly is the mean over classes, each counting alike (balanced accuracy): whoever always answers the
same has one in two then, however many people the larger class has, and no state passes by giving the smaller one up.

What falls less than the tolerance and the noise is not seen; a fall that is spread over many blocks is not, either,
before it comes to ``least``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ..errors import BadParametersError
from .opened import Z_95, OpenedCounts

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
        LOW: not _surely_at_least(least, _balanced(now, classes)),
        FELL: _fall(_balanced(now, classes), _balanced(before, classes)) > FALL,
        CLASS_FELL: trained and any(_fall(_share(now, *own), _share(before, *own)) > CLASS_FALL for own in classes),
        GREW: any(_growth(now, before, own) > 0 for own in classes),
    }
    return Verdict(tuple(reason for reason, holds in found.items() if holds))


def _surely_at_least(least: float, known: tuple[float, float]) -> bool:
    """Whether a share, given with its variance, is at least ``least`` with 97.5 % certainty as far as noise goes."""
    share, variance = known
    return variance < math.inf and share - Z_95 * math.sqrt(variance) >= least


def _fall(now: tuple[float, float], before: tuple[float, float]) -> float:
    """What a share, given with its variance, fell at least, with 99 % certainty; −∞ where nobody can tell."""
    (share, variance), (earlier, its) = now, before
    return earlier - share - Z_99 * math.sqrt(variance + its) if variance + its < math.inf else -math.inf


def _balanced(counts: OpenedCounts, classes: Sequence[tuple[str, str]]) -> tuple[float, float]:
    """The mean over classes of the share judged rightly, and its variance."""
    known = [_share(counts, right, wrong) for right, wrong in classes]
    return sum(share for share, _ in known) / len(known), sum(variance for _, variance in known) / len(known) ** 2


def _share(counts: OpenedCounts, right: str, wrong: str) -> tuple[float, float]:
    """A class's share and its variance to first order in the noise; an infinite one where noise is as large as it all.

    To first order the error of R/(R + W) is ((1 − p)·ΔR − p·ΔW)/(R + W).
    """
    hits, misses, noise = counts.total((right,)), counts.total((wrong,)), counts.standard_error
    everybody = hits + misses
    if everybody <= Z_99 * noise * math.sqrt(2):
        return 0.0, math.inf
    share = min(1.0, max(0.0, hits / everybody))
    return share, ((1 - share) ** 2 + share**2) * (noise / everybody) ** 2


def _growth(now: OpenedCounts, before: OpenedCounts, cells: Collection[str]) -> float:
    """How many people more there are at least, with all but one chance in 10^5."""
    spread = math.sqrt(len(cells) * (now.standard_error**2 + before.standard_error**2))
    return now.total(cells) - before.total(cells) - Z_SURE * spread
