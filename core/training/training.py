"""One step's local work at a site: subjects -> Poisson sample -> per-record gradients -> one clipped integer sum.

Order of calls: ``load_training_data`` once a run (records of admitted subjects -> rows of the task) -> ``train_step``
each step -> the gate. Not here: who is admitted or still eligible (data/eligible.py), the way of training (task.py),
noise and sealing (gate/gate.py).

What a subject adds to the sum depends on that subject's own records, the public state and a secret stream that is the
subject's alone. So whether it is sampled, which of its records are used and how its vector is rounded are drawn from
its own stream: taking anybody away moves nobody else by a bit. Subjects are worked on a few at a time, which bounds the
memory and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...privacy.accounting.plan import Plan
from ...privacy.gradients.clipping import ClippedSum, clipped_integer_sum, subject_sums
from ...privacy.mechanism.randomness import SecretStream
from ...privacy.mechanism.rotation import Rotation
from ...privacy.mechanism.sampling import poisson_sample
from ..data.dataset import Dataset
from ..errors import ProtocolError
from .going_on import never_stops
from .task import Rows, TrainingTask
from .update import Update

SUBJECT_LABEL = b"sekisho/training/subject/v1/"
GRADIENT_BYTES = 64 << 20  # of gradients in memory at a time; larger blocks are no faster


@dataclass(frozen=True, eq=False)
class TrainingData:
    """A run's rows in memory; as personal as the texts they come from.

    ``rows`` are the task's own, ``labels`` float64 [n] of zeros and ones, ``rows_of`` the places of each subject's
    records, in order of their ids.
    """

    task: TrainingTask[Any]
    rows: Rows
    labels: NDArray[np.float64]
    rows_of: Mapping[str, NDArray[np.int64]]

    def __repr__(self) -> str:
        return "TrainingData(...)"


def load_training_data(
    dataset: Dataset, admitted: Sequence[str], labels: Sequence[str], task: TrainingTask[Any]
) -> TrainingData:
    """The task's rows of the admitted subjects' records, and of nobody else's. ``labels[1]`` is the positive class.

    Raises:
        ProtocolError: SUBJECT_UNKNOWN when an admitted subject has no record here.
    """
    if not dataset.records.keys() >= set(admitted):
        raise ProtocolError("SUBJECT_UNKNOWN", "a subject was admitted that has no record at this site")
    records = [record for subject in sorted(admitted) for record in dataset.records[subject]]
    rows: dict[str, list[int]] = {}
    for row, record in enumerate(records):
        rows.setdefault(record.subject, []).append(row)
    return TrainingData(
        task=task,
        rows=task.load([record.text for record in records]),
        labels=np.array([float(record.label == labels[1]) for record in records], dtype=np.float64),
        rows_of=MappingProxyType({subject: np.array(own, dtype=np.int64) for subject, own in rows.items()}),
    )


def train_step(
    data: TrainingData,
    subjects: Collection[str],
    vector: NDArray[np.float64],
    *,
    plan: Plan,
    step: int,
    stream: SecretStream,
    rotation: Rotation | None = None,
    check: Callable[[], None] = never_stops,
) -> Update:
    """One step over ``subjects`` at the public state ``vector`` (float64 [d]). Nobody sampled gives a sum of zeros.

    ``stream`` is secret and fresh for this step; ``rotation`` is public, ``plan.rotation(H_t)``. ``check`` is asked
    before every few subjects; what it raises ends the step (going_on.py).

    Raises:
        ProtocolError: SUBJECT_UNKNOWN, PLAN_FOREIGN.
        BadParametersError: BAD_GRADIENTS when the plan rotates and no rotation is given, or the other way round.
    """
    if plan.dimension != data.task.dimension:
        raise ProtocolError("PLAN_FOREIGN", "the plan is for an adapter of another size")
    if not data.rows_of.keys() >= set(subjects):
        raise ProtocolError("SUBJECT_UNKNOWN", "a subject is to take part that did not join")
    streams: list[SecretStream] = []
    chosen: list[NDArray[np.int64]] = []
    for subject in sorted(subjects):
        own = stream.derive(SUBJECT_LABEL + subject.encode("utf-8"))
        if poisson_sample(own, 1, plan.sampling_rate)[0]:
            chosen.append(choose_records(data.rows_of[subject], plan.records_per_subject, own))
            streams.append(own)
    total, count, truncated = np.zeros(plan.dimension, dtype=np.int64), 0, 0
    for few in _blocks(chosen, plan.dimension):
        check()
        part = _clipped_sum(data, chosen[few], streams[few], vector, plan, rotation)
        total += part.total
        count += part.subjects
        truncated += part.truncated
    return Update(ClippedSum(total, count, truncated), plan, step)


def _clipped_sum(
    data: TrainingData,
    chosen: Sequence[NDArray[np.int64]],
    streams: Sequence[SecretStream],
    vector: NDArray[np.float64],
    plan: Plan,
    rotation: Rotation | None,
) -> ClippedSum:
    places = np.concatenate(chosen)
    subject_of_row = np.repeat(np.arange(len(chosen), dtype=np.int64), [len(own) for own in chosen])
    gradients = data.task.gradients(data.rows[places], data.labels[places], vector)
    sums = subject_sums(gradients, subject_of_row, len(chosen))
    return clipped_integer_sum(sums, plan=plan, streams=streams, rotation=rotation)


def _blocks(chosen: Sequence[NDArray[np.int64]], dimension: int) -> Iterator[slice]:
    """Whole subjects at a time, as many as fit into ``GRADIENT_BYTES``; one that does not fit goes alone."""
    most = max(1, GRADIENT_BYTES // (8 * dimension))
    start = records = 0
    for place, own in enumerate(chosen):
        if records + len(own) > most and place > start:
            yield slice(start, place)
            start, records = place, 0
        records += len(own)
    if start < len(chosen):
        yield slice(start, len(chosen))


def choose_records(rows: NDArray[np.int64], most: int, stream: SecretStream) -> NDArray[np.int64]:
    """At most ``most`` of one subject's rows, uniformly and afresh each step, in their own order."""
    if len(rows) <= most:
        return rows
    # the k smallest of independent 64-bit draws are a uniform choice of k
    places = np.argsort(stream.uint64(len(rows)), kind="stable")[:most]
    picked: NDArray[np.int64] = rows[np.sort(places)]
    return picked
