"""Attacks on approvals: each is one way to make too few people look like enough.

First the rule by itself, on two digests; then, below "at a site", the same and more on the way on which a site accepts
its papers (``read_papers``, ``SiteFolder.open``), from files as an attacker would leave them in the study's folder.
"""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sekisho.core.data.intake import BaseModelFacts, DisclosureLevel
from sekisho.core.errors import CoreError
from sekisho.core.site.folder import SiteFolder
from sekisho.core.site.papers import Papers, read_before, read_papers, study_signatures
from sekisho.core.study import Study
from sekisho.governance.errors import BadDocumentError, GovernanceError
from sekisho.governance.policy.policy import Policy
from sekisho.governance.policy.signoff import RENDERER, shown
from sekisho.governance.signing.approvals import REJECT, REVOKE, Approved, Shown, approval_statement, approvals
from sekisho.governance.signing.envelope import (
    PREDICATES,
    Envelope,
    Signature,
    Statement,
    Subject,
    pre_authentication,
    sign_statement,
    write_envelopes,
)
from sekisho.governance.signing.keys import SigningKey, demo_key
from sekisho.governance.signing.roster import Person, Roster

from ..federation import study_folder

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


def test_what_was_shown_is_bound_only_where_the_caller_asks_for_it_and_always_then() -> None:
    seen = Shown(RENDERER, "sha256:" + "1" * 64, "sha256:" + "2" * 64, None)
    right = statement("legal")
    bound = Statement(right.subjects, right.predicate_type, {**right.predicate, "shown": seen.to_json()})
    envelope = sign_statement(bound, [key("counsel")])

    def counted(one: Envelope, asked: Shown | None) -> Approved:
        return approvals(
            ROSTER, [one], subjects=DIGESTS, predicate_type=STUDY, now=NOW, requester=None, shown=asked
        )

    assert counted(envelope, seen).people == (("counsel", "legal"),)
    assert reasons(counted(envelope, None)) == reasons(counted(LEGAL, seen)) == {"SHOWN_OTHER"}


# ------------------------------------------------------------------------------------------------ at a site
# `ame` reads its papers. person-legal and person-it are its people; each test leaves other files in the folder.

SITE = "ame"
LATER = datetime(2026, 12, 1, tzinfo=UTC)  # the study's papers were signed on 1 November
POLICY_TYPE, STUDY_TYPE = PREDICATES["policy-approval"], PREDICATES["study-approval"]


def facts() -> BaseModelFacts:
    level = DisclosureLevel.SOURCES_LISTED
    return BaseModelFacts(Path(), study_folder.WEIGHTS, {}, "bert", 384, 1536, 6, 1, "Apache-2.0", level, 1)


def papers(study: Path, now: datetime = LATER, site: str = SITE) -> Papers:
    return read_papers(study, site, base_model=facts(), now=now)


def refused(act: Callable[[], object], code: str, *words: str) -> None:
    with pytest.raises((CoreError, GovernanceError)) as caught:
        act()
    assert caught.value.code == code, caught.value
    assert all(word in str(caught.value) for word in words), caught.value


def policy_path(study: Path, site: str = SITE) -> Path:
    return study / "sites" / site / "policy.yaml"


def policy_of(study: Path, site: str = SITE) -> Policy:
    return Policy.parse(policy_path(study, site).read_bytes(), "policy.yaml")


def study_of(study: Path) -> Study:
    return Study.parse((study / "study.yaml").read_bytes(), "study.yaml")


def say(
    study: Path,
    role: str,
    by: str = "",
    *,
    about: tuple[str, str] | None = None,
    kind: str = POLICY_TYPE,
    seen: Shown | None = None,
    issued: datetime = LATER - timedelta(days=1),
    expires: datetime = LATER + timedelta(days=30),
    decision: str = "approve",
) -> Envelope:
    """An envelope as ``sekisho legal sign`` would write it for ame's policy, save for what the test changes."""
    policy = policy_of(study)
    digests = about or (policy.bytes_digest, policy.canonical_digest)
    made = approval_statement(
        study_folder.read_roster(study), role=role, subjects=[Subject("policy.yaml", one) for one in digests],
        predicate_type=kind, issued=issued, expires=expires, decision=decision, shown=seen,
    )  # fmt: skip
    return sign_statement(made, [demo_key(by or study_folder.PEOPLE[role])])


def seen_of(study: Path) -> Shown:
    policy = policy_of(study)
    return shown(policy, read_before(study, SITE, policy))


def leave(path: Path, *envelopes: Envelope) -> None:
    path.with_name(path.name + ".dsse.json").write_bytes(write_envelopes(envelopes))


