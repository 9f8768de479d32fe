"""What ``sekisho study new`` was asked for, as a value, and the names in it checked before anything is read.

Not for: the table (table.py), the papers (filling.py), files (draft.py).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from ...governance.consent.record import NOTICE_PATTERN
from ...governance.vocabulary import known
from ..errors import BadInputError
from ..study import LEAST_SITES, MOST_SITES
from .division import DEFAULT_TEST_SHARE
from .table import Columns
from .template import TEMPLATES

COORDINATOR, OWNER, STUDY = "coordinator", "owner", "study"
APPROVERS = ("legal", "it")  # of the study and of every site
LEAST_SHARE, MOST_SHARE = 5, 50  # per cent; beyond, there is nothing to test on or nothing to learn from


@dataclass(frozen=True)
class Consented:
    """A person's word that every subject of the table agreed, on that day, to what that notice says."""

    at: datetime
    notice: str


@dataclass(frozen=True)
class Request:
    """What ``sekisho study new`` was asked for."""

    folder: Path
    sites: tuple[str, ...]
    table: Path
    columns: Columns = field(default_factory=Columns)
    separator: str = ","
    test: Path | None = None
    test_share: int = DEFAULT_TEST_SHARE
    base_model: Path | None = None
    licence: str = ""
    country: str = "JP"
    law: str = ""
    consented: Consented | None = None


def study_id(folder: Path) -> str:
    """The id of the study that this folder will be. Raises STUDY_NAME, STUDY_EXISTS."""
    name = folder.resolve().name
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", name):
        raise BadInputError(
            "STUDY_NAME",
            "the folder's name becomes the study's id, and this one cannot",
            "use lower-case letters, digits and . _ - (for instance reviews-2027)",
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInputError(
            "STUDY_EXISTS",
            f"'{folder.name}' is there already and is not an empty folder",
            "nothing was changed; name a new folder, or move this one away",
        )
    return name


def check_request(request: Request) -> None:
    """Raise SITES_UNUSABLE unless sites and people will all have names of their own; TEST_SHARE, NOTICE_UNUSABLE."""
    sites = request.sites
    units = (STUDY, *sites)
    names = [COORDINATOR, OWNER, *units, *(f"{unit}-{role}" for unit in units for role in APPROVERS)]
    usable = all(re.fullmatch(r"[a-z0-9][a-z0-9-]{0,31}", site) for site in sites)
    if not usable or len(set(names)) != len(names) or not LEAST_SITES <= len(sites) <= MOST_SITES:
        raise BadInputError(
            "SITES_UNUSABLE",
            f"a study has {LEAST_SITES} to {MOST_SITES} sites, each with a name of its own",
            "write --sites north,south,east: lower-case letters, digits and -; not coordinator, owner or study",
        )
    if not LEAST_SHARE <= request.test_share <= MOST_SHARE:
        raise BadInputError(
            "TEST_SHARE",
            f"the test set takes {LEAST_SHARE} to {MOST_SHARE} per cent of the subjects",
            "write --test-share 20, or give a test set of its own with --test",
        )
    if request.consented is not None and not NOTICE_PATTERN.fullmatch(request.consented.notice):
        raise BadInputError(
            "NOTICE_UNUSABLE",
            "the notice is not named by an id",
            "--notice is the id of what people were shown (letters, digits and . _ : / -), never its text",
        )


def law_of(request: Request) -> Mapping[str, str]:
    """The law whose starting point fills the clause legal_basis. Raises COUNTRY_UNKNOWN, LAW_UNKNOWN."""
    if not known("countries", request.country):
        raise BadInputError(
            "COUNTRY_UNKNOWN",
            f"'{request.country[:20]}' is not a country that policies can name",
            "--country takes two capital letters (JP, DE); policies/terms/countries.toml lists them",
        )
    templates = tomllib.loads((TEMPLATES / "law.toml").read_text("utf-8"))
    law = request.law or next((name for name, own in templates.items() if request.country in own["countries"]), "")
    if law not in templates:
        raise BadInputError(
            "LAW_UNKNOWN",
            f"there is no template of a legal basis for {request.country}",
            f"start from another law's with --law {' or '.join(templates)}; counsel replaces it in any case",
        )
    chosen: Mapping[str, str] = templates[law]
    return chosen
