"""What a base model's files show, in the words of its record: answers and restrictions in both languages.

For: drafts of base-model.yaml (model.py, base_model.py) and what intake prints. Not for: finding it out
(core/data/sources.py), judging it (legal).

    answers_of(shown) -> question -> Answer              restrictions_of(card) -> texts, the last: not examined yet
    answers_block(shown), restrictions_block(card)       the same as they stand in YAML
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from ...governance.language import Text
from ...governance.provenance.disclosure import Answer
from ..data.sources import LONGEST_NAME, MOST_NAMED, NO_ASSERTION, Card, Finding, Shown
from .words import texts

# What the licences that we know say about use; a licence's duties beyond that are for legal to read.
FREE_USE = frozenset({"Apache-2.0", "MIT", "BSD-3-Clause", "CC0-1.0", "CC-BY-4.0"})
SHARE_ALIKE = frozenset({"CC-BY-SA-4.0"})
NON_COMMERCIAL = frozenset({"CC-BY-NC-4.0"})


def answers_of(shown: Shown) -> dict[str, Answer]:
    """An answer for each question, in the record's order; where it was read stands in its text, by file name."""
    return {question: _answer(question, finding) for question, finding in shown.findings.items()}


def restrictions_of(card: Card) -> tuple[Text, ...]:
    """What the card shows of restrictions on use, and that nobody has examined them yet."""
    found = [_licence(card)]
    about = card.about("use")
    if about:
        found.append(words("use.section", sections=", ".join(one[:LONGEST_NAME] for one in about[:MOST_NAMED])))
    if card.asks_acceptance:
        found.append(words("use.acceptance"))
    return (*found, words("use.unread"))


def answers_block(shown: Shown) -> str:
    """The answers as they stand below ``training_data:``."""
    lines: list[str] = []
    for question, answer in answers_of(shown).items():
        lines += [f"  {question}:", f"    status: {answer.status}", "    text:", *_both(answer.text, "      ")]
    return "\n".join(lines)


def restrictions_block(card: Card) -> str:
    """The restrictions as they stand below ``use_restrictions:``."""
    lines: list[str] = []
    for text in restrictions_of(card):
        english, japanese = _both(text, "    ")
        lines += ["  - " + english.lstrip(), japanese]
    return "\n".join(lines)


def words(key: str, **values: str) -> Text:
    """A text of intake in both languages, with ``values`` put in."""
    say = texts().render
    return Text(en=say(f"intake.{key}", "en", **values), ja=say(f"intake.{key}", "ja", **values))


def _answer(question: str, finding: Finding) -> Answer:
    values: Mapping[str, str] = finding.values
    reason = finding.reason if finding.reason in ("unknown", "section", "entries") else f"{question}-{finding.reason}"
    return Answer(status=finding.status, text=words(f"shown.{reason}", **values))


def _licence(card: Card) -> Text:
    licence = card.spdx
    if licence == NO_ASSERTION:
        return words("use.licence-other", licence=card.licence) if card.licence else words("use.licence-none")
    for key, licences in (("free", FREE_USE), ("share-alike", SHARE_ALIKE), ("non-commercial", NON_COMMERCIAL)):
        if licence in licences:
            return words(f"use.licence-{key}", licence=licence)
    return words("use.licence-other", licence=licence)


def _both(text: Text, indent: str) -> tuple[str, str]:
    english, japanese = (json.dumps(one, ensure_ascii=False) for one in (text.en, text.ja))
    return f"{indent}en: {english}", f"{indent}ja: {japanese}"
