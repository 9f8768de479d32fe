"""A subject's gradient the slow way: one record after the other through the whole model, added up.

Shares no line with ``core/training``: peft's own loader puts the released folder onto the base model as transformers
loads it, a record goes through alone, unpadded, without a mask and without anything cached, and automatic
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
from safetensors.torch import load_file


class GradientLoop:
    """The adapter in ``folder`` on ``encoder``, an encoder of transformers, which it changes."""

    def __init__(self, encoder: Any, folder: Path) -> None:
        self.model = PeftModel.from_pretrained(encoder, str(folder), is_trainable=True).eval().double()
        head = load_file(folder / "head.safetensors")
        self.head = torch.nn.Linear(head["head.weight"].shape[1], 1).double()
        self.head.load_state_dict({"weight": head["head.weight"], "bias": head["head.bias"]})

    def score(self, ids: Sequence[int]) -> torch.Tensor:
        mean = self.model(input_ids=torch.tensor([list(ids)])).last_hidden_state[0].mean(dim=0)
        return self.head(mean / mean.norm())[0]

    def gradient(self, ids: Sequence[int], label: float, names: Sequence[str]) -> NDArray[np.float64]:
        """float64 [d], the arrays ``names`` one after the other."""
        parts = {name.replace(".default.", "."): p for name, p in self.model.named_parameters()}
        parts |= {f"head.{name}": parameter for name, parameter in self.head.named_parameters()}
        for parameter in parts.values():
            parameter.grad = None
        score = self.score(ids)
        torch.nn.functional.binary_cross_entropy_with_logits(score, torch.tensor(label).double()).backward()
        return np.concatenate([parts[name].grad.reshape(-1).numpy() for name in names])

    def subject_sums(
        self,
        tokens: Sequence[Sequence[int]],
        labels: Sequence[float],
        subject_of_row: Sequence[int],
        count: int,
        names: Sequence[str],
    ) -> NDArray[np.float64]:
        """float64 [count, d]."""
        own = [[row for row, subject in enumerate(subject_of_row) if subject == one] for one in range(count)]
        return np.array([sum(self.gradient(tokens[row], labels[row], names) for row in rows) for rows in own])
