"""What was spent stays spent when a state is restored, copied, renamed or moved, each through the real site path."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sekisho.core.coordinator.witnessing import CoordinatorWatch
from sekisho.core.messages import SignedMessage
from sekisho.core.site import joining
from sekisho.core.site.witnessing import SiteWatch

from . import study_folder
from .books import open_federation
from .channels import Recording
from .history import OTHERS, VICTIM, History, attempt, problem, put, put_ledger, run, state

# --- a backup put back ------------------------------------------------------------------------------------------------


def test_a_state_put_back_as_a_whole_is_refused_at_the_site_itself_and_by_everybody_who_saw_more(
    history: History,
) -> None:
    put(history.after_first / VICTIM / "state", state(history.study))
    assert attempt(history.study) == {VICTIM: "LEDGER_BEHIND"} | dict.fromkeys(OTHERS, "PEER_LEDGER_ROLLED_BACK")


@pytest.mark.parametrize("how", ["put back", "moved away", "made anew elsewhere"])
def test_a_ledger_that_is_behind_its_sites_own_log_is_refused_before_anybody_is_asked(
    history: History, how: str
) -> None:
    if how == "put back":
        put_ledger(history.after_first / VICTIM / "state", state(history.study))
    elif how == "moved away":
        (state(history.study) / "ledger.sqlite").rename(history.study / "ledger.sqlite")
    else:
        put_ledger(history.study, state(history.study))  # there is none: an empty place
    assert problem(history.study) == "LEDGER_BEHIND_LOG"


def test_a_ledger_put_back_within_a_run_is_behind_its_own_log_by_a_step(history: History, tmp_path: Path) -> None:
    class Copying(Recording):
        def post(self, site: str, message: bytes, ttl: float) -> int:
            if site == VICTIM and SignedMessage.from_bytes(message).body.kind == "readies":
                put_ledger(state(history.study), tmp_path)  # the run is reserved, the step not yet started
            return super().post(site, message, ttl)

    run(history.study, wrap=Copying)
    put_ledger(tmp_path, state(history.study))
    assert problem(history.study) == "LEDGER_BEHIND_LOG"


def go_on(study: Path, beyond: int) -> None:
    """The victim's ledger goes on by itself until it has more entries than anybody has seen."""
    federation = open_federation(study)
    try:
        ledger = federation.sites[VICTIM].folder.ledger
        number = 0
        while ledger.head().entries <= beyond:
            ledger.reserve(f"alone-{number}", step_cost=1, steps=1, subjects=[bytes(32)])
            ledger.close(f"alone-{number}")
            number += 1
    finally:
        federation.close()


def seen_of(study: Path, site: str) -> int:
    return int(json.loads((state(study, site) / "heads.json").read_text("utf-8"))[VICTIM]["entries"])


@pytest.fixture
def nobody_looks_at_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever puts back a ledger and its log is seen by the log, too (tests/attacks/test_coordinator_log.py).

    Here the ledger's own barrier is shown to hold by itself.
    """
    for watch in (SiteWatch, CoordinatorWatch):
        monkeypatch.setattr(watch, "hear", lambda watch, message: None)


@pytest.mark.usefixtures("nobody_looks_at_logs")
def test_a_ledger_put_back_does_not_outgrow_what_was_seen(history: History) -> None:
    put(history.after_first / VICTIM / "state", state(history.study))
    go_on(history.study, seen_of(history.study, "ame") + 4)
    for _ in range(2):  # the first attempt teaches the others nothing new
        assert attempt(history.study)[VICTIM] == "LEDGER_FORKED"


@pytest.mark.usefixtures("nobody_looks_at_logs")
def test_others_refuse_such_a_ledger_even_where_its_own_site_does_not_look(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(history.after_first / VICTIM / "state", state(history.study))
    go_on(history.study, seen_of(history.study, "ame") + 4)
    monkeypatch.setattr(joining, "judge_own", lambda *_, **__: ())
    codes = attempt(history.study)
    assert {codes[site] for site in OTHERS} == {"PEER_LEDGER_FORKED"}


@pytest.mark.proof
@pytest.mark.usefixtures("nobody_looks_at_logs")
def test_without_the_answers_such_a_ledger_would_run(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: the number of entries alone says nothing."""
    put(history.after_first / VICTIM / "state", state(history.study))
    go_on(history.study, seen_of(history.study, "ame") + 4)
    monkeypatch.setattr(joining, "judge_own", lambda *_, **__: ())
    monkeypatch.setattr(joining, "judge_peer", lambda *_, **__: None)
    run(history.study)


