"""LoRA adapters on a frozen causal language model: every record's own gradient of its next-token loss, and scores.

For: ``CausalTask``, a ``TrainingTask`` (task.py). Not for: which arrays there are and how they are released
(causal_layout.py), loading and tokens (causal_model.py), adding up and clipping (privacy/gradients/clipping.py).

Order of calls: ``CausalTask(base, settings)`` -> ``load(texts)`` once -> ``gradients`` each step, ``scores`` at last.

A record's loss is the mean cross-entropy of its own tokens from the second on, whatever their number, so a long text
weighs as much as a short one. Its gradient depends on that record and the public state, to the bit: passes of a fixed
shape (passes.py), no dropout, nothing random. No mask tells a record's tokens from the filling behind them: where no
token sees what follows it, none is needed, and that this holds is tried out. Nothing is cached: a row is its tokens,
every pass goes through the whole model, and holds no more logits than ``MOST_LOGITS``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from ...privacy.gradients.gradients import PerSampleGradients
from ..errors import BadInputError
from .adapter import Adapter
from .causal_layout import CausalLayout, refuse_architecture
from .causal_model import CausalModel
from .features import BUCKETS, LONGEST, ROWS
from .going_on import never_stops
from .lora_layout import LoraSettings
from .model import copy_of_modules
from .passes import cores, fill, place_matters
from .task import TrainingTask

MOST_LOGITS = 1 << 24  # float32 numbers, 64 MiB, and backward holds three times as many; above it, one record a pass
UNCOUNTED = -100  # torch's own mark for a target that is none
SAME_LOGITS = 1e-3  # float32 differs by 1e-6; a model that looks ahead by 1 or so

_Compute = Callable[["_Adapted", Sequence[NDArray[np.int64]], int, int], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class CausalRows:
    """``tokens``: for each text int64 [1 … LONGEST], unpadded; as personal as the texts."""

    tokens: tuple[NDArray[np.int64], ...]

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, places: NDArray[np.int64]) -> CausalRows:
        """The rows at ``places`` (int64 [m]); nothing is copied."""
        return CausalRows(tuple(self.tokens[place] for place in places.tolist()))

    def __repr__(self) -> str:
        return "CausalRows(...)"


class CausalTask(TrainingTask[CausalRows]):
    """Adapters on ``base``. May be shared by the sites of a process; one call computes at a time.

    Raises:
        BadInputError: LORA_SETTINGS, CAUSAL_ARCHITECTURE.
        BadParametersError: RECORDS_MIXED when the model computes a record from others beside it.
    """

    def __init__(
        self, base: CausalModel, settings: LoraSettings, *, check: Callable[[], None] = never_stops
    ) -> None:
        self._check = check  # before every pass (going_on.py)
        self.layout = CausalLayout.of(base.model.config.to_dict(), settings)
        self._base = base
        self._vocabulary: int = base.model.config.vocab_size
        self._models = [_Adapted(base, self.layout) for _ in range(cores())]
        self._lock = Lock()
        self._check_on_made_up_records()
        fits = ROWS * LONGEST * self._vocabulary <= MOST_LOGITS
        self._rows = ROWS if fits and not place_matters(self._pass_of_gradients, self._made_up) else 1

    @property
    def dimension(self) -> int:
        """d: numbers that train."""
        return self.layout.dimension

    def initial(self) -> NDArray[np.float64]:
        """float64 [d]: where every site starts; the model is the base model there."""
        return self.layout.initial()

    def load(self, texts: Sequence[str]) -> CausalRows:
        """Each text's tokens; in memory only."""
        found = self._base.tokens(texts, longest=LONGEST)
        return CausalRows(tuple(np.array(own, dtype=np.int64) for own in found))

    def gradients(
        self, rows: CausalRows, labels: NDArray[np.float64], vector: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Each record's gradient of its loss, float64 [n, d]. ``labels`` float64 [n] are not looked at: a text is its
        own target. A text of fewer than two tokens has nothing to predict, and a gradient of zeros.

        8·n·d bytes: hand in the records of a few subjects at a time.

        Raises:
            BadInputError: CAUSAL_SHAPE when rows, labels and vector do not belong together.
        """
        if labels.shape != (len(rows),):
            raise BadInputError("CAUSAL_SHAPE", "records, labels and adapter do not belong together")
        found = np.empty((len(rows), self.dimension))
        self._fill(found, rows, vector, _gradients)
        return found

    def scores(self, rows: CausalRows, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """Minus each record's loss, float64 [n]: the higher, the better predicted; 0 where there is nothing to predict.

        Raises ``BadInputError`` CAUSAL_SHAPE.
        """
        found = np.empty(len(rows))
        self._fill(found, rows, vector, _scores)
        return found

    def _fill(
        self, found: NDArray[np.float64], rows: CausalRows, vector: NDArray[np.float64], compute: _Compute
    ) -> None:
        lengths = [len(own) for own in rows.tokens]
        known = all(0 <= own.min() <= own.max() < self._vocabulary for own in rows.tokens if len(own))
        if vector.shape != (self.dimension,) or not known or not all(1 <= own <= LONGEST for own in lengths):
            raise BadInputError("CAUSAL_SHAPE", "records, labels and adapter do not belong together")

        def run(model: _Adapted, group: list[int], length: int) -> NDArray[np.float64]:
            return compute(model, [rows.tokens[place] for place in group], length, self._rows)

        with self._lock:
            for model in self._models:
                model.take(vector)
            fill(found, lengths, self._rows, self._models, run, check=self._check)

    def _check_on_made_up_records(self) -> None:
        """At a state where every part of the adapter has a gradient, and before any real record is seen: a token sees
        nothing of what follows it, and (in every model, by its first ``rows``) records do not mix.
        """
        drawn = np.random.default_rng(0)
        vector = self.initial() + 0.02 * drawn.standard_normal(self.dimension)
        length = min(BUCKETS[0], max(2, MOST_LOGITS // (ROWS * self._vocabulary)))
        for model in self._models:
            model.take(vector)
            _gradients(model, [self._made_up(max(2, length - own)) for own in range(ROWS)], length, ROWS)
        text = self._made_up(length)
        other = text.copy()
        other[length // 2 :] = (other[length // 2 :] + 1) % self._vocabulary
        with torch.inference_mode():
            first, second = self._models[0].logits(torch.from_numpy(np.stack([text, other])))[:, : length // 2]
        if not torch.allclose(first, second, rtol=SAME_LOGITS, atol=SAME_LOGITS):
            refuse_architecture(
                f"a {type(self._base.model).__name__} with this configuration sees what follows a token"
            )

    def _made_up(self, count: int) -> NDArray[np.int64]:
        return np.random.default_rng(count).integers(0, self._vocabulary, size=count)

    def _pass_of_gradients(self, items: Sequence[NDArray[np.int64]], length: int) -> list[NDArray[np.float32]]:
        return [row.astype(np.float32) for row in _gradients(self._models[0], items, length, ROWS)]


class _Adapted(nn.Module):
    """The model with its adapters; trainable parameters in the order of the layout, all other numbers the base's."""

    def __init__(self, base: CausalModel, layout: CausalLayout) -> None:
        super().__init__()
        settings = layout.settings
        fields: dict[str, Any] = {name: field for name, field in layout.peft_fields().items() if name != "task_type"}
        config = LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=0.0,
            layers_to_transform=list(layout.adapted),
            **fields,
        )
        unfit = f"the layers of a {type(base.model).__name__} are not built as expected"
        try:
            self.model: Any = inject_adapter_in_model(config, copy_of_modules(base.model))
        except ValueError:
            refuse_architecture(unfit)
        self.eval()
        parts = {_peft_name(name): part for name, part in self.model.named_parameters() if ".lora_" in name}
        whole = layout.whole(layout.initial())
        if tuple((name, tuple(part.shape)) for name, part in parts.items()) != whole.arrays:
            refuse_architecture(unfit)
        trains = {name for name, _ in layout.arrays}
        for name, part in parts.items():
            part.requires_grad_(name in trains)
        self._layout = layout
        self._parts = parts
        self._assign(whole)
        self.records = PerSampleGradients(self)

    def take(self, vector: NDArray[np.float64]) -> None:
        """Stand at the state ``vector``."""
        self._assign(Adapter(self._layout.arrays, vector))

    def logits(self, ids: Tensor) -> Tensor:
        """float32 [n, tokens, vocabulary] of int64 [n, tokens]."""
        found: Tensor = self.model(input_ids=ids, use_cache=False).logits
        return found

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        """Each record's loss, [n]; ``targets`` int64 [n, tokens − 1] follow the first token."""
        logits = self.logits(ids)[:, :-1]
        each = nn.functional.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=UNCOUNTED, reduction="none"
        )
        counts = (targets != UNCOUNTED).sum(dim=1).clamp(min=1)
        return each.view_as(targets).sum(dim=1) / counts

    def _assign(self, adapter: Adapter) -> None:
        with torch.no_grad():
            for name, array in adapter.named().items():
                self._parts[name].copy_(torch.from_numpy(array.astype(np.float32)))


