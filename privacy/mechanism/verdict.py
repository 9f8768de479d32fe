"""Whether a block of steps is accepted: a pure function of opened counts and public figures, the same at every site.

For: ``verdict_on``, which compares the counts of now with those of the states accepted before: the mean of their
    shares, since each count is noised anew and their mean is less so. Post-processing of what was opened, so it costs
    nobody anything (``opened.py``).
Not for: counting, opening, going back (core/site/voting.py), or who is counted.

Source: validation by the clients with a look at each class, BaFFLe (Andreina et al., ICDCS 2021, arXiv:2011.02167);
here on noised counts, so each comparison is a test whose error is written down. Two things are judged of each person
(``counts.ValidationDomain``). The *order* says what the state has learnt, wherever its threshold has come to lie; the
*labels* say what whoever uses it would see.

* ``low``: accepted only where the share ordered rightly is at least ``least`` with 97.5 % certainty (fails closed).
* ``fell``, ``class-fell``: rejected where the fall of the order, of all or of a class, is above its tolerance with 99 %
  certainty.
* ``labels-low``: with 99 % certainty, fewer people are labelled rightly than by always giving the larger class, and by
  more than the tolerance. Who always gives the larger class is as good as that, so an honest early state passes.
* ``labels-fell``: with 99 % certainty the share labelled rightly, of all people or as the mean over classes, fell by
  more than the tolerance since the trained states before. Of all: what a threshold costs that moved towards the
  smaller class. As the mean: what it costs the other way, where most people are labelled rightly by giving one up.
* ``grew``: more people of a class than before, with all but one chance in 10^5. People may leave and nobody enters, so
  somebody adds to the counts; honest counts never show it, so it asks for more certainty than a fall.

A block that is as good as those before passes the six comparisons at 99 % with at least 94 %, and with far more for
their tolerances; a fall of tolerance + 2.33 standard errors of the difference is caught in half of all cases, one of
tolerance + 4.65 in 99 %. No class is held to its own labels: while a threshold settles, one class gains what another
loses, and an early state that answers all alike has all of one.

The share ordered rightly is the mean over classes, each counting alike (balanced accuracy): whoever always answers the
same has one in two then, however many people the larger class has, and no state passes by giving the smaller one up.

* ``spoilt``, ``far``: told by who opened the block's sums. One was outside its public bound; or together they pushed
  the state farther than honest people do (core/training/movement.py).

What falls less than the tolerance and the noise is not seen; a fall that is spread over many blocks is seen late,
since the mean falls with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from ..errors import BadParametersError
from .counts import Judgement
from .judged import JudgedCounts, Part
from .opened import Z_95, OpenedCounts

Z_99 = 2.3263478740408408  # one-sided 99 % of the normal distribution
Z_SURE = 4.264890793922825  # one-sided, all but 10^-5
# What an honest block may lose without a reason: training under noise wanders by a point or two.
FALL = 0.02
# Classes are traded against each other when a threshold moves; a class that loses a fifth is being given up.
CLASS_FALL = 0.2

LOW, FELL, CLASS_FELL, GREW, SPOILT, FAR = "low", "fell", "class-fell", "grew", "spoilt", "far"
LABELS_LOW, LABELS_FELL = "labels-low", "labels-fell"

Estimate = tuple[float, float]  # a share and its variance by the noise; an infinite one where noise hides it


@dataclass(frozen=True)
class Verdict:
    """``reasons`` for a rejection, ``spoilt`` and ``far`` first, then as the module lists them; none: accepted."""

    reasons: tuple[str, ...]

    @property
    def accept(self) -> bool:
        """Whether the block stays."""
        return not self.reasons


def verdict_on(
    now: JudgedCounts,
    before: Sequence[JudgedCounts],
    *,
    least: float,
    trained: bool,
    spoilt: bool = False,
    far: bool = False,
) -> Verdict:
    """Judge a block by its counts ``now`` and those of the states accepted ``before``, the last one last.

    ``trained``: these are of states that were trained; else of the start alone, which judges everybody alike, so that
    neither a class nor labels can fall from it. ``spoilt``, ``far``: what all sites saw of the block's sums.

    Raises:
        BadParametersError: ``COUNTS_FOREIGN`` for anything but opened counts of one domain, or none before.
    """
    if not before or any(type(one) is not JudgedCounts or one.domain != now.domain for one in (now, *before)):
        raise BadParametersError("COUNTS_FOREIGN", "only opened counts of one domain can be compared")
    classes = zip(*(_shares(one, "order") for one in before), strict=True)
    falls = [_fall(one, _mean(its)) for one, its in zip(_shares(now, "order"), classes, strict=True)]
    order, *labels = (
        _fall(share(now, judgement), _mean([share(one, judgement) for one in before])) for share, judgement in COMPARED
    )
    found = {
        SPOILT: spoilt,
        FAR: far,
        LOW: not _surely_at_least(least, _balanced(now, "order")),
        FELL: order > FALL,
        CLASS_FELL: trained and max(falls) > CLASS_FALL,
        LABELS_LOW: _surely_more(_shortfall(now)) > FALL,
        LABELS_FELL: trained and max(labels) > FALL,
        GREW: any(_growth(now, before[-1], (*right, *wrong)) > 0 for right, wrong in now.parts("order")),
    }
    return Verdict(tuple(reason for reason, holds in found.items() if holds))


def _surely_at_least(least: float, known: Estimate) -> bool:
    """Whether a share, given with its variance, is at least ``least`` with 97.5 % certainty as far as noise goes."""
    share, variance = known
    return variance < math.inf and share - Z_95 * math.sqrt(variance) >= least


def _surely_more(known: Estimate) -> float:
    """What a share is at least, with 99 % certainty; −∞ where nobody can tell."""
    share, variance = known
    return share - Z_99 * math.sqrt(variance) if variance < math.inf else -math.inf


def _fall(now: Estimate, before: Estimate) -> float:
    """What a share fell at least, with 99 % certainty; −∞ where nobody can tell."""
    return _surely_more((before[0] - now[0], now[1] + before[1]))


def _shares(judged: JudgedCounts, judgement: Judgement) -> list[Estimate]:
    """By class, the share that ``judgement`` is right of."""
    return [_share(judged.counts, right, wrong) for right, wrong in judged.parts(judgement)]


def _balanced(judged: JudgedCounts, judgement: Judgement) -> Estimate:
    """The mean over classes of the share that ``judgement`` is right of."""
    return _mean(_shares(judged, judgement))


def _of_all(judged: JudgedCounts, judgement: Judgement) -> Estimate:
    """The share of all people that ``judgement`` is right of."""
    rights, wrongs = zip(*judged.parts(judgement), strict=True)
    return _share(judged.counts, sum(rights, ()), sum(wrongs, ()))


# What must not fall: the order, and labels of all people and as the mean over classes.
COMPARED: tuple[tuple[Callable[[JudgedCounts, Judgement], Estimate], Judgement], ...] = (
    (_balanced, "order"), (_of_all, "label"), (_balanced, "label")
)  # fmt: skip


def _mean(known: Sequence[Estimate]) -> Estimate:
    """The mean of shares whose noises are independent of each other."""
    return sum(share for share, _ in known) / len(known), sum(variance for _, variance in known) / len(known) ** 2


def _shortfall(judged: JudgedCounts) -> Estimate:
    """By how much the share labelled rightly is below that of always giving the larger class; less than 0 if above.

    That share is the larger class's own, so what differs is the larger class's people who are labelled wrongly, less
    the others who are labelled rightly. To first order the error of D/N is (ΔD − (D/N)·ΔN)/N.
    """
    counts, parts = judged.counts, judged.parts("label")
    larger = max(parts, key=lambda own: counts.total((*own[0], *own[1])))
    lost = larger[1]
    won = [cell for right, _ in parts if right is not larger[0] for cell in right]
    rest = [cell for cell in judged.domain.cells if cell not in {*lost, *won}]
    everybody = counts.total(judged.domain.cells)
    if _is_hidden(counts, everybody, judged.domain.cells):
        return 0.0, math.inf
    short = (counts.total(lost) - counts.total(won)) / everybody
    squares = len(lost) * (1 - short) ** 2 + len(won) * (1 + short) ** 2 + len(rest) * short**2
    return short, squares * (counts.standard_error / everybody) ** 2


def _share(counts: OpenedCounts, right: Sequence[str], wrong: Sequence[str]) -> Estimate:
    """A share and its variance to first order in the noise; an infinite one where noise is as large as it all.

    To first order the error of R/(R + W) is ((1 − p)·ΔR − p·ΔW)/(R + W), and a sum of cells has the noise of each.
    """
    hits, misses = counts.total(right), counts.total(wrong)
    everybody = hits + misses
    if _is_hidden(counts, everybody, (*right, *wrong)):
        return 0.0, math.inf
    share = min(1.0, max(0.0, hits / everybody))
    squares = len(right) * (1 - share) ** 2 + len(wrong) * share**2
    return share, squares * (counts.standard_error / everybody) ** 2


def _is_hidden(counts: OpenedCounts, people: float, cells: Collection[str]) -> bool:
    return people <= Z_99 * counts.standard_error * math.sqrt(len(cells))


def _growth(now: JudgedCounts, before: JudgedCounts, cells: Part) -> float:
    """How many people more there are at least, with all but one chance in 10^5."""
    spread = math.sqrt(len(cells) * (now.counts.standard_error**2 + before.counts.standard_error**2))
    return now.counts.total(cells) - before.counts.total(cells) - Z_SURE * spread
