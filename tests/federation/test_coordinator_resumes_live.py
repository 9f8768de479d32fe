"""Real sites, and a coordinator that dies again and again under them, in the second run of a study.

The sites live on, as on their own machines, and answer by themselves what they are asked twice; what a process of the
coordinator had in hand is dropped without a word.
"""

from __future__ import annotations

import itertools
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from sekisho.core.coordinator.coordinator import Coordinator, RunResult
from sekisho.core.coordinator.stop_list import KNOWN, StopListKeeper
from sekisho.core.engines.channel import Reply
from sekisho.core.engines.embedded import EmbeddedChannel
from sekisho.core.parties import LOG_NAME, log_origin, state_folder
from sekisho.core.pilot.evidence import export_evidence
from sekisho.core.pilot.federation import Federation, utc_now
from sekisho.governance.evidence import verifier
from sekisho.governance.log.auditlog import AuditLog
from sekisho.governance.signing.keys import demo_key

from ..verifier.second import Second
from .books import entries, open_federation
from .channels import Recording
from .coordinator_cuts import Cuts, Killed
from .study_folder import SITES

METHOD, RUN = "probe", "second"
STEPS = 4


@dataclass
class Between(Recording):
    """Knows when a site is at work: what is written then is the site's."""

    at_a_site: bool = False

    def poll(self) -> tuple[Reply, ...]:
        self.at_a_site = True
        try:
            return super().poll()
        finally:
            self.at_a_site = False


class Hub:
    """The coordinator's side of a federation, which dies and comes back; the sites are the federation's."""

    def __init__(self, federation: Federation, study: Path, channel: Between) -> None:
        self.federation, self.study, self.channel = federation, study, channel
        self.state = state_folder(study, "", coordinator=True)
        self.processes = 0

    def coordinator(self) -> Coordinator:
        """In a new process: nothing of the one before but what it wrote."""
        self.processes += 1
        key, roster, study = demo_key("coordinator"), self.federation.roster, self.federation.study
        log = AuditLog.open(self.state / LOG_NAME, origin=log_origin(study.id, roster.coordinator.id), key=key)
        self.federation.coordinator_log = log  # whom tests ask, and who is closed at the end
        keeper = StopListKeeper(
            self.study / "stops", roster=roster, key=key, clock=utc_now, allowed=[24], memory=self.state / KNOWN
        )
        return Coordinator(
            self.channel, study=study, roster=roster, key=key, log=log, clock=utc_now, runs=self.state / "runs",
            stops=keeper,
        )  # fmt: skip

    def dying(self, after: int) -> Cuts:
        """The coordinator dies after so many durable writes; those of the sites are the sites'."""
        own: list[int] = []

        def then(number: int) -> None:
            if not self.channel.at_a_site:
                own.append(number)
                if len(own) == after:
                    raise Killed

        return Cuts(then)

    def run(self) -> RunResult:
        """Twenty writes are the agreement; then each process comes a little further than the one before."""
        offer, plan = self.federation.offer(METHOD)
        with pytest.raises(Killed), self.dying(20).armed():
            self.coordinator().run(RUN, offer, plan)
        for after in itertools.count(2):
            with suppress(Killed), self.dying(after).armed():
                return self.coordinator().resume(RUN)
        raise AssertionError


@pytest.mark.proof
def test_sites_end_as_if_the_coordinator_had_never_died(study: Path, tmp_path: Path) -> None:
    channels: list[Between] = []

    def wrap(channel: EmbeddedChannel) -> Between:
        channels.append(Between(channel))
        return channels[0]

    federation = open_federation(study, wrap)
    try:
        assert federation.run(METHOD, run="first").state_macs_agree
        hub = Hub(federation, study, channels[0])
        result = hub.run()
        assert hub.processes > 5
        # 1. one state at all sites, of all steps
        assert result.state_macs_agree and (result.state.completed, result.state.abandoned) == (STEPS, 0)
        states = {site.state.optimizer.digest() for site in federation.sites.values() if site.state is not None}
        assert len(states) == 1 and result.state.cohort == SITES
        # 2. each step was charged once, sealed once and summed once, and is once in every log
        for site in federation.sites.values():
            (row,) = (row for row in site.folder.ledger.balance().runs if row.run == RUN)
            assert (row.started, row.disclosed, row.state) == (STEPS, STEPS, "closed")
        for party, kind in (("coordinator", "step.summed"), *((site, "step.disclosed") for site in SITES)):
            told = [entry for entry in entries(federation, party, kind) if entry["refs"]["run"] == RUN]
            assert [entry["data"]["step"] for entry in told] == [1, 2, 3, 4]
        opened = {sealed_sums(federation, site) for site in SITES}
        assert len(opened) == 1
        # 3. nobody found anybody out
        for party in ("coordinator", *SITES):
            assert entries(federation, party, "log.contradicted") == []
            codes = [entry["data"]["codes"] for entry in entries(federation, party, "decision.refuse")]
            assert codes == []
    finally:
        federation.close()
    # 4. and the evidence verifies, by either of its readers
    written = export_evidence(study, tmp_path / "evidence.zip")
    bundle = (tmp_path / "evidence.zip").read_bytes()
    assert verifier.verify(bundle, written.root).name == "verified"
    second = Second()
    try:
        assert second.ask("verdict", bundle, root=written.root)["verdict"] == "verified"
    finally:
        second.close()


def sealed_sums(federation: Federation, site: str) -> tuple[str, ...]:
    """The messages by which one site opened the steps of the run, in order."""
    told = [entry for entry in entries(federation, site, "step.opened") if entry["refs"]["run"] == RUN]
    return tuple(entry["refs"]["message"] for entry in told)
