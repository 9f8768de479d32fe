"""Attacks on stopping and going on: by parties, by people who left, with exchanged keys, by leaving things out."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from sekisho.core.errors import Refused
from sekisho.core.paperwork.stopping import check_key
from sekisho.governance.canonical import digest_bytes
from sekisho.governance.signing.envelope import Envelope, Statement, Subject, sign_statement, write_envelopes
from sekisho.governance.signing.keys import SigningKey, demo_key
from sekisho.governance.signing.roster import Roster
from sekisho.governance.signing.stop import (
    EVERYTHING,
    Orders,
    StopState,
    read_orders,
    restart_statement,
    stop_state,
    stop_statement,
)
from sekisho.governance.signing.stop_list import list_state, stop_list_statement

from ..governance.roster_chain import EXPIRES, NOW, key, roster

PEOPLE = {"lea": ["legal"], "leo": ["legal"], "ida": ["it"]}
ONE_EACH = {"legal": 1, "it": 1}
ROSTER = roster(2, people=PEOPLE, roles=ONE_EACH)
STUDY = "sha256:" + "a" * 64
HOUR = timedelta(hours=1)


def stop(name: str = "ida", *, role: str = "it", scope: str = "", by: SigningKey | None = None) -> Envelope:
    subject = Subject("study.yaml", STUDY)
    statement = stop_statement(role=role, subjects=[subject], reason="INCIDENT", issued=NOW - 2 * HOUR, scope=scope)
    return sign_statement(statement, [by or key(name)])


def restart(order: Envelope, name: str, role: str, under: Roster = ROSTER) -> Envelope:
    digest = digest_bytes(order.payload)
    statement = restart_statement(under, digest, role=role, issued=NOW - HOUR, expires=EXPIRES)
    return sign_statement(statement, [key(name)])


def files(*envelopes: Envelope) -> Orders:
    return [(f"{number}.dsse.json", write_envelopes([one])) for number, one in enumerate(envelopes)]


def state(*envelopes: Envelope, under: Roster = ROSTER, study: str = "") -> StopState:
    return stop_state(under, files(*envelopes), subjects={STUDY}, now=NOW, study=study)


def test_two_people_of_legal_do_not_go_on_without_it() -> None:
    order = stop()
    assert state(order, restart(order, "lea", "legal"), restart(order, "leo", "legal")).stopped
    assert not state(order, restart(order, "lea", "legal"), restart(order, "ida", "it")).stopped


def test_one_person_of_legal_does_not_sign_for_it() -> None:
    order = stop()
    assert state(order, restart(order, "lea", "legal"), restart(order, "leo", "it")).stopped


def test_whoever_was_taken_out_of_the_roster_lifts_nothing_and_their_stop_holds() -> None:
    order = stop("lea", role="legal")
    pair = restart(order, "leo", "legal"), restart(order, "ida", "it")
    later = roster(3, people={"lea": ["legal"], "ida": ["it"]}, roles=ONE_EACH)  # leo has left
    assert state(order, *pair, under=later).code == "STOP_UNVERIFIED"  # where the version before is not known
    known = replace(later, former=ROSTER.people)
    assert state(order, *pair, under=known).code == "STOPPED"  # and where it is, his word counts no more
    again = restart(order, "lea", "legal", under=known)
    assert not state(order, *pair, again, under=known).stopped  # somebody who is in it signs, and all goes on
    without_lea = replace(roster(3, people={"leo": ["legal"], "ida": ["it"]}, roles=ONE_EACH), former=ROSTER.people)
    assert state(order, under=without_lea).code == "STOPPED"
    assert not state(order, *pair, under=without_lea).stopped


def test_a_key_that_was_exchanged_lifts_nothing() -> None:
    order = stop()
    pair = restart(order, "lea", "legal"), restart(order, "ida", "it")
    later = replace(roster(3, people=PEOPLE, keys={"lea": ["lea-2"]}, roles=ONE_EACH), former=ROSTER.people)
    assert state(order, *pair, under=later).code == "STOPPED"
    again = restart(order, "lea-2", "legal", under=later)
    assert not state(order, *pair, again, under=later).stopped


@pytest.mark.parametrize("party", ["hub", "kohi", "wanko"])
def test_a_party_neither_stops_in_a_persons_name_nor_goes_on(party: str) -> None:
    order = stop()
    # what a party signs is nobody's order: it stands still, and says that somebody should look
    assert state(stop(party)).code == "STOP_UNVERIFIED"
    assert state(order, restart(order, party, "legal"), restart(order, "ida", "it")).code == "STOP_UNVERIFIED"


def test_an_order_whose_scope_was_narrowed_by_a_forger_is_unverified() -> None:
    order = stop(scope=EVERYTHING)
    said = Statement.from_bytes(order.payload)
    narrowed = Statement(said.subjects, said.predicate_type, {**said.predicate, "scope": "another-study"})
    forged = Envelope(order.payload_type, narrowed.to_bytes(), order.signatures)
    assert state(forged).code == "STOP_UNVERIFIED"


def test_a_stop_named_by_the_study_follows_it_through_amendment_and_succession() -> None:
    order = stop(scope="small-study")
    other = "sha256:" + "b" * 64
    later = roster(3, people=PEOPLE, roles=ONE_EACH)
    assert stop_state(later, files(order), subjects={other}, now=NOW, study="small-study").stopped


def test_a_withheld_order_is_missed_and_a_list_that_leaves_it_out_is_signed_evidence() -> None:
    order = stop()
    honest = sign_statement(
        stop_list_statement(ROSTER, files(order), known=frozenset(), issued=NOW - HOUR), [key("lea")]
    )
    liar = sign_statement(stop_list_statement(ROSTER, [], known=frozenset(), issued=NOW), [key("hub")])
    seen = list_state(ROSTER, write_envelopes([honest, liar]), [], now=NOW)
    assert seen.code == "STOP_ORDER_MISSING"
    # alone, the lie is believed: that is what can be done to a site that nobody else talks to. It is signed, though
    alone = list_state(ROSTER, liar.to_bytes(), [], now=NOW)
    assert alone.code == "" and Statement.from_bytes(liar.payload).predicate["orders"] == []


def test_a_demo_key_signs_no_stop_outside_a_demo() -> None:
    person = ROSTER.people[0]
    with pytest.raises(Refused) as caught:
        check_key(ROSTER, person, demo_key(person.pseudonym))
    assert caught.value.code == "DEMO_KEY_REFUSED"


def test_a_thousand_files_in_the_folder_hide_no_order(tmp_path: Path) -> None:
    for number in range(1001):
        (tmp_path / f"{number:04d}.dsse.json").write_bytes(b"")
    assert stop_state(ROSTER, read_orders(tmp_path), subjects={STUDY}, now=NOW).code == "STOP_UNREADABLE"
