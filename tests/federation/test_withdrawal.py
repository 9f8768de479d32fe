"""A person withdraws in the middle of a run: from the next step on nothing of theirs is touched, and what follows.

What is touched is seen by a task that stands in the loader's place: it is told which texts each step computes on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import Ended, ledger_of, log_of, sekisho_here
from numpy.typing import NDArray
from study_folder import SITES, HashedFeatures, change, sign_policy

from sekisho.core.errors import Refused
from sekisho.core.parties import StateLock, state_folder
from sekisho.core.pilot.pilot import run_pilot
from sekisho.core.pilot.remedies import Settled, carry_out
from sekisho.core.site.reach import Reach
from sekisho.core.training import task as task_module
from sekisho.core.training.adapter import Adapter
from sekisho.governance.evidence import verifier
from sekisho.privacy.accounting.subjects import SubjectKey

Capture = pytest.CaptureFixture[str]
ONE, PERSON = "ame", "ame-c007"
MARK = "canary-word"  # stands in this person's records and in nobody else's


@dataclass
class Watched:
    """What the steps computed on: one list of rows a call of ``gradients``; and the rows that are the person's."""

    touched: list[NDArray[np.float64]] = field(default_factory=list)
    own: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, HashedFeatures.width)))

    def steps_with(self, calls_a_step: int = len(SITES)) -> list[bool]:
        """For each step, whether it computed on a row of the person."""
        hit = [any((rows == own).all(axis=1).any() for own in self.own) for rows in self.touched]
        return [any(hit[start : start + calls_a_step]) for start in range(0, len(hit), calls_a_step)]


