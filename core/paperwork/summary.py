"""What a person reads before signing: a paper in words, in one language, and the digests that the signature is about.

For: ``sekisho legal sign`` and ``sekisho site sign-roster``. Not for: pages (governance/evidence/page.py) or the file
itself, which is what is signed; a summary helps to see that it is the right one.

A policy is shown as the rendering that the signature binds (governance/policy/signoff.py), and a later version of it
with what becomes allowed and what is no longer, against the version before.
"""

from __future__ import annotations

from datetime import datetime
from functools import cache

from ...governance.language import Catalogue, Language
from ...governance.policy.compare import compare
from ...governance.policy.lint import lint
from ...governance.policy.policy import Policy
from ...governance.policy.signoff import rendering
from ...governance.provenance.disclosure import BaseModelRecord
from ...governance.signing.envelope import write_time
from ...governance.signing.roster import Roster
from ...governance.vocabulary import known, label
from ..study import Study
from .decisions import to_decide
from .difference import difference
from .paper import Paper
from .succession import changes

HOUSE = __name__.removesuffix(".paperwork.summary")


@cache
def _texts() -> Catalogue:
    return Catalogue.load(HOUSE, "texts")


def summary(paper: Paper, language: Language, *, until: datetime, now: datetime) -> list[str]:
    """The paper in words, what is doubtful about it, then what is signed, and until when the signature would hold."""
    content = paper.content
    if isinstance(content, Study):
        lines = _study(content, language)
    elif isinstance(content, BaseModelRecord):
        lines = _base_model(content, language)
    else:
        lines = [*_policy(content, paper.before, language), *_remarks(content, now, language)]
    left = to_decide(paper.text)
    if left:
        lines.append(_say("sign.decide", language, number=left))
    return [
        *lines,
        _say("sign.bytes", language, digest=paper.bytes_digest),
        _say("sign.canonical", language, digest=paper.canonical_digest),
        *_shown(paper, language),
        _say("sign.until", language, expires=write_time(until)),
    ]


def question(paper: Paper, person: str, role: str, digits: int, language: Language) -> str:
    """What the person is asked, who answers with the first digits of the file's digest."""
    return _say("sign.question", language, paper=paper.name, person=person, role=_term("roles", role, language),
                number=digits)  # fmt: skip


def no_in_words(paper: Paper, person: str, role: str, *, reject: bool, language: Language) -> list[str]:
    """What a person signs who takes an approval back, or says no, and what follows from it."""
    kind = "reject" if reject else "revoke"
    return [
        _say(f"{kind}.what", language, person=person, paper=paper.name, role=_term("roles", role, language),
             digest=paper.bytes_digest),
        _say("revoke.effect", language),
    ]  # fmt: skip


def roster_summary(roster: Roster, language: Language) -> list[str]:
    """Who takes part and who signs for what."""
    times = {"created": write_time(roster.created), "expires": write_time(roster.expires)}
    lines = [_say("roster.what", language, version=roster.version, **times)]
    for party in roster.parties:
        kind, name = _say(f"kind.{party.kind}", language), party.name[language]
        lines.append(
            _say(
                "roster.party", language, kind=kind, id=party.id, name=name, controller=party.controller,
                country=_term("countries", party.country, language), public=party.key.to_text(),
                demo=_say("roster.demo", language) if party.demo else "",
            )
        )  # fmt: skip
    for person in roster.people:
        acts = _say("roster.acts", language, sites=", ".join(person.acts_for)) if person.acts_for else ""
        roles = ", ".join(_term("roles", role, language) for role in person.roles)
        demo = _say("roster.demo", language) if person.demo else ""
        keys = ", ".join(key.to_text() for key in person.keys)
        lines.append(
            _say(
                "roster.person", language, pseudonym=person.pseudonym, roles=roles, acts_for=acts,
                public=keys, demo=demo,
            )
        )  # fmt: skip
    needed = ", ".join(f"{_term('roles', role, language)} {number}" for role, number in roster.roles.items())
    return [
        *lines,
        _say("roster.keys", language),
        _say("roster.threshold", language, roles=needed),
        _say("sign.bytes", language, digest=roster.fingerprint),
    ]


def succession_summary(old: Roster, new: Roster, language: Language) -> list[str]:
    """What a version of the roster changes in the one before it, and then all of it."""
    lines = [_say("succession.what", language, old=old.version, new=new.version)]
    for change in changes(old, new):
        how = "changed" if change.old and change.new else "added" if change.new else "removed"
        values = {side: value for side, value in (("old", change.old), ("new", change.new)) if value}
        name = _term("roles", change.name, language) if change.kind == "threshold" else change.name
        kind = _say(f"succession.{change.kind}", language)
        lines.append("  " + _say(f"succession.{how}", language, kind=kind, name=name, **values))
    if len(lines) == 1:
        lines.append("  " + _say("succession.nothing", language))
    return [*lines, _say("succession.both", language), *roster_summary(new, language)]


def _shown(paper: Paper, language: Language) -> list[str]:
    """The digests of what was shown, which an approval of a policy binds as well."""
    if paper.shown is None:
        return []
    renderings = {"renderer": paper.shown.renderer, "english": paper.shown.en, "japanese": paper.shown.ja}
    lines = [_say("sign.shown", language, **renderings)]
    if paper.shown.comparison is not None:
        lines.append(_say("sign.comparison", language, digest=paper.shown.comparison))
    return lines


