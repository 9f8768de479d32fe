"""The words of a comparison: of two versions of one policy, or of two policies, which are called by their own names.

For: ``sekisho legal diff`` and ``sign``, and the page of a comparison. Not for: comparing (compare.py), what is said of
it (changes.py).

    say = Sides(old, new, "ja")
    say("allowed-none")         "Nothing. Whatever the new version permits, …", or with the names of two companies

Two sites' policies have no old and no new version; to call one of them so would tell its owner that it is out of date.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..language import Language
from .policy import Policy
from .words import catalogue


@dataclass(frozen=True)
class Sides:
    """Speaks of both sides of a comparison in one language."""

    old: Policy
    new: Policy
    language: Language

    def __call__(self, key: str, **values: object) -> str:
        """The text under ``key``; where two policies are compared and it has words of its own for that, those."""
        before, after = self.names
        own = f"reading.between.{key}"
        place = own if self.old.id != self.new.id and own in catalogue() else f"reading.comparison.{key}"
        told = {"before": before, "after": after, **values}
        return catalogue().render(place, self.language, **{name: str(value) for name, value in told.items()})

    @property
    def names(self) -> tuple[str, str]:
        """The controllers; of two policies of one controller, what the policies are called."""
        before, after = (one.header.parties.controller.name[self.language] for one in (self.old, self.new))
        return (before, after) if before != after else (self.old.id, self.new.id)
