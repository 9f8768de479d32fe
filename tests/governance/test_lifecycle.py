"""A study's life: data are touched only while running, with both signatures, and never past a stop."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sekisho.governance.errors import Refused
from sekisho.governance.signing.approvals import Approved
from sekisho.governance.signing.lifecycle import Act, Event, Papers, State, after, check_may, state_of
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


def test_a_study_stands_where_its_papers_and_its_last_entry_say() -> None:
    unsigned, stopped = papers(it=0), papers(stopped=True)
    for last, expected in (
        ({}, State.APPROVED),
        ({"budget.reserved": 4}, State.RUNNING),
        ({"study.offered": 4}, State.RUNNING),
        ({"budget.reserved": 4, "run.stopped": 5}, State.APPROVED),
        ({"budget.reserved": 6, "run.stopped": 5}, State.RUNNING),
        ({"budget.reserved": 4, "run.finished": 5}, State.FINISHED),
        ({"budget.reserved": 4, "run.finished": 5, "run.stopped": 9}, State.FINISHED),  # a later offer was refused
        ({"budget.reserved": 4, "run.finished": 5, "release.published": 6}, State.RELEASED),
        ({"budget.reserved": 7, "run.finished": 5, "release.published": 6}, State.RUNNING),
        ({"run.stopped": 1}, State.APPROVED),
    ):
        assert state_of(GOOD, last) is expected, last
        assert state_of(unsigned, last) is State.REVIEWING  # amended, revoked or expired: under review again
        halts = expected in (State.APPROVED, State.RUNNING)
        assert state_of(stopped, last) is (State.STOPPED if halts else expected)


class Life(RuleBasedStateMachine):
    """The machine beside a model that knows no table: flags, and what each event needs and does, in words."""

    def __init__(self) -> None:
        super().__init__()
        self.state = State.DRAFT
        self.shown = self.open = self.done = self.out = self.gone = False
        self.agreed = self.halted = False
        self.legal = self.it = 0
        self.order = False

    @rule(legal=st.integers(0, 2), it=st.integers(0, 2), order=st.booleans())
    def papers_change(self, legal: int, it: int, order: bool) -> None:
        self.legal, self.it, self.order = legal, it, order

    @rule(event=st.sampled_from(list(Event)))
    def something_happens(self, event: Event) -> None:
        held = papers(legal=self.legal, it=self.it, stopped=self.order)
        try:
            self.state = after(self.state, event, held)
            moved = True
        except Refused:
            moved = False
        assert moved == self._model(event), (event, self.state)

    def _model(self, event: Event) -> bool:
        free = self.legal > 0 and self.it > 0 and not self.order
        idle = self.agreed and not self.open and not self.halted and not self.gone
        ready = self.shown and not self.agreed
        if event is Event.SUBMIT and not self.shown and not self.gone:
            self.shown = True
        elif event is Event.AMEND and (ready or (idle and not self.done)):
            self.shown = self.agreed = False
        elif event is Event.APPROVE and ready and free:
            self.agreed = True
        elif event is Event.START and idle and free:
            self.open, self.done, self.out = True, False, False
        elif event is Event.FINISH and self.open:
            self.open, self.done = False, True
        elif event is Event.BREAK_OFF and self.open:
            self.open = False
        elif event is Event.STOP and (self.open or (idle and not self.done)):
            self.open, self.halted = False, True
        elif event is Event.RESTART and self.halted and free:
            self.halted = False
        elif event is Event.RELEASE and idle and self.done and not self.out and free:
            self.out = True
        elif event is Event.REVOKE and idle and self.out:
            self.out = False
        elif event is Event.ARCHIVE and (self.halted or (idle and self.done)):
            self.gone, self.halted = True, False
        else:
            return False
        return True

    @invariant()
    def acts_are_allowed_where_the_model_says(self) -> None:
        free = self.legal > 0 and self.it > 0 and not self.order
        held = papers(legal=self.legal, it=self.it, stopped=self.order)
        settled = not self.gone and not self.halted
        expected = {
            Act.REHEARSE: self.shown and settled and not self.done,
            Act.TOUCH_DATA: self.open and free,
            Act.OPEN_SUM: self.open and free,
            Act.PUBLISH: self.done and not self.out and settled and free,
            Act.USE: self.out and settled and free,
        }
        for act, allowed in expected.items():
            try:
                check_may(self.state, act, held)
                may = True
            except Refused:
                may = False
            assert may == allowed, (act, self.state)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
