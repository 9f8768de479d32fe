"""Texts -> what the frozen lower layers of the base model make of them, computed once and kept in memory.

For: ``Prefix(encoder, first).of(texts)``, then ``PrefixRows`` by place; ``top_layers`` for the layers above. Not for:
training those (lora.py).

Rows are as personal as the texts: they stay in memory, show nothing of themselves, and are never written. A row depends
on its own text and on nothing else, to the bit (passes.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import as_completed
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import BadInputError
from .features import LONGEST, ROWS, Progress, nothing_shown
from .going_on import never_stops
from .model import Encoder, copy_of_modules
from .passes import attention_bias, groups, place_matters, workers
from .rows import PrefixRows


class Prefix:
    """The layers of ``encoder`` below layer ``first``, as a function of one text.

    Raises:
        BadInputError: LORA_ARCHITECTURE when the base model is no encoder of the BERT family.
    """

    def __init__(self, encoder: Encoder, first: int, *, check: Callable[[], None] = never_stops) -> None:
        self._encoder = encoder
        self._check = check  # before every pass (going_on.py)
        self._model = shared_copy(encoder.model)
        self._model.encoder.layer = self._model.encoder.layer[:first]
        self._model.pooler = None
        spoken = encoder.tokens(["the quick brown fox jumps over the lazy dog " * 40], longest=LONGEST)[0]
        matters = place_matters(lambda items, length: self._pass(items, length, ROWS), lambda count: spoken[:count])
        self._rows = 1 if matters else ROWS

    def of(self, texts: Sequence[str], progress: Progress = nothing_shown) -> PrefixRows:
        """One row a text, in the order of the texts. Reports progress as (done, total)."""
        tokens = self._encoder.tokens(texts, longest=LONGEST)
        states: dict[int, NDArray[np.float32]] = {}
        progress(0, len(texts))
        with workers() as pool:
            waiting = {
                pool.submit(self._pass, [tokens[place] for place in group], length, self._rows): group
                for length, group in groups([len(ids) for ids in tokens], self._rows)
            }
            for future in as_completed(waiting):
                states |= zip(waiting.pop(future), future.result(), strict=True)
                progress(len(states), len(texts))
        return PrefixRows(tuple(states[place] for place in range(len(texts))))

    def _pass(self, tokens: Sequence[Sequence[int]], length: int, rows: int) -> list[NDArray[np.float32]]:
        """States of at most ``rows`` texts, in a pass of exactly ``rows`` x ``length`` tokens."""
        self._check()
        ids = np.zeros((rows, length), dtype=np.int64)
        for row, own in enumerate(tokens):
            ids[row, : len(own)] = own
        bias = attention_bias([len(own) for own in tokens], rows, length)
        with torch.inference_mode():
            hidden: Tensor = self._model(input_ids=torch.from_numpy(ids), attention_mask=bias).last_hidden_state
        return [hidden[row, : len(own)].numpy().copy() for row, own in enumerate(tokens)]


def shared_copy(model: Any) -> Any:
    """A copy of an encoder whose modules can be changed and whose numbers are those of ``model``, not copied.

    Raises:
        BadInputError: LORA_ARCHITECTURE when it has no layers that are attended as BERT's.
    """
    layers = getattr(getattr(model, "encoder", None), "layer", None)
    attentions = [getattr(getattr(layer, "attention", None), "self", None) for layer in layers or ()]
    fitting = all(
        isinstance(getattr(attention, target, None), nn.Linear)
        for attention in attentions
        for target in ("query", "key", "value")
    )
    if not attentions or not fitting or model.config.is_decoder:
        raise BadInputError(
            "LORA_ARCHITECTURE",
            f"adapters are not known for a {type(model).__name__}",
            "take an encoder of the BERT family, or train a probe",
        )
    return copy_of_modules(model)
