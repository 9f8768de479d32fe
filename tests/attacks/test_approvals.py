"""Attacks on approvals: each is one way to make too few people look like enough."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from sekisho.governance.errors import BadDocumentError
from sekisho.governance.signing.approvals import Approved, approval_statement, approvals
from sekisho.governance.signing.envelope import (
    PREDICATES,
    Envelope,
    Signature,
    Statement,
    Subject,
    pre_authentication,
    sign_statement,
)
from sekisho.governance.signing.keys import SigningKey
from sekisho.governance.signing.roster import Person, Roster

NOW = datetime(2026, 12, 1, tzinfo=UTC)
DIGESTS = frozenset({"sha256:" + "a" * 64, "sha256:" + "b" * 64})
STUDY = PREDICATES["study-approval"]
BOTH = {"legal": 1, "it": 1}


def key(name: str) -> SigningKey:
    return SigningKey.from_seed(name.encode().ljust(32, b"."))


def roster_text(version: int = 1, admin: str = "admin") -> str:
    def public(name: str) -> str:
        return key(name).public.to_text()

    return f"""\
schema: sekisho-roster/1
version: {version}
demo: false
created: "2026-04-01T00:00:00+09:00"
expires: "2027-04-01T00:00:00+09:00"
parties:
  - {{id: kohi, kind: site, controller: kohi, country: JP, key: "{public('kohi')}", name: {{en: K, ja: 珈}}}}
  - {{id: hub, kind: coordinator, controller: hub, country: JP, key: "{public('hub')}", name: {{en: H, ja: 集}}}}
people:
  - {{pseudonym: counsel, roles: [legal], keys: ["{public('counsel')}", "{public('counsel-laptop')}"]}}
  - {{pseudonym: admin, roles: [it], keys: ["{public(admin)}"]}}
  - {{pseudonym: both, roles: [legal, it], keys: ["{public('both')}"]}}
