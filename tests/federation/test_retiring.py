"""sekisho compliance retire: only past the study's term, under the party's lock; evidence verifies afterwards."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from zipfile import ZipFile

import pytest
import study_folder
from command import sekisho_here

from sekisho.core.errors import Refused
from sekisho.core.parties import LOG_NAME, StateLock, log_origin, state_folder
from sekisho.core.pilot.evidence import export_evidence
from sekisho.core.site.papers import read_study
from sekisho.core.site.retiring import retire, years_before
from sekisho.governance.canonical import digest_bytes
from sekisho.governance.evidence import verifier
from sekisho.governance.log.auditlog import AuditLog
from sekisho.governance.log.entries import Entry
from sekisho.governance.policy.policy import Policy
from sekisho.governance.signing.keys import demo_key

OLD = datetime(2010, 3, 1, tzinfo=UTC)
NOW = datetime(2026, 11, 20, tzinfo=UTC)
SITE = study_folder.SITES[0]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study in which every party has logged a run of long ago and one of now."""
    folder = study_folder.build(tmp_path / "study")
    names = (*study_folder.SITES, "coordinator")
    for name in names:
        state = state_folder(folder, name, coordinator=name == "coordinator")
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        with AuditLog.open(state / LOG_NAME, origin=log_origin("small-study", name), key=demo_key(name)) as log:
            for at, run in ((OLD, "probe-old"), (NOW, "probe-new")):
                log.append(Entry("run.joined", name, at, {"run": run}, {}))
                log.append_all([Entry("step.started", name, at, {"run": run}, {"step": n}) for n in range(5)])
                log.append(Entry("run.finished", name, at, {"run": run}, {}))
            log.checkpoint()
    return folder


def test_entries_past_the_studys_term_go_and_evidence_of_what_is_left_verifies(
    study: Path, tmp_path: Path, capsys: Capture
) -> None:
    for name in (*study_folder.SITES, "coordinator"):
        told = sekisho_here(capsys, "compliance", "retire", name, "--study", str(study), "--json").told
        assert (told["entries"], told["size"]) == (5, 15)
    assert all(one["retired"] == 5 for one in
               sekisho_here(capsys, "compliance", "fsck", "--study", str(study), "--json").told["logs"])
    # everything that is left of everything: the time since, with whatever stands from before
    out = tmp_path / "evidence.zip"
    nowhere = str(tmp_path / "none")  # not what a pilot may have left where the tests are run
    export = ("compliance", "export", str(study), "--out", str(out), "--provenance", nowhere, "--json")
    told = sekisho_here(capsys, *export).told
    assert told["scope"]["kind"] == "period"
    verdict = verifier.verify_file(out, told["root"])
    assert verdict.name == "verified", verdict.details
    with ZipFile(out) as bundle:
        lines = bundle.read(f"logs/{SITE}.selected.jsonl").decode("ascii").splitlines()
    types = [json.loads(line)["entry"]["type"] for line in lines]
    assert types.count("step.started") == 5 and types.count("log.retired") == 1


def test_a_second_export_of_one_old_run_says_what_is_left_of_it(study: Path, tmp_path: Path) -> None:
    from sekisho.governance.evidence.selection import Scope, ScopeKind

    retire(study, SITE, clock=lambda: NOW)
    out = tmp_path / "evidence.zip"
    written = export_evidence(study, out, scope=Scope(ScopeKind.RUN, "probe-old"))
    assert verifier.verify_file(out, written.root).name == "verified"
    with ZipFile(out) as bundle:
        numbers = {
            name: [json.loads(line)["index"] for line in bundle.read(f"logs/{name}.selected.jsonl").splitlines()]
            for name in study_folder.SITES[:2]
        }
    assert numbers[SITE] == [0, 6] and numbers[study_folder.SITES[1]] == list(range(7))


def test_nothing_younger_than_the_term_goes(study: Path) -> None:
    years = read_study(study).audit_years
    just = datetime(OLD.year + years, OLD.month, OLD.day, tzinfo=UTC)
    assert retire(study, SITE, clock=lambda: just).entries == 0
    assert retire(study, SITE, clock=lambda: just.replace(day=2)).entries == 5


