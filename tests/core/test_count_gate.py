"""Counts through the door of real sites: what passes is noised, charged and named; what is not so is refused by code.

Five sites with their own policies, ledgers, logs and keys; what they send is added as the coordinator adds and opened
as a site opens.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chi2

from sekisho.core.data.intake import inspect, locate
from sekisho.core.engines.channel import carry
from sekisho.core.errors import CoreError, Refused
from sekisho.core.gate.artefacts import COUNTS, VOTES, artefact_of, charge_of
from sekisho.core.gate.gate import TELLABLE, Gate, StepContext
from sekisho.core.gate.sealed import Sealed
from sekisho.core.messages import Finished, Offer, Ready, SignedMessage
from sekisho.core.planning import plan_of
from sekisho.core.site.folder import SiteFolder
from sekisho.core.site.papers import read_study
from sekisho.core.training.counting import count_step
from sekisho.core.training.task import TextProbe
from sekisho.core.training.training import TrainingData, load_training_data
from sekisho.core.training.update import Update
from sekisho.governance.errors import GovernanceError
from sekisho.governance.policy.request import Fact, Request
from sekisho.privacy.accounting.accountant import step_cost, worst_certificate
from sekisho.privacy.accounting.combined import combined_certificate
from sekisho.privacy.accounting.plan import Plan
from sekisho.privacy.encryption import frame
from sekisho.privacy.encryption.aggregation import Aggregator
from sekisho.privacy.encryption.presets import PRESETS
from sekisho.privacy.errors import BadParametersError, PrivacyError
from sekisho.privacy.gradients.clipping import ClippedSum
from sekisho.privacy.keys.decrypt import StepSecret, open_sum
from sekisho.privacy.keys.runkeys import RunSecret
from sekisho.privacy.mechanism.counts import CountDomain, counts_plan, local_vote, validation, votes_plan
from sekisho.privacy.mechanism.opened import OpenedCounts
from sekisho.privacy.mechanism.randomness import SecretStream

from ..federation import study_folder
from ..federation.study_folder import SITES, SUBJECTS_PER_SITE, HashedFeatures

NOW = datetime(2027, 1, 1, tzinfo=UTC)
DIGEST = "sha256:" + "0" * 64
DOMAIN = validation("negative", "positive")
DISCLOSURES = 4
TARGET = {"epsilon": Decimal("0.5"), "delta": Decimal("0.00001"), "disclosures": DISCLOSURES}
SHAPE = {"sites": len(SITES), "minimum_sites": 3, "observers": 1}
PLAN = counts_plan(DOMAIN, **TARGET, **SHAPE, subjects=[SUBJECTS_PER_SITE] * len(SITES))  # type: ignore[arg-type]
VOTES_PLAN = votes_plan(**TARGET, **SHAPE)  # type: ignore[arg-type]
# So many cells that halved noise and none, and chance, are far apart.
WIDE_PLAN = counts_plan(
    CountDomain("wide", tuple(f"cell-{number}" for number in range(64))),
    **TARGET, **SHAPE, subjects=[SUBJECTS_PER_SITE] * len(SITES),  # type: ignore[arg-type]
)  # fmt: skip
FALSE_ALARM = 8e-10
TASK = TextProbe(HashedFeatures())
STATE = np.random.default_rng(5).normal(size=TASK.dimension)
RUNS = count()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, SiteFolder]]:
    study = study_folder.build(tmp_path_factory.mktemp("counts") / "study", lifetime="28.0")
    for site in SITES:
        leaves = f"leaves_site: [masked-update, {COUNTS}, {VOTES}, adapter]"
        study_folder.change(study / "sites" / site / "policy.yaml", "leaves_site: [masked-update, adapter]", leaves)
    study_folder.sign(study)
    study_folder.sign_stop_list(study, NOW)
    base_model = inspect(locate(read_study(study).base_model, study))
    opened = {site: SiteFolder.open(study, site, base_model=base_model, clock=lambda: NOW) for site in SITES}
    yield opened
    for folder in opened.values():
        folder.close()


@pytest.fixture(scope="module")
def people(folders: Mapping[str, SiteFolder]) -> Mapping[str, TrainingData]:
    return {
        site: load_training_data(folder.dataset(), folder.dataset().subjects, folder.study.labels, TASK)
        for site, folder in folders.items()
    }


@dataclasses.dataclass
class Desk:
    """A site in a run that counts: ``plan`` is reserved, and its disclosure 1 started unless ``reserved`` says else."""

    folder: SiteFolder
    run: str
    plan: Plan
    gate: Gate
    secret: RunSecret

    @property
    def request(self) -> Request:
        return self.request_for(self.plan)

    def request_for(self, plan: Plan) -> Request:
        offer = Offer(study_bytes=DIGEST, roster=DIGEST, method="probe", base_model=DIGEST, sites=SITES, plan={})
        return self.folder.request_for_plan(plan, worst_certificate(plan, plan.observers), offer)

    def context(self, step: int = 1, cohort: tuple[str, ...] = SITES) -> StepContext:
        own = self.folder.site
        pairs = {
            peer: hashlib.sha256("/".join(sorted((own, peer))).encode()).digest() for peer in SITES if peer != own
        }
        transcript = hashlib.sha256(f"{self.run}/counts/{step}".encode()).digest()
        return StepContext(step=step, transcript=transcript, cohort=cohort, run_secret=self.secret, pair_keys=pairs)

    def disclose(self, update: Any, **named: Any) -> Sealed:
        given: dict[str, Any] = {
            "request": self.request, "plan": self.plan, "context": self.context(), "stream": SecretStream(), **named,
        }  # fmt: skip
        return self.gate.disclose(update, **given)

    def entries(self, start: int = 0) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.folder.log.entries(start)]

    @contextmanager
    def refuses(self, code: str) -> Iterator[None]:
        """The block is refused with ``code``; nothing left, nothing was spent, and the log's last entry says why."""
        ledger, size = self.folder.ledger, self.folder.log.size
        before = (ledger.balance(), ledger.head())
        with pytest.raises((CoreError, GovernanceError, PrivacyError)) as caught:
            yield
        assert caught.value.code == code
        assert (ledger.balance(), ledger.head()) == before
        new = self.entries(size)
        assert {entry["type"] for entry in new} <= {"decision.permit", "decision.refuse"}
        assert new[-1]["type"] == "decision.refuse" and code in new[-1]["data"]["codes"]


