"""The refusal of a file in the reader's language: what its code means and what to do, beside the sentence of the case.

For: commands that take a language. Not for: finding what is wrong (document.py, policy/policy.py), where it stands.

    in_language(error, "ja") -> BadDocumentError with the same code and place
"""

from __future__ import annotations

from functools import cache

from .errors import BadDocumentError
from .language import Catalogue, Language


@cache
def _texts() -> Catalogue:
    return Catalogue.load(__package__, "texts")


def in_language(error: BadDocumentError, language: Language) -> BadDocumentError:
    """``error`` itself in English, and where the catalogue does not know its code."""
    reason, fix = (f"refusals.{error.code}.{part}" for part in ("reason", "fix"))
    if language == "en" or reason not in _texts():
        return error
    return BadDocumentError(
        error.code,
        f"{_texts()[reason][language]}（{error.sentence}）",
        f"{_texts()[fix][language]}（{error.hint}）",
        file=error.file,
        line=error.line,
        column=error.column,
    )
