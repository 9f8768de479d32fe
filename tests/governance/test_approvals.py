"""Properties of the acceptance rule; the named attacks on it are in tests/attacks/test_approvals.py."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.governance.signing.approvals import (
    APPROVE,
    REJECT,
    REVOKE,
    Approved,
    approval_statement,
    approvals,
)
from sekisho.governance.signing.envelope import PREDICATES, Envelope, Subject, sign_statement
from sekisho.governance.signing.keys import SigningKey
from sekisho.governance.signing.roster import Person, Roster

NOW = datetime(2026, 12, 1, tzinfo=UTC)
DIGESTS = frozenset({"sha256:" + "a" * 64, "sha256:" + "b" * 64})
SUBJECTS = [Subject(f"study{n}", digest) for n, digest in enumerate(sorted(DIGESTS))]
STUDY = PREDICATES["study-approval"]
KEYS = {name: SigningKey.from_seed(name.encode().ljust(32, b".")) for name in ("ann", "bob", "cid", "dan")}
PEOPLE = {"ann": ("legal",), "bob": ("it",), "cid": ("legal", "it"), "dan": ("business",)}
ROSTER = Roster(
    version=2,
    demo=False,
    created=NOW - timedelta(days=30),
    expires=NOW + timedelta(days=365),
    parties=(),
    people=tuple(Person(name, roles, (KEYS[name].public,), False) for name, roles in PEOPLE.items()),
    roles={"legal": 1, "it": 1, "business": 1},
    fingerprint="sha256:" + "f" * 64,
)


def say(who: str, role: str, decision: str = APPROVE, day: int = 0, days: int = 10) -> Envelope:
    issued = NOW - timedelta(days=5) + timedelta(days=day)
    statement = approval_statement(
        ROSTER, role=role, subjects=SUBJECTS, predicate_type=STUDY, issued=issued,
        expires=issued + timedelta(days=days), decision=decision,
    )
    return sign_statement(statement, [KEYS[who]])


def count(envelopes: Sequence[Envelope], requester: str | None = None) -> Approved:
    return approvals(
        ROSTER, envelopes, subjects=DIGESTS, predicate_type=STUDY, now=NOW, requester=requester
    )


ENVELOPES = st.lists(
    st.builds(
        say,
        st.sampled_from(sorted(PEOPLE)),
        st.sampled_from(["legal", "it", "business", "king"]),
        st.sampled_from([APPROVE, APPROVE, APPROVE, REJECT, REVOKE]),
        st.integers(-3, 8),
        st.integers(0, 12),
    ),
    max_size=7,
)


def test_two_people_in_two_roles_reach_both_thresholds() -> None:
    result = count([say("ann", "legal"), say("bob", "it")])
    assert result.by_role == {"legal": 1, "it": 1, "business": 0}
    assert result.people == (("ann", "legal"), ("bob", "it"))
    assert result.ignored == () and not result.requester_excluded
    assert result.reaches({"legal": 1, "it": 1}) and result.missing({"legal": 2, "it": 1}) == ("legal",)


def test_people_may_sign_one_envelope_together() -> None:
    together = say("ann", "legal").signed_by(KEYS["cid"])
    assert count([together]).by_role["legal"] == 2


def test_a_person_with_two_roles_counts_in_the_one_they_signed_for() -> None:
    assert count([say("cid", "it"), say("ann", "legal")]).by_role == {"legal": 1, "it": 1, "business": 0}


def test_asking_for_nobody_is_never_reached() -> None:
    result = count([say("ann", "legal"), say("bob", "it")])
    assert not result.reaches({}) and not result.reaches({"legal": 0})


@pytest.mark.parametrize("decision", [REVOKE, REJECT])
def test_a_later_no_voids_an_approval_and_a_later_yes_restores_it(decision: str) -> None:
    yes, again = say("ann", "legal", day=0), say("ann", "legal", day=2)
    no = say("ann", "legal", decision, day=1)
    assert count([yes]).by_role["legal"] == 1
    assert count([yes, no]).by_role["legal"] == 0
    assert count([yes, say("ann", "legal", decision, day=0)]).by_role["legal"] == 0  # equal times: no
    assert count([yes, no, again]).by_role["legal"] == 1
    assert count([yes, say("cid", "legal", decision, day=1)]).by_role["legal"] == 1  # not for another


@settings(max_examples=60, deadline=None)
@given(ENVELOPES, st.randoms(use_true_random=False), st.sampled_from([None, "ann", "cid"]))
def test_order_and_repetition_change_nothing(
    envelopes: list[Envelope], random: Random, requester: str | None
) -> None:
    result = count(envelopes, requester)
    shuffled = envelopes + envelopes[: len(envelopes) // 2]
    random.shuffle(shuffled)
    again = count(shuffled, requester)
    assert (again.by_role, again.people) == (result.by_role, result.people)


@settings(max_examples=60, deadline=None)
@given(ENVELOPES, st.sampled_from([None, "ann", "cid"]))
def test_every_counted_person_is_distinct_holds_the_role_and_is_not_the_requester(
    envelopes: list[Envelope], requester: str | None
) -> None:
    result = count(envelopes, requester)
    names = [name for name, _ in result.people]
    assert len(names) == len(set(names)) == sum(result.by_role.values())
    assert requester not in names
    assert all(role in PEOPLE[name] for name, role in result.people)
    for role, number in result.by_role.items():
        assert number == sum(1 for _, held in result.people if held == role)
    # Whatever did not count has a reason, so each envelope is either behind a counted person or listed.
    assert {item.envelope for item in result.ignored} <= set(range(len(envelopes)))
    assert len(result.ignored) + len(names) >= min(1, len(envelopes))


@settings(max_examples=60, deadline=None)
@given(ENVELOPES, ENVELOPES)
def test_a_stranger_can_neither_add_nor_remove(ours: list[Envelope], theirs: list[Envelope]) -> None:
    stranger = SigningKey.from_seed(b"s" * 32)
    foreign = [Envelope(e.payload_type, e.payload, ()).signed_by(stranger) for e in theirs]
    assert count(ours + foreign).people == count(ours).people


@settings(max_examples=60, deadline=None)
@given(ENVELOPES, ENVELOPES)
def test_nobody_can_change_what_another_person_said(ours: list[Envelope], others: list[Envelope]) -> None:
    dan = [Envelope(e.payload_type, e.payload, ()).signed_by(KEYS["dan"]) for e in others]
    before = {(name, role) for name, role in count(ours).people if name != "dan"}
    after = {(name, role) for name, role in count(ours + dan).people if name != "dan"}
    assert before == after


@settings(max_examples=40, deadline=None)
@given(ENVELOPES)
def test_time_only_takes_approvals_away_once_all_are_issued(envelopes: list[Envelope]) -> None:
    def at(days: int) -> set[str]:
        result = approvals(
            ROSTER, envelopes, subjects=DIGESTS, predicate_type=STUDY, now=NOW + timedelta(days=days),
            requester=None,
        )
        return {name for name, _ in result.people}

    # Except for cid: when the approval in one of two roles expires, the one in the other begins to count.
    assert at(30) - {"cid"} <= at(10) - {"cid"}
    assert at(400) == set()


RELEASE = PREDICATES["release-approval"]
FILES = tuple(Subject(name, f"sha256:{number:064x}") for number, name in enumerate(
    ("adapter_model.safetensors", "adapter_config.json", "head.safetensors", "model-card.md"), start=1))  # fmt: skip


def release(
    who: str, role: str, files: Sequence[Subject] = FILES, kind: str = RELEASE, decision: str = APPROVE
) -> Envelope:
    statement = approval_statement(
        ROSTER, role=role, subjects=files, predicate_type=kind, issued=NOW - timedelta(days=1),
        expires=NOW + timedelta(days=10), decision=decision,
    )  # fmt: skip
    return sign_statement(statement, [KEYS[who]])


def released(*envelopes: Envelope, requester: str | None = None) -> Approved:
    return approvals(
        ROSTER, envelopes, subjects=frozenset(file.digest for file in FILES), predicate_type=RELEASE, now=NOW,
        requester=requester,
    )  # fmt: skip


def test_a_release_is_approved_by_the_same_rule_over_the_digests_of_all_its_files() -> None:
    everybody = {"legal": 1, "it": 1, "business": 1}
    votes = [release("ann", "legal"), release("bob", "it"), release("dan", "business")]
    assert released(*votes).reaches(everybody)
    assert released(*votes, requester="dan").missing(everybody) == ("business",)
    taken_back = release("ann", "legal", decision=REVOKE)
    assert released(*votes, taken_back).missing(everybody) == ("legal",)


@pytest.mark.parametrize(
    "files",
    [
        FILES[:-1],                                              # one file was added since
        (*FILES, Subject("more.bin", "sha256:" + "9" * 64)),     # one was taken out
        (*FILES[:-1], Subject("model-card.md", "sha256:" + "9" * 64)),  # one was exchanged
    ],
)  # fmt: skip
def test_an_approval_of_other_files_is_not_one_of_this_release(files: Sequence[Subject]) -> None:
    result = released(release("ann", "legal", files))
    assert result.people == () and [item.code for item in result.ignored] == ["SUBJECT_OTHER"]
    # but a no to some of them is a no to the release
    assert released(release("ann", "legal"), release("ann", "legal", files, decision=REJECT)).people == ()


def test_an_approval_of_a_study_releases_nothing() -> None:
    result = released(release("ann", "legal", kind=STUDY))
    assert result.people == () and [item.code for item in result.ignored] == ["PREDICATE_TYPE_WRONG"]
