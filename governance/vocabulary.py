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
from functools import cache
from importlib.resources import files

from pydantic import AfterValidator

from .. import policies
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


def term_of(kind: str) -> AfterValidator:
    """For Pydantic fields: ``Annotated[str, term_of("purposes")]`` accepts known terms only."""

    def check(term: str) -> str:
        if not known(kind, term):
            raise fault("UNKNOWN_TERM", *_refusal(kind, term))
        return term

    return AfterValidator(check)


def _refusal(kind: str, term: str) -> tuple[str, str]:
    close = difflib.get_close_matches(term, terms(kind), n=1)
    suggestion = f"did you mean {close[0]}? " if close else ""
    return (f"the term {term[:80]!r} is not in the vocabulary {kind}", f"{suggestion}see policies/terms/{kind}.toml")
