"""How many numbers a study's method trains on a base model, and which, known from public figures alone.

For: a plan, which site and coordinator make apart; the coordinator has no model and loads none. Not for:
training (tasks.py).
"""

from __future__ import annotations

from ..data.intake import BaseModelFacts
from ..errors import BadInputError
from ..methods import AdapterSettings, Method
from .lora_layout import LoraLayout, LoraSettings

FAMILY = "Bert"  # what lora.py knows, by the names of transformers; whether a model really fits is tried at loading


def dimension_of(base_model: BaseModelFacts, settings: Method, *, width: int | None = None) -> int:
    """d: numbers that train. ``width``: of the features that a probe sees, where they are not the base model's.

    Raises ``BadInputError`` as ``layout_of``.
    """
    if settings.adapter is None:
        return (base_model.width if width is None else width) + 1
    return layout_of(base_model, settings.adapter, settings.seed).dimension


def lora_settings(settings: AdapterSettings, seed: int) -> LoraSettings:
    """The study's words as the layout has them."""
    return LoraSettings(
        seed=seed,
        layers=settings.layers,
        targets=settings.targets,
        rank=settings.rank,
        alpha=settings.alpha,
        freeze_a=settings.freeze_a,
    )


def layout_of(base_model: BaseModelFacts, settings: AdapterSettings, seed: int) -> LoraLayout:
    """What an adapter of this base model consists of.

    Raises:
        BadInputError: LORA_SETTINGS; LORA_ARCHITECTURE before anything is loaded or charged.
    """
    if not base_model.architecture.startswith(FAMILY):
        raise BadInputError(
            "LORA_ARCHITECTURE",
            f"adapters are not known for a {base_model.architecture}",
            "take an encoder of the BERT family, or leave the method lora out of study.yaml",
        )
    return LoraLayout(base_model.width, base_model.inner, base_model.depth, lora_settings(settings, seed))
