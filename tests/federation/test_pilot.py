"""A pilot on the real parts: every method of its study run, published and told in one report."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from command import ledger_of, nothing_charged, sekisho_here
from study_folder import SITES, HashedFeatures, person_key

from sekisho.core.errors import BadInputError
from sekisho.core.pilot.pilot import Finished, run_pilot
from sekisho.core.planning import methods_of
from sekisho.core.site.papers import read_study
from sekisho.core.training.adapter import Adapter
from sekisho.governance.evidence import verifier
from sekisho.governance.signing.envelope import Subject, sign_statement, write_envelopes
from sekisho.governance.signing.stop import stop_statement


class At:
    """A listener that does something once: when ``step`` steps of run number ``run`` are done."""

    def __init__(self, run: int = 0, step: int = 0, act: Callable[[], None] = lambda: None) -> None:
        self.run, self.step, self.act = run, step, act
        self.runs = 0

    def say(self, text: str = "") -> None: ...

    def progress(self, stage: str, done: int, total: int) -> None:
        if stage == "steps":
            self.runs += done == 1
            if (self.runs, done) == (self.run, self.step):
                self.act()


def pilot(study: Path, out: Path, listener: At | None = None) -> Finished:
    return run_pilot(study, out, listener or At(), features=HashedFeatures())  # type: ignore[arg-type]


def told(out: Path) -> dict[str, Any]:
    value = json.loads((out / "summary.json").read_text("utf-8"))
    assert isinstance(value, dict)
    return value


def stop(study: Path) -> None:
    """The business stops the study."""
    subject = Subject("study.yaml", read_study(study).digest)
    order = stop_statement(role="business", subjects=[subject], reason="INCIDENT", issued=datetime.now(UTC))
    (study / "stops").mkdir(exist_ok=True)
    envelope = sign_statement(order, [person_key("business")])
    (study / "stops" / "stop.dsse.json").write_bytes(write_envelopes([envelope]))


def test_every_method_is_run_published_and_shown_in_one_report(study: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    finished = pilot(study, out)
    value = told(out)
    methods = list(methods_of(read_study(study)))
    assert [run["method"] for run in value["runs"]] == methods
    assert all(run["result"] and run["failure"] is None for run in value["runs"])
    assert all(all(run["protections"].values()) for run in value["runs"])
    for run in value["runs"]:
        adapter = Adapter.from_safetensors((out / "adapter" / run["method"] / "adapter.safetensors").read_bytes())
        assert adapter.digest == run["adapter"]
    assert (out / "report.html").read_text("utf-8").count("<main") == 2
    # each site's report tells of every run, and so does its ledger
    for site in SITES:
        page = (out / "sites" / site / "report.html").read_text("utf-8")
        assert all(run["run"] in page for run in value["runs"])
        assert len(ledger_of(study, site)) == len(methods)
    # what is spent grows from before the first run to after the last
    assert all(budget["lifetime_before"] == 0.0 < budget["lifetime_spent"] for budget in value["budgets"].values())
    # one bundle holds where every adapter comes from
    verdict = verifier.verify((out / "evidence.zip").read_bytes(), finished.evidence.root)
    assert verdict.name == "verified"
    assert sum(line.startswith("provenance: adapter") for line in verdict.details) == len(methods)


def test_a_first_run_that_fails_ends_the_pilot(study: Path, tmp_path: Path) -> None:
    with pytest.raises(Exception) as caught:
        pilot(study, tmp_path / "out", At(1, 1, lambda: stop(study)))
    assert getattr(caught.value, "code", "")
    assert not (tmp_path / "out" / "report.html").exists()
    assert all(len(ledger_of(study, site)) == 1 for site in SITES)


def test_figures_of_another_test_set_are_refused_before_anything_is_charged(study: Path, tmp_path: Path) -> None:
    other = {"schema": "sekisho-baselines/1", "study": "small-study", "test_set": "sha256:" + "0" * 64, "settings": [],
             "rows": [], "curve": {"series": [{"name": {"en": "a", "ja": "a"}, "foundation": True, "points": [
                 {"share": 0.1, "auc": 0.6, "seconds": 1.0}, {"share": 1.0, "auc": 0.7, "seconds": 2.0}]}]}}
    (study / "baselines.json").write_text(json.dumps(other), "utf-8")
    with pytest.raises(BadInputError) as caught:
        pilot(study, tmp_path / "out")
    assert caught.value.code == "STALE_BASELINES"
    assert nothing_charged(study)
    other["test_set"] = read_study(study).test_set.digest
    (study / "baselines.json").write_text(json.dumps(other), "utf-8")
    pilot(study, tmp_path / "out")
    assert told(tmp_path / "out")["baselines"]["test_set"] == other["test_set"]


def test_the_command_prints_one_line_a_method(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ended = sekisho_here(capsys, "pilot", study, "--out", tmp_path / "out")
    assert ended.exit == 0, ended.err
    lines = ended.out.splitlines()
    assert [line.split(":")[0] for line in lines if ": AUC " in line] == [*methods_of(read_study(study))]
