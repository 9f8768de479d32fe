"""A study on NVIDIA FLARE by the documented commands: FLARE's server, and each site a service in a folder of its own.

What is decided, logged and charged is what a run in one process decides, logs and charges, entry by entry; and the
evidence that the parties put together verifies. Everything is loopback, TLS with certificates at both ends.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sekisho.governance.canonical import digest_bytes

from ..federation import study_folder
from ..federation.command import ledger_of, log_of
from .flare_processes import free_port
from .machines import Machines, apart, wait_until

SITES = ("ame", "hana", "kaze", "mori", "yuki")[: int(os.environ.get("FLARE_SITES", "3"))]
STEPS = 2


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    study = study_folder.build(tmp_path / "study", steps=STEPS, sites=SITES)
    made = Machines(apart(study, tmp_path / "homes", SITES))
    yield made
    made.close()


def told(done: Any) -> Any:
    assert done.returncode == 0, (done.stdout, done.stderr)
    return json.loads(done.stdout)


def enrol(machines: Machines, port: int) -> None:
    """Requests and bundles, carried as people carry them."""
    hub = machines.homes["coordinator"]
    told(machines.sekisho("coordinator", "enrol", "--host", "localhost", "--port", port, "--study", hub, "--json"))
    for site in SITES:
        home = machines.homes[site]
        asked = Path(told(machines.sekisho("site", "enrol", site, "--study", home, "--json"))["request"])
        carried = Path(shutil.copy(asked, hub))
        sent = Path(told(machines.sekisho("coordinator", "admit", carried, "--study", hub, "--json"))["bundle"])
        back = Path(shutil.copy(sent, home))
        told(machines.sekisho("site", "enrol", site, "--study", home, "--bundle", back, "--json"))


def conducted(machines: Machines) -> dict[str, Any]:
    """FLARE's server, every site's service, and the run of the coordinator, to its end; what that said."""
    hub = machines.homes["coordinator"]
    machines.start("coordinator/server", "coordinator", "serve", "--study", hub)
    for site in SITES:
        machines.serve(site)
    result = machines.sekisho("coordinator", "run", "probe", "--study", hub, "--json")
    assert result.returncode == 0, (result.stdout, result.stderr[-3000:])
    for site in SITES:
        reports = machines.homes[site] / "sites" / site / "state" / "reports"
        wait_until(lambda reports=reports: list(reports.glob("*.html")), site)
        os.kill(machines.processes[site].pid, signal.SIGTERM)
        assert machines.processes[site].wait(180) == 0, machines.log(site)
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


def shape(entry: dict[str, Any]) -> str:
    """What an entry says, without what differs from run to run: names of runs, digests, times, numbers of bytes."""
    data = {key: value for key, value in entry.get("data", {}).items() if key in {"step", "cohort", "code", "codes"}}
    return f"{entry['type']} {json.dumps(data, sort_keys=True)}"


def shapes(study: Path, party: str) -> Counter[str]:
    """How often each is there. Permissions count once: a pilot asks every site before it begins, and once more then."""
    found = Counter(shape(entry) for entry in log_of(study, party))
    return Counter({what: 1 if what.startswith("decision.permit") else times for what, times in found.items()})


@pytest.mark.proof
def test_a_study_on_flare_decides_logs_and_charges_what_it_does_in_one_process(
    machines: Machines, tmp_path: Path
) -> None:
    enrol(machines, free_port())
    result = conducted(machines)
    assert (result["completed"], result["abandoned"], result["sites_agree"]) == (STEPS, 0, True)
    assert result["cohort"] == list(SITES)
    # the same study in one process
    together = study_folder.build(tmp_path / "together", steps=STEPS, sites=SITES)
    done = machines.sekisho("pilot", together, "--out", tmp_path / "out")
    assert done.returncode in (0, 1), done.stderr  # 1: so short a run misses its measures
    for party in SITES:
        home = machines.homes[party]
        assert shapes(home, party) == shapes(together, party), party
        ours, theirs = ledger_of(home, party), ledger_of(together, party)
        assert [(run.steps, run.charged, run.started, run.state) for run in ours] == [
            (run.steps, run.charged, run.started, run.state) for run in theirs
        ]
    assert shapes(machines.homes["coordinator"], "coordinator") == shapes(together, "coordinator")
    # evidence, put together out of every party's own part
    parts = []
    for party in (*SITES, "coordinator"):
        part = tmp_path / f"{party}.zip"
        done = machines.sekisho("compliance", "export", machines.homes[party], "--own", "--out", part)
        assert done.returncode == 0, done.stderr
        parts.append(part)
    (released,) = (machines.homes[SITES[0]] / "sites" / SITES[0] / "state" / "releases").iterdir()
    shutil.copytree(released, tmp_path / "adapter")
    hub, whole = machines.homes["coordinator"], tmp_path / "whole.zip"
    done = machines.sekisho(
        "compliance", "gather", *parts, "--study", hub, "--out", whole, "--provenance", tmp_path / "adapter"
    )
    assert done.returncode == 0, done.stderr
    root = digest_bytes((hub / "roster.yaml").read_bytes())
    assert told(machines.sekisho("compliance", "verify", whole, "--root", root, "--json"))["verdict"] == "verified"
