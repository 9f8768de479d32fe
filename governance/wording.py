"""What is wrong in a document, in words that a person who is no engineer can act on.

For: document.py, which knows the place. Not for: judging anything; the codes stay as they are, only words live here.

    syntax(problem, text, at, opened) -> Words, place     what the YAML parser could not read, and where to look
    telling(errors) -> the first of them -> said(error, errors) -> Words     what a field's declaration did not accept
    unquoted(text) -> hint                                how to write a number exactly
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import ErrorDetails

from .fields import FORMS, written_exactly

Place = tuple[int, int]  # line and column, from 1


@dataclass(frozen=True)
class Words:
    """Code, sentence (to be put after the place) and what to do about it."""

    code: str
    sentence: str
    hint: str


# What the parser says -> what it means to somebody who writes a policy. The first that fits counts.
_SYNTAX: tuple[tuple[str, str, str], ...] = (
    (
        "mapping values are not allowed",
        "there is one colon too many in this line, or the line is indented unlike its neighbours",
        "put text that contains a colon in quotes, or begin the line in the same column as its neighbours",
    ),
    (
        "but found '<block",
        "this line is indented unlike the lines that it belongs to",
        "begin it in the same column as its neighbours, with spaces",
    ),
    (
        "could not find expected ':'",
        "here a field has no colon after its name, or the file ends in the middle of a line",
        "write the name, a colon, a space and the value: min_sites: 3",
    ),
    (
        "expected ',' or ']'",
        "a list that begins with [ is not closed, or a comma is missing in it",
        "close it with ], and put a comma between its entries: [JP, DE]",
    ),
    (
        "expected ',' or '}'",
        "a block that begins with { is not closed, or a comma is missing in it",
        "close it with }, put commas between its fields, and see that quotation marks come in pairs: {legal: 1, it: 1}",
    ),
    (
        "found unexpected end of stream",
        "quotation marks are opened here and not closed",
        'close them with the same mark (" or \'); write a mark inside the text as a typographic one, e.g. “ ”',
    ),
    (
        "found unknown escape character",
        "a backslash stands between quotation marks",
        "leave it out, or use single quotation marks (') around the text",
    ),
    (
        "cannot start any token",
        "a value cannot begin with this character",
        'put the value in quotes: "..."',
    ),
    (
        "but found '<scalar>'",
        "text goes on here after the closing quotation mark",
        'put the whole text between one pair of double quotation marks ("), in this line or the line before; '
        "one that opens with ' ends at the next '",
    ),
    (
        "expected <block end>",
        "this line is indented unlike the lines that it belongs to",
        "begin it in the same column as its neighbours, with spaces",
    ),
    (
        "expected alphabetic or numeric character",
        "a value cannot begin with & or *",
        'put the value in quotes: "..."',
    ),
)  # fmt: skip
_NOT_CLOSED = ("expected ',' or", "found unexpected end")
_LINES_BACK = 3
# Written so by a keyboard for Japanese, or by an editor that corrects spaces away.
_WIDE_COLON = re.compile(r"^\s*(?:- +)?[A-Za-z_]+(\uff1a)")
_NO_SPACE_AFTER_DASH = re.compile(r"^\s*(-)(?=[A-Za-z])")
_NO_SPACE = re.compile(r"^\s*(?:- +)?[A-Za-z_]+(:)(?=[^\s:])")


def syntax(problem: str, text: str, *, at: Place | None, opened: Place | None) -> tuple[Words, Place]:
    """Words for what the parser calls ``problem``, and where to look: at most two lines before ``at``.

    ``opened`` is where the parser was when it began the value that it could not finish.
    """
    place = at or opened or (1, 1)
    if opened and problem.startswith(_NOT_CLOSED):
        return _words(problem), opened
    # A colon or dash that is none spoils the lines after its own.
    lines = text.splitlines()
    for number in range(place[0], max(0, place[0] - _LINES_BACK), -1):
        found = _slip(lines[number - 1]) if number <= len(lines) else None
        if found:
            return found[1], (number, found[0])
    return _words(problem), place


def _words(problem: str) -> Words:
    for part, sentence, hint in _SYNTAX:
        if part in problem:
            return Words("YAML_SYNTAX", sentence, hint)
    return Words(
        "YAML_SYNTAX",
        f"the file cannot be read here: {problem[:120]}",
        "check the indentation, the colon after each field, and the quotes around text with a colon",
    )


def _slip(line: str) -> tuple[int, Words] | None:
    # where in a line, from 1, a colon or a dash does not work as one
    found = _WIDE_COLON.search(line)
    if found:
        sentence = "the colon after this field is a full-width one, which is text here"
        return found.start(1) + 1, Words("YAML_SYNTAX", sentence, "write a half-width colon and a space")
    found = _NO_SPACE_AFTER_DASH.search(line)
    if found:
        sentence = "there is no space after the dash that begins an entry"
        return found.start(1) + 1, Words("YAML_SYNTAX", sentence, "write a space after the dash: - id: ...")
    found = _NO_SPACE.search(line)
    if found:
        sentence = "there is no space after the colon of this field, so that it is read as text"
        return found.start(1) + 1, Words("YAML_SYNTAX", sentence, "write a space after the colon")
    return None


def unquoted(text: str) -> str:
    """How to write a number that stands without quotes and is no plain whole number."""
    if text.isdigit() and not text.startswith("0"):
        return "the number is too large: write a smaller one, or put it in quotes where an exact number is meant"
    exact = written_exactly(text.replace("_", ""))
    if exact is None:
        return 'write whole numbers with digits only, and exact numbers in quotes, e.g. "0.000001"'
    return f'write "{exact}", in quotes, where an exact number is meant; whole numbers have digits only'


_A_LIST, _A_BLOCK = "a list", "a block of fields"
_EXPECTED: Mapping[str, tuple[str, str]] = {
    "string_type": ("text", 'put it in quotes if it is a number: "2026"'),
    "int_type": ("a whole number", "write digits only, without quotes: 3"),
    "int_from_float": ("a whole number", "write digits only, without quotes: 3"),
    "bool_type": ("true or false", "write true or false, without quotes; yes, no, on and off are mere words here"),
    **dict.fromkeys(
        ("list_type", "tuple_type", "set_type", "frozen_set_type"),
        (_A_LIST, "write a list in square brackets, also for one entry: [JP]"),
    ),
    **dict.fromkeys(
        ("dict_type", "mapping_type", "model_type", "model_attributes_type"),
        (_A_BLOCK, "write its fields below it, each in its own line and indented by two more spaces"),
    ),
}
_NOTHING = "write the value after the colon; a field that is not wanted is left out as a whole, if it may be"

_BOUNDS: Mapping[str, Callable[[Mapping[str, Any]], tuple[str, str]]] = {
    "greater_than_equal": lambda limit: ("the number is too small", f"write {limit['ge']} or more"),
    "less_than_equal": lambda limit: ("the number is too large", f"write {limit['le']} or less"),
    "too_short": lambda limit: ("the list is empty or too short", f"write {limit['min_length']} or more entries"),
    "too_long": lambda limit: ("the list is too long", f"write {limit['max_length']} or fewer entries"),
    "string_too_short": lambda limit: ("the text is missing or too short",
                                       f"write at least {limit['min_length']} character(s)"),
    "string_too_long": lambda limit: ("the text is too long", f"write at most {limit['max_length']} characters"),
}  # fmt: skip


def _invalid(error: ErrorDetails) -> Words:
    kind, context = error["type"], error.get("ctx", {})
    if kind.isupper():
        return Words(kind, error["msg"], str(context.get("hint", "")))
    if kind in _EXPECTED:
        return _other_type(error, *_EXPECTED[kind])
    if kind in _BOUNDS:
        return Words("BAD_VALUE", *_BOUNDS[kind](context))
    if kind == "literal_error":
        return Words("BAD_VALUE", "this value is not one that may stand here", f"write {context['expected']}")
    if kind == "string_pattern_mismatch":
        pattern = str(context["pattern"])
        hint = FORMS.get(pattern, f"the form is, as a regular expression: {pattern}")
        return Words("BAD_VALUE", "the text does not have the form expected here", hint)
    sentence = error["msg"][:1].lower() + error["msg"][1:]
    return Words("BAD_VALUE", sentence, "see the description of the document's fields in docs/formats")


def telling(errors: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """Those of a validator's complaints that say what is wrong, without those that merely follow from it."""
    # A misspelt field is one unknown and one missing field: the unknown one says more, and has a place.
    others = [error for error in errors if error["type"] != "missing" and not _follows(error, errors)]
    return others or [error for error in errors if error["type"] == "missing"]