def _policy(policy: Policy, before: Policy | None, language: Language) -> list[str]:
    lines = rendering(policy, language).splitlines()
    if before is not None:
        lines += ["", *difference(compare(before, policy), before, policy, language)]
    return [*lines, ""]


def _remarks(policy: Policy, now: datetime, language: Language) -> list[str]:
    """What a careful colleague would point out before somebody signs; lesser notes are for ``sekisho legal lint``."""
    return [
        _say(f"lint.{remark.level}" if remark.clause else f"lint.whole-{remark.level}", language,
             clause=remark.clause or "", text=remark.text[language])
        for remark in lint(policy, now=now)
        if remark.level != "note"
    ]  # fmt: skip


def _study(study: Study, language: Language) -> list[str]:
    def terms(kind: str, values: tuple[str, ...]) -> str:
        return ", ".join(_term(kind, value, language) for value in values) or "-"

    model, value, cost = study.base_model, study.value, study.cost
    people = ", ".join(f"{site} {study.subjects[site]}" for site in study.sites)
    drop = {"minimum": study.minimum_sites} if study.on_drop == "continue" else {}
    lines = [
        _say("study.what", language, id=study.id, title=study.title[language]),
        _say("study.question", language, question=study.question[language]),
        _say("study.asked", language, requester=study.requester, stage=_term("stages", study.stage, language),
             purpose=_term("purposes", study.purpose, language)),
        _texts().render("stages.signed", language, stage=_term("stages", study.stage, language),
                        **{name: str(cap) for name, cap in study.current_stage.caps.ordered()}),
        _say("study.sites", language, sites=", ".join(study.sites), minimum=study.minimum_sites,
             observers=study.observers),
        _say("study.people", language, unit=_term("units", study.unit, language), subjects=people,
             records=study.records_per_subject),
        _say("study.once", language, number=study.max_sites_per_subject),
        _say("study.consents", language, scope=study.legal_basis_scope),
        _say(f"study.drop-{study.on_drop}", language, **drop),
        _say("study.test", language, file=study.test_set.file, digest=study.test_set.digest),
        _say("study.model", language, name=model.name, licence=model.licence, digest=model.digest,
             disclosure=_term("disclosure_levels", model.disclosure, language)),
        *_study_runs(study, language),
        _say("study.release", language, recipients=terms("recipients", study.recipients),
             uses=terms("downstream_uses", study.downstream_uses), licence=study.release_licence),
    ]  # fmt: skip
    lines += [
        _say("study.measure", language, name=_say(f"metric.{measure.name}", language),
             method=_term("methods", measure.method, language), target=measure.target, text=measure.text[language])
        for measure in study.measures
    ]  # fmt: skip
    return [
        *lines,
        _say("study.money", language, count=value.reviews_per_year, minutes=value.minutes_saved_per_review,
             share=value.share_handled, hour=value.cost_per_hour, currency=value.currency, pilot=cost.pilot,
             yearly=cost.yearly, threshold=study.roi_threshold),
        _say("study.kept", language, years=study.audit_years),
    ]  # fmt: skip


def _study_runs(study: Study, language: Language) -> list[str]:
    """What each method may cost, what they may cost together, and what every site trains for itself afterwards."""
    unit = _say(f"study.each-{study.unit}", language)
    methods = study.methods.values()
    lines = [
        _say("study.method", language, method=_term("methods", name, language), epsilon=method.epsilon,
             delta=f"{method.delta:f}", steps=method.steps, allowance=method.allowance, unit=unit)
        for name, method in study.methods.items()
    ]  # fmt: skip
    if len(methods) > 1:
        lines.append(
            _say("study.together", language, unit=unit, sum=sum(method.epsilon for method in methods),
                 sum_delta=f"{sum(method.delta for method in methods):f}")
        )  # fmt: skip
    return [*lines, _say("study.personal" if study.personal_heads else "study.no-personal", language)]


def _base_model(record: BaseModelRecord, language: Language) -> list[str]:
    level = _term("disclosure_levels", str(record.disclosure), language)
    answers = [
        _say("model.answer", language, question=_say(f"question.{question}", language),
             status=_say(f"status.{answer.status}", language), text=answer.text[language])
        for question, answer in record.training_data.answers()
    ]  # fmt: skip
    times = {"reviewed": write_time(record.reviewed_at), "expires": write_time(record.review_expires)}
    return [
        _say("model.what", language, name=record.name, version=record.version, provider=record.provider,
             source=record.source),
        _say("model.digest", language, digest=record.digest),
        _say("model.licence", language, licence=record.licence, disclosure=level),
        *(_say("model.restriction", language, text=text[language]) for text in record.use_restrictions),
        *answers,
        *(_say("model.risk", language, text=text[language]) for text in record.known_risks),
        _say("model.review", language, **times),
    ]  # fmt: skip


def _term(kind: str, term: str, language: Language) -> str:
    return label(kind, term)[language] if known(kind, term) else term


def _say(key: str, language: Language, **values: object) -> str:
    return _texts().render(f"paperwork.{key}", language, **{name: str(value) for name, value in values.items()})
