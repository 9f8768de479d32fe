"""Sites and a coordinator put together in this process: the pilot, the doctor and the tests run on it.

Order of calls: ``Federation.open`` (papers, keys, ledgers) → ``preflight`` (every refusal of every site, nothing sent)
→ ``run`` (one method) → ``close``. ``wrap`` lets a test stand between coordinator and sites at the engine's own
interface: drop, replay, tamper and kill are channels around the channel.

Not here: reports and files for people (pilot.py), and any shortcut: these are the same Site and Coordinator that run on
many machines.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...governance.errors import GovernanceError
from ...governance.log.auditlog import AuditLog
from ...governance.log.entries import Entry
from ...governance.signing.roster import Roster
from ...privacy.accounting.plan import Plan
from ...privacy.errors import PrivacyError
from ..coordinator.coordinator import Coordinator, RunResult
from ..coordinator.stop_list import KNOWN, StopListKeeper
from ..data.intake import BaseModelFacts, inspect, locate
from ..engines.channel import Channel
from ..engines.embedded import EmbeddedChannel
from ..errors import CoreError, ProtocolError
from ..messages import Offer
from ..parties import LOG_NAME, StateLock, load_key, log_origin, make_private_folder, state_folder
from ..planning import counts_plan_of, plan_of
from ..site.considering import Considered
from ..site.folder import SiteFolder
from ..site.papers import read_file, read_roster, read_study
from ..site.publish import Published
from ..site.site import Site
from ..site.stops import STOPS, list_max_age
from ..study import Study
from ..training.features import Features
from ..training.task import FeatureSource
from ..training.tasks import Tasks
from .handles import make_room

Progress = Callable[[str, int, int], None]
CodedError = CoreError | GovernanceError | PrivacyError


def utc_now() -> datetime:
    """The machine's clock, aware."""
    return datetime.now(UTC)


def nothing_shown(stage: str, done: int, total: int) -> None:
    """A progress that shows nothing."""


