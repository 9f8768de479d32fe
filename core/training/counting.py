"""How many of a site's people a state judges rightly: subjects -> outcomes -> one clipped integer sum, for the gate.

For: a validation on records of subjects that admitted it, under a plan of counts. Not here: who that is
(data/eligible.py), what it costs (privacy/mechanism/counts.py), noise and sealing (gate/gate.py), reading the result
(privacy/mechanism/opened.py).

Two things are judged of each record: its label, whether its score is on the right side of the usual threshold; and its
order, whether it is on the right side of ``middle_of``, the middle of how public records are scored, which no answer
that is the same for all can have. Where the middle of a site's own people lies would be a use of each of them.

Order of calls: ``middle_of`` at the state, then as of ``train_step``, whose rules hold: nobody's vector depends on
anybody else, and nothing raises because of what a record holds. A score that is not finite counts nowhere.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from ...privacy.accounting.plan import Plan
from ...privacy.gradients.clipping import clipped_integer_sum
from ...privacy.mechanism.counts import ValidationDomain, subject_counts, validation_outcomes
from ...privacy.mechanism.randomness import SecretStream
from ..errors import ProtocolError
from .evaluation import THRESHOLD
from .training import TrainingData
from .update import Update

SUBJECT_LABEL = b"sekisho/counting/subject/v1/"

def middle_of(scores: NDArray[np.float64]) -> float:
    """The median of public records' ``scores`` (float64 [n], log odds); the usual threshold where none is finite."""
    finite = scores[np.isfinite(scores)]
    return float(np.median(finite)) if finite.size else THRESHOLD


def is_above(middle: float) -> bool:
    """Whether ``middle`` is above the usual threshold: which of the two judgements is right of a score between them."""
    return middle > THRESHOLD


def count_step(
    data: TrainingData,
    subjects: Collection[str],
    vector: NDArray[np.float64],
    *,
    domain: ValidationDomain,
    plan: Plan,
    step: int,
    stream: SecretStream,
    middle: float = THRESHOLD,
) -> Update:
    """Disclosure ``step`` of ``plan``: all ``subjects`` judged at the public state ``vector`` (float64 [d]).

    ``stream`` is secret and fresh for this step. ``middle``: public; whoever scores above it is ordered positive.
    Nobody at all gives a sum of zeros. Raises ``ProtocolError`` SUBJECT_UNKNOWN, PLAN_FOREIGN.
    """
    if plan.cells != domain.cells or not isinstance(domain, ValidationDomain) or plan.sampling_rate != 1:
        raise ProtocolError("PLAN_FOREIGN", "the plan is not one of these counts")
    if not data.rows_of.keys() >= set(subjects):
        raise ProtocolError("SUBJECT_UNKNOWN", "a subject is to be counted that did not join")
    counted = sorted(subjects)
    places = [data.rows_of[subject] for subject in counted]
    rows = np.concatenate([np.zeros(0, dtype=np.int64), *places])
    scores = data.task.scores(data.rows[rows], vector) if rows.size else np.zeros(0)
    labelled, ordered = (np.where(np.isfinite(scores), scores > line, np.nan) for line in (THRESHOLD, middle))
    vectors = subject_counts(
        domain,
        validation_outcomes(data.labels[rows], labelled, ordered),
        np.repeat(np.arange(len(counted), dtype=np.int64), [len(own) for own in places]),
        len(counted),
    )
    streams = [stream.derive(SUBJECT_LABEL + subject.encode("utf-8")) for subject in counted]
    return Update(clipped_integer_sum(vectors, plan=plan, streams=streams), plan, step, cells=domain.cells)
