"""What training asks of a way of training: texts -> rows, once; each record's gradient at a state; scores at the end.

For: ``TrainingTask``, against which a step is written, and ``TextProbe``, the probe in this form. Not for: who is
sampled, adding up and clipping (training.py), the way itself (probe.py, lora.py).

No torch here: a site's other commands read the step, and do not load a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .probe import ProbeTask, scores
from .rows import PrefixRows


class Rows(Protocol):
    """Records as a task keeps them in memory: as personal as their texts, one row each."""

    def __len__(self) -> int: ...

    def __getitem__(self, places: Any, /) -> Any:
        """The rows at ``places``, int64 [m], in that order; of the same kind."""
        ...


RowsOfTask = TypeVar("RowsOfTask", bound=Rows)


class TrainingTask(Protocol[RowsOfTask]):
    """A row, a gradient and a score depend on their own record and the public state alone, to the bit."""

    @property
    def dimension(self) -> int:
        """d: numbers that train."""
        ...

    def initial(self) -> NDArray[np.float64]:
        """float64 [d]: where every site starts; from public figures alone."""
        ...

    def load(self, texts: Sequence[str]) -> RowsOfTask:
        """One row a text; in memory only."""
        ...

    def linearise(self, rows: RowsOfTask, reference: NDArray[np.float64]) -> None:
        """See records around ``reference``, float64 [d], from now on; most tasks have no use for it."""
        return

    def gradients(
        self, rows: RowsOfTask, labels: NDArray[np.float64], vector: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """float64 [n, d] for ``labels`` float64 [n] of zeros and ones; 8·n·d bytes, so for a few subjects at a time."""
        ...

    def scores(self, rows: RowsOfTask, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """float64 [n]: log odds of the positive class."""
        ...


@runtime_checkable
class HeadedTask(TrainingTask[RowsOfTask], Protocol[RowsOfTask]):
    """A task whose log odds are linear in the last numbers of its state: a head on top of everything else."""

    @property
    def head(self) -> int:
        """Where the head begins in a state."""
        ...

    def pooled(self, rows: RowsOfTask, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the head sees of each record, float64 [n, d − head]; the last column is one."""
        ...


class FeatureSource(Protocol):
    """Texts -> rows; ``features.Features`` is the real one. A row may depend on its own text alone."""

    @property
    def width(self) -> int:
        """Numbers in a row."""
        ...

    def of(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """float64 [len(texts), width]."""
        ...


class StateSource(FeatureSource, Protocol):
    """A source that also gives what adapters train on; ``base_features.BaseFeatures`` is the real one."""

    def states(self, texts: Sequence[str]) -> PrefixRows:
        """The input of the lowest layer with an adapter, one a text."""
        ...


@dataclass(frozen=True)
class TextProbe(HeadedTask[NDArray[np.float64]]):
    """The probe on the rows that ``features`` makes of texts."""

    features: FeatureSource

    @property
    def dimension(self) -> int:
        """d: one weight for each feature, and the bias."""
        return self._probe.dimension

    def initial(self) -> NDArray[np.float64]:
        """Zeros: every text is as likely good as bad."""
        return np.zeros(self.dimension)

    def load(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """float64 [n, width]."""
        return self.features.of(texts)

    def gradients(
        self, rows: NDArray[np.float64], labels: NDArray[np.float64], vector: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """float64 [n, d], in closed form (probe.py)."""
        return self._probe.gradients(rows, labels, vector)

    def scores(self, rows: NDArray[np.float64], vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """float64 [n]."""
        return scores(rows, vector)

    @property
    def head(self) -> int:
        """The probe is nothing but a head."""
        return 0

    def pooled(self, rows: NDArray[np.float64], vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """float64 [n, d]: the features, and a one."""
        return np.hstack([rows, np.ones((len(rows), 1))])

    @property
    def _probe(self) -> ProbeTask:
        return ProbeTask(self.features.width)
