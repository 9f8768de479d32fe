"""The frozen causal language model in memory, and texts as the tokens that it learns to predict.

For: ``CausalModel.load(base_model)`` -> ``tokens(texts)``. Not for: whether the folder may be loaded (data/intake.py),
how it is loaded (model.py, the same checks as for an encoder), losses and gradients (causal.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import AutoModelForCausalLM

from ..data.intake import BaseModelFacts
from ..errors import BadInputError
from .causal_layout import family_of
from .model import load_frozen


@dataclass(frozen=True)
class CausalModel:
    """A frozen model that predicts the next token, and its tokenizer. Build it with ``load``.

    Raises:
        BadInputError: CAUSAL_TOKENIZER when the tokenizer has no end of text or more tokens than the model knows.
    """

    model: Any
    tokenizer: Any

    def __post_init__(self) -> None:
        known = self.model.config.vocab_size
        end = self.tokenizer.eos_token_id
        if end is None or len(self.tokenizer) > known or end >= known:
            raise BadInputError(
                "CAUSAL_TOKENIZER",
                "the tokenizer has no end of text, or tokens that the model does not know",
                "restore the model's own tokenizer files",
            )

    @classmethod
    def load(cls, base_model: BaseModelFacts) -> CausalModel:
        """Load the weights that intake saw, in float32, for inference only.

        Raises:
            Refused: BASE_MODEL_CHANGED.
            BadInputError: CAUSAL_ARCHITECTURE before anything is built, BASE_MODEL_NOT_LOADABLE, CAUSAL_TOKENIZER.
        """
        return cls(*load_frozen(base_model, AutoModelForCausalLM, family_of))

    def tokens(self, texts: Sequence[str], *, longest: int) -> list[list[int]]:
        """Token ids of each text by itself and the end of text, cut to ``longest``: a text that is cut has no end."""
        if not texts:
            return []
        found: list[list[int]] = self.tokenizer(list(texts), padding=False, return_attention_mask=False)["input_ids"]
        end = self.tokenizer.eos_token_id
        # some tokenizers put the end there themselves
        return [(own if own[-1:] == [end] else [*own, end])[:longest] for own in found]
