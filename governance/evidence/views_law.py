"""The forms that regulators ask for, as data: which article asks for what, and which facts of the evidence answer.

For: views_pages.py, which fills them. Not for: legal conclusions. A form names the version of its source, and for each
field what is left to counsel in so many words.

    forms() -> one ``Form`` for each file in policies/law/, by id; a field that names an unknown fact does not load
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ... import policies
from ..errors import BadDocumentError
from ..language import Text
from .views_facts import FACTS

FOLDER = "law"


def _both(value: object) -> object:
    return {"en": value, "ja": value} if isinstance(value, str) else value


# A citation that both languages write alike (45 CFR 164.528) is written once; all others read as lawyers of each cite.
Cited = Annotated[Text, BeforeValidator(_both)]
Words = Annotated[str, Field(min_length=1, max_length=300)]
Id = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class FormField(_Strict):
    """One item that an article asks for; ``left`` is what people have to add or to decide."""

    article: Cited
    heading: Text
    facts: Annotated[list[str], Field(max_length=20)]
    left: Text | None = None


class Form(_Strict):
    """One form: its source in that source's version, and its fields in their order."""

    id: Id
    version: Cited
    source: Cited
    consulted: Words
    title: Text
    instrument: Text
    field: Annotated[list[FormField], Field(min_length=1)]


@cache
def forms() -> tuple[Form, ...]:
    """All forms, by file name. Raises ``BadDocumentError`` LAW_MALFORMED."""
    folder = files(policies).joinpath(FOLDER)
    found = sorted((one for one in folder.iterdir() if one.name.endswith(".toml")), key=lambda one: one.name)
    return tuple(parse(one.read_text(encoding="utf-8"), one.name) for one in found)


def parse(source: str, name: str) -> Form:
    """Read one form.

    Raises:
        BadDocumentError: LAW_MALFORMED (a field is missing, is in one language only, or names an unknown fact).
    """
    try:
        form = Form.model_validate(tomllib.loads(source))
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise _malformed(name, "it lacks a field, or a language of one") from error
    unknown = sorted({fact for field in form.field for fact in field.facts} - set(FACTS))
    if unknown:
        raise _malformed(name, f"it names facts that nobody knows: {', '.join(unknown)}")
    if f"{form.id}.toml" != name:
        raise _malformed(name, "its id is not the name of its file")
    return form


def _malformed(name: str, reason: str) -> BadDocumentError:
    return BadDocumentError("LAW_MALFORMED", f"a form of policies/law cannot be used: {reason}",
                            "see the forms beside it, and views_facts.py for the facts", file=name)
