"""Whether the licences of a base model and of the data allow the release licence; what is unknown does not.

For: one condition of a release, decided on a table that people can read (policies/licences.toml). Not for: legal
advice, or reading a licence's text: legal signs the release.

Order of calls: ``licences()`` -> ``incompatible(base, data, release, ...)`` -> nothing, or the reason why not.

Source: SPDX License List for the identifiers; each entry of the table names where its licence is published.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ... import policies
from ..language import Text

FILE = "licences.toml"
PARTICIPANTS = "participants"  # of policies/terms/recipients.toml


class Licence(BaseModel):
    """What one licence says of what a release depends on; the table's head has the meaning of each field."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Text
    derivatives: bool
    commercial: bool
    share_alike: tuple[str, ...]
    audience: Literal["anyone", "participants"]
    restrictions: tuple[Text, ...]
    source: Annotated[str, Field(min_length=1, max_length=200)]


@dataclass(frozen=True)
class Conflict:
    """Why a release licence does not do: a code, and the licence (or the restriction) that stands in the way."""

    code: str
    of: str


@cache
def licences() -> Mapping[str, Licence]:
    """The table that is shipped, by identifier."""
    table = tomllib.loads(files(policies).joinpath(FILE).read_text(encoding="utf-8"))
    return MappingProxyType({name: Licence.model_validate(entry) for name, entry in table.items()})


def incompatible(
    base: str,
    data: Collection[str],
    release: str,
    *,
    recipients: Collection[str],
    prohibited: Collection[Text],
    table: Mapping[str, Licence] | None = None,
) -> Conflict | None:
    """The first reason why what is made from ``base`` and ``data`` cannot be handed on under ``release``; None: none.

    Args:
        base, release: licence identifiers; ``data``: of the data, in any order.
        recipients: terms of the vocabulary of recipients. prohibited: what the release forbids.

    Codes: LICENCE_UNKNOWN, LICENCE_NO_DERIVATIVES, LICENCE_SHARE_ALIKE, LICENCE_NON_COMMERCIAL, LICENCE_AUDIENCE,
    LICENCE_RESTRICTIONS.
    """
    known = licences() if table is None else table
    sources = sorted({base, *data})
    # 1. Every licence is known.
    unknown = next((name for name in (release, *sources) if name not in known), None)
    if unknown is not None:
        return Conflict("LICENCE_UNKNOWN", unknown)
    given = known[release]
    # 2. The release goes to nobody beyond whom its own licence names.
    if given.audience == "participants" and not set(recipients) <= {PARTICIPANTS}:
        return Conflict("LICENCE_AUDIENCE", release)
    # 3. What went in allows what comes out.
    for name in sources:
        code = _against(known[name], given, release, recipients)
        if code:
            return Conflict(code, name)
    # 4. What a licence forbids to every later user, the release forbids too.
    forbidden = {text.en for text in prohibited}
    for name in sources:
        lacking = next((text.en for text in known[name].restrictions if text.en not in forbidden), None)
        if lacking is not None:
            return Conflict("LICENCE_RESTRICTIONS", f"{name}: {lacking}")
    return None


def _against(licence: Licence, given: Licence, release: str, recipients: Collection[str]) -> str:
    """The code by which one source's licence stands against the release licence; empty: not at all."""
    refused = (
        ("LICENCE_NO_DERIVATIVES", not licence.derivatives),
        ("LICENCE_SHARE_ALIKE", bool(licence.share_alike) and release not in licence.share_alike),
        ("LICENCE_NON_COMMERCIAL", not licence.commercial and given.commercial),
        (
            "LICENCE_AUDIENCE",
            licence.audience == "participants"
            and (given.audience != "participants" or not set(recipients) <= {PARTICIPANTS}),
        ),
    )
    return next((code for code, holds in refused if holds), "")
