"""Attacks on stopping and going on: by parties, by people who left, with exchanged keys, by leaving things out."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from sekisho.core.coordinator.stop_list import StopListKeeper
from sekisho.core.errors import BadInputError, Refused
from sekisho.core.paperwork.stopping import check_key
from sekisho.governance.canonical import digest_bytes
from sekisho.governance.errors import GovernanceError
from sekisho.governance.signing.envelope import Envelope, Statement, Subject, sign_statement, write_envelopes
from sekisho.governance.signing.keys import SigningKey, demo_key
from sekisho.governance.signing.roster import Roster
from sekisho.governance.signing.stop import (
    EVERYTHING,
    LIST,
    Orders,
    StopState,
    read_list,
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


def acting(**acts: str) -> Roster:
    """The roster in which these people act for these sites, the others for none."""
    people = tuple(
        replace(one, acts_for=tuple(acts.get(one.pseudonym, "").split())) for one in roster(2, people=TWO_HOUSES).people
    )
    return replace(ROSTER, people=people)


TWO_HOUSES = {"lea": ["legal"], "ida": ["it"], "leo": ["legal"], "ivo": ["it"]}
HOUSES = acting(lea="kohi", ida="kohi", leo="wanko", ivo="wanko")


def test_the_legal_and_it_of_one_company_do_not_lift_the_stop_of_another() -> None:
    order = stop("lea", role="legal")
    theirs = restart(order, "leo", "legal"), restart(order, "ivo", "it")
    assert state(order, *theirs, under=HOUSES).code == "STOPPED"
    for own in (restart(order, "lea", "legal"), restart(order, "ida", "it")):
        assert not state(order, *theirs, own, under=HOUSES).stopped
    assert not state(stop("ivo"), *(restart(stop("ivo"), *one) for one in (("leo", "legal"), ("ida", "it"))),
                     under=HOUSES).stopped
    # somebody who acts for no site speaks for all: the thresholds alone lift it
    alone = acting(leo="wanko", ivo="wanko", ida="kohi")
    assert not state(order, *theirs, under=alone).stopped


def test_a_stop_is_not_lifted_by_taking_whoever_ordered_it_out_of_the_roster() -> None:
    order = stop("lea", role="legal")
    left = replace(HOUSES, people=HOUSES.people[1:], former=HOUSES.people)  # lea has left; ida acts for kohi still
    theirs = restart(order, "leo", "legal"), restart(order, "ivo", "it")
    assert state(order, *theirs, under=left).stopped
    assert not state(order, *theirs, restart(order, "ida", "it"), under=left).stopped
    nobody = replace(left, people=HOUSES.people[2:])  # kohi is still in, and nobody acts for it
    assert state(order, *theirs, under=nobody).stopped
    gone = replace(nobody, parties=tuple(party for party in nobody.parties if party.id != "kohi"))
    assert not state(order, *theirs, under=gone).stopped  # a company that has left stops the others no more


def test_a_stop_that_somebody_of_another_company_signed_in_its_place_is_still_the_first_ones() -> None:
    """The same words, so the same digest in every list, under a signature that asks for nobody of the company."""
    said = stop_statement(
        role="legal", subjects=[Subject("study.yaml", STUDY)], reason="INCIDENT", issued=NOW - 2 * HOUR, person="lea"
    )
    copied = sign_statement(said, [key("leo")])
    theirs = restart(copied, "leo", "legal"), restart(copied, "ivo", "it")
    assert state(copied, *theirs, under=HOUSES).stopped
    assert not state(copied, *theirs, restart(copied, "ida", "it"), under=HOUSES).stopped


@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(days=365 * 7000)])
def test_a_stop_dated_ahead_so_that_nobody_could_sign_after_it_is_lifted_all_the_same(ahead: timedelta) -> None:
    subject = Subject("study.yaml", STUDY)
    order = sign_statement(
        stop_statement(role="it", subjects=[subject], reason="DRILL", issued=NOW + ahead), [key("ida")]
    )
    assert state(order).code == "STOPPED"
    assert state(order, restart(order, "lea", "legal")).stopped
    assert not state(order, restart(order, "lea", "legal"), restart(order, "ida", "it")).stopped


@pytest.mark.parametrize("name", ["stop.dsse.json", "list.dsse.json"])
def test_a_pipe_in_the_place_of_an_order_keeps_nobody_waiting(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    orders = read_orders(tmp_path)
    assert stop_state(ROSTER, orders, subjects={STUDY}, now=NOW).stopped == (name == "stop.dsse.json")
    if name == LIST:
        assert list_state(ROSTER, read_list(tmp_path), orders, now=NOW).code == "STOP_LIST_UNREADABLE"


def test_an_order_under_the_name_of_a_draft_of_the_list_is_an_order(tmp_path: Path) -> None:
    (tmp_path / f"{LIST}.part").write_bytes(stop().to_bytes())
    assert stop_state(ROSTER, read_orders(tmp_path), subjects={STUDY}, now=NOW).code == "STOPPED"


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


def keeper(folder: Path) -> StopListKeeper:
    stops, memory = folder / "stops", folder / "known.json"
    return StopListKeeper(stops, roster=ROSTER, key=key("hub"), clock=lambda: NOW, allowed=[24], memory=memory)


def seen(folder: Path) -> str:
    """What a site makes of the folder."""
    orders = read_orders(folder / "stops")
    stopped = stop_state(ROSTER, orders, subjects={STUDY}, now=NOW)
    return stopped.code or list_state(ROSTER, read_list(folder / "stops"), orders, now=NOW).code


def test_the_coordinator_does_not_write_over_a_list_that_was_signed_under_a_later_roster(tmp_path: Path) -> None:
    keeper(tmp_path).renew()
    later = roster(3, people=PEOPLE, roles=ONE_EACH)
    listed = stop_list_statement(later, files(stop()), known=frozenset(), issued=NOW)
    (tmp_path / "stops" / LIST).write_bytes(write_envelopes([sign_statement(listed, [key("lea")])]))
    for write in (keeper(tmp_path).keep, keeper(tmp_path).renew):
        with pytest.raises(GovernanceError) as caught:
            write()
        assert caught.value.code == seen(tmp_path) == "ROSTER_OUT_OF_DATE"
    # once that list is gone, the order that it named is still known
    (tmp_path / "stops" / LIST).unlink()
    keeper(tmp_path).keep()
    assert seen(tmp_path) == "STOP_ORDER_MISSING"


@pytest.mark.parametrize("spoilt", [b"x", None])
def test_the_coordinator_does_not_forget_an_order_whose_file_and_list_are_gone(
    tmp_path: Path, spoilt: bytes | None
) -> None:
    keeper(tmp_path).renew()
    path = tmp_path / "stops" / "stop.1.dsse.json"
    path.write_bytes(stop().to_bytes())
    keeper(tmp_path).keep()
    path.unlink()
    (tmp_path / "stops" / LIST).unlink()
    if spoilt is not None:
        (tmp_path / "stops" / LIST).write_bytes(spoilt)
        with pytest.raises(GovernanceError):
            keeper(tmp_path).keep()
        assert seen(tmp_path) == "STOP_LIST_UNREADABLE"
        (tmp_path / "stops" / LIST).unlink()
    keeper(tmp_path).keep()
    assert seen(tmp_path) == "STOP_ORDER_MISSING"
    path.write_bytes(stop().to_bytes())
    assert seen(tmp_path) == "STOPPED"


@pytest.mark.parametrize("damaged", [b"", b"{}", b'["sha256:1"]'])
def test_a_coordinator_whose_memory_is_damaged_signs_nothing(tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / "known.json").write_bytes(damaged)
    with pytest.raises(BadInputError) as caught:
        keeper(tmp_path).renew()
    assert caught.value.code == "STOPS_UNREADABLE" and not (tmp_path / "stops").exists()
