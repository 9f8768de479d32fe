"""The parts that a study may leave out: validation between blocks of steps, and what a release depends on.

For: values of the file, signed with it. Not for: what they do (site/voting.py, site/publish.py), what they cost
(planning.py).

Without ``validation`` no block is judged, and a release says so. Without ``release`` a release depends on what every
release depends on; the section adds to that and takes nothing away.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field

from ..governance.document import Document, DocumentModel, Exact, Identifier
from ..governance.language import Text
from ..privacy.budget import MAXIMUM_EPSILON

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

LEAST_HELD_OUT, MOST_HELD_OUT = Decimal("0.05"), Decimal("0.5")
LONGEST_VALIDITY = 3650  # days; a release is looked at again at least every ten years

ReleaseCondition = Literal["validation", "class-drop", "audit", "licence", "approvals"]


def frozen(value: Mapping[_Key, _Value]) -> Mapping[_Key, _Value]:
    """A mapping of a file that nobody can change afterwards."""
    return MappingProxyType(dict(value))


class ValidationSettings(DocumentModel):
    """After every ``every`` completed steps the sites count, on people who never train, who is judged rightly.

    ``held_out``: the share of people kept for that, drawn once at each site by a key of its own. ``epsilon`` and
    ``delta``: for a person who is counted, over all counts of one run; nobody is both trained on and counted, so a
    person pays for one of the two. ``least``: the share ordered rightly, each class counting alike, below
    which no block is accepted. ``rejections``: how many blocks may be rolled back before the run ends with the last
    accepted state.
    """

    every: Annotated[int, Field(ge=1, le=10_000)]
    held_out: Exact
    epsilon: Exact
    delta: Exact
    least: Exact
    rejections: Annotated[int, Field(ge=0, le=100)]


class ReleaseTerms(DocumentModel):
    """What a release depends on beyond the policies, and what its recipients are told.

    ``conditions`` must have been checked and passed. ``class_drop``: the largest fall of the share ordered rightly in
    one class, from the first validation on. ``data_licences``: the terms of each site's data, by site
    (policies/licences.toml). ``approvals``: signatures on the release itself, by role.
    """

    conditions: Annotated[tuple[ReleaseCondition, ...], Field(max_length=10)] = ()
    class_drop: Exact | None = None
    data_licences: Annotated[Mapping[str, Identifier], AfterValidator(frozen)] = Field(default_factory=dict)
    approvals: Annotated[Mapping[str, Annotated[int, Field(ge=1, le=10)]], AfterValidator(frozen)] = Field(
        default_factory=dict
    )
    prohibited_uses: Annotated[tuple[Text, ...], Field(max_length=50)] = ()
    valid_days: Annotated[int, Field(ge=1, le=LONGEST_VALIDITY)] = 365


def check_validation(document: Document, settings: ValidationSettings) -> None:
    """Refuse figures that no validation has. Raises ``BadDocumentError`` STUDY_VALIDATION."""
    wrong = [
        ("held_out", not LEAST_HELD_OUT <= settings.held_out <= MOST_HELD_OUT, "hold out between 0.05 and 0.5"),
        ("epsilon", not 0 < settings.epsilon <= MAXIMUM_EPSILON, f"epsilon is above 0 and at most {MAXIMUM_EPSILON}"),
        ("delta", not 0 < settings.delta < 1, "delta lies between 0 and 1"),
        ("least", not 0 <= settings.least < 1, "write a share, e.g. \"0.55\""),
    ]
    for field, bad, hint in wrong:
        if bad:
            document.refuse("STUDY_VALIDATION", f"validation's {field} is out of its range", hint,
                            ("validation", field))


def check_release(document: Document, terms: ReleaseTerms, sites: tuple[str, ...], *, validated: bool) -> None:
    """Refuse conditions that can never hold. Raises ``BadDocumentError`` STUDY_RELEASE."""
    needs = {"validation", "class-drop"} & set(terms.conditions)
    if needs and not validated:
        document.refuse("STUDY_RELEASE", f"the release depends on {min(needs)} and the study has no validation",
                        "add the section validation, or drop the condition", ("release", "conditions"))
    if "class-drop" in terms.conditions and terms.class_drop is None:
        document.refuse("STUDY_RELEASE", "the release depends on class-drop and names no figure",
                        "write class_drop, e.g. \"0.15\"", ("release",))
    if "approvals" in terms.conditions and not terms.approvals:
        document.refuse("STUDY_RELEASE", "the release depends on approvals and names no role",
                        "write approvals, e.g. {legal: 1, it: 1}", ("release",))
    for site in terms.data_licences:
        if site not in sites:
            document.refuse("STUDY_RELEASE", f"{site} is not one of the study's sites", "name it, or remove it",
                            ("release", "data_licences", site), key=True)
