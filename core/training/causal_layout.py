"""What a LoRA adapter of a causal language model consists of, and which causal models there is an adapter for.

For: ``CausalLayout.of(config, settings)``, from a model's own configuration. Not for: losses and gradients (causal.py);
no torch here, so that a plan can be made and a release be written where no model is loaded.

An adapter adds (alpha / rank)·B·A to the query or value matrices, or both, of some layers; GPT-2 keeps query, key and
value in one matrix, and the adapter spans it, so there a study asks for both or is refused. There is no head: what is
trained predicts the next token, as the base model does. Settings and the start are as in lora_layout.py, but for a
closed set of targets of its own.

The families are a closed set. Each is shown by tests to compute a record by itself; a model with experts is none of
them, since a router that balances its load looks at all records of a pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NoReturn

from ..errors import BadInputError
from .adapter import Arrays
from .features import LONGEST
from .lora_layout import LoraSettings, PeftLayout

# The targets of a causal model, in the model's order, as all families but GPT-2 call them.
PLACES: Final[Mapping[str, str]] = MappingProxyType({"query": "q_proj", "value": "v_proj"})


@dataclass(frozen=True)
class Family:
    """Where the layers stand in a model and the attention in a layer; ``transposed`` matrices are GPT-2's."""

    layers: str
    attention: str
    transposed: bool


GPT2: Final = Family("transformer.h", "attn", transposed=True)
LLAMA: Final = Family("model.layers", "self_attn", transposed=False)
FAMILIES: Final[Mapping[str, Family]] = {"gpt2": GPT2, "llama": LLAMA, "mistral": LLAMA, "qwen2": LLAMA}


@dataclass(frozen=True)
class CausalLayout(PeftLayout):
    """The adapter of a causal model with ``depth`` layers; ``matrices`` are (name, inputs, outputs) of what is adapted.

    Raises:
        BadInputError: LORA_SETTINGS when there are not so many layers.
    """

    family: Family
    depth: int
    matrices: tuple[tuple[str, int, int], ...]
    settings: LoraSettings

    @classmethod
    def of(cls, config: Mapping[str, Any], settings: LoraSettings) -> CausalLayout:
        """The layout for a model with this config.json.

        Raises:
            BadInputError: CAUSAL_ARCHITECTURE when there is no adapter for such a model, and LORA_SETTINGS.
        """
        family = family_of(config)
        _check_targets(family, settings)
        if _number(config, "n_positions" if family is GPT2 else "max_position_embeddings") < LONGEST:
            refuse_architecture(f"the model reads fewer than {LONGEST} tokens")
        if family is GPT2:
            width, depth = _number(config, "n_embd"), _number(config, "n_layer")
            return cls(family, depth, (("c_attn", width, 3 * width),), settings)
        width, depth = _number(config, "hidden_size"), _number(config, "num_hidden_layers")
        heads, shared = _number(config, "num_attention_heads"), _number(config, "num_key_value_heads")
        one = _number(config, "head_dim") if config.get("head_dim") is not None else width // heads
        outputs = {"query": heads * one, "value": shared * one}
        asked = [name for name in PLACES if name in settings.targets]
        return cls(family, depth, tuple((PLACES[name], width, outputs[name]) for name in asked), settings)

    def peft_fields(self) -> Mapping[str, object]:
        """What the layers and matrices are called in this base model, in the fields of peft's configuration."""
        return {
            "task_type": "CAUSAL_LM",
            "target_modules": [name for name, _, _ in self.matrices],
            "layers_pattern": self.family.layers.rpartition(".")[2],
            "fan_in_fan_out": self.family.transposed,
        }

    def every_array(self) -> Arrays:
        """Every array, frozen ones too, in the order of the vector."""
        parts: list[tuple[str, tuple[int, ...]]] = []
        for layer in self.adapted:
            for name, inputs, outputs in self.matrices:
                stem = f"base_model.model.{self.family.layers}.{layer}.{self.family.attention}.{name}"
                parts.append((f"{stem}.lora_A.weight", (self.settings.rank, inputs)))
                parts.append((f"{stem}.lora_B.weight", (outputs, self.settings.rank)))
        return tuple(parts)


def family_of(config: Mapping[str, Any]) -> Family:
    """The family of a model with this config.json. Raises ``BadInputError`` CAUSAL_ARCHITECTURE."""
    kind = config.get("model_type")
    family = FAMILIES.get(kind) if isinstance(kind, str) else None
    if family is None:
        refuse_architecture(f"there is no causal adapter for a model of type {kind!r:.40}")
    return family


def refuse_architecture(sentence: str) -> NoReturn:
    """Raise ``BadInputError`` CAUSAL_ARCHITECTURE."""
    raise BadInputError(
        "CAUSAL_ARCHITECTURE", sentence, f"take a causal language model of one of the types {', '.join(FAMILIES)}"
    )


def _check_targets(family: Family, settings: LoraSettings) -> None:
    strange = [name for name in settings.targets if name not in PLACES]
    if strange:
        raise BadInputError(
            "LORA_SETTINGS",
            f"a causal model has no adapter on {', '.join(strange)}",
            f"targets of a causal model are among {', '.join(PLACES)}",
        )
    if family is GPT2 and set(settings.targets) != set(PLACES):
        raise BadInputError(
            "LORA_SETTINGS",
            "a model of type gpt2 has query, key and value in one matrix, and an adapter on one alone is not possible",
            f"ask for {' and '.join(PLACES)}",
        )


def _number(config: Mapping[str, Any], field: str) -> int:
    value = config.get(field)
    if type(value) is not int or not 1 <= value <= 2**24:
        refuse_architecture(f"the model's config.json has no usable {field}")
    return value
