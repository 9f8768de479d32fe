"""The life of a study as one small state machine: which papers must lie there before what may happen.

For: answering "in which state is this study, and may I do this now?" from papers and events alone. Not for:
reading the papers, counting signatures (``approvals``) or looking for stop orders (``stop``).

    draft -> reviewing -> approved -> running -> finished -> released -> archived
    reviewing or approved -> draft (amended)        released -> finished (revoked)
    approved or running -> stopped                  stopped -> approved (restarted) or archived

Order of calls: ``after(state, event, papers)`` moves a study and refuses every other move; ``check_may(state,
act, papers)`` is asked before an act. Data are touched in ``running`` only, and a stop wins in every state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from ..errors import Refused
from .approvals import Approved
from .roster import REQUIRED_ROLES
from .stop import StopState


class State(StrEnum):
    """Where a study stands."""

    DRAFT = "draft"
    REVIEWING = "reviewing"
    APPROVED = "approved"
    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"
    RELEASED = "released"
    ARCHIVED = "archived"


class Event(StrEnum):
    """What moves a study."""

    SUBMIT = "submit"
    AMEND = "amend"
    APPROVE = "approve"
    START = "start"
    FINISH = "finish"
    STOP = "stop"
    RESTART = "restart"
    RELEASE = "release"
    REVOKE = "revoke"
    ARCHIVE = "archive"


class Act(StrEnum):
    """What somebody wants to do with a study."""

    REHEARSE = "rehearse"          # checks without data: decide, estimate cost
    TOUCH_DATA = "touch-data"
    OPEN_SUM = "open-sum"
    PUBLISH = "publish"
    USE = "use"


_MOVES: Mapping[tuple[State, Event], State] = MappingProxyType(
    {
        (State.DRAFT, Event.SUBMIT): State.REVIEWING,
        (State.REVIEWING, Event.AMEND): State.DRAFT,
        (State.REVIEWING, Event.APPROVE): State.APPROVED,
        (State.APPROVED, Event.AMEND): State.DRAFT,
        (State.APPROVED, Event.START): State.RUNNING,
        (State.APPROVED, Event.STOP): State.STOPPED,
        (State.RUNNING, Event.FINISH): State.FINISHED,
        (State.RUNNING, Event.STOP): State.STOPPED,
        (State.STOPPED, Event.RESTART): State.APPROVED,
        (State.STOPPED, Event.ARCHIVE): State.ARCHIVED,
        (State.FINISHED, Event.RELEASE): State.RELEASED,
        (State.FINISHED, Event.ARCHIVE): State.ARCHIVED,
        (State.RELEASED, Event.REVOKE): State.FINISHED,
        (State.RELEASED, Event.ARCHIVE): State.ARCHIVED,
    }
)
_ALLOWED: Mapping[Act, frozenset[State]] = MappingProxyType(
    {
        Act.REHEARSE: frozenset({State.REVIEWING, State.APPROVED, State.RUNNING}),
        Act.TOUCH_DATA: frozenset({State.RUNNING}),
        Act.OPEN_SUM: frozenset({State.RUNNING}),
        Act.PUBLISH: frozenset({State.FINISHED}),
        Act.USE: frozenset({State.RELEASED}),
    }
)
# Moves after which data may be touched or results leave: they want approvals, and no stop.
_GUARDED = frozenset({Event.APPROVE, Event.START, Event.RESTART, Event.RELEASE})


@dataclass(frozen=True)
class Papers:
    """What lies on the table: approvals of the study (for a release: of the release) and the stop orders.

    ``thresholds`` are the numbers that policy and roster ask for; legal and it are asked for in any case.
    """

    approved: Approved
    thresholds: Mapping[str, int]
    stop: StopState


def after(state: State, event: Event, papers: Papers) -> State:
    """The state after an event.

    Raises:
        Refused: STUDY_STATE (no such move), STOPPED, STUDY_NOT_APPROVED.
    """
    # 1. The move exists.
    target = _MOVES.get((state, event))
    if target is None:
        raise Refused(
            "STUDY_STATE", f"a study that is {state} cannot {event}", f"possible now: {_possible(state)}"
        )
    # 2. Nothing goes forward past a stop, or without both signatures.
    if event in _GUARDED:
        _check_papers(papers)
    return target


def check_may(state: State, act: Act, papers: Papers) -> None:
    """Return if the act is allowed in this state with these papers.

    Raises:
        Refused: STUDY_STATE, STOPPED, STUDY_NOT_APPROVED.
    """
    # 1. The state allows the act.
    if state not in _ALLOWED[act]:
        raise Refused(
            "STUDY_STATE", f"a study that is {state} does not allow this", "see the study's state and papers"
        )
    # 2. The papers still hold: an approval may have expired or been revoked since the state was entered.
    if act is not Act.REHEARSE:
        _check_papers(papers)


def _check_papers(papers: Papers) -> None:
    if papers.stop.stopped:
        raise Refused(
            "STOPPED", "an emergency stop is in force", "legal and it lift it by signing its restart"
        )
    required = {role: max(1, papers.thresholds.get(role, 1)) for role in REQUIRED_ROLES}
    missing = papers.approved.missing({**papers.thresholds, **required})
    if missing:
        raise Refused(
            "STUDY_NOT_APPROVED", f"approvals are missing from {', '.join(missing)}",
            "have each role sign the study file as it is now",
        )


def _possible(state: State) -> str:
    return ", ".join(str(event) for origin, event in _MOVES if origin is state) or "nothing"
