"""A study's life: data are touched only while running, with both signatures, and never past a stop."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.governance.errors import Refused
from sekisho.governance.signing.approvals import Approved
from sekisho.governance.signing.lifecycle import Act, Event, Papers, State, after, check_may
from sekisho.governance.signing.stop import StopState


def papers(*, legal: int = 1, it: int = 1, stopped: bool = False) -> Papers:
    approved = Approved({"legal": legal, "it": it, "business": 0}, (), (), True)
    return Papers(approved, {}, StopState(stopped, code="STOPPED" if stopped else ""))


GOOD = papers()


def test_the_whole_life_of_a_study() -> None:
    state = State.DRAFT
    for event in (
        Event.SUBMIT, Event.AMEND, Event.SUBMIT, Event.APPROVE, Event.START, Event.STOP, Event.RESTART,
        Event.START, Event.FINISH, Event.RELEASE, Event.REVOKE, Event.RELEASE, Event.ARCHIVE,
    ):
        state = after(state, event, GOOD)
    assert state is State.ARCHIVED


def test_every_other_move_is_refused_and_nothing_leaves_the_archive() -> None:
    moves = 0
    for state, event in itertools.product(State, Event):
        try:
            after(state, event, GOOD)
            moves += 1
        except Refused as refusal:
            assert refusal.code == "STUDY_STATE" and refusal.hint
    assert moves == 17
    assert all(_refused(State.ARCHIVED, event, GOOD) == "STUDY_STATE" for event in Event)


def _refused(state: State, event: Event, held: Papers) -> str:
    with pytest.raises(Refused) as caught:
        after(state, event, held)
    return caught.value.code


@pytest.mark.parametrize(
    "held", [papers(legal=0), papers(it=0), Papers(GOOD.approved, {"legal": 2}, GOOD.stop),
             Papers(GOOD.approved, {"business": 1}, GOOD.stop)],
)
def test_without_every_signature_nothing_goes_forward(held: Papers) -> None:
    for state, event in (
        (State.REVIEWING, Event.APPROVE), (State.APPROVED, Event.START), (State.STOPPED, Event.RESTART),
        (State.FINISHED, Event.RELEASE),
    ):
        assert _refused(state, event, held) == "STUDY_NOT_APPROVED"


def test_thresholds_cannot_be_set_to_nobody() -> None:
    assert _refused(State.APPROVED, Event.START, papers(legal=0, it=0)) == "STUDY_NOT_APPROVED"
    nobody = Papers(papers(legal=0, it=0).approved, {"legal": 0, "it": 0}, StopState(False))
    assert _refused(State.APPROVED, Event.START, nobody) == "STUDY_NOT_APPROVED"


def test_a_stop_wins_over_signatures() -> None:
    held = papers(stopped=True)
    assert _refused(State.APPROVED, Event.START, held) == "STOPPED"
    assert _refused(State.STOPPED, Event.RESTART, held) == "STOPPED"
    assert after(State.RUNNING, Event.STOP, held) is State.STOPPED  # stopping needs nobody


@settings(deadline=None)
@given(st.lists(st.sampled_from(list(Event)), max_size=12), st.booleans(), st.booleans(), st.booleans())
def test_data_are_never_touched_without_both_signatures(
    events: list[Event], legal: bool, it: bool, stopped: bool
) -> None:
    held = papers(legal=legal, it=it, stopped=stopped)
    state = State.DRAFT
    for event in events:
        try:
            state = after(state, event, held)
        except Refused:
            continue
    try:
        check_may(state, Act.TOUCH_DATA, held)
    except Refused:
        return
    assert legal and it and not stopped and state is State.RUNNING


def test_an_approval_that_lapses_in_the_middle_stops_the_next_touch() -> None:
    check_may(State.RUNNING, Act.TOUCH_DATA, GOOD)
    for held, code in ((papers(it=0), "STUDY_NOT_APPROVED"), (papers(stopped=True), "STOPPED")):
        for act in (Act.TOUCH_DATA, Act.OPEN_SUM):
            with pytest.raises(Refused) as caught:
                check_may(State.RUNNING, act, held)
            assert caught.value.code == code


def test_rehearsing_needs_a_review_and_no_signature() -> None:
    check_may(State.REVIEWING, Act.REHEARSE, papers(legal=0, it=0))
    with pytest.raises(Refused) as caught:
        check_may(State.DRAFT, Act.REHEARSE, GOOD)
    assert caught.value.code == "STUDY_STATE"
