"""What one hostile maker of five does to the example's study, and what the counts of held-out customers do about it.

    python benchmarks/poisoning.py [--json FILE] [--repeat 3] [--real | --paired] [--rows "clean;any vector"]

The example's probe, its mathematics alone (poisoned_simulation.py); with ``--real`` whole runs: papers, encryption,
ledgers, gates, where the hostile maker is a real site with real keys that lies before its own gate
(tests/federation/poisoner.py). It lies in the last block of the run, so that no later step repairs what it did:

    labels      it trains on its own reviews with every label the other way round
    vector      it seals a vector of its choice, as long as all customers together could be, away from what was learnt:
                scores shrink and shift, so that labels are lost rather than the order
    any vector  as long, in some direction that has nothing to do with the data, another one in each run
    quiet       the same, so short that a block is not surely pushed too far by it (core/training/movement.py)
    shift down  as long, all scores alike: no order changes, and everybody is called dissatisfied
    shift up    the same the other way: everybody is called satisfied, which two thirds of them are
    persistent  the same vector in every step from the second block on

Each is run as the study is signed, and with the section ``validation`` taken out: then nobody is held out, and what the
makers send is applied as it is. ``clean`` is nobody hostile; ``before`` has no validation and an allowance of five, the
study as it was. AUC is that of the state that the makers hold in the end, on the public test reviews; two runs of one
row differ by the noise alone. A run with no validation is what a user of any federated learning without it would get.

With ``--paired`` the whole runs of one turn draw the same noise (same_chance.py): then what a row's AUC differs by from
that of the turn's clean row is what the hostile maker did, and beside it stands how many test reviews were called
rightly in one of the two runs alone.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sekisho.benchmarks.food_reviews import FoodReviews
from sekisho.benchmarks.poisoned_simulation import NOBODY, Hostile, scenarios, simulate
from sekisho.core.data.dataset import TestSet
from sekisho.core.data.intake import inspect, locate
from sekisho.core.errors import Refused
from sekisho.core.pilot.federation import Federation
from sekisho.core.pilot.scores import read_test_set
from sekisho.core.site.papers import read_study
from sekisho.core.training.evaluation import THRESHOLD, evaluate
from sekisho.core.training.features import Features
from sekisho.core.training.task import TextProbe
from sekisho.core.training.tasks import Tasks
from sekisho.tests.federation.books import entries
from sekisho.tests.federation.poisoner import Lie, anywhere, backwards, flip_labels, shifted, turn
from sekisho.tests.federation.same_chance import same_chance

EXAMPLE = Path(__file__).parents[1] / "examples" / "food-quality"
HOSTILE = "shokuhin"  # the largest maker: 450 of 1,650 declared customers
LONGEST = 0.9  # of what a sum may be, so that no bound shows it
QUIET = 0.05  # of the same: what passes in the last block of the example; at 0.065 nothing did
PERSISTENT = backwards(LONGEST)
NEAR = 0.02  # of AUC: as good as a run in which nobody is hostile


def lies(seed: int) -> dict[str, Lie]:
    """By name; ``seed`` chooses what is any direction."""
    return {
        "vector": backwards(LONGEST),
        "any vector": anywhere(LONGEST, seed),
        "quiet": anywhere(QUIET, seed),
        "shift down": shifted(LONGEST),
        "shift up": shifted(-LONGEST),
    }


class Remembered:
    """The example's features, computed once for all runs of this process."""

    def __init__(self, features: Features) -> None:
        self._features = features
        self._rows: dict[str, NDArray[np.float64]] = {}
        self.width = features.width

    def of(self, texts: Iterable[str]) -> NDArray[np.float64]:
        asked = list(texts)
        new = [text for text in dict.fromkeys(asked) if text not in self._rows]
        if new:
            self._rows |= dict(zip(new, self._features.of(new), strict=True))
        return np.array([self._rows[text] for text in asked]).reshape(-1, self.width)


def study_in(folder: Path, *, validation: bool, allowance: int | None = None) -> Path:
    """A copy of the example with nothing spent, signed again by its own script where the study is another."""
    copy = folder / "food-quality"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("state", "stops", "__pycache__"))
    path = copy / "study.yaml"
    text = path.read_text("utf-8")
    if not validation:
        text = re.sub(r"\nvalidation:\n(  .*\n)+", "\n", text)
    if allowance is not None:
        text = re.sub(r"allowance: \d+", f"allowance: {allowance}", text)
    if text != path.read_text("utf-8"):
        path.write_text(text, "utf-8")
        spec = importlib.util.spec_from_file_location("prepare_copy", copy / "prepare.py")
        assert spec is not None and spec.loader is not None
        prepare = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(prepare)
        prepare.sign_everything()
    return copy


