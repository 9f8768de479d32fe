"""A pilot stopped in the middle, by Ctrl-C or kill -9, and one with a second at its side: what was started is spent.

One study goes through all of it in turn, as a person's would; with three pilots that is a slow proof. That a second one
at the same time is refused is also tried alone.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from command import LedgerRun, begin, codes_logged, ledger_of, log_of, nothing_charged, sekisho
from study_folder import SITES

from sekisho.core.parties import StateLock, state_folder

from .conftest import CANARY
from .test_bad_input import leaks

STEPS, ALLOWANCE = 8, 3
PATIENCE = 200.0  # seconds until a run has reached its second step, on a machine with other work


def test_while_one_process_is_at_work_a_pilot_is_refused_and_charges_nothing(study: Path, tmp_path: Path) -> None:
    state = state_folder(study, SITES[0])
    state.mkdir(mode=0o700)
    at_work = StateLock(state, SITES[0])
    try:
        second = sekisho("pilot", study, "--out", tmp_path / "out", "--json")
    finally:
        at_work.release()
    assert (second.exit, second.told["code"]) == (3, "STATE_BUSY")
    assert "torch" not in second.loaded and nothing_charged(study)


@pytest.mark.proof
def test_a_stopped_pilot_stays_charged_loses_nothing_and_the_next_one_runs(study: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = ""

    # 1. while one pilot is at work, a second one is refused, and the first does not notice
    first = begin("pilot", study, "--out", out)
    files = wait_for_steps(first, study)
    first.send_signal(signal.SIGSTOP)
    second = sekisho("pilot", study, "--out", tmp_path / "second", "--json")
    assert (second.exit, second.told["code"]) == (3, "STATE_BUSY")
    assert "torch" not in second.loaded
    assert len(ledger_of(study, "ame")) == 1
    # 2. Ctrl-C
    first.send_signal(signal.SIGCONT)
    first.send_signal(signal.SIGINT)
    shown, complaint = first.communicate(timeout=PATIENCE)
    said += shown + complaint
    assert first.returncode == 130
    assert "Traceback" not in shown + complaint
    assert "interrupted [INTERRUPTED]" in complaint and "stays charged" in complaint
    interrupted = {site: ledger_of(study, site)[0] for site in SITES}
    # open: the whole run stays charged until somebody looks, however much of it was started
    assert all((run.charged, run.state) == (STEPS + ALLOWANCE, "open") for run in interrupted.values())
    assert all(2 <= run.started < STEPS for run in interrupted.values())

    # 3. kill -9
    third = begin("pilot", study, "--out", out)
    wait_for_steps(third, study, before=files)
    third.kill()
    shown, complaint = third.communicate(timeout=PATIENCE)
    said += shown + complaint
    assert third.returncode == -signal.SIGKILL
    for site in SITES:
        # the next process has closed what Ctrl-C left: started stays spent, never started is given back
        assert by_name(study, site, interrupted[site].run) == closed(interrupted[site])
        assert "ORPHAN_CLOSED" in codes_logged(study, site)
    (killed_run,) = {run.run for run in ledger_of(study, "ame")} - {interrupted["ame"].run}
    killed = {site: by_name(study, site, killed_run) for site in SITES}
    assert all(run.state == "open" and run.started >= 2 for run in killed.values())

    # 4. and a pilot runs to its end, with evidence of all three runs
    last = sekisho("pilot", study, "--out", out, "--json")
    assert last.exit == 0, last.err
    assert last.told["runs"][0]["steps"] == {"planned": STEPS, "completed": STEPS, "abandoned": 0, "rolled_back": 0}
    for site in SITES:
        assert by_name(study, site, killed_run) == closed(killed[site])
        (finished,) = (run for run in ledger_of(study, site) if run.run not in (killed_run, interrupted[site].run))
        assert (finished.started, finished.charged, finished.state) == (STEPS, STEPS, "closed")
        started = [entry["refs"]["run"] for entry in log_of(study, site) if entry["type"] == "step.started"]
        # a step's start is in the ledger before it is in the log: one kill can fall between the two
        assert 0 <= killed[site].started - started.count(killed_run) <= 1
        assert started.count(finished.run) == STEPS
    verified = sekisho("compliance", "verify", out / "evidence.zip", "--root", last.told["root"], "--json")
    assert (verified.exit, verified.told["verdict"]) == (0, "verified")
    # no text of a record in anything that was said or kept
    assert CANARY not in said + last.out + last.err + second.out + second.err
    assert leaks(study, out) == []


def wait_for_steps(
    pilot: subprocess.Popen[str], study: Path, *, before: frozenset[Path] = frozenset()
) -> frozenset[Path]:
    """Until the pilot's run, whose file is not among ``before``, has two steps behind it; the files of runs then."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert pilot.poll() is None, pilot.communicate()
        files = frozenset((study / "coordinator" / "state" / "runs").glob("*.json"))
        if any(len(json.loads(path.read_bytes())["outcomes"]) >= 2 for path in files - before):
            return files
        time.sleep(0.02)
    raise AssertionError("the run did not reach its second step")


def by_name(study: Path, site: str, run: str) -> LedgerRun:
    (found,) = (one for one in ledger_of(study, site) if one.run == run)
    return found


def closed(run: LedgerRun) -> LedgerRun:
    """What an open run is once it was closed: never-started steps given back, nothing else."""
    return LedgerRun(run.run, run.steps, run.started, run.started, "closed")
