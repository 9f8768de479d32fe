"""A site's budget for people: what was spent of how much, by which runs. Stays at the site.

Not here: charging (privacy/accounting/ledger.py). This reads the ledger under the policy that stands beside it now.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import Any

from ...governance.log.auditlog import AuditLog
from ...governance.log.entries import Entry, Value
from ...governance.policy.policy import Policy
from ...privacy.accounting.accountant import filter_cap, filter_epsilon, filter_order
from ...privacy.accounting.ledger import Ledger
from ...privacy.accounting.reading import Balance, read_balance
from ...privacy.accounting.subjects import SubjectKey
from ...privacy.budget import Adjacency, Budget, Unit
from ..gate.artefacts import run_of
from ..parties import state_folder
from ..planning import expected_runs
from ..study import Study
from .papers import read_policy

_COUNTED_FOR = {"subject": "a person who", "record": "a record that"}
_ADDED_OR_REMOVED = {"subject": "one person with all records added or removed", "record": "one record added or removed"}
_KNOWN = {"subject": "people", "record": "records"}


@dataclass(frozen=True)
class RunView:
    """One run in the ledger."""

    run: str
    steps: int
    started: int
    disclosed: int
    state: str


@dataclass(frozen=True)
class BudgetView:
    """Lifetime, spent (by all runs together: what decides about the next) and runs. Epsilons: text, four places.

    ``order`` is 0 until there is a ledger: it is fixed when that is opened for a first study.
    """

    site: str
    unit: str
    adjacency: str
    epsilon_lifetime: str
    epsilon_spent: str
    delta: str
    order: int
    subjects: int
    runs: tuple[RunView, ...]

    def to_json(self) -> dict[str, Any]:
        """The fields as plain values."""
        return asdict(self)


def policy_budget(policy: Policy) -> Budget:
    """The lifetime budget of a policy's privacy clause."""
    clause = policy.clause("privacy_budget")
    return Budget(
        epsilon=Decimal(clause.lifetime.epsilon),
        delta=Decimal(clause.lifetime.delta),
        unit=Unit(clause.unit),
        adjacency=Adjacency(clause.adjacency),
    )


def open_ledger(state: Path, policy: Policy, study: Study) -> tuple[Ledger, SubjectKey, Budget, int]:
    """The site's ledger under ``policy``; with the key of its subjects, the budget and the filter's order.

    A new ledger counts at the order that suits ``study``, which is public and fixed before anything is spent.
    """
    budget = policy_budget(policy)
    path = state / "ledger.sqlite"
    # the order is fixed for a ledger's life, also when a later policy changes epsilon or another study comes
    order = Ledger.stored_order(path) or filter_order(budget, expected_runs(study))
    subject_key = SubjectKey.load_or_create(state / "subject.key")
    ledger = Ledger.open(
        path,
        dataset=policy.dataset.id,
        budget=budget,
        order=order,
        cap=filter_cap(budget, order),
        key=subject_key.ledger_key(),
    )
    return ledger, subject_key, budget, order


def begun(log: AuditLog, ledger: Ledger, *, study: str, stage: str) -> frozenset[str]:
    """The runs of this stage of the study that began a step here, or may yet.

    The log says which runs were reserved for the stage, the ledger which of them came to a step; the coordinator, which
    names runs, is asked neither.
    """
    wanted = {"study": study, "stage": stage}
    entries = (Entry.from_bytes(body) for body in log.entries() if b'"budget.reserved"' in body)
    reserved = {entry.refs["run"] for entry in entries if wanted.items() <= dict(entry.data).items()}
    # a count that was started makes its run one that began; it is none of its own
    counted = {run_of(row.run) for row in ledger.balance().runs if row.started or row.state == "open"}
    return frozenset(reserved & counted)


def view_of(site: str, balance: Balance, budget: Budget) -> BudgetView:
    """A balance in the words of the policy's budget."""
    return BudgetView(
        site=site,
        unit=str(budget.unit),
        adjacency=str(budget.adjacency),
        epsilon_lifetime=str(budget.epsilon),
        epsilon_spent=_spent_text(balance, budget),
        delta=str(budget.delta),
        order=balance.order,
        subjects=balance.subjects,
        runs=tuple(RunView(row.run, row.steps, row.started, row.disclosed, row.state) for row in balance.runs),
    )


def lifetime_figures(balance: Balance, budget: Budget) -> dict[str, Value]:
    """For a log entry: what the runs have spent together, of how much. It depends on no person (``Balance``)."""
    spent = _spent_text(balance, budget)
    return {"spent": spent, "lifetime": f"{budget.epsilon:f}", "lifetime_delta": f"{budget.delta:f}"}


def _spent_text(balance: Balance, budget: Budget) -> str:
    exact = Decimal(repr(filter_epsilon(balance.spent_by_all_runs, balance.order, budget.delta)))
    return str(exact.quantize(Decimal("0.0001"), rounding=ROUND_CEILING))  # as reports have it: never below what it is


def budget_lines(view: BudgetView) -> tuple[str, ...]:
    """The view in sentences: what is counted of how much and by which method, the people known, each run."""
    left = max(Decimal(0), Decimal(view.epsilon_lifetime) - Decimal(view.epsilon_spent))
    return (
        f"{view.site}: all runs together count epsilon {view.epsilon_spent} of {view.epsilon_lifetime} for "
        f"{_COUNTED_FOR[view.unit]} was in every one of them ({left:.4f} left in this count; reserved steps "
        f"included; delta {Decimal(view.delta):f}; {_ADDED_OR_REMOVED[view.unit]})",
        "This count adds up over a lifetime and is made by another method than the epsilon of one run; "
        "for a single run it is the larger of the two.",
        f"{_KNOWN[view.unit]} known to the ledger: {view.subjects}",
        *(
            f"  {run.run}: {run.started} steps started, {run.disclosed} disclosed, {run.steps} reserved, {run.state}"
            for run in view.runs
        ),
    )


def budget_view(study_folder: Path, site: str) -> BudgetView:
    """The view of the ledger on disk; a site without a ledger has spent nothing."""
    policy = read_policy(study_folder, site)
    state = state_folder(study_folder, site)
    if not (state / "ledger.sqlite").exists():
        budget = policy_budget(policy)
        return BudgetView(
            site=site,
            unit=str(budget.unit),
            adjacency=str(budget.adjacency),
            epsilon_lifetime=str(budget.epsilon),
            epsilon_spent="0.0000",
            delta=str(budget.delta),
            order=0,
            subjects=0,
            runs=(),
        )
    budget = policy_budget(policy)
    order = Ledger.stored_order(state / "ledger.sqlite") or filter_order(budget)
    return view_of(site, read_balance(state / "ledger.sqlite", cap=filter_cap(budget, order)), budget)
