"""The privacy plan that follows from a study's own figures; coordinator and sites compute it apart and must agree.

Also the plan of the counts that judge a run's blocks, and what the study's runs will cost a ledger (``expected_runs``),
for a ledger that is opened for it.

Not here: whether a site accepts the plan (site/joining.py) and what it costs (privacy/accounting/accountant.py).
"""

from __future__ import annotations

from ..privacy.accounting.accountant import ExpectedRun, build_plan, calibrate
from ..privacy.accounting.plan import Plan
from ..privacy.mechanism.counts import ValidationDomain, counts_plan, validation
from .conditions import ValidationSettings
from .methods import Method
from .study import Study

DOMAIN: ValidationDomain = validation("negative", "positive")  # the second label of a study is the positive class
# A study's mapping of methods has no order of its own (what is signed is its canonical form, with sorted keys). The
# lightest runs first, so that most is known before most is spent.
LIGHTEST_FIRST = ("probe", "lora")
SPARE_COUNTS = 1  # a count that is lost with a site can be made once more; what is lost twice is a run to look into


def methods_of(study: Study) -> tuple[str, ...]:
    """The study's methods in the order in which they are run and shown."""
    known = [method for method in LIGHTEST_FIRST if method in study.methods]
    return (*known, *(method for method in study.methods if method not in known))


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


def counts_plan_of(study: Study, method: str) -> Plan | None:
    """The plan of the counts that judge the blocks of ``method``; None where the study has no validation.

    One of the start, one a block, one for each block that may be rejected, and a spare one. The declared subjects are
    more than are counted: how many are held out at a site is nobody else's business.

    Raises:
        BadParametersError: the codes of ``accountant.build_plan``.
    """
    settings = study.validation
    if settings is None:
        return None
    return counts_plan(
        DOMAIN,
        epsilon=settings.epsilon,
        delta=settings.delta,
        disclosures=counts_of(settings, study.settings(method)),
        sites=len(study.sites),
        minimum_sites=study.minimum_sites,
        observers=study.observers,
        subjects=[study.subjects[site] for site in study.sites],
        unit=study.unit,
        sites_per_subject=study.max_sites_per_subject,
    )


def counts_of(settings: ValidationSettings, method: Method) -> int:
    """How many counts a run may make: with more rejections than these it has ended."""
    blocks = -(-method.steps // settings.every)
    return 1 + blocks + settings.rejections + SPARE_COUNTS


def expected_runs(study: Study) -> tuple[ExpectedRun, ...]:
    """What the study's methods will cost a ledger, one run each; no dimension and no weights are needed for it.

    Of those who train: who is counted instead pays less, or the study's budget for counts is larger than for training.

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
