"""A maker that turned hostile: a real site with its real keys, gate and ledger, which lies about what it trained.

What it hands to its own gate is another vector than its records gave. Everything else it does as the protocol says, so
its neighbours see a signed frame like any other: under encryption nobody can look into it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sekisho.core.gate.gate import Gate, StepContext
from sekisho.core.gate.sealed import Sealed
from sekisho.core.pilot.federation import Federation
from sekisho.core.site.site import Site
from sekisho.core.training.training import TrainingData
from sekisho.core.training.update import Update
from sekisho.privacy.accounting.plan import Plan


@dataclass(frozen=True)
class Known:
    """What a liar has when it lies: the honest sum of its own people (int64 [d], as it is sealed), the plan, the state.

    ``vector`` is the common state, float64 [d], in the coordinates that are sealed; ``bias`` what a state is there that
    adds one to every score, for a task whose last number is a bias.
    """

    total: NDArray[np.int64]
    plan: Plan
    vector: NDArray[np.float64]
    bias: NDArray[np.float64]


# -> what is sealed in place of the honest sum, int64 [d]
Lie = Callable[[Known], NDArray[np.int64]]


@dataclass
class LyingGate:
    """The site's own gate, with the update exchanged before it; counts go through as they are."""

    gate: Gate
    site: Site
    lie: Lie
    steps: frozenset[int]

    def disclose(self, update: Update, *, plan: Plan, context: StepContext, **rest: Any) -> Sealed:
        if not plan.cells and context.step in self.steps:
            state = self.site.state
            assert state is not None
            rotation, vector = plan.rotation(context.transcript), state.optimizer.vector
            sealed = [one if rotation is None else rotation.forward(one) for one in (vector, bias_of(vector.size))]
            known = Known(update.clipped.total, plan, *sealed)
            clipped = replace(update.clipped, total=self.lie(known))
            update = replace(update, clipped=clipped)
        return self.gate.disclose(update, plan=plan, context=context, **rest)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.gate, name)


def turn(federation: Federation, site: str, lie: Lie, steps: range) -> None:
    """From its join on, ``site`` lies in these steps."""
    one = federation.sites[site]
    honest = one._join

    def join(message: Any, gate: Gate) -> Sealed:
        sealed = honest(message, gate)
        assert one.tools is not None
        liar: Any = LyingGate(one.tools.gate, one, lie, frozenset(steps))
        one.tools = replace(one.tools, gate=liar)
        return sealed

    one._join = join  # type: ignore[method-assign]  # its operator turned


def backwards(times: float) -> Lie:
    """Away from what was learnt, ``times`` as long as everybody declared together could be: within a sum's bound."""

    def lie(known: Known) -> NDArray[np.int64]:
        length = times * known.plan.expected_sample * np.sqrt(known.plan.grid_bound_squared)
        return np.rint(known.vector / np.linalg.norm(known.vector) * length).astype(np.int64)

    return lie


def anywhere(times: float, seed: int = 7) -> Lie:
    """Some direction (``seed``) that has nothing to do with the data, in every step the same, as long as ``backwards``.
    """

    def lie(known: Known) -> NDArray[np.int64]:
        length = times * known.plan.expected_sample * np.sqrt(known.plan.grid_bound_squared)
        direction = np.random.default_rng(seed).normal(size=known.vector.size)
        return np.rint(direction / np.linalg.norm(direction) * length).astype(np.int64)

    return lie


def shifted(times: float) -> Lie:
    """All scores alike, as long as ``backwards``: down for more than 0, up for less. No order of people changes."""

    def lie(known: Known) -> NDArray[np.int64]:
        length = times * known.plan.expected_sample * np.sqrt(known.plan.grid_bound_squared)
        return np.rint(known.bias * length).astype(np.int64)  # a gradient, which is gone down

    return lie


def bias_of(dimension: int) -> NDArray[np.float64]:
    """float64 [d]: the state that is a bias alone."""
    only = np.zeros(dimension)
    only[-1] = 1.0
    return only


def garbage(known: Known) -> NDArray[np.int64]:
    """Every coordinate as large as no sum may be."""
    length = 4 * known.plan.expected_sample * np.sqrt(known.plan.grid_bound_squared)
    return np.full(known.total.size, int(length), dtype=np.int64)


def flip_labels(federation: Federation, site: str, steps: range) -> None:
    """In these steps ``site`` trains on its own records with every label the other way round."""
    one = federation.sites[site]
    honest = one._training_data

    def load(tools: Any) -> TrainingData:
        data = honest(tools)
        flipped = one.state is not None and one.state.step in steps
        return replace(data, labels=1.0 - data.labels) if flipped else data

    one._training_data = load  # type: ignore[method-assign]  # its operator turned
