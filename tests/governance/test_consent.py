"""Consent: what the rule answers, what a withdrawal does, and that every doubt is a no."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.governance.consent.consent import ConsentRegister, Reason
from sekisho.governance.consent.erasing import take_out_traces
from sekisho.governance.consent.record import ConsentEvent, EventKind
from sekisho.governance.consent.standing import judge
from sekisho.governance.consent.vault import Vault
from sekisho.governance.errors import BadDocumentError, GovernanceError, Refused

SCOPE = "fl-training/2026-11"
DAY = timedelta(days=1)
T0 = datetime(2026, 4, 1, tzinfo=UTC)
GRANTED, WITHDRAWN, OBJECTED = EventKind.GRANTED, EventKind.WITHDRAWN, EventKind.OBJECTED


def event(kind=GRANTED, day=0, *, subject="s1", scope=SCOPE, expires=None):
    end = None if expires is None else T0 + expires * DAY
    return ConsentEvent(subject, scope, kind, T0 + day * DAY, end, "notice-1")


@pytest.fixture
def register(tmp_path):
    register = ConsentRegister.open(tmp_path / "consent.sqlite")
    yield register
    register.close()


def filled(register, *events):
    register._vault.record(events)
    return register


@pytest.mark.parametrize(
    ("events", "day", "reason"),
    [
        ([], 10, Reason.NEVER_ASKED),
        ([event()], 10, Reason.GRANTED),
        ([event()], 0, Reason.GRANTED),
        ([event(day=5)], 4, Reason.NOT_YET_VALID),
        ([event(expires=10)], 9, Reason.GRANTED),
        ([event(expires=10)], 10, Reason.EXPIRED),
        ([event(scope="newsletter")], 10, Reason.OTHER_SCOPE),
        ([event(OBJECTED, scope="newsletter"), event()], 10, Reason.GRANTED),
        ([event(), event(WITHDRAWN, 5)], 10, Reason.WITHDRAWN),
        ([event(), event(WITHDRAWN, 0)], 10, Reason.WITHDRAWN),
        ([event(), event(WITHDRAWN, 20)], 10, Reason.WITHDRAWN),
        ([event(), event(WITHDRAWN, 5), event(day=6)], 10, Reason.GRANTED),
        ([event(), event(WITHDRAWN, 5), event(day=12)], 10, Reason.WITHDRAWN),
        ([event(WITHDRAWN, 5)], 10, Reason.WITHDRAWN),
        ([event(), event(OBJECTED, 5)], 10, Reason.OBJECTED),
        ([event(OBJECTED, 5), event(day=6)], 10, Reason.OBJECTED),
        ([event(), event(OBJECTED, 20)], 10, Reason.OBJECTED),
        ([event(expires=10), event(day=9)], 11, Reason.GRANTED),
        ([event(), event(day=9, expires=10)], 11, Reason.EXPIRED),
        ([event(day=9), event(day=9, expires=10)], 11, Reason.EXPIRED),
    ],
)
def test_every_reason_is_given_and_only_a_valid_grant_is_a_yes(events, day, reason):
    status = judge(events, scope=SCOPE, now=T0 + day * DAY)
    assert status.reason is reason
    assert status.eligible is (reason is Reason.GRANTED)


events_of_one = st.lists(
    st.builds(
        event,
        st.sampled_from(list(EventKind)),
        st.integers(0, 9),
        scope=st.sampled_from([SCOPE, "other"]),
    ),
    max_size=6,
)


@settings(max_examples=100)
@given(events_of_one, st.integers(0, 12), st.integers(0, 12))
def test_a_withdrawal_or_objection_added_now_never_makes_anyone_eligible(events, day, added):
    now = T0 + day * DAY
    assert not judge([*events, event(OBJECTED, added)], scope=SCOPE, now=now).eligible
    after_all = event(WITHDRAWN, 10 + added)
    assert not judge([*events, after_all], scope=SCOPE, now=now).eligible


@settings(max_examples=50)
@given(events_of_one, st.integers(0, 12), st.randoms(use_true_random=False))
def test_the_answer_does_not_depend_on_the_order_of_the_events(events, day, random):
    shuffled = list(events)
    random.shuffle(shuffled)
    now = T0 + day * DAY
    assert judge(events, scope=SCOPE, now=now) == judge(shuffled, scope=SCOPE, now=now)


def test_eligible_keeps_the_order_asked_and_counts_the_others_by_reason(register):
    filled(
        register,
        event(subject="yes"),
        event(subject="gone"),
        event(WITHDRAWN, 1, subject="gone"),
        event(subject="late", expires=2),
        event(OBJECTED, 1, subject="no"),
        event(subject="also"),
    )
    answer = register.eligible(["yes", "unknown", "gone", "late", "no", "also", "yes"], SCOPE, T0 + 5 * DAY)
    assert answer.eligible == ("yes", "also")
    assert answer.excluded == Counter(
        {Reason.NEVER_ASKED: 1, Reason.WITHDRAWN: 1, Reason.EXPIRED: 1, Reason.OBJECTED: 1}
    )
    assert register.counts(SCOPE, T0 + 5 * DAY) == Counter(
        {Reason.GRANTED: 2, Reason.WITHDRAWN: 1, Reason.EXPIRED: 1, Reason.OBJECTED: 1}
    )


def test_a_withdrawal_counts_at_the_next_question_and_survives_the_process(register, tmp_path):
    filled(register, event(), event(scope="other"))
    now = T0 + 5 * DAY
    assert register.status("s1", scope=SCOPE, now=now).eligible
    before = register.snapshot_digest()
    register.withdraw("s1", now)
    assert register.status("s1", scope=SCOPE, now=now).reason is Reason.WITHDRAWN
    assert register.status("s1", scope="other", now=now).reason is Reason.WITHDRAWN
    assert register.snapshot_digest() != before
    again = ConsentRegister.open(tmp_path / "consent.sqlite")
    assert again.status("s1", scope=SCOPE, now=now).reason is Reason.WITHDRAWN
    assert again.snapshot_digest() == register.snapshot_digest()
    again.close()


def test_a_withdrawal_that_would_change_nothing_is_refused(register):
    filled(register, event(day=5))
    with pytest.raises(Refused) as unknown:
        register.withdraw("s2", T0)
    assert unknown.value.code == "CONSENT_SUBJECT_UNKNOWN"
    with pytest.raises(Refused) as early:
        register.withdraw("s1", T0 + 4 * DAY)
    assert early.value.code == "CONSENT_WITHDRAWAL_TOO_EARLY"
    assert register.status("s1", scope=SCOPE, now=T0 + 6 * DAY).eligible


def test_a_grant_dated_ahead_does_not_bring_an_erased_subject_back(register):
    filled(register, event(), event(day=900))
    assert register.erase("s1", T0 + 5 * DAY) == 2
    filled(register, event(), event(day=900))                     # an old copy of the site's file
    assert not register.knows("s1")
    filled(register, event(day=901))
    assert register.status("s1", scope=SCOPE, now=T0 + 902 * DAY).eligible


def test_a_time_without_a_zone_is_refused_not_guessed(register):
    with pytest.raises(Refused) as error:
        register.status("s1", scope=SCOPE, now=datetime(2026, 4, 1))
    assert error.value.code == "CONSENT_TIME_NAIVE"


def on_disk(folder):
    """Every byte of every file of the register: database, journal, shared memory, whatever else lies there."""
    return b"".join(path.read_bytes() for path in folder.iterdir())


@pytest.mark.parametrize("others", [0, 1, 400, 3000])
def test_erasure_leaves_no_byte_of_the_subject_in_file_journal_or_free_pages(register, tmp_path, others):
    marker = "planted-pseudonym-7f3a"
    crowd = [event(subject=f"s{i}", day=i % 9) for i in range(others)]
    middle = others // 2
    filled(register, *crowd[:middle], event(subject=marker), event(WITHDRAWN, 1, subject=marker), *crowd[middle:])
    vault = register._vault
    traces = take_out_traces(vault._connection, vault._keys.handle(marker))
    assert len(traces) == 2 + 2 * 2, "handle and key, and of each row its fingerprint and its nonce"
    before = on_disk(tmp_path)
    assert all(trace in before for trace in traces), "the control: what is looked for below was there"
    assert register.erase(marker) == 2
    after = on_disk(tmp_path)
    assert not any(trace in after for trace in traces)
    assert register.status(marker, scope=SCOPE, now=T0 + DAY).reason is Reason.NEVER_ASKED
    assert register.eligible([marker], SCOPE, T0 + DAY).excluded == {Reason.NEVER_ASKED: 1}
    assert register.check() == others


def test_a_pseudonym_and_a_notice_stand_nowhere_in_the_clear(register, tmp_path):
    filled(register, event(subject="planted-pseudonym-7f3a"))
    assert b"planted-pseudonym" not in on_disk(tmp_path)
    assert b"notice-1" not in on_disk(tmp_path)


def test_two_sites_with_the_same_events_have_different_snapshot_digests(tmp_path):
    digests = set()
    for site in ("a", "b"):
        register = filled(ConsentRegister.open(tmp_path / site), event())
        digests.add(register.snapshot_digest())
        register.close()
    assert len(digests) == 2


def test_events_are_never_changed_in_place(register):
    filled(register, event())
    with pytest.raises(Exception, match="never changed"):
        register._vault._connection.execute("UPDATE record SET sealed = x''")


def test_a_file_that_is_no_register_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "consent.sqlite"
    path.write_bytes(b"this is not a database, and it is longer than a header of SQLite" * 4)
    before = path.read_bytes()
    with pytest.raises(GovernanceError) as error:
        ConsentRegister.open(path)
    assert error.value.code == "VAULT_UNREADABLE"
    assert path.read_bytes() == before


def test_a_missing_folder_is_refused_and_the_file_is_the_owners_alone(tmp_path):
    with pytest.raises(GovernanceError) as error:
        ConsentRegister.open(tmp_path / "missing" / "consent.sqlite")
    assert error.value.code == "VAULT_UNREADABLE"
    path = tmp_path / "consent.sqlite"
    ConsentRegister.open(path).close()
    assert path.stat().st_mode & 0o077 == 0


def test_an_event_that_cannot_be_is_no_value(tmp_path):
    for change, code in [
        ({"subject": "taro@example.com"}, "CONSENT_BAD_SUBJECT"),
        ({"subject": ""}, "CONSENT_BAD_SUBJECT"),
        ({"scope": "two words"}, "CONSENT_BAD_SCOPE"),
        ({"notice": "the whole text of the notice"}, "CONSENT_BAD_NOTICE"),
        ({"at": datetime(2026, 4, 1)}, "CONSENT_BAD_TIME"),
        ({"expires": T0}, "CONSENT_BAD_EXPIRY"),
        ({"kind": WITHDRAWN, "expires": T0 + DAY}, "CONSENT_BAD_EXPIRY"),
    ]:
        fields = {"subject": "s", "scope": SCOPE, "kind": GRANTED, "at": T0, "expires": None, "notice": "n"}
        with pytest.raises(BadDocumentError) as error:
            ConsentEvent(**(fields | change))
        assert error.value.code == code


def test_a_write_that_the_disk_refuses_is_an_error_with_a_code_and_keeps_the_old_events(tmp_path):
    vault = Vault.open(tmp_path / "consent.sqlite")
    vault.record([event()])
    (pages,) = vault._connection.execute("PRAGMA page_count").fetchone()
    vault._connection.execute(f"PRAGMA max_page_count = {pages}")      # SQLite's own "disk full"
    with pytest.raises(GovernanceError) as error:
        vault.record(event(subject=f"s{i}") for i in range(2000))
    assert error.value.code == "VAULT_UNWRITABLE"
    assert [e.subject for e in vault.events()] == ["s1"]
    vault.close()
