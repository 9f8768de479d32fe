"""What the papers of a bundle say, fact by fact: who, what for, on which basis, with what protection, for how long.

For: views_facts.py, which adds what the logs say. Not for: whether it was kept to; an approval is listed where its
signature holds and it counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..language import Text
from ..signing.members import PartyKind
from .material import Material, Paper, as_text, as_words
from .views_table import Pointer
from .views_words import day, named, paper_pointers, term, terms, text


@dataclass(frozen=True)
class Fact:
    """One statement in both languages, and where it is written."""

    text: Text
    pointers: tuple[Pointer, ...]


Facts = tuple[Fact, ...]


def controllers(material: Material) -> Facts:
    """The sites as the roster has them: whose data."""
    where = _roster(material)
    return tuple(
        Fact(text("fact.controller", name=one.name, id=one.controller, country=term("countries", one.country)), where)
        for one in material.roster.parties if one.kind is PartyKind.SITE
    )  # fmt: skip


def processors(material: Material) -> Facts:
    """Who works for them: the coordinator, and whom a policy names."""
    one = material.roster.coordinator
    found = [Fact(text("fact.processor", name=one.name, id=one.id, country=term("countries", one.country)),
                  _roster(material))]
    for maker, policy in material.policies.items():
        for item in policy.at("parties", "processors") or ():
            name = as_text(item.get("name")) if isinstance(item, Mapping) else None
            if name:
                found.append(Fact(text("fact.processor-of", maker=named(material, maker), name=name),
                                  paper_pointers(material, policy)))
    return tuple(found)


def contacts(material: Material) -> Facts:
    """Where each policy says that people may ask."""
    return _of_policies(material, lambda policy: _line(policy, "fact.contact", policy.words("parties", "contact")))


def purposes(material: Material) -> Facts:
    """The purpose of the study, and those that each policy permits."""
    found = []
    if material.study.words("purpose"):
        found.append(Fact(text("fact.purpose-study", purpose=terms("purposes", material.study.words("purpose"))),
                          paper_pointers(material, material.study)))
    return (*found, *_of_policies(material, lambda policy: _granted(policy, "purposes", "purposes", "fact.purpose")))


def question(material: Material) -> Facts:
    """What the study asks."""
    question = material.study.text("question")
    return (Fact(question, paper_pointers(material, material.study)),) if question else ()


def tasks(material: Material) -> Facts:
    """What kind of model is trained."""
    task = material.study.words("task")
    where = paper_pointers(material, material.study)
    return (Fact(text("fact.task", task=terms("tasks", task)), where),) if task else ()


def bases(material: Material) -> Facts:
    """On which legal bases each maker says that it acts."""
    def said(policy: Paper) -> Text | None:
        clause = policy.clause("legal_basis")
        if not clause.words("bases"):
            return None
        scope = clause.words("consent", "scope")
        return text("fact.basis", bases=terms("bases", clause.words("bases")), scope=scope[0] if scope else "–")

    return _of_policies(material, said)


def categories(material: Material) -> Facts:
    """Which kinds of data."""
    def said(policy: Paper) -> Text | None:
        names, special = policy.words("dataset", "categories"), policy.at("dataset", "special_category")
        if not names:
            return None
        title = policy.text("dataset", "title") or text("not-stated")
        return text("fact.categories-special" if special is True else "fact.categories", title=title,
                    categories=terms("data_categories", names))

    return _of_policies(material, said)


def granted_recipients(material: Material) -> Facts:
    """To whom each policy permits a release."""
    return _of_policies(
        material, lambda policy: _granted(policy, "recipients", "recipients", "fact.recipients", action="release"))


def transfers(material: Material) -> Facts:
    """Where what may leave a site may go."""
    def said(policy: Paper) -> Text | None:
        clause = policy.clause("transfer")
        if not clause.words("destinations"):
            return None
        return text("fact.transfer", countries=terms("countries", clause.words("destinations")),
                    what=terms("artefacts", clause.words("leaves_site")))

    return _of_policies(material, said)


def retention(material: Material) -> Facts:
    """How long evidence is kept."""
    return _of_policies(material, lambda policy: _line(
        policy, "fact.retention", policy.clause("retention").words("audit_years")))


def on_withdrawal(material: Material) -> Facts:
    """What becomes of an adapter when somebody withdraws."""
    def said(policy: Paper) -> Text | None:
        effect = policy.clause("retention").words("on_withdrawal", "released_adapter")
        return text("fact.on-withdrawal", effect=terms("withdrawal_effects", effect)) if effect else None

    return _of_policies(material, said)


def measures(material: Material) -> Facts:
    """Technical measures that each policy demands."""
    def said(policy: Paper) -> Text | None:
        measures, cohort = policy.clause("encryption").words("require"), policy.clause("cohort").words("min_sites")
        if not measures:
            return None
        return text("fact.measures", measures=terms("measures", measures), sites=cohort[0] if cohort else "–")

    return _of_policies(material, said)


def guarantee(material: Material) -> Facts:
    """The bound on what is learned of one person."""
    def said(policy: Paper) -> Text | None:
        clause = policy.clause("privacy_budget")
        values = (clause.words("per_run", "epsilon"), clause.words("per_run", "delta"),
                  clause.words("lifetime", "epsilon"), clause.words("lifetime", "delta"), clause.words("unit"))
        if not all(values):
            return None
        run, run_delta, life, life_delta, unit = (one[0] for one in values)
        return text("fact.guarantee", run=run, run_delta=run_delta, life=life, life_delta=life_delta,
                    unit=term("units", unit))

    return _of_policies(material, said)


def base_model(material: Material) -> Facts:
    """The foundation model, as its record describes it."""
    paper = material.base_model
    if not paper.words("name"):
        return ()
    where = paper_pointers(material, paper)
    found = [Fact(text("fact.base-model", name=paper.words("name")[0],
                       licence=terms("licences", paper.words("licence")),
                       disclosure=terms("disclosure_levels", paper.words("disclosure"))), where)]
    return (*found, *(Fact(said, where) for item in paper.at("known_risks") or () if (said := as_text(item))))


def methods(material: Material) -> Facts:
    """How it is trained."""
    methods = material.study.at("methods")
    where = paper_pointers(material, material.study)
    return tuple(
        Fact(text("fact.method", method=term("methods", str(name)), steps=_first(one, "steps"),
                  epsilon=_first(one, "epsilon"), delta=_first(one, "delta")), where)
        for name, one in (methods.items() if isinstance(methods, Mapping) else ())
    )  # fmt: skip


def targets(material: Material) -> Facts:
    """What counts as success."""
    where, found = paper_pointers(material, material.study), []
    for one in material.study.at("measures") or ():
        said = as_text(one.get("text")) if isinstance(one, Mapping) else None
        if said:
            found.append(Fact(text("fact.target", name=_first(one, "name"), method=_first(one, "method"),
                                   target=_first(one, "target"), said=said), where))
    return tuple(found)


def oversight(material: Material) -> Facts:
    """Who may stop, and who may let it go on."""
    def said(policy: Paper) -> Text | None:
        clause = policy.clause("emergency_stop")
        stop, restart = clause.words("stop_by"), clause.words("restart_by")
        return text("fact.stop", stop=terms("roles", stop), restart=terms("roles", restart)) if stop else None

    return _of_policies(material, said)


def approvals(material: Material) -> Facts:
    """Who allowed it."""
    return tuple(
        Fact(text("fact.approval", day=day(one.issued), role=term("roles", one.role), person=one.person,
                  paper=one.paper), (Pointer("", one.line, one.paper + ".dsse.json"),))
        for one in material.approvals if one.counts
    )  # fmt: skip


def _of_policies(material: Material, said: Callable[[Paper], Text | None]) -> Facts:
    found = []
    for maker, policy in sorted(material.policies.items()):
        line = said(policy)
        if line:
            found.append(Fact(text("fact.of-maker", maker=named(material, maker), said=line),
                              paper_pointers(material, policy)))
    return tuple(found)


def _granted(policy: Paper, field: str, vocabulary: str, key: str, action: str = "") -> Text | None:
    grants = [one for one in policy.grants() if not action or one.words("action") == (action,)]
    names = tuple(dict.fromkeys(word for one in grants for word in one.words(field)))
    return text(key, terms=terms(vocabulary, names)) if names else None


def _line(_: Paper, key: str, words: tuple[str, ...]) -> Text | None:
    return text(key, value=words[0]) if words else None


def _first(value: object, name: str) -> str:
    words = as_words(value.get(name)) if isinstance(value, Mapping) else ()
    return words[0] if words else "–"


def _roster(material: Material) -> tuple[Pointer, ...]:
    return Pointer.to(*material.about(material.roster.fingerprint)) or (Pointer("", 1, "roster.yaml"),)


PAPER_FACTS: Mapping[str, Callable[[Material], Facts]] = {
    "controllers": controllers,
    "processors": processors,
    "contacts": contacts,
    "purposes": purposes,
    "question": question,
    "tasks": tasks,
    "bases": bases,
    "categories": categories,
    "transfers": transfers,
    "retention": retention,
    "on-withdrawal": on_withdrawal,
    "measures": measures,
    "guarantee": guarantee,
    "base-model": base_model,
    "methods": methods,
    "targets": targets,
    "oversight": oversight,
    "approvals": approvals,
}
