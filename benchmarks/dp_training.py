"""What privacy costs in training: a step of LoRA in every variant, as a ratio to the same step without privacy.

    python benchmarks/dp_training.py [--json FILE] [--rounds 5] [--variants NAME ...] [--no-memory]

Time is CPU time of one thread. All variants are in one process and take turns, so that whatever else the machine does
meets all of them; a figure is the median over rounds of the ratio to "plain" in the same round, with the range beside
it. Peak memory is what a step takes above the loaded model, in a process of its own for each variant, with an allocator
that gives blocks back (else the figure is fragmentation). At last what a step spends on drawing: which subjects take
part, and noise.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from sekisho.benchmarks.dp_variants import ASKED_FOR, BATCH, RATE, SITES, SUBJECTS, TOKENS, VARIANTS, bench, plan
from sekisho.core.training.training import SUBJECT_LABEL
from sekisho.privacy.mechanism.gaussian import DiscreteGaussian
from sekisho.privacy.mechanism.randomness import SecretStream
from sekisho.privacy.mechanism.sampling import poisson_sample

PLAIN = "plain"
ALL = VARIANTS | ASKED_FOR
# The promise of issue 5; what has no limit is there to compare.
TIME_LIMITS = {"clip": 1.05, "clip, exact noise": 1.10}
MEMORY_LIMITS = {"clip": 1.03, "clip, exact noise": 1.03}
DRAWING_LIMIT = 0.02
DRAWS = 9  # repetitions of each draw
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0", "OMP_NUM_THREADS": "1"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--variants", nargs="+", choices=ALL, default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--peak-of", choices=ALL, help=argparse.SUPPRESS)  # the child's side of peak()
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.peak_of:
        print(peak_here(given.peak_of))
        return
    names = [PLAIN, *(name for name in given.variants if name != PLAIN)]
    times = steps(names, given.rounds)
    peaks = {} if given.no_memory else {name: peak(name) for name in names}
    plain = statistics.median(times[PLAIN])
    value = {
        "batch": BATCH,
        "tokens": TOKENS,
        "trainable": bench().dimension,
        "rounds": given.rounds,
        "plain_cpu_seconds": plain,
        "variants": {name: row(name, times, peaks) for name in names},
        "drawing": drawing(plain),
    }
    show(value)
    if given.json:
        given.json.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", "utf-8")


def steps(names: Sequence[str], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of every step, by variant; in each round another one begins."""
    made = {name: ALL[name]() for name in names}
    for name, step in made.items():
        step()  # the first pass shows that records do not mix, and allocates
        print(f"ready: {name}", file=sys.stderr)
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in (*names[first:], *names[:first]):
            times[name].append(cpu(made[name]))
    return times


def cpu(act: Callable[[], object]) -> float:
    began = time.process_time()
    act()
    return time.process_time() - began


def peak(name: str) -> float:
    """MB of a step above the loaded model, in a fresh process."""
    asked = [sys.executable, __file__, "--peak-of", name]
    answer = subprocess.run(asked, env=os.environ | ALLOCATOR, check=True, capture_output=True, text=True)
    return float(answer.stdout)


def peak_here(name: str) -> float:
    step = ALL[name]()
    step()  # also the optimiser's state and the table of the noise, which stay
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", "ascii")  # the high-water mark begins anew
    step()
    return _memory("VmHWM") - before


def _memory(field: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text("ascii").splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def row(name: str, times: dict[str, list[float]], peaks: dict[str, float]) -> dict[str, Any]:
    ratios = sorted(own / plain for own, plain in zip(times[name], times[PLAIN], strict=True))
    found: dict[str, Any] = {
        "cpu_seconds": statistics.median(times[name]),
        "ratio": statistics.median(ratios),
        "range": [ratios[0], ratios[-1]],
    }
    if peaks:
        found |= {"peak_mb": peaks[name], "peak_ratio": peaks[name] / peaks[PLAIN]}
    return found


def drawing(step: float) -> dict[str, Any]:
    """CPU seconds of what a step draws apart from rounding, and their part of a plain step.

    ``subjects``: a stream for each of a site's subjects, and its coin. ``noise``: one site's share for every number.
    """
    own = plan(bench().dimension)
    noise = DiscreteGaussian(own.share_variance(SITES))

    def subjects() -> None:
        stream = SecretStream()
        for number in range(SUBJECTS):
            poisson_sample(stream.derive(SUBJECT_LABEL + b"%d" % number), 1, RATE)

    seconds = {
        "subjects": statistics.median(cpu(subjects) for _ in range(DRAWS)),
        "noise": statistics.median(cpu(lambda: noise.sample(SecretStream(), own.dimension)) for _ in range(DRAWS)),
    }
    return {"seconds": seconds, "part_of_a_step": sum(seconds.values()) / step}


def show(value: dict[str, Any]) -> None:
    print(
        f"all-MiniLM-L6-v2, {value['trainable']:,} numbers train, {BATCH} records of {TOKENS} tokens; "
        f"a plain step is {value['plain_cpu_seconds']:.2f} s of CPU"
    )
    print(f"{'':42}{'ratio':>7}{'range':>15}{'limit':>7}{'peak MB':>9}{'ratio':>7}{'limit':>7}")
    for name, own in value["variants"].items():
        spread = f"{own['range'][0]:.2f}–{own['range'][1]:.2f}"
        memory = f"{own['peak_mb']:>9.0f}{own['peak_ratio']:>7.3f}" if "peak_mb" in own else f"{'':16}"
        limits = _limit(TIME_LIMITS, name), _limit(MEMORY_LIMITS, name)
        print(f"{name:42}{own['ratio']:>7.3f}{spread:>15}{limits[0]:>7}{memory}{limits[1]:>7}")
    drawn = value["drawing"]
    seconds = ", ".join(f"{name} {own * 1000:.1f} ms" for name, own in drawn["seconds"].items())
    print(f"drawing: {seconds}; {drawn['part_of_a_step']:.2%} of a plain step (limit {DRAWING_LIMIT:.0%})")


def _limit(limits: dict[str, float], name: str) -> str:
    return f"{limits[name]:.2f}" if name in limits else ""


if __name__ == "__main__":
    main()