def desk_of(
    folder: SiteFolder, *, run: str = "", plan: Plan = PLAN, reserved: Plan | None = PLAN, started: bool = True
) -> Desk:
    run = run or f"run-{next(RUNS)}"
    if reserved is not None:
        reserve(folder, run, reserved, started=started)
    gate = Gate(
        site=folder.site, study=folder.study.id, run=run, policy=folder.policy, stage=folder.study.current_stage,
        earlier_runs=0, key=folder.key, ledger=folder.ledger, log=folder.log, clock=folder.clock,
    )  # fmt: skip
    return Desk(folder, run, plan, gate, RunSecret.generate())


def reserve(folder: SiteFolder, run: str, plan: Plan, *, started: bool = True, cost: int | None = None) -> None:
    if cost is None:
        cost = step_cost(plan, observers=plan.observers, order=folder.ledger_order)
    subject = hashlib.sha256(f"{run}/{plan.digest()}".encode()).digest()  # of this run alone: no other spent its budget
    name = charge_of(run, plan)
    folder.ledger.reserve(name, step_cost=cost, steps=plan.total_steps, subjects=[subject])
    if started:
        folder.ledger.start(name, 1)


@pytest.fixture
def desk(folders: Mapping[str, SiteFolder]) -> Desk:
    return desk_of(folders["hana"])


def update_of(plan: Plan = PLAN, step: int = 1) -> Update:
    total = np.arange(plan.dimension, dtype=np.int64) * plan.grid
    return Update(ClippedSum(total, 6, 0), plan, step, cells=plan.cells)


# -- what passes -----------------------------------------------------------------------------------------------------


def opened_sum(sealed: Mapping[str, Sealed], plan: Plan, key: StepSecret) -> NDArray[np.int64]:
    """What travelled, added as the coordinator adds and opened as a site opens."""
    preset = PRESETS[plan.preset]
    aggregator = Aggregator(preset, plan.dimension)
    for site, answer in sealed.items():
        received = SignedMessage.from_bytes(carry(answer))
        received.verify(study_folder.demo_key(site).public)
        aggregator.add(site, frame.decode(received.part("frame"), preset=preset, dimension=plan.dimension))
    total = aggregator.result()
    return open_sum(total.c0_sum, total.manifest, preset, plan.dimension, secret=key)


