"""What a private sum costs: bytes and processor time, ours beside what somebody would take instead, in one run.

    python benchmarks/aggregation.py [--json FILE] [--rounds 7] [--parameters 1000000] [--sites 8]
                                     [--cohorts 3 8 16 64 95] [--peers FOLDER]

Every scheme (blind_sum.py, peers/) first sums all sites' vectors once, and what comes out is checked: integers must be
exact. Then, round by round and all schemes in turn, one upload, one addition at the coordinator and one opening are
timed on the processor's clock, in one process and thread. Bytes are those of whole messages. Last, ours once more for
each size of cohort. Flower is looked for here and in ``--peers`` (a folder of packages: ``pip install --target``).

Not for: training, noise, networks, worker processes. Wall time is in the JSON and means nothing on a shared machine.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from sekisho.benchmarks import blind_sum
from sekisho.benchmarks.peers import ckks, flower, pad, plain
from sekisho.benchmarks.peers.scheme import Scheme, Vector
from sekisho.privacy.encryption.presets import PRESETS
from sekisho.privacy.mechanism.rotation import Rotation, spread

DEVIATION = 0.01  # of a coordinate: an adapter's update
MILLION = 1_000_000
ADAPTER = 74_498  # parameters of the example's adapter
NVFLARE, FLOAT32, OURS = "CKKS as NVFLARE's default", "plain float32", "ours 3x16"
ACTS = ("upload", "add", "open")
COHORT_ROUNDS = 3  # with 95 sites an opening takes seconds

# What issue 6 promises of 3x16 with eight sites, per parameter or per million of them.
UPLINK, DOWNLINK = 2.55, 2.65
UPLOAD, COORDINATOR = 0.12, 0.012
OPEN, OPEN_PER_SITE = 0.08, 0.03
UPLINK_2x24, UPLINK_ADAPTER = 3.85, 2.7
FEWER_BYTES, LESS_UPLOAD, OF_FLOAT32 = 20, 7, 0.65


@dataclass
class Measured:
    """One scheme: what one whole sum showed, what its acts work on, and their seconds round by round."""

    scheme: Scheme
    wires: list[bytes]  # of the first two sites
    down: bytes
    exact: bool | None
    error: float
    largest_error: float
    cpu: dict[str, list[float]] = field(default_factory=lambda: {act: [] for act in ACTS})
    wall: dict[str, list[float]] = field(default_factory=lambda: {act: [] for act in ACTS})

    def once(self) -> None:
        """Every act, timed once: one site's upload, its addition to a sum that has one site in it, one opening."""
        scheme, (first, second) = self.scheme, self.wires
        values = scheme.grid(vector_of(0, scheme.dimension))
        before = scheme.add(scheme.total(), 1, second)
        self._timed("upload", lambda: scheme.upload(0, values))
        self._timed("add", lambda: scheme.add(before, 0, first))
        self._timed("open", lambda: scheme.open(self.down))

    def seconds(self, act: str) -> float:
        """Median processor seconds per million parameters."""
        return statistics.median(self.cpu[act]) * MILLION / self.scheme.dimension

    @property
    def up(self) -> float:
        """Bytes a parameter that one site sends."""
        return len(self.wires[0]) / self.scheme.dimension

    @property
    def back(self) -> float:
        """Bytes a parameter that one site gets."""
        return len(self.down) / self.scheme.dimension

    def to_json(self) -> dict[str, Any]:
        """Everything, times per million parameters."""
        per_million = MILLION / self.scheme.dimension
        return {
            "name": self.scheme.name,
            "sites": self.scheme.sites,
            "parameters": self.scheme.dimension,
            "bytes_up": self.up,
            "bytes_down": self.back,
            "cpu": {act: self.seconds(act) for act in ACTS},
            "cpu_least": {act: min(self.cpu[act]) * per_million for act in ACTS},
            "wall": {act: statistics.median(self.wall[act]) * per_million for act in ACTS},
            "opened_by": self.scheme.opener,
            "exact": self.exact,
            "error_rms": self.error,
            "error_max": self.largest_error,
        }

    def _timed(self, name: str, act: Callable[[], object]) -> None:
        gc.collect()
        began, worked = time.perf_counter(), time.process_time()
        act()
        self.cpu[name].append(time.process_time() - worked)
        self.wall[name].append(time.perf_counter() - began)


