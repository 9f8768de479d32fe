"""Removing one subject changes no other subject's integer vector by a single bit (DESIGN 5, step 4).

On the real path: records of the example, the real base model, ``load_training_data``, ``train_step``. Each subject's
vector is noted where the step adds them up, together with the float64 sum it was rounded from: a difference in the last
place rarely moves an integer, and must not be there all the same. Mutants that break the promise in one place each are
built here and must be caught by the same comparison.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sekisho.core.data.dataset import Dataset
from sekisho.core.data.intake import BaseModelFacts, inspect, locate
from sekisho.core.study import Study
from sekisho.core.training import training
from sekisho.core.training.features import LONGEST, Features
from sekisho.core.training.model import Encoder
from sekisho.core.training.task import TextProbe
from sekisho.core.training.training import (
    SUBJECT_LABEL,
    TrainingData,
    choose_records,
    load_training_data,
    train_step,
)
from sekisho.privacy.accounting.plan import Plan
from sekisho.privacy.budget import Adjacency, Unit
from sekisho.privacy.gradients.clipping import ClippedSum, integer_vectors, subject_sums
from sekisho.privacy.mechanism.randomness import SecretStream
from sekisho.privacy.mechanism.rotation import Rotation
from sekisho.privacy.mechanism.sampling import poisson_sample

EXAMPLE = Path(__file__).parents[2] / "examples" / "food-quality"
SITE = "kohi"
SUBJECTS = 16  # about 40 texts
DIMENSION = 385
STATE = np.random.default_rng(7).normal(size=DIMENSION)  # a state in the middle of a run
KEY = bytes(range(32))

Vectors = dict[str, tuple[bytes, bytes]]  # subject -> (its float64 sum, its integer vector)
Step = Callable[[TrainingData, Collection[str], Plan, bytes], Vectors]


def plan_at(rate: str) -> Plan:
    """The probe of the example (DESIGN 5, worked example) at another sampling rate; two records of each subject."""
    return Plan(
        unit=Unit.SUBJECT,
        adjacency=Adjacency.ADD_OR_REMOVE_ONE,
        steps=60,
        allowance=5,
        sampling_rate=Decimal(rate),
        clipping_norm=Decimal("0.4"),
        grid=2052,
        dimension=DIMENSION,
        observers=1,
        sites=5,
        minimum_sites=3,
        expected_sample=4000,
        records_per_subject=2,
        preset="2x24",
        share_variances=((5, 122_855_056), (4, 163_806_742), (3, 245_710_112)),
        epsilon=Decimal(3),
        delta=Decimal("0.00001"),
    )


TRANSCRIPT = bytes(range(32, 64))  # H_t of the step, from which a rotation follows where the plan has one
PLANS = {rate: plan_at(rate) for rate in ("1", "0.6")}
PLANS["0.6, rotated"] = dataclasses.replace(plan_at("0.6"), preset="2x24-rotated")


# -- the comparison --------------------------------------------------------------------------------------------------


def moved(step: Step, removed: str, data: TrainingData, without: TrainingData, plan: Plan, key: bytes) -> set[str]:
    """Everybody else whose bits, or whose taking part, differ once ``removed`` is gone; empty is the promise."""
    before = step(data, data.rows_of.keys(), plan, key)
    after = step(without, data.rows_of.keys() - {removed}, plan, key)
    before.pop(removed, None)
    return {subject for subject in before.keys() | after.keys() if before.get(subject) != after.get(subject)}


def real_step(data: TrainingData, subjects: Collection[str], plan: Plan, key: bytes) -> Vectors:
    """``train_step`` itself, with every subject's sum and vector noted where they are added up."""
    noted: list[tuple[NDArray[np.float64], NDArray[np.int64]]] = []

    def noting(
        sums: NDArray[np.float64], *, plan: Plan, streams: Sequence[SecretStream], rotation: Rotation | None
    ) -> ClippedSum:
        vectors = integer_vectors(sums, plan=plan, streams=streams, rotation=rotation)
        noted.append((sums.copy(), vectors))
        return ClippedSum(vectors.sum(axis=0), len(sums), 0)

    turn = plan.rotation(TRANSCRIPT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "clipped_integer_sum", noting)
        update = train_step(data, subjects, STATE, plan=plan, step=3, stream=SecretStream(key), rotation=turn)
    # what was noted is what the untouched step adds up, to the bit
    untouched = train_step(data, subjects, STATE, plan=plan, step=3, stream=SecretStream(key), rotation=turn)
    assert np.array_equal(update.clipped.total, untouched.clipped.total)
    ((sums, vectors),) = noted
    sampled = [
        subject
        for subject in sorted(subjects)
        if poisson_sample(SecretStream(key).derive(SUBJECT_LABEL + subject.encode()), 1, plan.sampling_rate)[0]
    ]
    assert len(sampled) == len(vectors) == untouched.clipped.subjects
    return named(sampled, sums, vectors)


