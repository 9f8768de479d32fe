"""A base model's record: where it comes from, its licence, and what is known of the data it was trained on.

What it is for: the document `base-model.yaml` that legal reads and signs before a model is used. Every question about
the training data has an answer; "undisclosed" is an answer, a blank is not. The level of disclosure is claimed in the
document and held against its own answers: nobody can claim more than they wrote down.
What it is NOT for: looking at the model's files (that is intake, in core) or deciding whether a level is enough (that
is the policy's clause `base_model`).

Order of calls: `BaseModelRecord.parse(bytes, name)` -> `record.check_valid(now)`; levels compare with `at_least`.
Sources: EU AI Act Art. 53(1)(d) and the Commission's template of December 2025 (general information; list of data
sources; data processing aspects).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..canonical import digest, digest_bytes
from ..document import Document, read_document, validate_model
from ..errors import BadDocumentError, BadSignatureError, Refused
from ..language import Text
from ..signing.envelope import read_time


class DisclosureLevel(StrEnum):
    """How much is known of the training data, least first."""

    NONE = "none"
    STATEMENT = "statement"
    SOURCES_LISTED = "sources-listed"
    EU_ART53_SUMMARY = "eu-art53-summary"
    FULL = "full"

    def at_least(self, least: DisclosureLevel) -> bool:
        """Whether this level discloses no less than ``least``."""
        order = list(DisclosureLevel)
        return order.index(self) >= order.index(least)


KNOWN = frozenset({"declared", "not-applicable"})  # of a question, as opposed to partly or not at all

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Line = Annotated[str, Field(min_length=1, max_length=200)]
Address = Annotated[str, Field(pattern=r"^https://[!-~]{4,400}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Answer(_Strict):
    """One answer: its status, what is known in words, and where that can be read."""

    status: Literal["declared", "partial", "undisclosed", "not-applicable"]
    text: Text
    sources: tuple[Address, ...] = ()

    @property
    def given(self) -> bool:
        """Answered at all."""
        return self.status != "undisclosed"


class TrainingData(_Strict):
    """The closed list of questions; each must be answered."""

    sources: Answer
    sizes: Answer
    source_licences: Answer
    collection_period: Answer
    personal_data: Answer
    opt_outs: Answer

    def answers(self) -> Iterator[tuple[str, Answer]]:
        """Question and answer, in the order of the document's definition."""
        for question in type(self).model_fields:
            yield question, getattr(self, question)


class Repackaged(_Strict):
    """Who put the weights into the form in which they are installed, if not the provider."""

    by: Line
    package: Line
    version: Line


class _BaseModelDocument(_Strict):
    schema_: Annotated[Literal["sekisho-base-model/1"], Field(alias="schema")]
    name: Line
    version: Line
    digest: Digest
    source: Address
    provider: Line
    repackaged: Repackaged | None = None
    licence: Line
    use_restrictions: tuple[Text, ...]
    disclosure: Literal["none", "statement", "sources-listed", "eu-art53-summary", "full"]
    eu_summary: Address | None = None
    training_data: TrainingData
    known_risks: tuple[Text, ...]
    reviewed_at: str
    review_expires: str


@dataclass(frozen=True)
class BaseModelRecord:
    """One base model as legal reads it. ``digest`` is that of the weights file; the other two are the document's."""

    name: str
    version: str
    digest: str
    source: str
    provider: str
    repackaged: Repackaged | None
    licence: str
    use_restrictions: tuple[Text, ...]
    disclosure: DisclosureLevel
    eu_summary: str | None
    training_data: TrainingData
    known_risks: tuple[Text, ...]
    reviewed_at: datetime
    review_expires: datetime
    bytes_digest: str
    canonical_digest: str

    @classmethod
    def parse(cls, data: bytes, name: str) -> BaseModelRecord:
        """Read and check a record.

        Raises:
            BadDocumentError: with line and column: the codes of ``document``, and BASE_MODEL_LEVEL_UNSUPPORTED (more
                is claimed than the answers bear), BASE_MODEL_TIMES.
        """
        document = read_document(data, name=name)
        content = validate_model(document, _BaseModelDocument)
        times = {field: _time(document, getattr(content, field), field) for field in ("reviewed_at", "review_expires")}
        level, borne = DisclosureLevel(content.disclosure), supported_level(content.training_data, content.eu_summary)
        if not borne.at_least(level):
            line, column = document.place(("disclosure",))
            raise BadDocumentError("BASE_MODEL_LEVEL_UNSUPPORTED",
                                   f"the record claims the level {level} while its answers bear {borne}",
                                   f"claim {borne}, or have the provider answer more",
                                   file=name, line=line, column=column)
        return cls(
            name=content.name, version=content.version, digest=content.digest, source=content.source,
            provider=content.provider, repackaged=content.repackaged, licence=content.licence,
            use_restrictions=content.use_restrictions, disclosure=level, eu_summary=content.eu_summary,
            training_data=content.training_data, known_risks=content.known_risks,
            reviewed_at=times["reviewed_at"], review_expires=times["review_expires"],
            bytes_digest=digest_bytes(data), canonical_digest=digest(document.value),
        )

    def check_valid(self, now: datetime) -> None:
        """Return if the review is in force at ``now``.

        Raises:
            Refused: BASE_MODEL_REVIEW_EXPIRED, BASE_MODEL_REVIEW_IN_FUTURE.
        """
        if now < self.reviewed_at:
            raise Refused("BASE_MODEL_REVIEW_IN_FUTURE", "the base model's review is dated in the future",
                          "check the clock, or the date in base-model.yaml")
        if now >= self.review_expires:
            raise Refused("BASE_MODEL_REVIEW_EXPIRED", "the base model's review has expired",
                          "legal reviews the record again and signs it")


def supported_level(answers: TrainingData, eu_summary: str | None) -> DisclosureLevel:
    """The highest level that these answers bear."""
    return level_of({question: answer.status for question, answer in answers.answers()}, eu_summary)


def level_of(status: Mapping[str, str], eu_summary: str | None) -> DisclosureLevel:
    """The highest level that a status for each question of ``TrainingData`` bears."""
    known = {question for question, one in status.items() if one in KNOWN}
    given = {question for question, one in status.items() if one != "undisclosed"}
    if len(known) == len(TrainingData.model_fields):
        return DisclosureLevel.FULL
    # The three sections of the template: who and how much, which sources, how opt-outs were honoured.
    if eu_summary and "sources" in known and {"sizes", "collection_period", "opt_outs"} <= given:
        return DisclosureLevel.EU_ART53_SUMMARY
    if "sources" in known:
        return DisclosureLevel.SOURCES_LISTED
    return DisclosureLevel.STATEMENT if given else DisclosureLevel.NONE


def _time(document: Document, text: str, field: str) -> datetime:
    try:
        return read_time(text)
    except BadSignatureError as error:
        line, column = document.place((field,))
        raise BadDocumentError("BASE_MODEL_TIMES", error.sentence, error.hint,
                               file=document.name, line=line, column=column) from error
