"""A base-model folder looked at before anything of it is loaded: what it is, and that loading it runs nobody's code.

For: ``locate`` (where the study's base model lies), ``inspect`` (digests, architecture, what its own card says).
Not for: loading it (training/model.py), legal's signed record of it (governance/provenance/disclosure.py), or whether a
policy accepts it. No torch and no transformers here: legal looks at a folder on a machine that has neither.

Order of calls: ``locate(study.base_model, study_folder)`` -> ``inspect(folder)`` -> ``BaseModelFacts``.

A folder is refused unless every file in it is of a kind that cannot run: pickles run code when they are read, Python
files and ``auto_map`` entries when a library trusts them. What is not known is refused.
Source: the safetensors format, https://huggingface.co/docs/safetensors (8 bytes of length, JSON header, one buffer).
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

from ...governance.provenance.disclosure import DisclosureLevel
from ..errors import BadInputError
from ..study import BaseModelReference

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
CARD = "README.md"
SOURCES = "data_config.json"  # sentence-transformers' list of training sources
PACKAGE_SUBFOLDER = "model"  # where a package of weights keeps them

LARGEST_HEADER = 10 << 20  # a header names tensors; a model of 100 billion parameters needs 1 MiB
LARGEST_JSON = 64 << 20  # tokenizers of large vocabularies have 20 MiB
MOST_FILES = 500
BLOCK = 1 << 20

SUFFIXES = frozenset({".json", ".md", ".model", ".safetensors", ".txt"})
PLAIN_NAMES = frozenset({".gitattributes", "LICENSE", "LICENCE", "NOTICE"})
PICKLES = frozenset(
    {".bin", ".ckpt", ".dill", ".h5", ".joblib", ".keras", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth"}
)
PROGRAMS = frozenset({".dll", ".dylib", ".ipynb", ".js", ".pth", ".py", ".pyc", ".pyd", ".pyx", ".sh", ".so"})
CODE_ENTRIES = frozenset({"auto_map", "custom_pipelines"})  # fields of a JSON file by which a library loads code

# What config.json calls the width, the inner width and the depth. GPT-2 and its kin write null for an inner width that
# is four times the width.
SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers")
SIZES_OF_GPT2 = ("n_embd", "n_inner", "n_layer")

ELEMENT_BYTES: Mapping[str, int] = MappingProxyType(
    {
        "BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
        "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8,
    }
)  # fmt: skip

# How model cards write licences (lower case) and how SPDX does; what is not listed is not asserted.
SPDX: Mapping[str, str] = MappingProxyType(
    {
        "apache-2.0": "Apache-2.0", "mit": "MIT", "bsd-3-clause": "BSD-3-Clause", "cc0-1.0": "CC0-1.0",
        "cc-by-4.0": "CC-BY-4.0", "cc-by-sa-4.0": "CC-BY-SA-4.0", "cc-by-nc-4.0": "CC-BY-NC-4.0",
    }
)  # fmt: skip
NO_ASSERTION = "NOASSERTION"  # SPDX's own word


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
    """Look at every file of ``folder``, read what may be read, and load nothing.

    Raises:
        BadInputError: BASE_MODEL_SYMLINK, BASE_MODEL_PICKLE, BASE_MODEL_CODE, BASE_MODEL_FILE_UNKNOWN,
            BASE_MODEL_TOO_MANY_FILES, BASE_MODEL_INCOMPLETE, BASE_MODEL_HEADER, BASE_MODEL_CONFIG,
            BASE_MODEL_UNREADABLE.
    """
    try:
        # 1. every name, before a byte is read
        paths = {path.relative_to(folder).as_posix(): path for path in _walk(folder)}
        for name in (WEIGHTS, CONFIG, "tokenizer.json"):
            if name not in paths:
                _refuse("BASE_MODEL_INCOMPLETE", f"the folder has no {name}", "weights are one safetensors file")
        # 2. every JSON file: no entry by which a library would load code
        documents = {name: _read_json(name, path) for name, path in paths.items() if name.endswith(".json")}
        for name, document in documents.items():
            _check_entries(name, document)
        # 3. every safetensors header: it describes the file exactly, byte for byte
        parameters = [
            _check_weights(name, path) for name, path in sorted(paths.items()) if name.endswith(".safetensors")
        ]
        files = {name: _digest(path) for name, path in sorted(paths.items())}
        card = paths[CARD].read_text("utf-8", errors="replace") if CARD in paths else ""
    except OSError as error:
        raise BadInputError(
            "BASE_MODEL_UNREADABLE",
            f"the base model's folder cannot be read ({error.strerror})",
            "check the rights of its files",
        ) from None
    architecture, (width, inner, depth) = _config(documents[CONFIG])
    sources = _listed_sources(documents.get(SOURCES))
    return BaseModelFacts(
        folder=folder,
        digest=files[WEIGHTS],
        files=MappingProxyType(files),
        architecture=architecture,
        width=width,
        inner=inner,
        depth=depth,
        parameters=sum(parameters),
        licence=SPDX.get(_card_field(card, "license").lower(), NO_ASSERTION),
        disclosure=_disclosure(card, sources),
        sources=sources,
    )


def _walk(folder: Path) -> Iterator[Path]:
    root = folder.resolve()
    count = 0
    for place, folders, names in os.walk(folder):
        for name in folders:
            if (Path(place) / name).is_symlink():
                _refuse("BASE_MODEL_SYMLINK", f"the folder {name} is a link", "copy the files into the folder")
        for name in sorted(names):
            path = Path(place) / name
            if not path.resolve().is_relative_to(root):
                _refuse(
                    "BASE_MODEL_SYMLINK",
                    f"{name} is a link out of the folder",
                    "copy the file into the folder",
                )
            _check_name(name, path)
            count += 1
            if count > MOST_FILES:
                _refuse(
                    "BASE_MODEL_TOO_MANY_FILES",
                    f"the folder holds more than {MOST_FILES} files",
                    "name the model's own folder",
                )
            yield path


def _check_name(name: str, path: Path) -> None:
    suffix = path.suffix.lower()
    if suffix in PICKLES and suffix not in PROGRAMS:
        _refuse("BASE_MODEL_PICKLE", f"{name} may run code when it is read", "keep safetensors weights only")
    if suffix in PROGRAMS:
        _refuse("BASE_MODEL_CODE", f"{name} is a program", "a base model is data; remove the file")
    if not stat.S_ISREG(path.stat().st_mode) or (suffix not in SUFFIXES and name not in PLAIN_NAMES):
        _refuse(
            "BASE_MODEL_FILE_UNKNOWN",
            f"{name} is not of a kind that a base model needs",
            "keep weights (safetensors), configuration, tokenizer, licence and card; remove the rest",
        )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def _read_json(name: str, path: Path) -> Any:
    if path.stat().st_size > LARGEST_JSON:
        _refuse("BASE_MODEL_CONFIG", f"{name} is larger than any configuration", "restore the model's own file")
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        _refuse("BASE_MODEL_CONFIG", f"{name} is not JSON", "restore the model's own file")


def _check_entries(name: str, document: Any) -> None:
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if CODE_ENTRIES & value.keys():
                _refuse(
                    "BASE_MODEL_CODE",
                    f"{name} names code to be loaded with the model",
                    "only architectures that the installed libraries know are loaded",
                )
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _check_weights(name: str, path: Path) -> int:
    """The number of stored elements. Refuses unless the header describes every byte of the buffer exactly once."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= min(LARGEST_HEADER, size - 8):
            _bad_header(name, "its length is impossible")
        raw = file.read(length)
    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=_distinct)
    except (ValueError, RecursionError):
        _bad_header(name, "it is not JSON")
    if not isinstance(header, dict):
        _bad_header(name, "it is not a table of tensors")
    header.pop("__metadata__", None)
    spans: list[tuple[int, int]] = []
    elements = 0
    for entry in header.values():
        count, begin, end = _tensor(name, entry)
        spans.append((begin, end))
        elements += count
    position = 0
    for begin, end in sorted(spans):
        if begin != position:
            _bad_header(name, "tensors overlap or leave a gap")
        position = end
    if not spans or position != size - 8 - length:
        _bad_header(name, "it does not describe the whole file")
    return elements


