"""Which characters a document may have: those that people and machines read alike.

Not for: what the text means, the spelling of identifiers (each model's own pattern).

    first_fault(text) -> None, or what is wrong and where

Refused: characters that reorder what is shown, that are drawn as nothing, control characters, private-use and
unassigned ones, text that is not in Unicode normalisation form C, and words that imitate others with letters of another
alphabet. They would let a reviewer sign other words than were shown.

A word is a run of letters without kanji and kana, which stand beside Latin letters in any Japanese text. With Latin
letters in it, it may hold no letter of another alphabet, save Greek ones that no Latin letter looks like (μm). Without,
it may not consist of Cyrillic or, two or more of them, Greek letters that all look like Latin ones. Full-width letters
are Latin letters: they are drawn twice as wide, so nobody takes one for the other. After Unicode UTS 39, 5.1 and 4.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

_BIDI_CONTROLS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_RIGHT_TO_LEFT = frozenset(("R", "AL", "AN"))  # classes that move their neighbours on the screen
# Drawn as nothing, and yet not format characters.
_BLANK_LETTERS = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0\U00016fe4\U0001d159"
)
_OVERLAY = 1  # combining class of marks that strike out the letter before them
_SPACES = frozenset("\u0020\u3000")  # the space of English and the full-width space of Japanese
# Letters drawn like a Latin one in common fonts; from Unicode's confusables.txt and by eye.
_LIKE_LATIN = frozenset("АВЕЅІЈКМНОРСТУХаеѕіјкорсухһԁԛԝүӏґг" + "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧϹϳαγικνορτυωχϲ")
# How the Unicode names of letters begin that stand in Japanese text, and of those that are Latin.
_EAST_ASIAN = ("CJK", "HIRAGANA", "KATAKANA", "HALFWIDTH", "IDEOGRAPHIC", "VERTICAL", "HANGUL")
_LATIN = ("LATIN", "FULLWIDTH", "FEMININE", "MASCULINE", "MICRO", "MODIFIER")
_FOREIGN = ("GREEK", "other")


@dataclass(frozen=True)
class Fault:
    """What is wrong with a text, and at which index."""

    code: str
    sentence: str
    hint: str
    index: int


def first_fault(text: str) -> Fault | None:
    """The first character that a document may not have; None if there is none."""
    # Few distinct characters occur in a text: judge each once, then look where the bad ones stand.
    bad = {character for character in set(text) if _judge(character) is not None}
    if bad:
        index = min(text.index(character) for character in bad)
        judged = _judge(text[index])
        if judged is not None:
            return Fault(*judged, index)
    lone_return = re.search(r"\r(?!\n)", text)
    if lone_return:
        return Fault(*_CONTROL, lone_return.start())
    if not unicodedata.is_normalized("NFC", text):
        return Fault(
            "NOT_NFC",
            "a letter and its mark (such as か and ゛) are written as two characters where one would do",
            "type the letter anew; text copied from a PDF or from a Mac's file names is often so (form NFC is wanted)",
            _first_denormal(text),
        )
    imitated = _first_imitation(text)
    if imitated is not None:
        return Fault(
            "MIXED_SCRIPTS",
            f"a word holds U+{ord(text[imitated]):04X} ({unicodedata.name(text[imitated], 'unnamed').lower()}), "
            "a letter of another alphabet that can be taken for a Latin one",
            "type the word again in one alphabet; a Greek letter may stand alone",
            imitated,
        )
    return None


_CONTROL_CODE = "CONTROL_CHARACTER"
_CONTROL = (
    _CONTROL_CODE,
    "the file has a control character, which is not shown",
    "delete it; where a new line is meant, press Enter",
)
_TAB = (_CONTROL_CODE, "the file has a tab", "replace it with spaces; each level is indented by two")
_UNSEEN = "INVISIBLE_CHARACTER"


def _judge(character: str) -> tuple[str, str, str] | None:  # noqa: PLR0911  one return a rule
    """Code, sentence and hint if people and machines could read the character differently."""
    if character in "\n\r" or " " <= character <= "~":
        return None
    if character == "\t":
        return _TAB
    name = f"U+{ord(character):04X}"
    category = unicodedata.category(character)
    if character in _BIDI_CONTROLS or unicodedata.bidirectional(character) in _RIGHT_TO_LEFT:
        return (
            "BIDI_CHARACTER",
            f"the file has {name}, which can show the text in another order than it is read",
            "delete the character, or type the passage anew; right-to-left writing cannot be used",
        )
    if character == "\ufeff":
        return (
            _UNSEEN,
            f"the file has the invisible mark {name} (a byte order mark)",
            "save the file as UTF-8, not as UTF-8 with BOM; inside a text, delete it",
        )
    if category == "Cc":
        return _CONTROL
    if unicodedata.combining(character) == _OVERLAY:
        return (_UNSEEN, f"the file has {name}, which strikes out the letter before it", "remove the character")
    if category == "Cf" or character in _BLANK_LETTERS or _is_variation_selector(character):
        return (
            _UNSEEN,
            f"the file has the invisible character {name}",
            "delete it; where it cannot be found, type the words around it anew",
        )
    if category in ("Zl", "Zp") or (category == "Zs" and character not in _SPACES):
        return (_UNSEEN, f"the file has the unusual space {name}", "type an ordinary space, or begin a new line")
    if category in ("Co", "Cn", "Cs"):
        return (_UNSEEN, f"the file has {name}, which not every machine can show", "use another character in its place")
    return None


def _first_imitation(text: str) -> int | None:
    """Index of the first letter of another alphabet in a word that it makes look like a Latin one."""
    if not any(_alphabet(character) in _FOREIGN for character in set(text)):
        return None
    for start, word in _words(text):
        alphabets = {_alphabet(letter) for letter in word}
        if "LATIN" in alphabets:
            wrong = [letter for letter in word if _alphabet(letter) == "other" or _like_latin(letter)]
        elif len(word) > 1 or "GREEK" not in alphabets:
            wrong = list(word) if all(map(_like_latin, word)) else []
        else:
            wrong = []
        if wrong:
            return start + word.index(wrong[0])
    return None


def _like_latin(letter: str) -> bool:
    return unicodedata.normalize("NFD", letter)[0] in _LIKE_LATIN


def _words(text: str) -> Iterator[tuple[int, str]]:
    """Runs of letters (with their marks) of alphabets, each with its index."""
    start = 0
    for index, character in enumerate((*text, " ")):
        if _alphabet(character) == "":
            if start < index:
                yield start, text[start:index]
            start = index + 1


@cache
def _alphabet(character: str) -> str:
    """LATIN, GREEK or other for a letter, mark for an accent; empty for all else, kanji and kana among it."""
    if character.isascii():
        return "LATIN" if character.isalpha() else ""
    kind, name = unicodedata.category(character)[0], unicodedata.name(character, "")
    if kind not in "LM" or name.startswith(_EAST_ASIAN):
        return ""
    if kind == "M":
        return "mark"
    if name.startswith(_LATIN):
        return "LATIN"
    return "GREEK" if name.startswith("GREEK") else "other"


def _is_variation_selector(character: str) -> bool:
    return "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"


def _first_denormal(text: str) -> int:
    start = 0
    for line in text.splitlines(keepends=True):
        if not unicodedata.is_normalized("NFC", line):
            return start + next(i for i in range(len(line)) if not unicodedata.is_normalized("NFC", line[: i + 1]))
        start += len(line)
    return 0
