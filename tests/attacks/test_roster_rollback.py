"""Old and frozen rosters: each is well signed, so only what a site remembers, or somebody's list, gives it away."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sekisho.core.errors import Refused
from sekisho.core.parties import LOG_NAME, log_origin, make_private_folder, state_folder
from sekisho.core.site.memory import accept_roster
from sekisho.core.site.papers import earlier_rosters, read_policy, read_roster, read_study
from sekisho.core.site.stops import list_max_age, read_stops
from sekisho.governance.canonical import digest_bytes
from sekisho.governance.errors import GovernanceError
from sekisho.governance.log.auditlog import AuditLog
from sekisho.governance.signing.envelope import Subject, read_envelopes, sign_statement, write_envelopes
from sekisho.governance.signing.keys import demo_key
from sekisho.governance.signing.stop import EVERYTHING, stop_statement
from sekisho.governance.signing.succession import succession_statement

from ..federation import study_folder
from ..federation.books import entries, open_federation
from ..federation.command import sekisho_here
from ..federation.study_folder import PEOPLE, SITES

NOW = datetime(2026, 11, 2, tzinfo=UTC)
FIRST_SIGNERS = ("person-legal", "person-it")


def refusals(study: Path, clock: Callable[[], datetime] | None = None) -> dict[str, str]:
    """Every site's refusal before anything is sent."""
    federation = open_federation(study) if clock is None else open_federation(study, clock=clock)
    try:
        _, refused = federation.preflight("probe")
        return {site: error.code for site, error in refused.items()}
    finally:
        federation.close()


def hand_on(study: Path, *changes: tuple[str, str], issued: datetime | None = None) -> None:
    """The next version of the roster, with ``changes``, signed by legal and IT of the version before."""
    old = study_folder.read_roster(study)
    kept = study / "rosters"
    kept.mkdir(exist_ok=True)
    for end in ("", ".dsse.json"):
        shutil.copy(study / f"roster.yaml{end}", kept / f"{old.version}.yaml{end}")
    text = (study / "roster.yaml").read_text("utf-8").splitlines(keepends=True)
    lines = [line for line in text if not line.startswith(("version:", "supersedes:"))]
    lines.insert(1, f"version: {old.version + 1}\nsupersedes: {old.fingerprint}\n")
    (study / "roster.yaml").write_text("".join(lines), "utf-8")
    for was, becomes in changes:
        study_folder.change(study / "roster.yaml", was, becomes)
    new = study_folder.read_roster(study)
    signed = [
        sign_statement(
            succession_statement(old, new, role=role, issued=issued or datetime.now(UTC), file="roster.yaml"),
            [demo_key(person)],
        )
        for role, person in (
            ("legal", "person-legal"), ("legal", "new-legal"), ("it", "person-it"), ("it", "new-it"),
        )
        if old.person_of(demo_key(person).public.key_id) or new.person_of(demo_key(person).public.key_id)
    ]
    (study / "roster.yaml.dsse.json").write_bytes(write_envelopes(signed))


def accepted(study: Path, site: str = SITES[0]) -> int | str:
    """The version that the site accepts now, or its refusal, whatever its other papers are worth."""
    now = datetime.now(UTC)
    roster, path = read_roster(study, now=now), state_folder(study, site) / LOG_NAME
    make_private_folder(path.parent)
    log = AuditLog.open(path, origin=log_origin(read_study(study).id, site), key=demo_key(site))
    try:
        accept_roster(log, study, site, roster, at=now)
    except Refused as error:
        return error.code
    finally:
        log.close()
    return roster.version


def put_back(study: Path, version: int) -> None:
    for end in ("", ".dsse.json"):
        shutil.copy(study / "rosters" / f"{version}.yaml{end}", study / f"roster.yaml{end}")


def test_a_roster_that_follows_another_is_accepted_and_the_one_before_is_not_any_more(study: Path) -> None:
    assert refusals(study) == {}
    hand_on(study)
    assert refusals(study) == {}  # approvals under the version before count: their people are still in it
    put_back(study, 1)
    assert refusals(study) == dict.fromkeys(SITES, "ROSTER_ROLLED_BACK")
    federation = open_federation(study)
    assert federation.sites == {}
    federation.close()


