"""A roster is handed on by the people of both versions, each at its own thresholds; or signed anew by every site."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sekisho.governance.errors import BadDocumentError, GovernanceError
from sekisho.governance.signing.envelope import Envelope
from sekisho.governance.signing.roster import Roster
from sekisho.governance.signing.succession import SignedRoster, succession_missing, verify_roster

from .roster_chain import NOW, PEOPLE, THRESHOLDS, by_people, by_sites, first, roster

OLD = first()
# leo leaves, lou comes; the two legal of version 1 and the two of version 2 are different pairs
CHANGED = {"lea": ["legal"], "lou": ["legal"], "ida": ["it"]}
NEW = roster(2, before=OLD.roster, people=CHANGED)
ENOUGH = (("lea", "legal"), ("leo", "legal"), ("lou", "legal"), ("ida", "it"))


def code(one: Roster, envelopes: tuple[Envelope, ...], *earlier: SignedRoster, later: timedelta = timedelta()) -> str:
    """The code of the refusal; empty where the roster is accepted."""
    try:
        verify_roster(one, envelopes, earlier, now=NOW + later)
    except GovernanceError as error:
        assert error.hint, error.code
        return error.code
    return ""


def test_the_people_of_both_versions_hand_a_roster_on() -> None:
    assert code(NEW, by_people(OLD.roster, NEW, *ENOUGH), OLD) == ""
    # and nobody else need sign, nor may anybody be missing
    for absent in range(len(ENOUGH)):
        rest = by_people(OLD.roster, NEW, *(one for number, one in enumerate(ENOUGH) if number != absent))
        assert code(NEW, rest, OLD) == "ROSTER_SUCCESSION_UNSIGNED", ENOUGH[absent]


def test_who_is_missing_is_told_by_version_and_role() -> None:
    some = SignedRoster(NEW, by_people(OLD.roster, NEW, ("lea", "legal"), ("ida", "it")))
    assert succession_missing(OLD.roster, some, now=NOW).people == ((1, "legal"), (2, "legal"))


def test_every_site_may_sign_any_version_as_a_fresh_start() -> None:
    assert code(NEW, by_sites(NEW)) == ""
    alone = roster(7)
    assert code(alone, by_sites(alone)) == ""
    assert code(alone, by_sites(alone, "kohi")) == "ROSTER_UNSIGNED"
    assert code(NEW, by_sites(NEW, "kohi"), OLD) == "ROSTER_SUCCESSION_UNSIGNED"


def test_a_chain_may_hold_rosters_that_have_expired_since() -> None:
    old = first(expires=NOW + timedelta(days=10))
    second = roster(2, before=old.roster, expires=NOW + timedelta(days=5))
    signed = by_people(old.roster, second, ("lea", "legal"), ("leo", "legal"), ("ida", "it"))
    third = roster(3, before=second)
    more = by_people(second, third, ("lea", "legal"), ("leo", "legal"), ("ida", "it"), issued=NOW)
    chain = (SignedRoster(second, signed), old)
    assert code(third, more, *chain) == ""
    assert code(third, more, *chain, later=timedelta(days=365)) == ""
    # but nobody signs in the name of a roster that had run out by then
    late = by_people(second, third, ("lea", "legal"), ("leo", "legal"), ("ida", "it"), issued=NOW + timedelta(days=6))
    assert code(third, late, *chain, later=timedelta(days=7)) == "ROSTER_SUCCESSION_UNSIGNED"
    # and the last one must be in force
    assert code(second, signed, old, later=timedelta(days=6)) == "ROSTER_EXPIRED"


def test_a_chain_is_whole_and_counts_up_by_one() -> None:
    signed = by_people(OLD.roster, NEW, *ENOUGH)
    assert code(NEW, signed) == "ROSTER_CHAIN_MISSING"
    other = first(people={**PEOPLE, "eve": ["business"]}, roles={**THRESHOLDS, "business": 1})
    assert code(NEW, signed, other) == "ROSTER_CHAIN_MISSING"
    skipped = roster(3, before=OLD.roster)
    assert code(skipped, by_people(OLD.roster, skipped, *ENOUGH), OLD) == "ROSTER_CHAIN_BROKEN"
    # the first of the chain is signed by every site, however good the rest is
    assert code(NEW, signed, SignedRoster(OLD.roster, by_sites(OLD.roster, "kohi"))) == "ROSTER_UNSIGNED"


def test_a_link_in_the_middle_is_verified_too() -> None:
    third = roster(3, before=NEW, people=CHANGED)
    more = by_people(NEW, third, ("lea", "legal"), ("lou", "legal"), ("ida", "it"))
    good = SignedRoster(NEW, by_people(OLD.roster, NEW, *ENOUGH))
    assert code(third, more, good, OLD) == ""
    bad = SignedRoster(NEW, by_people(OLD.roster, NEW, *ENOUGH[1:]))
    assert code(third, more, bad, OLD) == "ROSTER_SUCCESSION_UNSIGNED"


@pytest.mark.parametrize("sites", [{"kohi": "kohi", "wanko": "wanko", "nyan": "nyan"}, {"kohi": "kohi", "wanko": "w2"}])
def test_a_site_that_is_new_or_has_a_new_key_signs_itself(sites: dict[str, str]) -> None:
    new = roster(2, before=OLD.roster, sites=sites)
    people = by_people(OLD.roster, new, ("lea", "legal"), ("leo", "legal"), ("ida", "it"))
    assert code(new, people, OLD) == "ROSTER_NEW_SITE_UNSIGNED"
    assert code(new, (*people, *by_sites(new, list(sites.values())[-1])), OLD) == ""
    assert code(new, (*people, *by_sites(new, "kohi")), OLD) == "ROSTER_NEW_SITE_UNSIGNED"


def test_a_site_may_leave_without_being_asked() -> None:
    new = roster(2, before=OLD.roster, sites=["kohi"])
    assert code(new, by_people(OLD.roster, new, ("lea", "legal"), ("leo", "legal"), ("ida", "it")), OLD) == ""


def test_a_first_version_supersedes_nothing() -> None:
    with pytest.raises(BadDocumentError) as caught:
        roster(1, supersedes=OLD.roster.fingerprint)
    assert (caught.value.code, caught.value.line) == ("ROSTER_SUPERSEDES", 3)
    with pytest.raises(BadDocumentError) as caught:
        roster(2, supersedes="the last one")
    assert caught.value.code == "BAD_VALUE"

