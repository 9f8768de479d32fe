"""Whether each protection held in a finished run, from what the parties kept, not from what the code intends.

Each answer names the evidence that it rests on. What cannot be shown counts as failed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ...governance.errors import BrokenLogError
from ...privacy.accounting.plan import Plan
from ...privacy.accounting.second_opinion import second_opinion
from ...privacy.encryption import frame
from ...privacy.encryption.presets import PRESETS
from ...privacy.errors import PrivacyError
from ..coordinator.coordinator import RunResult
from ..gate.artefacts import charge_of
from ..planning import counts_plan_of
from .federation import Federation
from .findings import Protection


def protections_held(federation: Federation, result: RunResult) -> dict[str, bool]:
    """One yes or no for each protection of the summary."""
    entries = {name: list(_entries(federation, name, result.run)) for name in federation.sites}
    plans = _plans(federation, result.method, result.plan)
    sealed = [entry for of_site in entries.values() for entry in of_site if entry["type"] in plans]
    return {
        Protection.POLICY: all(_permitted(of_site) for of_site in entries.values()),
        Protection.CONSENT: all(_only_consenting(federation, name, of_site) for name, of_site in entries.items()),
        Protection.BUDGET: all(_charged(federation, name, result) for name in federation.sites),
        Protection.NOISE: bool(sealed)
        and all(_noise_as_charged(plans[entry["type"]], entry) for entry in sealed)
        and not any(_contradicted(federation, name, result) for name in federation.sites),
        Protection.ENCRYPTION: _ciphertext_only(result),
        Protection.OPENING: all(_opened_as_summed(federation, name, result) for name in _finishers(federation)),
        Protection.SIGNATURES: not any(site in federation.embedded.failures for site in _finishers(federation)),
        Protection.AGREEMENT: result.state_macs_agree and _same_state(federation),
        Protection.LOG: _logs_hold(federation),
    }


def protections_of_failed(federation: Federation, method: str, run: str, plan: Plan) -> dict[str, bool]:
    """What the parties' books can still show of a run that did not finish; the rest stays unsaid, never a yes."""
    entries = [list(_entries(federation, name, run)) for name in federation.sites]
    plans = _plans(federation, method, plan)
    sealed = [entry for of_site in entries for entry in of_site if entry["type"] in plans]
    charges = {charge_of(run, one): one for one in plans.values()}
    return {
        Protection.BUDGET: all(
            row.disclosed <= row.started <= charges[row.run].total_steps
            for site in federation.sites.values()
            for row in site.folder.ledger.balance().runs
            if row.run in charges
        ),
        Protection.NOISE: all(_noise_as_charged(plans[entry["type"]], entry) for entry in sealed),
        Protection.LOG: _logs_hold(federation),
    }


def _plans(federation: Federation, method: str, plan: Plan) -> dict[str, Plan]:
    """What the sites disclosed under which plan, by the type of the log's entry."""
    counts = counts_plan_of(federation.study, method)
    return {"step.disclosed": plan} | ({} if counts is None else {"counts.disclosed": counts})


def _entries(federation: Federation, site: str, run: str) -> Iterator[dict[str, Any]]:
    for line in federation.sites[site].folder.log.entries():
        entry = json.loads(line)
        if entry["refs"].get("run") == run:
            yield entry


def _permitted(entries: list[dict[str, Any]]) -> bool:
    # the first thing this site did in the run was to permit it, and no decision in the run refused
    kinds = [entry["type"] for entry in entries]
    return bool(kinds) and kinds[0] == "decision.permit" and "decision.refuse" not in kinds


def _only_consenting(federation: Federation, name: str, entries: list[dict[str, Any]]) -> bool:
    # who joined had consent then, and the register was asked, and committed to, in every step that was started
    site = federation.sites[name]
    if site.tools is None or not set(site.tools.admitted) <= set(site.tools.considered.subjects):
        return False
    counted = site.tools.considered.counted
    if not set(site.tools.held_out) <= set(() if counted is None else counted.subjects) - set(site.tools.admitted):
        return False
    snapshots = [entry["data"] for entry in entries if entry["type"] == "consent.snapshot"]
    steps = {data["step"] for data in snapshots if "step" in data}
    counts = {data["count"] for data in snapshots if "count" in data}
    return steps >= {entry["data"]["step"] for entry in entries if entry["type"] == "step.started"} and counts >= {
        entry["data"]["step"] for entry in entries if entry["type"] == "counts.disclosed"
    }


def _charged(federation: Federation, name: str, result: RunResult) -> bool:
    rows = {row.run: row for row in federation.sites[name].folder.ledger.balance().runs}
    plans = _plans(federation, result.method, result.plan).values()
    return all(
        (row := rows.get(charge_of(result.run, plan))) is not None and row.disclosed <= row.started <= plan.total_steps
        for plan in plans
    )


def _noise_as_charged(plan: Plan, entry: dict[str, Any]) -> bool:
    data = entry["data"]
    return bool(entry["refs"]["event"] == plan.event(data["cohort"], data["step"]).digest())


def _contradicted(federation: Federation, name: str, result: RunResult) -> bool:
    # another accountant finds more than the site was promised, by more than its own error
    tools, cohort = federation.sites[name].tools, len(result.state.cohort)
    if tools is None or tools.considered.plan != result.plan:
        return True
    try:
        opinion = second_opinion(result.plan, cohort=cohort, observers=result.plan.observers)
    except PrivacyError:
        return False  # no figure is no contradiction: the certificate is the proven one
    return opinion.contradicts(tools.considered.epsilon)


def _finishers(federation: Federation) -> list[str]:
    gone = federation.embedded.failures
    return [name for name, site in federation.sites.items() if site.state is not None and name not in gone]


def _ciphertext_only(result: RunResult) -> bool:
    # a frame is exactly seeds and 60-bit words: there is no room for anything in the clear
    preset, dimension = PRESETS[result.plan.preset], result.plan.dimension
    return result.traffic.frame_payload == frame.ciphertext_length(preset, dimension)


def _opened_as_summed(federation: Federation, name: str, result: RunResult) -> bool:
    state = federation.sites[name].state
    if state is None:
        return False
    opened = {(part.step, part.sum, part.cohort) for part in state.history if part.outcome == "completed"}
    summed = {(out.step, out.total, out.cohort) for out in result.state.outcomes if out.status == "summed"}
    return opened == summed


def _same_state(federation: Federation) -> bool:
    states = [federation.sites[name].state for name in _finishers(federation)]
    return len({state.optimizer.digest() for state in states if state is not None}) == 1


def _logs_hold(federation: Federation) -> bool:
    try:
        federation.coordinator_log.fsck()
        for site in federation.sites.values():
            site.folder.log.fsck()
    except BrokenLogError:
        return False
    return True
