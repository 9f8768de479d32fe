"""Frozen vocabularies: the terms that documents may use, each with a label in both languages.

Not for: what a clause does with a term (policy/), free text.

    known("purposes", "dpv:ScientificResearch") -> label("purposes", "dpv:ScientificResearch") -> Text

One file per kind in policies/terms/. A term that is not there refuses the document that uses it: nobody can
consent to, or forbid, a word without a meaning. Sources: W3C Data Privacy Vocabulary 2 (dpv:, eu-gdpr:),
SPDX licence identifiers, ISO 3166-1 country codes, and own terms where these have none.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema
from pydantic_core.core_schema import no_info_after_validator_function

from .. import policies
from .document import Document, Path
from .errors import BadDocumentError
from .fields import fault
from .language import Text


@cache
def terms(kind: str) -> Mapping[str, Text]:
    """All terms of one kind, in the file's order (scales are ordered weakest first)."""
    path = files(policies).joinpath("terms", f"{kind}.toml")
    if not kind.isidentifier() or not path.is_file():
        raise BadDocumentError("UNKNOWN_VOCABULARY", f"there is no vocabulary {kind!r}", "see policies/terms")
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    return {term: Text(en=labels["en"], ja=labels["ja"]) for term, labels in table.items()}


def kinds() -> tuple[str, ...]:
    """The names of all vocabularies, sorted."""
    folder = files(policies).joinpath("terms")
    return tuple(sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml")))


def known(kind: str, term: str) -> bool:
    """Whether the vocabulary has the term, spelt exactly so."""
    return term in terms(kind)


def label(kind: str, term: str) -> Text:
    """The term's label; BadDocumentError UNKNOWN_TERM if there is no such term."""
    if not known(kind, term):
        raise BadDocumentError("UNKNOWN_TERM", *_refusal(kind, term))
    return terms(kind)[term]


@dataclass(frozen=True)
class TermOf:
    """For Pydantic fields: accepts the known terms of one vocabulary, and says in JSON Schema which it is."""

    kind: str

    def check(self, term: str) -> str:
        """The term, if it is known."""
        if not known(self.kind, term):
            raise fault("UNKNOWN_TERM", *_refusal(self.kind, term))
        return term

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Text first, then the vocabulary."""
        return no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, _: CoreSchema, __: GetJsonSchemaHandler) -> dict[str, Any]:
        """Names the vocabulary; policy/schema.py puts its terms in."""
        return {"type": "string", VOCABULARY: self.kind}


VOCABULARY = "x-vocabulary"


def term_of(kind: str) -> TermOf:
    """``Annotated[str, term_of("purposes")]``."""
    return TermOf(kind)


def refuse_unknown(document: Document, kind: str, term: str, path: Path) -> None:
    """Refuse the document at ``path`` unless the vocabulary has the term that stands there."""
    if not known(kind, term):
        document.refuse("UNKNOWN_TERM", *_refusal(kind, term), path)


# What to say of a term of certain vocabularies, beside the nearest known one.
_ADVICE = {
    "countries": "write each country by its two capital letters, e.g. JP, DE; a region such as the EU is no term",
}
MAX_LISTED = 24  # a hint names all terms of a vocabulary that has no more


def _refusal(kind: str, term: str) -> tuple[str, str]:
    named = [known for known, words in terms(kind).items() if term.lower() in (words.en.lower(), words.ja)]
    close = named or difflib.get_close_matches(term, terms(kind), n=1)
    suggestion = f"did you mean {close[0]}? " if close else ""
    if not term.isascii():
        odd = next(character for character in term if not character.isascii())
        suggestion += f"it has {odd!r} (U+{ord(odd):04X}), which is no half-width Latin letter: type the term anew; "
    listed = f"known: {', '.join(terms(kind))}" if len(terms(kind)) <= MAX_LISTED else f"see policies/terms/{kind}.toml"
    return (
        f"the term {term[:80]!r} is not in the vocabulary {kind}",
        suggestion + _ADVICE.get(kind, listed),
    )
