"""A model linearised around a public state: each record's logit and its derivative there, computed once and kept.

For: ``LinearisedTask(task, source, keep=...)``, a ``TrainingTask`` around LoRA (lora.py) whose gradients are those of
z(w) ≈ z(r) + ∂z(r)·(w − r), with r the reference of the schedule (schedule.py). Not for: moving the reference.

Why: a full pass through the layers costs seconds for every thousand records, this costs milliseconds, so that all
subjects can take part in every step, which is what keeps the noise small; and noise lets adapters move so little that
the difference to the model itself is small (docs/adr/0009). Scores are always those of the model itself.

Order of calls: ``load(texts)`` -> each step ``linearise(rows, reference)``, then ``gradients(rows[places], ...)``;
``scores`` at last. Derivatives are as personal as the texts: in memory only, and dropped with the rows.

A record's gradient depends on that record and the public state alone, to the bit: its derivative comes from passes of a
fixed shape, and every product below is reduced row by row. No BLAS.
Sources: Mu, Liang and Li, "Gradients as features for deep representation learning", ICLR 2020; Jacot, Gabriel and
Hongler, "Neural tangent kernel", NeurIPS 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import ProtocolError
from .probe import probability
from .rows import PrefixRows
from .task import HeadedTask, StateSource

# A record's derivative is scaled down to this norm, so that a public learning rate is stable for every record there may
# be (optimizer.py: curvature below RADIUS times the residual). The head alone has √2; 1.6 leaves half of that to the
# adapter, more of which would be more noise than a layer bears (docs/adr/0009).
RADIUS = 1.6


class Differentiable(HeadedTask[PrefixRows], Protocol):
    """A task that can say how a record's log odds depend on the state."""

    def derivatives(
        self, rows: PrefixRows, vector: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Log odds float64 [n] at ``vector`` and their derivatives float64 [n, d]."""
        ...


class _Known:
    """Log odds and derivatives around one reference, of the records that were asked for so far."""

    def __init__(self, states: PrefixRows, base: NDArray[np.float64]) -> None:
        self.states = states
        self.base = base  # what a head on the base model sees, float64 [n, d − head]
        self.reference: NDArray[np.float64] | None = None
        self.first = 0  # derivatives before this coordinate are zero and not kept
        self.known = np.zeros(len(states), dtype=np.bool_)
        self.log_odds = np.empty(0)
        self.derivatives = np.empty((0, 0), dtype=np.float32)


class TangentRows:
    """Some of the records of a site, by place. Shows nothing of itself."""

    def __init__(self, known: _Known, places: NDArray[np.int64]) -> None:
        self.known = known
        self.places = places

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, places: NDArray[np.int64]) -> TangentRows:
        return TangentRows(self.known, self.places[places])

    def __repr__(self) -> str:
        return "TangentRows(...)"


class LinearisedTask(HeadedTask[TangentRows]):
    """``task`` linearised around the reference of each step.

    Derivatives are kept, 4·n·d bytes; where the reference moves with every step (``keep`` false) they are not, and the
    gradients are the plain ones of ``task``.
    """

    def __init__(self, task: Differentiable, source: StateSource, *, keep: bool) -> None:
        self.task = task
        self._source = source
        self._keep = keep

    @property
    def dimension(self) -> int:
        """d: numbers that train."""
        return self.task.dimension

    def initial(self) -> NDArray[np.float64]:
        """float64 [d]: where every site starts."""
        return self.task.initial()

    def load(self, texts: Sequence[str]) -> TangentRows:
        """What the frozen layers make of each text; no derivative yet."""
        states, base = self._source.states(texts), self._source.of(texts)
        known = _Known(states, np.hstack([base, np.ones((len(base), 1))]))
        return TangentRows(known, np.arange(len(states), dtype=np.int64))

    def linearise(self, rows: TangentRows, reference: NDArray[np.float64]) -> None:
        """Take ``reference`` (float64 [d]) as the state around which ``rows``, and all loaded with them, are seen."""
        known = rows.known
        if known.reference is not None and known.reference.tobytes() == reference.tobytes():
            return
        # at the start the head is zero, and B·A has no derivative: it enters the log odds through the head alone
        known.first = self.task.head if reference.tobytes() == self.task.initial().tobytes() else 0
        known.reference = reference
        known.known = np.zeros(len(known.states), dtype=np.bool_)
        kept = len(known.states) if self._keep else 0
        known.log_odds = np.empty(kept)
        known.derivatives = np.empty((kept, self.dimension - known.first), dtype=np.float32)

    def gradients(
        self, rows: TangentRows, labels: NDArray[np.float64], vector: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Each record's gradient of the logistic loss, float64 [n, d], its derivative scaled to at most ``RADIUS``."""
        known = rows.known
        if known.reference is None:
            raise ProtocolError("NOT_LINEARISED", "a gradient was asked for before there was a reference")
        log_odds, derivatives = self._around(known, rows.places)
        found = np.zeros((len(rows), self.dimension))
        moved = vector[known.first :] - known.reference[known.first :]
        for place, derivative in enumerate(derivatives.astype(np.float64)):
            score = float(log_odds[place] + np.add.reduce(derivative * moved))
            length = float(np.sqrt(np.add.reduce(derivative * derivative)))
            residual = probability(score) - labels[place]
            np.multiply(derivative, residual * min(1.0, RADIUS / max(length, RADIUS)), out=found[place, known.first :])
        return found

    @property
    def head(self) -> int:
        """Where the head begins in a state."""
        return self.task.head

    def pooled(self, rows: TangentRows, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the head sees of each record by the model itself: float64 [n, d − head]."""
        return self.task.pooled(rows.known.states[rows.places], vector)

    def scores(self, rows: TangentRows, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log odds by the model itself, not linearised: float64 [n]."""
        return self.task.scores(rows.known.states[rows.places], vector)

    def _around(
        self, known: _Known, places: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float32 | np.float64]]:
        if not self._keep:
            log_odds, derivatives = self._computed(known, places)
            return log_odds, derivatives
        missing = places[~known.known[places]]
        if len(missing):
            known.log_odds[missing], known.derivatives[missing] = self._computed(known, missing)
            known.known[missing] = True
        return known.log_odds[places], known.derivatives[places]

    def _computed(
        self, known: _Known, places: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        reference = known.reference
        assert reference is not None
        states = known.states[places]
        if known.first == 0:
            return self.task.derivatives(states, reference)
        # the head is zero, and so are the log odds; its derivative is what it sees, as yet of the base model itself
        return np.zeros(len(places)), known.base[places]