def _gradients(model: _Adapted, tokens: Sequence[NDArray[np.int64]], length: int, rows: int) -> NDArray[np.float64]:
    """float64 [records, d] from a pass of exactly ``rows`` x ``length`` tokens."""
    ids, targets = _filled(tokens, length, rows)
    found = model.records.rows(lambda places: model(ids[places], targets[places]))
    return found[: len(tokens)].numpy().astype(np.float64)


def _scores(model: _Adapted, tokens: Sequence[NDArray[np.int64]], length: int, rows: int) -> NDArray[np.float64]:
    """float64 [records] from such a pass."""
    with torch.inference_mode():
        found: Tensor = model(*_filled(tokens, length, rows))
    return -found[: len(tokens)].numpy().astype(np.float64)


def _filled(tokens: Sequence[NDArray[np.int64]], length: int, rows: int) -> tuple[Tensor, Tensor]:
    ids = torch.zeros((rows, length), dtype=torch.int64)
    targets = torch.full((rows, length - 1), UNCOUNTED)
    for row, own in enumerate(tokens):
        ids[row, : len(own)] = torch.from_numpy(own)
        targets[row, : len(own) - 1] = torch.from_numpy(own[1:])
    return ids, targets


def _peft_name(name: str) -> str:
    """The name that peft gives this array in a file."""
    return f"base_model.model.{name.replace('.default.', '.')}"