@pytest.mark.parametrize("size", [3, 5])
def test_opened_counts_carry_the_noise_of_all_shares(size: int, folders: Mapping[str, SiteFolder]) -> None:
    """Noise halved is a ratio of 0.25. A right mechanism fails here less than once in 10^9."""
    cohort, run, secret = SITES[:size], f"run-{next(RUNS)}", RunSecret.generate()
    given: dict[str, Any] = {"run": run, "plan": WIDE_PLAN, "reserved": WIDE_PLAN, "started": False}
    desks = {site: desk_of(folders[site], **given) for site in cohort}
    noise: list[float] = []
    for step in range(1, DISCLOSURES + 1):
        update, sealed = update_of(WIDE_PLAN, step), {}
        for site, desk in desks.items():
            desk.secret = secret
            desk.folder.ledger.start(charge_of(run, WIDE_PLAN), step)
            sealed[site] = desk.disclose(update, context=desk.context(step, cohort))
        key = StepSecret.derive(secret, desks["ame"].context(step, cohort).transcript)
        noise += (opened_sum(sealed, WIDE_PLAN, key) - size * update.clipped.total).tolist()
    squares = float(np.square(noise).sum()) / (size * WIDE_PLAN.share_variance(size))
    # of a chi-squared with one degree of freedom a value; half of the false alarm on either side
    assert chi2.ppf(FALSE_ALARM / 2, len(noise)) < squares < chi2.isf(FALSE_ALARM / 2, len(noise))
    assert len(noise) == WIDE_PLAN.dimension * DISCLOSURES and chi2.ppf(FALSE_ALARM / 2, len(noise)) > len(noise) / 2


@pytest.mark.parametrize("size", [3, 5])
def test_what_sites_count_is_opened_as_the_truth_with_some_noise(
    size: int, folders: Mapping[str, SiteFolder], people: Mapping[str, TrainingData]
) -> None:
    cohort, run, secret = SITES[:size], f"run-{next(RUNS)}", RunSecret.generate()
    desks = {site: desk_of(folders[site], run=run, reserved=None) for site in cohort}
    for site, desk in desks.items():
        # everybody who is counted is charged: the subjects' own fingerprints, at the price of the plan
        prints = [desk.folder.subject_key.fingerprint(subject) for subject in people[site].rows_of]
        cost = step_cost(PLAN, observers=1, order=desk.folder.ledger_order)
        admitted = desk.folder.ledger.reserve(
            charge_of(run, PLAN), step_cost=cost, steps=PLAN.total_steps, subjects=prints
        )
        assert len(admitted) == SUBJECTS_PER_SITE
        desk.secret = secret
    for step in range(1, DISCLOSURES + 1):
        exact, sealed = np.zeros(PLAN.dimension, dtype=np.int64), {}
        for site, desk in desks.items():
            desk.folder.ledger.start(charge_of(run, PLAN), step)
            update = count_step(
                people[site], people[site].rows_of, STATE, domain=DOMAIN, plan=PLAN, step=step, stream=SecretStream()
            )
            # everybody weighs one, but for rounding
            assert abs(update.clipped.total.sum() / PLAN.grid - SUBJECTS_PER_SITE) < 1
            exact += update.clipped.total
            sealed[site] = desk.disclose(update, context=desk.context(step, cohort))
        key = StepSecret.derive(secret, desks["ame"].context(step, cohort).transcript)
        found = opened_sum(sealed, PLAN, key)
        assert (found != exact).any()
        opened = OpenedCounts.read(found, DOMAIN, PLAN, size)
        assert np.allclose(np.array(opened.values), exact / PLAN.grid, atol=8 * opened.standard_error)
    for desk in desks.values():
        row = next(row for row in desk.folder.ledger.balance().runs if row.run == charge_of(run, PLAN))
        cost = step_cost(PLAN, observers=1, order=desk.folder.ledger_order)
        assert (row.step_cost, row.started, row.disclosed) == (cost, DISCLOSURES, DISCLOSURES)
        told = [entry for entry in desk.entries() if entry["type"] == "counts.disclosed"]
        told = [entry for entry in told if entry["refs"]["run"] == run]
        assert [entry["data"] for entry in told] == [
            {"step": step, "cohort": size, "artefact": COUNTS} for step in range(1, DISCLOSURES + 1)
        ]
        assert told[0]["refs"]["plan"] == PLAN.digest()
        assert told[0]["refs"]["event"] == PLAN.event(size, 1).digest()


def test_a_vote_leaves_under_its_own_name(folders: Mapping[str, SiteFolder]) -> None:
    desk = desk_of(folders["hana"], plan=VOTES_PLAN, reserved=VOTES_PLAN)
    vote = Update(local_vote(True, plan=VOTES_PLAN), VOTES_PLAN, 1, cells=VOTES_PLAN.cells)
    assert type(desk.disclose(vote)) is Sealed
    assert desk.entries()[-1]["data"]["artefact"] == VOTES
    assert desk.request.facts["transfer.artefacts"] == Fact(frozenset({VOTES}), "site-runtime")