roles: {{legal: 1, it: 1}}
"""


ROSTER = Roster.parse(roster_text().encode(), "roster.yaml")


def statement(
    role: str,
    *,
    digests: frozenset[str] = DIGESTS,
    kind: str = STUDY,
    issued: datetime = NOW - timedelta(days=1),
    expires: datetime = NOW + timedelta(days=30),
    roster: Roster = ROSTER,
) -> Statement:
    subjects = [Subject("study.yaml", digest) for digest in sorted(digests)]
    return approval_statement(
        roster, role=role, subjects=subjects, predicate_type=kind, issued=issued, expires=expires
    )


def count(
    envelopes: Sequence[Envelope], requester: str | None = None, roster: Roster = ROSTER, now: datetime = NOW
) -> Approved:
    return approvals(
        roster, envelopes, subjects=DIGESTS, predicate_type=STUDY, now=now, requester=requester
    )


LEGAL = sign_statement(statement("legal"), [key("counsel")])
IT = sign_statement(statement("it"), [key("admin")])


def reasons(result: Approved) -> set[str]:
    return {item.code for item in result.ignored}


def test_the_honest_pair_is_enough() -> None:
    assert count([LEGAL, IT]).reaches(BOTH)


def test_one_person_with_two_keys_is_one_person() -> None:
    envelope = sign_statement(statement("legal"), [key("counsel"), key("counsel-laptop")])
    assert count([envelope]).by_role["legal"] == 1


def test_one_key_under_two_ids_is_refused_by_the_roster() -> None:
    source = roster_text(admin="counsel")
    with pytest.raises(BadDocumentError) as caught:
        Roster.parse(source.encode(), "roster.yaml")
    assert caught.value.code == "ROSTER_KEY_TWICE"


def test_one_key_under_two_ids_counts_for_nobody_even_without_the_rosters_check() -> None:
    shared = replace(
        ROSTER,
        people=(
            Person("counsel", ("legal",), (key("counsel").public,), False),
            Person("ghost", ("legal", "it"), (key("counsel").public,), False),
        ),
    )
    envelopes = [sign_statement(statement(role), [key("counsel")]) for role in ("legal", "it")]
    result = count(envelopes, roster=shared)
    assert result.people == () and reasons(result) == {"KEY_SHARED"}


def test_one_signature_listed_under_two_key_ids_is_one_signature() -> None:
    # securesystemslib's threshold was satisfied by this: same key, two hints.
    text = pre_authentication(LEGAL.payload_type, LEGAL.payload)
    value = key("counsel").sign(text)
    hints = [key(name).public.key_id for name in ("counsel", "counsel-laptop", "both", "admin")]
    forged = Envelope(LEGAL.payload_type, LEGAL.payload, tuple(Signature(hint, value) for hint in hints))
    assert count([forged]).people == (("counsel", "legal"),)


def test_one_person_in_two_roles_counts_in_neither() -> None:
    envelopes = [sign_statement(statement(role), [key("both")]) for role in ("legal", "it")]
    result = count(envelopes)
    assert not result.reaches(BOTH) and result.people == ()
    assert reasons(result) == {"ONE_PERSON_TWO_ROLES"}
    assert count([*envelopes, LEGAL, IT]).reaches(BOTH)  # others are not harmed


def test_a_requester_cannot_approve_the_own_study() -> None:
    result = count([LEGAL, IT], requester="counsel")
    assert result.requester_excluded and result.missing(BOTH) == ("legal",)
    assert reasons(result) == {"OWN_REQUEST"}


def test_a_role_that_the_signer_does_not_hold_does_not_count() -> None:
    assert reasons(count([sign_statement(statement("it"), [key("counsel")])])) == {"ROLE_NOT_HELD"}
    assert reasons(count([sign_statement(statement("king"), [key("counsel")])])) == {"ROLE_NOT_HELD"}


@pytest.mark.parametrize(
    "digests",
    [
        frozenset({"sha256:" + "c" * 64}),                        # another study
        frozenset({"sha256:" + "a" * 64}),                        # only the bytes, not the meaning
        frozenset({"sha256:" + "b" * 64}),                        # only the meaning, not the bytes
        DIGESTS | {"sha256:" + "c" * 64},                         # several studies in one go
        frozenset({"sha256:" + "a" * 64, "sha256:" + "c" * 64}),  # the next version
    ],
)
def test_a_signature_over_another_version_or_study_does_not_count(digests: frozenset[str]) -> None:
    result = count([sign_statement(statement("legal", digests=digests), [key("counsel")])])
    assert result.people == () and reasons(result) == {"SUBJECT_OTHER"}


def test_an_expired_or_future_approval_does_not_count() -> None:
    for change, code in (
        ({"expires": NOW}, "APPROVAL_EXPIRED"),
        ({"issued": NOW + timedelta(seconds=1)}, "NOT_YET_ISSUED"),
    ):
        result = count([sign_statement(statement("legal", **change), [key("counsel")])])
        assert result.people == () and reasons(result) == {code}


def test_nothing_counts_under_an_expired_roster() -> None:
    result = count([LEGAL, IT], now=datetime(2027, 4, 1, tzinfo=UTC))
    assert result.people == () and reasons(result) == {"ROSTER_EXPIRED"}


def test_an_unknown_key_does_not_count() -> None:
    for name in ("stranger", "kohi", "hub"):  # a party's key approves nothing either
        result = count([sign_statement(statement("legal"), [key(name)])])
        assert result.people == () and reasons(result) == {"SIGNATURE_MISSING"}


def test_a_removed_key_no_longer_counts() -> None:
    newer = Roster.parse(roster_text(version=2, admin="admin-new").encode(), "roster.yaml")
    assert count([LEGAL, IT], roster=newer).missing(BOTH) == ("it",)


def test_an_older_roster_cannot_bring_a_removed_key_back() -> None:
    # The approval names the roster it was made under: who still holds version 1 learns that there is a 2.
    newer = Roster.parse(roster_text(version=2).encode(), "roster.yaml")
    result = count([sign_statement(statement("legal", roster=newer), [key("counsel")])])
    assert result.people == () and reasons(result) == {"ROSTER_OUT_OF_DATE"}


def test_two_rosters_of_one_version_do_not_share_approvals() -> None:
    twin = Roster.parse((roster_text() + "# the same, signed by others\n").encode(), "roster.yaml")
    result = count([LEGAL], roster=twin)
    assert result.people == () and reasons(result) == {"ROSTER_OTHER"}


def test_a_wrong_payload_type_does_not_count() -> None:
    other = Envelope("application/json", LEGAL.payload, ()).signed_by(key("counsel"))
    assert reasons(count([other])) == {"PAYLOAD_TYPE_WRONG"}


@pytest.mark.parametrize("kind", ["policy-approval", "release-approval", "roster", "stop", "training-run"])
def test_an_approval_of_another_kind_does_not_count(kind: str) -> None:
    result = count([sign_statement(statement("legal", kind=PREDICATES[kind]), [key("counsel")])])
    assert result.people == () and reasons(result) == {"PREDICATE_TYPE_WRONG"}


@pytest.mark.parametrize(
    "change",
    [
        {"decision": "APPROVE"},
        {"decision": True},
        {"role": ["legal"]},
        {"issued": "2026-11-30"},
        {"expires": None},
        {"roster": None},
        {"roster": {"version": True, "fingerprint": ROSTER.fingerprint}},
        {"roster": {"version": "1", "fingerprint": ROSTER.fingerprint}},
        {"roster": {"version": 1}},
        {"note": "and one more field"},
    ],
)
def test_a_signed_approval_with_odd_fields_does_not_count(change: dict[str, object]) -> None:
    right = statement("legal")
    odd = Statement(right.subjects, right.predicate_type, {**right.predicate, **change})
    assert count([sign_statement(odd, [key("counsel")])]).people == ()


def test_a_changed_payload_does_not_count() -> None:
    value = json.loads(LEGAL.payload)
    value["predicate"]["role"] = "it"
    changed = Envelope(LEGAL.payload_type, json.dumps(value).encode(), LEGAL.signatures)
    assert reasons(count([changed])) == {"SIGNATURE_MISSING"}