def said(error: ErrorDetails, errors: Sequence[ErrorDetails]) -> Words:
    """Words for one of ``errors``; a field that is unknown may be one of the missing ones, misspelt."""
    if error["type"] == "missing":
        return _absent(error)
    # A list's member is named after its list; "[key]" is the validator's word for a name that is wrong.
    names = [part for part in error["loc"] if isinstance(part, str) and part != "[key]"]
    if error["type"] == "extra_forbidden":
        name = names[-1]
        missing = (other["loc"] for other in errors if other["type"] == "missing")
        lacking = [str(place[-1]) for place in missing if place[:-1] == error["loc"][:-1]]
        close = difflib.get_close_matches(name, lacking, n=1)
        hint = f"did you mean {close[0]}?" if close else "remove it, or check its spelling and indentation"
        field, colon, value = name.partition(":")
        if colon and field in lacking:
            hint = f"write a space after the colon: {field}: {value}"
        return Words("UNKNOWN_FIELD", f"the field {name} is not known here", hint)
    words = _invalid(error)
    # Where blocks stand in blocks, the outer one says which epsilon it is.
    named = ".".join(names[-_NAMED:])
    return Words(words.code, f"{named}: {words.sentence}" if named else words.sentence, words.hint)


def _follows(error: ErrorDetails, errors: Sequence[ErrorDetails]) -> bool:
    # something inside this value is wrong, too: a list whose entries all fail is also called too short
    depth = len(error["loc"])
    return any(len(other["loc"]) > depth and other["loc"][:depth] == error["loc"] for other in errors)


