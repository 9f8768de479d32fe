"""A published adapter on the public test set, as a whole and by product group; a recipient site does this.

Not here: the metrics and their bounds (training/evaluation.py), what is shown of them (accuracy.py).

Order of calls: ``read_test_set`` before anything is charged -> after each run ``evaluate_method``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..data.dataset import TestSet
from ..site.publish import Published
from ..study import Study
from .federation import Federation
from .findings import GroupResult, MembershipFacts, MethodResult, NotTried
from .membership import membership_facts


def read_test_set(study_folder: Path, study: Study) -> TestSet:
    """The public test set that the study names. Read before anything is charged; raises ``BadInputError``."""
    return TestSet.load(study_folder / study.test_set.file, labels=study.labels, digest=study.test_set.digest)


@dataclass(frozen=True)
class Evaluated:
    """A published adapter on the public test set; ``membership`` where the customers' records are at hand, too."""

    result: MethodResult
    groups: tuple[GroupResult, ...]
    membership: MembershipFacts | NotTried


def evaluate_method(federation: Federation, method: str, published: Published, test: TestSet) -> Evaluated:
    """The adapter on the public test set, as a whole and by product group; a site does this with what it holds."""
    from ..training.evaluation import evaluate

    study = federation.study
    scores = federation.scores(method, published, test.texts)
    positive = test.positive(study.labels[1])
    whole = MethodResult.model_validate(evaluate(scores, positive).to_json(study.labels))
    groups = results_by_group(scores, positive, test.groups, study)
    return Evaluated(whole, groups, membership_facts(federation, published, scores, test))


def results_by_group(
    scores: NDArray[np.float64], positive: NDArray[np.bool_], groups: tuple[str, ...], study: Study
) -> tuple[GroupResult, ...]:
    """The same metrics within each group; the sites' own first, in the study's order."""
    from ..training.evaluation import THRESHOLD, auc_with_interval, wilson_interval

    names = np.array(groups, dtype=np.str_)
    found = []
    for group in (*(site for site in study.sites if site in groups), *sorted({*groups} - {*study.sites, ""})):
        rows = names == group
        own, label = scores[rows], positive[rows]
        correct = int(((own > THRESHOLD) == label).sum())
        both = bool(label.any()) and not bool(label.all())
        auc = auc_with_interval(own[label], own[~label]) if both else (None, None, None)
        accuracy_low, accuracy_high = wilson_interval(correct, len(own))
        found.append(
            GroupResult(
                id=group, n=len(own), auc=auc[0], auc_low=auc[1], auc_high=auc[2], accuracy=correct / len(own),
                accuracy_low=accuracy_low, accuracy_high=accuracy_high,
            )
        )
    return tuple(found)
