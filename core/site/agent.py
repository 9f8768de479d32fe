"""A site's service: one process that holds the site, answers what comes through its door, and ends cleanly.

For: ``Agent``, which `sekisho site serve` runs. Everything that touches the site (messages, what follows a run, its
log) happens in the one thread that calls ``run``; beside it a second thread writes the status, tends the engine's
client and ends the first when it is told to. Not for: what a message means (site.py), who
brings it (engines/door.py), papers and keys (folder.py), or writing reports (whoever makes the agent hands in what
follows a run).

The engine's processes hold nothing of ours; this process may be killed at any time, and the run goes on with the next.

Order of calls: ``Agent(site, ...)`` → ``run`` → ``end`` from a signal's handler or another thread. ``run`` returns what
is to happen next: ``ENDED``, or ``PAPERS`` where the site's papers have changed and it is to be opened anew.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from ...governance.errors import GovernanceError
from ...governance.signing.envelope import write_time
from ...privacy.errors import PrivacyError
from ..engines.door import SiteDoor
from ..errors import CoreError, Interrupted
from ..flare.supervising import Supervised
from ..gate.sealed import Sealed
from ..parties import SOCKET, state_folder
from ..training.going_on import ENDING
from .budget import lifetime_figures
from .papers import SIGNATURES
from .site import Site
from .status import BEAT_SECONDS, Status, StatusFile

ENDED, PAPERS = "ended", "papers"
REFUSALS_SECONDS = 600.0  # between two looks that found something: 144 entries a day at most for each code
CODED = (CoreError, GovernanceError, PrivacyError)
CodedError = CoreError | GovernanceError | PrivacyError

Say = Callable[[str], None]


class Ending(Exception):  # noqa: N818  no error: how a message in work is left when the process ends
    """The work in hand was given up because this process ends: nobody is told that the site did not deliver."""


class Agent:
    """One site at work. ``after`` follows each run that finished here; ``say`` writes one line of the service's log.

    ``refusals`` gives the codes of what the engine's client has refused since it was last asked; each goes into the
    site's log.
    """

    def __init__(
        self,
        site: Site,
        *,
        after: Callable[[Site], None],
        say: Say,
        client: Supervised | None = None,
        refusals: Callable[[], tuple[str, ...]] = tuple,
    ) -> None:
        self._site = site
        self._after = after
        self._say = say
        self._client = client
        self._refusals = refusals
        self._deaf_until = 0.0
        folder = site.folder
        self._file = StatusFile(folder.study_folder, folder.site)
        self._papers = _papers_of(folder.study_folder, folder.site)
        self._counted: tuple[str, bool] | None = None
        self._budget: Mapping[str, str] = {}
        self._followed = ""  # the run that was looked after last
        self._outcome = ENDED
        self._ending = threading.Event()
        now = _now()
        self._status = Status(folder.site, folder.study.id, os.getpid(), began=now, since=now)
        self._door = SiteDoor(
            state_folder(folder.study_folder, folder.site) / SOCKET, self, told=self._told
        )

    # -- the engine's side -----------------------------------------------------------------------------------------

    def handle(self, message: bytes) -> Sealed:
        """Answer one message of the coordinator, as the site does."""
        began = time.monotonic()
        self._see("working")
        try:
            sealed = self._site.handle(message)
        except Interrupted as interrupted:
            self._look()
            if interrupted.code == ENDING:
                raise Ending from None
            raise
        except BaseException:
            self._look()
            raise
        header = sealed.message.header
        told = f"{header.run}: {header.body.kind}"
        at = getattr(header.body, "step", None) or getattr(header.body, "number", None)
        if at:
            told += f" {at}"
        code = getattr(header.body, "code", "")
        self._say(f"{told}{f' [{code}]' if code else ''}, {time.monotonic() - began:.1f} s")
        if code:
            self._note(code)
        self._status = self._status.now(self._status.doing, _now(), last_message=told, last_message_at=_now())
        self._look()
        return sealed

    def interrupt(self, message: bytes) -> None:
        """What came while a message is in work."""
        self._site.interrupt(message)

    # -- a life ----------------------------------------------------------------------------------------------------

    def run(self) -> str:
        """Serve until ``end``, or until papers change between two runs."""
        beat = threading.Thread(target=self._beat, name="beat", daemon=True)
        self._look()
        self._say(f"{self._status.site}: ready, {self._status.doing}")
        if self._client is not None:
            self._client.start()
        beat.start()
        try:
            self._door.serve(self._between)
        except Ending:
            self._say("the step in work was given up; it stays charged and is taken up again with the next start")
        finally:
            self._ending.set()
            beat.join()
            if self._client is not None:
                self._client.stop()
            self._see("ended")
            self._file.write(self._status)
        return self._outcome

    def end(self) -> None:
        """Let the message in work end, or give it up between two batches. Safe in a signal's handler."""
        self._ending.set()

    def _beat(self) -> None:
        try:
            while not self._ending.wait(BEAT_SECONDS):
                try:
                    if self._client is not None:
                        self._client.tend()
                    self._file.write(self._seen_now())
                    if self._door.busy():
                        self._site.interrupt_if_stopped()
                except OSError as error:  # a full disk, a table of processes that is full: it passes
                    self._say(f"the beat was missed ({error.strerror})")
        finally:  # without a beat nobody could end this service: it ends, and comes back
            self._site.interrupt_all()
            self._door.stop()

    def _between(self) -> None:
        """In the site's thread, when no message is in work."""
        state, folder = self._site.state, self._site.folder
        # 1. what follows a run, once its last answer has gone
        if state is not None and state.finished and state.run != self._followed:
            try:
                self._after(self._site)
            except CODED as error:
                self._told(error)
            self._followed = state.run
        # 2. what the engine's client refused, and withdrawals that came meanwhile, belong into this site's log
        try:
            for code in self._refused_lately():
                self._say(f"the engine refused something [{code}]")
                folder.record("decision.refuse", data={"codes": [code]})
                self._note(code)
            folder.reach.take_entries(folder.log.append)
        except CODED as error:
            self._told(error)
        self._look()
        # 3. other papers count from the next run on: the site is opened anew, which checks all of them
        if self._status.doing == "idle" and _papers_of(folder.study_folder, folder.site) != self._papers:
            self._say("papers have changed; they are read and checked anew")
            self._outcome = PAPERS
            self._ending.set()

    def _refused_lately(self) -> tuple[str, ...]:
        """Codes, at once or after a pause: a server that tries a thousand jobs an hour fills no log."""
        if time.monotonic() < self._deaf_until:
            return ()
        codes = self._refusals()
        if codes:
            self._deaf_until = time.monotonic() + REFUSALS_SECONDS
        return codes

    # -- what people see -------------------------------------------------------------------------------------------

    def _told(self, error: CodedError) -> None:
        self._say(f"not answered: {error} [{error.code}]")
        self._note(error.code)

    def _note(self, code: str) -> None:
        self._status = self._status.now(self._status.doing, _now(), last_code=code, last_code_at=_now())

    def _see(self, doing: str) -> None:
        self._status = self._status.now(doing, _now())

    def _look(self) -> None:
        """What can be said of the site; in its own thread, because it asks ledger and log."""
        state, tools, folder = self._site.state, self._site.tools, self._site.folder
        running = state is not None and not state.finished
        run = ("" if state is None else state.run), running
        if run != self._counted:  # steps are reserved and given back with a run; between, all runs together stand still
            with suppress(*CODED):  # an answer that is there must not be lost for a figure that people look at
                figures = lifetime_figures(folder.ledger.balance(), folder.budget)
                self._counted, self._budget = run, {name: str(figure) for name, figure in figures.items()}
        followed = state is None or running or state.run == self._followed
        self._status = self._status.now(
            "in-run" if running else "idle" if followed else "publishing",
            _now(),
            run="" if state is None else state.run,
            method="" if tools is None or state is None else tools.considered.offer.method,
            step=0 if state is None else state.step,
            steps=0 if tools is None or state is None else tools.plan.total_steps,
            log_entries=folder.log.size,
            budget=self._budget,
        )
        self._file.write(self._seen_now())

    def _seen_now(self) -> Status:
        client = self._client
        return self._status.now(
            self._status.doing,
            _now(),
            relay=self._door.connected(),
            client="none" if client is None else "running" if client.running else "waiting",
            client_restarts=0 if client is None else client.restarts,
        )


def _papers_of(study_folder: Path, site: str) -> Mapping[str, tuple[int, int]]:
    """Size and time of change of every paper that a site is opened with."""
    papers = ("roster.yaml", "study.yaml", "base-model.yaml", f"sites/{site}/policy.yaml")
    found = {}
    for name in (*papers, *(name + SIGNATURES for name in papers)):
        try:
            state = (study_folder / name).stat()
        except OSError:
            continue
        found[name] = state.st_size, state.st_mtime_ns
    return found


def _now() -> str:
    return write_time(datetime.now(UTC))