def refused_policy(study: Path, *envelopes: Envelope, code: str, now: datetime = LATER) -> None:
    """Beside an honest signature of IT, these do not make a signed policy."""
    honest = say(study, "it", seen=seen_of(study))
    leave(policy_path(study), honest, *envelopes)
    refused(lambda: papers(study, now), "POLICY_NOT_SIGNED", "'legal'", f"do not count: {code}")


def amended(study: Path, old: str, new: str, version: int, *, keep: bool = True) -> None:
    """The next version of ame's policy, signed; the version before is kept as it was."""
    path = policy_path(study)
    before = policy_of(study)
    if keep:
        earlier = path.parent / "earlier" / f"{before.version}.yaml"
        earlier.parent.mkdir(exist_ok=True)
        shutil.copy(path, earlier)
        shutil.copy(f"{path}.dsse.json", f"{earlier}.dsse.json")
    text = path.read_text("utf-8")
    if before.header.supersedes:
        text = text.replace(f"supersedes: {before.header.supersedes}\n", "")
    heading = f"version: {version}\nsupersedes: {before.bytes_digest}\n"
    path.write_text(text.replace(f"version: {before.version}\n", heading, 1).replace(old, new, 1), "utf-8")
    study_folder.sign_policy(study, SITE)


def run_under(study: Path) -> None:
    """The site opens its folder, as it does before every run."""
    SiteFolder.open(study, SITE, base_model=facts(), clock=lambda: LATER).close()


def test_a_site_accepts_the_honest_papers(study: Path) -> None:
    accepted = papers(study)
    assert accepted.study_approvals == {"legal": 1, "it": 1, "business": 0}
    leave(policy_path(study), *(say(study, role, seen=seen_of(study)) for role in ("legal", "it")))
    assert papers(study).shown == seen_of(study)


def test_at_a_site_one_key_under_two_ids_is_no_roster(study: Path) -> None:
    keys = {name: demo_key(name).public.to_text() for name in ("person-legal", "person-it")}
    study_folder.change(study / "roster.yaml", f'"{keys["person-it"]}"', f'"{keys["person-legal"]}"')
    refused(lambda: papers(study), "ROSTER_KEY_TWICE", "roster.yaml:")


def test_at_a_site_one_person_in_two_roles_counts_in_neither(study: Path) -> None:
    study_folder.change(study / "roster.yaml", "pseudonym: person-legal, roles: [legal]",
                        "pseudonym: person-legal, roles: [legal, it]")  # fmt: skip
    study_folder.sign(study)
    both = [say(study, role, "person-legal", seen=seen_of(study)) for role in ("legal", "it")]
    leave(policy_path(study), *both)
    refused(lambda: papers(study), "POLICY_NOT_SIGNED", "ONE_PERSON_TWO_ROLES")
    study_folder.sign_policy(study, SITE)
    digests = (study_of(study).digest, study_of(study).canonical_digest)
    leave(study / "study.yaml", *(say(study, role, "person-legal", about=digests, kind=STUDY_TYPE)
                                  for role in ("legal", "it")))  # fmt: skip
    assert papers(study).study_approvals == {"legal": 0, "it": 0, "business": 0}


def test_at_a_site_who_asks_for_a_study_does_not_approve_it(study: Path) -> None:
    study_folder.change(study / "study.yaml", "requester: person-business", "requester: person-legal")
    study_folder.sign_study(study)
    assert papers(study).study_approvals == {"legal": 0, "it": 1, "business": 0}
    found = study_signatures(study, study_of(study), study_folder.read_roster(study), now=LATER)
    assert reasons(found) == {"OWN_REQUEST"}


def test_at_a_site_a_signature_over_another_version_does_not_count(study: Path) -> None:
    signed = policy_path(study).with_name("policy.yaml.dsse.json").read_bytes()
    amended(study, "audit_years: 6", "audit_years: 5", 2)
    papers(study)
    policy_path(study).with_name("policy.yaml.dsse.json").write_bytes(signed)
    refused(lambda: papers(study), "POLICY_NOT_SIGNED", "do not count: SUBJECT_OTHER")


def test_at_a_site_approvals_of_another_study_do_not_count(study: Path) -> None:
    study_folder.change(study / "study.yaml", "id: small-study", "id: large-study")
    assert papers(study).study_approvals == {"legal": 0, "it": 0, "business": 0}
    found = study_signatures(study, study_of(study), study_folder.read_roster(study), now=LATER)
    assert reasons(found) == {"SUBJECT_OTHER"}