def shorten(path: Path, years: int) -> None:
    """Type another term into a paper."""
    text = path.read_text("utf-8")
    assert "audit_years: 6" in text
    path.write_text(text.replace("audit_years: 6", f"audit_years: {years}"), "utf-8")


@pytest.mark.parametrize("party", [SITE, "coordinator"])
def test_a_shorter_term_that_somebody_typed_into_the_study_lets_nothing_go(study: Path, party: str) -> None:
    shorten(study / "study.yaml", 1)
    with pytest.raises(Refused) as refused:
        retire(study, party, clock=lambda: OLD.replace(year=OLD.year + 2))
    assert refused.value.code == "RETENTION_UNSIGNED"


def test_a_shorter_term_signed_by_people_of_a_roster_that_nobody_accepted_lets_nothing_go(study: Path) -> None:
    """Whoever keeps the folder can write a roster with people of their own, and sign for all of them."""
    shorten(study / "study.yaml", 1)
    study_folder.sign(study)
    roster = study / "roster.yaml"
    roster.write_text(roster.read_text("utf-8") + "# of their own\n", "utf-8")
    with pytest.raises(Refused) as refused:
        retire(study, SITE, clock=lambda: OLD.replace(year=OLD.year + 2))
    assert refused.value.code == "RETENTION_UNSIGNED"


def test_what_the_sites_own_policy_wants_is_kept_though_the_study_would_let_it_go(study: Path) -> None:
    """A study with a shorter term is signed, by people of other companies; this site never ran under it."""
    policy = study / "sites" / SITE / "policy.yaml"
    with AuditLog.open(state_folder(study, SITE) / LOG_NAME, origin=log_origin("small-study", SITE),
                       key=demo_key(SITE)) as log:  # fmt: skip
        digest = digest_bytes(policy.read_bytes())
        log.append(Entry("policy.loaded", SITE, NOW, {"policy": digest}, {"version": 1}))
    wanted = Policy.parse(policy.read_bytes(), "policy.yaml").clause("retention").audit_years
    shorten(study / "study.yaml", 1)
    study_folder.sign(study)
    assert wanted > 1
    assert retire(study, SITE, clock=lambda: OLD.replace(year=OLD.year + wanted)).entries == 0
    # nor where another policy lies in its place
    policy.write_text(policy.read_text("utf-8").replace(f"audit_years: {wanted}", "audit_years: 1"), "utf-8")
    with pytest.raises(Refused) as refused:
        retire(study, SITE, clock=lambda: OLD.replace(year=OLD.year + 2))
    assert refused.value.code == "POLICY_MISSING"


def test_long_after_its_signatures_have_expired_the_term_holds(study: Path) -> None:
    assert retire(study, SITE, clock=lambda: NOW.replace(year=NOW.year + 30)).entries == 10


def test_a_party_at_work_is_not_relieved_behind_its_back(study: Path) -> None:
    lock = StateLock(state_folder(study, SITE), SITE)
    try:
        with pytest.raises(Refused) as refused:
            retire(study, SITE, clock=lambda: NOW)
        assert refused.value.code == "STATE_BUSY"
    finally:
        lock.release()


def test_a_study_without_a_term_keeps_everything(study: Path) -> None:
    paper = study / "study.yaml"
    paper.write_text(paper.read_text("utf-8").replace("audit_years: 6", "audit_years: 0"), "utf-8")
    with pytest.raises(Refused) as refused:
        retire(study, SITE, clock=lambda: NOW)
    assert refused.value.code == "RETENTION_UNKNOWN"


def test_years_are_counted_by_the_calendar() -> None:
    assert years_before(datetime(2028, 2, 29, tzinfo=UTC), 1) == datetime(2027, 2, 28, tzinfo=UTC)
    assert years_before(NOW, 6) == datetime(2020, 11, 20, tzinfo=UTC)
