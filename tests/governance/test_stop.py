"""The emergency stop wins: over restarts of its own age, unreadable files, expired rosters and unknown signers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.governance.canonical import digest_bytes
from sekisho.governance.errors import BadSignatureError
from sekisho.governance.signing.approvals import REVOKE, approval_statement
from sekisho.governance.signing.envelope import (
    PREDICATES,
    Envelope,
    Statement,
    Subject,
    sign_statement,
    write_envelopes,
)
from sekisho.governance.signing.keys import SigningKey
from sekisho.governance.signing.roster import Person, Roster
from sekisho.governance.signing.stop import (
    EVERYTHING,
    Orders,
    StopState,
    read_orders,
    restart_statement,
    restart_thresholds,
    stop_state,
    stop_statement,
)

NOW = datetime(2026, 12, 1, tzinfo=UTC)
STUDY = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64
KEYS = {name: SigningKey.from_seed(name.encode().ljust(32, b".")) for name in ("ann", "bob", "cid", "eve")}
PEOPLE = {"ann": ("legal",), "bob": ("it",), "cid": ("business",)}
ROSTER = Roster(
    version=1,
    demo=False,
    created=NOW - timedelta(days=30),
    expires=NOW + timedelta(days=30),
    parties=(),
    people=tuple(Person(name, roles, (KEYS[name].public,), False) for name, roles in PEOPLE.items()),
    roles={"legal": 1, "it": 1, "business": 1},
    fingerprint="sha256:" + "f" * 64,
)


def stop(
    who: str = "cid", digest: str = STUDY, hours: int = -10, role: str = "business", reason: str = "INCIDENT"
) -> Envelope:
    issued = NOW + timedelta(hours=hours)
    subjects = [Subject("study.yaml", digest)]
    statement = stop_statement(role=role, subjects=subjects, reason=reason, issued=issued)
    return sign_statement(statement, [KEYS[who]])


def restart(order: Envelope, who: str, role: str, hours: int = -5) -> Envelope:
    issued = NOW + timedelta(hours=hours)
    digest, expires = digest_bytes(order.payload), NOW + timedelta(days=1)
    statement = restart_statement(ROSTER, digest, role=role, issued=issued, expires=expires)
    return sign_statement(statement, [KEYS[who]])


def files(*envelopes: Envelope) -> Orders:
    return [(f"{n}.dsse.json", write_envelopes([envelope])) for n, envelope in enumerate(envelopes)]


def state(*envelopes: Envelope, roster: Roster = ROSTER) -> StopState:
    return stop_state(roster, files(*envelopes), subjects={STUDY}, now=NOW)


REASON = ("INCIDENT", "DRILL", "QUALITY")  # so that two stops of one hour are two orders
ORDER = stop()
PAIR = (restart(ORDER, "ann", "legal"), restart(ORDER, "bob", "it"))


def test_without_orders_nothing_is_stopped() -> None:
    assert stop_state(ROSTER, [], subjects={STUDY}, now=NOW) == StopState(False)


def test_one_person_stops_and_legal_and_it_restart() -> None:
    stopped = state(ORDER)
    assert stopped.stopped and stopped.code == "STOPPED" and stopped.role == "business"
    assert stopped.since == NOW - timedelta(hours=10)
    assert not state(ORDER, *PAIR).stopped
    assert not state(*reversed(PAIR), ORDER).stopped


@pytest.mark.parametrize("missing", [0, 1])
def test_half_of_the_thresholds_does_not_restart(missing: int) -> None:
    assert state(ORDER, PAIR[1 - missing]).stopped


def test_a_restart_of_one_stop_does_not_lift_another() -> None:
    newer = stop(hours=-2)
    assert state(ORDER, *PAIR, newer).stopped  # replay of the old restart
    older = stop(who="bob", role="it", hours=-20)
    result = state(ORDER, *PAIR, older)  # an older stop that nobody lifted
    assert result.stopped and result.role == "it"


def test_at_equal_times_the_stop_wins() -> None:
    pair = [restart(ORDER, who, role, hours=-10) for who, role in (("ann", "legal"), ("bob", "it"))]
    assert state(ORDER, *pair).stopped


def test_a_restart_that_was_revoked_lifts_nothing() -> None:
    lifted = PAIR[0]
    no = approval_statement(
        ROSTER, role="legal", subjects=restart_statement(
            ROSTER, digest_bytes(ORDER.payload), role="legal", issued=NOW, expires=NOW
        ).subjects, predicate_type=PREDICATES["stop"], issued=NOW, expires=NOW, decision=REVOKE,
    )
    assert state(ORDER, lifted, PAIR[1], sign_statement(no, [KEYS["ann"]])).stopped


def test_a_stop_for_another_study_does_not_stop_this_one_but_one_for_all_does() -> None:
    assert not state(stop(digest=OTHER)).stopped
    assert state(stop(digest=ROSTER.fingerprint)).stopped


def test_a_stop_dated_in_the_future_stops_now() -> None:
    assert state(stop(hours=+48)).stopped


def test_a_stop_holds_under_an_expired_roster_and_nothing_restarts_there() -> None:
    late = NOW + timedelta(days=60)
    assert stop_state(ROSTER, files(ORDER, *PAIR), subjects={STUDY}, now=late).stopped


def test_a_role_that_the_signer_lacks_is_not_shown_but_the_stop_counts() -> None:
    result = state(stop(who="cid", role="legal"))
    assert result.stopped and result.role == "unknown"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (None, "STOP_UNREADABLE"),
        (b"", "STOP_UNREADABLE"),
        (b"stop!", "STOP_UNREADABLE"),
        (ORDER.to_bytes()[:-20], "STOP_UNREADABLE"),
        (stop(who="eve").to_bytes(), "STOP_UNVERIFIED"),
        (ORDER.to_bytes().replace(b'"payload":"ey', b'"payload":"fy'), "STOP_UNVERIFIED"),
    ],
)
def test_a_file_that_cannot_be_read_or_verified_is_a_stop(data: bytes | None, code: str) -> None:
    result = stop_state(ROSTER, [*files(ORDER, *PAIR), ("x.json", data)], subjects={STUDY}, now=NOW)
    assert (result.stopped, result.code, result.file) == (True, code, "x.json")


def test_a_stop_with_a_broken_time_is_a_stop() -> None:
    right = stop_statement(role="it", subjects=[Subject("s", STUDY)], reason="DRILL", issued=NOW)
    broken = Statement(right.subjects, right.predicate_type, {**right.predicate, "issued": "yesterday"})
    assert state(sign_statement(broken, [KEYS["bob"]])).code == "STOP_UNVERIFIED"


def test_a_reason_in_free_text_is_refused() -> None:
    with pytest.raises(BadSignatureError) as caught:
        stop_statement(role="it", subjects=[Subject("s", STUDY)], reason="Ms Tanaka called", issued=NOW)
    assert caught.value.code == "STOP_MALFORMED"


def test_orders_are_read_from_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "stop"
    assert not stop_state(ROSTER, read_orders(folder), subjects={STUDY}, now=NOW).stopped
    folder.mkdir()
    (folder / "b.dsse.json").write_bytes(ORDER.to_bytes())
    assert stop_state(ROSTER, read_orders(folder), subjects={STUDY}, now=NOW).stopped
    (folder / "c.dsse.json").write_bytes(write_envelopes(PAIR))
    assert not stop_state(ROSTER, read_orders(folder), subjects={STUDY}, now=NOW).stopped
    (folder / "a").mkdir()  # something that is not a file
    assert stop_state(ROSTER, read_orders(folder), subjects={STUDY}, now=NOW).code == "STOP_UNREADABLE"


def test_a_policy_may_want_more_roles_than_legal_and_it_before_a_restart() -> None:
    orders = files(ORDER, *PAIR)
    wanted = {"legal", "it", "business"}
    assert stop_state(ROSTER, orders, subjects={STUDY}, now=NOW, restart_by=wanted).stopped
    more = restart(ORDER, "cid", "business")
    assert not stop_state(ROSTER, files(ORDER, *PAIR, more), subjects={STUDY}, now=NOW, restart_by=wanted).stopped
    # legal and it are wanted by everybody, whatever a policy says
    alone = files(ORDER, more)
    assert stop_state(ROSTER, alone, subjects={STUDY}, now=NOW, restart_by={"business"}).stopped


def test_a_role_that_nobody_holds_cannot_be_demanded_and_is_not_told_as_demanded() -> None:
    assert restart_thresholds(ROSTER, {"compliance", "business"}) == {"legal": 1, "it": 1, "business": 1}
    without_key = replace(ROSTER, people=tuple(replace(one, keys=()) for one in ROSTER.people))
    assert restart_thresholds(without_key, {"business"}) == {"legal": 1, "it": 1}


@pytest.mark.parametrize("scope", [EVERYTHING, "small-study"])
def test_an_amended_study_does_not_slip_out_from_under_a_stop(scope: str) -> None:
    subjects = [Subject("study.yaml", OTHER)]  # as it was when the stop was signed
    statement = stop_statement(
        role="business", subjects=subjects, reason="INCIDENT", issued=NOW - timedelta(hours=1), scope=scope
    )
    orders = files(sign_statement(statement, [KEYS["cid"]]))
    assert stop_state(ROSTER, orders, subjects={STUDY}, now=NOW, study="small-study").stopped
    assert stop_state(ROSTER, orders, subjects={STUDY}, now=NOW, study="other").stopped == (scope == EVERYTHING)


def test_a_stop_for_everything_outlives_the_roster_that_it_was_signed_under() -> None:
    subjects = [Subject("roster.yaml", ROSTER.fingerprint)]
    statement = stop_statement(role="it", subjects=subjects, reason="INCIDENT", issued=NOW, scope=EVERYTHING)
    following = replace(ROSTER, version=2, fingerprint="sha256:" + "e" * 64)
    orders = files(sign_statement(statement, [KEYS["bob"]]))
    assert stop_state(following, orders, subjects={STUDY}, now=NOW).stopped


# One move of a race: whose order or restart, and at which hour. A restart names one of the stops.
MOVES = st.one_of(
    st.tuples(st.just("stop"), st.integers(0, 2), st.integers(-6, -1)),
    st.tuples(st.sampled_from(["ann", "bob", "cid"]), st.integers(0, 2), st.integers(-6, -1)),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(MOVES, max_size=9), st.randoms(use_true_random=False))
def test_stop_wins_every_race(moves: list[tuple[str, int, int]], shuffle: Random) -> None:
    """Whatever order the files came in: stopped as long as one stop lacks a later yes of legal and of it."""
    stops = {number: hour for kind, number, hour in moves if kind == "stop"}
    role = {"ann": "legal", "bob": "it", "cid": "business"}
    made = {number: stop(hours=hour, reason=REASON[number]) for number, hour in stops.items()}
    found = list(made.values())
    yes: dict[int, set[str]] = {number: set() for number in stops}
    for who, number, hour in moves:
        if who != "stop" and number in stops:
            found.append(restart(made[number], who, role[who], hours=hour))
            if hour > stops[number]:  # at equal times the stop wins
                yes[number].add(role[who])
    expected = any(not signed >= {"legal", "it"} for signed in yes.values())
    shuffle.shuffle(found)
    assert state(*found).stopped == expected
