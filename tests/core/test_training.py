"""One step at a site: what a subject adds depends on that subject alone, and is bounded whatever it holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from decimal import Decimal
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sekisho.core.data.dataset import Dataset, Record
from sekisho.core.errors import ProtocolError
from sekisho.core.training.task import TextProbe
from sekisho.core.training.training import TrainingData, choose_records, load_training_data, train_step
from sekisho.core.training.update import Update
from sekisho.privacy.accounting.plan import Plan
from sekisho.privacy.budget import Adjacency, Unit
from sekisho.privacy.gradients.clipping import ClippedSum
from sekisho.privacy.mechanism.randomness import SecretStream

WIDTH = 12
LABELS = ("dissatisfied", "satisfied")
KEY = bytes(range(32))
PLAN = Plan(
    unit=Unit.SUBJECT,
    adjacency=Adjacency.ADD_OR_REMOVE_ONE,
    steps=60,
    allowance=5,
    sampling_rate=Decimal(1),
    clipping_norm=Decimal("0.4"),
    grid=2047,
    dimension=WIDTH + 1,
    observers=1,
    sites=5,
    minimum_sites=3,
    expected_sample=1530,
    records_per_subject=3,
    preset="2x24",
    share_variances=((5, 132_252_009), (4, 176_336_012), (3, 264_504_018)),
    epsilon=Decimal(3),
    delta=Decimal("0.00001"),
)
HALF = dataclasses.replace(PLAN, sampling_rate=Decimal("0.5"))
STATE = np.random.default_rng(0).normal(size=WIDTH + 1)


class HashedWords:
    """A real function from a text to a unit row, without a model: each text seeds its own row."""

    width = WIDTH

    def __init__(self) -> None:
        self.seen: list[str] = []

    def of(self, texts: Sequence[str]) -> NDArray[np.float64]:
        self.seen += texts
        rows = np.array([np.random.default_rng(list(text.encode())).normal(size=WIDTH) for text in texts])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True) if len(texts) else np.empty((0, WIDTH))


def dataset(*counts: int) -> Dataset:
    return Dataset(
        MappingProxyType(
            {
                f"s{number:03d}": tuple(
                    Record(f"{number}-{index:02d}", f"s{number:03d}", f"text {number} {index}", LABELS[index % 2])
                    for index in range(count)
                )
                for number, count in enumerate(counts)
            }
        )
    )


def data_of(source: Dataset, subjects: Sequence[str] | None = None) -> TrainingData:
    admitted = source.subjects if subjects is None else subjects
    return load_training_data(source, admitted, LABELS, TextProbe(HashedWords()))


def total(data: TrainingData, subjects: Sequence[str], plan: Plan = PLAN) -> NDArray[np.int64]:
    return train_step(data, subjects, STATE, plan=plan, step=1, stream=SecretStream(KEY)).clipped.total


@settings(max_examples=25, deadline=None)
@given(counts=st.lists(st.integers(1, 9), min_size=1, max_size=12), plan=st.sampled_from([PLAN, HALF]))
def test_the_sum_is_that_of_every_subject_alone_whoever_else_is_there(counts: list[int], plan: Plan) -> None:
    source = dataset(*counts)
    everybody = total(data_of(source), source.subjects, plan)
    alone = [total(data_of(source, [subject]), [subject], plan) for subject in source.subjects]
    assert np.array_equal(everybody, np.sum(alone, axis=0))


def test_removing_one_subject_moves_nobody_else_by_a_bit() -> None:
    source = dataset(1, 5, 2, 9, 3, 1)
    whole = total(data_of(source), source.subjects, HALF)
    for gone in source.subjects:
        left = [subject for subject in source.subjects if subject != gone]
        own = total(data_of(source, [gone]), [gone], HALF)
        # whether it left before the run or during it
        assert np.array_equal(whole - own, total(data_of(source, left), left, HALF))
        assert np.array_equal(whole - own, total(data_of(source), left, HALF))


def test_a_subject_with_many_records_is_bounded_like_everybody() -> None:
    source = dataset(300)
    for plan in (PLAN, dataclasses.replace(PLAN, records_per_subject=300)):
        vector = total(data_of(source), source.subjects, plan)
        assert 0 < int((vector * vector).sum()) <= plan.grid_bound_squared


def test_a_subject_adds_the_clipped_sum_of_its_records_gradients() -> None:
    source = dataset(2, 3)
    data = data_of(source)
    plan = dataclasses.replace(PLAN, clipping_norm=Decimal(1))
    expected = np.zeros(WIDTH + 1)
    for rows in data.rows_of.values():
        own = sum(
            data.task.gradients(data.rows[row : row + 1], data.labels[row : row + 1], STATE)[0] for row in rows
        )
        expected += own * min(1.0, 1.0 / float(np.linalg.norm(own)))
    # stochastic rounding: each of two subjects is within one grid unit
    assert np.abs(total(data, source.subjects, plan) * plan.grid_unit - expected).max() <= 2.001 * plan.grid_unit


def test_nobody_left_is_a_sum_of_zeros_and_not_an_error() -> None:
    source = dataset(1, 2)
    update = train_step(data_of(source), (), STATE, plan=PLAN, step=65, stream=SecretStream())
    assert update.clipped.total.tolist() == [0] * (WIDTH + 1) and update.clipped.subjects == 0


def test_only_admitted_subjects_are_ever_turned_into_features() -> None:
    source, words = dataset(2, 2, 2), HashedWords()
    data = load_training_data(source, ["s002", "s000"], LABELS, TextProbe(words))
    assert sorted(words.seen) == ["text 0 0", "text 0 1", "text 2 0", "text 2 1"]
    assert set(data.rows_of) == {"s000", "s002"} and data.labels.tolist() == [0.0, 1.0, 0.0, 1.0]


def test_somebody_who_did_not_join_cannot_enter() -> None:
    source = dataset(1, 1)
    with pytest.raises(ProtocolError) as caught:
        load_training_data(source, ["stranger"], LABELS, TextProbe(HashedWords()))
    assert caught.value.code == "SUBJECT_UNKNOWN" and "stranger" not in str(caught.value)
    data = data_of(source, ["s000"])
    with pytest.raises(ProtocolError) as caught:
        total(data, ["s000", "s001"])
    assert caught.value.code == "SUBJECT_UNKNOWN"
    with pytest.raises(ProtocolError) as caught:
        total(data, ["s000"], dataclasses.replace(PLAN, dimension=WIDTH))
    assert caught.value.code == "PLAN_FOREIGN"


def test_records_are_chosen_uniformly_and_afresh() -> None:
    rows = np.arange(100, 109)
    stream = SecretStream(KEY)
    counts = np.zeros(9)
    for _ in range(3000):
        picked = choose_records(rows, 3, stream)
        assert len(set(picked.tolist())) == 3 and picked.tolist() == sorted(picked.tolist())
        counts[picked - 100] += 1
    # 1,000 expected, standard deviation below 26
    assert np.abs(counts - 1000).max() < 130
    assert choose_records(rows[:3], 3, stream).tolist() == rows[:3].tolist()


def test_each_subject_is_sampled_by_its_own_coin_at_the_declared_rate() -> None:
    """Of 3,200 fair coins, 1,600 ± 184 is 6.5 standard errors: 8e-11. Eight samples of 400, of which no size has a
    chance above 0.04, are all of one size with 2e-10."""
    source = dataset(*[1] * 400)
    data = data_of(source)
    sampled = [
        train_step(data, source.subjects, STATE, plan=HALF, step=1, stream=SecretStream()).clipped.subjects
        for _ in range(8)
    ]
    assert 1416 <= sum(sampled) <= 1784 and len(set(sampled)) > 1


def test_what_a_record_holds_cannot_stop_a_step_or_move_others() -> None:
    source = dataset(1, 1, 1)
    data = data_of(source)
    rows = np.array(data.rows)
    rows[1] = np.nan
    broken = dataclasses.replace(data, rows=rows)
    left = ["s000", "s002"]
    assert np.array_equal(total(broken, source.subjects), total(data, left))


def test_an_update_fits_its_plan_and_shows_nothing() -> None:
    good = ClippedSum(np.full(WIDTH + 1, 77, dtype=np.int64), 1, 0)
    assert "77" not in repr(Update(good, PLAN, 1)) and "77" not in f"{data_of(dataset(1))!r}"
    for clipped, step in (
        (ClippedSum(np.zeros(WIDTH, dtype=np.int64), 0, 0), 1),
        (ClippedSum(np.zeros(WIDTH + 1), 0, 0), 1),  # type: ignore[arg-type]
        (good, 0),
        (good, 66),
    ):
        with pytest.raises(ProtocolError) as caught:
            Update(clipped, PLAN, step)
        assert caught.value.code == "UPDATE_MALFORMED"
