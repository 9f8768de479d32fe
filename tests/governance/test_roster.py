"""The roster: one key is one owner, every role has its number, and every site has signed."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sekisho.governance.errors import BadDocumentError, BadSignatureError, Refused
from sekisho.governance.signing.envelope import Statement, Subject, sign_statement
from sekisho.governance.signing.keys import PublicKey, SigningKey, demo_key
from sekisho.governance.signing.roster import PartyKind, Roster, roster_statement, verify_first_roster

from ..federation.study_folder import PEOPLE, SITES

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 12, 1, tzinfo=UTC)


def key(name: str) -> SigningKey:
    return SigningKey.from_seed((name + "·" * 32).encode()[:32])


def text(name: str) -> str:
    return key(name).public.to_text()


def party(name: str, english: str, japanese: str, kind: str, controller: str) -> str:
    return (
        f"  - {{id: {name}, name: {{en: {english}, ja: {japanese}}}, kind: {kind}, controller: {controller}, "
        f'country: JP, key: "{text(name)}"}}\n'
    )


REAL = f"""\
schema: sekisho-roster/1
version: 1
demo: false
created: "2026-04-01T00:00:00+09:00"
expires: "2099-12-31T00:00:00+00:00"
parties:
{party("kohi", "Kohi", "珈琲", "site", "kohi-kk")}\
{party("wanko", "Wanko", "わんこ", "site", "pet-kk")}\
{party("nyanko", "Nyanko", "にゃんこ", "site", "pet-kk")}\
{party("hub", "Hub", "集約", "coordinator", "hub-kk")}\
people:
  - {{pseudonym: counsel-1, roles: [legal], keys: ["{text('counsel-1')}"]}}
  - {{pseudonym: admin-1, roles: [it, business], keys: ["{text('admin-1')}", "{text('admin-1b')}"]}}
  - {{pseudonym: analyst, roles: [], keys: []}}
