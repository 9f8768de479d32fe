"""Where one subject stands in one scope, as the one event that decides; and what that event answers now.

For: the rule of consent, as pure functions; no I/O. ``judge`` is the whole rule on all events. ``decisive`` folds the
     same events, in any order, into the one ``Standing`` that a register can look up, and ``read`` answers from it;
     where it cannot (a grant that is dated ahead hides an earlier one) it says so with None, and ``judge`` is asked.
Not for: thresholds: nothing here counts people.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from .record import ConsentEvent, EventKind, microseconds

NO_END = 2**62           # later than any time that datetime knows (2**58 microseconds), and an SQLite integer


class Reason(StrEnum):
    """Why a subject may or may not be used; GRANTED is the only yes."""

    GRANTED = "granted"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    NEVER_ASKED = "never-asked"
    OBJECTED = "objected"
    NOT_YET_VALID = "not-yet-valid"
    OTHER_SCOPE = "other-scope"


@dataclass(frozen=True)
class ConsentStatus:
    """One subject's answer for one scope at one time."""

    eligible: bool
    reason: Reason


def judge(events: Iterable[ConsentEvent], *, scope: str, now: datetime) -> ConsentStatus:
    """The rule, on all events of ONE subject. Every doubt is a no.

    1. An objection stands, whatever came before or after it: lifting one is a matter for people, not dates.
    2. Otherwise the latest event of this scope decides; at the same instant a withdrawal is the later one.
       A grant counts from its own time on; a withdrawal counts as soon as it is known, even if dated ahead.
    3. A grant with an end counts until just before that end.
    """
    known = tuple(events)
    asked = [event for event in known if event.scope == scope]
    if any(event.kind is EventKind.OBJECTED for event in asked):
        return ConsentStatus(False, Reason.OBJECTED)
    if not asked:
        return ConsentStatus(False, Reason.OTHER_SCOPE if known else Reason.NEVER_ASKED)
    counting = [event for event in asked if event.kind is EventKind.WITHDRAWN or event.at <= now]
    if not counting:
        return ConsentStatus(False, Reason.NOT_YET_VALID)
    latest = max(event.at for event in counting)
    deciding = [event for event in counting if event.at == latest]
    if any(event.kind is EventKind.WITHDRAWN for event in deciding):
        return ConsentStatus(False, Reason.WITHDRAWN)
    if any(event.expires is not None and event.expires <= now for event in deciding):
        return ConsentStatus(False, Reason.EXPIRED)
    return ConsentStatus(True, Reason.GRANTED)


class Standing(NamedTuple):
    """The event that decides: its rank (below), its time and its end in microseconds since 1970, UTC."""

    rank: int
    at: int
    expires: int


GRANT, WITHDRAWAL, OBJECTION = 0, 1, 2      # at the same instant the higher one decides
RANKS = {EventKind.GRANTED: GRANT, EventKind.WITHDRAWN: WITHDRAWAL, EventKind.OBJECTED: OBJECTION}


def standing_of(event: ConsentEvent) -> Standing:
    """What one event would decide alone."""
    end = NO_END if event.expires is None else microseconds(event.expires)
    return Standing(RANKS[event.kind], microseconds(event.at), end)


def decisive(one: Standing, other: Standing) -> Standing:
    """Which of two events decides: associative and commutative, so the order in which they become known is nothing."""
    return max(one, other, key=_weight)


def _weight(standing: Standing) -> tuple[bool, int, int, int]:
    # an objection outweighs any date; of two grants at one instant the one that ends first is obeyed
    return (standing.rank == OBJECTION, standing.at, standing.rank, -standing.expires)


def read(rank: int | None, at: int, expires: int, now: int) -> Reason | None:
    """What ``judge`` says of a known subject whose events fold into this ``Standing``, taken apart for speed.

    ``rank`` None: no event of the scope. The answer None: only ``judge`` itself can tell.
    """
    if rank == GRANT:
        if at > now:
            return None
        return Reason.EXPIRED if expires <= now else Reason.GRANTED
    if rank is None:
        return Reason.OTHER_SCOPE
    return Reason.WITHDRAWN if rank == WITHDRAWAL else Reason.OBJECTED
