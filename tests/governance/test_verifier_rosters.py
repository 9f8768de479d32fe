"""The stand-alone verifier follows a chain of rosters, and every broken one gets another verdict."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from sekisho.governance.canonical import digest_bytes
from sekisho.governance.errors import BadDocumentError
from sekisho.governance.evidence import verifier
from sekisho.governance.evidence.bundle import bundle_bytes
from sekisho.governance.evidence.verifier import verify
from sekisho.governance.signing.envelope import (
    Statement,
    Subject,
    read_envelopes,
    sign_statement,
    write_envelopes,
)
from sekisho.governance.signing.roster import Roster, roster_statement
from sekisho.governance.signing.succession import succession_statement

from . import evidence_example as example

KEPT, KEPT_SIGNATURES = "rosters/1.yaml", "rosters/1.yaml.dsse.json"
ROSTER, SIGNATURES = "roster.yaml", "roster.yaml.dsse.json"
PEOPLE = (("counsel-1", "legal"), ("admin-1", "it"))


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return example.members(tmp_path_factory.mktemp("federation"))


def following(old: bytes, *changes: tuple[str, str]) -> bytes:
    version = Roster.parse(old, ROSTER).version
    text = re.sub(r"supersedes: .*\n", "", old.decode())
    text = text.replace(f"version: {version}\n", f"version: {version + 1}\nsupersedes: {digest_bytes(old)}\n", 1)
    for was, becomes in changes:
        assert was in text
        text = text.replace(was, becomes)
    return text.encode()


def handed_on(
    members: Mapping[str, bytes],
    *changes: tuple[str, str],
    people: tuple[tuple[str, str], ...] = PEOPLE,
    sites: tuple[str, ...] = (),
    late: bool = False,
) -> dict[str, bytes]:
    """The members under the next version of the roster, which ``people`` (key, role) and new ``sites`` signed."""
    new = following(members[ROSTER], *changes)
    before, after = Roster.parse(members[ROSTER], ROSTER), Roster.parse(new, ROSTER)
    issued = before.expires + timedelta(days=1) if late else example.NOW
    signed = [
        sign_statement(
            succession_statement(before, after, role=role, issued=issued, file=ROSTER), [example.key(name)]
        )
        for name, role in people
    ]
    signed += [sign_statement(roster_statement(after, file=ROSTER), [example.key(site)]) for site in sites]
    name = f"rosters/{before.version}.yaml"
    kept = {name: members[ROSTER], name + verifier.APPROVALS: members[SIGNATURES]}
    return {**members, **kept, ROSTER: new, SIGNATURES: write_envelopes(signed)}


def told(members: Mapping[str, bytes]) -> tuple[str, str]:
    """The verdict under the present roster's fingerprint, and the last thing found."""
    verdict = verify(example.sealed(members, example.key(example.HUB)), digest_bytes(members[ROSTER]))
    return verdict.name, verdict.details[-1]


def test_a_chain_is_verified_back_to_a_roster_that_every_site_signed(members: dict[str, bytes]) -> None:
    good = handed_on(members)
    verdict = verify(bundle_bytes(good, example.key(example.HUB)), digest_bytes(good[ROSTER]))
    assert verdict.name == "verified"
    assert any("version 1, signed by kohi, okashi, wanko; version 2 by its people" in one for one in verdict.details)
    # the fingerprint is that of the present roster, not of the first
    assert verify(example.sealed(good, example.key(example.HUB)), digest_bytes(good[KEPT])).name == "other-root"


def test_both_people_are_needed(members: dict[str, bytes]) -> None:
    for people in (PEOPLE[:1], PEOPLE[1:], ()):
        name, found = told(handed_on(members, people=people))
        assert name == "changed" and "is not signed by" in found


