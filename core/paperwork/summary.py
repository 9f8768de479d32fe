"""What a person reads before signing: a paper in words, in one language, and the digests that the signature is about.

For: ``sekisho legal sign`` and ``sekisho site sign-roster``. Not for: pages (governance/evidence/page.py) or the file
itself, which is what is signed; a summary helps to see that it is the right one.

A policy is shown as the rendering that the signature binds (governance/policy/signoff.py), and a later version of it
with what becomes allowed and what is no longer, against the version before.
"""

from __future__ import annotations

from datetime import datetime

from ...governance.language import Language
from ...governance.policy.compare import compare
from ...governance.policy.lint import lint
from ...governance.policy.policy import Policy
from ...governance.policy.signoff import rendering
from ...governance.policy.words import cited
from ...governance.provenance.disclosure import BaseModelRecord
from ...governance.provenance.release import ReleaseRecord
from ...governance.signing.envelope import write_time
from ...governance.signing.roster import Roster
from ..study import Study
from .decisions import to_decide
from .difference import difference
from .paper import Paper
from .release_summary import release_summary
from .study_summary import study_summary
from .succession import changes
from .words import say, term


def summary(paper: Paper, language: Language, *, until: datetime, now: datetime) -> list[str]:
    """The paper in words, what is doubtful about it, then what is signed, and until when the signature would hold."""
    content = paper.content
    if isinstance(content, Study):
        lines = study_summary(content, language)
    elif isinstance(content, BaseModelRecord):
        lines = _base_model(content, language)
    elif isinstance(content, ReleaseRecord):
        lines = release_summary(content, language)
    else:
        lines = [*_policy(content, paper.before, language), *_remarks(content, now, language)]
    left = to_decide(paper.text)
    if left:
        lines.append(say("sign.decide", language, number=left))
    return [
        *lines,
        say("sign.bytes", language, digest=paper.bytes_digest),
        say("sign.canonical", language, digest=paper.canonical_digest),
        *_shown(paper, language),
        say("sign.until", language, expires=write_time(until)),
    ]


def question(paper: Paper, person: str, role: str, digits: int, language: Language) -> str:
    """What the person is asked, who answers with the first digits of the file's digest."""
    return say("sign.question", language, paper=paper.name, person=person, role=term("roles", role, language),
                number=digits)  # fmt: skip


def no_in_words(paper: Paper, person: str, role: str, *, reject: bool, language: Language) -> list[str]:
    """What a person signs who takes an approval back, or says no, and what follows from it."""
    kind = "reject" if reject else "revoke"
    return [
        say(f"{kind}.what", language, person=person, paper=paper.name, role=term("roles", role, language),
             digest=paper.bytes_digest),
        say("revoke.effect", language),
    ]  # fmt: skip


def roster_summary(roster: Roster, language: Language) -> list[str]:
    """Who takes part and who signs for what."""
    times = {"created": write_time(roster.created), "expires": write_time(roster.expires)}
    lines = [say("roster.what", language, version=roster.version, **times)]
    for party in roster.parties:
        kind, name = say(f"kind.{party.kind}", language), party.name[language]
        lines.append(
            say(
                "roster.party", language, kind=kind, id=party.id, name=name, controller=party.controller,
                country=term("countries", party.country, language), public=party.key.to_text(),
                demo=say("roster.demo", language) if party.demo else "",
            )
        )  # fmt: skip
    for person in roster.people:
        acts = say("roster.acts", language, sites=", ".join(person.acts_for)) if person.acts_for else ""
        roles = ", ".join(term("roles", role, language) for role in person.roles)
        demo = say("roster.demo", language) if person.demo else ""
        keys = ", ".join(key.to_text() for key in person.keys)
        lines.append(
            say(
                "roster.person", language, pseudonym=person.pseudonym, roles=roles, acts_for=acts,
                public=keys, demo=demo,
            )
        )  # fmt: skip
    needed = ", ".join(f"{term('roles', role, language)} {number}" for role, number in roster.roles.items())
    return [
        *lines,
        say("roster.keys", language),
        say("roster.threshold", language, roles=needed),
        say("sign.bytes", language, digest=roster.fingerprint),
    ]


def succession_summary(old: Roster, new: Roster, language: Language) -> list[str]:
    """What a version of the roster changes in the one before it, and then all of it."""
    lines = [say("succession.what", language, old=old.version, new=new.version)]
    for change in changes(old, new):
        how = "changed" if change.old and change.new else "added" if change.new else "removed"
        values = {side: value for side, value in (("old", change.old), ("new", change.new)) if value}
        name = term("roles", change.name, language) if change.kind == "threshold" else change.name
        kind = say(f"succession.{change.kind}", language)
        lines.append("  " + say(f"succession.{how}", language, kind=kind, name=name, **values))
    if len(lines) == 1:
        lines.append("  " + say("succession.nothing", language))
    return [*lines, say("succession.both", language), *roster_summary(new, language)]


def _shown(paper: Paper, language: Language) -> list[str]:
    """The digests of what was shown, which an approval of a policy binds as well."""
    if paper.shown is None:
        return []
    renderings = {"renderer": paper.shown.renderer, "english": paper.shown.en, "japanese": paper.shown.ja}
    lines = [say("sign.shown", language, **renderings)]
    if paper.shown.comparison is not None:
        lines.append(say("sign.comparison", language, digest=paper.shown.comparison))
    return lines


def _policy(policy: Policy, before: Policy | None, language: Language) -> list[str]:
    lines = rendering(policy, language).splitlines()
    if before is not None:
        lines += ["", *difference(compare(before, policy), before, policy, language)]
    return [*lines, ""]


def _remarks(policy: Policy, now: datetime, language: Language) -> list[str]:
    """What a careful colleague would point out before somebody signs; lesser notes are for ``sekisho legal lint``."""
    return [
        say(f"lint.{remark.level}" if remark.clause else f"lint.whole-{remark.level}", language,
             clause=cited(remark.clause, language) if remark.clause else "", text=remark.text[language])
        for remark in lint(policy, now=now)
        if remark.level != "note"
    ]  # fmt: skip


def _base_model(record: BaseModelRecord, language: Language) -> list[str]:
    level = term("disclosure_levels", str(record.disclosure), language)
    answers = [
        say("model.answer", language, question=say(f"question.{question}", language),
             status=say(f"status.{answer.status}", language), text=answer.text[language])
        for question, answer in record.training_data.answers()
    ]  # fmt: skip
    times = {"reviewed": write_time(record.reviewed_at), "expires": write_time(record.review_expires)}
    return [
        say("model.what", language, name=record.name, version=record.version, provider=record.provider,
             source=record.source),
        say("model.digest", language, digest=record.digest),
        say("model.licence", language, licence=record.licence, disclosure=level),
        *(say("model.restriction", language, text=text[language]) for text in record.use_restrictions),
        *answers,
        *(say("model.risk", language, text=text[language]) for text in record.known_risks),
        say("model.review", language, **times),
    ]  # fmt: skip
