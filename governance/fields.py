"""The field types that all our documents share.

Not for: a single document's own fields, terms of a vocabulary (vocabulary.require).

    class Study(DocumentModel): epsilon: Exact; until: Moment; digest: Digest; id: Identifier
"""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError


class DocumentModel(BaseModel):
    """Base of the models: unknown fields refuse, nothing is converted, nothing changes later."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _exact(value: object) -> Decimal:
    if not isinstance(value, str) or not re.fullmatch(r"(0|[1-9][0-9]{0,30})(\.[0-9]{1,60})?", value):
        raise PydanticCustomError(
            "NOT_EXACT_NUMBER",
            "an exact number is expected here",
            {"hint": 'write exact numbers as quoted text, e.g. "0.000001"'},
        )
    return Decimal(value)


def _zoned(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise PydanticCustomError(
            "TIME_WITHOUT_ZONE",
            "a time without a time zone means another moment in another place",
            {"hint": 'write the zone, e.g. "2099-12-31T00:00:00+09:00"'},
        )
    return value


def _moment_text(value: object) -> object:
    if not isinstance(value, str) or not re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", value):
        raise PydanticCustomError(
            "NOT_A_TIME",
            "a date and time is expected here",
            {"hint": 'write it in full with its zone, e.g. "2099-12-31T00:00:00+09:00"'},
        )
    return value


Exact = Annotated[Decimal, BeforeValidator(_exact)]
Moment = Annotated[datetime, AfterValidator(_zoned), BeforeValidator(_moment_text)]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$")]