def test_new_people_alone_do_not_hand_a_roster_on(members: dict[str, bytes]) -> None:
    swap = [
        (example.key(name).public.to_text(), example.key(f"{name}-new").public.to_text()) for name, _ in PEOPLE
    ]
    own = tuple((f"{name}-new", role) for name, role in PEOPLE)
    assert told(handed_on(members, *swap, people=own)) == (
        "changed", "version 2 of the roster is not signed by legal of version 1"
    )
    assert told(handed_on(members, *swap, people=PEOPLE)) == (
        "changed", "version 2 of the roster is not signed by legal of version 2"
    )


def test_a_threshold_lowered_by_the_roster_that_needs_it_does_not_help(members: dict[str, bytes]) -> None:
    key = example.key("counsel-2").public.to_text()
    two = members[ROSTER].decode().replace(
        "people:\n", f"people:\n  - pseudonym: counsel-2\n    roles: [legal]\n    keys:\n      - {key}\n"
    ).replace("legal: 1", "legal: 2").encode()
    first = Roster.parse(two, ROSTER)
    every = sign_statement(roster_statement(first, file=ROSTER), [example.key(site) for site in example.SITES])
    strict = {**members, ROSTER: two, SIGNATURES: every.to_bytes()}
    name, found = told(handed_on(strict, ("legal: 2", "legal: 1")))
    assert (name, found) == ("changed", "version 2 of the roster is not signed by legal of version 1")


def test_a_site_with_a_new_key_signs_itself(members: dict[str, bytes]) -> None:
    old, new = (example.key(name).public.to_text() for name in ("okashi", "okashi-2"))
    assert told(handed_on(members, (old, new))) == ("changed", "version 2 of the roster is not signed by okashi")
    name, found = told(handed_on(members, (old, new), sites=("okashi-2",)))
    # the chain is good then; it is the log that was signed with the key before
    assert (name, "okashi" in found, "checkpoint" in found) == ("changed", True, True)


def test_a_key_does_not_change_hands(members: dict[str, bytes]) -> None:
    name, found = told(handed_on(members, ("pseudonym: counsel-1", "pseudonym: counsel-9")))
    assert (name, found) == ("changed", "a key of counsel-1 belongs to somebody else in version 2 of the roster")


def with_leo(members: Mapping[str, bytes]) -> dict[str, bytes]:
    """The members under a first roster in which somebody more stands, with a key and no role."""
    leo = f"people:\n  - {{pseudonym: leo, roles: [], keys: ['{example.key('leo').public.to_text()}']}}\n"
    one = members[ROSTER].decode().replace("people:\n", leo).encode()
    every = sign_statement(
        roster_statement(Roster.parse(one, ROSTER), file=ROSTER), [example.key(site) for site in example.SITES]
    )
    papers = {name: data for name, data in members.items() if not name.startswith("provenance")}
    return {**papers, ROSTER: one, SIGNATURES: every.to_bytes()} | approved_under(one, members)


def approved_under(yaml: bytes, members: Mapping[str, bytes]) -> dict[str, bytes]:
    """The approvals of every paper, given under this roster."""
    roster = Roster.parse(yaml, ROSTER)
    kinds = {"study.yaml": ("study-approval", None), "base-model.yaml": ("base-model", None)}
    kinds |= {f"policies/{site}.yaml": ("policy-approval", example.SEEN) for site in example.SITES}
    return {
        name + verifier.APPROVALS: example.approved(roster, members[name], kind, example.BOTH, shown=shown)
        for name, (kind, shown) in kinds.items()
    }


def test_a_key_does_not_change_hands_over_a_version_in_which_it_does_not_stand(members: dict[str, bytes]) -> None:
    leo = f"  - {{pseudonym: leo, roles: [], keys: ['{example.key('leo').public.to_text()}']}}\n"
    without = handed_on(with_leo(members), (leo, ""))
    assert told(without)[0] == "verified"
    back = handed_on(without, ("people:\n", "people:\n" + leo))
    assert told(back)[0] == "verified"      # whose it was may have it again
    moved = handed_on(without, ("people:\n", "people:\n" + leo.replace("leo", "max", 1)))
    assert told(moved) == ("changed", "a key of leo belongs to somebody else in version 3 of the roster")


