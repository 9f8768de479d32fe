"""Who stands in a roster: parties (organisations' installations) and people (who sign), as frozen values.

For: the roster and whatever reads one. Not for: reading a document (``roster_document``), or who accepted it
(``succession``). People appear as pseudonyms.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ..language import Text
from .keys import PublicKey

KNOWN_ROLES = frozenset({"legal", "it", "business", "compliance", "data-protection", "ethics", "risk", "works-council"})
REQUIRED_ROLES = ("legal", "it")   # nothing touches data before both have approved


class PartyKind(StrEnum):
    """What a party is to a run."""

    SITE = "site"
    COORDINATOR = "coordinator"


@dataclass(frozen=True)
class Party:
    """An organisation's installation; ``controller`` is the legal person behind it, and may have several."""

    id: str
    name: Text
    kind: PartyKind
    controller: str
    country: str
    key: PublicKey
    demo: bool


@dataclass(frozen=True)
class Person:
    """Someone who signs, under a pseudonym; ``acts_for`` names the sites whose own papers that person may sign."""

    pseudonym: str
    roles: tuple[str, ...]
    keys: tuple[PublicKey, ...]
    demo: bool
    acts_for: tuple[str, ...] = ()