def _tensor(name: str, entry: Any) -> tuple[int, int, int]:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        _bad_header(name, "a tensor is not described as the format says")
    width = ELEMENT_BYTES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    shape, offsets = entry["shape"], entry["data_offsets"]
    if width is None or not _whole(shape) or not _whole(offsets) or len(offsets) != 2:
        _bad_header(name, "a tensor is not described as the format says")
    count = math.prod(shape)
    if offsets[1] - offsets[0] != count * width:
        _bad_header(name, "a tensor's size does not fit its shape")
    return count, offsets[0], offsets[1]


def _whole(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**48 for value in values)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError
    return table


def _config(config: Any) -> tuple[str, tuple[int, int, int]]:
    """The architecture, and its width, inner width and depth."""
    fields = config if isinstance(config, dict) else {}
    architectures = fields.get("architectures")
    if not isinstance(architectures, list) or len(architectures) != 1 or not isinstance(architectures[0], str):
        _refuse("BASE_MODEL_CONFIG", f"{CONFIG} does not name one architecture", "restore the model's own file")
    sizes = [fields.get(key) for key in (SIZES if "hidden_size" in fields else SIZES_OF_GPT2)]
    if "hidden_size" not in fields and sizes[1] is None and type(sizes[0]) is int:
        sizes[1] = 4 * sizes[0]
    whole = [size for size in sizes if type(size) is int and 1 <= size <= 2**16]
    if len(whole) != len(sizes):
        _refuse(
            "BASE_MODEL_CONFIG",
            f"{CONFIG} does not say how wide and how deep the model is",
            "restore the model's own file",
        )
    width, inner, depth = whole
    return architectures[0], (width, inner, depth)


def _listed_sources(document: Any) -> int:
    if not isinstance(document, list) or not all(isinstance(entry, dict) for entry in document):
        return 0
    return len({entry["name"] for entry in document if isinstance(entry.get("name"), str)})


def _card_field(card: str, field: str) -> str:
    front = re.match(r"---\r?\n(.*?)\r?\n---\r?\n", card, re.DOTALL)
    found = re.search(rf"^{field}:[ \t]*(\S*)[ \t]*\r?$", front[1], re.MULTILINE) if front else None
    return found[1].strip("\"'") if found else ""


def _disclosure(card: str, sources: int) -> DisclosureLevel:
    """No more than the folder itself shows; legal's record may claim more with the provider's answers."""
    if sources:
        return DisclosureLevel.SOURCES_LISTED
    if re.search(r"^(datasets:|#+\s.*training data)", card, re.MULTILINE | re.IGNORECASE):
        return DisclosureLevel.STATEMENT
    return DisclosureLevel.NONE


def _bad_header(name: str, why: str) -> NoReturn:
    _refuse(
        "BASE_MODEL_HEADER",
        f"the header of {name} is not sound: {why}",
        "restore the weights from their source",
    )


def _refuse(code: str, sentence: str, hint: str) -> NoReturn:
    raise BadInputError(code, sentence, hint) from None
