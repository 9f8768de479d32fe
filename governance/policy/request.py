"""What is asked: facts by name, each with its value and the source that vouches for it.

For: handing a decision everything that it may look at. Not for: judging a fact (clause.py declares which
source a field demands, decide.py holds it against the field), or reading anything.

    Request({"cohort.sites": Fact(5, "roster"), ...}) -> decide(policy, request)

A request refuses nothing. A fact that is absent, None, of another type or from another source fails its
clause, each under its own code, so that a decision always says what was wrong with it.

Values: text; whole number; Decimal; yes or no; frozenset of text; datetime with zone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

from ..canonical import digest
from .lattice import write

# Who can vouch for a fact. Only "study" is the word of somebody outside the site.
SOURCES = ("clock", "roster", "site-consent", "site-intake", "site-ledger", "site-runtime", "study")


@dataclass(frozen=True)
class Fact:
    """One thing known at this moment, and who says so."""

    value: Any
    source: str


class Request:
    """Facts by name; immutable."""

    def __init__(self, facts: Mapping[str, Fact]) -> None:
        self._facts: Mapping[str, Fact] = MappingProxyType(dict(facts))

    @property
    def facts(self) -> Mapping[str, Fact]:
        """All facts, read-only."""
        return self._facts

    def get(self, name: str) -> Fact | None:
        """The fact, or None where it is absent or its value is not known."""
        fact = self._facts.get(name)
        return None if fact is None or fact.value is None else fact

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Request) and dict(self._facts) == dict(other._facts)

    def __hash__(self) -> int:
        return hash(self.digest)

    def to_json(self) -> dict[str, dict[str, str]]:
        """Every fact as text, with its source; sets are sorted, so equal requests are written alike."""
        return {name: {"value": write(fact.value), "source": fact.source} for name, fact in self._ordered()}

    def _ordered(self) -> list[tuple[str, Fact]]:
        return sorted(self._facts.items(), key=lambda item: item[0])

    @cached_property
    def digest(self) -> str:
        """Digest of the request's JSON form."""
        return digest(self.to_json())