_NAMED = 2
_LANGUAGES = {"en": "English", "ja": "Japanese"}


def _other_type(error: ErrorDetails, expected: str, hint: str) -> Words:
    given = error["input"]
    if given is None:
        return Words("WRONG_TYPE", f"nothing is written here, and {expected} is expected", _NOTHING)
    if error["type"] == "int_type" and isinstance(given, str):
        digits = unicodedata.normalize("NFKC", given).replace(",", "").strip()
        hint = f"write digits only, without quotes and commas: {digits}" if digits.isdecimal() else hint
    if error["type"] == "string_type" and isinstance(given, bool):
        hint = "put the word in quotes; some programs turn NO (Norway), yes and on into true or false when they save"
    if error.get("ctx", {}).get("class_name") == "Text":
        hint = 'write it in both languages: {en: "...", ja: "..."}'
    return Words("WRONG_TYPE", f"{expected} is expected here", hint)


def _absent(error: ErrorDetails) -> Words:
    part = error["loc"][-1] if error["loc"] else ""
    if isinstance(part, int):
        name = next((str(outer) for outer in reversed(error["loc"]) if isinstance(outer, str)), "")
        return Words("MISSING_FIELD", f"the list {name} lacks entry {part + 1}", "write the whole list")
    if part in _LANGUAGES:
        sentence = f"the {_LANGUAGES[str(part)]} text is missing (field {part})"
        return Words("MISSING_FIELD", sentence, "write the same in both languages: en for English and ja for Japanese")
    hint = f"add {part}: and its value to the block that begins here"
    return Words("MISSING_FIELD", f"the field {part} is missing", hint)