def test_one_run_trains_and_counts_and_each_is_charged_for_itself(folders: Mapping[str, SiteFolder]) -> None:
    folder = folders["hana"]
    training = plan_of(folder.study, "probe", dimension=17)
    desk = desk_of(folder)
    reserve(folder, desk.run, training)
    gradients = Update(ClippedSum(np.arange(17, dtype=np.int64), 3, 0), training, 1)
    other = dataclasses.replace(desk.context(), transcript=hashlib.sha256(b"training").digest())
    desk.disclose(update_of())
    desk.disclose(gradients, plan=training, request=desk.request_for(training), context=other)
    rows = {row.run: row for row in folder.ledger.balance().runs}
    for plan in (training, PLAN):
        row = rows[charge_of(desk.run, plan)]
        assert (row.step_cost, row.disclosed) == (step_cost(plan, observers=1, order=folder.ledger_order), 1)
    assert [entry["type"] for entry in desk.entries()[-3::2]] == ["counts.disclosed", "step.disclosed"]
    # what a site is told: the sum for whoever is in both
    assert combined_certificate([training, PLAN], 1)[0] == worst_certificate(training, 1) + worst_certificate(PLAN, 1)


# -- what does not ---------------------------------------------------------------------------------------------------


def test_a_count_that_no_policy_names_is_denied(tmp_path_factory: pytest.TempPathFactory) -> None:
    study = study_folder.build(tmp_path_factory.mktemp("denied") / "study")
    study_folder.sign_stop_list(study, NOW)
    base_model = inspect(locate(read_study(study).base_model, study))
    folder = SiteFolder.open(study, "hana", base_model=base_model, clock=lambda: NOW)
    desk = desk_of(folder)
    with desk.refuses("ARTEFACT_NOT_ALLOWED"):
        desk.disclose(update_of())
    folder.close()


def test_a_count_that_was_decided_as_something_else_is_refused(desk: Desk) -> None:
    training = plan_of(desk.folder.study, "probe", dimension=17)
    facts = desk.request.facts
    both = Request({**facts, "transfer.artefacts": Fact(frozenset({"masked-update", COUNTS}), "site-runtime")})
    for request in (desk.request_for(training), desk.request_for(VOTES_PLAN), both):
        with desk.refuses("REQUEST_FOREIGN"):
            desk.disclose(update_of(), request=request)


def test_gradients_that_were_decided_as_counts_are_refused(folders: Mapping[str, SiteFolder]) -> None:
    training = plan_of(folders["hana"].study, "probe", dimension=17)
    desk = desk_of(folders["hana"], plan=training, reserved=training)
    gradients = Update(ClippedSum(np.arange(17, dtype=np.int64), 3, 0), training, 1)
    with desk.refuses("REQUEST_FOREIGN"):
        desk.disclose(gradients, request=desk.request_for(PLAN))


def test_a_count_that_was_not_charged_is_refused(folders: Mapping[str, SiteFolder]) -> None:
    desk = desk_of(folders["hana"], reserved=None)
    with desk.refuses("RUN_UNKNOWN"):
        desk.disclose(update_of())
    desk = desk_of(folders["hana"], started=False)
    with desk.refuses("STEP_NOT_STARTED"):
        desk.disclose(update_of())
    desk = desk_of(folders["hana"])
    with desk.refuses("STEP_NOT_STARTED"):
        desk.disclose(update_of(step=2), context=desk.context(2))


def test_a_count_that_was_charged_under_another_plan_is_refused(folders: Mapping[str, SiteFolder]) -> None:
    # the same shape, price and noise with other cells; the run's own gradients; the same cells at another price
    other = dataclasses.replace(PLAN, cells=validation("positive", "negative").cells)
    training = plan_of(folders["hana"].study, "probe", dimension=17)
    cheaper = dataclasses.replace(PLAN, epsilon=Decimal("0.4"))
    for reserved in (other, training, cheaper):
        desk = desk_of(folders["hana"], reserved=reserved)
        with desk.refuses("RUN_UNKNOWN"):
            desk.disclose(update_of())