roles: {{legal: 1, it: 1, business: 1}}
"""
DEMO = REAL.replace("demo: false", "demo: true")


def parse(source: str) -> Roster:
    return Roster.parse(source.encode(), "roster.yaml")


def refusal(old: str, new: str, source: str = REAL) -> BadDocumentError:
    assert old in source
    with pytest.raises(BadDocumentError) as caught:
        parse(source.replace(old, new, 1))
    assert caught.value.file == "roster.yaml" and caught.value.line > 0 and caught.value.column > 0
    return caught.value


def test_a_roster_answers_whose_key_it_is_and_what_its_owner_may_do() -> None:
    roster = parse(REAL)
    assert roster.created == datetime(2026, 3, 31, 15, tzinfo=UTC)
    assert [site.id for site in roster.sites] == ["kohi", "wanko", "nyanko"]
    assert roster.party("hub").kind is PartyKind.COORDINATOR
    assert roster.party("wanko").name.ja == "わんこ"
    assert roster.roles == {"legal": 1, "it": 1, "business": 1}
    person = roster.person_of(key("admin-1b").public.key_id)
    assert person is not None and person.pseudonym == "admin-1" and person.roles == ("it", "business")
    assert roster.person_of(key("kohi").public.key_id) is None
    party = roster.party_of(key("kohi").public.key_id)
    assert party is not None and party.id == "kohi"
    assert roster.party_of(key("counsel-1").public.key_id) is None
    assert len(roster.keys_by_id()) == 7
    assert all(key_id == public.key_id for key_id, public in roster.keys_by_id().items())
    assert roster.fingerprint.startswith("sha256:")
    assert parse(REAL + "\n").fingerprint != roster.fingerprint


def test_two_sites_of_one_controller_count_once() -> None:
    roster = parse(REAL)
    assert roster.distinct_controllers(["kohi", "wanko", "nyanko", "wanko"]) == 2
    assert roster.distinct_controllers([]) == 0
    with pytest.raises(Refused) as caught:
        roster.distinct_controllers(["kohi", "stranger"])
    assert caught.value.code == "PARTY_UNKNOWN"


@pytest.mark.parametrize(
    ("old", "new", "code", "line"),
    [
        ("id: wanko", "id: kohi", "ROSTER_ID_TWICE", 8),
        ("pseudonym: admin-1", "pseudonym: counsel-1", "ROSTER_ID_TWICE", 13),
        ("pseudonym: counsel-1", "pseudonym: kohi", "ROSTER_ID_TWICE", 12),
        (text("wanko"), text("kohi"), "ROSTER_KEY_TWICE", 8),
        (text("admin-1b"), text("admin-1"), "ROSTER_KEY_TWICE", 13),
        (text("counsel-1"), text("hub"), "ROSTER_KEY_TWICE", 12),
        (text("hub"), "ed25519:AAAA", "ROSTER_KEY_MALFORMED", 10),
        (text("hub"), "ed25519:" + "A" * 43 + "=", "ROSTER_KEY_MALFORMED", 10),
        ("roles: [legal]", "roles: [king]", "ROSTER_ROLE_UNKNOWN", 12),
        ("roles: [legal]", "roles: [legal, legal]", "ROSTER_ROLE_TWICE", 12),
        ("roles: [legal]", "roles: [compliance]", "ROSTER_THRESHOLD_MISSING", 12),
        ("legal: 1, it: 1, business: 1", "legal: 1, business: 1, it: 0", "BAD_VALUE", 15),
        ("legal: 1, it: 1", "legal: 2, it: 1", "ROSTER_THRESHOLD_UNREACHABLE", 15),
        ("business: 1", "business: 1, king: 1", "ROSTER_ROLE_UNKNOWN", 15),
        ("business: 1", "business: 1, compliance: 1", "ROSTER_THRESHOLD_UNREACHABLE", 15),
        ("kind: coordinator", "kind: site", "ROSTER_PARTIES", 7),
        ("kind: site", "kind: coordinator", "ROSTER_PARTIES", 7),
        ("2099-12-31T00:00:00+00:00", "2026-03-01T00:00:00+00:00", "ROSTER_TIMES", 5),
        ("2099-12-31T00:00:00+00:00", "2099-12-31T00:00:00", "ROSTER_TIMES", 5),
        ("sekisho-roster/1", "sekisho-roster/2", "BAD_VALUE", 1),
        ("demo: false", "demo: maybe", "WRONG_TYPE", 3),
        ("country: JP", "country: Japan", "BAD_VALUE", 7),
        ("controller: kohi-kk", "controller: kohi-кк", "MIXED_SCRIPTS", 7),
        ("controller: kohi-kk, ", "", "MISSING_FIELD", 7),
        ("controller: kohi-kk", "controler: kohi-kk", "UNKNOWN_FIELD", 7),
        ("version: 1", "version: 1\nversion: 2", "DUPLICATE_KEY", 3),
        ("keys: []", "keys: [], demo: true", "ROSTER_DEMO_KEY", 14),
        ("name: {en: Kohi, ja: 珈琲}", "name: {en: Kohi}", "MISSING_FIELD", 7),
    ],
)
def test_a_wrong_roster_is_refused_at_its_line(old: str, new: str, code: str, line: int) -> None:
    error = refusal(old, new)
    assert (error.code, error.line) == (code, line), str(error)
    assert error.hint


def test_a_required_role_without_a_threshold_is_refused() -> None:
    source = REAL.replace("roles: [legal]", "roles: []").replace("legal: 1, ", "")
    with pytest.raises(BadDocumentError) as caught:
        parse(source)
    assert caught.value.code == "ROSTER_THRESHOLD_MISSING" and caught.value.line == 15


def test_a_demo_roster_made_real_by_one_word_is_refused() -> None:
    # What a hasty user does: copies the example and turns the mark off. The published keys are still in it.
    demo = DEMO
    for name in ("kohi", "wanko", "nyanko", "hub", "counsel-1", "admin-1"):
        demo = demo.replace(text(name), demo_key(name).public.to_text())
    assert parse(demo).demo
    error = refusal("demo: true", "demo: false", demo)
    assert error.code == "ROSTER_DEMO_KEY"


def published() -> set[PublicKey]:
    """Every key in the example's rosters, and of every demo that our tests name."""
    tests = "".join(path.read_text("utf-8") for path in sorted((ROOT / "tests").rglob("*.py")))
    names = set(re.findall(r'demo_key\("([^"{}]+)"\)', tests)) | {*SITES, *PEOPLE.values()}
    rosters = "".join(path.read_text("utf-8") for path in sorted((ROOT / "examples").rglob("*roster*.yaml")))
    keys = {PublicKey.from_text(found) for found in re.findall(r"ed25519:[A-Za-z0-9+/=]+", rosters)}
    return keys | {demo_key(name).public for name in names}


