"""A stop reaches a site inside a step: the work in hand ends between two batches, and nothing else can end it.

Time is not measured: batches that begin after the stop are counted. The twenty minutes, once in earnest, are in
tests/federation/test_long_steps.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from sekisho.core.errors import Interrupted, Refused
from sekisho.core.messages import Body, Finish, Stop, sign_message
from sekisho.core.pilot.federation import Federation
from sekisho.core.site.site import Site
from sekisho.core.training import training
from sekisho.core.training.going_on import ENDING, STOPPED, GoingOn
from sekisho.core.training.passes import cores, fill
from sekisho.core.training.task import TextProbe
from sekisho.governance.signing.keys import demo_key

from .books import open_federation, spent
from .command import codes_logged, log_of

RUN = "probe-one"
AT = "hana"
BATCH = 2  # the batch of its first step in which the site is told
Act = Callable[[Site], None]


@dataclass
class Training:
    """A federation whose sites take one person at a time; ``act`` happens at one site inside its first step."""

    federation: Federation
    batches: list[int] = field(default_factory=list)

    def run(self, act: Act, monkeypatch: pytest.MonkeyPatch) -> Exception | None:
        site = self.federation.sites[AT]
        real = TextProbe.gradients
        # one person a batch, as a large adapter has it
        monkeypatch.setattr(training, "GRADIENT_BYTES", 8)

        def gradients(task: TextProbe, rows: Any, labels: Any, vector: Any) -> Any:
            if site.state is not None and site.state.step_started and not site.state.step_sealed:
                self.batches.append(site.state.step)
                if len(self.batches) == BATCH:
                    # as the door does: from another thread, while this one works
                    told = Thread(target=act, args=(site,))
                    told.start()
                    told.join()
            return real(task, rows, labels, vector)

        monkeypatch.setattr(TextProbe, "gradients", gradients)
        try:
            self.federation.run("probe", run=RUN)
        except Refused as refused:
            return refused
        return None


@pytest.fixture
def at_work(study: Path) -> Iterator[Training]:
    federation = open_federation(study)
    yield Training(federation)
    federation.close()


def signed(body: Body, *, run: str = RUN, study: str = "small-study", key: str = "coordinator") -> bytes:
    sender = "coordinator"
    return sign_message(body, study=study, run=run, sender=sender, key=demo_key(key)).to_bytes()


STOP = Stop(code="STOPPED_BY_PEOPLE")


def test_a_stop_of_the_run_is_heard_inside_a_step_and_ends_it_before_the_next_batch(
    at_work: Training, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_work.run(lambda site: site.interrupt(signed(STOP)), monkeypatch)
    site = at_work.federation.sites[AT]
    assert len(at_work.batches) == BATCH
    assert at_work.federation.embedded.failures[AT].code == STOPPED
    # what was started stays charged, what never was is given back, and nothing was handed over
    books = spent(site.folder.ledger)
    assert (books.started, books.disclosed, books.state, books.charged) == (1, 0, "closed", 1.0)
    assert site.state is None
    assert STOPPED in codes_logged(study, AT)
    assert "step.disclosed" not in {entry["type"] for entry in log_of(study, AT)}
    # the next run is another one: what was said of this one, then and again, does not touch it
    monkeypatch.undo()
    site.interrupt(signed(STOP))
    assert at_work.federation.run("probe", run="probe-two").state.completed == 4


OTHERS = {
    "forged": signed(STOP, key="ame"),
    "of another run": signed(STOP, run="probe-two"),
    "of another study": signed(STOP, study="another-study"),
    "no stop": signed(Finish(step=1, previous="none", signers=())),
    "garbage": b"STOP",
    "nothing": b"",
}


def test_whatever_else_comes_inside_a_step_ends_nothing(at_work: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    def all_of_them(site: Site) -> None:
        for message in OTHERS.values():
            site.interrupt(message)

    assert at_work.run(all_of_them, monkeypatch) is None
    assert len(at_work.batches) > BATCH
    assert at_work.federation.embedded.failures == {}


def test_a_process_that_ends_leaves_the_run_as_it_stands_and_refuses_nothing(
    at_work: Training, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = at_work.federation.sites[AT]
    before = len(log_of(study, AT))
    interrupted: list[str] = []
    real = Site.handle

    def handle(self: Site, message: bytes) -> Any:
        try:
            return real(self, message)
        except Interrupted as error:
            interrupted.append(error.code)
            books.append(spent(self.folder.ledger))
            stood.append(self.state is not None and self.state.step == 1)
            raise

    books: list[Any] = []
    stood: list[bool] = []
    monkeypatch.setattr(Site, "handle", handle)
    at_work.run(lambda site: site.interrupt_all(), monkeypatch)
    assert interrupted[0] == ENDING
    # at that moment: started, charged, open, and this site's log has no word of a refusal or an end
    assert (books[0].started, books[0].disclosed, books[0].state) == (1, 0, "open")
    assert stood[0]
    types = [entry["type"] for entry in log_of(study, AT)[before:]]
    assert "step.started" in types and "decision.refuse" not in types
    assert site.folder.ledger.sealed(RUN, 1) is None


def test_encryption_asks_between_blocks_and_seals_nothing_after_the_stop(
    at_work: Training, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last chance: vector and noise are there, and the first blocks encrypted."""
    site = at_work.federation.sites[AT]
    real, asked = GoingOn.check, []

    def check(self: GoingOn) -> None:
        if site.state is not None and site.state.step_started and at_work.batches:
            asked.append(1)
            if len(at_work.batches) == len(site.tools.admitted if site.tools else ()):
                site.interrupt(signed(STOP))
        real(self)

    monkeypatch.setattr(GoingOn, "check", check)
    at_work.run(lambda site: None, monkeypatch)
    codes = {site: error.code for site, error in at_work.federation.embedded.failures.items()}
    assert codes.get(AT) == STOPPED
    assert len(asked) >= len(at_work.batches)
    assert site.folder.ledger.sealed(RUN, 1) is None
    types = {entry["type"] for entry in log_of(study, AT)}
    assert "step.disclosed" not in types and "decision.refuse" not in types


def test_passes_through_a_model_end_with_those_at_work() -> None:
    going_on = GoingOn()
    going_on.work_on(RUN)
    begun: list[int] = []

    def one_pass(bench: int, places: list[int], length: int) -> Any:
        begun.append(bench)
        going_on.stop(RUN)
        return np.zeros((len(places), 1))

    with pytest.raises(Interrupted) as ended:
        fill(np.zeros((400, 1)), [5] * 400, 4, [1, 2], one_pass, check=going_on.check)
    assert ended.value.code == STOPPED
    assert len(begun) <= cores()
