"""What is wrong in a document, in words that a person who is no engineer can act on.

For: document.py, which knows the place. Not for: judging anything; the codes stay as they are, only words live here.

    syntax(problem, text, at, opened) -> Words, place     what the YAML parser could not read, and where to look
    invalid(error), absent(error) -> Words                what a field's declaration did not accept, or did not find
    unquoted(text) -> hint                                how to write a number exactly
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
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
        "here a field has no colon after its name",
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
        "close it with }, and put a comma between its fields: {legal: 1, it: 1}",
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
        "expected <block end>",
        "text goes on here after the closing quotation mark, or the line is indented unlike its neighbours",
        "put the whole text between one pair of quotation marks, and begin the line where its neighbours begin",
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
_NO_SPACE = re.compile(r"^\s*(?:- +)?[A-Za-z_]+(:)(?=[^\s:])")


def syntax(problem: str, text: str, *, at: Place | None, opened: Place | None) -> tuple[Words, Place]:
    """Words for what the parser calls ``problem``, and where to look: at most two lines before ``at``.

    ``opened`` is where the parser was when it began the value that it could not finish.
    """
    place = at or opened or (1, 1)
    if opened and problem.startswith(_NOT_CLOSED):
        return _words(problem), opened
    # A colon that is none spoils the line after its own.
    lines = text.splitlines()
    for number in range(place[0], max(0, place[0] - _LINES_BACK), -1):
        found = _colon(lines[number - 1]) if number <= len(lines) else None
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


def _colon(line: str) -> tuple[int, Words] | None:
    # where in a line, from 1, the colon after a field's name does not work as one
    found = _WIDE_COLON.search(line)
    if found:
        sentence = "the colon after this field is a full-width one, which is text here"
        return found.start(1) + 1, Words("YAML_SYNTAX", sentence, "write a half-width colon and a space")
    found = _NO_SPACE.search(line)
    if found:
        sentence = "there is no space after the colon of this field, so that it is read as text"
        return found.start(1) + 1, Words("YAML_SYNTAX", sentence, "write a space after the colon")
    return None


def unquoted(text: str) -> str:
    """How to write a number that stands without quotes and is no plain whole number."""
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
    "too_short": lambda limit: ("the list is empty or too short", f"list {limit['min_length']} or more"),
    "too_long": lambda limit: ("the list is too long", f"list {limit['max_length']} or fewer"),
    "string_too_short": lambda limit: ("the text is missing or too short",
                                       f"write at least {limit['min_length']} character(s)"),
    "string_too_long": lambda limit: ("the text is too long", f"write at most {limit['max_length']} characters"),
}  # fmt: skip


def invalid(error: ErrorDetails) -> Words:  # noqa: PLR0911  one return a kind
    """Words for what a field's declaration did not accept."""
    kind, context = error["type"], error.get("ctx", {})
    if kind.isupper():
        return Words(kind, error["msg"], str(context.get("hint", "")))
    if kind in _EXPECTED:
        expected, hint = _EXPECTED[kind]
        if error["input"] is None:
            return Words("WRONG_TYPE", f"nothing is written here, and {expected} is expected", _NOTHING)
        return Words("WRONG_TYPE", f"{expected} is expected here", hint)
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


_LANGUAGES = {"en": "English", "ja": "Japanese"}


def absent(error: ErrorDetails) -> Words:
    """Words for a field, or an entry of a list, that is not there."""
    part = error["loc"][-1] if error["loc"] else ""
    if isinstance(part, int):
        name = next((str(outer) for outer in reversed(error["loc"]) if isinstance(outer, str)), "")
        return Words("MISSING_FIELD", f"the list {name} lacks entry {part + 1}", "write the whole list")
    if part in _LANGUAGES:
        sentence = f"the {_LANGUAGES[str(part)]} text is missing (field {part})"
        return Words("MISSING_FIELD", sentence, "write the same in both languages: en for English and ja for Japanese")
    return Words("MISSING_FIELD", f"the field {part} is missing", f"add {part}: with its value to this block")
