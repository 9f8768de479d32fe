"""The ways of training that a study may name, with what each may cost; values of study.yaml.

For: ``Method`` and ``AdapterSettings``. Not for: what they mean (training/), what a run of one costs (planning.py).

Where a field may be left out, its default is a named constant below.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field

from ..governance.document import Document, DocumentModel, Exact
from ..privacy.budget import MAXIMUM_EPSILON

DEFAULT_SAMPLING_RATE = Decimal(1)  # full batch: on frozen features a whole pass costs milliseconds
DEFAULT_MOMENTUM = Decimal("0.9")  # Polyak's heavy ball at its usual strength; training/optimizer.py has the rule

MOST_STEPS = 10_000


class AdapterSettings(DocumentModel):
    """What a LoRA adapter consists of and how it is trained; all public, the meaning is in training/lora_layout.py.

    ``layers`` are counted from the top, 1 being the last; ``targets`` are matrices of a layer; ``alpha / rank`` scales
    the adapter; ``freeze_a`` is FFA-LoRA. The first ``head_steps`` train the head alone; after them the model is
    linearised anew every ``linear_steps`` (1: every step, which is the plain gradient).
    """

    layers: Annotated[tuple[Annotated[int, Field(ge=1, le=1000)], ...], Field(min_length=1, max_length=1000)]
    targets: Annotated[tuple[Literal["query", "value", "intermediate"], ...], Field(min_length=1, max_length=3)]
    rank: Annotated[int, Field(ge=1, le=1024)]
    alpha: Annotated[int, Field(ge=1, le=4096)]
    freeze_a: bool
    head_steps: Annotated[int, Field(ge=0, le=MOST_STEPS)]
    linear_steps: Annotated[int, Field(ge=1, le=MOST_STEPS)]


class Method(DocumentModel):
    """One way of training and what it may cost; ``allowance`` counts steps that may be abandoned and still cost.

    ``clipping_norm`` bounds one subject's summed gradient, ``learning_rate`` multiplies the mean gradient of one
    declared subject, ``seed`` is public and gives initial weights, never secrets. ``adapter`` belongs to method lora.
    """

    epsilon: Exact
    delta: Exact
    steps: Annotated[int, Field(ge=1, le=MOST_STEPS)]
    allowance: Annotated[int, Field(ge=0, le=MOST_STEPS)]
    clipping_norm: Exact
    sampling_rate: Exact = DEFAULT_SAMPLING_RATE
    learning_rate: Exact
    momentum: Exact = DEFAULT_MOMENTUM
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)]
    adapter: AdapterSettings | None = None


def check_method(document: Document, method: str, settings: Method) -> None:
    """Refuse, at its line, what the fields alone do not rule out: STUDY_BUDGET, STUDY_TRAINING."""
    rules: tuple[tuple[str, str, bool, str], ...] = (
        ("STUDY_BUDGET", "epsilon", 0 < settings.epsilon <= MAXIMUM_EPSILON, "above 0 and at most 1000"),
        ("STUDY_BUDGET", "delta", 0 < settings.delta < 1, "above 0 and below 1"),
        ("STUDY_TRAINING", "clipping_norm", settings.clipping_norm > 0, "above 0"),
        ("STUDY_TRAINING", "sampling_rate", 0 < settings.sampling_rate <= 1, "above 0 and at most 1"),
        ("STUDY_TRAINING", "learning_rate", settings.learning_rate > 0, "above 0"),
        ("STUDY_TRAINING", "momentum", settings.momentum < 1, "below 1"),
    )
    for code, field, holds, allowed in rules:
        if not holds:
            path = ("methods", method, field)
            document.refuse(code, f"{field} is outside its range", f"write a number {allowed}", path)
    adapter = settings.adapter
    if (adapter is None) == (method == "lora"):
        document.refuse(
            "STUDY_TRAINING",
            "the method lora has settings of its adapter, and no other method has",
            "write adapter: with layers, targets, rank, alpha, freeze_a, head_steps and linear_steps, under lora alone",
            ("methods", method),
        )
    if adapter is not None and adapter.head_steps >= settings.steps:
        document.refuse(
            "STUDY_TRAINING",
            "no step is left for the adapter",
            "head_steps is below steps",
            ("methods", method, "adapter", "head_steps"),
        )
