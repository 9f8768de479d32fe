"""A run's mathematics without its protocol: the product's own training, clipping, rounding, noise and optimiser.

What utility.py measures with. Left out is what does not change a number: signatures, masks and encryption (sums open
exactly, tests/privacy/), ledgers and decisions. Each site's noise is its real share of the plan's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sekisho.core.methods import Method
from sekisho.core.training.optimizer import Momentum, OptimizerState
from sekisho.core.training.tasks import Tasks
from sekisho.core.training.training import TrainingData, train_step
from sekisho.privacy.accounting.accountant import build_plan
from sekisho.privacy.accounting.plan import Plan
from sekisho.privacy.budget import Unit
from sekisho.privacy.mechanism.mechanism import add_share
from sekisho.privacy.mechanism.randomness import SecretStream


@dataclass(frozen=True)
class Federation:
    """Who takes part: declared numbers of subjects, one a site, and the fewest sites and observers of the study."""

    subjects: tuple[int, ...]
    minimum_sites: int
    observers: int
    records_per_subject: int

    def plan(self, settings: Method, dimension: int) -> Plan:
        """The plan of ``settings`` here."""
        return build_plan(
            unit=Unit.SUBJECT,
            epsilon=settings.epsilon,
            delta=settings.delta,
            steps=settings.steps,
            allowance=settings.allowance,
            sampling_rate=settings.sampling_rate,
            clipping_norm=settings.clipping_norm,
            dimension=dimension,
            sites=len(self.subjects),
            minimum_sites=self.minimum_sites,
            observers=self.observers,
            subjects=list(self.subjects),
            records_per_subject=self.records_per_subject,
        )


def train(
    sites: Sequence[TrainingData],
    settings: Method,
    plan: Plan,
    tasks: Tasks,
    *,
    seed: int,
    noise: float | None = None,
    watch: Callable[[OptimizerState], None] = lambda state: None,
) -> NDArray[np.float64]:
    """The state after the plan's steps, float64 [d].

    ``noise`` None: every site adds its share, as in a run. A number: one Gaussian of so many times C, or none for 0.
    ``seed`` makes the secret streams, which in a run nobody can; so a figure can be had again.
    """
    optimizer = Momentum.for_plan(plan, settings, tasks.schedule(settings))
    state = OptimizerState.start(tasks.initial(settings))
    secret = SecretStream(seed.to_bytes(32, "big"))
    cohort = len(sites)
    for step in range(1, plan.steps + 1):
        total = np.zeros(plan.dimension)
        rotation = plan.rotation(b"%d/%d" % (seed, step))  # in a run the seed is the step's transcript hash
        for place, data in enumerate(sites):
            own = secret.derive(b"%d/%d" % (step, place))
            data.task.linearise(data.rows, state.reference)
            update = train_step(
                data,
                data.rows_of.keys(),
                state.vector,
                plan=plan,
                step=step,
                stream=own.derive(b"training"),
                rotation=rotation,
            )
            values = update.clipped.total
            if noise is None:
                values = add_share(values, plan, cohort=cohort, step=step, stream=own.derive(b"noise")).values
            total += values
        own_axes = total if rotation is None else rotation.back(total)
        gradient = own_axes * (float(plan.clipping_norm) / plan.grid)
        if noise:
            drawn = np.random.default_rng([seed, step])
            gradient += drawn.normal(scale=noise * float(plan.clipping_norm), size=plan.dimension)
        state = optimizer.step(state, gradient)
        watch(state)
    return state.vector