def named(subjects: Sequence[str], sums: NDArray[np.float64], vectors: NDArray[np.int64]) -> Vectors:
    rows = zip(subjects, sums, vectors, strict=True)
    return {subject: (total.tobytes(), vector.tobytes()) for subject, total, vector in rows}


# -- the real thing --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study() -> Study:
    return Study.parse((EXAMPLE / "study.yaml").read_bytes(), "study.yaml")


@pytest.fixture(scope="module")
def base_model(study: Study) -> BaseModelFacts:
    return inspect(locate(study.base_model, EXAMPLE))


@pytest.fixture(scope="module")
def features(base_model: BaseModelFacts) -> Features:
    return Features(base_model)


@pytest.fixture(scope="module")
def dataset(study: Study) -> Dataset:
    """The first subjects of one maker, and one with six records: about 40 real reviews."""
    whole = Dataset.load(EXAMPLE / "sites" / SITE / "records.jsonl.gz", labels=study.labels)
    busy = next(subject for subject in whole.subjects if len(whole.records[subject]) == 6)
    chosen = sorted({busy, *islice(whole.subjects, SUBJECTS - 1)})
    part = Dataset(MappingProxyType({subject: whole.records[subject] for subject in chosen}))
    assert 30 <= sum(len(records) for records in part.records.values()) <= 60
    return part


@pytest.fixture(scope="module")
def data(dataset: Dataset, study: Study, features: Features) -> TrainingData:
    return load_training_data(dataset, dataset.subjects, study.labels, TextProbe(features))


def chosen_to_go(dataset: Dataset) -> dict[str, str]:
    subjects = sorted(dataset.subjects)
    busiest = max(subjects, key=lambda subject: len(dataset.records[subject]))
    longest = max(subjects, key=lambda subject: max(len(record.text) for record in dataset.records[subject]))
    return {"first": subjects[0], "last": subjects[-1], "most records": busiest, "longest text": longest}


@pytest.mark.parametrize("who", ["first", "last", "most records", "longest text"])
def test_a_subject_that_was_never_there(
    dataset: Dataset, study: Study, features: Features, data: TrainingData, who: str
) -> None:
    # From the texts on: the base model runs again without this subject's texts.
    removed = chosen_to_go(dataset)[who]
    left = [subject for subject in dataset.subjects if subject != removed]
    without = load_training_data(dataset, left, study.labels, TextProbe(features))
    for plan in PLANS.values():
        assert moved(real_step, removed, data, without, plan, KEY) == set()


@settings(max_examples=25, deadline=None)
@given(place=st.integers(0, SUBJECTS - 1), rate=st.sampled_from(sorted(PLANS)), key=st.binary(min_size=32, max_size=32))
def test_a_subject_that_leaves_during_the_run(data: TrainingData, place: int, rate: str, key: bytes) -> None:
    subjects = sorted(data.rows_of)
    assert moved(real_step, subjects[place % len(subjects)], data, data, PLANS[rate], key) == set()


def test_half_of_all_subjects_gone_one_after_the_other(data: TrainingData) -> None:
    subjects = sorted(data.rows_of)
    before = real_step(data, subjects, PLANS["0.6"], KEY)
    after = real_step(data, subjects[::2], PLANS["0.6"], KEY)
    assert after == {subject: bits for subject, bits in before.items() if subject in subjects[::2]}
    assert 0 < len(after) < len(before) < len(subjects)


# -- mutants: each wrong in one place ----------------------------------------------------------------------------------


def rebuilt(
    stream_of: Callable[[SecretStream, int, str], SecretStream] | None = None,
    sampled: Callable[[SecretStream, Sequence[str], Plan], NDArray[np.bool_]] | None = None,
    gradients_of: Callable[..., NDArray[np.float64]] | None = None,
    sums_of: Callable[..., NDArray[np.float64]] = subject_sums,
) -> Step:
    """``train_step`` written out once more, with one part exchanged; with none it is the real one."""

    def step(data: TrainingData, subjects: Collection[str], plan: Plan, key: bytes) -> Vectors:
        secret = SecretStream(key)
        everybody = sorted(subjects)
        mask = None if sampled is None else sampled(secret, everybody, plan)
        streams, chosen, names = [], [], []
        for place, subject in enumerate(everybody):
            own = (stream_of or subject_stream)(secret, place, subject)
            takes_part = poisson_sample(own, 1, plan.sampling_rate)[0] if mask is None else mask[place]
            if takes_part:
                chosen.append(choose_records(data.rows_of[subject], plan.records_per_subject, own))
                streams.append(own)
                names.append(subject)
        rows = np.concatenate([np.empty(0, dtype=np.int64), *chosen])
        subject_of_row = np.repeat(np.arange(len(chosen)), [len(own) for own in chosen])
        gradients = (gradients_of or data.task.gradients)(data.rows[rows], data.labels[rows], STATE)
        sums = sums_of(gradients, subject_of_row, len(chosen))
        vectors = integer_vectors(sums, plan=plan, streams=streams, rotation=plan.rotation(TRANSCRIPT))
        return named(names, sums, vectors)

    return step


