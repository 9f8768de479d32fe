"""What stays at one site of its runs: whom they used, what they spent, what a head of its own is worth to it.

For: the site's own report, after a pilot in one process and after a run on many machines alike. Not for: what may be
said beyond the site (facts.py, runs.py), or writing the report (site_report.py).

Order of calls: ``site_run`` after each run, before the next begins; ``personal_facts_at`` after the last; then
``site_facts``.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...governance.policy.explain import explanations
from ...privacy.accounting.accountant import filter_epsilon
from ..site.budget import policy_budget
from ..site.folder import SiteFolder
from ..site.personal import personalise
from ..site.site import Site
from ..training.evaluation import wilson_interval
from .figures import round_up
from .site_report import ClauseWords, DueRemedy, LedgerRun, PersonalFacts, SiteReportInput, SiteRun


def spent(folder: SiteFolder) -> float:
    """What the site's runs have spent of its lifetime, as the epsilon of a person who was in all of them."""
    balance = folder.ledger.balance()
    # of the runs, not of the people in them: the common report shows it to everybody
    return round_up(filter_epsilon(balance.spent_by_all_runs, balance.order, policy_budget(folder.policy).delta))


def site_run(site: Site, method: str, run: str) -> SiteRun | None:
    """What stays at ``site`` of the run that has just ended; None where the site never joined it."""
    tools = site.tools
    joined = any(row.run == run for row in site.folder.ledger.balance().runs)
    if tools is None or tools.considered.offer.method != method or not joined:
        return None
    excluded = {str(reason): count for reason, count in tools.considered.excluded.items()}
    counted = tools.considered.counted
    asked = len(tools.considered.subjects) + len(() if counted is None else counted.subjects)
    without_budget = asked - len(tools.admitted) - len(tools.held_out)
    if without_budget:
        excluded["budget"] = without_budget
    return SiteRun(
        method=method,
        run=run,
        used_subjects=len(tools.admitted) + len(tools.held_out),
        excluded=excluded,
        epsilon=round_up(tools.considered.run_epsilon),
        delta=tools.considered.run_delta,
        left=site.folder.reach.left(run),
    )


def personal_facts_at(site: Site, method: str) -> PersonalFacts | None:
    """Train the site's own head; None where there are too few records. Raises what ``personalise`` does."""
    head = personalise(site)
    if head is None:
        return None
    before = wilson_interval(head.correct_before, head.held_out)
    after = wilson_interval(head.correct_after, head.held_out)
    return PersonalFacts(
        method=method,
        held_out=head.held_out,
        accuracy_before=head.correct_before / head.held_out,
        before_low=before[0],
        before_high=before[1],
        accuracy_after=head.correct_after / head.held_out,
        after_low=after[0],
        after_high=after[1],
    )


def site_facts(
    folder: SiteFolder,
    runs: Sequence[SiteRun],
    *,
    started: str,
    personal: PersonalFacts | None = None,
) -> SiteReportInput | None:
    """What stays at the site; None for one that never joined a run."""
    if not runs:
        return None
    study, roster = folder.study, folder.roster
    budget = policy_budget(folder.policy)
    balance = folder.ledger.balance()
    dataset = folder.dataset()
    return SiteReportInput(
        site=folder.site,
        name=roster.party(folder.site).name,
        study=study.id,
        title=study.title,
        started=started,
        demo=roster.demo,
        root=roster.fingerprint,
        records=len(dataset),
        subjects=len(dataset.subjects),
        unit=study.unit.value,
        runs=tuple(runs),
        lifetime_epsilon=budget.epsilon,
        lifetime_delta=budget.delta,
        observers=study.observers,
        spent_by_all_runs=spent(folder),
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
        policy=_policy(folder),
        log_entries=folder.log.size,
        log_root=folder.log.root().hex(),
        disclaimer=study.disclaimer,
    )


def _policy(folder: SiteFolder) -> tuple[ClauseWords, ...]:
    grants = {grant.id for grant in folder.policy.grants}
    return tuple(
        ClauseWords(
            id=one.id,
            name=one.name,
            prose=one.prose,
            enforced=one.enforced,
            recorded=one.recorded,
            grant=one.id in grants,
        )
        for one in explanations(folder.policy)
    )
