"""Parties as processes on machines of their own, by the documented commands; a small relay in the place of FLARE.

What FLARE adds is tested beside this (test_example_on_flare.py); here is what holds whoever carries the messages.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from sekisho.governance.canonical import digest_bytes

from ..federation import study_folder
from ..federation.command import ledger_of, log_of
from .machines import Machines, apart, wait_until

SITES = ("ame", "hana", "kaze")
STEPS = 2


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    study = study_folder.build(tmp_path / "study", steps=STEPS, sites=SITES)
    made = Machines(apart(study, tmp_path / "homes", SITES))
    yield made
    made.close()


def state(machines: Machines, party: str) -> Path:
    home = machines.homes[party]
    return home / "coordinator" / "state" if party == "coordinator" else home / "sites" / party / "state"


@pytest.mark.proof
def test_parties_on_machines_of_their_own_run_release_and_give_evidence_that_verifies(
    machines: Machines, tmp_path: Path
) -> None:
    for site in SITES:
        machines.serve(site, "--pipe-only")
    conducts = machines.start(
        "coordinator", "coordinator", "run", "probe", "--study", machines.homes["coordinator"], "--pipe-only"
    )
    sockets = [state(machines, party) / "engine.sock" for party in (*SITES, "coordinator")]
    wait_until(lambda: all(path.exists() for path in sockets), "the processes did not come up")
    machines.relay(SITES)
    assert conducts.wait(600) == 0, machines.log("coordinator")
    # what follows a run, at each site by itself
    for site in SITES:
        wait_until(lambda: list((state(machines, site) / "reports").glob("*.html")), site)
    (released,) = (state(machines, "ame") / "releases").iterdir()
    assert not [site for site in SITES[1:] if (state(machines, site) / "releases").exists()]
    # each service says how it is, ends when it is told to, and leaves no process and no socket
    for site in SITES:
        told = machines.status(site)
        assert (told["doing"], told["step"], told["healthy"]) == ("idle", STEPS, True), told
        os.kill(machines.processes[site].pid, signal.SIGTERM)
        assert machines.processes[site].wait(120) == 0
        assert not (state(machines, site) / "engine.sock").exists()
        assert machines.sekisho("site", "status", site, "--study", machines.homes[site]).returncode == 1
        (books,) = ledger_of(machines.homes[site], site)
        assert (books.started, books.state) == (STEPS, "closed")
    shown = machines.sekisho("coordinator", "status", "--study", machines.homes["coordinator"], "--json")
    told = json.loads(shown.stdout)
    assert (told["ended"], told["completed"], told["working"]) == ("finished", STEPS, False)
    # nothing of a site is at the coordinator's
    home = machines.homes["coordinator"]
    assert not list((home / "sites").iterdir()) and len(list((home / "keys").iterdir())) == 1
    # evidence: each party its own part, put together by one of them; nobody has another's key
    parts = []
    for party in (*SITES, "coordinator"):
        part = tmp_path / f"{party}.zip"
        done = machines.sekisho("compliance", "export", machines.homes[party], "--own", "--out", part)
        assert done.returncode == 0, done.stderr
        parts.append(part)
    shutil.copytree(released, tmp_path / "adapter")
    root = digest_bytes((home / "roster.yaml").read_bytes())
    whole = tmp_path / "whole.zip"
    done = machines.sekisho(
        "compliance", "gather", *parts, "--study", home, "--out", whole, "--provenance", tmp_path / "adapter"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(
        machines.sekisho("compliance", "verify", whole, "--root", root, "--json").stdout
    )["verdict"] == "verified"
    said = machines.sekisho("compliance", "verify", whole, "--root", root).stdout
    assert "not in this bundle" not in said and "compared with nothing" not in said
    assert said.count("the log here begins with it") >= len(SITES) * len(SITES)
    # who gathers is told whose part is not there
    (tmp_path / "nothing released").mkdir()
    done = machines.sekisho(
        "compliance", "gather", *parts[1:], "--study", home, "--out", tmp_path / "some.zip", "--provenance",
        tmp_path / "nothing released", "--json",
    )  # fmt: skip
    assert json.loads(done.stdout).get("lacking") == [SITES[0]], done.stdout
    # a part alone verifies, too, and says what it lacks; a part of another history is not taken
    alone = machines.sekisho("compliance", "verify", parts[0], "--root", root).stdout
    assert alone.startswith("verified") and alone.count("not in this bundle: the log of") == len(SITES)
    twice = machines.sekisho("compliance", "gather", parts[0], parts[0], "--study", home, "--out", whole, "--json")
    assert json.loads(twice.stdout)["code"] == "PARTS_DIFFER"


@pytest.mark.proof
def test_a_coordinator_that_is_killed_in_a_run_goes_on_by_the_same_command(machines: Machines) -> None:
    # six seconds a step, so that the run is not over before it is broken off, however busy the machine is
    slow = (str(Path(__file__).parent / "slow_site.py"), "0.2")
    for site in SITES:
        machines.start(site, "--pipe-only", program=(*slow, site, "--study", str(machines.homes[site])))
    words = ("coordinator", "run", "probe", "--study", machines.homes["coordinator"], "--pipe-only")
    first = machines.start("coordinator", *words)
    sockets = [state(machines, party) / "engine.sock" for party in (*SITES, "coordinator")]
    wait_until(lambda: all(path.exists() for path in sockets), "the processes did not come up")
    machines.relay(SITES)
    wait_until(lambda: started(machines) >= 1, "no step was started")
    first.kill()
    first.wait()
    waits = machines.sekisho("coordinator", "status", "--study", machines.homes["coordinator"], "--json")
    assert (waits.returncode, json.loads(waits.stdout)["code"]) == (1, "RUN_WAITS")
    second = machines.start("coordinator", *words)
    # the relay is still there and comes back to it by itself; a second one beside it would take the doors, and perhaps
    # not the coordinator
    assert second.wait(600) == 0, machines.log("coordinator")
    assert "going on with probe-" in machines.log("coordinator")
    for site in SITES:
        (books,) = ledger_of(machines.homes[site], site)
        assert (books.started, books.state) == (STEPS, "closed")


@pytest.mark.proof
def test_a_site_that_is_killed_inside_a_step_goes_on_by_the_same_command_and_pays_once(machines: Machines) -> None:
    slow = (str(Path(__file__).parent / "slow_site.py"), "0.5")  # half a second a person, thirty of them
    fast = (slow[0], "0")

    def serve(site: str, how: tuple[str, str]) -> None:
        machines.start(site, "--pipe-only", program=(*how, site, "--study", str(machines.homes[site])))

    for site in SITES:
        serve(site, slow if site == "hana" else fast)
    conducts = machines.start(
        "coordinator", "coordinator", "run", "probe", "--study", machines.homes["coordinator"], "--pipe-only"
    )
    sockets = [state(machines, party) / "engine.sock" for party in (*SITES, "coordinator")]
    wait_until(lambda: all(path.exists() for path in sockets), "the processes did not come up")
    machines.relay(SITES)
    wait_until(lambda: started(machines, "hana") == 1, "the step was not started")
    # 1. twice: killed in the step, and told to end in it
    machines.processes["hana"].kill()
    machines.processes["hana"].wait()
    serve("hana", slow)
    wait_until(lambda: resumed(machines) == 1, "it did not go on")
    wait_until(lambda: machines.status("hana")["doing"] == "working", "the message did not come again")
    machines.processes["hana"].terminate()
    assert machines.processes["hana"].wait(120) == 0
    serve("hana", fast)
    # 2. the run ends as if nothing had been: every step charged once, none abandoned
    assert conducts.wait(600) == 0, machines.log("coordinator")
    told = json.loads(
        machines.sekisho("coordinator", "status", "--study", machines.homes["coordinator"], "--json").stdout
    )
    assert (told["completed"], told["abandoned"], told["cohort"]) == (STEPS, 0, len(SITES))
    for site in SITES:
        (books,) = ledger_of(machines.homes[site], site)
        assert (books.started, books.state) == (STEPS, "closed")
    kinds = [entry["type"] for entry in log_of(machines.homes["hana"], "hana")]
    assert (kinds.count("step.started"), kinds.count("step.disclosed")) == (STEPS, STEPS)
    assert "decision.refuse" not in kinds


def resumed(machines: Machines) -> int:
    return sum(entry["type"] == "run.resumed" for entry in log_of(machines.homes["hana"], "hana"))


def started(machines: Machines, site: str = "ame") -> int:
    return sum(entry["type"] == "step.started" for entry in log_of(machines.homes[site], site))
