"""One run of a canary study on the real parts, and what a participating site opened in it.

For: ``run_canaries``, whose sums went through the real training step, gate, ledger, frames, coordinator and opening.
Not for: judging them (deep.py). There is no hook: what was opened is read where the site itself has it afterwards, in
the state of its optimiser, whose momentum is zero here, so that its velocity is the last opened sum over n.

Order of calls: ``run_canaries(design, folder)`` -> ``Opened``; the folder is a temporary one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...privacy.accounting.plan import Plan
from ...privacy.mechanism.randomness import SecretStream
from ..engines.channel import Channel, Reply
from ..engines.embedded import EmbeddedChannel
from ..errors import CoreError, ProtocolError
from ..site.site import Site
from .canary_study import OBSERVER, CanaryFeatures, Design, write_study
from .federation import Federation, Progress, nothing_shown

METHOD = "probe"
READ_EXACTLY = 1e-3  # how far from an integer a sum may lie after its way through float64


@dataclass(frozen=True, eq=False)
class Opened:
    """What the observer had at the end of a run.

    ``sums`` int64 [steps, d] in grid units; those of a rotated plan are rotated back and then rounded to whole units,
    which adds a variance of 1/12 to one of many thousands. ``member`` bool [canaries]: whether each took part;
    ``charged``: whether every site's ledger holds every step as started and disclosed.
    """

    plan: Plan
    cohort: int
    sums: NDArray[np.int64]
    member: NDArray[np.bool_]
    charged: bool

    def __repr__(self) -> str:
        return "Opened(...)"


@dataclass
class _Watching:
    """Passes every message, and notes what the observer opened on its way."""

    inner: EmbeddedChannel
    site: Callable[[], Site | None]
    velocities: list[NDArray[np.float64]] = field(default_factory=list)

    def sites(self) -> tuple[str, ...]:
        return self.inner.sites()

    def post(self, site: str, message: bytes, ttl: float) -> int:
        return self.inner.post(site, message, ttl)

    def poll(self) -> tuple[Reply, ...]:
        replies = self.inner.poll()
        observer = self.site()
        state = observer.state if observer is not None else None
        if state is not None and state.optimizer.updates == len(self.velocities) + 1:
            self.velocities.append(state.optimizer.velocity)
        return replies


def run_canaries(design: Design, folder: Path, *, progress: Progress = nothing_shown) -> Opened:
    """Draw who takes part, write the study below ``folder``, run it, and return what the observer opened.

    Raises:
        CoreError, GovernanceError, PrivacyError: the first refusal of a site, or else the coordinator's.
    """
    # each is in by a fair coin, and the coins are as secret as noise: an audit must not be a test that is known before
    member = (SecretStream().uint64(design.canaries) & np.uint64(1)).astype(np.bool_)
    write_study(folder, design, member)
    watching: list[_Watching] = []
    opened: list[Federation] = []

    def wrap(channel: EmbeddedChannel) -> Channel:
        watching.append(_Watching(channel, lambda: opened[0].sites.get(OBSERVER) if opened else None))
        return watching[0]

    features = CanaryFeatures(design.width)
    federation = Federation.open(folder, features=features, progress=progress, wrap=wrap)
    try:
        for problem in federation.problems.values():
            raise problem
        opened.append(federation)
        result = federation.run(METHOD)
        plan = result.plan
        sums = np.stack([_integers(velocity, plan) for velocity in watching[0].velocities])
        if len(sums) != plan.steps or result.state.completed != plan.steps:
            raise ProtocolError("AUDIT_INCOMPLETE", f"the observer opened {len(sums)} of {plan.steps} sums")
        return Opened(plan, len(result.state.cohort), sums, member, _charged(federation, plan))
    except CoreError:
        # the coordinator only knows that somebody did not deliver
        for cause in federation.embedded.failures.values():
            raise cause from None
        raise
    finally:
        federation.close()


def _integers(velocity: NDArray[np.float64], plan: Plan) -> NDArray[np.int64]:
    """The opened sum, in grid units, from a velocity that is it over n, in units of the gradient.

    Only where nothing was rotated back are these the very integers that were opened, and that is checked.
    """
    values = velocity * plan.expected_sample / plan.grid_unit
    whole = np.rint(values)
    if not plan.rotated and not np.abs(values - whole).max() < READ_EXACTLY:
        raise ProtocolError("AUDIT_INCOMPLETE", "what the observer applied is not an opened sum of integers")
    return whole.astype(np.int64)


def _charged(federation: Federation, plan: Plan) -> bool:
    rows = [site.folder.ledger.balance().runs for site in federation.sites.values()]
    return all(
        len(runs) == 1 and runs[0].started == runs[0].disclosed == plan.steps and runs[0].step_cost > 0 for runs in rows
    )
