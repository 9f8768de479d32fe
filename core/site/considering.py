"""Whether a site accepts an offer, and what it would cost: own certificates of its plans, decision, who is eligible.

For: preflight and offer. It decides before a record is read, reads records, reserves and sends nothing. Not for: taking
part (joining.py), what the policy decides (gate/).

A run may have two plans: of its steps, and of the counts that judge them. Who is held out for the counts never trains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TypeVar

from ...privacy.accounting.accountant import step_cost, worst_certificate
from ...privacy.accounting.plan import Plan
from ...privacy.errors import BadParametersError
from ..data.eligible import eligible_subjects
from ..data.held_out import divide
from ..errors import Refused
from ..gate.artefacts import artefact_of
from ..gate.gate import Gate
from ..messages import Offer
from ..planning import counts_plan_of, plan_of
from .folder import SiteFolder, rounded_up
from .life import check_may_start

Figure = TypeVar("Figure", float, Decimal)


@dataclass(frozen=True)
class Counted:
    """What the counts of a run amount to here: their plan, the site's own certificate, and who is held out for them."""

    plan: Plan
    epsilon: float
    step_cost: int
    subjects: tuple[str, ...]


@dataclass(frozen=True)
class Considered:
    """An offer that this site can accept: its plan, the site's own certificate, and who would take part.

    ``subjects`` train; where the study has a validation, those of ``counted`` do not.
    """

    offer: Offer
    plan: Plan
    epsilon: float
    step_cost: int
    subjects: tuple[str, ...]
    excluded: dict[str, int]
    dataset: str
    counted: Counted | None = None

    @property
    def cost(self) -> int:
        """Ledger units of the whole run, for somebody who trains."""
        return self.step_cost * self.plan.total_steps

    @property
    def count_cost(self) -> int:
        """Ledger units of all counts of the run, for somebody who is held out."""
        return 0 if self.counted is None else self.counted.step_cost * self.counted.plan.total_steps

    @property
    def run_epsilon(self) -> float:
        """ε of the whole run for one person."""
        plans = [] if self.counted is None else [self.counted.epsilon]
        return together([self.epsilon, *plans], self.plan)

    @property
    def run_delta(self) -> Decimal:
        """δ of the whole run for one person."""
        plans = [] if self.counted is None else [self.counted.plan.delta]
        return together([self.plan.delta, *plans], self.plan)


def together(figures: Sequence[Figure], plan: Plan) -> Figure:
    """What plans cost one person, who is trained on or counted at a site, never both (docs/adr/0018): the largest.

    A person who may be at several sites may be trained on at one and counted at another: the sum.
    """
    if plan.sites_per_subject == 1:
        return max(figures)
    return figures[0] if len(figures) == 1 else figures[0] + figures[1]


def consider(folder: SiteFolder, offer: Offer, gate: Gate, *, dimension: int) -> Considered:
    """Everything that can refuse an offer, in order. Charges nothing, sends nothing."""
    # 1. the offer is about the papers that this site accepted
    if offer.study_bytes != folder.study.digest or offer.roster != folder.roster.fingerprint:
        raise Refused(
            "OFFER_FOREIGN",
            f"{folder.site}: the offer is for another study or roster than the one approved here",
            hint="compare the digests of study.yaml and roster.yaml with the coordinator",
            site=folder.site,
        )
    same_sites = offer.sites == tuple(sorted(folder.study.sites))
    if not same_sites or offer.method not in folder.study.methods or offer.base_model != folder.base_model.digest:
        raise Refused(
            "OFFER_FOREIGN",
            f"{folder.site}: the offer has other sites, methods or weights than the study",
            hint="coordinator and site must run the same version on the same study.yaml",
            site=folder.site,
        )
    # 2. the plans are those that the study's figures give, certified here
    plan = _as_offered(folder, offer.plan, plan_of(folder.study, offer.method, dimension=dimension))
    counts = _as_offered(folder, offer.counts_plan, counts_plan_of(folder.study, offer.method))
    if plan is None:
        raise _differs(folder)
    considered = Considered(
        offer,
        plan,
        _certified(folder, plan),
        step_cost(plan, observers=plan.observers, order=folder.ledger_order),
        subjects=(),
        excluded={},
        dataset="",
        counted=None if counts is None else _counted(folder, counts),
    )
    # 3. decide, before a record is read
    _decide(folder, considered, gate)
    # 4. legal and IT, always, and no stop, whatever the policy asks for
    check_may_start(folder, gate.record_refusal)
    # 5. records, and who of them may be used now
    eligible = eligible_subjects(
        folder.dataset().subjects,
        folder.register,
        scope=folder.study.legal_basis_scope,
        now=folder.clock(),
        site=folder.site,
    )
    considered = replace(considered, excluded=dict(eligible.excluded), dataset=folder.dataset_digest())
    settings = folder.study.validation
    if considered.counted is None or settings is None:
        return replace(considered, subjects=eligible.subjects)
    # 6. who of those is held out, by this site's own key
    trained, held_out = divide(eligible.subjects, folder.subject_key, settings.held_out)
    return replace(considered, subjects=trained, counted=replace(considered.counted, subjects=held_out))


def _decide(folder: SiteFolder, considered: Considered, gate: Gate) -> None:
    offer, plan = considered.offer, considered.plan
    standing = folder.standing(
        cohort=offer.sites,
        observers=plan.observers,
        epsilon=rounded_up(considered.run_epsilon),
        delta=considered.run_delta,
        steps=plan.total_steps,
        lifetime_fits=folder.lifetime_fits(considered.cost, considered.count_cost),
    )
    gate.decide(folder.request(standing, method=offer.method))
    if considered.counted is not None:
        gate.decide(folder.request(standing, method=offer.method, artefact=artefact_of(considered.counted.plan)))
    # what could never be released is not worth anybody's budget
    gate.decide(folder.request(standing, method=offer.method, action="release"))


def _as_offered(folder: SiteFolder, offered: Mapping[str, object] | None, own: Plan | None) -> Plan | None:
    """The plan that the study's figures give here, if it is the one offered."""
    try:
        plan = None if offered is None else Plan.from_json(dict(offered))
    except BadParametersError as error:
        raise Refused(error.code, f"{folder.site}: {error.sentence}", error.hint, site=folder.site) from None
    if plan != own:
        raise _differs(folder)
    return plan


def _differs(folder: SiteFolder) -> Refused:
    return Refused(
        "PLAN_DIFFERS",
        f"{folder.site}: the offered plan is not the one that the study's figures give",
        hint="coordinator and site must run the same version on the same study.yaml",
        site=folder.site,
    )


def _certified(folder: SiteFolder, plan: Plan) -> float:
    epsilon = worst_certificate(plan, plan.observers)
    if epsilon > float(plan.epsilon):
        raise Refused(
            "PLAN_NOT_CERTIFIED",
            f"{folder.site}: the offered plan costs more than it says",
            hint="lower epsilon or the number of steps in study.yaml, and have it approved again",
            site=folder.site,
        )
    return epsilon


def _counted(folder: SiteFolder, plan: Plan) -> Counted:
    cost = step_cost(plan, observers=plan.observers, order=folder.ledger_order)
    return Counted(plan, _certified(folder, plan), cost, ())
