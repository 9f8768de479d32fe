"""A small folder that is a sound base model, to be spoilt by tests of intake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SIZES = {"hidden_size": 2, "intermediate_size": 4, "num_hidden_layers": 1}
CONFIG = {"architectures": ["BertModel"], "model_type": "bert"} | SIZES
HEADER: dict[str, Any] = {
    "__metadata__": {"format": "pt"},
    "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
    "b": {"dtype": "I64", "shape": [1], "data_offsets": [16, 24]},
}
CARD = "---\nlanguage: en\nlicense: apache-2.0\n---\n# A model\n"


def weights(header: object, buffer: bytes = bytes(24), *, length: int | None = None) -> bytes:
    """A file in the form of safetensors; ``length`` is what it says of its header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + buffer


def small_model(folder: Path) -> Path:
    """Write a sound model into ``folder``, which must not exist."""
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(weights(HEADER))
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "README.md").write_text(CARD)
    return folder
