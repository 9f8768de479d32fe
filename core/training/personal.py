"""A site's own head on top of the common adapter: trained and tried at the site, and never sent anywhere.

For: ``train_personal_head`` after a run. Not for: anything that leaves: no noise is added here and no budget is
charged, because nothing of it passes the gate; what it is worth is said in the site's own report alone.

The common head is where it starts and what it is held to: it minimises the logistic loss of the site's records plus
λ/2·|v − common head|². A part of the subjects, chosen by a keyed hash, is kept aside and scored before and after; λ is
chosen on the others, by folds of whole subjects. (Sources: Arivazhagan et al., "Federated learning with personalization
layers", 2019; for the pull towards the common model, Li et al., "Ditto", ICML 2021.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .task import HeadedTask
from .training import TrainingData

HELD_OUT_OF = 10, 3  # three subjects in ten are kept aside: fewer leave too little to tell a difference
FOLDS = 5
PULLS = (0.1, 1.0, 10.0, 100.0)  # λ: from nearly the site's own optimum to nearly the common head
FEWEST = 20  # records on either side; with fewer a difference says nothing
NEWTON_STEPS = 25  # the loss is convex and the start is near; more change the sixth digit
LABEL = b"sekisho/personal-head/v1/"

_Part = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class PersonalHead:
    """``vector`` float64 [h] stands in the place of the state's head. The shares are of ``held_out`` records."""

    vector: NDArray[np.float64]
    pull: float
    held_out: int
    correct_before: int
    correct_after: int

    def __repr__(self) -> str:
        return "PersonalHead(...)"


def train_personal_head(
    data: TrainingData, subjects: Collection[str], state: NDArray[np.float64], *, key: bytes
) -> PersonalHead | None:
    """The head that suits ``subjects`` best, or None where there are too few records or one label only.

    None, too, for a task without a head. ``state`` is the common state, float64 [d]; ``key`` is the site's secret, so
    that who is kept aside is nobody else's to know.
    """
    if not isinstance(data.task, HeadedTask):
        return None
    aside = [name for name in sorted(subjects) if _kept_aside(name, key)]
    rest = [name for name in sorted(subjects) if not _kept_aside(name, key)]
    common = state[data.task.head :]
    tried, said = _records(data, [aside], state)[0]
    parts = _records(data, [rest[fold::FOLDS] for fold in range(FOLDS)], state)
    inputs, labels = (np.concatenate(column) for column in zip(*parts, strict=True))
    if min(len(labels), len(said)) < FEWEST or len(set(labels.tolist())) < 2:
        return None
    pull = _best_pull(parts, common)
    own = _fitted(inputs, labels, common, pull)
    return PersonalHead(own, pull, len(said), _correct(tried, said, common), _correct(tried, said, own))


def _kept_aside(subject: str, key: bytes) -> bool:
    out_of, kept = HELD_OUT_OF
    return int.from_bytes(hashlib.blake2b(LABEL + subject.encode(), key=key[:64]).digest()[:8], "big") % out_of < kept


def _records(data: TrainingData, groups: Sequence[Sequence[str]], state: NDArray[np.float64]) -> list[_Part]:
    """What the head sees of each group's records, and their labels; one pass through the model for all."""
    none = np.empty(0, dtype=np.int64)
    places = [np.concatenate([none, *(data.rows_of[subject] for subject in group)]) for group in groups]
    task: Any = data.task
    pooled = task.pooled(data.rows[np.concatenate(places)], state)
    ends = np.cumsum([len(own) for own in places])[:-1]
    return list(zip(np.split(pooled, ends), (data.labels[own] for own in places), strict=True))


def _best_pull(parts: Sequence[_Part], common: NDArray[np.float64]) -> float:
    losses = dict.fromkeys(PULLS, 0.0)
    for left_out, (tried, said) in enumerate(parts):
        others = [part for place, part in enumerate(parts) if place != left_out]
        inputs, labels = (np.concatenate(column) for column in zip(*others, strict=True))
        for pull in PULLS:
            scores = tried @ _fitted(inputs, labels, common, pull)
            losses[pull] += float(np.logaddexp(0.0, scores).sum() - scores @ said)
    return min(PULLS, key=lambda pull: losses[pull])


def _fitted(
    inputs: NDArray[np.float64], labels: NDArray[np.float64], common: NDArray[np.float64], pull: float
) -> NDArray[np.float64]:
    """Newton's method on a strictly convex loss; half steps while a whole one does not lower it."""
    vector = common.copy()

    def loss(at: NDArray[np.float64]) -> float:
        scores = inputs @ at
        away = at - common
        return float(np.logaddexp(0.0, scores).sum() - scores @ labels + pull / 2 * (away @ away))

    for _ in range(NEWTON_STEPS):
        probabilities = 1.0 / (1.0 + np.exp(-np.clip(inputs @ vector, -500, 500)))
        gradient = inputs.T @ (probabilities - labels) + pull * (vector - common)
        weights = probabilities * (1.0 - probabilities)
        move = np.linalg.solve((inputs * weights[:, np.newaxis]).T @ inputs + pull * np.eye(len(vector)), gradient)
        before, share = loss(vector), 1.0
        while share > 1e-3 and loss(vector - share * move) > before:
            share /= 2
        vector = vector - share * move
        if share * float(np.abs(move).max()) < 1e-9:
            break
    return vector


def _correct(inputs: NDArray[np.float64], labels: NDArray[np.float64], vector: NDArray[np.float64]) -> int:
    return int((((inputs @ vector) > 0.0) == (labels > 0.5)).sum())
