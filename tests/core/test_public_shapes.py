"""Texts go through the frozen base model in passes of public shapes, whatever texts there are and however many.

The bits are held by test_features.py on the kernels of the machine that it runs on; shapes are what those bits could
depend on, and they can be looked at on any machine.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sekisho.core.training.features import BUCKETS, ROWS, Features


class Shapes:
    """An encoder that notes the shapes of its passes; a word is a token."""

    def __init__(self) -> None:
        self.seen: set[tuple[int, ...]] = set()

    def tokens(self, texts: Any, *, longest: int) -> list[list[int]]:
        return [[1] * min(longest, len(text.split())) for text in texts]

    def pooled(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        assert ids.shape == mask.shape
        self.seen.add(ids.shape)
        return np.ones((len(ids), 4), dtype=np.float32)


def test_texts_go_through_the_base_model_in_public_shapes_only(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Shapes()
    facts: Any = SimpleNamespace(width=4)
    features = Features(facts)
    monkeypatch.setattr(features, "encoder", lambda: encoder)
    for lengths in ([5], [40, 40, 90], [3, 17, 31, 32, 33, 64, 65, 128, 500, 2], list(range(1, 60))):
        features.of(["word " * length for length in lengths])
    shapes, public = encoder.seen, {(ROWS, length) for length in BUCKETS}
    assert shapes <= public and len(shapes) == len(BUCKETS)
