"""How good is a classifier that five makers train under a bound for each customer, and what would others reach?

    python benchmarks/utility.py [--json FILE] [--methods probe,lora] [--epsilons 1,3,8] [--seeds 5] [--precision 0.001]

Subject-level ε, the settings of the example's study.yaml with nothing changed but ε, AUC on the public test reviews
over seeds of the secret streams. Ways, by whose code and with how much noise (K makers, T of them assumed to look on):

    shared   the product: every maker adds its share, K/(K − T) times the variance that its customers need
    opacus   all reviews on one pile, DP-SGD by Opacus (pooled_opacus.py, none of our code), with as much noise
    curator  the same with T = 0: a trusted party that sees every review
    own      the same with K times the variance: every maker adds all the noise itself
    none     the same clipped and without noise

For the probe the first two are run until the standard error of the difference of their means is at most
``--precision``, and in a few pairs that are given the same noise, so that luck is left out; adapters are run
``--seeds`` times, shared noise only. A method that is not measured keeps the rows that FILE has of it.
What there is without a foundation model or by one maker alone, and the curve over 10, 30 and 100 % of the data, were
measured by examples/food-quality/baselines.py; the JSON takes its figures in.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sekisho.benchmarks import pooled_opacus
from sekisho.benchmarks.food_reviews import EXAMPLE, FoodReviews
from sekisho.benchmarks.simulation import train
from sekisho.core.methods import Method
from sekisho.core.training.evaluation import Metrics, evaluate
from sekisho.core.training.features import Features
from sekisho.core.training.tasks import Tasks

LEAST_RUNS = 16  # below it the standard error itself is too uncertain to stop by
MOST_RUNS = 400
ROUND = 8  # runs between two looks at the standard error
OPACUS_RUNS = 2  # for each of ours: with a run at a fifth of the time this is the quickest way to the precision
BESIDE_RUNS = 32  # of what is shown, not compared
PAIRS = 8  # of runs with the same noise, whose difference hardly varies
PROMISED = 0.005  # AUC between shared noise and Opacus on one pile (issue 5)

Row = dict[str, Any]


@dataclass
class Way:
    """One way at one ε: ``run(seed)`` gives its metrics; what was found so far."""

    name: str
    run: Callable[[int], Metrics]
    about: Row = field(default_factory=dict)
    found: list[Metrics] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def reach(self, runs: int) -> None:
        """Run seeds 0, 1, … until there are ``runs`` of them."""
        for seed in range(len(self.found), runs):
            started = time.process_time()
            self.found.append(self.run(seed))
            self.seconds.append(time.process_time() - started)

    @property
    def aucs(self) -> NDArray[np.float64]:
        """AUC of every run."""
        return np.array([one.auc for one in self.found])

    def row(self, method: str, epsilon: str | None) -> Row:
        """As the JSON has it; ``auc`` is the median, as it always was."""
        aucs = self.aucs
        spread = float(aucs.std(ddof=1)) if len(aucs) > 1 else None
        return {
            "method": method,
            "way": self.name,
            "epsilon": epsilon,
            "seeds": len(aucs),
            "auc": float(np.median(aucs)),
            "auc_mean": float(aucs.mean()),
            "auc_deviation": spread,
            "auc_worst": float(aucs.min()),
            "auc_best": float(aucs.max()),
            "accuracy": float(np.median([one.accuracy for one in self.found])),
            "seconds": float(np.median(self.seconds)),
        } | self.about


class Bench:
    """One method's rows and, for the probe, how far Opacus is from them."""

    def __init__(self, reviews: FoodReviews, method: str) -> None:
        self.reviews, self.method = reviews, method
        self.settings = reviews.study.settings(method)
        self.tasks = Tasks(reviews.base_model, reviews.study.methods.values(), Features(reviews.base_model))
        self.task = self.tasks.of(self.settings)
        self.data = reviews.data(self.task)
        self.tried = self.task.load(reviews.test.texts)

    def shared(self, epsilon: str) -> Way:
        """The product's training, clipping, rounding, noise shares and optimiser."""
        own = self.settings.model_copy(update={"epsilon": Decimal(epsilon)})
        plan = self.reviews.federation.plan(own, self.tasks.dimension(own))
        cohort = plan.sites
        about = {
            "noise": math.sqrt(cohort * plan.share_variance(cohort)) / plan.grid,
            "parameters": plan.dimension,
            "preset": plan.preset,
            "settings": own.model_dump(mode="json"),
        }

        def run(seed: int) -> Metrics:
            return self.scored(train(self.data, own, plan, self.tasks, seed=seed))

        return Way("shared", run, about)

    def noiseless(self) -> Way:
        """The product without noise: what clipping, rounding and the number of steps leave."""
        plan = self.reviews.federation.plan(self.settings, self.tasks.dimension(self.settings))

        def run(seed: int) -> Metrics:
            return self.scored(train(self.data, self.settings, plan, self.tasks, seed=seed, noise=0.0))

        return Way("none, product", run, {"noise": 0.0})

    def pooled(self, name: str, noise: float) -> Way:
        """Opacus on one pile with this noise, in multiples of C."""
        recipe = recipe_of(self.settings, self.reviews, noise)
        subjects = self.subjects()

        def run(seed: int) -> Metrics:
            weights, bias = pooled_opacus.train(subjects, recipe, seed=seed)
            return self.scored(np.append(weights, bias))

        return Way(name, run, {"noise": noise})

    def pairs(self, epsilon: str) -> Row:
        """Product minus Opacus when both are given the same Gaussian noise: the recipes alone, without the luck.

        Whether the product's own noise has that law is for tests/privacy/test_sampler_statistics.py.
        """
        own = self.settings.model_copy(update={"epsilon": Decimal(epsilon)})
        plan = self.reviews.federation.plan(own, self.tasks.dimension(own))
        noise = math.sqrt(plan.sites * plan.share_variance(plan.sites)) / plan.grid
        scale, subjects = noise * float(own.clipping_norm), self.subjects()
        apart = []
        for seed in range(PAIRS):
            ours = train(self.data, own, plan, self.tasks, seed=seed, noise=noise)
            given = (np.random.default_rng([seed, step]) for step in range(1, own.steps + 1))  # as simulation.py draws
            same = (drawn.normal(scale=scale, size=plan.dimension) for drawn in given)
            theirs = pooled_opacus.train(subjects, recipe_of(own, self.reviews, noise), seed=seed, given=same)
            apart.append(self.scored(ours).auc - self.scored(np.append(*theirs)).auc)
        deviation = float(np.std(apart, ddof=1) / math.sqrt(PAIRS))
        return {"pairs": PAIRS, "mean": float(np.mean(apart)), "error": deviation}

    def subjects(self) -> list[pooled_opacus.Subject]:
        """Every maker's subjects on one pile."""
        return [
            (np.asarray(one.rows)[places], one.labels[places]) for one in self.data for places in one.rows_of.values()
        ]

    def scored(self, vector: NDArray[np.float64]) -> Metrics:
        """Metrics on the test reviews."""
        return evaluate(self.task.scores(self.tried, vector), self.reviews.positive)

    def probe(self, epsilon: str, precision: float) -> Iterator[tuple[list[Row], Row]]:
        """The rows of one ε and the difference between shared noise and Opacus, anew after every few runs."""
        federation, settings = self.reviews.federation, self.settings
        sites, paid = len(federation.subjects), settings.steps + settings.allowance
        noise = pooled_opacus.noise_multiplier(float(epsilon), float(settings.delta), paid)
        shared = self.shared(epsilon)
        opacus = self.pooled("opacus", noise * math.sqrt(sites / (sites - federation.observers)))
        beside = [self.pooled("curator", noise), self.pooled("own", noise * math.sqrt(sites))]
        for way in beside:
            way.reach(BESIDE_RUNS)
        same_noise = self.pairs(epsilon)
        while len(shared.found) < LEAST_RUNS or (
            error(shared.aucs, opacus.aucs) > precision and len(shared.found) < MOST_RUNS
        ):
            shared.reach(len(shared.found) + ROUND)
            opacus.reach(OPACUS_RUNS * len(shared.found))
            apart = difference(shared, opacus, epsilon) | {"same_noise": same_noise}
            print(
                f"# probe ε={epsilon}: {len(shared.found)} runs, {apart['mean']:+.4f} ± {apart['error']:.4f}",
                flush=True,
            )
            yield [way.row("probe", epsilon) for way in (shared, opacus, *beside)], apart

    def adapters(self, epsilon: str, seeds: int) -> list[Row]:
        """Shared noise alone: a run takes minutes."""
        way = self.shared(epsilon)
        for seed in range(seeds):
            way.reach(seed + 1)
            print(f"# {self.method} ε={epsilon} seed {seed}: AUC {way.aucs[-1]:.4f}", flush=True)
        return [way.row(self.method, epsilon)]


