"""What the base model makes of a text, computed once in a process for every method of a study.

For: ``BaseFeatures(lora)``: the states below the lowest adapter, and the pooled features that a probe and a head that
begins see, both from the same passes. Not for: a study without adapters, which has no use for states (features.py).

As personal as the texts: in memory only; ``forget`` drops them all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .lora import LoraTask
from .rows import PrefixRows


class BaseFeatures:
    """A ``FeatureSource`` that keeps what it has seen. Text by text, so nothing depends on who asked before."""

    def __init__(self, lora: LoraTask) -> None:
        self._lora = lora
        self._states: dict[str, NDArray[np.float32]] = {}
        self._pooled: dict[str, NDArray[np.float64]] = {}

    @property
    def width(self) -> int:
        """Numbers in a row of features."""
        return self._lora.layout.width

    def states(self, texts: Sequence[str]) -> PrefixRows:
        """The input of the lowest layer with an adapter, one a text."""
        new = [text for text in dict.fromkeys(texts) if text not in self._states]
        if new:
            self._states.update(zip(new, self._lora.load(new).states, strict=True))
        return PrefixRows(tuple(self._states[text] for text in texts))

    def of(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """float64 [len(texts), width], each row of length one: the pooled output of the model without an adapter."""
        new = [text for text in dict.fromkeys(texts) if text not in self._pooled]
        if new:
            rows = self._lora.pooled(self.states(new), self._lora.initial())[:, :-1]
            self._pooled.update(zip(new, rows, strict=True))
        return np.array([self._pooled[text] for text in texts], dtype=np.float64).reshape(len(texts), self.width)

    def forget(self) -> None:
        """Drop everything; the next call computes anew."""
        self._states.clear()
        self._pooled.clear()