@pytest.fixture
def watched(study: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    """The person's records get a row that nobody else has, and every gradient is watched."""
    import gzip

    path = study / "sites" / ONE / "records.jsonl.gz"
    rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    for row in rows:
        if row["subject"] == PERSON:
            row["text"] += f" {MARK} {MARK} {MARK}"
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    seen = Watched(own=HashedFeatures().of([row["text"] for row in rows if row["subject"] == PERSON]))
    others = HashedFeatures().of([row["text"] for row in rows if row["subject"] != PERSON])
    assert not any((others == own).all(axis=1).any() for own in seen.own)  # the mark is told from everybody
    real = task_module.TextProbe.gradients

    def gradients(self: Any, rows: NDArray[np.float64], labels: Any, vector: Any) -> Any:
        seen.touched.append(rows)
        return real(self, rows, labels, vector)

    monkeypatch.setattr(task_module.TextProbe, "gradients", gradients)
    return seen


class At:
    """A listener that acts when ``step`` steps of the first run are done."""

    def __init__(self, step: int, act: Any) -> None:
        self.step, self.act = step, act

    def say(self, text: str = "") -> None: ...

    def progress(self, stage: str, done: int, total: int) -> None:
        if stage == "steps" and done == self.step and self.act is not None:
            act, self.act = self.act, None
            act()


def withdraw(capsys: Capture, study: Path, *more: str) -> Ended:
    return sekisho_here(capsys, "site", "withdraw", ONE, PERSON, "--study", study, *more)


def term(study: Path, effect: str, sites: Sequence[str] = (ONE,)) -> None:
    for site in sites:
        change(study / "sites" / site / "policy.yaml", "released_adapter: notify-and-review",
               f"released_adapter: {effect}")
        sign_policy(study, site)


def pilot(study: Path, out: Path, listener: At | None = None) -> dict[str, Any]:
    run_pilot(study, out, listener or At(0, None), features=HashedFeatures())  # type: ignore[arg-type]
    value = json.loads((out / "summary.json").read_text("utf-8"))
    assert isinstance(value, dict)
    return value


def remedy(study: Path) -> tuple[Settled, ...]:
    return carry_out(study, At(0, None), features=HashedFeatures())  # type: ignore[arg-type]


def reach_of(study: Path, site: str = ONE) -> Reach:
    state = state_folder(study, site)
    return Reach.open(state, SubjectKey.load_or_create(state / "subject.key").fingerprint)


# --- must show 1


def test_a_withdrawal_in_the_middle_of_a_run_from_the_step_to_the_remedy(
    study: Path, tmp_path: Path, watched: Watched, capsys: Capture
) -> None:
    term(study, "retrain-from-base")
    said: list[dict[str, Any]] = []

    def someone_withdraws() -> None:
        with pytest.raises(Refused):  # the run holds the lock, and the log with it; the command needs neither
            StateLock(state_folder(study, ONE), ONE)
        ended = withdraw(capsys, study, "--json")
        assert ended.exit == 0, ended.err
        said.append(ended.told)

    out = tmp_path / "out"
    summary = pilot(study, out, At(2, someone_withdraws))
    (run,) = summary["runs"]
    # 1. from the next step on no record of theirs is touched
    assert watched.steps_with() == [True, True, False, False]
    # 2. the command said which run was reached, and until where, while it was at work; the log was left to the run
    (told,) = said
    assert [(one["run"], one["last_step"], one["adapter"]) for one in told["runs"]] == [(run["run"], 2, "")]
    assert told["heads_deleted"] == 0 and told["logged"] is False
    kinds = [(entry["type"], entry["data"].get("step")) for entry in log_of(study, ONE)]
    withdrawn = kinds.index(("consent.withdrawn", None))
    assert kinds.index(("step.started", 3)) < withdrawn < kinds.index(("step.disclosed", 3))
    # 3. the site's own report says so, and nobody else's
    page = (out / "sites" / ONE / "report.html").read_text("utf-8")
    assert "1 left at step 3; from that step on none of their records was touched." in page
    assert "離脱" in page and run["run"] in page
    assert "left at step" not in (out / "sites" / "hana" / "report.html").read_text("utf-8")
    # 4. the lineage: asked again afterwards, the adapter is there, and to whom it went
    again = withdraw(capsys, study, "--json").told
    assert [(one["adapter"], one["released"], one["recipients"]) for one in again["runs"]] == [
        (run["adapter"], True, ["participants"])
    ]
    assert float(again["epsilon"]) > float(again["runs"][0]["epsilon"]) > 0
    # 5. the remedy, end to end: done again without them, the old adapter revoked and gone
    watched.touched.clear()
    (settled,) = remedy(study)
    assert settled.outcome == "retrained" and settled.refused == "" and settled.repeated is not None
    new = settled.repeated
    assert watched.steps_with() == [False] * 4
    assert new.adapter != run["adapter"] and new.released and new.steps == 4
    assert all(new.after[site] > new.before[site] > 0 for site in SITES)
    assert new.certificate[ONE] == pytest.approx(float(again["runs"][0]["epsilon"]))
    assert [row.run for row in ledger_of(study, ONE)] == sorted([run["run"], new.run])
    for site in SITES:
        left_over = [path.name for path in state_folder(study, site).rglob("*") if run["run"] in path.name]
        assert not [name for name in left_over if name.endswith((".arrays", ".safetensors", ".json"))]
        done = [entry["refs"] for entry in log_of(study, site) if entry["type"] == "remedy.done"]
        assert [(refs["run"], refs["adapter"], refs["successor"]) for refs in done] == [
            (run["run"], run["adapter"], new.adapter)
        ]
    kept = state_folder(study, ONE) / "releases" / new.run / "adapter.safetensors"
    assert Adapter.from_safetensors(kept.read_bytes()).digest == new.adapter
    assert any(entry["type"] == "release.revoked" and entry["refs"]["adapter"] == run["adapter"]
               for site in SITES for entry in log_of(study, site))
    # 6. the command tells of it, nothing is due any more, and the evidence verifies
    listed = sekisho_here(capsys, "site", "remedies", ONE, "--study", study, "--json").told["remedies"]
    assert [(one["run"], one["outcome"], one["successor"]) for one in listed] == [
        (run["run"], "retrained", new.adapter)
    ]
    nothing = sekisho_here(capsys, "remedy", study, "--json")
    assert nothing.exit == 0 and nothing.told == {"settled": []}
    bundle = tmp_path / "evidence.zip"
    exported = sekisho_here(capsys, "compliance", "export", study, "--out", bundle, "--provenance",
                            state_folder(study, ONE) / "releases", "--json")
    assert exported.exit == 0, exported.err
    assert verifier.verify(bundle.read_bytes(), exported.told["root"]).name == "verified"
