"""A base-model folder looked at before anything of it is loaded: what it is, and that loading it runs nobody's code.

For: ``locate`` (where the study's base model lies), ``inspect`` (digests, architecture, what its own card says).
Not for: loading it (training/model.py), legal's signed record of it (governance/provenance/disclosure.py), or whether a
policy accepts it. No torch and no transformers here: legal looks at a folder on a machine that has neither.

Order of calls: ``locate(study.base_model, study_folder)`` -> ``inspect(folder)`` -> ``BaseModelFacts``;
``inspect_fully(folder)`` also says, question by question, what is shown of the training data (sources.py).

A folder is refused unless every file in it is of a kind that cannot run (files.py): pickles run code when they are
read, Python files and ``auto_map`` entries when a library trusts them. What is not known is refused.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ...governance.provenance.disclosure import DisclosureLevel
from ..errors import BadInputError
from ..study import BaseModelReference
from .files import WEIGHTS_SUFFIX, files_of, refuse
from .sources import CARD_FILE, LIST_FILE, Shown, read_card, read_list, shown_by
from .weights import count_elements

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
MODULES = "modules.json"  # sentence-transformers' list of classes that make up a model
PACKAGE_SUBFOLDER = "model"  # where a package of weights keeps them
CODE_ENTRIES = frozenset({"auto_map", "custom_pipelines"})  # fields of a JSON file by which a library loads code
KNOWN_MODULES = "sentence_transformers."  # the only package whose classes such a list may name

# What config.json calls the width, the inner width and the depth. GPT-2 and its kin write null for an inner width that
# is four times the width.
SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers")
SIZES_OF_GPT2 = ("n_embd", "n_inner", "n_layer")


@dataclass(frozen=True)
class BaseModelFacts:
    """What a folder shows of itself. ``licence`` and ``disclosure`` are what its card says, for legal to check.

    ``digest`` is that of the weights, ``files`` those of every file by its path in the folder. ``width`` is the length
    of a hidden state, ``inner`` that between the two halves of a layer, ``depth`` the number of layers, ``parameters``
    the number of stored numbers, ``sources`` that of listed training sources.
    """

    folder: Path
    digest: str
    files: Mapping[str, str]
    architecture: str
    width: int
    inner: int
    depth: int
    parameters: int
    licence: str
    disclosure: DisclosureLevel
    sources: int


def locate(base_model: BaseModelReference, study_folder: Path) -> Path:
    """The folder of the study's base model, without importing anything of the package that carries it.

    Raises:
        BadInputError: BASE_MODEL_NOT_INSTALLED, BASE_MODEL_NO_FOLDER.
    """
    if base_model.folder is not None:
        folder = study_folder / base_model.folder
    else:
        package = base_model.package or ""
        found = importlib.util.find_spec(re.sub(r"[-.]", "_", package)) if package else None
        if found is None or not found.submodule_search_locations:
            raise BadInputError(
                "BASE_MODEL_NOT_INSTALLED",
                f"the package {package} that carries the base model is not installed",
                f"install {package}; the example's one comes with the extra `pilot`",
            )
        folder = Path(next(iter(found.submodule_search_locations))) / PACKAGE_SUBFOLDER
    if not folder.is_dir():
        raise BadInputError(
            "BASE_MODEL_NO_FOLDER",
            "there is no folder where the study's base model should be",
            "check base_model in study.yaml; a folder is named relative to it",
        )
    return folder


def inspect(folder: Path) -> BaseModelFacts:
    """What a folder is; the first half of ``inspect_fully``, with its refusals."""
    return inspect_fully(folder)[0]


def inspect_fully(folder: Path) -> tuple[BaseModelFacts, Shown]:
    """Look at every file of ``folder``, read what may be read, and load nothing.

    Raises:
        BadInputError: the codes of ``files`` and ``weights``, BASE_MODEL_CODE, BASE_MODEL_INCOMPLETE,
            BASE_MODEL_CONFIG, BASE_MODEL_UNREADABLE.
    """
    try:
        # 1. every file is of a kind that cannot run
        paths = files_of(folder)
        for name in (WEIGHTS, CONFIG, "tokenizer.json"):
            if name not in paths:
                refuse("BASE_MODEL_INCOMPLETE", f"the folder has no {name}", "weights are one safetensors file",
                       file=name)
        # 2. every JSON file: no entry by which a library would load code
        documents = {name: _read_json(name, path) for name, path in paths.items() if _suffix(name) == ".json"}
        for name, document in documents.items():
            _check_entries(name, document)
            _check_modules(name, document)
        # 3. every safetensors header: it describes the file exactly, byte for byte
        parameters = [count_elements(name, path) for name, path in paths.items() if _suffix(name) == WEIGHTS_SUFFIX]
        files = {name: _digest(path) for name, path in paths.items()}
        card = paths[CARD_FILE].read_text("utf-8", errors="replace") if CARD_FILE in paths else ""
    except OSError as error:
        raise BadInputError(
            "BASE_MODEL_UNREADABLE",
            f"the base model's folder cannot be read ({error.strerror})",
            "check the rights of its files",
        ) from None
    architecture, (width, inner, depth) = _config(documents[CONFIG])
    shown = shown_by(read_card(card), read_list(documents.get(LIST_FILE)))
    facts = BaseModelFacts(
        folder=folder,
        digest=files[WEIGHTS],
        files=MappingProxyType(files),
        architecture=architecture,
        width=width,
        inner=inner,
        depth=depth,
        parameters=sum(parameters),
        licence=shown.card.spdx,
        disclosure=shown.level,
        sources=shown.sources,
    )
    return facts, shown


def _suffix(name: str) -> str:
    return Path(name).suffix.lower()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def _read_json(name: str, path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        refuse("BASE_MODEL_CONFIG", f"{name} is not JSON", "restore the model's own file", file=name)


def _check_entries(name: str, document: Any) -> None:
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if CODE_ENTRIES & value.keys():
                refuse(
                    "BASE_MODEL_CODE",
                    f"{name} names code to be loaded with the model",
                    "only architectures that the installed libraries know are loaded",
                    file=name,
                )
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _check_modules(name: str, document: Any) -> None:
    if Path(name).name != MODULES:
        return
    for entry in document if isinstance(document, list) else [None]:
        kind = entry.get("type") if isinstance(entry, dict) else None
        if not isinstance(kind, str) or not kind.startswith(KNOWN_MODULES):
            refuse("BASE_MODEL_CODE", f"{name} names a class that is not of sentence-transformers",
                   "only classes that the installed libraries know are loaded", file=name)


def _config(config: Any) -> tuple[str, tuple[int, int, int]]:
    """The architecture, and its width, inner width and depth."""
    fields = config if isinstance(config, dict) else {}
    architectures = fields.get("architectures")
    if not isinstance(architectures, list) or len(architectures) != 1 or not isinstance(architectures[0], str):
        refuse("BASE_MODEL_CONFIG", f"{CONFIG} does not name one architecture", "restore the model's own file",
               file=CONFIG)
    sizes = [fields.get(key) for key in (SIZES if "hidden_size" in fields else SIZES_OF_GPT2)]
    if "hidden_size" not in fields and sizes[1] is None and type(sizes[0]) is int:
        sizes[1] = 4 * sizes[0]
    whole = [size for size in sizes if type(size) is int and 1 <= size <= 2**16]
    if len(whole) != len(sizes):
        refuse(
            "BASE_MODEL_CONFIG",
            f"{CONFIG} does not say how wide and how deep the model is",
            "restore the model's own file",
            file=CONFIG,
        )
    width, inner, depth = whole
    return architectures[0], (width, inner, depth)