def test_a_count_that_was_charged_less_than_it_costs_is_refused(folders: Mapping[str, SiteFolder]) -> None:
    desk = desk_of(folders["hana"], reserved=None)
    cost = step_cost(PLAN, observers=1, order=desk.folder.ledger_order)
    reserve(desk.folder, desk.run, PLAN, cost=cost - 1)
    stream = SecretStream(bytes(32))
    with desk.refuses("CHARGED_TOO_LITTLE"):
        desk.disclose(update_of(), stream=stream)
    assert stream.bytes(64) == SecretStream(bytes(32)).bytes(64)  # and no noise was drawn for it
    # the control: one unit of the ledger more, and it leaves
    desk = desk_of(folders["hana"], reserved=None)
    reserve(desk.folder, desk.run, PLAN, cost=cost)
    assert desk.disclose(update_of())


def test_a_count_sealed_twice_is_refused(desk: Desk) -> None:
    first = desk.disclose(update_of())
    with desk.refuses("ALREADY_SEALED"):
        desk.disclose(update_of())
    assert desk.folder.ledger.sealed(charge_of(desk.run, PLAN), 1) == first.to_bytes()
    assert desk.gate.resend(first.to_bytes()).to_bytes() == first.to_bytes()


def test_a_count_sealed_where_gradients_were_is_refused(desk: Desk) -> None:
    # one transcript makes one key and one set of masks: two frames under them would show their difference
    training = plan_of(desk.folder.study, "probe", dimension=17)
    reserve(desk.folder, desk.run, training)
    gradients = Update(ClippedSum(np.arange(17, dtype=np.int64), 3, 0), training, 1)
    desk.disclose(gradients, plan=training, request=desk.request_for(training))
    with desk.refuses("TRANSCRIPT_SEALED"):
        desk.disclose(update_of())


def test_a_count_after_a_stop_is_refused(desk: Desk) -> None:
    stopped = Request({**desk.request.facts, "stop.active": Fact(True, "roster")})
    with desk.refuses("STOPPED"):
        desk.disclose(update_of(), request=stopped)


def test_exact_counts_find_no_way_out(desk: Desk) -> None:
    exact = np.array([12, 2, 1, 14, 0, 1], dtype=np.int64)
    for bare in (exact, ClippedSum(exact, 30, 0), OpenedCounts(DOMAIN, (12.0, 2.0, 1.0, 14.0, 0.0, 1.0), 0.0)):
        with desk.refuses("UPDATE_FOREIGN"):
            desk.disclose(bare)
        with desk.refuses("NOT_TELLABLE"):
            desk.gate.tell(bare, request=desk.request)  # type: ignore[arg-type]
    # with the noise of nobody: no such plan, and with the least that a plan may hold it is not what was charged
    with pytest.raises(BadParametersError) as caught:
        dataclasses.replace(PLAN, share_variances=((5, 0), (4, 0), (3, 0)))
    assert caught.value.code == "BAD_PLAN"
    narrow = dataclasses.replace(PLAN, share_variances=((5, 1024), (4, 1024), (3, 1024)))
    with desk.refuses("RUN_UNKNOWN"):
        desk.disclose(update_of(narrow), plan=narrow, request=desk.request)
    cost = step_cost(PLAN, observers=1, order=desk.folder.ledger_order)
    reserve(desk.folder, desk.run, narrow, cost=cost)
    with desk.refuses("CHARGED_TOO_LITTLE"):
        desk.disclose(update_of(narrow), plan=narrow, request=desk.request)


class ReadyWithCounts(Ready):
    """What somebody might add one day."""

    right: int = 26


def test_no_control_message_has_room_for_a_count(desk: Desk) -> None:
    with desk.refuses("NOT_TELLABLE"):
        more = ReadyWithCounts(step=1, transcript="00" * 32, consent="hmac-sha256:" + "c0" * 32)
        desk.gate.tell(more, request=desk.request)
    assert desk.gate.tell(Finished(step=1, state_mac="00"), request=desk.request).message.payload == b""
    assert all(not {"cells", "counts", "values", "right"} & set(body.model_fields) for body in TELLABLE)


def test_a_refusal_of_the_policy_names_its_clause(desk: Desk) -> None:
    small = Request({**desk.request.facts, "cohort.sites": Fact(2, "roster")})
    with pytest.raises(Refused) as caught:
        desk.disclose(update_of(), request=small)
    assert (caught.value.code, caught.value.clause) == ("COHORT_TOO_SMALL", "6")


def test_the_artefact_follows_from_the_plan_and_not_from_who_asks(folders: Mapping[str, SiteFolder]) -> None:
    training = plan_of(folders["hana"].study, "probe", dimension=17)
    named = [artefact_of(plan) for plan in (training, PLAN, VOTES_PLAN)]
    assert named == ["masked-update", "noised-counts", "validation-votes"]
    assert charge_of("run-1", training) == "run-1" and charge_of("run-1", PLAN) == f"run-1/{PLAN.digest()}"