def test_a_real_roster_takes_no_published_key_of_ours_under_whatever_name() -> None:
    keys = published()
    assert len(keys) > 30
    for key in keys:
        assert refusal(text("counsel-1"), key.to_text()).code == "ROSTER_DEMO_KEY"


def test_a_demo_key_is_accepted_by_demo_rosters_only() -> None:
    demo = parse(DEMO.replace(text("kohi"), demo_key("kohi").public.to_text()))
    demo.check_own_key("kohi", demo_key("kohi"))
    parse(REAL).check_own_key("kohi", key("kohi"))
    with pytest.raises(Refused) as caught:
        parse(REAL).check_own_key("kohi", demo_key("kohi"))
    assert caught.value.code == "DEMO_KEY_REFUSED"
    with pytest.raises(Refused) as caught:
        demo.check_own_key("wanko", demo_key("kohi"))
    assert caught.value.code == "KEY_NOT_IN_ROSTER"


def test_every_site_must_have_signed_the_first_roster() -> None:
    roster = parse(REAL)
    statement = roster_statement(roster, file="roster.yaml")
    sites = [key("kohi"), key("wanko"), key("nyanko")]
    verify_first_roster(roster, [sign_statement(statement, sites)], now=NOW)
    verify_first_roster(roster, [sign_statement(statement, [site]) for site in sites], now=NOW)
    for envelopes in (
        [],
        [sign_statement(statement, sites[:2])],
        [sign_statement(statement, [*sites[:2], key("hub"), key("counsel-1"), key("admin-1")])],
    ):
        with pytest.raises(BadSignatureError) as caught:
            verify_first_roster(roster, envelopes, now=NOW)
        assert caught.value.code == "ROSTER_UNSIGNED" and "nyanko" in caught.value.sentence


@pytest.mark.parametrize("change", ["other bytes", "other predicate type", "other version", "extra subject"])
def test_signatures_over_something_else_do_not_accept_a_roster(change: str) -> None:
    roster = parse(REAL)
    right = roster_statement(roster, file="roster.yaml")
    statement = {
        "other bytes": roster_statement(parse(REAL + "# one remark more\n"), file="roster.yaml"),
        "other predicate type": Statement(right.subjects, "urn:sekisho:attestation:stop:v1", right.predicate),
        "other version": Statement(right.subjects, right.predicate_type, {"version": 2}),
        "extra subject": Statement(
            (*right.subjects, Subject("x", "sha256:" + "0" * 64)), right.predicate_type, right.predicate
        ),
    }[change]
    with pytest.raises(BadSignatureError) as caught:
        verify_first_roster(
            roster, [sign_statement(statement, [key("kohi"), key("wanko"), key("nyanko")])], now=NOW
        )
    assert caught.value.code == "ROSTER_UNSIGNED"


@pytest.mark.parametrize(
    ("now", "code"),
    [
        (datetime(2099, 12, 31, tzinfo=UTC), "ROSTER_EXPIRED"),
        (datetime(2026, 3, 1, tzinfo=UTC), "ROSTER_NOT_YET_VALID"),
    ],
)
def test_a_roster_outside_its_time_is_refused(now: datetime, code: str) -> None:
    roster = parse(REAL)
    statement = roster_statement(roster, file="roster.yaml")
    envelope = sign_statement(statement, [key("kohi"), key("wanko"), key("nyanko")])
    with pytest.raises(Refused) as caught:
        verify_first_roster(roster, [envelope], now=now)
    assert caught.value.code == code
