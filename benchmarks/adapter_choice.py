"""Where an adapter should lie, and how large it should be: tried on public film reviews, never on the example's.

    python benchmarks/adapter_choice.py RATED [--json FILE] [--epsilons 3,8] [--seeds 2]

RATED is ``movieReviewSnippets_GroundTruth.txt`` of the data published with Hutto and Gilbert, "VADER", ICWSM 2014 (it
travels, for instance, in the source distribution of vaderSentiment 2.5): id, rating and sentence, separated by tabs. Of
5,000 sentences 4,000 train and 1,000 are scored; 1,677 made-up authors with one to six sentences each are dealt to five
sites. What was found is in docs/adr/0009-linearised-adapters.md.
"""

from __future__ import annotations

import argparse
import json
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from sekisho.benchmarks.food_reviews import EXAMPLE
from sekisho.benchmarks.simulation import Federation, train
from sekisho.core.data.dataset import Dataset, Record
from sekisho.core.data.intake import inspect, locate
from sekisho.core.methods import Method
from sekisho.core.study import Study
from sekisho.core.training.evaluation import auc_with_interval
from sekisho.core.training.features import Features
from sekisho.core.training.tasks import Tasks
from sekisho.core.training.training import load_training_data

SITES, TRAIN, SCORED = 5, 4000, 1000
LABELS = ("negative", "positive")
SENTENCES_SHARE = (0.40, 0.24, 0.14, 0.10, 0.07, 0.05)  # of authors with one to six sentences, as in the example
VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"freeze_a": False},
    {"alpha": 2},
    {"alpha": 8},
    {"layers": (1,)},
    {"layers": (2, 1), "targets": ("query", "value"), "rank": 8, "alpha": 6},
)


def main() -> None:
    """Train every variant on every ε, print a table, and write the same as JSON."""
    options = argparse.ArgumentParser(description="Adapter settings on a public proxy.")
    options.add_argument("rated", type=Path)
    options.add_argument("--json", type=Path)
    options.add_argument("--epsilons", default="3,8")
    options.add_argument("--seeds", type=int, default=2)
    given = options.parse_args()
    study = Study.parse((EXAMPLE / "study.yaml").read_bytes(), "study.yaml")
    tried = [("probe", study.settings("probe"))]
    for changed in VARIANTS:
        tried.append((str(changed or "as in the example"), changed_adapter(study.settings("lora"), changed)))
    sites, texts, positive = proxy(given.rated)
    base_model = inspect(locate(study.base_model, EXAMPLE))
    federation = Federation((340,) * SITES, study.minimum_sites, study.observers, study.records_per_subject)
    rows = []
    for name, settings in tried:
        tasks = Tasks(base_model, [settings], Features(base_model))
        task = tasks.of(settings)
        data = [load_training_data(site, site.subjects, LABELS, task) for site in sites]
        scored = task.load(texts)
        for epsilon in given.epsilons.split(","):
            own = changed_method(settings, epsilon)
            plan = federation.plan(own, tasks.dimension(own))
            aucs = []
            for seed in range(given.seeds):
                scores = task.scores(scored, train(data, own, plan, tasks, seed=seed))
                aucs.append(auc_with_interval(scores[positive], scores[~positive])[0])
            rows.append({"settings": name, "epsilon": epsilon, "auc": float(np.median(aucs)), "seeds": given.seeds})
            print(f"{name:60} ε={epsilon:3} AUC {rows[-1]['auc']:.4f}", flush=True)
    if given.json:
        given.json.write_text(json.dumps({"rows": rows}, indent=2) + "\n", "utf-8")


def changed_adapter(settings: Method, changed: dict[str, Any]) -> Method:
    """The method with some settings of its adapter exchanged."""
    assert settings.adapter is not None
    return settings.model_copy(update={"adapter": settings.adapter.model_copy(update=changed)})


def changed_method(settings: Method, epsilon: str) -> Method:
    """The method at another ε."""
    return settings.model_copy(update={"epsilon": Decimal(epsilon)})


def proxy(rated: Path) -> tuple[list[Dataset], list[str], np.ndarray]:
    """Five sites' sentences by author, the sentences that are scored, and which of those are positive."""
    lines = [line.split("\t") for line in rated.read_text("utf-8", errors="replace").splitlines()]
    rows = [(cells[2].strip(), float(cells[1]) > 0) for cells in lines if len(cells) == 3]
    drawn = np.random.default_rng(0)
    chosen = [rows[place] for place in drawn.permutation(len(rows))[: TRAIN + SCORED]]
    sites: list[dict[str, list[Record]]] = [{} for _ in range(SITES)]
    drawn, author, left = np.random.default_rng(0), -1, 0
    for number, (text, good) in enumerate(chosen[:TRAIN]):
        if left == 0:
            author, left = author + 1, int(drawn.choice(len(SENTENCES_SHARE), p=SENTENCES_SHARE)) + 1
        left -= 1
        name = f"author-{author:05d}"
        sites[author % SITES].setdefault(name, []).append(Record(f"{number:05d}", name, text, LABELS[good]))
    datasets = [Dataset(MappingProxyType({name: tuple(own) for name, own in sorted(site.items())})) for site in sites]
    return datasets, [text for text, _ in chosen[TRAIN:]], np.array([good for _, good in chosen[TRAIN:]])


if __name__ == "__main__":
    main()
