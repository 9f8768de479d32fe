"""What a withdrawal leaves behind: remedies by the policy's term, the statement, heads, the log, and an erasure."""

from __future__ import annotations

import gzip
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from command import Ended, ledger_of, log_of, sekisho_here
from study_folder import SCOPE, SITES, HashedFeatures, build, change, sign_policy

from sekisho.core.parties import StateLock, state_folder
from sekisho.core.pilot import remedies as remedies_module
from sekisho.core.pilot.federation import Federation
from sekisho.core.pilot.remedies import Settled, carry_out
from sekisho.core.site.folder import SiteFolder
from sekisho.core.site.publish import publish
from sekisho.core.site.reach import Reach, RunReach
from sekisho.core.site.remedy import Desk, files_that_hold, forget_heads
from sekisho.governance.consent.withdrawal import Act, Effect, acts, prevailing
from sekisho.privacy.accounting.reading import spent_by_subject
from sekisho.privacy.accounting.subjects import SubjectKey

Capture = pytest.CaptureFixture[str]
ONE, PERSON, OTHER = "ame", "ame-c007", "ame-c008"
TERMS = {ONE: "retrain-from-base", "hana": "keep", "kaze": "revoke", "mori": "notify-and-review"}


@dataclass(frozen=True)
class Ran:
    """A study with one released run; each site's policy says something else of a withdrawal."""

    study: Path
    run: str


