"""A base model that was looked at, held against legal's record of it and against policies; and a first record of it.

For: ``sekisho legal intake``. Not for: looking at the folder (core/data/intake.py), signing (signing.py), or deciding a
study: there every clause speaks, here only the clause on base models.

    differences(record, model, now) -> what in the record the files contradict
    verdict(policy, model, record) -> what the policy's clause on base models says to this model
    first_record(model, now) -> text of base-model.yaml, unsigned, for legal to complete

A record may say more than the files do: a provider answers letters. Then it names where that can be read; an answer
that claims more than the files show and names nothing is a difference.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from ...governance.errors import Refused
from ...governance.language import Language
from ...governance.policy.decide import Decision, hold
from ...governance.policy.explain import Denial, denials
from ...governance.policy.policy import Policy
from ...governance.policy.request import Fact, Request
from ...governance.provenance.disclosure import Answer, BaseModelRecord
from ...governance.signing.envelope import write_time
from ..data.packaged import Packaged
from ..data.sources import NO_ASSERTION
from .model import DraftModel, base_model_values
from .template import filled
from .words import say, texts

CLAUSE = "base_model"
SOURCE = "site-intake"  # whose word a policy takes on a base model
REVIEWED_FOR = timedelta(days=365)  # a first record ends like the other papers of a draft
# How much an answer says, least first; "not-applicable" is a judgement, which files do not make.
MUCH = ("undisclosed", "partial", "declared")


@dataclass(frozen=True)
class Difference:
    """One thing in which record and files do not agree, by a stable code; ``field`` is a key of the catalogue."""

    code: str
    field: str
    recorded: str
    found: str

    def name(self, language: Language) -> str:
        """What people call the field."""
        question = self.field.removeprefix("answer.")
        if question != self.field:
            return texts().render("intake.field.answer", language, question=say(f"question.{question}", language))
        return texts()[f"intake.field.{self.field}"][language]


def differences(record: BaseModelRecord, model: DraftModel, now: datetime) -> tuple[Difference, ...]:
    """Everything in ``record`` that the files of ``model`` contradict, the weights first; empty if nothing."""
    found: list[Difference] = []
    if record.digest != model.facts.digest:
        found.append(Difference("RECORD_DIGEST", "digest", record.digest, model.facts.digest))
    if model.facts.licence not in (NO_ASSERTION, record.licence):
        found.append(Difference("RECORD_LICENCE", "licence", record.licence, model.facts.licence))
    if model.packaged is not None and not _same_package(record, model.packaged):
        own = record.repackaged
        says = f"{own.package} {own.version}" if own else "-"
        found.append(Difference("RECORD_REPACKAGED", "repackaged", says, _package(model.packaged)))
    for question, answer in record.training_data.answers():
        shown = model.shown.findings[question].status
        code = _contradicted(answer, shown)
        if code:
            found.append(Difference(code, f"answer.{question}", answer.status, shown))
    try:
        record.check_valid(now)
    except Refused as refused:
        dates = f"{write_time(record.reviewed_at)} - {write_time(record.review_expires)}"
        found.append(Difference(refused.code, "review", dates, write_time(now)))
    return tuple(found)


def as_installed(model: DraftModel) -> tuple[Difference, ...]:
    """The weights of a package that are not those that it was installed with."""
    if model.packaged is None or model.packaged.weights != "changed":
        return ()
    return (Difference("BASE_MODEL_CHANGED", "installed", _package(model.packaged), model.facts.digest),)


@dataclass(frozen=True)
class Verdict:
    """What a policy's clause on base models says; permitted exactly if nothing is denied."""

    policy: str
    denied: tuple[Denial, ...]


def verdict(policy: Policy, model: DraftModel, record: BaseModelRecord | None) -> Verdict:
    """Hold the clause against the measured weights, and against licence and disclosure of the record, if there is one.

    Without a record the files' own word counts: that is what is known before legal has looked.
    """
    facts = {
        "base_model.digest": model.facts.digest,
        "base_model.licence": record.licence if record else model.facts.licence,
        "base_model.disclosure": str(record.disclosure if record else model.facts.disclosure),
    }
    request = Request({name: Fact(value, SOURCE) for name, value in facts.items()})
    results = tuple(
        result for provision in policy.always if provision.type == CLAUSE for result in hold(provision, request)
    )
    decision = Decision(
        permitted=all(result.passed for result in results),
        results=results,
        grant=None,
        nearest_grant=None,
        policy=policy.canonical_digest,
        request=request.digest,
    )
    return Verdict(policy.id, denials(policy, decision))


def first_record(model: DraftModel, now: datetime) -> str:
    """A record that says what the files show and no more, read back as it will be. Raises ``BadDocumentError``."""
    begins = now.replace(hour=0, minute=0, second=0, microsecond=0)
    dates = {"created": write_time(begins), "expires": write_time(begins + REVIEWED_FOR)}
    text = filled("base-model.yaml", base_model_values(model) | dates)
    BaseModelRecord.parse(text.encode("utf-8"), "base-model.yaml")
    return text


def _contradicted(answer: Answer, shown: str) -> str:
    """The code of a difference, or nothing."""
    if answer.status == "not-applicable":
        return "" if answer.sources or shown == "undisclosed" else "RECORD_ANSWER_CONTRADICTED"
    if MUCH.index(answer.status) < MUCH.index(shown):
        return "RECORD_ANSWER_BEHIND"
    if MUCH.index(answer.status) > MUCH.index(shown) and not answer.sources:
        return "RECORD_ANSWER_UNSUPPORTED"
    return ""


def _same_package(record: BaseModelRecord, packaged: Packaged) -> bool:
    own = record.repackaged
    if own is None:
        return False
    return (_normal(own.package), own.version) == (_normal(packaged.package), packaged.version)


def _normal(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()  # PEP 503


def _package(packaged: Packaged) -> str:
    return f"{packaged.package} {packaged.version}"
