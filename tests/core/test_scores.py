"""Results by product group: the same metrics within each group, and no claim where nothing can be ranked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sekisho.core.pilot.scores import results_by_group
from sekisho.core.study import Study
from sekisho.core.training.evaluation import evaluate

EXAMPLE = Path(__file__).parents[2] / "examples" / "food-quality" / "study.yaml"
STUDY = Study.parse(EXAMPLE.read_bytes(), "study.yaml")


def sample(n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    draws = np.random.default_rng(7)
    positive = draws.random(n) < 0.6
    return draws.normal(size=n) + np.where(positive, 0.7, -0.7), positive


def test_a_group_has_the_metrics_of_its_own_records_alone() -> None:
    scores, positive = sample()
    groups = tuple("kohi" if n % 3 else "okashi" for n in range(len(scores)))
    found = {group.id: group for group in results_by_group(scores, positive, groups, STUDY)}
    assert set(found) == {"kohi", "okashi"}
    for name, group in found.items():
        rows = np.array([own == name for own in groups])
        alone = evaluate(scores[rows], positive[rows])
        assert group.n == alone.n == int(rows.sum())
        assert (group.auc, group.auc_low, group.auc_high) == (alone.auc, alone.auc_low, alone.auc_high)
        assert (group.accuracy, group.accuracy_low, group.accuracy_high) == (
            alone.accuracy, alone.accuracy_low, alone.accuracy_high)


def test_a_group_of_one_label_has_an_accuracy_and_no_auc() -> None:
    scores, positive = np.array([1.0, -1.0, 2.0]), np.array([True, True, True])
    (group,) = results_by_group(scores, positive, ("tea",) * 3, STUDY)
    assert (group.auc, group.auc_low, group.auc_high) == (None, None, None)
    assert group.accuracy == pytest.approx(2 / 3)


def test_the_sites_own_groups_come_first_in_the_studys_order_and_the_nameless_are_left_out() -> None:
    scores, positive = sample(6)
    groups = ("zucker", "daidokoro", "", "kohi", "apfel", "kohi")
    assert [group.id for group in results_by_group(scores, positive, groups, STUDY)] == [
        "kohi", "daidokoro", "apfel", "zucker"]


def test_a_test_set_without_groups_has_no_results_by_group() -> None:
    scores, positive = sample(6)
    assert results_by_group(scores, positive, (), STUDY) == ()
    assert results_by_group(scores, positive, ("",) * 6, STUDY) == ()
