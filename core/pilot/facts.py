"""From a finished federation to the plain facts that reports are written from.

``summary_facts`` holds only what may be said beyond the sites (and, in the example, what may be shown because its data
are public). ``site_facts`` holds what stays at one site: exclusions by reason, ledger, log.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from ...governance.language import Text
from ...governance.policy.explain import explanations
from ...privacy.accounting.accountant import coalition_table, filter_epsilon
from ..coordinator.coordinator import RunResult
from ..site.budget import policy_budget
from ..site.publish import Published
from .federation import Federation
from .protections import protections_held
from .report import ClauseWords, LedgerRun, SiteReportInput
from .roi import RoiInput
from .summary import (
    BaseModelFacts,
    MeasureInput,
    MethodResult,
    SiteFacts,
    StageInput,
    StepRecord,
    Steps,
    SummaryInput,
)


def summary_facts(
    federation: Federation,
    result: RunResult,
    published: Published,
    scores: MethodResult,
    *,
    seconds: Mapping[str, float],
    started: str,
    finished: str,
) -> SummaryInput:
    """Everything that the report and summary.json say about a run. Times are RFC 3339."""
    study, plan, roster = federation.study, result.plan, federation.roster
    record = federation.sites[min(result.state.cohort)].folder.papers.base_model
    return SummaryInput(
        study=study.id,
        title=study.title,
        question=study.question,
        requester=study.requester,
        stage=study.stage,
        run=result.run,
        started=started,
        finished=finished,
        demo=roster.demo,
        root=roster.fingerprint,
        unit=plan.unit.value,
        delta=plan.delta,
        epsilon_target=plan.epsilon,
        observers=plan.observers,
        max_sites_per_subject=study.max_sites_per_subject,
        sites=tuple(_site(federation, name, result) for name in sorted(federation.sites)),
        steps=Steps(planned=plan.steps, completed=result.state.completed, abandoned=result.state.abandoned),
        history=tuple(
            StepRecord(
                step=outcome.step,
                cohort=outcome.cohort,
                outcome="completed" if outcome.status == "summed" else "abandoned",
            )
            for outcome in result.state.outcomes
        ),
        methods={result.method: scores},
        measures=tuple(
            MeasureInput(name=measure.name, method=measure.method, target=measure.target, text=measure.text)
            for measure in study.measures
        ),
        protections=protections_held(federation, result),
        coalition=tuple(coalition_table(plan, len(result.state.cohort))),
        base_model=BaseModelFacts(
            name=record.name, digest=record.digest, licence=record.licence, disclosure=str(record.disclosure)
        ),
        adapter=published.adapter.digest,
        parameters=plan.dimension,
        uplink_bytes_per_parameter=result.traffic.frame_bytes / plan.dimension,
        # only the example's data are public; elsewhere how long sites took is nobody else's business
        seconds={stage: round(spent, 3) for stage, spent in seconds.items()} if roster.demo else {},
        value=RoiInput(
            currency=study.value.currency,
            reviews_per_year=study.value.reviews_per_year,
            minutes_saved_per_review=study.value.minutes_saved_per_review,
            cost_per_hour=study.value.cost_per_hour,
            share_handled=study.value.share_handled,
            pilot_cost=study.cost.pilot,
            yearly_cost=study.cost.yearly,
            threshold=study.roi_threshold,
        ),
        stages=tuple(
            StageInput(name=stage.name, cost=stage.cost, gate=stage.gate, caps=dict(stage.caps))
            for stage in study.stages
        ),
        warnings=warnings(federation, result),
        disclaimer=study.disclaimer,
    )


def warnings(federation: Federation, result: RunResult) -> tuple[Text, ...]:
    """What a reader must know beside the figures."""
    found = []
    if result.state.abandoned:
        steps, left = result.state.abandoned, len(result.state.cohort)
        found.append(
            Text(
                en=f"{steps} step(s) were abandoned and stay charged; the run ended with {left} sites.",
                ja=f"{steps} ステップが放棄されました（消費した予算は戻りません）。実行は {left} 拠点で終了しました。",
            )
        )
    return tuple(found)


def _site(federation: Federation, name: str, result: RunResult) -> SiteFacts:
    site = federation.sites[name]
    folder = site.folder
    budget = policy_budget(folder.policy)
    balance = folder.ledger.balance()
    spent = filter_epsilon(balance.spent_max, balance.order, budget.delta)
    this_run = sum(row.step_cost * row.started for row in balance.runs if row.run == result.run)
    before = filter_epsilon(max(0, balance.spent_max - this_run), balance.order, budget.delta)
    epsilon = site.tools.considered.epsilon if site.tools is not None else 0.0
    return SiteFacts(
        id=name,
        name=federation.roster.party(name).name,
        epsilon=round_up(epsilon),
        lifetime_before=round_up(before),
        lifetime_spent=round_up(spent),
        lifetime_epsilon=budget.epsilon,
        lifetime_delta=budget.delta,
    )


def round_up(epsilon: float) -> float:
    """Four places, never below what it is."""
    return float(Decimal(repr(epsilon)).quantize(Decimal("0.0001"), rounding="ROUND_CEILING"))


def site_facts(federation: Federation, name: str, result: RunResult, *, started: str) -> SiteReportInput | None:
    """What stays at ``name``; None for a site that never joined."""
    site = federation.sites[name]
    folder, tools = site.folder, site.tools
    if tools is None:
        return None
    budget = policy_budget(folder.policy)
    balance = folder.ledger.balance()
    dataset = folder.dataset()
    excluded = {str(reason): count for reason, count in tools.considered.excluded.items()}
    without_budget = len(tools.considered.subjects) - len(tools.admitted)
    if without_budget:
        excluded["budget"] = without_budget
    return SiteReportInput(
        site=name,
        name=federation.roster.party(name).name,
        study=federation.study.id,
        title=federation.study.title,
        run=result.run,
        started=started,
        demo=federation.roster.demo,
        root=federation.roster.fingerprint,
        records=len(dataset),
        subjects=len(dataset.subjects),
        used_subjects=len(tools.admitted),
        excluded=excluded,
        unit=result.plan.unit.value,
        epsilon=round_up(tools.considered.epsilon),
        delta=result.plan.delta,
        lifetime_epsilon=budget.epsilon,
        lifetime_delta=budget.delta,
        spent_most=round_up(filter_epsilon(balance.spent_max, balance.order, budget.delta)),
        spent_least=round_up(filter_epsilon(balance.spent_min, balance.order, budget.delta)),
        ledger_subjects=balance.subjects,
        runs=tuple(
            LedgerRun(run=row.run, steps=row.steps, started=row.started, disclosed=row.disclosed, state=row.state)
            for row in balance.runs
        ),
        policy_id=folder.policy.id,
        policy_version=folder.policy.version,
        policy_digest=folder.policy.bytes_digest,
        policy=tuple(
            ClauseWords(
                id=one.id,
                name=one.name,
                prose=one.prose,
                enforced=one.enforced,
                recorded=one.recorded,
                grant=one.id in {grant.id for grant in folder.policy.grants},
            )
            for one in explanations(folder.policy)
        ),
        log_entries=folder.log.size,
        log_root=folder.log.root().hex(),
        disclaimer=federation.study.disclaimer,
    )
