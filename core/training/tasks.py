"""Which task a study's method is on this base model, and what is known of it before anything is loaded.

For: ``Tasks``, shared by the sites of a process, and ``adapter_files``, what a finished state is released as. Not for:
how a task trains (probe.py, lora.py, tangent.py) or what a run of it costs (planning.py).

Order of calls: ``dimension`` / ``schedule`` for a plan -> ``of(settings)``, which loads the model at its first use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..data.intake import BaseModelFacts
from ..errors import BadInputError
from ..methods import AdapterSettings, Method
from .adapter import Adapter
from .features import Features
from .going_on import GoingOn
from .layouts import dimension_of, layout_of, lora_settings
from .schedule import PLAIN, Schedule
from .task import FeatureSource, TextProbe, TrainingTask

if TYPE_CHECKING:
    from .base_features import BaseFeatures
    from .lora import LoraTask


class Tasks:
    """The tasks of a study's ``methods`` on one base model.

    ``features`` is what a probe sees of a text. Where the study trains adapters as well, the base model's passes for
    those give the same, and are not made twice. ``going_on`` is what ``features`` asks as well, where it can be asked.
    """

    def __init__(
        self,
        base_model: BaseModelFacts,
        methods: Iterable[Method],
        features: FeatureSource,
        *,
        progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
        going_on: GoingOn | None = None,
    ) -> None:
        self.going_on = going_on or GoingOn()
        self._base_model = base_model
        self._adapted = next((settings for settings in methods if settings.adapter is not None), None)
        self._features = features
        self._progress = progress
        self._shared: tuple[LoraTask, BaseFeatures] | None = None
        self._made: dict[AdapterSettings | None, TrainingTask[Any]] = {}
        self._public: tuple[AdapterSettings | None, tuple[str, ...], Any] | None = None

    def dimension(self, settings: Method) -> int:
        """d: numbers that train."""
        return dimension_of(self._base_model, settings, width=self._features.width)

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
        """The task of a method; the same object for the same adapter."""
        key = settings.adapter
        if key not in self._made:
            self._made[key] = self._make(key)
        return self._made[key]

    def public_rows(self, settings: Method, texts: tuple[str, ...]) -> Any:
        """Rows of public ``texts``, which every site of a process has alike: loaded once. Never of anybody's records.

        The last texts asked for are kept. A row depends on its own text alone, so nothing depends on who asked first.
        """
        kept = self._public
        if kept is None or kept[:2] != (settings.adapter, texts):
            kept = self._public = (settings.adapter, texts, self.of(settings).load(texts))
        return kept[2]

    def forget(self) -> None:
        """Drop what the base model made of texts; tasks are made anew when they are asked for."""
        if self._shared is not None:
            self._shared[1].forget()
        self._public = None
        self._made.clear()

    def _make(self, adapter: AdapterSettings | None) -> TrainingTask[Any]:
        if adapter is None:
            shares = self._adapted is not None and isinstance(self._features, Features)
            return TextProbe(self._lora_and_base()[1] if shares else self._features)
        from .tangent import LinearisedTask

        lora, base = self._lora_and_base()
        return LinearisedTask(lora, base, keep=adapter.linear_steps > 1)

    def _lora_and_base(self) -> tuple[LoraTask, BaseFeatures]:
        from .base_features import BaseFeatures
        from .lora import LoraTask
        from .model import Encoder

        if self._shared is None:
            if self._adapted is None or self._adapted.adapter is None:
                raise BadInputError("METHOD_UNKNOWN", "the study has no method that trains adapters")
            encoder = Encoder.load(self._base_model)
            settings = lora_settings(self._adapted.adapter, self._adapted.seed)
            lora = LoraTask(encoder, settings, progress=self._progress, check=self.going_on.check)
            self._shared = lora, BaseFeatures(lora)
        return self._shared


def adapter_files(
    base_model: BaseModelFacts, settings: Method, vector: NDArray[np.float64], *, name: str
) -> tuple[Adapter, Mapping[str, bytes]]:
    """What trained, as an adapter, and further files of its release: for LoRA those that peft loads.

    ``name`` is the base model's, which peft's configuration names.
    """
    adapter = adapter_of(base_model, settings, vector)
    if settings.adapter is None:
        return adapter, {}
    layout = layout_of(base_model, settings.adapter, settings.seed)
    return adapter, layout.released(vector, base_model=name)


def adapter_of(base_model: BaseModelFacts, settings: Method, vector: NDArray[np.float64]) -> Adapter:
    """What trained, as an adapter: the same at every site that holds ``vector``, whoever releases it."""
    if settings.adapter is None:
        return Adapter.for_probe(vector)
    return Adapter(layout_of(base_model, settings.adapter, settings.seed).arrays, vector)
