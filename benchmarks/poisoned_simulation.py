"""The example's probe with one hostile maker, judged or not, many times over: the mathematics without the protocol.

What poisoning.py measures with unless it is asked for real runs. The product's own training, clipping, rounding,
noise shares, counting, opening of counts, rule and optimiser; left out are signatures, masks, encryption, ledgers and
decisions, which change no number (sums open exactly). How a block is judged and rolled back is written here once more,
since in a run it is spread over sites and coordinator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sekisho.benchmarks.food_reviews import FoodReviews
from sekisho.core.data.dataset import Dataset
from sekisho.core.data.held_out import divide
from sekisho.core.planning import DOMAIN, counts_plan_of
from sekisho.core.site.opening import out_of_bounds
from sekisho.core.site.site import PUBLIC_RECORDS
from sekisho.core.training.counting import count_step, is_above, middle_of
from sekisho.core.training.evaluation import evaluate
from sekisho.core.training.movement import Farthest, farthest_of, pushes_of, too_far
from sekisho.core.training.optimizer import Momentum, OptimizerState
from sekisho.core.training.task import TextProbe
from sekisho.core.training.tasks import Tasks
from sekisho.core.training.training import TrainingData, load_training_data, train_step
from sekisho.privacy.accounting.plan import Plan
from sekisho.privacy.accounting.subjects import SubjectKey
from sekisho.privacy.mechanism.judged import JudgedCounts
from sekisho.privacy.mechanism.mechanism import add_share
from sekisho.privacy.mechanism.opened import OpenedCounts
from sekisho.privacy.mechanism.randomness import SecretStream
from sekisho.privacy.mechanism.verdict import verdict_on
from sekisho.tests.federation.poisoner import Known, Lie, bias_of

Steps = Callable[[int], bool]


@dataclass(frozen=True)
class Hostile:
    """In which steps the maker at ``place`` lies, and how: with flipped labels, or by a vector of its choice."""

    place: int
    steps: Steps
    flips: bool = False
    lie: Lie | None = None


NOBODY = Hostile(0, lambda step: False)


@dataclass
class Ended:
    """How a simulated run ended."""

    auc: float
    accuracy: float
    completed: int
    step: int
    rejected: list[tuple[str, ...]]
    name: str


def simulate(
    reviews: FoodReviews, task: TextProbe, tasks: Tasks, hostile: Hostile, *, judged: bool, allowance: int, seed: int
) -> Ended:
    """One run of the probe."""
    study = reviews.study
    settings = replace_allowance(study.settings("probe"), allowance)
    plan = reviews.federation.plan(settings, task.dimension)
    validation, counts_plan = study.validation, counts_plan_of(study, "probe")
    assert validation is not None and counts_plan is not None
    secret = SecretStream(seed.to_bytes(32, "big"))
    sides = [
        _sides(reviews.sites[site], SubjectKey(secret.derive(site.encode()).bytes(32)), judged, validation.held_out)
        for site in study.sites
    ]
    trained = [load_training_data(reviews.sites[site], side[0], study.labels, task)
               for site, side in zip(study.sites, sides, strict=True)]  # fmt: skip
    held_out = [load_training_data(reviews.sites[site], side[1], study.labels, task)
                for site, side in zip(study.sites, sides, strict=True)]  # fmt: skip
    optimizer = Momentum.for_plan(plan, settings, tasks.schedule(settings))
    public = task.load(reviews.test.texts[:PUBLIC_RECORDS])
    state, kept = (OptimizerState.start(tasks.initial(settings)),) * 2
    numbers = iter(range(1, counts_plan.total_steps + 1))

    def count(state: OptimizerState) -> JudgedCounts:
        return _counts(held_out, state, counts_plan, next(numbers), secret, public)

    before = (count(state),) if judged else ()
    farthest: Farthest | None = None
    step, rejected, spoilt, name = 0, [], False, "finished"
    while state.updates < plan.steps:
        fresh = state.updates - kept.updates
        if plan.total_steps - step < min(validation.every, plan.steps - kept.updates) - fresh:
            state, name = kept, "ALLOWANCE_SPENT"
            break
        step += 1
        total = _summed(trained, state, plan, step, hostile, secret)
        outside = out_of_bounds(total, plan, len(trained))
        spoilt |= outside
        gradient = np.zeros(plan.dimension) if outside else total * (float(plan.clipping_norm) / plan.grid)
        moved = optimizer.step(state, gradient)
        state = replace(state, updates=moved.updates) if outside else moved
        if judged and _block_is_over(state, kept, validation.every, plan.steps):
            now = count(state)
            cohorts = [len(trained)] * (state.updates - kept.updates)
            pushes = None if spoilt else pushes_of(kept, state, optimizer=optimizer, plan=plan, cohorts=cohorts)
            verdict = verdict_on(
                now,
                before,
                least=float(validation.least),
                trained=kept.updates > 0,
                spoilt=spoilt,
                far=pushes is not None and too_far(pushes, farthest),
            )
            spoilt = False
            if verdict.accept:
                farthest = farthest if pushes is None else farthest_of(pushes, farthest)
                before = (*before, now) if kept.updates else (now,)
                kept = state
                continue
            state = kept
            rejected.append(verdict.reasons)
            if len(rejected) > validation.rejections:
                name = "VALIDATION_REJECTED"
                break
    metrics = evaluate(task.scores(task.load(reviews.test.texts), state.vector), reviews.positive)
    return Ended(metrics.auc, metrics.accuracy, state.updates, step, rejected, name)


def replace_allowance(settings: Any, allowance: int) -> Any:
    """The settings of a method with another allowance."""
    return settings.model_copy(update={"allowance": allowance})


def _block_is_over(state: OptimizerState, kept: OptimizerState, every: int, steps: int) -> bool:
    fresh = state.updates - kept.updates
    return fresh >= every or (state.updates >= steps and fresh > 0)


def _sides(dataset: Dataset, key: SubjectKey, judged: bool, share: Decimal) -> tuple[Sequence[str], Sequence[str]]:
    return divide(dataset.subjects, key, share) if judged else (dataset.subjects, ())


def _summed(
    sites: Sequence[TrainingData], state: OptimizerState, plan: Plan, step: int, hostile: Hostile, secret: SecretStream
) -> NDArray[np.int64]:
    total = np.zeros(plan.dimension, dtype=np.int64)
    for place, data in enumerate(sites):
        lies = place == hostile.place and hostile.steps(step)
        own = secret.derive(b"step/%d/%d" % (step, place))
        used = replace(data, labels=1.0 - data.labels) if lies and hostile.flips else data
        update = train_step(
            used, used.rows_of.keys(), state.vector, plan=plan, step=step, stream=own.derive(b"training")
        )
        values = update.clipped.total
        if lies and hostile.lie is not None:
            values = hostile.lie(Known(values, plan, state.vector, bias_of(plan.dimension)))
        total += add_share(values, plan, cohort=len(sites), step=step, stream=own.derive(b"noise")).values
    return total


def _counts(
    sites: Sequence[TrainingData],
    state: OptimizerState,
    plan: Plan,
    number: int,
    secret: SecretStream,
    public: NDArray[np.float64],
) -> JudgedCounts:
    middle = middle_of(sites[0].task.scores(public, state.vector))
    total = np.zeros(plan.dimension, dtype=np.int64)
    for place, data in enumerate(sites):
        own = secret.derive(b"count/%d/%d" % (number, place))
        update = count_step(
            data, data.rows_of.keys(), state.vector, domain=DOMAIN, plan=plan, step=number,
            stream=own.derive(b"counting"), middle=middle,
        )  # fmt: skip
        total += add_share(
            update.clipped.total, plan, cohort=len(sites), step=number, stream=own.derive(b"noise")
        ).values
    return JudgedCounts(OpenedCounts.read(total, DOMAIN, plan, len(sites)), is_above(middle))


def scenarios(
    place: int, every: int, steps: int, lies: Mapping[str, Lie], persistent: Lie
) -> Mapping[str, Hostile]:
    """By name, as poisoning.py's own: ``lies`` in the last block, ``persistent`` from the second block on."""
    last = range(steps - every + 1, steps + 1)
    return {
        "clean": NOBODY,
        "labels": Hostile(place, last.__contains__, flips=True),
        **{name: Hostile(place, last.__contains__, lie=lie) for name, lie in lies.items()},
        "persistent": Hostile(place, lambda step: step > every, lie=persistent),
    }
