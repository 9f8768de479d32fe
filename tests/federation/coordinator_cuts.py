"""A coordinator that is killed between any two durable writes: what it wrote stays, everything else is gone.

``record`` runs a real study once and keeps what each site answered to which message. ``Bench`` is a coordinator alone,
on those answers, which can be cut and taken up again. Clock, keys and run are the same, so every message is, to the
byte: a coordinator that asks anything else than the undisturbed one did finds nobody who answers.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

from sekisho.core.coordinator.coordinator import Coordinator, RunResult
from sekisho.core.coordinator.stop_list import KNOWN, StopListKeeper
from sekisho.core.engines.channel import Channel, Reply
from sekisho.core.engines.embedded import EmbeddedChannel
from sekisho.core.messages import Offer, SignedMessage, Stop
from sekisho.core.parties import LOG_NAME, log_origin
from sekisho.core.planning import counts_plan_of
from sekisho.core.site import voting
from sekisho.core.study import Study
from sekisho.governance.canonical import digest_bytes
from sekisho.governance.log.auditlog import AuditLog
from sekisho.governance.log.witness import Witness
from sekisho.governance.signing.keys import demo_key
from sekisho.governance.signing.roster import Roster
from sekisho.privacy.accounting.plan import Plan
from sekisho.privacy.mechanism.verdict import SPOILT, Verdict

from .books import open_federation
from .channels import Recording

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
METHOD, RUN = "probe", "cut"
Wrap = Callable[[EmbeddedChannel], Recording]


class Killed(BaseException):
    """The process is gone: nothing that it would still have done is done."""


@dataclass(frozen=True)
class Recorded:
    """One undisturbed run: what every site answered to which message, and what the coordinator wrote."""

    study: Study
    roster: Roster
    plan: Plan
    counts: Plan | None
    answers: Mapping[tuple[str, str], bytes | None]
    posted: tuple[tuple[str, str], ...]
    log: tuple[bytes, ...]
    home: Path


def record(study: Path, wrap: Wrap = Recording, *, rejecting: int = 0) -> Recorded:
    """Run the study's method once, and keep everything.

    What sites find of a block hangs on noise, and here it must not: they reject ``rejecting`` times, then accept.
    """
    found = itertools.chain([Verdict((SPOILT,))] * rejecting, itertools.repeat(Verdict(())))
    channels: list[Answering] = []

    def around(channel: EmbeddedChannel) -> Answering:
        channels.append(Answering(wrap(channel)))
        return channels[0]

    federation = open_federation(study, around, clock=lambda: NOW)
    try:
        with patch.object(voting, "verdict_on", lambda *given, **named: next(found)):
            result = federation.run(METHOD, run=RUN)
        assert result.state_macs_agree and result.state.ended == "finished"
        log = tuple(federation.coordinator_log.entries())
        plan, counts = federation.plan(METHOD), counts_plan_of(federation.study, METHOD)
    finally:
        federation.close()
    (channel,) = channels
    return Recorded(
        federation.study, federation.roster, plan, counts, channel.answers, tuple(channel.posted), log, study
    )


@dataclass
class Answering:
    """Around a channel to real sites: keeps each answer by site and digest of the whole message.

    Posted again, a message is answered with the same bytes, as a site does that keeps its last answer.
    """

    inner: Channel
    answers: dict[tuple[str, str], bytes | None] = field(default_factory=dict)
    posted: list[tuple[str, str]] = field(default_factory=list)
    asked: dict[int, tuple[str, str]] = field(default_factory=dict)
    again: list[Reply] = field(default_factory=list)
    tickets: int = 1_000_000

    def sites(self) -> tuple[str, ...]:
        return self.inner.sites()

    def post(self, site: str, message: bytes, ttl: float) -> int:
        question = (site, digest_bytes(message))
        self.posted.append(question)
        if self.answers.get(question) is not None:
            self.tickets += 1
            self.again.append(Reply(self.tickets, site, self.answers[question]))
            return self.tickets
        ticket = self.inner.post(site, message, ttl)
        self.asked[ticket] = question
        return ticket

    def poll(self) -> tuple[Reply, ...]:
        if self.again:
            return (self.again.pop(0),)
        replies = self.inner.poll()
        for reply in replies:
            self.answers[self.asked[reply.ticket]] = reply.data
        return replies


@dataclass
class Known:
    """No sites: what was recorded is answered, and of a message that nobody was ever sent, its kind is noted."""

    recorded: Recorded
    posted: list[tuple[str, str]] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    waiting: list[Reply] = field(default_factory=list)

    def sites(self) -> tuple[str, ...]:
        return tuple(sorted({site for site, _ in self.recorded.answers}))

    def post(self, site: str, message: bytes, ttl: float) -> int:
        question = (site, digest_bytes(message))
        self.posted.append(question)
        if question not in self.recorded.answers:
            body = SignedMessage.from_bytes(message).body
            self.strange.append(body.code if isinstance(body, Stop) else body.kind)
        self.waiting.append(Reply(len(self.posted), site, self.recorded.answers.get(question)))
        return len(self.posted)

    def poll(self) -> tuple[Reply, ...]:
        return (self.waiting.pop(0),) if self.waiting else ()


@dataclass
class Bench:
    """The coordinator of a recorded run, in a folder of its own, which outlives it."""

    recorded: Recorded
    home: Path
    channel: Known = field(init=False)

    def __post_init__(self) -> None:
        self.channel = Known(self.recorded)
        self.home.mkdir(parents=True)

    @property
    def runs(self) -> Path:
        return self.home / "runs"

    def log(self) -> AuditLog:
        key, party = demo_key("coordinator"), self.recorded.roster.coordinator.id
        return AuditLog.open(self.home / LOG_NAME, origin=log_origin(self.recorded.study.id, party), key=key)

    def entries(self) -> tuple[bytes, ...]:
        with self.log() as log:
            return tuple(log.entries())

    @contextmanager
    def coordinator(self, **more: Any) -> Iterator[Coordinator]:
        # who is killed loses nothing that was written, unlike who loses power: so the tests need not wait for the disk
        with patch.object(os, "fsync", lambda descriptor: None), self._opened(**more) as coordinator:
            yield coordinator

    @contextmanager
    def _opened(self, **more: Any) -> Iterator[Coordinator]:
        key = demo_key("coordinator")
        keeper = StopListKeeper(
            self.home / "stops", roster=self.recorded.roster, key=key, clock=lambda: NOW, allowed=[24],
            memory=self.home / KNOWN,
        )  # fmt: skip
        with self.log() as log:
            yield Coordinator(
                more.pop("channel", self.channel),
                study=self.recorded.study,
                roster=self.recorded.roster,
                key=key,
                log=log,
                clock=more.pop("clock", lambda: NOW),
                runs=self.runs,
                stops=keeper,
                **more,
            )

    def run(self, **more: Any) -> RunResult:
        with self.coordinator(**more) as coordinator:
            offer: Offer = coordinator.offer(METHOD, self.recorded.plan, self.recorded.counts)
            return coordinator.run(RUN, offer, self.recorded.plan, self.recorded.counts)

    def resume(self, **more: Any) -> RunResult:
        with self.coordinator(**more) as coordinator:
            return coordinator.resume(RUN)

    def copied(self, home: Path) -> Bench:
        """Another bench on a copy of what is durable here now, as a kill leaves it: with drafts half written."""
        bench = Bench(self.recorded, home)
        bench.channel.posted = list(self.channel.posted)
        shutil.copytree(self.home, home, dirs_exist_ok=True)
        for name in ("json", "asked", "sum"):
            if bench.runs.exists():
                (bench.runs / f"{RUN}.{name}.part").write_bytes(b"half")
        return bench

    @classmethod
    def over(cls, recorded: Recorded, other: Bench) -> Bench:
        """The same folder, in the hands of a coordinator with other papers."""
        bench = object.__new__(cls)
        bench.recorded, bench.home, bench.channel = recorded, other.home, other.channel
        return bench

    def cut_everywhere(self, home: Path) -> list[Bench]:
        """Run to the end; a copy after each durable write."""
        copies: list[Bench] = []
        with Cuts(lambda number: copies.append(self.copied(home / str(number)))).armed():
            self.run()
        return copies


class Cuts:
    """Counts durable writes, and after each calls ``then`` with its number; 1 is the first."""

    def __init__(self, then: Callable[[int], None] = lambda number: None) -> None:
        self.names: list[str] = []
        self._then = then

    @classmethod
    def killing(cls, at: int) -> Cuts:
        """The process is gone after write number ``at``."""

        def kill(number: int) -> None:
            if number == at:
                raise Killed

        return cls(kill)

    @contextmanager
    def armed(self) -> Iterator[Cuts]:
        with (
            patch.object(os, "replace", self._after(os.replace, "replace")),
            patch.object(AuditLog, "append_all", self._after(AuditLog.append_all, "log")),
            patch.object(AuditLog, "checkpoint", self._after(AuditLog.checkpoint, "head")),
            patch.object(Witness, "check_and_persist_all", self._after(Witness.check_and_persist_all, "witness")),
        ):
            yield self

    def _after(self, write: Callable[..., Any], what: str) -> Callable[..., Any]:
        def written(*given: Any, **named: Any) -> Any:
            done = write(*given, **named)
            self.names.append(what + (Path(given[1]).suffix if what == "replace" else ""))
            self._then(len(self.names))
            return done

        return written
