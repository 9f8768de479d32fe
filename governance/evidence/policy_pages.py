"""A policy, or a comparison of two, as one self-contained HTML page in both languages.

For: ``sekisho legal show --html`` and ``sekisho legal diff --html``. Not for: what stands on them (policy/reading.py,
policy/changes.py, policy/explain.py), or writing the file. Loads jinja2; the commands import it when a page is wanted.

    policy_page(policy, signatures) -> HTML          comparison_page(comparison, old, new) -> HTML
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..language import Language
from ..policy.changes import SIGNS, Changes, Example, FactLine, FieldRow, changes, header_words, verdict_words
from ..policy.compare import Comparison
from ..policy.explain import explanations
from ..policy.policy import Policy
from ..policy.reading import Checked, Line, Signatures, checks, role_name, summary
from ..policy.sides import Sides
from ..policy.words import catalogue, joined
from .page import Page, Words


@dataclass(frozen=True)
class PolicyView:
    """What of a policy differs by language, beside its own texts."""

    summary: tuple[Line, ...]
    checks: tuple[Checked, ...]
    signed: tuple[tuple[str, str], ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class ComparisonView:
    """What of a comparison differs by language.

    ``not_judged`` is where it stands, and both versions of it; ``examples`` a row a fact, a column an example.
    """

    say: Sides
    changes: Changes
    verdict: str
    header_lead: str
    unchanged: str
    has_marks: bool
    not_judged: tuple[tuple[str, FieldRow], ...]
    examples: tuple[tuple[str, tuple[FactLine | None, ...]], ...]


def policy_page(policy: Policy, signatures: Signatures, *, first: Language = "en") -> str:
    """The HTML of one policy; ``first`` is the language that is shown when it is opened."""
    provisions = explanations(policy)
    always, grants = provisions[: len(policy.always)], provisions[len(policy.always) :]
    return _page("policy").render(
        "policy.html", title=policy.dataset.title, views=lambda t: _policy_view(policy, signatures, t), first=first,
        policy=policy, always=always, grants=grants, signatures=signatures,
    )  # fmt: skip


def _policy_view(policy: Policy, signatures: Signatures, t: Words) -> PolicyView:
    return PolicyView(
        summary=summary(policy, t.language),
        checks=checks(policy, t.language),
        signed=tuple((person, role_name(role, t.language)) for person, role in signatures.people),
        missing=tuple(role_name(role, t.language) for role in signatures.missing),
    )


def comparison_page(comparison: Comparison, old: Policy, new: Policy, *, first: Language = "en") -> str:
    """The HTML of a comparison of ``old`` with ``new``; ``first`` is the language that is shown when it is opened."""
    return _page("comparison").render(
        "comparison.html", title=new.dataset.title, views=lambda t: _comparison_view(comparison, old, new, t),
        first=first, comparison=comparison, old=old, new=new, signs=SIGNS,
    )  # fmt: skip


def _comparison_view(comparison: Comparison, old: Policy, new: Policy, t: Words) -> ComparisonView:
    found = changes(comparison, old, new, t.language)
    say = Sides(old, new, t.language)
    recorded = [(f"{row.id}. {row.name}", field) for row in found.changed for field in row.recorded]
    return ComparisonView(
        say=say,
        changes=found,
        verdict=verdict_words(comparison, found, say),
        header_lead=header_words(found, say),
        unchanged=joined((row.id for row in found.unchanged), t.language),
        has_marks=any(row.prose or row.fields for row in found.changed),
        not_judged=(*((say("heading"), field) for field in found.header), *recorded),
        examples=tuple(_side_by_side([one for one in (found.allowed, found.forbidden) if one is not None])),
    )


def _side_by_side(examples: list[Example]) -> Iterator[tuple[str, tuple[FactLine | None, ...]]]:
    names = {line.fact: line.name for example in examples for line in example.facts}
    for fact, name in names.items():
        yield name, tuple(example.get(fact) for example in examples)


def _page(part: str) -> Page:
    return Page(catalogue(), prefix=f"reading.{part}.")


