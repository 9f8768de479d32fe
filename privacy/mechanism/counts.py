"""Counts and votes as disclosures: a domain of cells, a bound for each subject, and a plan like that of any other sum.

For: figures about people that have to leave a site, such as how many of them a model judges rightly. A count is one
    vector a subject, of norm at most 1, in a plan with C = 1 and a full batch; ledger, certificate, noise shares,
    masks and opening are those of a gradient.
Not for: reading what was opened (``opened.py``, ``judged.py``), noise, or whether counts may leave (core/gate).

Order of calls: ``validation(...)`` → ``counts_plan`` → (reserved and started) → ``validation_outcomes`` →
``subject_counts`` → ``clipped_integer_sum`` → the gate. For a vote: ``votes_plan`` → ``local_vote`` → the gate.

A subject weighs at most 1 whatever it holds: each of its r records adds 1/r to one cell, so the entries of its vector
are at least 0 and sum to at most 1, and its norm is at most 1 = C. What a record holds raises nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..accounting.accountant import build_plan
from ..accounting.plan import Plan
from ..budget import Unit, value_digest
from ..errors import BadParametersError
from ..gradients.clipping import ClippedSum

UNKNOWN = -1  # the cell of a record that counts nowhere
WEIGHT = Decimal(1)  # C: what one subject may move; counts are read in subjects
MAXIMUM_CELLS = 256  # noise grows with every cell that is added up, so finer domains have no reader

# How many of the two judgements of a record are right; the order of a class's cells.
BOTH, ONE, NEITHER = "both", "one", "neither"
OUTCOMES = (BOTH, ONE, NEITHER)
Judgement = Literal["order", "label"]

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,55}")  # eight fewer than a plan's cell has: "-neither" is added


@dataclass(frozen=True)
class CountDomain:
    """What is counted: ``cells`` in an order that is fixed, because a vector has no names. ``name`` is for people.

    Raises:
        BadParametersError: ``BAD_DOMAIN``.
    """

    name: str
    cells: tuple[str, ...]

    def __post_init__(self) -> None:
        unique = len(set(self.cells)) == len(self.cells)
        if not _NAME.fullmatch(self.name) or not unique or not 1 <= len(self.cells) <= MAXIMUM_CELLS:
            raise BadParametersError("BAD_DOMAIN", "a count has no name, no cells, or one of them twice")

    def digest(self) -> str:
        """ "sha256:<hex>" over name and cells."""
        return value_digest({"name": self.name, "cells": list(self.cells)})


@dataclass(frozen=True)
class ValidationDomain(CountDomain):
    """Of each record two judgements of its score, by true class: three cells a class, in the order of ``OUTCOMES``.

    ``label``: whether the score is on the right side of the usual threshold, as whoever uses labels sees it.
    ``order``: whether it is on the right side of the middle of public records' scores.

    Three, not four: a score with one of the two right lies between the two lines, and which one is right there
    follows from which line is the higher one. That is public, so a cell of its own would hold noise alone.

    ``classes``: the negative one, whose scores ought to be low, and the positive one.
    """

    classes: tuple[str, str]

    def cell(self, name: str, outcome: str) -> str:
        """The cell of class ``name`` and one of ``OUTCOMES``."""
        return f"{name}-{outcome}"

    def one_is(self, *, middle_above: bool) -> Mapping[str, Judgement]:
        """By class, which of the two is right in its cell ``one``.

        ``middle_above``: whether the middle is above the usual threshold. A score between them is labelled positive
        then, and ordered negative; else it is the other way round.
        """
        negative, positive = self.classes
        if middle_above:
            return {negative: "order", positive: "label"}
        return {negative: "label", positive: "order"}


def validation(negative: str, positive: str) -> ValidationDomain:
    """How many are labelled and ordered rightly, by true class; plain lower-case names.

    Raises:
        BadParametersError: ``BAD_DOMAIN`` for a name that a plan cannot carry.
    """
    classes = (negative, positive)
    if not all(_NAME.fullmatch(name) for name in classes):
        raise BadParametersError(
            "BAD_DOMAIN", "a class of a validation has no plain name", "lower-case letters, digits and hyphens"
        )
    cells = tuple(f"{name}-{outcome}" for name in classes for outcome in OUTCOMES)
    return ValidationDomain("validation", cells, classes)


def votes() -> CountDomain:
    """How many sites accept. One cell: a vote that moved from one of two cells to the other would move by √2, not 1."""
    return CountDomain("votes", ("accept",))


def counts_plan(
    domain: CountDomain,
    *,
    epsilon: Decimal,
    delta: Decimal,
    disclosures: int,
    sites: int,
    minimum_sites: int,
    observers: int,
    subjects: Sequence[int],
    unit: Unit = Unit.SUBJECT,
    sites_per_subject: int = 1,
) -> Plan:
    """The plan of ``disclosures`` counts over ``domain`` that keep (ε, δ) together, as :func:`build_plan` makes it.

    Args:
        disclosures: how often these counts leave; each is one step. A count that fails is not repeated: there is no
            allowance, so a repetition has to be among them.
        subjects: declared public numbers N_i of units, one a site.

    Raises:
        BadParametersError: the codes of ``build_plan``.
    """
    return build_plan(
        unit=unit,
        epsilon=epsilon,
        delta=delta,
        steps=disclosures,
        allowance=0,
        sampling_rate=Decimal(1),
        clipping_norm=WEIGHT,
        dimension=len(domain.cells),
        sites=sites,
        minimum_sites=minimum_sites,
        observers=observers,
        subjects=subjects,
        records_per_subject=1,  # of weight: all records of a subject are looked at, and together weigh as one
        sites_per_subject=sites_per_subject,
        cells=domain.cells,
    )


def votes_plan(
    *,
    epsilon: Decimal,
    delta: Decimal,
    disclosures: int,
    sites: int,
    minimum_sites: int,
    observers: int,
    unit: Unit = Unit.SUBJECT,
    sites_per_subject: int = 1,
) -> Plan:
    """The plan of votes that sites compute from their own records: one vote a site, so sums stay small.

    A few votes under the noise that one subject needs say little: five sites at ε = 1 have a standard error of
    nearly five votes. Where a decision can be taken on opened counts, that is free (``judged.vote_on``).

    Raises:
        BadParametersError: the codes of ``build_plan``.
    """
    return counts_plan(
        votes(),
        epsilon=epsilon,
        delta=delta,
        disclosures=disclosures,
        sites=sites,
        minimum_sites=minimum_sites,
        observers=observers,
        subjects=[1] * sites,
        unit=unit,
        sites_per_subject=sites_per_subject,
    )


def validation_outcomes(
    actual: NDArray[np.float64], labelled: NDArray[np.float64], ordered: NDArray[np.float64]
) -> NDArray[np.int64]:
    """int64[n]: each record's cell in ``validation``; UNKNOWN where nothing can be said of it.

    Args:
        actual: float64[n], the true class: 0 the negative one, 1 the positive one.
        labelled: float64[n], on which side of the usual threshold it is; not 0 or 1 counts nowhere.
        ordered: float64[n], on which side of the middle; likewise.

    Raises:
        BadParametersError: ``BAD_COUNTS`` when the shapes do not fit.
    """
    if actual.ndim != 1 or labelled.shape != actual.shape or ordered.shape != actual.shape:
        raise BadParametersError("BAD_COUNTS", "true and judged classes do not belong together")
    known = np.isin(actual, (0, 1)) & np.isin(labelled, (0, 1)) & np.isin(ordered, (0, 1))
    wrong = (actual != labelled).astype(np.int64) + (actual != ordered)
    cells = np.full(actual.shape, UNKNOWN, dtype=np.int64)
    cells[known] = len(OUTCOMES) * actual[known].astype(np.int64) + wrong[known]
    return cells


def subject_counts(
    domain: CountDomain, cell_of_row: NDArray[np.int64], subject_of_row: NDArray[np.int64], count: int
) -> NDArray[np.float64]:
    """float64[count, cells]: each of a subject's r records adds 1/r to its cell; records of no cell add to none.

    Whole numbers are added and divided once, so neither the order of rows nor anybody else's rows move a bit.

    Args:
        cell_of_row: int64[n]; whatever is not 0 … cells − 1 counts nowhere.
        subject_of_row: int64[n], the subject (0 … count − 1) of each row. A subject without rows weighs nothing.

    Raises:
        BadParametersError: ``BAD_COUNTS`` when the shapes or the subjects do not fit.
    """
    rows = cell_of_row.shape[0] if cell_of_row.ndim == 1 else -1
    whole = np.issubdtype(cell_of_row.dtype, np.integer)
    outside = subject_of_row.size > 0 and not 0 <= subject_of_row.min() <= subject_of_row.max() < count
    if subject_of_row.shape != (rows,) or not whole or outside:
        raise BadParametersError("BAD_COUNTS", "cells and subjects do not belong together")
    known = (cell_of_row >= 0) & (cell_of_row < len(domain.cells))
    tallies = np.zeros((count, len(domain.cells)), dtype=np.int64)
    np.add.at(tallies, (subject_of_row[known], cell_of_row[known]), 1)
    records = np.bincount(subject_of_row, minlength=count)
    return tallies / np.maximum(records, 1)[:, np.newaxis]


def local_vote(accept: bool, *, plan: Plan) -> ClippedSum:
    """A site's vote that it computed from its own records: one grid-exact vector of norm 0 or C for the whole site.

    One subject that comes or goes may turn the vote, and so moves the site's vector by at most C: what it moves is
    bounded, although the vote is no sum over subjects. So it is charged to every subject of the site. The vote has
    to be a function of the records alone, or of them and public figures.

    Raises:
        BadParametersError: ``BAD_COUNTS`` for a plan that is not one of votes.
    """
    if plan.cells != votes().cells or plan.sampling_rate != 1:
        raise BadParametersError("BAD_COUNTS", "a vote needs a plan of votes", "use votes_plan")
    total = np.array([plan.grid if accept else 0], dtype=np.int64)
    return ClippedSum(total=total, subjects=0, truncated=0)