def main() -> None:
    """Measure, print the tables, and write the same as JSON."""
    options = argparse.ArgumentParser(description="What a private sum costs.")
    options.add_argument("--json", type=Path)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--parameters", type=int, default=MILLION)
    options.add_argument("--sites", type=int, default=8)
    options.add_argument("--cohorts", type=int, nargs="*", default=[3, 8, 16, 64, 95])
    options.add_argument("--peers", type=Path, help="a folder with packages that are not installed here")
    given = options.parse_args()
    if given.peers:
        sys.path.append(str(given.peers))  # last, so that what is installed here stays what it is
    report = measure(given.rounds, given.parameters, given.sites, given.cohorts)
    show(report)
    if given.json:
        given.json.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


def measure(rounds: int, parameters: int, sites: int, cohorts: Sequence[int]) -> dict[str, Any]:
    """All schemes side by side, the example's adapter, the rotation alone, and the sizes of cohort."""
    schemes, missing = everyone(sites, parameters)
    measured = [summed(scheme) for scheme in schemes]
    for number in range(rounds):
        for each in measured:
            each.once()
        print(f"# round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    adapter = summed(ours("3x16", sites, ADAPTER))
    adapter.once()
    of_cohorts = [of_cohort(cohort, parameters, min(rounds, COHORT_ROUNDS)) for cohort in cohorts]
    return {
        "versions": versions(),
        "schemes": [each.to_json() for each in measured],
        "missing": missing,
        "adapter": adapter.to_json(),
        "rotation": rotation(rounds, parameters),
        "cohorts": [each.to_json() for each in of_cohorts],
        "targets": targets({each.scheme.name: each for each in measured}, adapter, of_cohorts),
    }


def everyone(sites: int, parameters: int) -> tuple[list[Scheme], dict[str, str]]:
    """Every scheme that can run here, and why another cannot."""
    schemes: list[Scheme] = [ours(name, sites, parameters) for name in PRESETS]
    schemes.append(pad.Pad(sites, parameters, largest=largest_sum("3x16", sites, parameters)))
    schemes += [ckks.nvflare_default(sites, parameters), ckks.tuned(sites, parameters)]
    schemes += [plain.Plain(np.float32, sites, parameters), plain.Plain(np.float16, sites, parameters)]
    missing = {}
    try:
        schemes.append(flower.SecAggPlus(sites, parameters))
    except ImportError as error:
        missing["Flower SecAgg+, functions"] = f"not installed: pip install flwr ({error})"
    return schemes, missing


def ours(preset: str, sites: int, parameters: int) -> Scheme:
    """The product with this preset."""
    return blind_sum.BlindSum(preset, sites, parameters, largest=largest_sum(preset, sites, parameters))


def largest_sum(preset: str, sites: int, parameters: int) -> float:
    """What is public of a sum: a bound on each vector's norm, so one on each coordinate (DESIGN 5's A)."""
    aligned = sites * norm_bound(parameters)
    return aligned * float(spread(parameters)) if PRESETS[preset].rotated else aligned


def norm_bound(parameters: int) -> float:
    """A bound that no vector of ``vector_of`` passes: its norm is within a few tenths of DEVIATION·√d."""
    return DEVIATION * (parameters**0.5 + 6)


def vector_of(site: int, parameters: int) -> Vector:
    """float32[d], the same whenever asked for."""
    return DEVIATION * np.random.default_rng(site).standard_normal(parameters, np.float32)


def summed(scheme: Scheme) -> Measured:
    """Sum every site's vector once, and check what comes out."""
    total, integers, true = scheme.total(), None, np.zeros(scheme.dimension)
    wires: list[bytes] = []
    for site in range(scheme.sites):
        vector = vector_of(site, scheme.dimension)
        values = scheme.grid(vector)
        wire = scheme.upload(site, values)
        total = scheme.add(total, site, wire)
        true += vector
        if scheme.exact_integers:
            integers = values if integers is None else integers + values
        wires = [*wires, wire][:2]
    down = scheme.down(total)
    opened = scheme.open(down)
    off = scheme.mean(opened) - true / scheme.sites
    exact = bool(np.array_equal(opened, integers)) if integers is not None else None
    return Measured(
        scheme, wires, down, exact, error=float(np.sqrt(np.mean(off**2))), largest_error=float(np.abs(off).max())
    )


def rotation(rounds: int, parameters: int) -> dict[str, float]:
    """CPU seconds a million parameters of one vector's rotation and of turning one sum back; signs drawn in each."""
    vector = vector_of(0, parameters).astype(np.float64)
    seconds: dict[str, list[float]] = {"forward": [], "back": []}
    for number in range(rounds):
        for name, found in seconds.items():
            one = Rotation(parameters, bytes([number]) * 32)
            worked = time.process_time()
            getattr(one, name)(vector)
            found.append(time.process_time() - worked)
    return {name: statistics.median(found) * MILLION / parameters for name, found in seconds.items()}


def versions() -> dict[str, str]:
    """Of what was measured, where it is installed."""
    found = {"python": platform.python_version()}
    for name in ("numpy", "tenseal", "cryptography", "flwr"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def of_cohort(sites: int, parameters: int, rounds: int) -> Measured:
    """Ours with another number of sites."""
    measured = summed(ours("3x16", sites, parameters))
    for _ in range(rounds):
        measured.once()
    print(f"# {sites} sites", file=sys.stderr, flush=True)
    return measured


def targets(by_name: dict[str, Measured], adapter: Measured, cohorts: Sequence[Measured]) -> list[dict[str, Any]]:
    """What issue 6 promises, and whether this run kept it. Ratios are taken within each round."""
    mine, theirs, plain32 = by_name[OURS], by_name[NVFLARE], by_name[FLOAT32]
    uploads = [slow / quick for slow, quick in zip(theirs.cpu["upload"], mine.cpu["upload"], strict=True)]
    found = [
        at_most("3x16 uplink, bytes a parameter", mine.up, UPLINK),
        at_most("3x16 downlink, bytes a parameter", mine.back, DOWNLINK),
        at_most("3x16 upload, CPU s a million", mine.seconds("upload"), UPLOAD),
        at_most("3x16 opening, CPU s a million", mine.seconds("open"), OPEN + OPEN_PER_SITE * mine.scheme.sites),
        at_most("3x16 coordinator, CPU s a million and site", mine.seconds("add"), COORDINATOR),
        at_least("fewer bytes up than NVFLARE's default, times", theirs.up / mine.up, FEWER_BYTES),
        at_least("less upload CPU than NVFLARE's default, times", statistics.median(uploads), LESS_UPLOAD),
        at_most("of float32's bytes", mine.up / plain32.up, OF_FLOAT32),
        at_most("2x24 uplink, bytes a parameter", by_name["ours 2x24"].up, UPLINK_2x24),
        at_most(f"3x16 uplink of {ADAPTER} parameters, bytes a parameter", adapter.up, UPLINK_ADAPTER),
    ]
    for each in cohorts:
        sites = each.scheme.sites
        what = f"3x16 opening with {sites} sites, CPU s a million"
        found.append(at_most(what, each.seconds("open"), OPEN + OPEN_PER_SITE * sites))
    inexact = [each for each in (*by_name.values(), adapter, *cohorts) if each.exact is False]
    return [*found, at_most("sums of integers that were not exact", len(inexact), 0)]


def at_most(what: str, value: float, target: float) -> dict[str, Any]:
    """One promise."""
    return {"what": what, "value": value, "at_most": target, "met": value <= target}


def at_least(what: str, value: float, target: float) -> dict[str, Any]:
    """One promise."""
    return {"what": what, "value": value, "at_least": target, "met": value >= target}


def show(report: dict[str, Any]) -> None:
    """Print the tables."""
    columns = f"{'B up':>8}{'B down':>9}{'upload':>9}{'add':>9}{'open':>9}  {'sum exact':>9}{'mean off by':>13}"
    print(f"{'a parameter / CPU s a million':30}{columns}")
    for row in report["schemes"]:
        print(f"{row['name']:30}{line(row)}")
    for name, why in report["missing"].items():
        print(f"{name:30}{why}")
    print("one vector's rotation {forward:.4f}, one sum turned back {back:.4f}".format(**report["rotation"]))
    print(f"\n{'ours 3x16, sites':30}{columns}")
    for row in report["cohorts"]:
        print(f"{row['sites']:<30}{line(row)}")
    print(f"\n{'promised':58}{'found':>9}{'target':>11}")
    for row in report["targets"]:
        bound = f"<= {row['at_most']:g}" if "at_most" in row else f">= {row['at_least']:g}"
        print(f"{row['what']:58}{row['value']:9.3f}{bound:>11} {'met' if row['met'] else 'MISSED'}")


def line(row: dict[str, Any]) -> str:
    """One row's figures; ``open`` is marked where the server opens, once, rather than every site."""
    cpu, exact = row["cpu"], {True: "yes", False: "NO", None: "-"}[row["exact"]]
    mark = "*" if row["opened_by"] == "server" else " "
    times = "".join(f"{cpu[act]:9.4f}" for act in ACTS)
    return f"{row['bytes_up']:8.3f}{row['bytes_down']:9.3f}{times}{mark} {exact:>9}{row['error_rms']:13.1e}"


if __name__ == "__main__":
    main()
