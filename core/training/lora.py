"""LoRA adapters on the top layers of the frozen base model: every record's own gradient, and scores.

For: ``LoraTask``, a ``TrainingTask`` (task.py), and the derivatives from which a linearised one is made (tangent.py).
Not for: which arrays there are and how they are released (lora_layout.py), the layers below (prefix.py), adding up and
clipping (privacy/gradients/clipping.py).

Order of calls: ``LoraTask(encoder, settings)`` -> ``load(texts)`` once -> ``gradients`` each step, ``scores`` at last.

A record's gradient depends on that record, its label and the public state, to the bit: passes of a fixed shape
(passes.py), no dropout, nothing random. Arithmetic is float32, or bfloat16 where ``Thrift`` says so; a row is float64
so that sums are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ...privacy.gradients.gradients import PerSampleGradients
from ...privacy.gradients.separation import Places
from ..errors import BadInputError
from .adapter import Adapter
from .features import BUCKETS, ROWS, Progress, nothing_shown
from .going_on import never_stops
from .lora_layout import LoraLayout, LoraSettings
from .model import Encoder
from .passes import attention_bias, cores, fill, place_matters
from .prefix import Prefix, shared_copy
from .probe import probability
from .rows import PrefixRows
from .tangent import Differentiable

# Prefix and top together against the whole base model: float32 differs by 1e-6, a forgotten part of it by 1 or so.
SAME_MODEL = 1e-3

QUICK = 64  # records whose derivatives are there in a second or two: no progress worth a line

StageProgress = Callable[[str, int, int], None]
_Compute = Callable[["_Top", Sequence[NDArray[np.float32]], int, int], NDArray[np.float64]]


def no_stage_shown(stage: str, done: int, total: int) -> None:
    """A progress that shows nothing."""


@dataclass(frozen=True)
class Thrift:
    """How a pass through the layers that train is made cheaper; by default it is not.

    ``half``: they compute in bfloat16, adapters and gradients stay float32; for machines that multiply it fast.
    ``checkpointing``: they keep their inputs alone and compute the rest again going backward; less memory, more time.
    Either leaves the promise as it is: it is tried out on this machine with them.
    """

    half: bool = False
    checkpointing: bool = False


PLAIN = Thrift()


class LoraTask(Differentiable):
    """Adapters on ``encoder``. May be shared by the sites of a process; one call computes at a time.

    Raises:
        BadInputError: LORA_SETTINGS, LORA_ARCHITECTURE.
    """

    def __init__(
        self,
        encoder: Encoder,
        settings: LoraSettings,
        *,
        thrift: Thrift = PLAIN,
        progress: StageProgress = no_stage_shown,
        check: Callable[[], None] = never_stops,
    ) -> None:
        config = encoder.model.config
        inner = getattr(config, "intermediate_size", 0)  # what has none is not built as BERT, and refused below
        self.layout = LoraLayout(config.hidden_size, inner, config.num_hidden_layers, settings)
        self._prefix = Prefix(encoder, self.layout.first, check=check)
        self._progress = progress
        self._check = check  # before every pass (going_on.py)
        self._tops = [_Top(encoder, self.layout, thrift) for _ in range(cores())]
        self._lock = Lock()
        self._check_whole(encoder)
        self._rows = 1 if self._place_matters() else ROWS

    @property
    def dimension(self) -> int:
        """d: numbers that train."""
        return self.layout.dimension

    @property
    def head(self) -> int:
        """Where the head begins in a state."""
        return self.layout.head

    def initial(self) -> NDArray[np.float64]:
        """float64 [d]: where every site starts."""
        return self.layout.initial()

    def load(self, texts: Sequence[str]) -> PrefixRows:
        """What the frozen layers make of each text; in memory only."""
        return self._prefix.of(texts, partial(self._progress, "frozen layers"))

    def gradients(
        self, rows: PrefixRows, labels: NDArray[np.float64], vector: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Each record's gradient of the logistic loss, float64 [n, d]; ``labels`` float64 [n] of zeros and ones.

        8·n·d bytes: hand in the records of a few subjects at a time.

        Raises:
            BadInputError: LORA_SHAPE when rows, labels and vector do not belong together.
        """
        if labels.shape != (len(rows),):
            raise _shape()
        log_odds, found = self.derivatives(rows, vector)
        residuals = [probability(score) for score in log_odds.tolist()] - labels
        found *= residuals[:, np.newaxis]
        return found

    def derivatives(
        self, rows: PrefixRows, vector: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Each record's log odds, float64 [n], and their derivative by every number that trains, float64 [n, d]."""
        shown = partial(self._progress, "derivatives") if len(rows) > QUICK else nothing_shown
        found = self._filled(rows, vector, _derivatives, self.dimension + 1, shown)
        return found[:, 0], found[:, 1:]

    def pooled(self, rows: PrefixRows, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the head sees: the mean last hidden state at length one, and a 1; float64 [n, width + 1]."""
        return self._filled(rows, vector, _pooled, self.layout.width + 1)

    def scores(self, rows: PrefixRows, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log odds of the positive class, float64 [n]. Raises ``BadInputError`` LORA_SHAPE."""
        return self._filled(rows, vector, _scores, 1)[:, 0]

    def _filled(
        self,
        rows: PrefixRows,
        vector: NDArray[np.float64],
        compute: _Compute,
        width: int,
        progress: Progress = nothing_shown,
    ) -> NDArray[np.float64]:
        """float64 [n, width]: what ``compute`` makes of each record."""
        wide = all(state.ndim == 2 and state.shape[1] == self.layout.width for state in rows.states)
        if vector.shape != (self.dimension,) or not wide:
            raise _shape()
        found = np.empty((len(rows), width))

        def run(top: _Top, group: list[int], length: int) -> NDArray[np.float64]:
            return compute(top, [rows.states[place] for place in group], length, self._rows)

        with self._lock:
            for top in self._tops:
                top.take(vector)
            fill(found, [len(state) for state in rows.states], self._rows, self._tops, run, progress, self._check)
        return found

    def _check_whole(self, encoder: Encoder) -> None:
        """Prefix and top together are the base model: else there is a part of it that this file does not know."""
        text = "the quick brown fox"
        ids = torch.tensor(encoder.tokens([text], longest=32))
        state = self._prefix.of([text]).states[0]
        with torch.inference_mode():
            whole = encoder.model(input_ids=ids).last_hidden_state[0]
            self._tops[0].take(self.initial())
            parts = self._tops[0].hidden(torch.from_numpy(state)[None], attention_bias([len(state)], 1, len(state)))[0]
        if not torch.allclose(whole, parts, rtol=SAME_MODEL, atol=SAME_MODEL):
            raise BadInputError(
                "LORA_ARCHITECTURE",
                f"a {type(encoder.model).__name__} is more than its layers one after the other",
                "take an encoder of the BERT family, or train a probe",
            )

    def _place_matters(self) -> bool:
        """Tried out on made-up records, at a state where every part of the adapter has a gradient.

        Each top has then shown on them, too, that records do not mix: no real record decides about a refusal.
        """
        drawn = np.random.default_rng(0)
        vector = self.initial() + 0.02 * drawn.standard_normal(self.dimension)

        def made(count: int) -> NDArray[np.float32]:
            return drawn.standard_normal((count, self.layout.width), dtype=np.float32)

        for top in self._tops:
            top.take(vector)
            _derivatives(top, [made(BUCKETS[0]) for _ in range(ROWS)], BUCKETS[0], ROWS)
        return place_matters(lambda items, length: list(_derivatives(self._tops[0], items, length, ROWS)), made)


class _Top(nn.Module):
    """The layers that train and the head; its trainable parameters in the order of the layout."""

    def __init__(self, encoder: Encoder, layout: LoraLayout, thrift: Thrift) -> None:
        super().__init__()
        settings = layout.settings
        config = LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=0.0,
            target_modules=list(layout.targets),
            layers_to_transform=list(layout.adapted),
            layers_pattern="layer",
        )
        adapted: Any = inject_adapter_in_model(config, shared_copy(encoder.model))
        self.layers = nn.ModuleList(adapted.encoder.layer[layout.first :])
        self.head = nn.Linear(layout.width, 1)
        self.eval()
        parts = {_peft_name(name, layout.first): p for name, p in self.named_parameters() if _is_adapter(name)}
        whole = layout.whole(layout.initial())
        if tuple((name, tuple(parameter.shape)) for name, parameter in parts.items()) != whole.arrays:
            raise BadInputError(
                "LORA_ARCHITECTURE",
                f"the layers of a {type(encoder.model).__name__} are not built as expected",
                "take an encoder of the BERT family, or train a probe",
            )
        _assign(parts, whole)
        trains = {name for name, _ in layout.arrays}
        for name, parameter in parts.items():
            parameter.requires_grad_(name in trains)
        self._layout = layout
        self._thrift = thrift
        self._parts = parts
        self.records = PerSampleGradients(self)

    def take(self, vector: NDArray[np.float64]) -> None:
        """Stand at the state ``vector``."""
        _assign(self._parts, Adapter(self._layout.arrays, vector))

    def hidden(self, states: Tensor, bias: Tensor) -> Tensor:
        """float32 [n, tokens, width]: the last hidden states."""
        again = self._thrift.checkpointing and torch.is_grad_enabled()
        for layer in self.layers:
            # nothing in a layer is random, so there is no state of a generator to keep
            states = (
                checkpoint(layer, states, bias, use_reentrant=False, preserve_rng_state=False)
                if again
                else layer(states, bias)
            )
        return states

    def pooled(self, states: Tensor, bias: Tensor) -> Tensor:
        """float32 [n, width]: means of the last hidden states, at length one."""
        counted = (bias[:, 0, 0, :] == 0).to(states.dtype).unsqueeze(-1)
        with torch.autocast("cpu", torch.bfloat16, enabled=self._thrift.half):
            hidden = self.hidden(states, bias)
        means = (hidden.to(counted.dtype) * counted).sum(dim=1) / counted.sum(dim=1)
        pooled: Tensor = means / means.norm(dim=1, keepdim=True)
        return pooled

    def forward(self, states: Tensor, bias: Tensor) -> Tensor:
        """Log odds [n]."""
        log_odds: Tensor = self.head(self.pooled(states, bias)).squeeze(1)
        return log_odds


def _derivatives(
    top: _Top, states: Sequence[NDArray[np.float32]], length: int, rows: int
) -> NDArray[np.float64]:
    """float64 [records, 1 + d]: log odds and derivatives, from a pass of exactly ``rows`` x ``length`` tokens."""
    batch, bias = _batch(states, length, rows)
    log_odds: list[Tensor] = []

    def computed(places: Places) -> Tensor:
        log_odds.append(top(batch[places], bias[places]))
        return log_odds[-1]

    found = top.records.rows(computed)
    both = torch.cat([log_odds[0].detach().unsqueeze(1), found], dim=1)
    return both[: len(states)].numpy().astype(np.float64)


def _pooled(top: _Top, states: Sequence[NDArray[np.float32]], length: int, rows: int) -> NDArray[np.float64]:
    """float64 [records, width + 1] from such a pass, forward only."""
    with torch.inference_mode():
        found = top.pooled(*_batch(states, length, rows))
    return np.hstack([found[: len(states)].numpy().astype(np.float64), np.ones((len(states), 1))])


def _scores(top: _Top, states: Sequence[NDArray[np.float32]], length: int, rows: int) -> NDArray[np.float64]:
    """float64 [records, 1] from such a pass."""
    with torch.inference_mode():
        found: Tensor = top(*_batch(states, length, rows))
    return found[: len(states)].unsqueeze(1).numpy().astype(np.float64)


def _shape() -> BadInputError:
    return BadInputError("LORA_SHAPE", "records, labels and adapter do not belong together")


def _batch(states: Sequence[NDArray[np.float32]], length: int, rows: int) -> tuple[Tensor, Tensor]:
    batch = torch.zeros((rows, length, states[0].shape[1]))
    for row, state in enumerate(states):
        batch[row, : len(state)] = torch.from_numpy(state)
    return batch, attention_bias([len(state) for state in states], rows, length)


def _assign(parts: Mapping[str, nn.Parameter], adapter: Adapter) -> None:
    with torch.no_grad():
        for name, array in adapter.named().items():
            parts[name].copy_(torch.from_numpy(array.astype(np.float32)))


def _is_adapter(name: str) -> bool:
    return ".lora_" in name or name.startswith("head.")


def _peft_name(name: str, first: int) -> str:
    """``layers.0.….lora_A.default.weight`` -> the name that peft gives this array in a file."""
    if name.startswith("head."):
        return name
    _, layer, rest = name.split(".", 2)
    return f"base_model.model.encoder.layer.{first + int(layer)}.{rest.replace('.default.', '.')}"