def main() -> None:
    """Measure, print a table, and write the same as JSON."""
    options = argparse.ArgumentParser(description="Utility under privacy, on the example's reviews.")
    options.add_argument("--json", type=Path)
    options.add_argument("--methods", default="probe,lora")
    options.add_argument("--epsilons", default="1,3,8")
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--precision", type=float, default=0.001)
    given = options.parse_args()
    before = json.loads(given.json.read_text("utf-8")) if given.json and given.json.exists() else {"rows": []}
    methods, epsilons = given.methods.split(","), given.epsilons.split(",")
    reviews = FoodReviews.load()
    rows: list[Row] = [row for row in before["rows"] if row["method"] not in methods]
    differences: list[Row] = [] if "probe" in methods else before.get("differences", [])
    for method in methods:
        bench = Bench(reviews, method)
        if bench.settings.adapter is None:
            for way in (bench.noiseless(), bench.pooled("none", 0.0)):
                way.reach(1)
                rows.append(way.row(method, None))
        for epsilon in epsilons:
            found: list[Row] = []
            apart: list[Row] = []
            if bench.settings.adapter is not None:
                found = bench.adapters(epsilon, given.seeds)
            else:
                for found, one in bench.probe(epsilon, given.precision):
                    apart = [one]
                    write(given.json, rows + found, differences + apart)  # outlives a run that is stopped
            rows, differences = rows + found, differences + apart
    write(given.json, rows, differences)
    show(rows, differences)


