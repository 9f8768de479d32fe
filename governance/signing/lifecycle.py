"""The life of a study as one small state machine: which papers must lie there before what may happen.

For: answering "in which state is this study, and may I do this now?" from papers and events alone. Not for:
reading the papers, counting signatures (``approvals``) or looking for stop orders (``stop``).

    draft -> reviewing -> approved -> running -> finished -> released -> archived
    reviewing or approved -> draft (amended)        released -> finished (revoked)
    approved or running -> stopped                  stopped -> approved (restarted) or archived
    finished or released -> running (next run)      running -> approved (broken off: a run without a result)

Order of calls: ``state_of(papers, last)`` says where a study stands; ``after(state, event, papers)`` moves it and
refuses every other move; ``check_may(state, act, papers)`` is asked before an act. Data are touched in ``running``
only, and a stop wins in every state.
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
    BREAK_OFF = "break-off"        # a run ended without a result; what it started stays charged


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
        (State.RUNNING, Event.BREAK_OFF): State.APPROVED,
        (State.STOPPED, Event.RESTART): State.APPROVED,
        (State.STOPPED, Event.ARCHIVE): State.ARCHIVED,
        (State.FINISHED, Event.RELEASE): State.RELEASED,
        (State.FINISHED, Event.START): State.RUNNING,
        (State.FINISHED, Event.ARCHIVE): State.ARCHIVED,
        (State.RELEASED, Event.START): State.RUNNING,
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
# What a party's own log says a study has come to, by the entry that is last among these.
_BY_ENTRY: Mapping[str, State] = MappingProxyType(
    {
        "study.offered": State.RUNNING,
        "budget.reserved": State.RUNNING,
        "run.finished": State.FINISHED,
        "release.published": State.RELEASED,
    }
)
BROKEN_OFF = "run.stopped"      # also logged where no run was open: it ends a running study and no other
MILESTONES = (*_BY_ENTRY, BROKEN_OFF)
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

    @property
    def missing(self) -> tuple[str, ...]:
        """The roles whose approvals are missing; legal and it always count among those asked for."""
        required = {role: max(1, self.thresholds.get(role, 1)) for role in REQUIRED_ROLES}
        return self.approved.missing({**self.thresholds, **required})


def state_of(papers: Papers, last: Mapping[str, int]) -> State:
    """Where a study stands by its papers and a party's log: ``last`` is the number of the last entry of each type."""
    # 1. An amended or unsigned study is under review again, whatever was run before.
    if papers.missing:
        return State.REVIEWING
    # 2. What came last; a run that was broken off leaves an approved study.
    reached = {kind: number for kind, number in last.items() if kind in _BY_ENTRY}
    latest = max(reached, key=lambda kind: reached[kind], default=None)
    state = State.APPROVED if latest is None else _BY_ENTRY[latest]
    if state is State.RUNNING and last.get(BROKEN_OFF, -1) > max(reached.values()):
        state = after(state, Event.BREAK_OFF, papers)
    # 3. A stop stops whatever could still go on.
    if papers.stop.stopped and (state, Event.STOP) in _MOVES:
        state = after(state, Event.STOP, papers)
    return state


def after(state: State, event: Event, papers: Papers) -> State:
    """The state after an event.

    Raises:
        Refused: STUDY_STATE (no such move), STOPPED, STUDY_NOT_APPROVED.
    """
    # 1. Nothing goes forward past a stop, or without both signatures; of two reasons this is the one to mend.
    if event in _GUARDED:
        _check_papers(papers)
    # 2. The move exists.
    target = _MOVES.get((state, event))
    if target is None:
        raise Refused(
            "STUDY_STATE", f"a study that is {state} cannot {event}", f"possible now: {_possible(state)}"
        )
    return target


def check_may(state: State, act: Act, papers: Papers) -> None:
    """Return if the act is allowed in this state with these papers.

    Raises:
        Refused: STUDY_STATE, STOPPED, STUDY_NOT_APPROVED.
    """
    # 1. The papers still hold: an approval may have expired or been revoked since the state was entered.
    if act is not Act.REHEARSE:
        _check_papers(papers)
    # 2. The state allows the act.
    if state not in _ALLOWED[act]:
        raise Refused(
            "STUDY_STATE", f"a study that is {state} does not allow this", "see the study's state and papers"
        )


def _check_papers(papers: Papers) -> None:
    if papers.stop.stopped:
        raise Refused(
            "STOPPED", "an emergency stop is in force", "legal and it lift it by signing its restart"
        )
    if papers.missing:
        raise Refused(
            "STUDY_NOT_APPROVED", f"approvals are missing from {', '.join(papers.missing)}",
            "have each role sign the study file as it is now",
        )


def _possible(state: State) -> str:
    return ", ".join(str(event) for origin, event in _MOVES if origin is state) or "nothing"
