"""The example on NVIDIA FLARE by the documented commands, held against the same study in one process.

    python benchmarks/example_on_flare.py [--json FILE] [--methods probe,lora] [--folder FOLDER]

Six parties, a folder each with what is theirs and nothing else: FLARE's server and the coordinator, five makers' site
services with a FLARE client each, TLS with certificates at both ends, loopback. Then ``sekisho pilot`` on the same
papers. Compared are what each party logged (entry by entry, without names of runs, digests and times), what each
ledger charged, and how good the released adapters are on the public test reviews: two runs of one study differ by the
noise, and a block that is rolled back in one of them shows in its log. The evidence of all parties is put together and
verified. tests/flare/test_example_on_flare.py does the same with a small study, and asserts it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sekisho.core.data.intake import inspect, locate
from sekisho.core.pilot.scores import read_test_set
from sekisho.core.site.papers import read_study
from sekisho.core.training.adapter import Adapter
from sekisho.core.training.evaluation import evaluate
from sekisho.core.training.features import Features
from sekisho.core.training.task import TextProbe
from sekisho.governance.canonical import digest_bytes
from sekisho.tests.federation.command import ledger_of
from sekisho.tests.flare.flare_processes import free_port
from sekisho.tests.flare.machines import Machines, apart, wait_until
from sekisho.tests.flare.test_example_on_flare import shapes

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "food-quality"
PILOT_SECONDS = 3600.0  # six minutes on two quiet cores
PROBE = "probe"  # whose adapter is a head on frozen features, which is judged here; the other's figures say reports


def quality(study: Path, adapter: Path) -> dict[str, float]:
    """AUC and accuracy of a released linear head on the public test reviews."""
    papers = read_study(study)
    test = read_test_set(study, papers)
    task = TextProbe(Features(inspect(locate(papers.base_model, study))))
    vector = Adapter.from_safetensors((adapter / "adapter.safetensors").read_bytes()).vector
    found = evaluate(task.scores(task.load(test.texts), vector), test.positive(papers.labels[1]))
    return {"auc": round(found.auc, 4), "accuracy": round(found.accuracy, 4)}


def on_flare(machines: Machines, sites: Sequence[str], methods: Sequence[str]) -> dict[str, Any]:
    """Every method, one run after the other; what each run said."""
    machines.enrol(sites, free_port())
    hub, runs = machines.homes["coordinator"], {}
    machines.start("coordinator/server", "coordinator", "serve", "--study", hub)
    for site in sites:
        machines.serve(site)
    for number, method in enumerate(methods, start=1):
        began = time.monotonic()
        machines.start("coordinator/run", "coordinator", "run", method, "--study", hub, "--json")
        run = machines.processes["coordinator/run"]
        run.wait()
        if run.returncode:
            raise SystemExit(machines.log("coordinator/run"))
        runs[method] = json.loads(machines.log("coordinator/run").splitlines()[-1])
        runs[method]["seconds"] = round(time.monotonic() - began, 1)
        for site in sites:
            reports = machines.homes[site] / "sites" / site / "state" / "reports"
            wait_until(lambda reports=reports, number=number: len(list(reports.glob("*.html"))) == number, site)
    for site in sites:
        os.kill(machines.processes[site].pid, signal.SIGTERM)
        if machines.processes[site].wait(180):
            raise SystemExit(machines.log(site))
    return runs


def evidence(machines: Machines, sites: Sequence[str], folder: Path) -> str:
    """The verdict on what the parties export and one of them puts together."""
    parts, hub = [], machines.homes["coordinator"]
    for party in (*sites, "coordinator"):
        parts.append(folder / f"{party}.zip")
        told(machines, "compliance", "export", machines.homes[party], "--own", "--out", parts[-1])
    released = sorted((machines.homes[min(sites)] / "sites" / min(sites) / "state" / "releases").iterdir())
    given = [word for one in released for word in ("--provenance", one)]
    told(machines, "compliance", "gather", *parts, "--study", hub, "--out", folder / "whole.zip", *given)
    root = digest_bytes((hub / "roster.yaml").read_bytes())
    verdict = told(machines, "compliance", "verify", folder / "whole.zip", "--root", root, "--json")
    return str(json.loads(verdict)["verdict"])


def told(machines: Machines, *words: str | Path) -> str:
    """What a command prints; it must end well."""
    done = machines.sekisho(*words)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, words))}: {done.stderr}")
    return done.stdout


def compared(machines: Machines, together: Path, sites: Sequence[str]) -> dict[str, Any]:
    """By party: what one of the two logs has and the other has not; and both ledgers."""
    found: dict[str, Any] = {}
    for party in (*sites, "coordinator"):
        ours, theirs = shapes(machines.homes[party], party), shapes(together, party)
        found[party] = {"entries": ours.total(), "flare": dict(ours - theirs), "embedded": dict(theirs - ours)}
        if party != "coordinator":
            found[party]["ledger"] = [
                [(run.steps, run.charged, run.started, run.state) for run in ledger_of(study, party)]
                for study in (machines.homes[party], together)
            ]
    return found


def measured(folder: Path, methods: Sequence[str]) -> dict[str, Any]:
    """Both runs, in ``folder``."""
    ignored = shutil.ignore_patterns("state", "stops", "revocations", "out", "__pycache__", "enrolment")
    together = folder / "together"
    shutil.copytree(EXAMPLE, together, ignore=ignored)
    sites = sorted(read_study(together).sites)
    machines = Machines(apart(together, folder / "homes", sites))
    try:
        runs = on_flare(machines, sites, methods)
        verdict = evidence(machines, sites, folder)
        released = sorted((machines.homes[sites[0]] / "sites" / sites[0] / "state" / "releases").glob(f"{PROBE}-*"))
        began = time.monotonic()
        machines.sekisho("pilot", together, "--out", folder / "out", seconds=PILOT_SECONDS)
        return {
            "flare": {"runs": runs, PROBE: quality(together, released[0]), "evidence": verdict},
            "embedded": {
                PROBE: quality(together, folder / "out" / "adapter" / PROBE),
                "seconds": round(time.monotonic() - began, 1),
            },
            "parties": compared(machines, together, sites),
        }
    finally:
        machines.close()


def main() -> None:
    """Print what was compared, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--methods", default="probe,lora")
    parser.add_argument("--folder", type=Path, help="an empty folder to keep everything in; else nothing is kept")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        found = measured(given.folder or Path(temporary), given.methods.split(","))
    text = json.dumps(found, indent=2)
    if given.json:
        given.json.write_text(text + "\n", "utf-8")
    print(text)
    sys.exit(0 if found["flare"]["evidence"] == "verified" else 1)


if __name__ == "__main__":
    main()
