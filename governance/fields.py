"""The field types that all our documents share.

Not for: a single document's own fields, terms of a vocabulary (vocabulary.term_of).

    class Study(DocumentModel): epsilon: Exact; until: Moment; digest: Digest; id: Identifier

Each says in JSON Schema what it accepts, so that an editor knows it while somebody writes.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, LiteralString

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

EXACT = r"(0|[1-9][0-9]{0,30})(\.[0-9]{1,60})?"
RFC_3339 = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})"
DIGEST = r"^sha256:[0-9a-f]{64}$"
IDENTIFIER = r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$"
LINK = r"^https://[!-~]{4,400}$"
MODEL_NAME = r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,99}$"  # no spaces: it is shown among what the system enforces

# What to write where a text does not have the form of its field.
FORMS = {
    DIGEST: "write sha256: and the 64 digits (0-9, a-f) of the file's SHA-256 digest, in small letters",
    IDENTIFIER: "use at most 128 half-width letters, digits and . _ : / - without spaces; begin with a letter or digit",
    LINK: "write the whole address; it begins with https:// and has no spaces",
}

EXAMPLE_NUMBER, EXAMPLE_TIME = '"0.000001"', '"2099-12-31T00:00:00+09:00"'
FIRST_YEAR, LAST_YEAR = 1970, 9998  # what is reckoned from a time, in any zone, is a time still
_MAX_WRITTEN = 40  # characters of a number that a hint spells out
_QUOTES = "“”„‟‘’‚‛「」『』〝〞＂＇"


class DocumentModel(BaseModel):
    """Base of the models: unknown fields refuse, nothing is converted, nothing changes later."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def fault(code: LiteralString, sentence: str, hint: str, *, field: str = "") -> PydanticCustomError:
    """What a validator raises; validate_model makes a BadDocumentError of it, at the value's place or its field's."""
    return PydanticCustomError(code, "{sentence}", {"sentence": sentence, "hint": hint, "field": field})


def written_exactly(text: str) -> str | None:
    """The number that ``text`` seems to mean, as our documents write it; None if it is none or a negative one."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    if not number.is_finite() or number < 0 or abs(number.adjusted()) > _MAX_WRITTEN:
        return None
    return format(number, "f")


def _exact(value: object) -> Decimal:
    if not isinstance(value, str) or not re.fullmatch(EXACT, value):
        raise fault("NOT_EXACT_NUMBER", "an exact number is expected here", _how_to_write_number(value))
    return Decimal(value)


def _how_to_write_number(value: object) -> str:  # noqa: PLR0911  one return a habit
    usual = f"write exact numbers as quoted text, e.g. {EXAMPLE_NUMBER}"
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return f'put it in quotes: "{value}"'
    if not isinstance(value, str):
        return usual
    if any(mark in value for mark in _QUOTES):
        return 'use the straight quotation marks of the keyboard ("), not typographic ones'
    half = unicodedata.normalize("NFKC", value)
    if half != value:
        return f"use half-width digits, e.g. {EXAMPLE_NUMBER}"
    if "," in value:
        return 'write a point before the decimals and nothing between thousands: "1234.5", not "1.234,5"'
    if "%" in value:
        return 'write the number itself: "0.01", not "1%"'
    if value.strip().startswith("-"):
        return "write a number that is not negative"
    exact = written_exactly(value)
    return f'write "{exact}"' if exact is not None and re.fullmatch(EXACT, exact) else usual


def _moment(value: object) -> datetime:
    if not isinstance(value, str) or not re.fullmatch(RFC_3339, value):
        raise fault("NOT_A_TIME", "a date and time with its zone is expected here", _how_to_write_time(value))
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        sentence, hint = "there is no such date or time", "check month, day, hour and zone in the calendar"
        raise fault("NOT_A_TIME", sentence, hint) from None
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise fault("NOT_A_TIME", "a year between 1970 and 9998 is expected", f"write it as in {EXAMPLE_TIME}")
    return moment


def _how_to_write_time(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        return f'add the hour and the zone: "{value}T00:00:00+09:00" is when that day begins in Japan'
    if isinstance(value, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.]+", value):
        return "add the zone at the end: +09:00 for Japan, +01:00 for Central Europe in winter, Z for universal time"
    return f"write it in full with its zone, e.g. {EXAMPLE_TIME}"


Exact = Annotated[
    Decimal,
    BeforeValidator(_exact),
    WithJsonSchema(
        {"type": "string", "pattern": f"^{EXACT}$", "description": f"An exact number, in quotes: {EXAMPLE_NUMBER}."}
    ),
]
Moment = Annotated[
    datetime,
    BeforeValidator(_moment),
    WithJsonSchema(
        {"type": "string", "pattern": f"^{RFC_3339}$", "description": f"A time with its zone: {EXAMPLE_TIME}."}
    ),
]
Digest = Annotated[str, Field(pattern=DIGEST)]
Identifier = Annotated[str, Field(pattern=IDENTIFIER)]
Link = Annotated[str, Field(pattern=LINK)]
