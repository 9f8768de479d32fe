"""A base model's record: every question answered, and no level claimed that the answers do not bear."""

from __future__ import annotations

import importlib.util
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest

from sekisho.governance.canonical import digest_bytes
from sekisho.governance.errors import BadDocumentError, Refused
from sekisho.governance.provenance.disclosure import BaseModelRecord, DisclosureLevel


def load_example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("evidence_example", Path(__file__).with_name("evidence_example.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SOURCE: str = load_example().BASE_MODEL
QUESTIONS = ("sources", "sizes", "source_licences", "collection_period", "personal_data", "opt_outs")


def parse(source: str) -> BaseModelRecord:
    return BaseModelRecord.parse(source.encode(), "base-model.yaml")


def answered(*, level: str, summary: bool = False, **statuses: str) -> str:
    """The record with every answer replaced; questions not named are undisclosed."""
    head, _, tail = SOURCE.partition("training_data:\n")
    answers = "".join(
        f"  {question}: {{status: {statuses.get(question, 'undisclosed')}, text: {{en: e, ja: j}}}}\n"
        for question in QUESTIONS
    )
    head = head.replace("disclosure: sources-listed", f"disclosure: {level}")
    if summary:
        head += "eu_summary: https://example.org/summary\n"
    return head + "training_data:\n" + answers + tail[tail.index("known_risks"):]


def test_the_record_of_the_example_model() -> None:
    record = parse(SOURCE)
    assert record.digest.startswith("sha256:53aa5117") and record.licence == "Apache-2.0"
    assert record.disclosure is DisclosureLevel.SOURCES_LISTED and str(record.disclosure) == "sources-listed"
    assert record.bytes_digest == digest_bytes(SOURCE.encode()) and record.canonical_digest.startswith("sha256:")
    assert record.bytes_digest != record.canonical_digest
    assert record.repackaged is not None and record.repackaged.version == "0.1.0"
    assert [question for question, _ in record.training_data.answers()] == list(QUESTIONS)
    assert record.training_data.personal_data.status == "undisclosed"


def test_formatting_changes_the_bytes_digest_and_not_the_canonical_one() -> None:
    other = parse("# seen by counsel\n" + SOURCE)
    assert other.canonical_digest == parse(SOURCE).canonical_digest
    assert other.bytes_digest != parse(SOURCE).bytes_digest


def test_levels_are_ordered() -> None:
    levels = list(DisclosureLevel)
    assert [str(level) for level in levels] == ["none", "statement", "sources-listed", "eu-art53-summary", "full"]
    for i, level in enumerate(levels):
        for j, least in enumerate(levels):
            assert level.at_least(least) is (i >= j)


EVERYTHING = dict.fromkeys(QUESTIONS, "declared")
TEMPLATE = {"sources": "declared", "sizes": "partial", "collection_period": "partial", "opt_outs": "declared"}


@pytest.mark.parametrize(("statuses", "summary", "bears"), [
    ({}, False, "none"),
    ({"sizes": "partial"}, False, "statement"),
    ({"sources": "partial"}, False, "statement"),
    ({"sources": "declared"}, False, "sources-listed"),
    (TEMPLATE, False, "sources-listed"),
    (TEMPLATE, True, "eu-art53-summary"),
    ({**EVERYTHING, "personal_data": "partial"}, False, "sources-listed"),
    ({**EVERYTHING, "personal_data": "not-applicable"}, False, "full"),
])
def test_no_level_is_claimed_that_the_answers_do_not_bear(
    statuses: dict[str, str], summary: bool, bears: str
) -> None:
    for level in DisclosureLevel:
        source = answered(level=level, summary=summary, **statuses)
        if DisclosureLevel(bears).at_least(level):
            assert parse(source).disclosure is level
        else:
            with pytest.raises(BadDocumentError) as caught:
                parse(source)
            assert caught.value.code == "BASE_MODEL_LEVEL_UNSUPPORTED" and caught.value.line > 1
            assert bears in caught.value.sentence


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_blank_is_not_an_answer(question: str) -> None:
    source = answered(level="none")
    line = next(row for row in source.splitlines(keepends=True) if row.startswith(f"  {question}:"))
    for broken in ("", f"  {question}: {{status: undisclosed}}\n",
                   f"  {question}: {{status: unknown, text: {{en: e, ja: j}}}}\n",
                   f"  {question}: {{status: declared, text: {{en: e}}}}\n", f"  {question}: null\n"):
        with pytest.raises(BadDocumentError):
            parse(source.replace(line, broken))


@pytest.mark.parametrize(("old", "new"), [
    ("digest: sha256:53aa", "digest: md5:53aa"), ("licence: Apache-2.0\n", ""),
    ("schema: sekisho-base-model/1", "schema: x"),
    ("source: https://hugging", "source: http://hugging"), ("use_restrictions: []\n", ""), ("provider:", "supplier:"),
    ("disclosure: sources-listed", "disclosure: complete"), ("+00:00\"\nreview_expires", "\"\nreview_expires"),
])
def test_malformed_records_are_refused_with_a_place(old: str, new: str) -> None:
    assert old in SOURCE
    with pytest.raises(BadDocumentError) as caught:
        parse(SOURCE.replace(old, new, 1))
    assert caught.value.line > 0 and caught.value.file == "base-model.yaml"


def test_a_review_has_its_time() -> None:
    record = parse(SOURCE)
    record.check_valid(datetime(2030, 1, 1, tzinfo=UTC))
    with pytest.raises(Refused) as expired:
        record.check_valid(datetime(2100, 1, 1, tzinfo=UTC))
    with pytest.raises(Refused) as early:
        record.check_valid(datetime(2020, 1, 1, tzinfo=UTC))
    assert (expired.value.code, early.value.code) == ("BASE_MODEL_REVIEW_EXPIRED", "BASE_MODEL_REVIEW_IN_FUTURE")