def write(file: Path | None, rows: Sequence[Row], differences: Sequence[Row]) -> None:
    """The rows with the example's baselines, as JSON, if a file was asked for."""
    if file is None:
        return
    before = json.loads((EXAMPLE / "baselines.json").read_text("utf-8"))
    report = {"rows": rows, "differences": differences, "baselines": before["rows"], "curve": before["curve"]}
    file.write_text(json.dumps(report, ensure_ascii=False, indent=2) + "\n", "utf-8")


def show(rows: Sequence[Row], differences: Sequence[Row]) -> None:
    """The table and the differences, as text."""
    print(f"{'method':8}{'way':15}{'ε':>5}{'runs':>6}{'median':>9}{'mean':>8}{'worst':>8}{'best':>8}{'s/run':>8}")
    for row in rows:
        mean = "–" if row["auc_mean"] is None else f"{row['auc_mean']:.4f}"
        print(
            f"{row['method']:8}{row['way']:15}{row['epsilon'] or '–':>5}{row['seeds']:6}{row['auc']:9.4f}{mean:>8}"
            f"{row['auc_worst']:8.3f}{row['auc_best']:8.3f}{row['seconds']:8.1f}"
        )
    for apart in differences:
        interval = f"{apart['mean']:+.4f} ({apart['low']:+.4f} to {apart['high']:+.4f})"
        verdict = f"{'within' if apart['within'] else 'NOT within'} {PROMISED}"
        print(f"ε = {apart['epsilon']}: shared − opacus {interval}; medians {apart['median']:+.4f}; {verdict}")
        if same := apart["same_noise"]:
            print(f"    with the same noise, {same['pairs']} pairs: {same['mean']:+.5f} ± {same['error']:.5f}")


def recipe_of(settings: Method, reviews: FoodReviews, noise: float) -> pooled_opacus.Recipe:
    """The study's figures in the words of the other implementation; its noise comes from its own calibration."""
    return pooled_opacus.Recipe(
        steps=settings.steps,
        clipping_norm=float(settings.clipping_norm),
        noise=noise,
        learning_rate=float(settings.learning_rate),
        momentum=float(settings.momentum),
        expected=sum(reviews.federation.subjects),
        most_records=reviews.federation.records_per_subject,
    )


def error(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Standard error of the difference of two independent means."""
    return math.sqrt(one.var(ddof=1) / len(one) + other.var(ddof=1) / len(other))


def difference(shared: Way, opacus: Way, epsilon: str) -> Row:
    """Shared noise minus Opacus: of the means with its 95 % interval by Welch, and of the medians.

    ``within``: the whole interval lies inside ±PROMISED, not merely the estimate.
    """
    bounds = stats.ttest_ind(shared.aucs, opacus.aucs, equal_var=False).confidence_interval(0.95)
    return {
        "epsilon": epsilon,
        "mean": float(shared.aucs.mean() - opacus.aucs.mean()),
        "low": float(bounds.low),
        "high": float(bounds.high),
        "error": error(shared.aucs, opacus.aucs),
        "median": float(np.median(shared.aucs) - np.median(opacus.aucs)),
        "within": bool(max(-bounds.low, bounds.high) < PROMISED),
    }


if __name__ == "__main__":
    main()
