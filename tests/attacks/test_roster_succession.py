"""Attacks on the succession of rosters: each would put somebody in, or back in, who may not be there."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sekisho.governance.errors import GovernanceError
from sekisho.governance.signing.approvals import REVOKE, approval_statement
from sekisho.governance.signing.envelope import PREDICATES, Envelope, Statement, Subject, sign_statement
from sekisho.governance.signing.roster import Roster
from sekisho.governance.signing.succession import SignedRoster, continues, succession_statement, verify_roster

from ..governance.roster_chain import ISSUED, NOW, PEOPLE, by_people, by_sites, first, key, roster

OLD = first()
ENOUGH = (("lea", "legal"), ("leo", "legal"), ("ida", "it"))


def code(new: Roster, *envelopes: Envelope, old: SignedRoster = OLD) -> str:
    with pytest.raises(GovernanceError) as caught:
        verify_roster(new, envelopes, [old], now=NOW)
    return caught.value.code


def accepted(new: Roster, *envelopes: Envelope, old: SignedRoster = OLD) -> None:
    verify_roster(new, envelopes, [old], now=NOW)


def test_a_roster_signed_by_its_own_new_people_alone_is_refused() -> None:
    new = roster(2, before=OLD.roster, people={"eve": ["legal"], "eva": ["legal"], "ein": ["it"]})
    own = by_people(OLD.roster, new, ("eve", "legal"), ("eva", "legal"), ("ein", "it"))
    assert code(new, *own) == "ROSTER_SUCCESSION_UNSIGNED"
    accepted(new, *own, *by_people(OLD.roster, new, *ENOUGH))


def test_a_roster_that_its_new_people_have_not_signed_is_refused() -> None:
    # nobody is put into an office that they do not take
    new = roster(2, before=OLD.roster, people={"eve": ["legal"], "eva": ["legal"], "ein": ["it"]})
    assert code(new, *by_people(OLD.roster, new, *ENOUGH)) == "ROSTER_SUCCESSION_UNSIGNED"


def test_a_threshold_lowered_by_the_very_roster_that_needs_it_does_not_help() -> None:
    new = roster(2, before=OLD.roster, roles={"legal": 1, "it": 1})
    assert code(new, *by_people(OLD.roster, new, ("lea", "legal"), ("ida", "it"))) == "ROSTER_SUCCESSION_UNSIGNED"
    accepted(new, *by_people(OLD.roster, new, *ENOUGH))


def test_a_threshold_raised_by_a_roster_holds_for_it_already() -> None:
    new = roster(2, before=OLD.roster, roles={"legal": 2, "it": 2})
    assert code(new, *by_people(OLD.roster, new, *ENOUGH)) == "ROSTER_SUCCESSION_UNSIGNED"
    accepted(new, *by_people(OLD.roster, new, *ENOUGH, ("ivo", "it")))


def test_one_person_with_two_keys_counts_once() -> None:
    old = first(keys={"lea": ["lea", "lea-2"]})
    new = roster(2, before=old.roster, keys={"lea": ["lea", "lea-2"]})
    twice = by_people(old.roster, new, ("lea", "legal"), ("lea-2", "legal"), ("ida", "it"))
    assert code(new, *twice, old=old) == "ROSTER_SUCCESSION_UNSIGNED"
    accepted(new, *twice, *by_people(old.roster, new, ("leo", "legal")), old=old)


def test_one_key_under_two_people_is_refused_whoever_signs() -> None:
    # lea's key is given to another pseudonym: one human being would be two
    new = roster(2, before=OLD.roster, people={**PEOPLE, "lia": ["legal"]}, keys={"lea": ["lea-2"], "lia": ["lea"]})
    signed = by_people(OLD.roster, new, *ENOUGH, ("lea-2", "legal"), ("ivo", "it"))
    assert code(new, *signed, *by_sites(new, "kohi")) == "ROSTER_KEY_MOVED"


def test_a_persons_key_does_not_become_a_partys() -> None:
    new = roster(2, before=OLD.roster, sites={"kohi": "kohi", "wanko": "ivo"}, keys={"ivo": ["ivo-2"]})
    assert code(new, *by_people(OLD.roster, new, *ENOUGH)) == "ROSTER_KEY_MOVED"


def test_one_person_in_two_roles_counts_in_neither() -> None:
    people = {"lea": ["legal", "it"], "leo": ["legal"]}
    old = first(people=people)
    new = roster(2, before=old.roster, people=people)
    both = by_people(old.roster, new, ("lea", "legal"), ("lea", "it"), ("leo", "legal"))
    assert code(new, *both, old=old) == "ROSTER_SUCCESSION_UNSIGNED"


def test_somebody_taken_out_of_a_roster_does_not_sign_the_one_after_it() -> None:
    second = roster(2, before=OLD.roster, people={"lea": ["legal"], "lou": ["legal"], "ida": ["it"]})
    signed = SignedRoster(second, by_people(OLD.roster, second, *ENOUGH, ("lou", "legal")))
    third = roster(3, before=second, people={"lea": ["legal"], "lou": ["legal"], "ida": ["it"]})
    removed = by_people(second, third, ("lea", "legal"), ("leo", "legal"), ("ida", "it"))
    with pytest.raises(GovernanceError) as caught:
        verify_roster(third, removed, [signed, OLD], now=NOW)
    assert caught.value.code == "ROSTER_SUCCESSION_UNSIGNED"


def test_signatures_under_another_predecessor_are_not_replayed() -> None:
    other = first(roles={"legal": 2, "it": 2})
    new = roster(2, before=OLD.roster)
    assert code(new, *by_people(other.roster, new, *ENOUGH)) == "ROSTER_SUCCESSION_UNSIGNED"


def test_signatures_over_another_successor_are_not_replayed() -> None:
    new, other = roster(2, before=OLD.roster), roster(2, before=OLD.roster, roles={"legal": 2, "it": 2})
    assert code(new, *by_people(OLD.roster, other, *ENOUGH)) == "ROSTER_SUCCESSION_UNSIGNED"


def test_an_approval_of_a_study_does_not_hand_a_roster_on() -> None:
    new = roster(2, before=OLD.roster)
    right = succession_statement(OLD.roster, new, role="legal", issued=ISSUED, file="roster.yaml")
    wrong = Statement(right.subjects, PREDICATES["study-approval"], right.predicate)
    signed = [sign_statement(wrong, [key(name)]) for name in ("lea", "leo")]
    assert code(new, *signed, *by_people(OLD.roster, new, ("ida", "it"))) == "ROSTER_SUCCESSION_UNSIGNED"


def test_a_signature_taken_back_does_not_count() -> None:
    new = roster(2, before=OLD.roster)
    no = approval_statement(
        OLD.roster, role="legal", subjects=[Subject("roster.yaml", new.fingerprint)],
        predicate_type=PREDICATES["roster"], issued=NOW, expires=NOW, decision=REVOKE,
    )
    signed = by_people(OLD.roster, new, *ENOUGH)
    assert code(new, *signed, sign_statement(no, [key("leo")])) == "ROSTER_SUCCESSION_UNSIGNED"


def test_parties_do_not_sign_for_people() -> None:
    new = roster(2, before=OLD.roster)
    assert code(new, *by_people(OLD.roster, new, ("hub", "legal"), ("kohi", "legal"), ("wanko", "it"))) == (
        "ROSTER_SUCCESSION_UNSIGNED"
    )


def test_a_signature_dated_in_the_future_does_not_count() -> None:
    new = roster(2, before=OLD.roster)
    signed = by_people(OLD.roster, new, *ENOUGH, issued=NOW + timedelta(hours=1))
    assert code(new, *signed) == "ROSTER_SUCCESSION_UNSIGNED"


def test_a_real_roster_does_not_become_a_demo_nor_the_other_way() -> None:
    for was in (True, False):
        old = first(demo=was)
        new = roster(2, before=old.roster, demo=not was)
        assert code(new, *by_people(old.roster, new, *ENOUGH), old=old) == "ROSTER_CHAIN_BROKEN"


def test_a_key_does_not_change_hands_over_a_version_in_which_nobody_has_it() -> None:
    # leo leaves with version 2; in version 3 his key is max's, and what leo approved would be max's word
    without = roster(2, before=OLD.roster, people={"lea": ["legal"], "ida": ["it"]}, roles={"legal": 1, "it": 1})
    second = SignedRoster(without, by_people(OLD.roster, without, *ENOUGH))
    people = {"lea": ["legal"], "ida": ["it"], "max": ["legal"]}
    third = roster(3, before=without, people=people, keys={"max": ["leo"]}, roles={"legal": 1, "it": 1})
    signed = by_people(without, third, ("lea", "legal"), ("ida", "it"))
    with pytest.raises(GovernanceError) as caught:
        verify_roster(third, signed, [second, OLD], now=NOW)
    assert caught.value.code == "ROSTER_KEY_MOVED"
    back = roster(3, before=without, people=people | {"leo": ["legal"]}, roles={"legal": 1, "it": 1})
    verify_roster(back, by_people(without, back, ("lea", "legal"), ("ida", "it")), [second, OLD], now=NOW)


def test_a_persons_key_does_not_become_a_site_of_the_same_name() -> None:
    people = {"lea": ["legal"], "ida": ["it"]}
    new = roster(2, before=OLD.roster, sites=("kohi", "wanko", "leo"), people=people, roles={"legal": 1, "it": 1})
    assert code(new, *by_people(OLD.roster, new, *ENOUGH), *by_sites(new, "leo")) == "ROSTER_KEY_MOVED"


def test_a_fork_stays_one_when_it_gives_the_site_a_key_that_signs_it() -> None:
    """Whoever writes the fork could list a key of their own for the site, and sign in its name."""
    own = roster(2, before=OLD.roster, sites={"kohi": "eve", "wanko": "wanko"})
    fork = SignedRoster(own, by_sites(own, "eve"))
    honest = roster(2, before=OLD.roster)
    kohi = honest.party("kohi")
    assert not continues([fork, OLD], kohi, 2, honest.fingerprint)
    third = SignedRoster(roster(3, before=own), ())
    assert not continues([third, fork, OLD], kohi, 2, honest.fingerprint)
    assert not continues([third, fork, OLD], kohi, 1, honest.fingerprint)
    assert continues([third, fork, OLD], kohi, 1, OLD.roster.fingerprint)
    assert not continues([third], kohi, 1, OLD.roster.fingerprint)  # a chain that ends early leads nowhere
    restart = SignedRoster(third.roster, by_sites(third.roster))
    assert continues([restart, fork, OLD], kohi, 2, honest.fingerprint)
