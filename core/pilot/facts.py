"""From a federation and its runs to the plain facts that reports are written from.

Order of calls: ``balances`` before the first run; runs.py after each; after the last, ``summary_facts`` and
``site_facts``.

``summary_facts`` holds only what may be said beyond the sites (and, in the example, what may be shown because its data
are public). ``site_facts`` holds what stays at one site: ledger, log, and what its runs say of people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...governance.language import Text
from ...governance.policy.explain import explanations
from ...privacy.accounting.accountant import filter_epsilon
from ..site.budget import policy_budget
from ..study import Stage
from .baselines import Baselines
from .federation import Federation
from .findings import BaseModelFacts, MeasureInput, RunFacts, SiteFacts, StageInput, SummaryInput
from .roi import RoiInput
from .runs import methods_of, round_up, shown
from .site_report import ClauseWords, DueRemedy, LedgerRun, PersonalFacts, SiteReportInput, SiteRun


def balances(federation: Federation) -> dict[str, float]:
    """What each site's runs have spent of its lifetime, as the epsilon of a person who was in all of them."""
    return {name: _spent(federation, name) for name in sorted(federation.sites)}


def _spent(federation: Federation, name: str) -> float:
    folder = federation.sites[name].folder
    balance = folder.ledger.balance()
    # of the runs, not of the people in them: the common report shows it to everybody
    return round_up(filter_epsilon(balance.spent_by_all_runs, balance.order, policy_budget(folder.policy).delta))


def summary_facts(
    federation: Federation,
    runs: Sequence[RunFacts],
    *,
    before: Mapping[str, float],
    seconds: Mapping[str, float],
    started: str,
    finished: str,
    baselines: Baselines | None,
) -> SummaryInput:
    """Everything that the report and summary.json say about a pilot. Times are RFC 3339."""
    study, roster = federation.study, federation.roster
    record = federation.sites[min(federation.sites)].folder.papers.base_model
    return SummaryInput(
        study=study.id,
        title=study.title,
        question=study.question,
        requester=study.requester,
        stage=study.stage,
        started=started,
        finished=finished,
        demo=roster.demo,
        root=roster.fingerprint,
        unit=study.unit.value,
        observers=study.observers,
        max_sites_per_subject=study.max_sites_per_subject,
        sites=tuple(_site(federation, name, before[name]) for name in sorted(federation.sites)),
        methods=methods_of(study),
        runs=tuple(runs),
        measures=tuple(
            MeasureInput(name=measure.name, method=measure.method, target=measure.target, text=measure.text)
            for measure in study.measures
        ),
        base_model=BaseModelFacts(
            name=record.name, digest=record.digest, licence=record.licence, disclosure=str(record.disclosure)
        ),
        seconds=shown(federation, seconds),
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
            StageInput(name=stage.name, cost=stage.cost, gate=stage.gate, caps=_caps(stage))
            for stage in study.stages
        ),
        baselines=baselines,
        warnings=warnings(runs),
        disclaimer=study.disclaimer,
    )


def warnings(runs: Sequence[RunFacts]) -> tuple[Text, ...]:
    """What a reader must know beside the figures."""
    found = []
    for run in runs:
        if run.steps.abandoned:
            steps, left = run.steps.abandoned, len(run.history[-1].cohort)
            found.append(
                Text(
                    en=f"{run.method}: {steps} step(s) were abandoned and stay charged; the run ended with {left} "
                    "sites.",
                    ja=f"{run.method}：{steps} ステップが中止されました（消費した予算は戻りません）。"
                    f"実行は {left} 拠点で終了しました。",
                )
            )
    return tuple(found)


def _site(federation: Federation, name: str, before: float) -> SiteFacts:
    budget = policy_budget(federation.sites[name].folder.policy)
    return SiteFacts(
        id=name,
        name=federation.roster.party(name).name,
        lifetime_before=before,
        lifetime_spent=_spent(federation, name),
        lifetime_epsilon=budget.epsilon,
        lifetime_delta=budget.delta,
    )


def site_facts(
    federation: Federation,
    name: str,
    runs: Sequence[SiteRun],
    *,
    started: str,
    personal: PersonalFacts | None = None,
) -> SiteReportInput | None:
    """What stays at ``name``; None for a site that never joined a run."""
    if not runs:
        return None
    folder = federation.sites[name].folder
    budget = policy_budget(folder.policy)
    balance = folder.ledger.balance()
    dataset = folder.dataset()
    return SiteReportInput(
        site=name,
        name=federation.roster.party(name).name,
        study=federation.study.id,
        title=federation.study.title,
        started=started,
        demo=federation.roster.demo,
        root=federation.roster.fingerprint,
        records=len(dataset),
        subjects=len(dataset.subjects),
        unit=federation.study.unit.value,
        runs=tuple(runs),
        lifetime_epsilon=budget.epsilon,
        lifetime_delta=budget.delta,
        observers=federation.study.observers,
        spent_by_all_runs=_spent(federation, name),
        spent_most=round_up(filter_epsilon(balance.spent_max, balance.order, budget.delta)),
        spent_least=round_up(filter_epsilon(balance.spent_min, balance.order, budget.delta)),
        ledger_subjects=balance.subjects,
        ledger=tuple(
            LedgerRun(run=row.run, steps=row.steps, started=row.started, disclosed=row.disclosed, state=row.state)
            for row in balance.runs
        ),
        personal=personal,
        remedies=tuple(
            DueRemedy(run=one.run, since=one.since) for one in folder.reach.remedies() if not one.outcome
        ),
        policy_id=folder.policy.id,
        policy_version=folder.policy.version,
        policy_digest=folder.policy.bytes_digest,
        policy=_policy(federation, name),
        log_entries=folder.log.size,
        log_root=folder.log.root().hex(),
        disclaimer=federation.study.disclaimer,
    )


def _policy(federation: Federation, name: str) -> tuple[ClauseWords, ...]:
    policy = federation.sites[name].folder.policy
    grants = {grant.id for grant in policy.grants}
    return tuple(
        ClauseWords(
            id=one.id,
            name=one.name,
            prose=one.prose,
            enforced=one.enforced,
            recorded=one.recorded,
            grant=one.id in grants,
        )
        for one in explanations(policy)
    )


def _caps(stage: Stage) -> dict[str, str]:
    return {name.replace("_", "-"): f"{allowed}" for name, allowed in stage.caps.ordered()}
