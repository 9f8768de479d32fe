"""What a lawyer wants to see of a policy at a glance, in words of one language: values for a page or a terminal.

For: ``sekisho legal show``. Not for: prose and what the system will enforce, clause by clause (explain.py), laying out
(evidence/policy_pages.py), the text that is signed.

    summary(policy, "en")  -> who may do what with which data, for which purpose, until when, at which privacy loss
    checks(policy, "en")   -> every fact that a clause is held against, what is allowed, and whose word counts
    Signatures             -> who has signed it and whose signature is missing, as found in a study's folder
"""

from __future__ import annotations

from dataclasses import dataclass

from ..language import Language
from .escape import quantities
from .policy import Organisation, Policy, Provision
from .words import allowed, catalogue, field_name, joined, moment, plain, source_words, term


@dataclass(frozen=True)
class Line:
    """A name and what stands behind it."""

    name: str
    text: str


@dataclass(frozen=True)
class Check:
    """One constraint of one clause: what is looked at, what is allowed, who vouches for it."""

    what: str
    allowed: str
    source: str


@dataclass(frozen=True)
class Checked:
    """All constraints of one clause."""

    clause: str
    name: str
    checks: tuple[Check, ...]


@dataclass(frozen=True)
class Signatures:
    """Who approved the policy as it stands: (pseudonym, role); and the roles in which somebody still has to.

    ``ignored`` are the codes of signatures beside the file that do not count, most often because it changed since.
    ``unknown`` is the key of the reason why nothing can be said: the file lies in no study, or its roster is not ready.
    """

    people: tuple[tuple[str, str], ...] = ()
    missing: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    unknown: str = ""


def summary(policy: Policy, language: Language) -> tuple[Line, ...]:
    """The policy on half a page; every line is taken from the fields that are enforced or recorded."""
    header, validity, budget = policy.header, policy.clause("validity"), policy.clause("privacy_budget")
    transfer, basis, approvals = policy.clause("transfer"), policy.clause("legal_basis"), policy.clause("approvals")

    def say(key: str, **values: object) -> str:
        return _say(f"summary.{key}", language, **values)

    def line(key: str, text: str) -> Line:
        return Line(say(f"name.{key}"), text)

    processors = joined((_organisation(one, language) for one in header.parties.processors), language)
    special = say("special" if header.dataset.special_category else "not-special")
    asked = say("consent" if basis.consent.required else "no-consent", scope=basis.consent.scope)
    run, life = budget.per_run, budget.lifetime
    approvers = (
        say("approver", role=plain([role], "roles", language), number=least)
        for role, least in sorted(approvals.at_least.items())
    )
    return (
        line("controller", _organisation(header.parties.controller, language)),
        line("processors", processors),
        line("data", say("data", title=header.dataset.title[language], special=special,
                         categories=plain(sorted(header.dataset.categories), "data_categories", language))),
        line("period", say("period", start=moment(validity.from_, language), until=moment(validity.until, language))),
        *(Line(say("name.grant", id=grant.id), _granted(grant, language)) for grant in policy.grants),
        line("basis", say("basis", bases=plain(sorted(basis.bases), "bases", language), consent=asked)),
        line("loss", say("loss", unit=plain([budget.unit], "units", language),
                         run=f"{run.epsilon:f}", run_delta=f"{run.delta:f}",
                         all=f"{life.epsilon:f}", all_delta=f"{life.delta:f}")),
        line("leaves", say("leaves", what=plain(sorted(transfer.leaves_site), "artefacts", language),
                           where=plain(sorted(transfer.destinations), "countries", language))),
        line("cohort", say("cohort", sites=policy.clause("cohort").min_sites)),
        line("model", joined((model.name for model in policy.clause("base_model").models), language)),
        line("approvals", joined(approvers, language)),
        line("stop", say("stop", roles=plain(sorted(policy.clause("emergency_stop").stop_by), "roles", language))),
        line("rest", say("rest")),
    )  # fmt: skip


def checks(policy: Policy, language: Language) -> tuple[Checked, ...]:
    """One entry a clause and grant, in the order of the file; nothing that is held against a fact is left out."""
    return tuple(_checked(provision, language) for provision in (*policy.always, *policy.grants))


def role_name(role: str, language: Language) -> str:
    """A role with its label."""
    return term(role, "roles", language)


def _checked(provision: Provision, language: Language) -> Checked:
    rows = tuple(
        Check(
            field_name(provision.type, held, language),
            allowed(held.allowed, held.vocabulary, language).text(language),
            source_words(held.source, language),
        )
        for held in quantities(provision.held)
    )
    return Checked(provision.id, catalogue()[f"clauses.{provision.type}.name"][language], rows)


def _granted(provision: Provision, language: Language) -> str:
    terms = {held.field: plain(held.allowed.parts(), held.vocabulary, language) for held in provision.held}
    return _say(
        "summary.grant", language,
        action=terms["action"], purposes=terms["purposes"], methods=terms["methods"], stages=terms["stages"],
        recipients=terms["recipients"], uses=terms["downstream_uses"],
    )  # fmt: skip


def _organisation(one: Organisation, language: Language) -> str:
    country = plain([one.country], "countries", language)
    return _say("summary.organisation", language, name=one.name[language], country=country)


def _say(key: str, language: Language, **values: object) -> str:
    return catalogue().render(f"reading.{key}", language, **{name: str(value) for name, value in values.items()})