@dataclass
class Federation:
    """Every site of a study, and its coordinator, in this process."""

    study: Study
    roster: Roster
    base_model: BaseModelFacts
    tasks: Tasks
    sites: dict[str, Site]
    embedded: EmbeddedChannel
    coordinator: Coordinator
    coordinator_log: AuditLog
    problems: dict[str, CodedError] = field(default_factory=dict)

    @classmethod
    def open(
        cls,
        study_folder: Path,
        *,
        clock: Callable[[], datetime] = utc_now,
        progress: Progress = nothing_shown,
        features: FeatureSource | None = None,
        wrap: Callable[[EmbeddedChannel], Channel] = lambda channel: channel,
    ) -> Federation:
        """Open all parties. What stands in a site's way is kept in ``problems``; what all share raises at once."""
        # 1. what every party shares: the study, the roster, the weights on this machine
        study = read_study(study_folder)
        roster = accepted_roster(study_folder, study, clock=clock)
        model_folder = locate(study.base_model, study_folder)
        base_model = inspect(model_folder)
        if features is None:
            features = Features(base_model, progress=lambda done, total: progress("features", done, total))
        tasks = Tasks(
            base_model,
            study.methods.values(),
            features,
            progress=progress,
        )
        # 2. each site by itself; one site's trouble does not hide another's
        make_room(len(study.sites))
        sites: dict[str, Site] = {}
        problems: dict[str, CodedError] = {}
        with ExitStack() as opened:
            for site in sorted(study.sites):
                try:
                    folder = SiteFolder.open(study_folder, site, base_model=base_model, clock=clock)
                except (CoreError, GovernanceError, PrivacyError) as error:
                    if error.code == "STATE_BUSY":
                        raise  # all open sites in one order: whoever is first gets them all, the other none
                    problems[site] = error
                    note_refusal(study_folder, study.id, site, error, roster=roster, clock=clock)
                    continue
                opened.callback(folder.close)
                sites[site] = Site(folder, tasks)
            federation = cls._with_coordinator(
                study_folder, study, roster, base_model, tasks, sites, problems, clock, progress, wrap
            )
            opened.pop_all()
        return federation

    @classmethod
    def _with_coordinator(
        cls,
        study_folder: Path,
        study: Study,
        roster: Roster,
        base_model: BaseModelFacts,
        tasks: Tasks,
        sites: dict[str, Site],
        problems: dict[str, CodedError],
        clock: Callable[[], datetime],
        progress: Progress,
        wrap: Callable[[EmbeddedChannel], Channel],
    ) -> Federation:
        # 3. the coordinator, which gets the channel and nothing of the sites
        embedded = EmbeddedChannel(sites)
        coordinator_id = roster.coordinator.id
        state = state_folder(study_folder, coordinator_id, coordinator=True)
        make_private_folder(state)
        key = load_key(study_folder, coordinator_id, demo=roster.demo)
        # a site's policy says how old the list of stops may be; the coordinator's first act is a fresh one
        allowed = [list_max_age(site.folder.policy) for site in sites.values()]
        stops = StopListKeeper(
            study_folder / STOPS, roster=roster, key=key, clock=clock, allowed=allowed, memory=state / KNOWN
        )
        if sites:  # where none could be opened, each says why, and nothing begins
            stops.renew()
        log = AuditLog.open(state / LOG_NAME, origin=log_origin(study.id, coordinator_id), key=key)
        coordinator = Coordinator(
            wrap(embedded),
            study=study,
            roster=roster,
            key=key,
            log=log,
            clock=clock,
            runs=state / "runs",
            stops=stops,
            progress=progress,
        )
        return cls(study, roster, base_model, tasks, sites, embedded, coordinator, log, problems)

    def plan(self, method: str) -> Plan:
        """The plan of ``method`` on this base model."""
        return plan_of(self.study, method, dimension=self.tasks.dimension(self.study.settings(method)))

    def scores(self, method: str, published: Published, texts: Sequence[str]) -> NDArray[np.float64]:
        """Log odds of the positive class by the released adapter, float64 [n]; a site does this, with what it holds."""
        task = self.tasks.of(self.study.settings(method))
        scores: NDArray[np.float64] = task.scores(task.load(texts), published.adapter.vector)
        return scores

    def offer(self, method: str) -> tuple[Offer, Plan]:
        """What the coordinator would offer for ``method``."""
        plan = self.plan(method)
        return self.coordinator.offer(method, plan, counts_plan_of(self.study, method)), plan

    def preflight(self, method: str) -> tuple[dict[str, Considered], dict[str, CodedError]]:
        """Every site's answer to the offer, without sending or charging; and every refusal."""
        accepted: dict[str, Considered] = {}
        refused = dict(self.problems)
        if not self.sites:
            return accepted, refused  # nobody is left to be asked, so nothing is computed
        offer, _ = self.offer(method)
        for name, site in self.sites.items():
            try:
                accepted[name] = site.consider(offer, "preflight")
            except (CoreError, GovernanceError, PrivacyError) as error:
                refused[name] = error
        return accepted, refused

    def run(self, method: str, *, run: str | None = None) -> RunResult:
        """One run of ``method`` from offer to finish. Raises ``Refused`` when it cannot start or go on."""
        if self.problems:
            raise ProtocolError("SITES_NOT_OPEN", f"{', '.join(sorted(self.problems))} cannot take part")
        offer, plan = self.offer(method)
        self.embedded.failures.clear()
        return self.coordinator.run(run or new_run_id(method), offer, plan, counts_plan_of(self.study, method))

    def close(self) -> None:
        """Close every party's databases, and drop what was computed of texts."""
        self.tasks.forget()
        for site in self.sites.values():
            site.folder.close()
        self.coordinator_log.close()


def new_run_id(method: str) -> str:
    """A fresh id: the method, and 64 random bits so that two runs never share one."""
    return f"{method}-{secrets.token_hex(8)}"


def accepted_roster(study_folder: Path, study: Study, *, clock: Callable[[], datetime]) -> Roster:
    """The roster that every site signed. Where it is refused, each site whose key it lists logs that."""
    try:
        return read_roster(study_folder, now=clock())
    except (CoreError, GovernanceError) as error:
        with suppress(CoreError, GovernanceError):  # a roster that cannot be read names nobody who could log it
            roster = Roster.parse(read_file(study_folder / "roster.yaml"), "roster.yaml")
            for site in study.sites:
                note_refusal(study_folder, study.id, site, error, roster=roster, clock=clock)
        raise


def note_refusal(
    study_folder: Path,
    study: str,
    site: str,
    error: CodedError,
    *,
    roster: Roster,
    clock: Callable[[], datetime],
) -> None:
    """Log at the site that its papers were refused, where it has the roster's key and its log can be written."""
    entry = Entry(type="decision.refuse", party=site, at=clock(), data={"codes": [error.code]})
    with suppress(CoreError, GovernanceError), ExitStack() as opened:
        # nobody is asked for a passphrase only to be refused
        key = load_key(study_folder, site, demo=roster.demo, ask=False)
        roster.check_own_key(site, key)
        state = state_folder(study_folder, site)
        make_private_folder(state)
        # a log has one writer: never behind the back of a process that is at work here
        opened.callback(StateLock(state, site).release)
        log = opened.enter_context(AuditLog.open(state / LOG_NAME, origin=log_origin(study, site), key=key))
        log.append(entry)
