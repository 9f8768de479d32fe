"""Sites whose runs outlive them, and kills: between any two durable writes, in this process or by a signal.

For: tests of what a site does after it was killed. ``hall`` puts a federation together whose sites go on with their
runs; a ``Reposting`` channel posts what was not answered again, the very same bytes, as a coordinator's engine does. A
``Cuts`` stands in for the power switch: it counts the durable writes of one site, and raises ``Killed`` after the one
that a test chose. The product knows nothing of it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sekisho.core import parties
from sekisho.core.engines.channel import Reply, carry
from sekisho.core.engines.embedded import EmbeddedChannel
from sekisho.core.errors import CoreError
from sekisho.core.messages import SignedMessage
from sekisho.core.pilot.federation import Federation
from sekisho.core.site.folder import SiteFolder
from sekisho.core.site.reach import Reach
from sekisho.core.site.resuming import go_on
from sekisho.core.site.site import Site
from sekisho.governance.errors import GovernanceError
from sekisho.governance.log.auditlog import AuditLog
from sekisho.governance.log.entries import Entry
from sekisho.governance.log.witness import Witness
from sekisho.privacy.accounting.ledger import Ledger
from sekisho.privacy.errors import PrivacyError

from .books import open_federation

THREE = ("ame", "hana", "kaze")
VICTIM = "hana"
ATTEMPTS = 200  # of one message; a site that is killed at every write of it needs some twenty


class Killed(BaseException):
    """The process is gone."""


def now() -> datetime:
    return datetime.now(UTC)


def reopened(federation: Federation, study: Path, name: str) -> Site:
    """The site as a process finds it that an agent started anew."""
    folder = SiteFolder.open(study, name, base_model=federation.base_model, clock=now, open_runs=go_on)
    federation.sites[name] = Site(folder, federation.tasks)
    return federation.sites[name]


@contextmanager
def opened_by(
    federation: Federation, study: Path, open_runs: Callable[[SiteFolder], None] = go_on, name: str = VICTIM
) -> Iterator[Site]:
    """A site's folder of ``study`` in other hands than the federation's."""
    folder = SiteFolder.open(study, name, base_model=federation.base_model, clock=now, open_runs=open_runs)
    try:
        yield Site(folder, federation.tasks)
    finally:
        folder.close()


@dataclass
class Reposting:
    """One message to one site, until it is answered; after a kill the site is opened again first.

    ``change`` says what comes instead, if anything. ``tries``: how often it is posted where the site fails.
    ``before(site, message)`` is called before each attempt, ``opens(site)`` before a site is opened again, ``after``
    when a message was answered.
    """

    inner: EmbeddedChannel
    study: Path
    federation: list[Federation] = field(default_factory=list)
    before: Callable[[str, SignedMessage], None] = lambda site, message: None
    opens: Callable[[str], None] = lambda site: None
    after: Callable[[str, SignedMessage, bytes], None] = lambda site, message, answer: None
    answers: dict[tuple[str, str], set[bytes]] = field(default_factory=dict)
    change: Callable[[str, SignedMessage], bytes | None] = lambda site, message: None
    tries: int = 1
    last: int = 0
    heard: list[bytes] = field(default_factory=list)
    posted: list[tuple[int, str, bytes]] = field(default_factory=list)
    failures: list[CoreError | GovernanceError | PrivacyError] = field(default_factory=list)

    def sites(self) -> tuple[str, ...]:
        return self.inner.sites()

    def post(self, site: str, message: bytes, ttl: float) -> int:
        self.last += 1
        self.posted.append((self.last, site, message))
        return self.last

    def poll(self) -> tuple[Reply, ...]:
        if not self.posted:
            return ()
        ticket, site, message = self.posted.pop(0)
        return (Reply(ticket, site, self._answer(site, message)),)

    def _answer(self, site: str, data: bytes) -> bytes | None:
        data = self.change(site, SignedMessage.from_bytes(data)) or data
        message, failed = SignedMessage.from_bytes(data), 0
        self.heard.append(data)
        if site not in self.federation[0].sites:  # gone, and could not be opened again
            return None
        for _ in range(ATTEMPTS):
            self.before(site, message)
            try:
                answer = carry(self.federation[0].sites[site].handle(data))
            except Killed:
                self.revive(site)
                continue
            except (CoreError, GovernanceError, PrivacyError) as error:
                self.failures.append(error)
                failed += 1
                if failed < self.tries:
                    continue
                return None
            self.answers.setdefault((site, message.digest), set()).add(answer)
            self.after(site, message, answer)
            return answer
        raise AssertionError(f"{message.body.kind} was never answered")

    def revive(self, site: str) -> None:
        """The process is gone and another one begins; killed while it opens, another one."""
        federation = self.federation[0]
        federation.sites.pop(site).folder.close()  # what a kill does to open files; it writes nothing
        for _ in range(ATTEMPTS):
            self.opens(site)
            try:
                reopened(federation, self.study, site)
                return
            except Killed:
                continue
        raise AssertionError(f"{site} could never be opened")


@contextmanager
def hall(study: Path, **channel: Any) -> Iterator[tuple[Federation, Reposting]]:
    """A federation whose sites all go on with their runs."""
    made: list[Reposting] = []

    def wrap(embedded: EmbeddedChannel) -> Reposting:
        made.append(Reposting(embedded, study, **channel))
        return made[0]

    federation = open_federation(study, wrap)
    try:
        for name in federation.sites:
            federation.sites[name].folder.close()
            reopened(federation, study, name)
        made[0].federation.append(federation)
        yield federation, made[0]
    finally:
        federation.close()


@dataclass
class Cuts:
    """Kills ``victim`` after durable writes that ``wanted(kind of message, write, how often)`` asks for, each once.

    A write is told by its kind and, for the log, the entry's type: "log:step.started", "ledger:start", "file:.json".
    ``seen``: each place at which it was killed, in order.
    """

    study: Path
    wanted: Callable[[str, str, int], bool] = lambda kind, write, times: True
    victim: str = VICTIM
    seen: list[tuple[str, str, int]] = field(default_factory=list)
    kind: str = ""
    digest: str = ""
    armed: bool = False
    dead: bool = False
    _done: set[tuple[str, str, int]] = field(default_factory=set)
    _counted: Counter[str] = field(default_factory=Counter)

    def before(self, site: str, message: SignedMessage) -> None:
        """An attempt begins."""
        self.armed, self.dead = site == self.victim, False
        self.kind, self.digest = message.body.kind, message.digest
        self._counted.clear()

    def opens(self, site: str) -> None:
        """Another process begins; what it writes as it opens is told as "open after" the message it was killed at."""
        self.armed, self.dead = site == self.victim, False
        self.kind = self.kind if self.kind.startswith("open") else f"open after {self.kind}"
        self._counted.clear()

    def wrote(self, write: str) -> None:
        """A durable write of the victim returned."""
        if self.dead:
            raise Killed  # the dead write nothing: they came here from a handler of the kill
        if not self.armed:
            return
        self._counted[write] += 1
        place = (self.digest, write, self._counted[write])
        if place not in self._done and self.wanted(self.kind, write, self._counted[write]):
            self._done.add(place)
            self.seen.append((self.kind, write, self._counted[write]))
            self.armed, self.dead = False, True
            raise Killed

    def about(self) -> None:
        """A durable write of the victim begins."""
        if self.dead:
            raise Killed

    @contextmanager
    def installed(self) -> Iterator[Cuts]:
        """The switch is in the victim's line."""
        home = self.study / "sites" / self.victim
        with pytest.MonkeyPatch.context() as patch:
            write_whole, unlink = parties.write_whole, Path.unlink

            def written(path: Path, *rest: Any, **more: Any) -> None:
                mine = home in path.parents
                if mine:
                    self.about()
                write_whole(path, *rest, **more)
                if mine:
                    self.wrote(f"file:{path.suffix if path.parent.name == 'runs' else path.name}")

            def unlinked(path: Path, missing_ok: bool = False) -> None:
                mine = home in path.parents and path.exists() and path.suffix in {".keys", ".begun", ".opening"}
                if mine:
                    self.about()
                unlink(path, missing_ok=missing_ok)
                if mine:
                    self.wrote(f"gone:{path.suffix}")

            patch.setattr(parties, "write_whole", written)
            patch.setattr(Path, "unlink", unlinked)
            for owner, method, name in (
                (Ledger, "start", "ledger:start"),
                (Ledger, "disclose", "ledger:disclose"),
                (Ledger, "settle", "ledger:settle"),
                (Ledger, "close", "ledger:close"),
                (AuditLog, "checkpoint", "log:head"),
                (Witness, "check_and_persist_all", "witness"),
                (Reach, "stay", "reach:stay"),
                (Reach, "finish", "reach:finish"),
            ):
                patch.setattr(owner, method, self._counting(getattr(owner, method), name))
            append_all = AuditLog.append_all

            def appended(log: AuditLog, entries: Any) -> int:
                mine = log.origin.endswith(f"/{self.victim}")
                if mine:
                    self.about()
                first = append_all(log, entries)
                if mine:
                    self.wrote("log:" + "+".join(entry.type for entry in entries))
                return first

            patch.setattr(AuditLog, "append_all", appended)
            yield self

    def _counting(self, method: Callable[..., Any], name: str) -> Callable[..., Any]:
        def counted(owner: Any, *rest: Any, **more: Any) -> Any:
            mine = self._is_mine(owner)
            if mine:
                self.about()
            found = method(owner, *rest, **more)
            if mine:
                self.wrote(name)
            return found

        return counted

    def _is_mine(self, owner: Any) -> bool:
        connection = getattr(owner, "_db", None) or getattr(owner, "_connection")
        (_, _, path) = connection.execute("PRAGMA database_list").fetchone()
        return (self.study / "sites" / self.victim).resolve() in Path(path).resolve().parents


def told(folder: SiteFolder, kind: str) -> list[Entry]:
    """The entries of ``kind`` in a site's log."""
    return [entry for entry in map(Entry.from_bytes, folder.log.entries()) if entry.type == kind]


def steps(folder: SiteFolder, kind: str) -> list[object]:
    """The steps that the entries of ``kind`` name."""
    return [entry.data["step"] for entry in told(folder, kind)]


def kept(study: Path, name: str = VICTIM) -> set[str]:
    """The suffixes of what lies in the folder of a site's runs."""
    folder = study / "sites" / name / "state" / "runs"
    return {path.suffix for path in folder.iterdir()} if folder.is_dir() else set()


def document(study: Path, name: str = VICTIM) -> dict[str, Any]:
    """The document of a site's only run."""
    (path,) = (study / "sites" / name / "state" / "runs").glob("*.json")
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found
