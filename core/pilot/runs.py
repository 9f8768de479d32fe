"""One run's facts, gathered after it and before the next begins, which replaces what sites and coordinator hold.

Order of calls: after each run ``run_facts`` or ``failed_run_facts``. The whole pilot: facts.py. They hold only what may
be said beyond the sites; what stays at one site: at_site.py.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ...privacy.accounting.accountant import coalition_table, subject_figure
from ...privacy.accounting.plan import Plan
from ...privacy.budget import decimal_text
from ...privacy.errors import BadParametersError
from ..coordinator.coordinator import RunResult
from ..site.considering import Considered
from ..site.publish import Published
from .federation import Federation
from .figures import round_up
from .findings import NotTried, RunFacts, StepRecord, Steps
from .packing import packing_of
from .protections import protections_held, protections_of_failed
from .scores import Evaluated
from .validations import validation_facts


@dataclass(frozen=True)
class Clocked:
    """When a run began and ended (RFC 3339), and its seconds by stage."""

    started: str
    finished: str
    seconds: Mapping[str, float]


def run_facts(
    federation: Federation,
    result: RunResult,
    published: Published,
    evaluated: Evaluated,
    clocked: Clocked,
    *,
    cross_check: float | None = None,
) -> RunFacts:
    """A run that ended with an adapter. ``cross_check`` is its epsilon by another accountant."""
    plan, state = result.plan, result.state
    history = tuple(_record(one.step, one.cohort, one.status) for one in state.outcomes)
    epsilon = {
        name: round_up(site.tools.considered.run_epsilon)
        for name, site in federation.sites.items()
        if site.tools is not None
    }
    return RunFacts(
        **_of_plan(plan, cohort=len(state.cohort)),
        method=result.method,
        run=result.run,
        started=clocked.started,
        finished=clocked.finished,
        epsilon=epsilon,
        cross_check=cross_check,
        steps=_counted_steps(plan, history),
        history=history,
        protections=protections_held(federation, result),
        uplink_bytes_per_parameter=result.traffic.frame_bytes / plan.dimension,
        step_bytes=result.traffic.frame_bytes,
        packing=packing_of(plan, cohort=len(state.cohort), traffic=result.traffic),
        seconds=shown(federation, clocked.seconds),
        adapter=published.adapter.digest,
        result=evaluated.result,
        groups=evaluated.groups,
        validations=validation_facts(federation, result.run),
        membership=evaluated.membership,
        withheld=published.withheld or None,
    )


def failed_run_facts(
    federation: Federation,
    method: str,
    run: str,
    code: str,
    considered: Mapping[str, Considered],
    clocked: Clocked,
    *,
    states: Path,
    adapter: str | None = None,
) -> RunFacts:
    """A run that ended without a result; ``states`` is where the coordinator keeps how far each run came."""
    plan = federation.plan(method)
    history = _history(states / f"{run}.json")
    cohort = len(history[-1].cohort) if history else plan.sites
    return RunFacts(
        **_of_plan(plan, cohort=cohort),
        method=method,
        run=run,
        started=clocked.started,
        finished=clocked.finished,
        epsilon={name: round_up(one.run_epsilon) for name, one in considered.items()},
        steps=_counted_steps(plan, history),
        history=history,
        protections=protections_of_failed(federation, method, run, plan),
        uplink_bytes_per_parameter=0.0,
        step_bytes=0,
        packing=packing_of(plan, cohort=cohort, traffic=None),
        seconds=shown(federation, clocked.seconds),
        adapter=adapter,
        result=None,
        membership=NotTried.UNFINISHED,
        validations=validation_facts(federation, run),
        failure=code,
    )


def _of_plan(plan: Plan, *, cohort: int) -> dict[str, Any]:
    """What the plan alone says."""
    settings = (
        ("sampling-rate", decimal_text(plan.sampling_rate)),
        ("clipping-norm", decimal_text(plan.clipping_norm)),
        ("records-per-subject", str(plan.records_per_subject)),
    )
    return {
        "epsilon_target": plan.epsilon,
        "delta": plan.delta,
        "coalition": tuple(coalition_table(plan, cohort)),
        "more_sites": _more_sites(plan, cohort),
        "parameters": plan.dimension,
        "settings": settings,
    }


def _more_sites(plan: Plan, cohort: int) -> tuple[int, float] | None:
    """ε of a person at one site more than declared; None where nobody can be, or no figure is exact enough."""
    sites = plan.sites_per_subject + 1
    if sites > cohort:
        return None
    try:
        epsilon = subject_figure(plan, cohort=cohort, observers=plan.observers, contributions=sites)
    except BadParametersError:
        return None
    return sites, round_up(epsilon)


def _record(step: int, cohort: tuple[str, ...], status: Literal["summed", "abandoned", "rolled-back"]) -> StepRecord:
    return StepRecord(step=step, cohort=cohort, outcome="completed" if status == "summed" else status)


def _counted_steps(plan: Plan, history: Sequence[StepRecord]) -> Steps:
    ended = Counter(record.outcome for record in history)
    return Steps(
        planned=plan.steps,
        completed=ended["completed"],
        abandoned=ended["abandoned"],
        rolled_back=ended["rolled-back"],
    )


def _history(path: Path) -> tuple[StepRecord, ...]:
    # written by the coordinator after every step; a run that ended before its first has none
    try:
        outcomes = json.loads(path.read_text("utf-8"))["outcomes"]
        return tuple(_record(one["step"], tuple(one["cohort"]), one["status"]) for one in outcomes)
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def shown(federation: Federation, seconds: Mapping[str, float]) -> dict[str, float]:
    """Seconds by stage, where they may be shown."""
    # only the example's data are public; elsewhere how long sites took is nobody else's business
    return {stage: round(spent, 3) for stage, spent in seconds.items()} if federation.roster.demo else {}
