"""The coordinator's process on a machine of its own: papers, key, log, a channel, and the run that it conducts.

For: `sekisho coordinator run`, with sites at the other end of a relay. Not for: what a coordinator does in a run
(coordinator/coordinator.py), FLARE's server and its job (kits.py, jobs.py), or the pilot, which has all sites in its
process (pilot/federation.py).

It holds the coordinator's signing key and no other, and of sites what every participant reads: papers. What a site must
have afresh, the list of stops, travels with its messages.

Order of calls: ``Office.open`` → ``conduct`` with a channel, which goes on with the run that is open or begins one →
``close``. ``ask_to_stop`` from any process: the one that conducts stops the run at all sites; where none does, the next
one does so first.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ...governance.log.auditlog import AuditLog
from ...governance.signing.keys import SigningKey
from ...governance.signing.roster import Roster
from ..coordinator.coordinator import Coordinator, RunResult
from ..coordinator.state import open_runs
from ..coordinator.status import STATUS, StatusFile
from ..coordinator.stop_list import KNOWN, StopListKeeper
from ..data.intake import inspect, locate
from ..engines.relayed import RelayedChannel
from ..errors import BadInputError, CheckFailedError, CoreError, Refused
from ..parties import LOG_NAME, SOCKET, StateLock, load_key, log_origin, make_private_folder, replace_file, state_folder
from ..planning import counts_plan_of, plan_of
from ..site.papers import read_policy, read_roster, read_study
from ..site.stops import STOPS, list_max_age
from ..study import Study
from ..training.layouts import dimension_of

ASKED = "stop.asked"  # in the same folder: somebody wants the open run stopped
STOPPED = "STOPPED_BY_OPERATOR"
# The stop has this long to reach sites: a site in training hears it within seconds, one that is cut off not at all.
LAST_WORDS_SECONDS = 60.0

Progress = Callable[[str, int, int], None]


@dataclass
class Office:
    """What the coordinator works with: its papers, its key, its log, its folder."""

    study_folder: Path
    study: Study
    roster: Roster
    key: SigningKey
    log: AuditLog
    lock: StateLock
    clock: Callable[[], datetime]

    @classmethod
    def open(cls, study_folder: Path, *, clock: Callable[[], datetime]) -> Office:
        """Open and check everything of the coordinator. Raises coded errors; STATE_BUSY where another is at work."""
        # 1. papers: the roster that every site signed, and the study
        study = read_study(study_folder)
        roster = read_roster(study_folder, now=clock())
        # 2. the coordinator's key, which is the roster's
        own = roster.coordinator
        key = load_key(study_folder, own.id, demo=roster.demo)
        roster.check_own_key(own.id, key)
        # 3. its state: one process at a time, and the log first
        state = state_of(study_folder)
        make_private_folder(state)
        lock = StateLock(state, own.id)
        try:
            log = AuditLog.open(state / LOG_NAME, origin=log_origin(study.id, own.id), key=key)
        except BaseException:
            lock.release()
            raise
        return cls(study_folder, study, roster, key, log, lock, clock)

    def close(self) -> None:
        """Close the log, and let the next process in."""
        self.log.close()
        self.lock.release()

    def open_run(self) -> str:
        """The run that goes on, or nothing."""
        return next(iter(open_runs(state_of(self.study_folder) / "runs")), "")

    def channel(self) -> RelayedChannel:
        """Where the relay connects."""
        return RelayedChannel(state_of(self.study_folder) / SOCKET, self.study.sites)

    def conduct(self, method: str, channel: RelayedChannel, *, progress: Progress) -> RunResult:
        """Go on with the run that is open, else begin one of ``method``; to its end.

        Raises ``Refused`` METHOD_UNKNOWN, RUN_OF_ANOTHER_METHOD, and what a run ends with: the sites have been told.
        """
        self.check_method(method)
        status = self._status()
        coordinator = self._coordinator(channel, progress, status)
        run = self.open_run()
        try:
            if not run:
                return self._begin(coordinator, method, status)
            status.begins(run, method, self.study.settings(method).steps)
            return coordinator.resume(run)
        finally:
            self._forget_stop()

    def check_method(self, method: str) -> None:
        """Return if a run of ``method`` can be conducted now. Raises as ``conduct``; nobody need be in reach for it."""
        run = self.open_run()
        own = run.rpartition("-")[0]
        if run and own != method:
            raise Refused(
                "RUN_OF_ANOTHER_METHOD",
                f"the run {run} is open, and it is not one of {method}",
                hint=f"go on with it: `sekisho coordinator run {own} --study {self.study_folder}`; or end it: "
                f"`sekisho coordinator stop --study {self.study_folder}`",
            )
        if method not in self.study.methods:
            raise Refused(
                "METHOD_UNKNOWN",
                f"the study has no method '{method}'",
                hint=f"its methods are {', '.join(self.study.methods)}",
            )

    def end(self, channel: RelayedChannel, code: str = STOPPED) -> str:
        """Stop the open run at all sites though nobody conducts it; its name, or nothing where none is open."""
        run = self.open_run()
        if run:
            status = self._status()
            status.begins(run, run.rpartition("-")[0], 0)
            self._coordinator(channel, lambda stage, done, total: None, status).give_up(run, code)
            channel.settle(LAST_WORDS_SECONDS)
        self._forget_stop()
        return run

    def _begin(self, coordinator: Coordinator, method: str, status: StatusFile) -> RunResult:
        # the plan from public figures: sites compute it apart, and refuse another
        base_model = inspect(locate(self.study.base_model, self.study_folder))
        settings = self.study.settings(method)
        plan = plan_of(self.study, method, dimension=dimension_of(base_model, settings))
        counts = counts_plan_of(self.study, method)
        run = f"{method}-{secrets.token_hex(8)}"  # as a pilot names them: two runs never share one
        status.begins(run, method, plan.steps)
        return coordinator.run(run, coordinator.offer(method, plan, counts), plan, counts)

    def _status(self) -> StatusFile:
        return StatusFile(state_of(self.study_folder) / STATUS, clock=self.clock)

    def _coordinator(self, channel: RelayedChannel, progress: Progress, status: StatusFile) -> Coordinator:
        state = state_of(self.study_folder)
        stops = StopListKeeper(
            self.study_folder / STOPS,
            roster=self.roster,
            key=self.key,
            clock=self.clock,
            allowed=self._list_ages(),
            memory=state / KNOWN,
        )
        stops.renew()
        return Coordinator(
            channel,
            study=self.study,
            roster=self.roster,
            key=self.key,
            log=self.log,
            clock=self.clock,
            runs=state / "runs",
            stops=stops,
            progress=progress,
            halted=lambda: STOPPED if (state / ASKED).exists() else "",
            status=status,
        )

    def _list_ages(self) -> list[int]:
        """What each site's policy allows, where its policy was given to us; nothing where any is missing."""
        found = []
        for site in self.study.sites:
            try:
                found.append(list_max_age(read_policy(self.study_folder, site)))
            except CoreError:
                return []  # then the keeper takes the strictest that a policy can ask for
        return found

    def _forget_stop(self) -> None:
        with suppress(FileNotFoundError):
            (state_of(self.study_folder) / ASKED).unlink()


def state_of(study_folder: Path) -> Path:
    """The coordinator's state folder."""
    return state_folder(study_folder, "", coordinator=True)


def ask_to_stop(study_folder: Path) -> str:
    """Ask for the open run to be stopped at all sites; its name.

    Raises ``CheckFailedError`` RUN_NONE where no run is open, ``BadInputError`` STATE_UNWRITABLE.
    """
    state = state_of(study_folder)
    run = next(iter(open_runs(state / "runs")), "")
    if not run:
        shown = f"`sekisho coordinator status --study {study_folder}` says what was"
        raise CheckFailedError("RUN_NONE", "no run is open here", hint=shown)
    replace_file(state / ASKED, b"")
    return run


def is_conducted(study_folder: Path, party: str) -> bool:
    """Whether a process is at work for the coordinator now."""
    state = state_of(study_folder)
    if not state.is_dir():
        return False
    try:
        StateLock(state, party).release()
    except Refused:
        return True
    except OSError as error:
        raise BadInputError("STATE_UNREADABLE", f"the coordinator's state cannot be read ({error.strerror})") from None
    return False