def test_at_a_site_a_policy_that_was_in_force_before_does_not_come_back(study: Path) -> None:
    first = {path.name: path.read_bytes() for path in policy_path(study).parent.glob("policy.yaml*")}
    run_under(study)
    amended(study, "audit_years: 6", "audit_years: 7", 2)
    run_under(study)
    for name, data in first.items():
        (policy_path(study).parent / name).write_bytes(data)
    papers(study)  # as its people signed it: nothing on paper is wrong with it
    refused(lambda: run_under(study), "POLICY_ROLLED_BACK", "version 2")


def test_at_a_site_a_version_is_one_file(study: Path) -> None:
    run_under(study)
    study_folder.change(policy_path(study), "audit_years: 6", "audit_years: 5")
    study_folder.sign_policy(study, SITE)
    refused(lambda: run_under(study), "POLICY_EXCHANGED", "version 1")


def test_at_a_site_a_newer_policy_descends_from_the_one_in_force(study: Path) -> None:
    """What everybody compared the new version with is what was really in force, also over several versions."""
    run_under(study)
    amended(study, "audit_years: 6", "audit_years: 5", 2)
    amended(study, "audit_years: 5", "audit_years: 4", 3)
    run_under(study)
    amended(study, "audit_years: 4", "audit_years: 3", 4)
    run_under(study)


def test_at_a_site_a_wider_policy_cannot_be_shown_against_a_predecessor_that_never_was(study: Path) -> None:
    run_under(study)
    # the forged first version is as wide as the second, so that the comparison says that nothing changes
    study_folder.change(policy_path(study), 'lifetime: {epsilon: "27.0"', 'lifetime: {epsilon: "28.0"')
    study_folder.sign_policy(study, SITE)
    amended(study, "audit_years: 6", "audit_years: 7", 2)
    papers(study)
    refused(lambda: run_under(study), "POLICY_PREDECESSOR_OTHER", "does not descend")


def test_at_a_site_the_version_before_is_there_and_is_the_one_named(study: Path) -> None:
    amended(study, "audit_years: 6", "audit_years: 7", 2)
    earlier = policy_path(study).parent / "earlier" / "1.yaml"
    study_folder.change(earlier, "audit_years: 6", "audit_years: 7")
    refused(lambda: papers(study), "POLICY_PREDECESSOR_OTHER")
    earlier.unlink()
    refused(lambda: papers(study), "POLICY_PREDECESSOR_MISSING", "is not here")


def test_at_a_site_a_wrong_payload_type_does_not_count(study: Path) -> None:
    right = say(study, "legal", seen=seen_of(study))
    other = Envelope("application/json", right.payload, ()).signed_by(demo_key("person-legal"))
    refused_policy(study, other, code="PAYLOAD_TYPE_WRONG")


@pytest.mark.parametrize("kind", ["study-approval", "release-approval", "base-model", "roster", "stop"])
def test_at_a_site_an_approval_of_another_kind_does_not_count(study: Path, kind: str) -> None:
    odd = say(study, "legal", kind=PREDICATES[kind], seen=seen_of(study))
    refused_policy(study, odd, code="PREDICATE_TYPE_WRONG")


@pytest.mark.parametrize("language", ["en", "ja"])
def test_at_a_site_a_tampered_rendering_does_not_count(study: Path, language: str) -> None:
    """Legal was shown other words than the policy's: the digest of what was on the screen gives it away."""
    other = replace(seen_of(study), **{language: "sha256:" + "0" * 64})
    refused_policy(study, say(study, "legal", seen=other), code="SHOWN_OTHER")


def test_at_a_site_an_approval_that_says_nothing_of_what_was_shown_does_not_count(study: Path) -> None:
    refused_policy(study, say(study, "legal"), code="SHOWN_OTHER")


def test_at_a_site_an_approval_given_to_other_words_of_the_software_is_given_again(study: Path) -> None:
    older = replace(seen_of(study), renderer="sekisho-rendering/0", en="sha256:" + "0" * 64)
    refused_policy(study, say(study, "legal", seen=older), code="RENDERER_OTHER")


def test_at_a_site_a_hidden_or_false_comparison_does_not_count(study: Path) -> None:
    """The second version is signed as if it were a first one, or as if something else had been before it."""
    amended(study, "audit_years: 6", "audit_years: 5", 2)
    right = seen_of(study)
    assert right.comparison is not None
    for other in (None, "sha256:" + "0" * 64):
        refused_policy(study, say(study, "legal", seen=replace(right, comparison=other)), code="SHOWN_OTHER")


