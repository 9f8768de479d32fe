"""The numbers that the prose of a clause names, and those that its typed fields hold; for lint.py.

Numbers count in digits, in English words from three to twelve ("three years"), and in kanji before what is counted
(三年). Months, and kanji elsewhere, are read only in order not to accuse a translation that writes a number out.
Citations of law and names that contain a number ("TLS 1.3") are left out, and so is 1, which Japanese writes where
English says "a".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from ..language import Language, Text
from .clause import Clause, leaves

ONE = Decimal(1)

_CITATION = re.compile(
    r"""
    \bart(?:icle)?s?\.?\s*\d+(?:\(\w+\))*(?:\s*(?:,|and|or|to|[-–])\s*\d+(?:\(\w+\))*)*    # Arts. 17(1) and 21
    | §+\s*[\d.]+(?:\(\w+\))*
    | \b\d+\s*C\.?F\.?R\.?(?:\s*part)?\s*[\d.]+(?:\(\w+\))*                             # 45 CFR 164.514(e)
    | (?<!\d)\d{3,}\.\d{3}(?!\d) | \((?:\d{1,2}|[a-z]{1,4})\)                           # and 164.528 (e)(4)
    | \brecitals?\s*\d+ | (?<!\d)\d+/\d+                                                    # (EU) 2016/679
    | 第?\d+条(?:の\d+)?(?:第?\d+項)?(?:第?\d+号)?(?:\(\w+\))* | (?:第|前文)\d+[項号章]    # 27条1項
    | \bclauses?\s+\w+ | 条項\s*\w+
    | \b(?:TLS|ISO|IEC|Apache|License|FIPS|SHA|AES|RFC)[\s/-]*[\d.-]+
    """,
    re.IGNORECASE | re.VERBOSE,
)
_NUMBER = re.compile(
    r"(?<![A-Za-z0-9._/-])(?:10\^-(?P<power>\d+)|(?P<plain>\d+(?:\.\d+)?(?:e-?\d+)?))(?![A-Za-z0-9_]|-[A-Za-z])"
)
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_TYPED = re.compile(r"\d+(?:\.\d+)?")

_ENGLISH = (
    "zero one two three four five six seven eight nine ten eleven twelve",
    "january february march april may june july august september october november december",
)
WORDS = {word: Decimal(place) for place, word in enumerate(_ENGLISH[0].split())} | {
    word: Decimal(place) for place, word in enumerate(_ENGLISH[1].split(), start=1)
}
# Words that count. "One" and "two" are said of much that is not counted: "of two sites", "only two things may leave".
COUNTING = {word: number for word, number in WORDS.items() if word in _ENGLISH[0].split()[3:]}
KANJI = {sign: Decimal(place) for place, sign in enumerate("〇一二三四五六七八九十")}

_COUNTED = re.compile(r"([〇一二三四五六七八九]?十[一二三四五六七八九]?|[三四五六七八九])(?=組織|社|年|名|時間)")


def numbers(prose: str) -> frozenset[Decimal]:
    """The numbers written in digits, without citations."""
    text = _CITATION.sub(" ", unicodedata.normalize("NFKC", prose))
    return frozenset(_numbers(_THOUSANDS.sub("", text)))


def _numbers(text: str) -> Iterator[Decimal]:
    for match in _NUMBER.finditer(text):
        power = match["power"]
        yield Decimal(f"1e-{power}" if power else match["plain"])


def named(prose: str, language: Language) -> frozenset[Decimal]:
    """The numbers written in digits or, as far as they are known here, in words."""
    if language == "ja":
        return counted(prose, "ja") | {KANJI[sign] for sign in prose if sign in KANJI}
    return numbers(prose) | {WORDS[word] for word in re.findall(r"[a-z]+", prose.lower()) if word in WORDS}


def counted(prose: str, language: Language) -> frozenset[Decimal]:
    """The numbers that say how much or how many: in digits, in English words, in kanji before what is counted."""
    if language == "en":
        words = re.findall(r"[a-z]+", _CITATION.sub(" ", prose).lower())
        return numbers(prose) | {COUNTING[word] for word in words if word in COUNTING}
    return numbers(prose) | {_of_kanji(written) for written in _COUNTED.findall(prose)}


def _of_kanji(written: str) -> Decimal:
    tens, ten, ones = written.rpartition("十")
    return KANJI.get(ones, Decimal(0)) + (10 * KANJI.get(tens, ONE) if ten else 0)


def only_in_prose(clause: Clause) -> tuple[Decimal, ...]:
    """Numbers that the prose names, in digits or words, and no typed field of the clause holds, smallest first."""
    told = counted(clause.text.en, "en") | counted(clause.text.ja, "ja")
    return tuple(sorted(told - frozenset(_typed(clause)) - {ONE}))


def only_in_one_language(text: Text) -> tuple[Decimal, ...]:
    """Numbers that one language names, in digits or words, and the other in neither, smallest first."""
    lacking = (counted(text.en, "en") - named(text.ja, "ja")) | (counted(text.ja, "ja") - named(text.en, "en"))
    return tuple(sorted(lacking - {ONE}))


def _typed(clause: Clause) -> Iterator[Decimal]:
    # "Two people sign" is the sum of one for legal and one for IT.
    for counts in (getattr(clause, name) for name in type(clause).model_fields):
        if isinstance(counts, Mapping):
            yield Decimal(sum(counts.values()))
    for path, value in leaves(clause):
        if not path.startswith("text.") and not path.endswith("digest"):
            yield from _of_value(value)


def _of_value(value: Any) -> Iterator[Decimal]:
    if isinstance(value, datetime):
        # "Up to and including 30 December" is the field 31 December, 0:00, excluded.
        for moment in (value, value - timedelta(microseconds=1)):
            yield from (Decimal(part) for part in (moment.year, moment.month, moment.day, moment.hour, moment.minute))
    elif isinstance(value, bool):
        return
    elif isinstance(value, Decimal | int):
        yield Decimal(value)
    elif isinstance(value, frozenset):
        yield from (Decimal(part) for item in value for part in _TYPED.findall(item))
    else:
        yield from (Decimal(part) for part in _TYPED.findall(str(value)))
