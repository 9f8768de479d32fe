"""A refusal of a release or of a use by its code, in the words of the catalogue (texts/release.toml).

For: release.py, conditions.py and whoever shows a code to people in their language. Not for: deciding.

    refusal("USE_EXPIRED", of="2027-11-01") -> Refused;   words("USE_EXPIRED", "ja") -> sentence and hint
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from ..errors import Refused
from ..language import Catalogue, Language

HOUSE = __name__.removesuffix(".provenance.refusing")


class Worded(Refused):
    """A refusal that can be told in each language; ``str()`` of it is English."""

    def __init__(self, code: str, values: Mapping[str, str], language: Language = "en") -> None:
        super().__init__(code, *words(code, language, **values))
        self._values = dict(values)

    def told_in(self, language: Language) -> Worded:
        """The same refusal with its sentence and hint in ``language``."""
        return Worded(self.code, self._values, language)


def refusal(code: str, **values: str) -> Refused:
    """The refusal of this code in English; ``values`` fill the places of its text."""
    return Worded(code, values)


def words(code: str, language: Language, **values: str) -> tuple[str, str]:
    """Sentence and hint of a code. Raises ``BadDocumentError`` TEXT_MISSING for one that has none."""
    filled = {"of": "", "name": "", **values}
    sentence, hint = (_texts().render(f"release.{code}.{part}", language, **filled) for part in ("reason", "fix"))
    return sentence, hint


@cache
def _texts() -> Catalogue:
    return Catalogue.load(HOUSE, "texts")
