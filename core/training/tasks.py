"""Which task a study's method is on this base model, and what is known of it before anything is loaded.

For: ``Tasks``, shared by the sites of a process, and ``adapter_files``, what a finished state is released as. Not for:
how a task trains (probe.py, lora.py, tangent.py) or what a run of it costs (planning.py).

Order of calls: ``dimension`` / ``schedule`` for a plan -> ``of(settings)``, which loads the model at its first use.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..data.intake import BaseModelFacts
from ..methods import AdapterSettings, Method
from .adapter import Adapter
from .features import Features, Progress, nothing_shown
from .lora_layout import LoraLayout, LoraSettings
from .schedule import PLAIN, Schedule
from .task import FeatureSource, TextProbe, TrainingTask

if TYPE_CHECKING:
    from .model import Encoder


class Tasks:
    """The tasks of a study on one base model. ``features`` is what a probe sees of a text."""

    def __init__(
        self, base_model: BaseModelFacts, features: FeatureSource, *, progress: Progress = nothing_shown
    ) -> None:
        self._base_model = base_model
        self._features = features
        self._progress = progress
        self._made: dict[tuple[AdapterSettings | None, int], TrainingTask[Any]] = {}

    def dimension(self, settings: Method) -> int:
        """d: numbers that train."""
        if settings.adapter is None:
            return self._features.width + 1
        return layout_of(self._base_model, settings.adapter, settings.seed).dimension

    def schedule(self, settings: Method) -> Schedule:
        """Which of them train when."""
        if settings.adapter is None:
            return PLAIN
        layout = layout_of(self._base_model, settings.adapter, settings.seed)
        return Schedule.of(settings.adapter, head=layout.head)

    def initial(self, settings: Method) -> NDArray[np.float64]:
        """float64 [d]: where every site starts."""
        if settings.adapter is None:
            return np.zeros(self.dimension(settings))
        return layout_of(self._base_model, settings.adapter, settings.seed).initial()

    def of(self, settings: Method) -> TrainingTask[Any]:
        """The task of a method; the same object for the same settings."""
        key = settings.adapter, settings.seed
        if key not in self._made:
            self._made[key] = self._make(settings)
        return self._made[key]

    def _make(self, settings: Method) -> TrainingTask[Any]:
        if settings.adapter is None:
            return TextProbe(self._features)
        from .lora import LoraTask
        from .tangent import LinearisedTask

        lora = LoraTask(
            self._encoder(), lora_settings(settings.adapter, settings.seed), progress=self._progress
        )
        return LinearisedTask(lora, self._features, keep=settings.adapter.linear_steps > 1)

    def _encoder(self) -> Encoder:
        if isinstance(self._features, Features):
            return self._features.encoder()
        from .model import Encoder

        return Encoder.load(self._base_model)


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
    """What an adapter of this base model consists of. Raises ``BadInputError`` LORA_SETTINGS."""
    return LoraLayout(base_model.width, base_model.inner, base_model.depth, lora_settings(settings, seed))


def adapter_files(
    base_model: BaseModelFacts, settings: Method, vector: NDArray[np.float64], *, name: str
) -> tuple[Adapter, Mapping[str, bytes]]:
    """What trained, as an adapter, and further files of its release: for LoRA those that peft loads.

    ``name`` is the base model's, which peft's configuration names.
    """
    if settings.adapter is None:
        return Adapter.for_probe(vector), {}
    layout = layout_of(base_model, settings.adapter, settings.seed)
    return Adapter(layout.arrays, vector), layout.released(vector, base_model=name)