@pytest.mark.parametrize(
    ("odd", "place"),
    [
        ({"renderer": RENDERER}, ()),
        ("the screen", ()),
        (None, ("en",)),
        ("sha256:ABC", ("ja",)),
        (7, ("renderer",)),
        (False, ("comparison",)),
        ("and more", ("fr",)),
    ],
)
def test_at_a_site_an_odd_word_on_what_was_shown_does_not_count(
    study: Path, odd: object, place: tuple[str, ...]
) -> None:
    made = json.loads(say(study, "legal", seen=seen_of(study)).payload)
    if place:
        made["predicate"]["shown"][place[0]] = odd
    else:
        made["predicate"]["shown"] = odd
    subjects = [Subject(one["name"], "sha256:" + one["digest"]["sha256"]) for one in made["subject"]]
    envelope = sign_statement(Statement(tuple(subjects), POLICY_TYPE, made["predicate"]), [demo_key("person-legal")])
    refused_policy(study, envelope, code="APPROVAL_MALFORMED")


@pytest.mark.parametrize(
    ("paper", "old", "new", "code"),
    [
        (f"sites/{SITE}/policy.yaml", "In force", "In fоrce", "MIXED_SCRIPTS"),
        (f"sites/{SITE}/policy.yaml", "In force", "\u202eIn force", "BIDI_CHARACTER"),
        (f"sites/{SITE}/policy.yaml", "In force", "In fo\u200brce", "INVISIBLE_CHARACTER"),
        ("study.yaml", "en: Does it work", "en: Dοes it work", "MIXED_SCRIPTS"),
        ("study.yaml", "en: Does it work", "en: Does it \u2066work", "BIDI_CHARACTER"),
        ("roster.yaml", "name: {en: Hana", "name: {en: Наna", "MIXED_SCRIPTS"),
        ("roster.yaml", "name: {en: Hana", "name: {en: \u202eHana", "BIDI_CHARACTER"),
        ("base-model.yaml", "provider: sentence", "provider: ѕentence", "MIXED_SCRIPTS"),
    ],
)  # fmt: skip
def test_at_a_site_text_that_reads_otherwise_than_it_is_written_is_refused_at_its_place(
    study: Path, paper: str, old: str, new: str, code: str
) -> None:
    path = study / paper
    study_folder.change(path, old, new)
    with pytest.raises(BadDocumentError) as caught:
        papers(study)
    assert (caught.value.code, caught.value.file) == (code, paper)
    bad = next(sign for sign in new if sign not in old)
    line = path.read_text("utf-8").splitlines()[caught.value.line - 1]
    assert line[caught.value.column - 1] == bad


@pytest.mark.parametrize("name", ["ѕmall-study", "small\u2010study", "ｓmall-study"])
def test_at_a_site_an_id_is_plain_ascii(study: Path, name: str) -> None:
    study_folder.change(study / "study.yaml", "id: small-study", f"id: {name}")
    with pytest.raises(BadDocumentError):
        papers(study)


def test_at_a_site_a_demo_key_counts_under_no_real_roster(study: Path) -> None:
    path = study / "roster.yaml"
    study_folder.change(path, "demo: true\n", "demo: false\n")
    refused(lambda: papers(study), "ROSTER_DEMO_KEY")
    # nor where the roster does not admit that the key is one
    path.write_text(path.read_text("utf-8").replace(", demo: true}", "}"), "utf-8")
    refused(lambda: papers(study), "ROSTER_DEMO_KEY")


def test_at_a_site_the_signatures_of_another_sites_policy_do_not_count(study: Path) -> None:
    signed = policy_path(study, "hana").with_name("policy.yaml.dsse.json")
    shutil.copy(signed, policy_path(study).with_name(signed.name))
    refused(lambda: papers(study), "POLICY_NOT_SIGNED", "SUBJECT_OTHER")


def test_at_a_site_another_sites_policy_with_its_signatures_does_not_count(study: Path) -> None:
    everywhere = f"acts_for: [{', '.join(study_folder.SITES)}]"
    text = (study / "roster.yaml").read_text("utf-8")
    (study / "roster.yaml").write_text(text.replace(everywhere, "acts_for: [hana]"), "utf-8")
    study_folder.sign(study)
    papers(study, site="hana")
    for name in ("policy.yaml", "policy.yaml.dsse.json"):
        shutil.copy(policy_path(study, "hana").with_name(name), policy_path(study).with_name(name))
    refused(lambda: papers(study), "POLICY_OF_ANOTHER", "hana")
    # nor where one company stands behind both
    study_folder.change(study / "roster.yaml", "controller: ame-owner", "controller: hana")
    study_folder.sign_roster(study)
    refused(lambda: papers(study), "POLICY_NOT_SIGNED", "SIGNATURE_MISSING")