# --- copies and other names -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("nobody_looks_at_logs")
def test_two_clones_of_a_state_are_noticed_as_soon_as_both_were_seen(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each went on with a run of its own: as many entries, other MACs."""
    put(history.elsewhere / VICTIM / "state", state(history.study))
    assert attempt(history.study)[VICTIM] == "LEDGER_FORKED"
    monkeypatch.setattr(joining, "judge_own", lambda *_, **__: ())
    codes = attempt(history.study)
    assert {codes[site] for site in OTHERS} == {"PEER_LEDGER_FORKED"}


def exhaust(study: Path) -> None:
    """The victim's subjects have nothing left."""
    federation = open_federation(study)
    try:
        folder = federation.sites[VICTIM].folder
        marks = [folder.subject_key.fingerprint(subject) for subject in folder.dataset().subjects]
        balance = folder.ledger.balance()
        folder.ledger.reserve("other", step_cost=balance.cap - balance.spent_max, steps=1, subjects=marks)
        folder.ledger.start("other", 1)
    finally:
        federation.close()


def refusal_of_victim(study: Path) -> str:
    federation = open_federation(study)
    try:
        return {site: error.code for site, error in federation.preflight("probe")[1].items()}[VICTIM]
    finally:
        federation.close()


def copied_under_new_names(study: Path) -> None:
    path = study / "sites" / VICTIM / "records.jsonl.gz"
    rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    rows = [{**row, "id": f"copy-{row['id']}"} for row in rows] + rows
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode("utf-8"), mtime=0))


def another_sites_state(study: Path) -> None:
    put(state(study, "ame"), state(study))


def renamed_site_folder(study: Path) -> None:
    (study / "sites" / VICTIM).rename(study / "sites" / "hana2")


def test_records_copied_under_new_names_mint_no_budget(history: History) -> None:
    exhaust(history.study)
    before = refusal_of_victim(history.study)
    copied_under_new_names(history.study)
    assert refusal_of_victim(history.study) == before


def test_a_data_set_under_another_name_mints_no_budget(history: History) -> None:
    path = history.study / "sites" / VICTIM / "policy.yaml"
    study_folder.change(path, f"dataset:\n  id: {VICTIM}/", f"dataset:\n  id: {VICTIM}/new-")
    study_folder.sign_policy(history.study, VICTIM)
    assert problem(history.study) == "POLICY_EXCHANGED"  # the same version of a policy is the same policy
    (state(history.study) / "log.sqlite").unlink()  # a log that forgot it would not help
    assert problem(history.study) == "LEDGER_FIXED"


@pytest.mark.parametrize(
    ("change", "code"), [(another_sites_state, "LOG_OF_ANOTHER"), (renamed_site_folder, "POLICY_MISSING")]
)
def test_a_folder_under_another_name_mints_no_budget(
    history: History, change: Callable[[Path], None], code: str
) -> None:
    change(history.study)
    assert problem(history.study) == code


def test_a_site_that_begins_with_an_empty_state_is_refused_by_those_who_know_it(history: History) -> None:
    state(history.study).rename(history.study / "old-state")
    assert attempt(history.study) == {VICTIM: "LEDGER_BEHIND"} | dict.fromkeys(OTHERS, "PEER_LEDGER_ROLLED_BACK")
