"""What exact noise costs: nanoseconds a draw, a table's building and memory, the Poisson coin; and what part of a step.

    python benchmarks/sampler.py [--json FILE] [--rounds 7] [--draws 200000]

Beside the product's table sampler stands what a user would pick instead: ``torch.normal`` (Opacus' default), Opacus'
sum of four against attacks on floats ("secure mode", whose generator is no longer published; here on torch's own),
numpy, and OpenDP's discrete Gaussian, which is exact as well. Random bytes alone (the operating system's, ChaCha20)
are the floor of anything that is to be secret. CPU time, one thread, all variants in turn within a round; medians over
rounds, ratios to ``torch.normal``.

Not for: whether the draws are right (tests/privacy/test_gaussian.py, test_sampler_statistics.py).
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
import tracemalloc
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import torch
from opacus.optimizers.optimizer import _generate_noise

from sekisho.benchmarks.food_reviews import FoodReviews
from sekisho.core.training.features import Features
from sekisho.core.training.lora import LoraTask
from sekisho.core.training.lora_layout import LoraSettings
from sekisho.privacy.mechanism import gaussian
from sekisho.privacy.mechanism.gaussian import DiscreteGaussian
from sekisho.privacy.mechanism.randomness import SecretStream
from sekisho.privacy.mechanism.sampling import poisson_sample

# Deviations s of a share: the fewest that a plan allows, a coarse grid, the worked example of DESIGN 5, the example's
# probe with all five makers and with three, and the most that is accepted.
DEVIATIONS = (4, 256, 11_084, 11_583, 16_382, 16_384)
OPENDP_DRAWS = 2_000  # some 50 microseconds each
SUBJECTS = 100_000
RATE = Decimal("0.05")
RECORDS = 32  # of the LoRA step: a small one, so that the noise weighs most
FULL = LoraSettings(seed=1, layers=(6, 5, 4, 3, 2, 1), targets=("query", "value"), rank=8, alpha=4)
PROMISED = 0.02  # of a LoRA step (issue 5)

Row = dict[str, Any]


def main() -> None:
    """Measure, print three tables, and write the same as JSON."""
    options = argparse.ArgumentParser(description="Cost of exact noise.")
    options.add_argument("--json", type=Path)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--draws", type=int, default=200_000)
    given = options.parse_args()
    torch.set_num_threads(1)
    report = {"draws": draws(given.rounds, given.draws), "tables": tables(given.rounds), "coins": coins(given.rounds)}
    report["step"] = step(given.rounds)
    print(f"{'a draw of noise':34}{'ns':>10}{'ratio':>9}")
    for row in report["draws"]:
        print(f"{row['name']:34}{row['ns']:10.1f}{row['ratio']:9.2f}")
    print(f"\n{'table for s =':34}{'entries':>10}{'s':>9}{'MiB':>7}")
    for row in report["tables"]:
        print(f"{row['deviation']:<34}{row['entries']:10}{row['seconds']:9.3f}{row['mebibytes']:7.2f}")
    print(f"\n{'a subject of the Poisson sample':34}{'ns':>10}{'ratio':>9}")
    for row in report["coins"]:
        print(f"{row['name']:34}{row['ns']:10.1f}{row['ratio']:9.2f}")
    print(f"\nLoRA, every layer, {RECORDS} records, d = {report['step']['dimension']}: ", end="")
    print(f"{report['step']['milliseconds']:.0f} ms; noise and coins {report['step']['share']:.2%} of it")
    if given.json:
        given.json.write_text(json.dumps(report, indent=2) + "\n", "utf-8")


def draws(rounds: int, count: int) -> list[Row]:
    """Nanoseconds a draw: the floor, what others draw, and ours for several deviations (tables built before)."""
    import opendp.prelude as dp

    dp.enable_features("contrib")
    space = dp.vector_domain(dp.atom_domain(T=int)), dp.l2_distance(T=float)
    opendp = dp.m.make_gaussian(*space, scale=float(DEVIATIONS[2]))
    stream, reference = SecretStream(), torch.zeros(count, dtype=torch.float64)
    numpy_bits = np.random.default_rng()
    ways: dict[str, tuple[int, Callable[[], object]]] = {
        "torch.normal, float64": (count, lambda: torch.normal(0.0, 1.0, (count,), dtype=torch.float64)),
        "torch.normal, float32": (count, lambda: torch.normal(0.0, 1.0, (count,))),
        "numpy standard_normal": (count, lambda: numpy_bits.standard_normal(count)),
        "Opacus, sum of four": (count, lambda: _generate_noise(1.0, reference, secure_mode=True)),
        "os.urandom, 8 bytes": (count, lambda: os.urandom(8 * count)),
        "ChaCha20, 8 bytes": (count, lambda: stream.bytes(8 * count)),
        "OpenDP discrete Gaussian": (OPENDP_DRAWS, lambda: opendp([0] * OPENDP_DRAWS)),
    }
    for deviation in DEVIATIONS:
        ours = DiscreteGaussian(deviation**2)
        ways[f"ours, s = {deviation}"] = (count, lambda ours=ours: ours.sample(stream, count))
    return compared(ways, rounds, against="torch.normal, float64")


def tables(rounds: int) -> list[Row]:
    """Building one table (once a process and variance) and what it holds."""
    rows = []
    for deviation in DEVIATIONS:
        seconds = []
        for _ in range(min(rounds, 3)):
            gaussian._build.cache_clear()
            started = time.process_time()
            built = gaussian._build(deviation**2)
            seconds.append(time.process_time() - started)
        gaussian._build.cache_clear()
        tracemalloc.start()
        gaussian._build(deviation**2)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        rows.append(
            {
                "deviation": deviation,
                "entries": len(built.upper),
                "seconds": float(np.median(seconds)),
                "mebibytes": (built.upper.nbytes + built.lower.nbytes) / 2**20,
                "mebibytes_while_building": peak / 2**20,
            }
        )
    return rows


def coins(rounds: int) -> list[Row]:
    """Nanoseconds a subject. A site gives every subject a stream of its own, so that nobody's coin moves another's."""
    stream, numpy_bits = SecretStream(), np.random.default_rng()
    names = [f"subject-{number}".encode() for number in range(SUBJECTS // 100)]
    rate = float(RATE)
    ways: dict[str, tuple[int, Callable[[], object]]] = {
        "torch.rand (Opacus' sampler)": (SUBJECTS, lambda: torch.rand(SUBJECTS) < rate),
        "numpy random": (SUBJECTS, lambda: numpy_bits.random(SUBJECTS) < rate),
        "ours, one stream": (SUBJECTS, lambda: poisson_sample(stream, SUBJECTS, RATE)),
        "ours, a stream for each": (
            len(names),
            lambda: [poisson_sample(stream.derive(name), 1, RATE) for name in names],
        ),
    }
    return compared(ways, rounds, against="torch.rand (Opacus' sampler)")


def step(rounds: int) -> Row:
    """Per-record gradients of LoRA in every layer, and beside them the noise and the coins of the same step."""
    reviews = FoodReviews.load()
    task = LoraTask(Features(reviews.base_model).encoder(), FULL)
    texts = [record.text for of in reviews.sites["kohi"].records.values() for record in of][:RECORDS]
    rows, labels, vector = task.load(texts), np.zeros(RECORDS), task.initial()
    ours, stream = DiscreteGaussian(DEVIATIONS[-1] ** 2), SecretStream()
    names = [f"subject-{number}".encode() for number in range(RECORDS)]

    def drawn() -> None:
        for name in names:
            poisson_sample(stream.derive(name), 1, RATE)
        ours.sample(stream, task.dimension)

    ways: dict[str, tuple[int, Callable[[], object]]] = {
        "gradients": (1, lambda: task.gradients(rows, labels, vector)),
        "noise and coins": (1, drawn),
    }
    gradients, noise = compared(ways, rounds, against="gradients")
    return {
        "records": RECORDS,
        "dimension": task.dimension,
        "milliseconds": gradients["ns"] / 1e6,
        "milliseconds_drawing": noise["ns"] / 1e6,
        "share": noise["ratio"],
        "within": noise["ratio"] <= PROMISED,
    }


def compared(ways: Mapping[str, tuple[int, Callable[[], object]]], rounds: int, *, against: str) -> list[Row]:
    """Each way's median nanoseconds a unit, and the median over rounds of its ratio to ``against`` in that round."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _, run in ways.values():
        run()  # tables, kernels and caches are there before anything counts
    for number in range(rounds):
        gc.collect()
        for name, (units, run) in ways.items():
            started = time.process_time_ns()
            run()
            found[name].append((time.process_time_ns() - started) / units)
        print(f"# round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    base = np.array(found[against])
    return [
        {"name": name, "ns": float(np.median(each)), "ratio": float(np.median(np.array(each) / base))}
        for name, each in found.items()
    ]


if __name__ == "__main__":
    main()
