"""A site's service in a thread of a test, and a channel that reaches it through its door while the others are here."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from typing import Any

from sekisho.core.data.intake import inspect, locate
from sekisho.core.engines.channel import Reply
from sekisho.core.engines.embedded import EmbeddedChannel
from sekisho.core.engines.pipe import HELLO, Kind, Pipe, connect
from sekisho.core.parties import SOCKET, state_folder
from sekisho.core.pilot.after_run import follow
from sekisho.core.site.agent import Agent
from sekisho.core.site.folder import SiteFolder
from sekisho.core.site.papers import read_study
from sekisho.core.site.resuming import go_on
from sekisho.core.site.site import Site
from sekisho.core.training.going_on import GoingOn
from sekisho.core.training.tasks import Tasks

from .study_folder import HashedFeatures

PATIENCE = 300.0  # seconds for what takes a fraction of one: the machine may be busy


@dataclass
class Service:
    """The real agent of ``site``, on hashed words, not the transformer; ``refused``: what an engine refuses."""

    study: Path
    site: str
    lines: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    outcome: str = ""
    error: BaseException | None = None
    agent: Any = None
    real: Any = None

    def start(self) -> Service:
        ready = Event()
        self.thread = Thread(target=self._serve, args=(ready,), daemon=True)
        self.thread.start()
        assert ready.wait(PATIENCE)
        if self.error is not None:
            raise self.error
        return self

    def end(self) -> None:
        if self.agent is not None:
            self.agent.end()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()

    def connect(self) -> Pipe:
        pipe = connect(state_folder(self.study, self.site) / SOCKET)
        pipe.send(Kind.HELLO, body=HELLO)
        return pipe

    def _serve(self, ready: Event) -> None:
        try:
            study = read_study(self.study)
            base_model = inspect(locate(study.base_model, self.study))
            folder = SiteFolder.open(
                self.study, self.site, base_model=base_model, clock=lambda: datetime.now(UTC), open_runs=go_on
            )
            try:
                tasks = Tasks(base_model, study.methods.values(), HashedFeatures(), going_on=GoingOn())
                self.real = Site(folder, tasks)
                self.agent = Agent(
                    self.real,
                    after=lambda one: follow(one, self.lines.append),
                    say=self.lines.append,
                    refusals=self._refusals,
                )
                ready.set()
                self.outcome = self.agent.run()
            finally:
                folder.close()
        except BaseException as error:  # noqa: BLE001  the test shows it
            self.error = error
        finally:
            ready.set()

    def _refusals(self) -> tuple[str, ...]:
        found, self.refused[:] = tuple(self.refused), []
        return found


class ThroughTheDoor:
    """``inner`` for every site but one, whose messages go through its service's door, one at a time."""

    def __init__(self, inner: EmbeddedChannel) -> None:
        self.inner = inner
        self.service: Service
        self.pipe: Pipe
        self.waiting: list[int] = []
        self.tickets = itertools.count(1_000_000)  # none that the embedded engine gives
        self.others: list[bytes | None] = []
        self.undelivered: list[int] = []

    def reach(self, service: Service) -> None:
        self.service, self.pipe = service, service.connect()

    def sites(self) -> tuple[str, ...]:
        return tuple(sorted({*self.inner.sites(), self.service.site}))

    def post(self, site: str, message: bytes, ttl: float) -> int:
        if site != self.service.site:
            return self.inner.post(site, message, ttl)
        ticket = next(self.tickets)
        self.waiting.append(ticket)
        self.pipe.send(Kind.POST, ticket=ticket, body=message)
        return ticket

    def poll(self) -> tuple[Reply, ...]:
        if not self.waiting:
            return self.inner.poll()
        ticket, data = self.take()
        if ticket not in self.waiting:  # a test's own
            self.others.append(data)
            return ()
        self.waiting.remove(ticket)
        return (Reply(ticket, self.service.site, data),)

    def take(self) -> tuple[int, bytes | None]:
        head = self.pipe.head()
        if head is None:
            raise ConnectionError("the service has hung up")
        if head.kind is Kind.NOTHING:
            self.undelivered.append(head.ticket)
        return head.ticket, self.pipe.body(head, 1 << 30) if head.kind is Kind.REPLY else None


def wait_until(true: Callable[[], Any]) -> None:
    until = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.02)