def test_a_persons_key_does_not_become_that_of_a_party_of_the_same_name(members: dict[str, bytes]) -> None:
    key = example.key("leo").public.to_text()
    leo = f"  - {{pseudonym: leo, roles: [], keys: ['{key}']}}\n"
    site = f"  - {{id: leo, name: {{en: L, ja: L}}, kind: site, controller: leo-kk, country: JP, key: '{key}'}}\n"
    moved = handed_on(with_leo(members), (leo, ""), ("people:\n", site + "people:\n"), sites=("leo",))
    assert told(moved) == ("changed", "a key of leo belongs to somebody else in version 2 of the roster")


def test_a_roster_is_handed_on_by_statements_about_it_alone(members: dict[str, bytes]) -> None:
    good = handed_on(members)
    first, second = read_envelopes(good[SIGNATURES], name="x")
    statement = Statement.from_bytes(first.payload)
    wider = replace(statement, subjects=(*statement.subjects, Subject("another", "sha256:" + "5" * 64)))
    signed = write_envelopes([sign_statement(wider, [example.key("counsel-1")]), second])
    assert told({**good, SIGNATURES: signed}) == (
        "changed", "version 2 of the roster is not signed by legal of version 1")


def test_a_missing_exchanged_or_unsigned_link_breaks_the_chain(members: dict[str, bytes]) -> None:
    good = handed_on(members)
    without = {name: data for name, data in good.items() if name != KEPT}
    assert told(without)[0] == "changed"
    other = {**good, KEPT: good[KEPT].replace(b"# a maker", b"# a baker")}
    assert told(other) == ("changed", f"{KEPT} is not the roster that version 2 says it follows")
    first = Roster.parse(members[ROSTER], ROSTER)
    one = sign_statement(roster_statement(first, file=ROSTER), [example.key("kohi")]).to_bytes()
    assert told({**good, KEPT_SIGNATURES: one})[0] == "changed"
    skipped = handed_on(members, ("version: 2", "version: 3"))
    skipped = {name.replace("rosters/1", "rosters/2"): data for name, data in skipped.items()}
    assert told(skipped) == ("changed", "rosters/2.yaml is not the roster that version 3 says it follows")


def test_a_demo_does_not_become_a_real_roster(members: dict[str, bytes]) -> None:
    assert told(handed_on(members, ("demo: true", "demo: false")))[0] == "changed"


def test_nobody_signs_in_the_name_of_an_expired_roster(members: dict[str, bytes]) -> None:
    assert told(handed_on(members, late=True))[0] == "changed"
    # nor after it: there is no moment at which both versions are in force
    created, expires = '"2026-04-01T00:00:00+09:00"', '"2099-12-31T00:00:00+00:00"'
    after = handed_on(members, (created, '"2100-01-01T00:00:00+09:00"'), (expires, '"2110-01-01T00:00:00+00:00"'))
    assert told(after) == ("changed", "version 2 of the roster is not signed by legal of version 2")


def test_every_site_may_sign_a_later_version_as_a_fresh_start(members: dict[str, bytes]) -> None:
    anew = handed_on(members, people=(), sites=example.SITES)
    # a fresh start takes nothing over: a run under the roster before is not one under this
    assert told(anew) == ("changed", "the provenance statement provenance/run-1.dsse.json names another roster")
    assert told({name: data for name, data in anew.items() if not name.startswith("provenance")})[0] == "verified"


def test_an_earlier_roster_that_only_we_can_read_is_not_exported(members: dict[str, bytes]) -> None:
    odd = members[ROSTER].replace(b"country: JP\n", b"country: !!str JP\n", 1)
    with pytest.raises(BadDocumentError):
        bundle_bytes({**handed_on(members), KEPT: odd}, example.key(example.HUB))