def subject_stream(secret: SecretStream, place: int, subject: str) -> SecretStream:
    return secret.derive(SUBJECT_LABEL + subject.encode())


def one_mask_for_all(secret: SecretStream, subjects: Sequence[str], plan: Plan) -> NDArray[np.bool_]:
    return poisson_sample(secret.derive(b"sample"), len(subjects), plan.sampling_rate)


def centred(features: NDArray[np.float64], labels: NDArray[np.float64], vector: NDArray[np.float64]) -> Any:
    """Normalisation over the batch, as a careless layer does it."""
    residuals = 1 / (1 + np.exp(-((features - features.mean(axis=0)) @ vector[:-1] + vector[-1]))) - labels
    return np.hstack([features * residuals[:, None], residuals[:, None]])


def running_differences(gradients: NDArray[np.float64], subject_of_row: NDArray[np.int64], count: int) -> Any:
    """Fast sums of consecutive rows: right up to rounding, and the rounding depends on who stands before."""
    ends = np.cumsum(np.bincount(subject_of_row, minlength=count))
    totals = np.vstack([np.zeros(gradients.shape[1]), np.cumsum(gradients, axis=0)])
    return totals[ends] - totals[np.concatenate([[0], ends[:-1]])]


def shared_stream(secret: SecretStream, place: int, subject: str) -> SecretStream:
    return secret  # read front to back by one after the other


def stream_of_the_place(secret: SecretStream, place: int, subject: str) -> SecretStream:
    return secret.derive(SUBJECT_LABEL + str(place).encode())


MUTANTS: Mapping[str, Step] = {
    "one stream shared by all": rebuilt(stream_of=shared_stream),
    "a stream for each place in the batch": rebuilt(stream_of=stream_of_the_place),
    "one sampling mask for all": rebuilt(sampled=one_mask_for_all),
    "arithmetic over the batch": rebuilt(gradients_of=centred),
    "sums as differences of running sums": rebuilt(sums_of=running_differences),
}


def test_the_step_written_out_once_more_is_the_real_one(data: TrainingData) -> None:
    # so that each mutant differs from the product in the one part that it names
    for plan in PLANS.values():
        assert rebuilt()(data, data.rows_of.keys(), plan, KEY) == real_step(data, data.rows_of.keys(), plan, KEY)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(data: TrainingData, name: str) -> None:
    caught = {gone: moved(MUTANTS[name], gone, data, data, PLANS["0.6"], KEY) for gone in sorted(data.rows_of)}
    assert sum(map(bool, caught.values())) >= 3


def test_texts_padded_to_the_longest_of_their_batch_are_caught(
    base_model: BaseModelFacts, dataset: Dataset, study: Study
) -> None:
    # The usual way to run a transformer: one batch, padded to its longest text. Without the longest text every pass
    # has another shape, kernels add up in another order, and other subjects' rows differ in their last places.
    encoder = Encoder.load(base_model)

    class Padded:
        width = DIMENSION - 1

        def of(self, texts: Sequence[str]) -> NDArray[np.float64]:
            tokens = encoder.tokens(texts, longest=4 * LONGEST)
            ids = np.zeros((len(texts), max(map(len, tokens))), dtype=np.int64)
            mask = np.zeros_like(ids)
            for row, text in enumerate(tokens):
                ids[row, : len(text)], mask[row, : len(text)] = text, 1
            rows = encoder.pooled(ids, mask).astype(np.float64)
            return np.asarray(rows / np.sqrt((rows * rows).sum(axis=1, keepdims=True)))

    removed = chosen_to_go(dataset)["longest text"]
    left = [subject for subject in dataset.subjects if subject != removed][:5]
    whole, without = (
        load_training_data(dataset, subjects, study.labels, TextProbe(Padded()))
        for subjects in ([*left, removed], left)
    )
    rows = np.concatenate([whole.rows_of[subject] for subject in left])
    assert np.abs(whole.rows[rows] - without.rows).max() < 1e-5
    if whole.rows[rows].tobytes() == without.rows.tobytes():
        pytest.skip("kernels of this machine add up in one order whatever the shape, so there is nothing to catch")
    assert moved(real_step, removed, whole, without, PLANS["1"], KEY)
