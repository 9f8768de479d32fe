"""The privacy plan that follows from a study's own figures; coordinator and sites compute it apart and must agree.

Also what the study's runs will cost a ledger (``expected_runs``), for a ledger that is opened for it.

Not here: whether a site accepts the plan (site/joining.py) and what it costs (privacy/accounting/accountant.py).
"""

from __future__ import annotations

from ..privacy.accounting.accountant import ExpectedRun, build_plan, calibrate
from ..privacy.accounting.plan import Plan
from .study import Study


def plan_of(study: Study, method: str, *, dimension: int) -> Plan:
    """The plan of ``method`` for ``dimension`` parameters. Raises ``BadParametersError`` when none fits."""
    settings = study.settings(method)
    return build_plan(
        unit=study.unit,
        epsilon=settings.epsilon,
        delta=settings.delta,
        steps=settings.steps,
        allowance=settings.allowance,
        sampling_rate=settings.sampling_rate,
        clipping_norm=settings.clipping_norm,
        dimension=dimension,
        sites=len(study.sites),
        minimum_sites=study.minimum_sites,
        observers=study.observers,
        subjects=[study.subjects[site] for site in study.sites],
        records_per_subject=study.records_per_subject,
        sites_per_subject=study.max_sites_per_subject,
    )


def expected_runs(study: Study) -> tuple[ExpectedRun, ...]:
    """What the study's methods will cost a ledger, one run each; no dimension and no weights are needed for it.

    Raises:
        BadParametersError: ``NO_SUCH_NOISE`` and what else ``accountant.calibrate`` raises.
    """
    return tuple(
        ExpectedRun(
            sigma=calibrate(
                epsilon=settings.epsilon,
                delta=settings.delta,
                steps=settings.steps + settings.allowance,
                sampling_rate=settings.sampling_rate,
                contributions=study.max_sites_per_subject,
            ),
            sampling_rate=settings.sampling_rate,
            steps=settings.steps + settings.allowance,
            contributions=study.max_sites_per_subject,
        )
        for settings in study.methods.values()
    )
