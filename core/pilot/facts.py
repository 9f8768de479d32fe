"""From a federation and its runs to the plain facts that reports are written from.

Order of calls: ``balances`` before the first run; runs.py after each; after the last, ``summary_facts``, which holds
only what may be said beyond the sites (and, in the example, what may be shown because its data are public). What stays
at one site: at_site.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...governance.language import Text
from ..planning import methods_of
from ..site.budget import policy_budget
from ..study import Stage
from .at_site import spent
from .baselines import Baselines
from .federation import Federation
from .findings import BaseModelFacts, MeasureInput, RunFacts, SiteFacts, StageInput, SummaryInput
from .roi import RoiInput
from .runs import shown


def balances(federation: Federation) -> dict[str, float]:
    """What each site's runs have spent of its lifetime, as the epsilon of a person who was in all of them."""
    return {name: spent(federation.sites[name].folder) for name in sorted(federation.sites)}


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
        lifetime_spent=spent(federation.sites[name].folder),
        lifetime_epsilon=budget.epsilon,
        lifetime_delta=budget.delta,
    )


def _caps(stage: Stage) -> dict[str, str]:
    return {name.replace("_", "-"): f"{allowed}" for name, allowed in stage.caps.ordered()}
