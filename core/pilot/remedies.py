"""What withdrawals ask of adapters that exist, carried out: notices, revocation, or the run done again from its base.

For: ``carry_out``, which works off every remedy that is due at any site, each adapter once. Not for: taking a
withdrawal (site/remedy.py), what a policy's term means (governance/consent/withdrawal.py), or unlearning.

A run starts from public numbers, and nobody enters while it is at work: so the last state before somebody's data came
in is the state before the run began, and the base is where it is done again from. The new run is charged like any
other, and every site considers it anew. Where a site refuses, the old adapter is revoked or destroyed all the same.
Other sites learn that a run is repeated, not for whom or for how many.

Order of calls: ``carry_out(study_folder, listener)``; ``note_release`` after every publication, here and in a pilot.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from ...governance.consent.withdrawal import FALLBACK, Act, Effect, acts, prevailing
from ...governance.errors import GovernanceError
from ...privacy.errors import PrivacyError
from ..errors import CoreError
from ..site.folder import SiteFolder
from ..site.publish import publish
from ..site.reach import RunReach
from ..site.revocations import revoke_released
from ..site.site import Site
from ..site.superseded import destroy, write_notices
from ..site.withdrawal_statement import say
from ..training.features import Features
from .facts import balances
from .federation import CodedError, Federation, new_run_id
from .figures import round_up
from .personal import personal_facts
from .preflight import SitesError

CODED = (CoreError, GovernanceError, PrivacyError)


class Listener(Protocol):
    """Who is told how it goes on; the command line prints it."""

    def say(self, text: str = "") -> None:
        """One line of prose."""

    def progress(self, stage: str, done: int, total: int) -> None:
        """Long work goes on."""


@dataclass(frozen=True)
class Repeated:
    """A run that was done again: what came of it, and what it cost each site, as ε of certificate and ledger."""

    run: str
    adapter: str
    released: bool
    not_released: str            # the code of the refusal, "" where it was released or was never to be
    steps: int
    seconds: float
    certificate: dict[str, float]
    before: dict[str, float]
    after: dict[str, float]


@dataclass(frozen=True)
class Settled:
    """One adapter's remedy. ``refused`` is why the run could not be done again; "" where it was not asked or was done.

    ``outcome``: kept, notified, revoked, destroyed, retrained or no-adapter.
    """

    run: str
    adapter: str
    outcome: str
    refused: str = ""
    repeated: Repeated | None = None


@dataclass
class _Due:
    """One run that waits, with the sites that ask, and their prevailing term."""

    run: RunReach
    sites: list[str]
    effect: Effect = Effect.KEEP
    refused: str = ""
    repeated: Repeated | None = None
    successor: str = ""      # of a repetition that ended before the old adapter was settled


def note_release(federation: Federation, run: str, recipients: Sequence[str]) -> None:
    """Every site remembers whom the adapter of ``run`` went to: a later withdrawal asks for it."""
    for site in federation.sites.values():
        site.folder.reach.released(run, recipients)


def carry_out(
    study_folder: Path, listener: Listener, *, features: Features | None = None
) -> tuple[Settled, ...]:
    """Every remedy that is due. Raises ``SitesError`` when a site cannot be opened, and what a repeated run raises."""
    federation = Federation.open(study_folder, progress=listener.progress, features=features)
    try:
        # 1. all sites, or nothing: an adapter lies at each of them
        if federation.problems:
            raise SitesError(federation.problems)
        due = _due(federation)
        # 2. one repetition for all adapters of a method: the newest takes the place of every older one
        for method in sorted({one.run.method for one in due if _to_repeat(one)}):
            _repeat(federation, method, [one for one in due if one.run.method == method and _to_repeat(one)], listener)
        # 3. each old adapter, once its successor is there or is known not to come
        return tuple(_settle(federation, one) for one in due)
    finally:
        federation.close()


def _due(federation: Federation) -> list[_Due]:
    found: dict[str, _Due] = {}
    for name, site in federation.sites.items():
        effect = Effect(site.folder.policy.clause("retention").on_withdrawal.released_adapter)
        for remedy in site.folder.reach.remedies():
            known = None if remedy.outcome else site.folder.reach.run(remedy.run)
            if known is None:
                continue
            one = found.setdefault(remedy.run, _Due(known, []))
            one.sites.append(name)
            one.successor = one.successor or remedy.successor
            one.effect = prevailing((one.effect, effect))
    for one in found.values():
        # the site that released it knows to whom; others may have heard of no release
        seen = [site.folder.reach.run(one.run.run) for site in federation.sites.values()]
        recipients = {name for run in seen if run is not None for name in run.recipients}
        one.run = replace(one.run, recipients=tuple(sorted(recipients)))
    return sorted(found.values(), key=lambda one: (one.run.joined, one.run.run))


def _to_repeat(one: _Due) -> bool:
    return bool(one.run.adapter) and not one.successor and Act.RETRAIN in acts(one.effect, released=one.run.released)


def _repeat(federation: Federation, method: str, due: Sequence[_Due], listener: Listener) -> None:
    """Do the run again, or note why not; either way the old adapters are settled afterwards."""
    for one in due:
        listener.say(say("remedy-begins", "en", run=one.run.run))
    refused = _refusals(federation, method)
    if refused:
        code = next(iter(refused.values())).code
        for site, error in refused.items():
            federation.sites[site].folder.record("run.stopped", data={"code": error.code})
        for one in due:
            listener.say(say("remedy-fallback", "en", run=one.run.run, code=code))
            one.effect, one.refused = FALLBACK, code
        return
    before, started, run = balances(federation), time.monotonic(), new_run_id(method)
    result = federation.run(method, run=run)
    seconds = time.monotonic() - started
    certificate = {
        name: round_up(site.tools.considered.epsilon)
        for name, site in federation.sites.items()
        if site.tools is not None
    }
    publisher = federation.sites[min(result.state.cohort)]
    known = publisher.folder.reach.run(run)
    repeated = Repeated(
        run=run,
        adapter=known.adapter if known is not None else "",
        released=False,
        not_released="",
        steps=result.state.completed + result.state.abandoned,
        seconds=round(seconds, 3),
        certificate=certificate,
        before=before,
        after=balances(federation),
    )
    # known before anything else can fail: nobody pays for it twice
    for one in due:
        one.successor = repeated.adapter
        for name in one.sites:
            federation.sites[name].folder.reach.settle(one.run.run, "", repeated.adapter)
    if any(one.run.released for one in due):
        repeated = _released(federation, publisher, repeated)
    if federation.study.personal_heads:
        personal_facts(federation, method)  # heads that may have held the person are gone; and the rows go here
    for one in due:
        one.repeated = repeated


def _refusals(federation: Federation, method: str) -> dict[str, CodedError]:
    if method not in federation.study.methods:
        name = min(federation.sites)
        return {name: CoreError("METHOD_GONE", "the study has this method no more", "")}
    _, refused = federation.preflight(method)
    return refused


def _released(federation: Federation, publisher: Site, repeated: Repeated) -> Repeated:
    """The successor goes to those who had the old one, by the same rules as every release."""
    try:
        published = publish(publisher, publisher.folder.releases / repeated.run)
    except CODED as error:
        return replace(repeated, not_released=error.code)
    note_release(federation, repeated.run, published.record.recipients)
    return replace(repeated, released=True)


def _settle(federation: Federation, one: _Due) -> Settled:
    run, folders = one.run, {name: site.folder for name, site in federation.sites.items()}
    asked = acts(one.effect, released=run.released)
    # 1. nobody may use it from here on
    if Act.REVOKE in asked:
        revoke_released(_publisher(folders, run), adapter=run.adapter, reason="WITHDRAWAL")
    # 2. everybody who has it is told
    if Act.NOTIFY in asked:
        for name in one.sites:
            write_notices(folders[name], run, run.recipients, revoked=Act.REVOKE in asked)
    # 3. it goes wherever it lies
    outcome = _outcome(one, asked)
    goes = outcome in ("revoked", "destroyed", "retrained", "no-adapter")
    if goes:
        for folder in folders.values():
            destroy(folder, run.run)
    # 4. noted by those who asked, and by those who deleted it
    adapter = {"adapter": run.adapter} if run.adapter else {}
    new = {"successor": one.successor} if one.successor else {}
    for name, folder in folders.items():
        if goes or name in one.sites:
            folder.record("remedy.done", refs={"run": run.run, **adapter, **new}, data={"outcome": outcome})
        if name in one.sites:
            folder.reach.settle(run.run, outcome, one.successor)
    return Settled(run.run, run.adapter, outcome, one.refused, one.repeated)


def _outcome(one: _Due, asked: Sequence[Act]) -> str:
    if not one.run.adapter:
        return "no-adapter"
    if one.successor:
        return "retrained"
    for act, outcome in ((Act.REVOKE, "revoked"), (Act.DESTROY, "destroyed"), (Act.NOTIFY, "notified")):
        if act in asked:
            return outcome
    return "kept"


def _publisher(folders: dict[str, SiteFolder], run: RunReach) -> SiteFolder:
    """The site that released it, and keeps the statement; where none does any more, the first."""
    kept = [folder for _, folder in sorted(folders.items()) if (folder.releases / run.run).is_dir()]
    return kept[0] if kept else folders[min(folders)]
