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
from sekisho.core.training.counting import count_step, is_above, middle_of
from sekisho.core.training.training import TrainingData
from sekisho.core.training.update import Update
from sekisho.privacy.accounting.plan import Plan
from sekisho.privacy.gradients.clipping import ClippedSum, clipped_integer_sum
from sekisho.privacy.mechanism.counts import CountDomain, counts_plan, validation, votes
from sekisho.privacy.mechanism.judged import JudgedCounts
from sekisho.privacy.mechanism.opened import OpenedCounts
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


def counted(data: TrainingData, subjects: list[str], middle: float = 0.0, state: NDArray[np.float64] = STATE) -> Update:
    return count_step(
        data, subjects, state, domain=DOMAIN, plan=PLAN, step=1, stream=SecretStream(KEY), middle=middle
    )


@pytest.mark.parametrize("side", [1, -1])
def test_everybody_weighs_one_and_is_judged_as_the_scores_say(side: int) -> None:
    """Both judgements, wherever the middle lies: its marginals are what counting each of the two alone gives."""
    data = data_of(dataset(*SIZES))
    state = STATE + 2.5 * (np.arange(STATE.size) == STATE.size - 1)  # a bias, so that both labels are given
    scores = data.task.scores(data.rows, state)
    middle = side * float(np.median(np.abs(scores)))
    update = counted(data, sorted(data.rows_of), middle, state)
    expected, marginals = np.zeros(6), np.zeros((2, 2))
    for rows in data.rows_of.values():
        for label, score in zip(data.labels[rows], scores[rows], strict=True):
            rights = [(score > line) == bool(label) for line in (0.0, middle)]
            expected[3 * int(label) + 2 - sum(rights)] += 1 / len(rows)
            marginals[int(label)] += np.array(rights) / len(rows)
    opened = OpenedCounts(DOMAIN, tuple((update.clipped.total / PLAN.grid).tolist()), 1.0)
    judged = JudgedCounts(opened, is_above(middle))
    rounding = 2 * len(SIZES) / PLAN.grid
    for place, judgement in enumerate(("label", "order")):
        rightly = [opened.total(right) for right, _ in judged.parts(judgement)]  # type: ignore[arg-type]  # the two
        assert rightly == pytest.approx(marginals[:, place].tolist(), abs=rounding)
    assert (marginals[:, 0] != marginals[:, 1]).all()  # the two judgements differ here
    assert np.abs(update.clipped.total / PLAN.grid - expected).max() < len(SIZES) / PLAN.grid
    assert update.clipped.total.sum() / PLAN.grid == pytest.approx(len(SIZES), abs=len(SIZES) * 4 / PLAN.grid)
    assert update.cells == PLAN.cells


@pytest.mark.parametrize("gone", range(len(SIZES)))
def test_taking_one_person_away_moves_the_sum_by_that_persons_own_vector(gone: int) -> None:
    data = data_of(dataset(*SIZES))
    everybody = sorted(data.rows_of)
    without = counted(data, [subject for subject in everybody if subject != everybody[gone]]).clipped.total
    alone = counted(data, [everybody[gone]]).clipped.total
    assert (counted(data, everybody).clipped.total - without == alone).all()
    assert np.square(alone).sum() <= PLAN.grid_bound_squared


def test_rounding_drawn_in_turn_would_be_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    data = data_of(dataset(*[3] * 40))  # thirds, which have to be rounded
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


def test_a_middle_that_nobody_has_is_the_usual_threshold() -> None:
    assert middle_of(np.array([np.nan, 3.0, 1.0, np.inf])) == 2.0 and is_above(2.0)
    assert middle_of(np.array([np.nan])) == 0.0 and not is_above(0.0)


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
    counts, gradients = np.zeros(6, dtype=np.int64), np.zeros(TRAINING_PLAN.dimension, dtype=np.int64)
    as_wide = dataclasses.replace(TRAINING_PLAN, dimension=6)  # the same shape, so that only the quantity tells
    other = plan_of(validation(*reversed(LABELS)))
    for total, plan, cells in (
        (counts, PLAN, ()),
        (counts, as_wide, DOMAIN.cells),
        (counts, other, DOMAIN.cells),
        (gradients, TRAINING_PLAN, DOMAIN.cells),
    ):
        with pytest.raises(ProtocolError) as caught:
            Update(ClippedSum(total, 1, 0), plan, 1, cells=cells)
        assert caught.value.code == "UPDATE_QUANTITY"
