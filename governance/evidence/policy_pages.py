"""A policy, or a comparison of two, as one self-contained HTML page in both languages.

For: ``sekisho legal show --html`` and ``sekisho legal diff --html``. Not for: what stands on them (policy/reading.py,
policy/changes.py, policy/explain.py), or writing the file. Loads jinja2; the commands import it when a page is wanted.

    policy_page(policy, signatures) -> HTML
"""

from __future__ import annotations

from dataclasses import dataclass

from ..language import Language
from ..policy.explain import explanations
from ..policy.policy import Policy
from ..policy.reading import Checked, Line, Signatures, checks, role_name, summary
from ..policy.words import catalogue
from .page import Page, Words


@dataclass(frozen=True)
class PolicyView:
    """What of a policy differs by language, beside its own texts."""

    summary: tuple[Line, ...]
    checks: tuple[Checked, ...]
    signed: tuple[tuple[str, str], ...]
    missing: tuple[str, ...]


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


def _page(part: str) -> Page:
    return Page(catalogue(), prefix=f"reading.{part}.")


