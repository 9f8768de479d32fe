"""The catalogue's texts on paperwork, and terms of vocabularies with their labels, in one language.

For: what people read before signing (summary.py, study_summary.py). Not for: pages, commands' own words.
"""

from __future__ import annotations

from functools import cache

from ...governance.language import Catalogue, Language
from ...governance.vocabulary import known, label

HOUSE = __name__.removesuffix(".paperwork.words")


@cache
def texts() -> Catalogue:
    """The texts of this house."""
    return Catalogue.load(HOUSE, "texts")


def term(kind: str, name: str, language: Language) -> str:
    """The label of a term; what is no term of the vocabulary is repeated as it is."""
    return label(kind, name)[language] if known(kind, name) else name


def say(key: str, language: Language, **values: object) -> str:
    """A text of paperwork.toml with its values, each on one line."""
    return texts().render(f"paperwork.{key}", language, **{name: str(value) for name, value in values.items()})
