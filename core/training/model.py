"""The frozen base model in memory: one encoder, loaded once in a process and shared by all sites in it.

For: hidden states of token ids, mean-pooled; ``load_frozen``, by which every kind of base model is loaded
(causal_model.py has the other). Not for: which texts, in which batches (features.py), or whether a folder may be loaded
at all (data/intake.py looked at every file in it before).

Order of calls: ``Encoder.load(base_model)`` -> ``tokens(texts)`` and ``pooled(ids, mask)``.

Nothing is fetched and nobody's code is run: the architecture comes from the installed library, the weights from the
very bytes whose digest is checked here, so a file that changes after intake is refused, not loaded.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_tensors
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.utils import logging as library_messages

from ..data.intake import WEIGHTS, BaseModelFacts
from ..errors import BadInputError, Refused


@dataclass(frozen=True)
class Encoder:
    """A frozen encoder and its tokenizer. Build it with ``load``."""

    model: Any
    tokenizer: Any

    @classmethod
    def load(cls, base_model: BaseModelFacts) -> Encoder:
        """Load the weights that intake saw, in float32, for inference only.

        Raises:
            Refused: BASE_MODEL_CHANGED when the weights are no longer those that were inspected.
            BadInputError: BASE_MODEL_NOT_LOADABLE when weights and configuration do not fit together.
        """
        return cls(*load_frozen(base_model, AutoModel))

    def tokens(self, texts: Sequence[str], *, longest: int) -> list[list[int]]:
        """Token ids of each text by itself, cut to ``longest``, unpadded."""
        if not texts:
            return []
        ids: list[list[int]] = self.tokenizer(
            list(texts), truncation=True, max_length=longest, padding=False, return_attention_mask=False
        )["input_ids"]
        return ids

    def pooled(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Mean of the last hidden states under the mask: int64 [rows, length] twice -> float32 [rows, width]."""
        with torch.inference_mode():
            attention = torch.from_numpy(mask)
            hidden = self.model(input_ids=torch.from_numpy(ids), attention_mask=attention).last_hidden_state
            counted = attention.unsqueeze(-1).to(hidden.dtype)
            means = (hidden * counted).sum(dim=1) / counted.sum(dim=1)
        rows: NDArray[np.float32] = means.numpy()
        return rows


def load_frozen(
    base_model: BaseModelFacts, library: Any, check_config: Callable[[Mapping[str, Any]], object] | None = None
) -> tuple[Any, Any]:
    """Model and tokenizer. ``library`` is transformers' class that knows the architecture for what is asked of it.

    ``check_config`` raises for a configuration that cannot be used, before anything is built from it.

    Raises:
        Refused: BASE_MODEL_CHANGED when the weights are no longer those that were inspected.
        BadInputError: BASE_MODEL_NOT_LOADABLE when weights and configuration do not fit together.
    """
    # 1. the bytes that are loaded are the bytes that were approved
    data = (base_model.folder / WEIGHTS).read_bytes()
    if "sha256:" + hashlib.sha256(data).hexdigest() != base_model.digest:
        raise Refused(
            "BASE_MODEL_CHANGED",
            "the base model's weights are not those that were inspected",
            "restore them, or have legal sign the model as it is now",
        )
    # 2. an architecture of the installed library; nothing is looked up elsewhere, nothing of the folder is run
    library_messages.disable_progress_bar()
    library_messages.set_verbosity_error()
    offline = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(base_model.folder, **offline)
        if check_config is not None:
            check_config(config.to_dict())
        model = library.from_config(config, trust_remote_code=False, attn_implementation="sdpa")
        tokenizer = AutoTokenizer.from_pretrained(base_model.folder, **offline)
        # 3. every weight of the architecture, in float32
        weights = load_tensors(data)
        missing, _ = model.load_state_dict(weights, strict=False)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise _not_loadable(type(error).__name__) from error
    named = dict(model.named_parameters(remove_duplicate=False))
    loaded = {id(part): name for name, part in named.items() if name in weights}
    missing = [name for name in missing if id(named.get(name)) not in loaded]
    if missing:
        raise _not_loadable(f"{len(missing)} weights are missing")
    model.to(torch.float32).eval().requires_grad_(False)
    return model, tokenizer


def copy_of_modules(model: Any) -> Any:
    """A copy whose modules can be changed and whose numbers are those of ``model``, not copied."""
    kept = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in kept})


def _not_loadable(why: str) -> BadInputError:
    return BadInputError(
        "BASE_MODEL_NOT_LOADABLE",
        f"the base model's files do not fit together ({why})",
        "restore the model's own config.json, tokenizer.json and model.safetensors",
    )