def run(
    hostile: Callable[[Federation], None], features: Remembered, *, validation: bool, allowance: int | None = None
) -> dict[str, Any]:
    """One run of the probe: how it ended, what was judged, and how good the state is that the makers hold."""
    began = time.process_time()
    with tempfile.TemporaryDirectory() as temporary:
        study = study_in(Path(temporary), validation=validation, allowance=allowance)
        federation = Federation.open(study, features=features)
        try:
            hostile(federation)
            ended = "finished"
            try:
                federation.run("probe", run="probe-benchmark")
            except Refused as refused:
                ended = refused.code
            found = _found(federation, read_test_set(study, federation.study))
        finally:
            federation.close()
    return {"ended": ended, **found, "cpu_seconds": round(time.process_time() - began, 1)}


def _found(federation: Federation, test: TestSet) -> dict[str, Any]:
    site = federation.sites[min(federation.sites)]
    state = site.state
    assert state is not None
    task = federation.tasks.of(federation.study.settings("probe"))
    scores = task.scores(task.load(test.texts), state.optimizer.vector)
    positive = test.positive(federation.study.labels[1])
    metrics = evaluate(scores, positive)
    return {
        "called": (scores > THRESHOLD) == positive,
        "auc": round(metrics.auc, 4),
        "accuracy": round(metrics.accuracy, 4),
        "completed": state.completed,
        "steps": state.step,
        "rolled_back": sum(part.outcome == "rolled-back" for part in state.history),
        "counts": [
            {
                "after_step": part.after_step,
                "right": part.right,
                "low": part.low,
                "high": part.high,
                "labels": part.labels,
                "accepted": part.accepted,
                "reasons": entry["data"]["reasons"],
            }
            for part, entry in zip(
                state.validations, entries(federation, min(federation.sites), "validation.opened"), strict=True
            )
        ],
        "agree": len({one.state.optimizer.digest() for one in federation.sites.values() if one.state}) == 1,
    }


def rows(
    features: Remembered, first: int, last: int, seed: int, wanted: Callable[[str], bool], *, paired: bool
) -> Iterable[tuple[str, dict[str, Any]]]:
    """Every row of the table that is ``wanted``; steps ``first`` to ``last`` are the last block."""
    block = range(first, last + 1)
    every = last - first + 1

    def nobody(federation: Federation) -> None:
        return

    def labels(federation: Federation) -> None:
        flip_labels(federation, HOSTILE, block)

    def lying(lie: Lie, steps: range) -> Callable[[Federation], None]:
        return lambda federation: turn(federation, HOSTILE, lie, steps)

    hostiles = {
        "clean": nobody,
        "labels": labels,
        **{name: lying(lie, block) for name, lie in lies(seed).items()},
        "persistent": lying(PERSISTENT, range(every + 1, 10_000)),
    }
    if wanted("before") and not paired:
        yield "before", run(nobody, features, validation=False, allowance=5)
    for name, hostile in hostiles.items():
        for judged in (True, False):
            row = f"{name}, {'judged' if judged else 'not judged'}"
            if wanted(row):
                with same_chance(seed) if paired else contextlib.nullcontext():
                    found = run(hostile, features, validation=judged)
                yield row, found


def simulated(
    features: Remembered, first: int, last: int, seed: int, wanted: Callable[[str], bool]
) -> Iterable[tuple[str, dict[str, Any]]]:
    """The same rows without the protocol."""
    reviews = FoodReviews.load()
    tasks = Tasks(reviews.base_model, reviews.study.methods.values(), features)
    task, place = TextProbe(features), list(reviews.study.sites).index(HOSTILE)

    def one(hostile: Hostile, *, judged: bool, allowance: int) -> dict[str, Any]:
        began = time.process_time()
        found = simulate(reviews, task, tasks, hostile, judged=judged, allowance=allowance, seed=seed)
        return {
            "auc": round(found.auc, 4),
            "accuracy": round(found.accuracy, 4),
            "completed": found.completed,
            "steps": found.step,
            "rolled_back": found.step - found.completed,
            "ended": found.name,
            "rejected": found.rejected,
            "counts": [],
            "cpu_seconds": round(time.process_time() - began, 1),
        }

    allowance = reviews.study.methods["probe"].allowance
    if wanted("before"):
        yield "before", one(NOBODY, judged=False, allowance=5)
    for name, hostile in scenarios(place, last - first + 1, last, lies(seed), PERSISTENT).items():
        for judged in (True, False):
            row = f"{name}, {'judged' if judged else 'not judged'}"
            if wanted(row):
                yield row, one(hostile, judged=judged, allowance=allowance)


