"""People counted at a state: everybody weighs one, nobody moves anybody else, and the figures are the evaluator's."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from decimal import Decimal

import numpy as np
import pytest
from numpy.typing import NDArray

from sekisho.core.errors import ProtocolError
from sekisho.core.training import counting
from sekisho.core.training.counting import CLASSES, count_step
from sekisho.core.training.training import TrainingData
from sekisho.core.training.update import Update
from sekisho.privacy.accounting.plan import Plan
from sekisho.privacy.gradients.clipping import ClippedSum, clipped_integer_sum
from sekisho.privacy.mechanism.counts import CountDomain, counts_plan, validation, votes
from sekisho.privacy.mechanism.randomness import SecretStream

from .test_training import KEY, LABELS, STATE, data_of, dataset
from .test_training import PLAN as TRAINING_PLAN

DOMAIN = validation(*LABELS)
SIZES = (1, 2, 5, 1, 40, 3)


def plan_of(domain: CountDomain) -> Plan:
    return counts_plan(
        domain, epsilon=Decimal(1), delta=Decimal("0.00001"), disclosures=2, sites=5, minimum_sites=3, observers=1,
        subjects=[300] * 5,
    )  # fmt: skip


PLAN = plan_of(DOMAIN)


def counted(data: TrainingData, subjects: list[str]) -> Update:
    return count_step(data, subjects, STATE, domain=DOMAIN, plan=PLAN, step=1, stream=SecretStream(KEY))


def test_everybody_weighs_one_and_is_judged_as_the_scores_say() -> None:
    data = data_of(dataset(*SIZES))
    update = counted(data, sorted(data.rows_of))
    expected = np.zeros(4)
    for rows in data.rows_of.values():
        judged = data.task.scores(data.rows[rows], STATE) > 0
        for label, positive in zip(data.labels[rows], judged, strict=True):
            expected[2 * int(label) + (bool(label) != bool(positive))] += 1 / len(rows)
    assert np.abs(update.clipped.total / PLAN.grid - expected).max() < len(SIZES) / PLAN.grid
    assert update.clipped.total.sum() / PLAN.grid == pytest.approx(len(SIZES), abs=len(SIZES) * 4 / PLAN.grid)
    assert update.cells == PLAN.cells and len(PLAN.cells) == 2 * CLASSES


@pytest.mark.parametrize("gone", range(len(SIZES)))
def test_taking_one_person_away_moves_the_sum_by_that_persons_own_vector(gone: int) -> None:
    data = data_of(dataset(*SIZES))
    everybody = sorted(data.rows_of)
    without = counted(data, [subject for subject in everybody if subject != everybody[gone]]).clipped.total
    alone = counted(data, [everybody[gone]]).clipped.total
    assert (counted(data, everybody).clipped.total - without == alone).all()
    assert np.square(alone).sum() <= PLAN.grid_bound_squared


def test_rounding_drawn_in_turn_would_be_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    data = data_of(dataset(*[3] * 30))  # thirds, which have to be rounded
    everybody = sorted(data.rows_of)

    def others_moved() -> bool:
        whole, without, alone = (counted(data, who).clipped.total for who in (everybody, everybody[1:], everybody[:1]))
        return bool((whole - without != alone).any())

    def in_turn(sums: NDArray[np.float64], *, plan: Plan, streams: Sequence[SecretStream]) -> ClippedSum:
        one = SecretStream(KEY)
        # the mutant: one stream for all, so that everybody behind the one who went is rounded with other draws
        return clipped_integer_sum(sums, plan=plan, streams=[one] * len(sums))

    assert not others_moved()
    monkeypatch.setattr(counting, "clipped_integer_sum", in_turn)
    assert others_moved()


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
def test_a_record_whose_score_is_not_finite_counts_nowhere_and_moves_nobody(poison: float) -> None:
    source = dataset(*SIZES)
    data = data_of(source)
    rows = data.rows.copy()
    rows[data.rows_of["s001"]] = poison
    broken = dataclasses.replace(data, rows=rows)
    left = [subject for subject in sorted(data.rows_of) if subject != "s001"]
    with np.errstate(invalid="ignore"):
        total = counted(broken, sorted(data.rows_of)).clipped.total
    assert (total == counted(data, left).clipped.total).all()


def test_nobody_at_all_gives_a_sum_of_zeros() -> None:
    update = counted(data_of(dataset(*SIZES)), [])
    assert not update.clipped.total.any() and update.clipped.subjects == 0


def test_a_plan_that_is_not_of_these_counts_is_refused() -> None:
    data = data_of(dataset(*SIZES))
    for domain, plan in (
        (DOMAIN, TRAINING_PLAN),
        (DOMAIN, plan_of(validation(*reversed(LABELS)))),
        (votes(), plan_of(votes())),
        (DOMAIN, dataclasses.replace(PLAN, sampling_rate=Decimal("0.5"))),
    ):
        with pytest.raises(ProtocolError) as caught:
            count_step(data, ["s000"], STATE, domain=domain, plan=plan, step=1, stream=SecretStream(KEY))
        assert caught.value.code == "PLAN_FOREIGN"
    with pytest.raises(ProtocolError) as caught:
        counted(data, ["s999"])
    assert caught.value.code == "SUBJECT_UNKNOWN"


def test_gradients_under_a_plan_of_counts_and_counts_under_one_of_gradients_are_no_update() -> None:
    counts, gradients = np.zeros(4, dtype=np.int64), np.zeros(TRAINING_PLAN.dimension, dtype=np.int64)
    four = dataclasses.replace(TRAINING_PLAN, dimension=4)  # the same shape, so that only the quantity tells
    other = plan_of(validation(*reversed(LABELS)))
    for total, plan, cells in (
        (counts, PLAN, ()),
        (counts, four, DOMAIN.cells),
        (counts, other, DOMAIN.cells),
        (gradients, TRAINING_PLAN, DOMAIN.cells),
    ):
        with pytest.raises(ProtocolError) as caught:
            Update(ClippedSum(total, 1, 0), plan, 1, cells=cells)
        assert caught.value.code == "UPDATE_QUANTITY"