def test_only_the_reset_of_a_demo_forgets_the_accepted_roster(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hand_on(study)
    assert refusals(study) == {}
    put_back(study, 1)
    assert set(refusals(study).values()) == {"ROSTER_ROLLED_BACK"}
    assert sekisho_here(capsys, "study", "reset-demo", study).exit == 0
    assert refusals(study) == {}


def test_another_roster_of_the_same_version_is_refused_though_every_site_signed_it(study: Path) -> None:
    assert refusals(study) == {}
    study_folder.change(study / "roster.yaml", "name: {en: Ame", "name: {en: Rain")
    study_folder.sign(study)
    assert refusals(study) == dict.fromkeys(SITES, "ROSTER_EXCHANGED")


def test_people_who_were_taken_out_do_not_take_the_roster_back_with_a_fork(study: Path) -> None:
    """With their old keys they hand on version 1 once more, and that again: version 3 of a line nobody accepted."""
    assert accepted(study) == 1
    names = [(f"pseudonym: person-{role}", f"pseudonym: new-{role}") for role in ("legal", "it")]
    keys = [[demo_key(f"{age}-{role}").public.to_text() for age in ("person", "new")] for role in ("legal", "it")]
    hand_on(study, *names, *((old, new) for old, new in keys))
    assert accepted(study) == 2
    put_back(study, 1)
    hand_on(study, ("business: 1}", "business: 1} # ours"))
    assert accepted(study) == "ROSTER_EXCHANGED"
    hand_on(study)
    assert read_roster(study, now=datetime.now(UTC)).version == 3  # well signed, by both versions of its own line
    assert accepted(study) == "ROSTER_FORKED"


def test_a_fresh_start_that_the_site_itself_signed_is_no_fork(study: Path) -> None:
    assert refusals(study) == {}
    hand_on(study)
    assert refusals(study) == {}
    put_back(study, 1)
    hand_on(study, ("business: 1}", "business: 1} # another version 2"))
    hand_on(study)
    assert set(refusals(study).values()) == {"ROSTER_FORKED"}
    study_folder.sign_roster(study)
    assert refusals(study) == {}
    hand_on(study)
    assert refusals(study) == {}  # nor is what follows one


def test_what_was_accepted_stands_in_the_sites_own_log_once(study: Path) -> None:
    for _ in range(2):
        assert refusals(study) == {}
    hand_on(study)
    federation = open_federation(study)
    try:
        for site in SITES:
            told = [entry["data"]["version"] for entry in entries(federation, site, "roster.accepted")]
            assert told == [1, 2]
    finally:
        federation.close()


def test_somebody_who_was_taken_out_no_longer_approves_nor_did_before(study: Path) -> None:
    assert refusals(study) == {}
    key = demo_key("new-it").public.to_text()
    old = demo_key("person-it").public.to_text()
    hand_on(study, ("pseudonym: person-it", "pseudonym: new-it"), (old, key))
    # the study and the policies were approved under version 1, by somebody who is not in version 2
    assert set(refusals(study).values()) == {"POLICY_NOT_SIGNED"}


def test_somebody_who_was_taken_out_has_stopped_what_they_stopped(study: Path) -> None:
    roster, content = study_folder.read_roster(study), read_study(study)
    subject = Subject("roster.yaml", roster.fingerprint)
    order = stop_statement(role="business", subjects=[subject], reason="INCIDENT", issued=NOW, scope=EVERYTHING)
    (study / "stops").mkdir(exist_ok=True)
    signed = sign_statement(order, [demo_key("person-business")])
    (study / "stops" / "stop.dsse.json").write_bytes(signed.to_bytes())
    business = demo_key("person-business").public.to_text()
    hand_on(study, ("pseudonym: person-business", "pseudonym: new-business"),
            (business, demo_key("new-business").public.to_text()))
    now = datetime.now(UTC)
    stops = read_stops(study, read_roster(study, now=now), content, read_policy(study, SITES[0]), now=now)
    assert (stops.stopped, stops.code) == (True, "STOPPED")
    # another file of that version is not taken for it: then nobody knows whose order this is
    path = study / "rosters" / "1.yaml"
    path.write_text(path.read_text("utf-8") + "# one remark more\n", "utf-8")
    assert earlier_rosters(study, study_folder.read_roster(study)) == ()
    with pytest.raises(GovernanceError) as caught:
        read_roster(study, now=now)
    assert caught.value.code == "ROSTER_CHAIN_MISSING"


def test_a_stop_that_a_site_has_honoured_does_not_vanish_with_its_order_the_list_and_the_coordinators_memory(
    study: Path,
) -> None:
    order = stop_statement(
        role="it", subjects=[Subject("study.yaml", read_study(study).digest)], reason="DRILL", issued=NOW
    )
    (study / "stops").mkdir(exist_ok=True)
    path = study / "stops" / "stop.dsse.json"
    path.write_bytes(write_envelopes([sign_statement(order, [demo_key("person-it")])]))
    for _ in range(2):
        assert refusals(study) == dict.fromkeys(SITES, "STOPPED")
    shutil.rmtree(study / "stops")
    (study / "coordinator" / "state" / "stops.json").unlink()
    assert refusals(study) == dict.fromkeys(SITES, "STOPPED")
    federation = open_federation(study)
    try:
        digest = digest_bytes(order.to_bytes())
        for site in SITES:
            assert [one["refs"]["order"] for one in entries(federation, site, "stop.honoured")] == [digest]
    finally:
        federation.close()


def test_what_was_signed_with_a_key_that_was_exchanged_counts_no_more(study: Path) -> None:
    assert refusals(study) == {}
    hand_on(study, (demo_key("person-it").public.to_text(), demo_key("new-it").public.to_text()))
    assert set(refusals(study).values()) == {"POLICY_NOT_SIGNED"}


def test_a_coordinator_that_goes_on_serving_an_old_roster_is_found_by_a_list_of_stops(study: Path) -> None:
    assert refusals(study) == {}
    hand_on(study)
    study_folder.sign_stop_list(study, datetime.now(UTC))  # somebody knows version 2, and says so
    listed = (study / "stops" / "list.dsse.json").read_bytes()
    fresh = study.parent / "another"
    shutil.copytree(study, fresh)
    for site in SITES:
        shutil.rmtree(fresh / "sites" / site / "state", ignore_errors=True)  # sites that never saw version 2
    put_back(fresh, 1)
    with pytest.raises(GovernanceError) as caught:
        open_federation(fresh)  # an honest coordinator signs no list over that one
    assert caught.value.code == "ROSTER_OUT_OF_DATE"
    (fresh / "stops" / "list.dsse.json").unlink()
    federation = open_federation(fresh)
    try:
        # the coordinator's own list under version 1, beside that person's word
        path = fresh / "stops" / "list.dsse.json"
        path.write_bytes(path.read_bytes() + listed)
        _, refused = federation.preflight("probe")
        assert {error.code for error in refused.values()} == {"STOPPED"}
    finally:
        federation.close()


def test_a_frozen_list_of_stops_is_a_stop(study: Path) -> None:
    """Nobody has said for longer than the policy allows which stops there are."""
    now = datetime.now(UTC)
    federation = open_federation(study, clock=lambda: now)
    try:
        assert federation.preflight("probe")[1] == {}
        roster = read_roster(study, now=now)
        allowed = list_max_age(read_policy(study, SITES[0]))
        assert roster.demo and allowed == 24
        now += timedelta(hours=allowed)
        assert federation.preflight("probe")[1] == {}
        now += timedelta(seconds=1)
        refused = federation.preflight("probe")[1]
        assert {error.code for error in refused.values()} == {"STOP_LIST_STALE"}
        (study / "stops" / "list.dsse.json").unlink()
        assert {error.code for error in federation.preflight("probe")[1].values()} == {"FACT_MISSING"}
    finally:
        federation.close()


def test_an_expired_roster_is_refused_however_it_was_accepted(study: Path) -> None:
    hand_on(study)
    late = datetime(2100, 1, 1, tzinfo=UTC)
    with pytest.raises(GovernanceError) as caught:
        read_roster(study, now=late)
    assert caught.value.code == "ROSTER_EXPIRED"


def test_a_demo_key_does_not_sign_a_succession_outside_a_demo(study: Path) -> None:
    hand_on(study)
    path = study / "roster.yaml"
    path.write_text(path.read_text("utf-8").replace("demo: true", "demo: false"), "utf-8")
    with pytest.raises(GovernanceError) as caught:
        read_roster(study, now=datetime.now(UTC))
    assert caught.value.code == "ROSTER_DEMO_KEY"


def test_nobody_but_people_of_the_roster_signed_the_succession_above(study: Path) -> None:
    hand_on(study)
    envelopes = read_envelopes((study / "roster.yaml.dsse.json").read_bytes(), name="roster.yaml.dsse.json")
    known = {demo_key(name).public.key_id for name in PEOPLE.values()}
    assert {one.key_id for envelope in envelopes for one in envelope.signatures} <= known
    assert len(envelopes) == len(FIRST_SIGNERS)
