"""Figures are those of the published formulas, and never more certain than the test set allows."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, roc_auc_score

from sekisho.core.errors import BadInputError
from sekisho.core.training.evaluation import auc_with_interval, evaluate, midranks, wilson_interval


@settings(max_examples=100, deadline=None)
@given(
    answers=st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=2, max_size=80).filter(
        lambda rows: len({positive for _, positive in rows}) == 2
    )
)
def test_point_values_agree_with_scikit_learn_with_many_ties(answers: list[tuple[int, bool]]) -> None:
    scores = np.array([score for score, _ in answers], dtype=np.float64)
    positive = np.array([label for _, label in answers])
    metrics = evaluate(scores, positive)
    assert metrics.auc == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)
    assert metrics.accuracy == pytest.approx(accuracy_score(positive, scores > 0))
    assert 0 <= metrics.auc_low <= metrics.auc <= metrics.auc_high <= 1
    assert 0 <= metrics.accuracy_low <= metrics.accuracy <= metrics.accuracy_high <= 1
    (negatives, rejected), (positives, accepted) = metrics.per_class
    assert negatives + positives == metrics.n == len(answers)
    assert (rejected + accepted) / metrics.n == pytest.approx(metrics.accuracy)


def test_delong_variance_is_that_of_the_definition() -> None:
    random = np.random.default_rng(5)
    positives, negatives = random.normal(1.0, size=31).round(1), random.normal(size=47).round(1)
    kernel = np.array([[float(p > n) + 0.5 * float(p == n) for n in negatives] for p in positives])
    variance = kernel.mean(axis=1).var(ddof=1) / 31 + kernel.mean(axis=0).var(ddof=1) / 47
    auc, low, high = auc_with_interval(positives, negatives)
    assert auc == pytest.approx(kernel.mean())
    assert (high - low) / 2 == pytest.approx(1.959963984540054 * np.sqrt(variance))


def test_the_auc_interval_covers_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(7)
    # for N(1, 1) against N(0, 1) the AUC is Φ(1/√2)
    truth = 0.7602499389065233
    hits = 0
    for _ in range(400):
        _, low, high = auc_with_interval(random.normal(1.0, size=150), random.normal(size=80))
        hits += low <= truth <= high
    assert 0.92 <= hits / 400 <= 0.98


def test_wilson_bounds_are_the_published_ones() -> None:
    # Newcombe, Statistics in Medicine 1998, table I, method 3
    for (correct, count), (low, high) in {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }.items():
        assert wilson_interval(correct, count) == pytest.approx((low, high), abs=5e-5)


def test_a_perfect_score_on_few_records_does_not_claim_certainty() -> None:
    auc, low, high = auc_with_interval(np.array([2.0, 3.0, 4.0]), np.array([-1.0, 0.0]))
    assert (auc, high) == (1.0, 1.0) and low < 0.5


def test_no_score_lies_outside_its_own_bounds() -> None:
    """All right on 24 records once rounded to an upper bound below one: a run was charged and could not be reported."""
    for count in range(2, 400):
        for correct in {0, 1, count - 1, count}:
            low, high = wilson_interval(correct, count)
            assert 0 <= low <= correct / count <= high <= 1, (correct, count)


def test_midranks_share_the_mean() -> None:
    assert midranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1.0, 3.5, 2.0]


def test_order_of_the_records_does_not_matter() -> None:
    random = np.random.default_rng(1)
    scores, positive = random.normal(size=40), random.random(40) < 0.5
    order = random.permutation(40)
    one, other = evaluate(scores, positive), evaluate(scores[order], positive[order])
    assert one.auc == pytest.approx(other.auc) and one.per_class == other.per_class


def test_what_cannot_be_judged_is_refused() -> None:
    for scores, positive, code in (
        (np.zeros(3), np.ones(3, dtype=bool), "TEST_SET_ONE_CLASS"),
        (np.zeros(3), np.zeros(3, dtype=bool), "TEST_SET_ONE_CLASS"),
        (np.zeros(2), np.ones(3, dtype=bool), "SCORES_NOT_FINITE"),
        (np.array([0.0, np.nan]), np.array([True, False]), "SCORES_NOT_FINITE"),
    ):
        with pytest.raises(BadInputError) as caught:
            evaluate(scores, positive)
        assert caught.value.code == code


def test_the_summary_form_names_both_classes() -> None:
    metrics = evaluate(np.array([1.0, -1.0, 2.0]), np.array([True, False, False]))
    form = json.loads(json.dumps(metrics.to_json(("bad", "good"))))
    assert form["per_class"] == [{"label": "bad", "n": 2, "correct": 1}, {"label": "good", "n": 1, "correct": 1}]
    assert set(form) >= {"auc", "auc_low", "auc_high", "accuracy", "accuracy_low", "accuracy_high", "n"}
    assert all(low <= high for low, high in itertools.pairwise((form["auc_low"], form["auc"], form["auc_high"])))