@pytest.fixture(scope="module")
def ran_once(signed_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    study = Path(shutil.copytree(signed_study, tmp_path_factory.mktemp("ran") / "study"))
    for site, effect in TERMS.items():
        term(study, effect, site)
    return Ran(study, ran(study, release=True))


@pytest.fixture
def after(ran_once: Ran, tmp_path: Path) -> Ran:
    return Ran(Path(shutil.copytree(ran_once.study, tmp_path / "after")), ran_once.run)


class Quiet:
    """Hears nothing."""

    def say(self, text: str = "") -> None: ...

    def progress(self, stage: str, done: int, total: int) -> None: ...


def ran(study: Path, *, release: bool = False, meanwhile: Callable[[Federation, int], None] | None = None) -> str:
    """One run, released where asked for; ``meanwhile`` acts when steps are done. Its id."""

    def progress(stage: str, done: int, total: int) -> None:
        if stage == "steps" and meanwhile is not None:
            meanwhile(federation, done)

    features: Any = HashedFeatures()
    federation = Federation.open(study, features=features, progress=progress)
    try:
        result = federation.run("probe")
        if release:
            published = publish(federation.sites[ONE], federation.sites[ONE].folder.releases / result.run)
            remedies_module.note_release(federation, result.run, published.record.recipients)
        return result.run
    finally:
        federation.close()


def term(study: Path, effect: str, site: str = ONE) -> None:
    path, before = study / "sites" / site / "policy.yaml", "released_adapter: notify-and-review"
    if effect not in before:
        change(path, before, f"released_adapter: {effect}")
        sign_policy(study, site)


def ask(capsys: Capture, study: Path, *words: str) -> Ended:
    return sekisho_here(capsys, "site", *words, "--study", study)


def remedy(study: Path) -> tuple[Settled, ...]:
    return carry_out(study, Quiet(), features=HashedFeatures())  # type: ignore[arg-type]


def reach_of(study: Path) -> Reach:
    state = state_folder(study, ONE)
    return Reach.open(state, SubjectKey.load_or_create(state / "subject.key").fingerprint)


def left_of(study: Path, run: str) -> list[str]:
    """Files of the run's adapter at any site."""
    files = [path for site in SITES for path in state_folder(study, site).rglob("*") if path.is_file()]
    return [path.name for path in files if run in str(path) and path.suffix in (".arrays", ".safetensors")]


def unplant(study: Path, subject: str) -> None:
    home = study / "sites" / ONE
    rows = [row for row in gzip.decompress((home / "records.jsonl.gz").read_bytes()).splitlines(keepends=True)
            if f'"{subject}"'.encode() not in row]
    (home / "records.jsonl.gz").write_bytes(gzip.compress(b"".join(rows)))
    kept = [row for row in (home / "consent.jsonl").read_text().splitlines(keepends=True) if f'"{subject}"' not in row]
    (home / "consent.jsonl").write_text("".join(kept))


# --- rules


@pytest.mark.parametrize("effect", Effect)
@pytest.mark.parametrize("released", [True, False])
def test_whatever_is_asked_for_ends_in_a_known_act_and_nobody_is_told_of_what_nobody_has(
    effect: Effect, released: bool
) -> None:
    asked = acts(effect, released=released)
    assert asked and (Act.NOTHING not in asked or len(asked) == 1)
    assert released or Act.NOTIFY not in asked
    # what is taken back is never left with recipients, nor left lying where nobody received it
    if effect in (Effect.REVOKE, Effect.RETRAIN):
        assert (Act.REVOKE if released else Act.DESTROY) in asked
    assert prevailing([effect, Effect.KEEP]) is effect and prevailing([effect, Effect.RETRAIN]) is Effect.RETRAIN


# --- remedies


def test_an_adapter_that_nobody_received_is_done_again_and_destroyed(study: Path, capsys: Capture) -> None:
    term(study, "retrain-from-base")
    run = ran(study)
    assert ask(capsys, study, "withdraw", ONE, PERSON).exit == 0
    assert left_of(study, run)
    (settled,) = remedy(study)
    assert settled.outcome == "retrained" and settled.repeated is not None and not settled.repeated.released
    assert left_of(study, run) == [] and left_of(study, settled.repeated.run)
    assert not (study / "revocations").exists()
    assert remedy(study) == ()


def test_what_cannot_be_done_again_is_revoked_and_the_refusal_is_named(tmp_path: Path, capsys: Capture) -> None:
    study = build(tmp_path / "tight", lifetime="3.9")  # room for one run, and not for two
    term(study, "retrain-from-base")
    run = ran(study, release=True)
    assert ask(capsys, study, "withdraw", ONE, PERSON).exit == 0
    (settled,) = remedy(study)
    assert (settled.outcome, settled.refused, settled.repeated) == ("revoked", "BUDGET_LIFETIME", None)
    assert left_of(study, run) == []
    notice = (state_folder(study, ONE) / "notices" / f"{run}.participants.txt").read_text("utf-8")
    assert "stop using it" in notice and "利用を停止" in notice and PERSON not in notice


@pytest.mark.parametrize(("site", "outcome"), [("hana", "kept"), ("mori", "notified"), ("kaze", "revoked")])
def test_the_policys_term_is_what_happens(after: Ran, capsys: Capture, site: str, outcome: str) -> None:
    study, run, person = after.study, after.run, f"{site}-c007"
    waiting = state_folder(study, "yuki") / "candidates" / run  # as where a release waits for its approvals
    waiting.mkdir(parents=True)
    (waiting / "adapter.safetensors").write_bytes(b"weights")
    said = ask(capsys, study, "withdraw", site, person, "--language", "ja")
    assert said.exit == 0 and "学習済みの内容が除去されるわけではない" in said.out and person not in said.out
    (settled,) = remedy(study)
    assert settled.outcome == outcome
    found = [path.name for path in (state_folder(study, site) / "notices").glob("*")]
    assert found == [f"{run}.participants.txt"] * (outcome != "kept")
    assert bool(left_of(study, run)) is (outcome != "revoked")
    revoked = [entry for entry in log_of(study, ONE) if entry["type"] == "release.revoked"]
    assert len(revoked) == (outcome == "revoked")
    # other sites are told of a run that is gone, and of nothing else
    others = [entry["type"] for entry in log_of(study, "yuki") if entry["type"].startswith(("remedy", "consent.with"))]
    assert others == ["remedy.done"] * (outcome == "revoked")


# --- at once


def test_heads_that_may_hold_the_person_go_at_once_and_the_paper_names_nobody(after: Ran, capsys: Capture) -> None:
    study, run = after.study, after.run
    personal = state_folder(study, ONE) / "personal"
    personal.mkdir(exist_ok=True)
    for name in (run, "unknown-run"):
        (personal / f"{name}.safetensors").write_bytes(b"weights")
    told = ask(capsys, study, "withdraw", ONE, PERSON, "--json").told
    assert told["heads_deleted"] == 2 and list(personal.iterdir()) == []
    paper = Path(told["paper"]).read_text("utf-8")
    assert run in paper and "It does not unlearn" in paper and "上限は消去を意味するものではなく" in paper
    assert PERSON not in paper and told["epsilon"] in paper


def test_a_head_of_a_run_without_the_person_stays(after: Ran) -> None:
    study, run = after.study, after.run
    desk = Desk.open(study, ONE)
    try:
        personal = state_folder(study, ONE) / "personal"
        personal.mkdir(exist_ok=True)
        (personal / f"{run}.safetensors").write_bytes(b"weights")
        assert forget_heads(desk, "ame-nobody") == 0 and len(list(personal.iterdir())) == 1
    finally:
        desk.close()


def test_the_log_says_that_somebody_withdrew_and_never_who_or_of_an_adapter_how_many(
    after: Ran, capsys: Capture
) -> None:
    study, run = after.study, after.run
    for person in (PERSON, OTHER):
        assert ask(capsys, study, "withdraw", ONE, person).exit == 0
    entries = log_of(study, ONE)
    withdrawn = [entry for entry in entries if entry["type"] == "consent.withdrawn"]
    assert all(set(entry["refs"]) == {"commitment"} for entry in withdrawn)
    assert len({entry["refs"]["commitment"] for entry in withdrawn}) == len(withdrawn) == 2
    assert [entry["refs"]["run"] for entry in entries if entry["type"] == "remedy.due"] == [run]
    assert not any(person in json.dumps(entry) for entry in entries for person in (PERSON, OTHER))


def test_who_consents_again_in_a_run_waits_for_the_next(study: Path) -> None:
    def someone(federation: Federation, done: int) -> None:
        folder: SiteFolder = federation.sites[ONE].folder
        if done == 1:
            folder.register.withdraw(PERSON, datetime.now(UTC))
        if done == 2:
            again = {"subject": PERSON, "scope": SCOPE, "event": "granted", "expires": None, "notice": "n",
                     "at": datetime.now(UTC).isoformat()}
            path = study / "again.jsonl"
            path.write_text(json.dumps(again) + "\n", "utf-8")
            assert folder.register.import_jsonl(path).recorded == 1
            admitted = folder.dataset().subjects
            now = folder.clock()
            assert PERSON in folder.register.eligible(admitted, SCOPE, now).eligible
            run = folder.ledger.balance().runs[-1].run
            assert PERSON not in folder.reach.stay(run, 3, admitted, admitted)

    run = ran(study, meanwhile=someone)
    reach = reach_of(study)
    assert reach.left(run) == {2: 1}
    assert [one.gone_at for one in reach.of(PERSON)] == [2]
    reach.close()


def test_who_left_before_the_first_step_was_in_no_run(tmp_path: Path) -> None:
    reach = Reach.open(tmp_path, lambda subject: subject.encode().ljust(32))
    reach.admit(RunReach("r1", "probe", "3", "0.00001", "2026-11-29T00:00:00Z"), ["a", "b"])
    assert reach.stay("r1", 1, ("a", "b"), ("b",)) == ("b",)
    assert reach.of("a") == () and [one.run for one in reach.of("b")] == ["r1"]
    reach.close()


def test_a_grant_dated_ahead_keeps_nobody_from_withdrawing(study: Path, capsys: Capture) -> None:
    ahead = datetime(2199, 1, 1, tzinfo=UTC)
    row = {"subject": PERSON, "scope": "another", "event": "granted", "at": ahead.isoformat(), "expires": None,
           "notice": "n"}  # fmt: skip
    with (study / "sites" / ONE / "consent.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    told = ask(capsys, study, "withdraw", ONE, PERSON, "--json")
    assert told.exit == 0, told.told
    desk = Desk.open(study, ONE)
    try:
        for scope, now in ((SCOPE, datetime.now(UTC)), ("another", ahead)):
            assert desk.register.status(PERSON, scope=scope, now=now).reason == "withdrawn"
    finally:
        desk.close()


def test_neither_a_broken_consent_file_nor_a_broken_policy_keeps_anybody_from_withdrawing(
    after: Ran, capsys: Capture
) -> None:
    home = after.study / "sites" / ONE
    with (home / "consent.jsonl").open("a") as file:
        file.write("not a row\n")
    told = ask(capsys, after.study, "withdraw", ONE, PERSON, "--json")
    assert told.exit == 0 and [one["run"] for one in told.told["runs"]] == [after.run]
    # of somebody who may stand in the part that was not read, the file's own fault is told
    assert ask(capsys, after.study, "withdraw", ONE, "nobody", "--json").told["code"] == "CONSENT_ROW_NOT_JSON"
    (home / "policy.yaml").write_text("nonsense", "utf-8")
    assert ask(capsys, after.study, "withdraw", ONE, OTHER, "--json").exit == 2
    desk = Desk.open(after.study, ONE)
    try:
        known = desk.register.status(OTHER, scope=SCOPE, now=datetime.now(UTC))
        assert known.reason == "withdrawn"
    finally:
        desk.close()


def test_a_repetition_that_ended_before_its_old_adapter_went_is_not_paid_for_again(
    after: Ran, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ask(capsys, after.study, "withdraw", ONE, PERSON).exit == 0

    def fails(*given: object) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(remedies_module, "destroy", fails)
        with pytest.raises(OSError, match="full"):
            remedy(after.study)
    (settled,) = remedy(after.study)
    assert settled.outcome == "retrained" and settled.repeated is None
    assert left_of(after.study, after.run) == [] and len(ledger_of(after.study, ONE)) == 2


# --- erasure


def test_an_erased_person_who_returns_finds_the_budget_spent_and_the_ledger_unchanged(
    after: Ran, capsys: Capture
) -> None:
    study = after.study
    state = state_folder(study, ONE)

    def spent() -> int:
        mark = SubjectKey.load_or_create(state / "subject.key").fingerprint(PERSON)
        with closing(sqlite3.connect(state / "ledger.sqlite")) as db:
            return spent_by_subject(db)[mark]

    before = spent()
    assert ask(capsys, study, "erase", ONE, PERSON).exit == 3
    unplant(study, PERSON)
    ended = ask(capsys, study, "erase", ONE, PERSON, "--json")
    assert ended.exit == 0 and ended.told["finished"] and ended.told["consent"] > 0
    assert spent() == before > 0
    reach = reach_of(study)
    assert reach.of(PERSON) == () and reach.cases(PERSON) == () and len(reach.remedies()) == 1
    reach.close()
    assert ask(capsys, study, "erase", ONE, PERSON, "--json").told["consent"] == 0


def test_an_erasure_that_is_not_finished_withdraws_all_the_same_and_keeps_its_proof(
    study: Path, capsys: Capture
) -> None:
    refused = ask(capsys, study, "erase", ONE, PERSON, "--json")
    assert refused.exit == 3 and refused.told["code"] == "ERASURE_FILES_HOLD"
    assert "consent.jsonl, records.jsonl.gz" in refused.told["sentence"] and PERSON not in refused.out
    counts = ask(capsys, study, "consent", ONE, "--json").told["counts"]
    assert counts == {"granted": 29, "withdrawn": 1}


def test_an_erasure_waits_for_a_run_that_is_at_work(after: Ran, capsys: Capture) -> None:
    study = after.study
    unplant(study, PERSON)
    lock = StateLock(state_folder(study, ONE), ONE)
    try:
        assert ask(capsys, study, "erase", ONE, PERSON, "--json").told["code"] == "STATE_BUSY"
    finally:
        lock.release()


def test_no_word_is_taken_for_a_part_of_another(study: Path) -> None:
    """c00 is nobody's, though c007 begins with it."""
    desk = Desk.open(study, ONE)
    try:
        assert files_that_hold(desk, "ame-c00") == () and len(files_that_hold(desk, PERSON)) == 2
    finally:
        desk.close()
