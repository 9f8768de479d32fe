"""A refusal of a release or of a use by its code, in the words of the catalogue (texts/release.toml).

For: release.py, conditions.py and whoever shows a code to people in their language. Not for: deciding.

    refusal("USE_EXPIRED", of="2027-11-01") -> Refused;   words("USE_EXPIRED", "ja") -> sentence and hint
"""

from __future__ import annotations

from functools import cache

from ..errors import Refused
from ..language import Catalogue, Language

HOUSE = __name__.removesuffix(".provenance.refusing")


def refusal(code: str, **values: str) -> Refused:
    """The refusal of this code in English; ``values`` fill the places of its text."""
    sentence, hint = words(code, "en", **values)
    return Refused(code, sentence, hint)


def words(code: str, language: Language, **values: str) -> tuple[str, str]:
    """Sentence and hint of a code. Raises ``BadDocumentError`` TEXT_MISSING for one that has none."""
    filled = {"of": "", "name": "", **values}
    sentence, hint = (_texts().render(f"release.{code}.{part}", language, **filled) for part in ("reason", "fix"))
    return sentence, hint


@cache
def _texts() -> Catalogue:
    return Catalogue.load(HOUSE, "texts")
