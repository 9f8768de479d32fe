"""What a trusted party would reach that had all reviews on one pile: DP-SGD as Opacus has it, written without our code.

For: the yardstick of utility.py. Not for: training in the product. It shares no line with the product's clipping,
rounding, noise, calibration or optimiser: per-sample gradients, clipping and noise are Opacus', momentum is torch's,
the noise is calibrated by dp_accounting's own search. It takes arrays and figures, imports nothing of ours, and is
wrong in other places than ours is.

The unit is the subject. One Opacus "sample" is one subject: its records padded to k rows under a mask, their losses
summed. Opacus' per-sample gradient is then that subject's gradient, and its clipping the subject's.

Order of calls: ``noise_multiplier`` -> ``train`` -> (weights, bias) for ``scores``.
Source: Abadi et al., "Deep learning with differential privacy", CCS 2016; Yousefpour et al. 2021 (Opacus).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from dp_accounting import (
    GaussianDpEvent,
    LowerEndpointAndGuess,
    NeighboringRelation,
    SelfComposedDpEvent,
    calibrate_dp_mechanism,
)
from dp_accounting.pld import PLDAccountant
from numpy.typing import NDArray
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch import nn

Subject = tuple[NDArray[np.float64], NDArray[np.float64]]  # features [records, width] and labels [records] of 0 and 1


@dataclass(frozen=True)
class Recipe:
    """What both sides agree on. ``noise`` in multiples of ``clipping_norm``; ``expected`` is the public number of
    subjects that a sum is divided by; ``most_records`` k, drawn afresh each step where a subject has more."""

    steps: int
    clipping_norm: float
    noise: float
    learning_rate: float
    momentum: float
    expected: int
    most_records: int


@lru_cache(maxsize=16)
def noise_multiplier(epsilon: float, delta: float, steps: int) -> float:
    """The least noise, in multiples of the clipping norm, with which ``steps`` full batches keep (ε, δ) for one subject
    added or removed. The search starts near where ε is used up; a wrong start is an error, not another figure."""
    near = steps**0.5 / epsilon
    found = calibrate_dp_mechanism(
        lambda: PLDAccountant(NeighboringRelation.ADD_OR_REMOVE_ONE),
        lambda noise: SelfComposedDpEvent(GaussianDpEvent(noise), steps),
        epsilon,
        delta,
        LowerEndpointAndGuess(2 * near, 4.5 * near),
        tol=1e-4,
    )
    return float(found)


class GivenNoise(DPOptimizer):
    """Opacus' optimiser with noise that is given, float64 [width + 1] a step: what is left is the recipe alone."""

    given: Iterator[NDArray[np.float64]]

    def add_noise(self) -> None:
        """As Opacus' own, but for where the numbers come from."""
        left = torch.from_numpy(next(self.given))
        for parameter in self.params:
            noise, left = left[: parameter.numel()], left[parameter.numel() :]
            parameter.grad = parameter.summed_grad + noise.to(parameter.dtype).view_as(parameter)


def train(
    subjects: Sequence[Subject], recipe: Recipe, *, seed: int, given: Iterator[NDArray[np.float64]] | None = None
) -> tuple[NDArray[np.float64], float]:
    """A linear head from zero: weights float64 [width] and bias. ``given``: noise of each step instead of Opacus'."""
    generator = torch.Generator().manual_seed(seed)
    features, labels, mask = padded(subjects, recipe.most_records, generator)
    many = [place for place, (_, own) in enumerate(subjects) if len(own) > recipe.most_records]
    head = nn.Linear(features.shape[-1], 1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    module = GradSampleModule(head, loss_reduction="sum")
    optimizer = (DPOptimizer if given is None else GivenNoise)(
        torch.optim.SGD(module.parameters(), lr=recipe.learning_rate, momentum=recipe.momentum),
        noise_multiplier=recipe.noise,
        max_grad_norm=recipe.clipping_norm,
        expected_batch_size=recipe.expected,
        loss_reduction="mean",  # of DPOptimizer: the noisy sum is divided by ``expected``
        generator=generator,
    )
    if isinstance(optimizer, GivenNoise) and given is not None:
        optimizer.given = given
    each = nn.BCEWithLogitsLoss(reduction="none")
    for _ in range(recipe.steps):
        if many:
            redrawn = padded([subjects[place] for place in many], recipe.most_records, generator)
            for whole, part in zip((features, labels, mask), redrawn, strict=True):
                whole[many] = part
        optimizer.zero_grad()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's remark that the input of the first layer needs no gradient
            (each(module(features).squeeze(-1), labels) * mask).sum().backward()
        optimizer.step()
    return head.weight.detach().numpy()[0].astype(np.float64), float(head.bias.detach()[0])


def padded(
    subjects: Sequence[Subject], most: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """features [S, k, width], labels [S, k] and mask [S, k]: at most k records of each subject, a uniform choice."""
    features = torch.zeros(len(subjects), most, subjects[0][0].shape[1])
    labels, mask = torch.zeros(len(subjects), most), torch.zeros(len(subjects), most)
    for place, (own, said) in enumerate(subjects):
        count = min(len(said), most)
        chosen = torch.randperm(len(said), generator=generator)[:count].numpy()
        features[place, :count] = torch.from_numpy(own[chosen])
        labels[place, :count] = torch.from_numpy(said[chosen])
        mask[place, :count] = 1.0
    return features, labels, mask
