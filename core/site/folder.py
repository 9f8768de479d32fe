"""What a site owns, opened and checked together: papers, keys, ledger, consent register, log.

Papers are what was signed: roster, study, policy, base-model record. They are checked in one order, each check with its
own code, before the ledger or a record is touched. State lives in ``sites/<id>/state/`` beside the study, mode 0700,
never under an output folder, and survives the process.

Not here: one run's state (state.py), decisions (gate/), and what happens to records (training/).

Order of calls: ``SiteFolder.open`` → ``standing`` / ``request_for_plan`` per decision → ``close``. What becomes of a
run that a crash left open is for whoever opens the folder to say: ``open_runs`` closes it, or leaves it (resuming.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from ...governance.canonical import digest_bytes
from ...governance.consent.consent import ConsentRegister
from ...governance.log.auditlog import AuditLog
from ...governance.log.entries import Entry, EntryType, Value
from ...governance.log.witness import Witness
from ...governance.policy.policy import Policy
from ...governance.policy.request import Request
from ...governance.provenance.records import CommittedRecords
from ...governance.signing.keys import SigningKey
from ...governance.signing.roster import Roster
from ...privacy.accounting.ledger import Ledger
from ...privacy.accounting.plan import Plan
from ...privacy.accounting.subjects import SubjectKey
from ...privacy.budget import Budget
from ..data.dataset import Dataset, TestSet
from ..data.intake import BaseModelFacts
from ..errors import Refused
from ..gate.artefacts import artefact_of, run_of
from ..gate.facts import ARTEFACT, Standing, request_for
from ..messages import Offer
from ..parties import LOG_NAME, StateLock, load_key, log_origin, make_private_folder, state_folder
from ..study import Study
from ..watching import WITNESS_NAME
from .budget import begun, lifetime_figures, open_ledger, policy_budget
from .consents import IMPORTED_FILE, REGISTER, import_consents, snapshot
from .departures import check_departures
from .heads import SeenHeads
from .keeping import KeptRun, RunFiles
from .memory import accept_policy, accept_roster, stops_now
from .papers import (
    Papers,
    check_base_model_signed,
    check_policy_signed,
    read_file,
    read_papers,
    requester_is_known,
    study_approvals,
)
from .places import Places
from .put_back import Clock, check_ledger
from .reach import Reach


@dataclass
class SiteFolder(Places):
    """One site's belongings. ``clock`` returns aware UTC; tests hand in another."""

    papers: Papers
    key: SigningKey
    base_model: BaseModelFacts
    ledger: Ledger
    ledger_order: int
    budget: Budget
    register: ConsentRegister
    subject_key: SubjectKey
    log: AuditLog
    lock: StateLock
    clock: Callable[[], datetime]
    acted: Clock
    heads: SeenHeads
    reach: Reach
    witness: Witness
    files: RunFiles
    resumes: bool = False  # whether this site's runs outlive its process (resuming.go_on)
    kept: KeptRun | None = None

    @classmethod
    def open(
        cls,
        study_folder: Path,
        site: str,
        *,
        base_model: BaseModelFacts,
        clock: Callable[[], datetime],
        open_runs: Callable[[SiteFolder], None] | None = None,
    ) -> SiteFolder:
        """Open and check everything of ``site``. Raises coded errors; nothing is created before papers are in order."""
        # 1. papers: roster, study, policy, base-model record, each signed by those who may
        papers = read_papers(study_folder, site, base_model=base_model, now=clock())
        # 2. this site's signing key is the roster's
        key = load_key(study_folder, site, demo=papers.roster.demo)
        papers.roster.check_own_key(site, key)
        # 3. state, readable by its owner alone
        state = state_folder(study_folder, site)
        make_private_folder(state)
        lock = StateLock(state, site)
        try:
            return cls._open_state(study_folder, site, papers, key, base_model, lock, clock, open_runs or close_runs)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def _open_state(
        cls,
        study_folder: Path,
        site: str,
        papers: Papers,
        key: SigningKey,
        base_model: BaseModelFacts,
        lock: StateLock,
        clock: Callable[[], datetime],
        open_runs: Callable[[SiteFolder], None],
    ) -> SiteFolder:
        state = state_folder(study_folder, site)
        # 4. the log first: what cannot be logged must not happen
        log = AuditLog.open(state / LOG_NAME, origin=log_origin(papers.study.id, site), key=key)
        # 5. at no time before this site has acted: what has expired would count again
        acted = Clock.of_log(site, state / LOG_NAME)
        acted.check(clock())
        # 6. a policy that no ledger can hold is not remembered, or nothing could be put in its place but a newer one
        policy_budget(papers.policy)
        # 7. the roster and the policy: never an earlier one than this site ran under, and no other of the same version
        accept_roster(log, study_folder, site, papers.roster, at=clock())
        accept_policy(log, study_folder, site, papers.policy, at=clock())
        # 8. the ledger, under the policy's lifetime budget, at the order that suits the study; never one behind the log
        ledger, subject_key, budget, order = open_ledger(state, papers.policy, papers.study)
        check_ledger(site, ledger.balance(), log, state / LOG_NAME)
        # 9. consent as the site holds it now
        register = ConsentRegister.open(state / REGISTER)
        import_consents(register, study_folder / "sites" / site / IMPORTED_FILE)
        reach = Reach.open(state, subject_key.fingerprint)
        #    and nobody who withdrew is back in it because it was put back
        check_departures(site, register, reach, state / LOG_NAME, scope=papers.study.legal_basis_scope)
        folder = cls(
            site, study_folder, papers, key, base_model, ledger, order, budget, register, subject_key, log, lock, clock,
            acted, SeenHeads(state / "heads.json", site), reach, Witness(state / WITNESS_NAME),
            RunFiles(state / "runs", site, key),
        )  # fmt: skip
        #    and its log is told, in the same words whether or not anything has changed
        told = snapshot(register, subject_key, f"opened/{log.size}")
        folder.record("consent.imported", refs={"snapshot": told})
        # 10. runs that a crash left open: what was started stays spent
        open_runs(folder)
        # 11. withdrawals that came while no process held the log
        folder.reach.take_entries(log.append)
        return folder

    def close(self) -> None:
        """Close the databases."""
        self.ledger.shut()
        self.register.close()
        self.reach.close()
        self.witness.close()
        self.log.close()
        self.lock.release()

    # -- papers ----------------------------------------------------------------------------------------------------

    @property
    def study(self) -> Study:
        """The approved study."""
        return self.papers.study

    @property
    def roster(self) -> Roster:
        """The roster that this site signed."""
        return self.papers.roster

    @property
    def policy(self) -> Policy:
        """This site's own policy."""
        return self.papers.policy

    # -- decisions -------------------------------------------------------------------------------------------------

    def standing(
        self,
        *,
        cohort: Sequence[str],
        observers: int,
        epsilon: Decimal,
        delta: Decimal,
        steps: int,
        lifetime_fits: bool,
    ) -> Standing:
        """What the site itself knows now, for ``cohort`` (site ids). What has expired or was revoked counts no more."""
        now = self.clock()
        self.acted.check(now)
        roster = self.roster
        roster.check_valid(now)
        check_base_model_signed(self.study_folder, self.papers.base_model, roster, now=now)
        self._check_policy_stands()
        check_policy_signed(self.study_folder, self.site, self.policy, roster, seen=self.papers.shown, now=now)
        everybody = (*self.study.sites, roster.coordinator.id)
        stops = stops_now(self.log, self.study_folder, self.site, roster, self.study, self.policy, now=now)
        return Standing(
            now=now,
            stopped=stops.stopped,
            stop_roles=stops.roles,
            restart_roles=stops.restart_roles,
            stop_list_age_hours=stops.list_age_hours,
            consent_eligible=self._anybody_consents(now),
            cohort=roster.distinct_controllers(cohort),
            observers=observers,
            epsilon=epsilon,
            delta=delta,
            lifetime_fits=lifetime_fits,
            steps=steps,
            base_model_digest=self.base_model.digest,
            base_model_licence=self.papers.base_model.licence,
            base_model_disclosure=str(self.papers.base_model.disclosure),
            destinations=frozenset(roster.party(party).country for party in everybody),
            approvals=study_approvals(self.study_folder, self.study, roster, now=now),
            requester_excluded=requester_is_known(self.study, roster),
        )

    def _check_policy_stands(self) -> None:
        """The file of this site's policy is the one that was opened: a newer one is heard at once, not at the next run.

        Raises ``Refused`` POLICY_SUPERSEDED. The file is not parsed: this happens at every step.
        """
        path = self.study_folder / "sites" / self.site / "policy.yaml"
        if not path.is_file() or digest_bytes(read_file(path)) != self.policy.bytes_digest:
            raise Refused(
                "POLICY_SUPERSEDED",
                f"{self.site}: policy.yaml is another file by now, or none, than the one under which this site began",
                hint="nothing goes on under a policy that was taken away; a new run begins under the one that is there",
                site=self.site,
            )

    def request(
        self, standing: Standing, *, method: str, action: str = "train", artefact: str = ARTEFACT
    ) -> Request:
        """The request that this standing amounts to; ``artefact`` is what training would send out."""
        return request_for(self.study, standing, method=method, action=action, artefact=artefact)

    def request_for_plan(
        self,
        plan: Plan,
        epsilon: float,
        offer: Offer,
        *,
        cohort: Sequence[str] | None = None,
        action: str = "train",
    ) -> Request:
        """The request of a run whose budget is reserved: lifetime fits, because it is already charged."""
        standing = self.standing(
            cohort=offer.sites if cohort is None else cohort,
            observers=plan.observers,
            epsilon=rounded_up(epsilon),
            delta=plan.delta,
            steps=plan.total_steps,
            lifetime_fits=True,
        )
        # consent of the whole set is judged at the join; inside a run an empty set goes on sending charged noise
        return request_for(
            self.study, _with_consent(standing), method=offer.method, action=action, artefact=artefact_of(plan)
        )

    def lifetime_fits(self, cost: int, beside: int = 0) -> bool:
        """Whether the budget of a person who was in every run so far could still take ``cost`` (ledger units).

        And that of a person who was counted beside every run, ``beside``: nobody is both (data/held_out.py).

        Asked of the runs and of no real person: others see the answer, and it must not tell who is here
        (review_protocol.md, 8). So people who are new since an earlier run find the budget as that run left it.
        """
        balance = self.ledger.balance()
        return balance.spent_by_runs + cost <= balance.cap and balance.spent_beside + beside <= balance.cap

    def close_charges(self, run: str) -> None:
        """Give back whatever of ``run`` was reserved and never started: of its steps, and of its counts."""
        charges = [row.run for row in self.ledger.balance().runs if run_of(row.run) == run and row.state == "open"]
        for charge in charges:
            self.ledger.close(charge)
        if charges:
            self._record_settled(run)

    def _record_settled(self, run: str) -> None:
        figures = lifetime_figures(self.ledger.balance(), self.budget)
        self.record(str(EntryType.BUDGET_SETTLED), refs={"run": run}, data=figures)

    def runs_of_stage(self, *, besides: str = "") -> int:
        """How many runs of this study, in its present stage, have begun here; not counting ``besides``."""
        return len(begun(self.log, self.ledger, study=self.study.id, stage=self.study.stage) - {besides})

    def _anybody_consents(self, now: datetime) -> bool:
        return self.register.anybody(self.study.legal_basis_scope, now)

    # -- data and record -------------------------------------------------------------------------------------------

    def dataset(self) -> Dataset:
        """The site's records, read now. Raises ``BadInputError``."""
        return Dataset.load(self.records, labels=self.study.labels)

    def public_texts(self) -> tuple[str, ...]:
        """The texts of the study's public records, held against its digest. Raises ``BadInputError``."""
        named = self.study.test_set
        return TestSet.load(self.study_folder / named.file, labels=self.study.labels, digest=named.digest).texts

    def dataset_digest(self) -> str:
        """SHA-256 of the records file; only a commitment to it under a key of this run leaves."""
        return digest_bytes(read_file(self.records))

    def committed_records(self, run: str) -> CommittedRecords:
        """The site's records, read now, under a key of this site and ``run``: the commitment, and proofs to it."""
        key = self.subject_key.fingerprint(f"run/{run}")
        by_subject = self.dataset().records.values()
        return CommittedRecords.of(key, (record.digest for records in by_subject for record in records))

    def record(
        self, kind: str, *, refs: dict[str, str] | None = None, data: dict[str, Value] | None = None
    ) -> None:
        """Append one entry to this site's log, durably."""
        self.log.append(Entry(type=kind, party=self.site, at=self.clock(), refs=refs or {}, data=data or {}))


def close_runs(folder: SiteFolder) -> None:
    """Close whatever a crash left open, and drop what was kept of it."""
    for run in sorted({run_of(charge) for charge in folder.ledger.close_orphans()}):
        folder._record_settled(run)
        folder.record("run.stopped", refs={"run": run}, data={"code": "ORPHAN_CLOSED"})
    for run in folder.files.begun():
        folder.files.discard(run)


def rounded_up(epsilon: float) -> Decimal:
    """A certificate as a decimal for a policy, rounded up to four places: never below what it is."""
    return Decimal(repr(epsilon)).quantize(Decimal("0.0001"), rounding="ROUND_CEILING")


def _with_consent(standing: Standing) -> Standing:
    return replace(standing, consent_eligible=True)