def beside_clean(found: dict[str, Any], clean: dict[str, Any]) -> dict[str, Any]:
    """What the hostile maker did to the run, where both drew the same chance."""
    lost = int((clean["called"] & ~found["called"]).sum())
    gained = int((found["called"] & ~clean["called"]).sum())
    return {"auc": round(found["auc"] - clean["auc"], 4), "lost": lost, "gained": gained}


def _told_beside_clean(found: list[dict[str, Any]]) -> str:
    apart = [one["beside_clean"]["auc"] for one in found]
    near = sum(abs(auc) <= NEAR for auc in apart)
    lost = sum(one["beside_clean"]["lost"] - one["beside_clean"]["gained"] for one in found) / len(found)
    undone = sum(one["rolled_back"] > 0 for one in found)
    return (
        f"AUC {min(apart):+.3f} to {max(apart):+.3f} beside clean, {statistics.mean(apart):+.3f} on average; within "
        f"{NEAR}: {near} of {len(found)}; test reviews called rightly: {-lost:+.0f} on average; rolled back: {undone}"
    )


def told(results: dict[str, list[dict[str, Any]]]) -> Iterable[str]:
    """For each row, how many runs ended near clean ones that were judged alike, and how many undid a block.

    Near is what is within ``NEAR`` of the clean run of the same chance, or of the median of all clean runs.
    """
    for name, found in results.items():
        clean = results.get(f"clean, {name.partition(', ')[2]}")
        if clean is None:
            continue
        if "beside_clean" in found[0]:
            yield f"{name:24} {_told_beside_clean(found)}"
            continue
        aucs, usual = [one["auc"] for one in found], statistics.median(one["auc"] for one in clean)
        near = sum(abs(auc - usual) <= NEAR for auc in aucs)
        undone = sum(one["rolled_back"] > 0 for one in found)
        yield (
            f"{name:24} AUC {min(aucs):.3f} to {max(aucs):.3f}; within {NEAR} of {usual:.3f}: {near} of {len(aucs)}; "
            f"rolled back: {undone}"
        )


def main() -> None:
    """Print the table as rows come, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--repeat", type=int, default=3, help="runs of each row")
    parser.add_argument("--real", action="store_true", help="whole runs instead of their mathematics")
    parser.add_argument("--paired", action="store_true", help="whole runs, those of one turn with the same noise")
    parser.add_argument("--first-seed", type=int, default=1, help="that of the first turn")
    parser.add_argument("--rows", default="", help="only these, with ; between; a name alone is both of its rows")
    given = parser.parse_args()
    study = read_study(EXAMPLE)
    features = Remembered(Features(inspect(locate(study.base_model, EXAMPLE))))
    assert study.validation is not None
    last = study.methods["probe"].steps
    first = last - study.validation.every + 1
    results: dict[str, list[dict[str, Any]]] = {}
    names = [name.strip() for name in given.rows.split(";")] if given.rows else []

    def wanted(row: str) -> bool:
        name = row.partition(",")[0]
        return not names or row in names or name in names or (given.paired and name == "clean")

    print(f"{'':24}{'AUC':>8}{'accuracy':>10}{'accepted':>10}{'steps':>7}{'undone':>8}  ended, shares judged rightly")
    for seed in range(given.first_seed, given.first_seed + given.repeat):
        make = partial(rows, paired=given.paired) if given.real or given.paired else simulated
        clean: dict[str, dict[str, Any]] = {}
        for name, found in make(features, first, last, seed, wanted):
            kind, _, judged = name.partition(", ")
            beside = {}
            if given.paired:
                clean[judged] = found if kind == "clean" else clean[judged]
                beside = {"seed": seed, "beside_clean": beside_clean(found, clean[judged])}
            results.setdefault(name, []).append({key: found[key] for key in found if key != "called"} | beside)
            counts = " ".join(one["right"] + ("" if one["accepted"] else "×") for one in found["counts"])
            print(
                f"{name:24}{found['auc']:8.3f}{found['accuracy']:10.3f}{found['completed']:10}{found['steps']:7}"
                f"{found['rolled_back']:8}  {found['ended']} {counts}"
            )
            sys.stdout.flush()
            if given.json:  # after each row: real runs take long, and what was measured stays
                given.json.write_text(json.dumps(results, indent=2) + "\n", "utf-8")
    print("\n".join(told(results)))


if __name__ == "__main__":
    main()
