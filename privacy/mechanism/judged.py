"""Opened counts of a validation, read: who is labelled rightly and who is ordered rightly, and votes that are free.

For: the two marginals of the cells of ``counts.validation``, so that nobody has to know which cells they are. All of it
    is post-processing of what was opened, and costs nobody anything.
Not for: whether a block stays (``verdict.py``), counting (``counts.py``), noise (``opened.py``).

Order of calls: ``JudgedCounts(opened, middle_above)`` → ``parts``, ``right``, ``vote_on``.

A marginal is a sum of one or two cells, so its noise is up to √2 times that of a cell; who adds cells accounts for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from ..errors import BadParametersError
from .counts import BOTH, NEITHER, ONE, Judgement, ValidationDomain
from .opened import OpenedCounts, Share

Part = tuple[str, ...]  # cells


@dataclass(frozen=True)
class JudgedCounts:
    """``counts`` of a validation, and ``middle_above``: whether the middle was above the usual threshold.

    The middle is that of public records' scores at the public state that was counted, so it is public, too.

    Raises:
        BadParametersError: ``COUNTS_FOREIGN`` for anything but opened counts of a validation.
    """

    counts: OpenedCounts
    middle_above: bool

    def __post_init__(self) -> None:
        if type(self.counts) is not OpenedCounts or not isinstance(self.counts.domain, ValidationDomain):
            raise BadParametersError("COUNTS_FOREIGN", "only opened counts of a validation are judged")

    @property
    def domain(self) -> ValidationDomain:
        """Classes and cells."""
        return cast(ValidationDomain, self.counts.domain)  # as __post_init__ saw

    @property
    def one_is(self) -> Mapping[str, Judgement]:
        """By class, which of the two judgements is right in its cell ``one``."""
        return self.domain.one_is(middle_above=self.middle_above)

    def parts(self, judgement: Judgement) -> tuple[tuple[Part, Part], ...]:
        """For each class in order: the cells of those whom ``judgement`` is right of, and of those it is wrong of."""
        found = []
        for name, one in self.one_is.items():
            both, single, neither = (self.domain.cell(name, outcome) for outcome in (BOTH, ONE, NEITHER))
            found.append(((both, single), (neither,)) if one == judgement else ((both,), (single, neither)))
        return tuple(found)

    def right(self, judgement: Judgement) -> Share:
        """The share of all people whom ``judgement`` is right of."""
        return self.counts.share([cell for right, _ in self.parts(judgement) for cell in right], self.domain.cells)


@dataclass(frozen=True)
class OpenedVote:
    """A vote that follows from opened counts (their digest): every site and everybody else computes the same, free."""

    accept: bool
    counts: str


def vote_on(judged: JudgedCounts, *, least: float) -> OpenedVote:
    """Accept where the share labelled rightly is at least ``least`` with 95 % certainty, as far as noise goes.

    Takes opened counts and a public figure alone, and so costs nothing; a vote on a site's own records is a disclosure
    (``counts.local_vote``).

    Raises:
        BadParametersError: ``COUNTS_FOREIGN`` for anything that is not opened counts.
    """
    if type(judged) is not JudgedCounts:
        raise BadParametersError("COUNTS_FOREIGN", "only opened counts can be voted on for nothing")
    return OpenedVote(accept=judged.right("label").low >= least, counts=judged.counts.digest())