def test_at_a_site_an_approval_dated_in_the_future_does_not_count_yet(study: Path) -> None:
    early = say(study, "legal", seen=seen_of(study), issued=LATER + timedelta(seconds=1))
    refused_policy(study, early, code="NOT_YET_ISSUED")


def test_at_a_site_an_expired_approval_no_longer_counts(study: Path) -> None:
    short = say(study, "legal", seen=seen_of(study), expires=LATER + timedelta(days=1))
    honest = say(study, "it", seen=seen_of(study))
    leave(policy_path(study), honest, short)
    papers(study)
    refused_policy(study, short, code="APPROVAL_EXPIRED", now=LATER + timedelta(days=1))


def test_at_a_site_two_keys_of_one_person_meet_no_threshold_of_two(study: Path) -> None:
    path = study / "roster.yaml"
    one, two, other = (demo_key(name).public.to_text() for name in ("person-legal", "person-laptop", "person-counsel"))
    study_folder.change(path, f'keys: ["{one}"]', f'keys: ["{one}", "{two}"]')
    person = next(line for line in path.read_text("utf-8").splitlines() if "pseudonym: person-it" in line)
    counsel = person.replace("person-it", "person-counsel").replace("[it]", "[legal]").replace(
        demo_key("person-it").public.to_text(), other)  # fmt: skip
    study_folder.change(path, person, f"{person}\n{counsel}")
    study_folder.change(path, "legal: 1", "legal: 2")
    study_folder.sign_roster(study)
    twice = [say(study, "legal", name, seen=seen_of(study)) for name in ("person-legal", "person-laptop")]
    together = Envelope(twice[0].payload_type, twice[0].payload, twice[0].signatures).signed_by(
        demo_key("person-laptop"))  # fmt: skip
    it = say(study, "it", seen=seen_of(study))
    for envelopes in (twice, [together]):
        leave(policy_path(study), it, *envelopes)
        refused(lambda: papers(study), "POLICY_NOT_SIGNED", "'legal'")
    second = say(study, "legal", "person-counsel", seen=seen_of(study))
    leave(policy_path(study), it, twice[0], second)
    study_folder.sign_base_model(study)
    papers(study)


@pytest.mark.parametrize("decision", [REVOKE, REJECT])
def test_at_a_site_a_revocation_is_not_undone_by_putting_the_older_approval_back(study: Path, decision: str) -> None:
    yes = say(study, "legal", seen=seen_of(study))
    no = say(study, "legal", issued=LATER - timedelta(hours=1), decision=decision)
    refused_policy(study, yes, no, yes, code="NOT_AN_APPROVAL, WITHDRAWN")
    refused_policy(study, no, yes, code="NOT_AN_APPROVAL, WITHDRAWN")  # the order of lines says nothing
    together = say(study, "legal", decision=decision)
    refused_policy(study, yes, together, code="NOT_AN_APPROVAL, WITHDRAWN")  # of one moment the no wins
    again = say(study, "legal", seen=seen_of(study), issued=LATER - timedelta(minutes=1))
    leave(policy_path(study), say(study, "it", seen=seen_of(study)), yes, no, again)
    papers(study)


def test_at_a_site_a_no_is_heard_under_other_words_and_in_an_odd_form_of_what_was_shown(study: Path) -> None:
    yes = say(study, "legal", seen=seen_of(study))
    for seen in (None, replace(seen_of(study), renderer="sekisho-rendering/0")):
        no = say(study, "legal", decision=REVOKE, seen=seen)
        refused_policy(study, yes, no, code="NOT_AN_APPROVAL, WITHDRAWN")
    said = Statement.from_bytes(say(study, "legal", decision=REVOKE).payload)
    odd = Statement(said.subjects, said.predicate_type, {**said.predicate, "shown": "nothing"})
    no = sign_statement(odd, [demo_key("person-legal")])
    refused_policy(study, yes, no, code="NOT_AN_APPROVAL, WITHDRAWN")


def test_at_a_site_a_signature_over_other_bytes_of_the_payload_does_not_count(study: Path) -> None:
    right = say(study, "legal", seen=seen_of(study))
    value = json.loads(right.payload)
    value["predicate"]["shown"]["en"] = "sha256:" + "0" * 64
    leave(policy_path(study), say(study, "it", seen=seen_of(study)))
    line = json.loads(right.to_bytes())
    line["payload"] = base64.b64encode(json.dumps(value).encode()).decode()
    beside = policy_path(study).with_name("policy.yaml.dsse.json")
    beside.write_bytes(beside.read_bytes() + json.dumps(line).encode() + b"\n")
    refused(lambda: papers(study), "POLICY_NOT_SIGNED", "SIGNATURE_MISSING")
