"""The field types that all our documents share.

Not for: a single document's own fields, terms of a vocabulary (vocabulary.term_of).

    class Study(DocumentModel): epsilon: Exact; until: Moment; digest: Digest; id: Identifier
"""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from typing import Annotated, LiteralString

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError


class DocumentModel(BaseModel):
    """Base of the models: unknown fields refuse, nothing is converted, nothing changes later."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def fault(code: LiteralString, sentence: str, hint: str) -> PydanticCustomError:
    """What a validator raises: validate_model turns it into a BadDocumentError at the value's place."""
    return PydanticCustomError(code, "{sentence}", {"sentence": sentence, "hint": hint})


def _exact(value: object) -> Decimal:
    if not isinstance(value, str) or not re.fullmatch(r"(0|[1-9][0-9]{0,30})(\.[0-9]{1,60})?", value):
        hint = 'write exact numbers as quoted text, e.g. "0.000001"'
        raise fault("NOT_EXACT_NUMBER", "an exact number is expected here", hint)
    return Decimal(value)


def _moment(value: object) -> datetime:
    if not isinstance(value, str) or not re.fullmatch(_RFC_3339, value):
        hint = 'write it in full with its zone, e.g. "2099-12-31T00:00:00+09:00"'
        raise fault("NOT_A_TIME", "a date and time with its zone is expected here", hint)
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise fault("NOT_A_TIME", "there is no such date or time", "check month, day, hour and zone") from None


_RFC_3339 = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})"

Exact = Annotated[Decimal, BeforeValidator(_exact)]
Moment = Annotated[datetime, BeforeValidator(_moment)]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$")]
