"""What a LoRA adapter consists of: its arrays in order, where they start, and the files in which it is released.

For: ``LoraLayout``, an encoder's; ``PeftLayout``, what it shares with a causal model's (causal_layout.py). Not for:
gradients and scores (lora.py); no torch here, so that a plan can be made and a release be written where no model is
loaded.

An adapter adds (alpha / rank)·B·A to some matrices of some layers; a linear head on the mean-pooled, length-one output
gives the log odds. B and the head start at zero, so the start is the base model; A starts at random numbers that follow
from the study's public seed. With ``freeze_a`` (FFA-LoRA) A stays there, and B and the head train: half the numbers to
add noise to, and no product of two noises.
Sources: Hu et al., "LoRA", ICLR 2022; Sun et al., "Improving LoRA in privacy-preserving federated learning" (FFA-LoRA),
ICLR 2024.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInputError
from .adapter import Adapter, Arrays

TOP_LAYERS: Final = (2, 1)  # counted from the top: of MiniLM's six the last two, a third of the cost of all
RANK: Final = 8  # the rank of the LoRA paper's own tables
ALPHA: Final = 16  # twice the rank, as is usual
TARGETS: Final = ("query", "value")  # the two that the LoRA paper found enough

# Where a target lies in a layer of the BERT family, in the model's order; the name that peft matches is its end.
PLACES: Final[Mapping[str, str]] = MappingProxyType(
    {"query": "attention.self.query", "value": "attention.self.value", "intermediate": "intermediate.dense"}
)

ADAPTER_FILE = "adapter_model.safetensors"  # both names are peft's
CONFIG_FILE = "adapter_config.json"
HEAD_FILE = "head.safetensors"
HEAD_WEIGHT, HEAD_BIAS = "head.weight", "head.bias"


@dataclass(frozen=True)
class LoraSettings:
    """``seed`` is public; ``layers`` counts from the top, 1 being the last; ``freeze_a`` is FFA-LoRA.

    Raises:
        BadInputError: LORA_SETTINGS.
    """

    seed: int
    layers: tuple[int, ...] = TOP_LAYERS
    targets: tuple[str, ...] = TARGETS
    rank: int = RANK
    alpha: int = ALPHA
    freeze_a: bool = False

    def __post_init__(self) -> None:
        known = self.targets and set(self.targets) <= set(PLACES) and len(set(self.targets)) == len(self.targets)
        layers = self.layers and len(set(self.layers)) == len(self.layers)
        if not known or not layers or min(*self.layers, self.rank, self.alpha) < 1 or self.seed < 0:
            raise BadInputError(
                "LORA_SETTINGS",
                "a LoRA setting is outside its range",
                f"layers, rank and alpha are at least 1, the seed at least 0, targets among {', '.join(PLACES)}",
            )


class PeftLayout(ABC):
    """LoRA arrays under the names that peft gives them in a file, on some of the ``depth`` layers of one base model."""

    depth: int
    settings: LoraSettings

    def __post_init__(self) -> None:
        if max(self.settings.layers) > self.depth:
            raise BadInputError(
                "LORA_SETTINGS",
                f"an adapter is asked for {max(self.settings.layers)} layers from the top and there are {self.depth}",
                "layers are counted from the top: 1 is the last one",
            )

    @property
    def adapted(self) -> tuple[int, ...]:
        """Indices of the layers with an adapter, from below."""
        return tuple(sorted(self.depth - layer for layer in self.settings.layers))

    @property
    def arrays(self) -> Arrays:
        """Names (as in a peft file) and shapes of what trains, in the order of the vector."""
        return tuple(part for part in self.every_array() if not (self.settings.freeze_a and _is_a(part[0])))

    @property
    def dimension(self) -> int:
        """d: numbers that train."""
        return sum(math.prod(shape) for _, shape in self.arrays)

    def initial(self) -> NDArray[np.float64]:
        """float64 [d]: the same bits at every site."""
        return self._gathered(self.arrays, self._drawn())

    def whole(self, vector: NDArray[np.float64]) -> Adapter:
        """Every array of the adapter at the state ``vector`` (float64 [d]), a frozen A among them.

        Raises:
            BadInputError: ADAPTER_SHAPE.
        """
        parts = self._drawn() | Adapter(self.arrays, vector).named()
        return Adapter(self.every_array(), self._gathered(self.every_array(), parts))

    def released(self, vector: NDArray[np.float64], *, base_model: str) -> Mapping[str, bytes]:
        """File name -> bytes of a folder that ``peft.PeftModel.from_pretrained`` loads onto the base model.

        ``base_model`` is the model's name, never a path. The same bytes on every machine.
        """
        adapters = tuple(part for part in self.every_array() if ".lora_" in part[0])
        # fields that are left out have peft's defaults: no bias, no dropout, plain alpha / rank
        config = {
            "peft_type": "LORA",
            "base_model_name_or_path": base_model,
            "inference_mode": True,
            "r": self.settings.rank,
            "lora_alpha": self.settings.alpha,
            "lora_dropout": 0.0,
            "bias": "none",
            "layers_to_transform": list(self.adapted),
            **self.peft_fields(),
        }
        return {
            CONFIG_FILE: json.dumps(config, indent=2, sort_keys=True).encode("utf-8") + b"\n",
            ADAPTER_FILE: self._file(adapters, vector),
        }

    @abstractmethod
    def every_array(self) -> Arrays:
        """Every array, frozen ones too, in the order of the vector."""

    @abstractmethod
    def peft_fields(self) -> Mapping[str, object]:
        """What the layers and matrices are called in this base model, in the fields of peft's configuration."""

    def _file(self, arrays: Arrays, vector: NDArray[np.float64]) -> bytes:
        return Adapter(arrays, self._gathered(arrays, self.whole(vector).named())).to_safetensors()

    def _drawn(self) -> dict[str, NDArray[np.float64]]:
        """Every array as it starts: A uniform within ±1/√width (LoRA's own start, He et al. 2015), the rest zero.

        Raw words of PCG64, whose stream numpy promises to keep, and exact steps from there: no library's idea of a
        uniform number has a say.
        """
        words = np.random.PCG64(self.settings.seed)
        parts: dict[str, NDArray[np.float64]] = {}
        for name, shape in self.every_array():
            parts[name] = np.zeros(shape)
            if _is_a(name):
                bound = 1.0 / math.sqrt(shape[1])
                drawn = np.asarray(words.random_raw(math.prod(shape)), dtype=np.uint64) >> np.uint64(11)
                parts[name] = ((drawn.astype(np.float64) * 2.0**-52 - 1.0) * bound).reshape(shape)
        return parts

    @staticmethod
    def _gathered(arrays: Arrays, parts: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        return np.concatenate([parts[name].reshape(-1) for name, _ in arrays])


@dataclass(frozen=True)
class LoraLayout(PeftLayout):
    """The adapter of an encoder with ``depth`` layers of ``width`` numbers and ``inner`` between them.

    Raises:
        BadInputError: LORA_SETTINGS when there are not so many layers.
    """

    width: int
    inner: int
    depth: int
    settings: LoraSettings

    @property
    def first(self) -> int:
        """Index of the lowest layer with an adapter; the layers below it are the frozen prefix."""
        return self.adapted[0]

    @property
    def targets(self) -> tuple[str, ...]:
        """What peft matches: the adapted matrices of a layer, in the model's order."""
        return tuple(place for name, place in PLACES.items() if name in self.settings.targets)

    @property
    def head(self) -> int:
        """Where the head begins in a state: it comes last."""
        return self.dimension - self.width - 1

    def released(self, vector: NDArray[np.float64], *, base_model: str) -> Mapping[str, bytes]:
        """File name -> bytes of a folder that ``peft.PeftModel.from_pretrained`` loads onto the base model's encoder.

        peft reads ``adapter_config.json`` and ``adapter_model.safetensors``. The head is no part of the encoder and has
        a file of its own: log odds = head.weight · mean / |mean| + head.bias, with mean the last hidden states averaged
        under the attention mask. ``base_model`` is the model's name, never a path. The same bytes on every machine.
        """
        head = {HEAD_FILE: self._file(self.every_array()[-2:], vector)}
        return {**super().released(vector, base_model=base_model), **head}

    def peft_fields(self) -> Mapping[str, object]:
        """What the layers and matrices are called in this base model, in the fields of peft's configuration."""
        return {
            "task_type": "FEATURE_EXTRACTION",
            "target_modules": list(self.targets),
            "layers_pattern": "layer",
        }

    def every_array(self) -> Arrays:
        """Every array, frozen ones and the head too, in the order of the vector."""
        parts: list[tuple[str, tuple[int, ...]]] = []
        for layer in self.adapted:
            for place in self.targets:
                stem = f"base_model.model.encoder.layer.{layer}.{place}"
                high = self.inner if place == PLACES["intermediate"] else self.width
                parts.append((f"{stem}.lora_A.weight", (self.settings.rank, self.width)))
                parts.append((f"{stem}.lora_B.weight", (high, self.settings.rank)))
        return (*parts, (HEAD_WEIGHT, (1, self.width)), (HEAD_BIAS, (1,)))


def _is_a(name: str) -> bool:
    return name.endswith(".lora_A.weight")
