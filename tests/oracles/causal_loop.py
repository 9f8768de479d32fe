"""A causal model's gradient the slow way: one record after the other through the whole model, added up.

Shares no line with ``core/training``: peft's own loader puts the released folder onto the base model as transformers
builds it, a record goes through alone, unpadded and without a mask, the loss is transformers' own, and automatic
differentiation does the rest, in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peft import PeftModel


class CausalLoop:
    """The adapter in ``folder`` on ``model``, a causal model of transformers, which it changes."""

    def __init__(self, model: Any, folder: Path) -> None:
        self.model = PeftModel.from_pretrained(model, str(folder), is_trainable=True).eval().double()

    def loss(self, ids: Sequence[int]) -> torch.Tensor:
        own = torch.tensor([list(ids)])
        return self.model(input_ids=own, labels=own).loss

    def gradient(self, ids: Sequence[int], names: Sequence[str]) -> NDArray[np.float64]:
        """float64 [d], the arrays ``names`` one after the other; zeros where there is no second token."""
        parts = {name.replace(".default.", "."): part for name, part in self.model.named_parameters()}
        if len(ids) < 2:
            return np.zeros(sum(parts[name].numel() for name in names))
        for part in parts.values():
            part.grad = None
        self.loss(ids).backward()
        return np.concatenate([parts[name].grad.reshape(-1).numpy() for name in names])

    def subject_sums(
        self, tokens: Sequence[Sequence[int]], subject_of_row: Sequence[int], count: int, names: Sequence[str]
    ) -> NDArray[np.float64]:
        """float64 [count, d]."""
        own = [[row for row, subject in enumerate(subject_of_row) if subject == one] for one in range(count)]
        return np.array([sum(self.gradient(tokens[row], names) for row in rows) for rows in own])
