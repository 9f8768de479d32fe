"""What a large run takes: 10 million parameters at 8 sites, 64 sites at one coordinator, a hundred in one process.

    python benchmarks/scale.py [--json FILE] [--parameters 10000000] [--steps 2] [--only large|many|split]
    python benchmarks/scale.py --draw docs/scale.svg --page docs/scale.md --json FILE   (from what stands there)

The run is the product's own: papers of all sites signed and checked, joins, ledger, log, gate, noise, encryption,
coordinator, opening, optimiser. Made up is the way of training (scale_site.MadeUpTask): there is no base model here
whose adapter has 10 million parameters. A few subjects a site have records; the plan follows from the declared number.

Large: the coordinator and every site have a process each; sites work one after another, each with all cores. What a
process held at most is the resident set's peak as Linux counts it, less what the process held before the run
(interpreter and libraries). It counts the message that came and the answer that goes. Worker processes of the
encryption are counted apart, all together, shared pages twice.

Many: the coordinator has a process of its own, all sites share one. What the coordinator held at most in the steps is
tracemalloc's peak, which counts Python's and numpy's allocations exactly. Joining stands beside it: there each site
sends a key-encapsulation ciphertext for every other, 2 KB each, and all of them go to all: that grows with the square
of the number of sites, and with no number of parameters.

Split: the example's probe with its customers divided among 5 to 100 sites, all in one process with one base model, each
number of sites in a process of its own (scale_split.py); a run of all the example's steps (--steps 60) is kept by
itself. Features are computed once and kept for all of them, so that what grows is not lost in what does not; how long
they take is told apart. docs/scale.md says what grows and why.

Not here: the speed of each piece against what a user would pick instead (aggregation.py). Linux only (scale_wire.py).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from scale_drawn import filled, plotted, table
from scale_split import SPLIT

from sekisho.privacy.encryption.frame import HEADER, packed_length
from sekisho.privacy.encryption.presets import PRESETS, SEED_BYTES
from sekisho.tests.federation import study_folder

PARAMETERS, SITES = 10_000_000, 8  # issue 6
SAMPLE = 400  # the mean sample of DESIGN 5's worked examples, over all sites
MANY_PARAMETERS, MANY = 300_000, (8, 16, 32, 64)
MANY_SAMPLE = 1920  # the same at every number of sites, so that the plan chooses the same fields
WHOLE_STEPS = 60  # the example's: such a run stands by itself, for rows are compared at few steps
SUBJECTS = 2  # with records, a site; each has two
MB = 1e6

Found = dict[str, Any]


def main() -> None:
    """Measure, print tables, and write the same as JSON."""
    options = argparse.ArgumentParser(description="What a large run takes.")
    options.add_argument("--json", type=Path)
    options.add_argument("--parameters", type=int, default=PARAMETERS)
    options.add_argument("--steps", type=int, default=2)
    options.add_argument("--only", choices=("large", "many", "split"))
    options.add_argument("--sites", type=lambda text: [int(one) for one in text.split(",")], default=SPLIT)
    options.add_argument("--rows", type=Path, help="a file of features, made where it is not there")
    options.add_argument("--draw", type=Path, help="draw what --json holds instead of measuring")
    options.add_argument("--page", type=Path, help="and put it into the places of this page (docs/scale.md)")
    given = options.parse_args()
    rows: dict[str, Found] = json.loads(given.json.read_text("utf-8")) if given.json and given.json.exists() else {}
    if given.draw:
        found = list(rows["split"]["by sites"].values())
        given.draw.write_text(plotted(found), "utf-8")
        if given.page:
            page = given.page.read_text("utf-8")
            text = filled(page, found, rows["split"]["features"], rows["split"]["whole"])
            given.page.write_text(text, "utf-8")
        print(table(found))
        return
    if given.only in (None, "large"):
        rows["large"] = large(given.parameters, given.steps)
        show_large(rows["large"])
    if given.only in (None, "many"):
        rows["many"] = {}
        for sites in MANY:
            rows["many"][str(sites)] = many(sites)
            print(f"{sites} sites: done", file=sys.stderr, flush=True)
        show_many(rows["many"])
    if given.only in (None, "split"):
        rows["split"] = split(given.sites, given.steps, given.rows, before=rows.get("split", {}))
        print(table(list(rows["split"]["by sites"].values())))
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


def large(parameters: int, steps: int) -> Found:
    """Every site in a process of its own."""
    found = run(SITES, parameters, steps=steps, sample=SAMPLE, apart=True)
    traffic = found["traffic"]
    stages: dict[str, list[Found]] = defaultdict(list)
    for taken in found["taken"]:
        stages[stage_of(taken, found)].append(taken)
    return {
        **figures(found, parameters),
        "sites": SITES,
        "steps": steps,
        "bytes_up_a_parameter": traffic["frame_bytes"] / parameters,
        "bytes_down_a_parameter": traffic["sum_bytes"] / parameters,
        "coordinator_peak": found["steps"]["resident"] - found["before"],
        "coordinator_before": found["before"],
        "coordinator_cpu_a_step": found["cpu"] / steps,
        "wall": found["wall"],
        "site_before": max(found["hosts_before"]),
        "site": {
            stage: {
                "cpu": sum(taken["cpu"] for taken in own) / SITES,
                "wall": sum(taken["wall"] for taken in own) / SITES,
                "peak": max(taken["peak"] for taken in own) - min(found["hosts_before"]),
                "workers": max(taken["workers"] for taken in own),
            }
            for stage, own in stages.items()
        },
    }


def many(sites: int) -> Found:
    """All sites in one process, the coordinator in another."""
    found = run(sites, MANY_PARAMETERS, steps=1, sample=MANY_SAMPLE, apart=False)
    shown = figures(found, MANY_PARAMETERS)
    preset = PRESETS[found["preset"]]
    total = HEADER.size + packed_length(preset.words(MANY_PARAMETERS))
    seeds = sites * SEED_BYTES * preset.blocks(MANY_PARAMETERS)
    return {
        **shown,
        "joining_traced": found["joining"]["traced"],
        "seeds": seeds,
        "headers": found["traffic"]["sum_bytes"] - total - seeds,  # the sites', and the message's own that lists them
        "coordinator_cpu": found["cpu"],
        "site_cpu": mean(taken["cpu"] for taken in found["taken"]) * len(found["taken"]) / sites,
        "wall": found["wall"],
    }


def split(sizes: Sequence[int], steps: int, rows: Path | None, *, before: Found) -> Found:
    """Each number of sites in a process of its own; numbers that are not asked for stay as they were ``before``."""
    found: Found = {"by sites": {}, **before}
    with tempfile.TemporaryDirectory() as home:
        rows = Path(home) / "rows.npz" if rows is None else rows
        if not rows.exists():  # in a process that then ends: what it held is nobody's
            found["features"] = _alone(Path(home) / "features", "0", "0", str(rows))
        for sites in sizes:
            row = _alone(Path(home) / str(sites), str(sites), str(steps), str(rows))
            if steps >= WHOLE_STEPS:
                found["whole"] = row
            else:
                found["by sites"][str(sites)] = row
            print(f"{sites} sites: done", file=sys.stderr, flush=True)
    found["by sites"] = dict(sorted(found["by sites"].items(), key=lambda one: int(one[0])))
    return found


def _alone(folder: Path, *arguments: str) -> Found:
    program = Path(__file__).with_name("scale_split.py")
    process = subprocess.run(
        [sys.executable, str(program), str(folder), *arguments], stdout=subprocess.PIPE, check=True
    )
    found: Found = json.loads(process.stdout)
    return found


def figures(found: Found, parameters: int) -> Found:
    """What both have; a run that did not end as it should has no figures."""
    if not found["states_agree"] or any(taken["error"] for taken in found["taken"]):
        raise SystemExit("the run did not end with one state at all sites")
    return {
        "parameters": parameters,
        "preset": found["preset"],
        "mean_sample": found["sample"],
        "coordinator_traced": found["steps"]["traced"],
    }


def stage_of(taken: Found, found: Found) -> str:
    """Joining; agreeing on where all stand; the share; opening the step before, which the message after it asks."""
    kind = taken["kind"]
    first = next(other for other in found["taken"] if other["kind"] == "step" and other["site"] == taken["site"])
    if kind == "finish" or (kind == "step" and taken is not first):
        return "open, apply"
    return {"step": "agree on the state", "readies": "train, noise, seal"}.get(kind, "join")


def run(sites: int, parameters: int, *, steps: int, sample: int, apart: bool) -> Found:
    """One run of a study that is made for it, in processes of its own; ``apart``: one for each site."""
    names = [f"site{number:02d}" for number in range(sites)]
    with tempfile.TemporaryDirectory() as home:
        folder = study_folder.build(
            Path(home) / "study",
            steps=steps,
            allowance=0,
            sites=names,
            subjects=SUBJECTS,
            declared=sample // sites,
        )
        asked = {
            "study": str(folder),
            "dimension": parameters,
            "groups": [[name] for name in names] if apart else [names],
        }
        coordinator = Path(__file__).with_name("scale_coordinator.py")
        process = subprocess.run(
            [sys.executable, str(coordinator), json.dumps(asked)], stdout=subprocess.PIPE, check=True
        )
    found: Found = json.loads(process.stdout)
    return found


def show_large(row: Found) -> None:
    """The table of the large run."""
    parameters = row["parameters"]
    print(f"{parameters:,} parameters, {row['sites']} sites, {row['steps']} steps, {row['preset']}, whole run "
          f"{row['wall']:.0f} s (sites one after another)")  # fmt: skip
    print(f"bytes a parameter and step: {row['bytes_up_a_parameter']:.3f} up, {row['bytes_down_a_parameter']:.3f} down")
    print(f"\n{'peak beyond what it held before':42}{'MB':>8}{'B/parameter':>13}{'CPU s':>9}{'wall s':>9}")
    line("coordinator, resident", row["coordinator_peak"], parameters, f"{row['coordinator_cpu_a_step']:9.2f} a step")
    line("coordinator, allocated", row["coordinator_traced"], parameters)
    for stage, site in row["site"].items():
        line(f"a site: {stage}", site["peak"], parameters, f"{site['cpu']:9.2f}{site['wall']:9.2f}")
    peak = max(site["peak"] for site in row["site"].values())
    line("a site, in all", peak, parameters)
    line("its worker processes together", max(site["workers"] for site in row["site"].values()), parameters)
    coordinator, site = row["coordinator_before"] / MB, row["site_before"] / MB
    print(f"before the run: coordinator {coordinator:.0f} MB, a site {site:.0f} MB")


def line(what: str, peak: float, parameters: int, more: str = "") -> None:
    """One row of it."""
    print(f"{what:42}{peak / MB:8.1f}{peak / parameters:13.2f}{more}")


def show_many(rows: dict[str, Found]) -> None:
    """The table of many sites. Seeds and headers are held three times: apart, in the message, and on the wire."""
    first = rows[str(MANY[0])]
    print(f"\n{first['parameters']:,} parameters, 1 step, {first['preset']}; allocated by the coordinator, in MB")
    print(f"{'sites':>6}{'steps':>8}{'to 8':>7}{'seeds':>8}{'headers':>9}{'growth per byte of these':>26}"
          f"{'joining':>9}{'coordinator CPU s':>19}{'CPU s a site':>14}")  # fmt: skip
    for sites, row in rows.items():
        peak, kept = row["coordinator_traced"], row["seeds"] + row["headers"]
        before = first["seeds"] + first["headers"]
        grown = (peak - first["coordinator_traced"]) / (kept - before) if kept > before else 0.0
        print(f"{sites:>6}{peak / MB:8.2f}{peak / first['coordinator_traced']:7.2f}{row['seeds'] / MB:8.3f}"
              f"{row['headers'] / MB:9.3f}{grown:26.2f}{row['joining_traced'] / MB:9.2f}{row['coordinator_cpu']:19.2f}"
              f"{row['site_cpu']:14.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
