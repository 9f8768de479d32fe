"""How good is a classifier that five makers train under a bound for each customer? Probe and adapters at ε = 1, 3, 8.

    python benchmarks/utility.py [--json FILE] [--seeds 5] [--epsilons 1,3,8]

Subject-level ε, noise shared by the five makers with one of them assumed to look on, the settings of the example's
study.yaml with nothing changed but ε. Figures are medians over seeds of the secret streams, on the public test reviews;
what each row was made with stands beside it. What there is without a bound, without a foundation model or by one maker
alone, and the curve over 10, 30 and 100 % of the data, were measured by examples/food-quality/baselines.py; the JSON
takes its figures in.
"""

from __future__ import annotations

import argparse
import json
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from sekisho.benchmarks.food_reviews import EXAMPLE, FoodReviews
from sekisho.benchmarks.simulation import train
from sekisho.core.training.evaluation import evaluate
from sekisho.core.training.features import Features
from sekisho.core.training.tasks import Tasks


def main() -> None:
    """Measure, print a table, and write the same as JSON."""
    options = argparse.ArgumentParser(description="Utility under privacy, on the example's reviews.")
    options.add_argument("--json", type=Path)
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--epsilons", default="1,3,8")
    given = options.parse_args()
    reviews = FoodReviews.load()
    rows = []
    for method in reviews.study.methods:
        rows += measured(reviews, method, given.epsilons.split(","), given.seeds)
    print(f"{'method':8}{'ε':>5}{'AUC':>8}{'worst':>8}{'best':>8}{'accuracy':>10}{'s/run':>8}")
    for row in rows:
        print(
            f"{row['method']:8}{row['epsilon']:>5}{row['auc']:8.3f}{row['auc_worst']:8.3f}{row['auc_best']:8.3f}"
            f"{row['accuracy']:10.3f}{row['seconds']:8.1f}"
        )
    if given.json:
        measured_before = json.loads((EXAMPLE / "baselines.json").read_text("utf-8"))
        report = {"rows": rows, "baselines": measured_before["rows"], "curve": measured_before["curve"]}
        given.json.write_text(json.dumps(report, ensure_ascii=False, indent=2) + "\n", "utf-8")


def measured(reviews: FoodReviews, method: str, epsilons: list[str], seeds: int) -> list[dict[str, Any]]:
    """One row for each ε: the median, worst and best of ``seeds`` runs, and the settings they were made with."""
    tasks = Tasks(reviews.base_model, reviews.study.methods.values(), Features(reviews.base_model))
    settings = reviews.study.settings(method)
    task = tasks.of(settings)
    data, tried = reviews.data(task), task.load(reviews.test.texts)
    rows = []
    for epsilon in epsilons:
        own = settings.model_copy(update={"epsilon": Decimal(epsilon)})
        plan = reviews.federation.plan(own, tasks.dimension(own))
        found, seconds = [], []
        for seed in range(seeds):
            started = time.process_time()
            vector = train(data, own, plan, tasks, seed=seed)
            seconds.append(time.process_time() - started)
            found.append(evaluate(task.scores(tried, vector), reviews.positive))
            print(f"# {method} ε={epsilon} seed {seed}: AUC {found[-1].auc:.4f}", flush=True)
        aucs = [one.auc for one in found]
        rows.append(
            {
                "method": method,
                "epsilon": epsilon,
                "seeds": seeds,
                "auc": float(np.median(aucs)),
                "auc_worst": min(aucs),
                "auc_best": max(aucs),
                "accuracy": float(np.median([one.accuracy for one in found])),
                "seconds": float(np.median(seconds)),
                "parameters": plan.dimension,
                "preset": plan.preset,
                "settings": own.model_dump(mode="json"),
            }
        )
    return rows


if __name__ == "__main__":
    main()
