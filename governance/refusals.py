"""The refusal of a file in the reader's language: what its code means and what to do, beside the sentence of the case.

For: commands that take a language. Not for: finding what is wrong (document.py, policy/policy.py), where it stands.

    in_language(error, "ja") -> BadDocumentError with the same code and place
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from .errors import BadDocumentError
from .language import Catalogue, Language


@cache
def _texts() -> Catalogue:
    return Catalogue.load(__package__, "texts")


@cache
def _causes() -> Mapping[str, str]:
    """The sentence of a case -> the key of its own words in the catalogue."""
    keys = [key for key in _texts().keys() if key.startswith("causes.") and key.endswith(".reason")]  # noqa: SIM118  a catalogue is no dictionary
    return {_texts().render(key, "en"): key.removesuffix(".reason") for key in keys}


def in_language(error: BadDocumentError, language: Language) -> BadDocumentError:
    """``error`` itself in English, and where the catalogue does not know its code.

    In another language the case in its own words where the catalogue has them; else what its code means, and in
    brackets the case in English.
    """
    code = f"refusals.{error.code}"
    if language == "en" or f"{code}.reason" not in _texts():
        return error
    cause = _causes().get(error.sentence)
    if cause is not None:
        sentence, hint = (_texts().render(f"{cause}.{part}", language) for part in ("reason", "fix"))
    else:
        sentence = f"{_texts()[f'{code}.reason'][language]}（{error.sentence}）"
        hint = f"{_texts()[f'{code}.fix'][language]}（{error.hint}）"
    return BadDocumentError(
        error.code, sentence, hint, file=error.file, line=error.line, column=error.column
    )
