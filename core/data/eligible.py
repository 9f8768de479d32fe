"""Records + consent now -> the subjects of this moment, and why not the others.

Eligibility of one subject depends on that subject's own consent and objection alone, never on anybody else's
(review_protocol.md, 8). Subjects may leave during a run, never enter: ``still_eligible`` only narrows.

Not here: budgets (the ledger admits subjects at the join) and sampling (training).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ...governance.consent.consent import ConsentRegister
from ..errors import Refused


@dataclass(frozen=True)
class Eligible:
    """Subjects that may be used, in order of id, and how many may not, by reason. The reasons stay at the site."""

    subjects: tuple[str, ...]
    excluded: Mapping[str, int]


def eligible_subjects(
    subjects: Sequence[str], register: ConsentRegister, *, scope: str, now: datetime, site: str
) -> Eligible:
    """Who of ``subjects`` may be used for ``scope`` at ``now``. Raises ``Refused`` when nobody may."""
    kept, excluded = register.eligible(sorted(subjects), scope=scope, now=now)
    if not kept:
        raise Refused(
            "NO_ELIGIBLE_SUBJECTS",
            f"{site}: no subject has given consent that is valid now for '{scope}'",
            hint="`sekisho site consent` counts the reasons; nothing was charged or sent",
            site=site,
        )
    return Eligible(tuple(kept), dict(excluded))


def still_eligible(
    joined: Sequence[str], register: ConsentRegister, *, scope: str, now: datetime
) -> tuple[str, ...]:
    """Who of those that joined may still be used; may be empty: the step then discloses noise, and is charged."""
    kept, _ = register.eligible(sorted(joined), scope=scope, now=now)
    return tuple(kept)
