"""The coordinator shows its log in every message, and witnesses each site's wherever a site shows it.

For: one run, at the coordinator. Not for: the rules (core/watching.py), or asking sites (collecting.py).

Order of calls: ``witnessed`` around a run; ``record`` what is done, before the message that says so; ``show`` and
``sent`` for each message; ``hear`` each answer, ``settle`` when a round of them is over. In another process than the
one that began the run, ``logged`` and ``go_on`` come first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path

from ...governance.log.auditlog import AuditLog
from ...governance.log.checkpoint import verify_checkpoint
from ...governance.log.entries import Entry, EntryType, Value
from ...governance.log.shown import Said
from ...governance.log.witness import Witness
from ...governance.signing.keys import SigningKey
from ...governance.signing.roster import Roster
from ..messages import Body, LogHead, SignedMessage
from ..study import Study
from ..watching import PROOFS, WITNESS_NAME, Others, OwnLog, OwnPlace, Post, shows
from .entries import OF_THE_STATE, Told


class CoordinatorWatch:
    """What the coordinator shows and sees of logs in one run of ``study``; ``post`` is from where it witnesses."""

    def __init__(self, post: Post, *, run: str, sites: Sequence[str], log: AuditLog) -> None:
        self._post = post
        self._run = run
        self._sites = tuple(sites)
        self._log = log
        self._own = OwnLog(log, post.key.public)
        self._others = Others(post)
        self._logged: list[Entry] = []  # what follows from the state, also by the process before

    def record(self, kind: str, refs: Mapping[str, str], data: Mapping[str, Value]) -> None:
        """Log what was done, durably; the next message says so, and shows this entry.

        What the log says of the run already is not written again: a step has one sum, whoever was killed when.
        """
        if any(Told(kind, refs, data).is_in(entry) for entry in self._logged):
            return
        refs = {"run": self._run, **refs}
        entry = Entry(type=kind, party=self._post.party, at=self._post.clock(), refs=refs, data=data)
        self._own.did(self._log.append(entry))
        if kind in OF_THE_STATE:  # what comes before the steps is never said again, and is much where sites are many
            self._logged.append(entry)

    def logged(self, since: int) -> list[tuple[int, Entry]]:
        """What the log says of this run from its entry ``since`` on, each with its number."""
        entries = ((since + n, Entry.from_bytes(body)) for n, body in enumerate(self._log.entries(since)))
        return [(index, entry) for index, entry in entries if entry.refs.get("run") == self._run]

    def go_on(self, after: LogHead | None, logged: Sequence[tuple[int, Entry]]) -> None:
        """Continue after the last message of another process, which showed ``after``; ``logged`` as above.

        What others claimed before needs no keeping: ``after`` continued it, and everybody has that.

        Raises:
            Refused: LOG_BEHIND. BadSignatureError: it is no head of this log.
        """
        self._logged = [entry for _, entry in logged if entry.type in OF_THE_STATE]
        if after is not None:
            head = verify_checkpoint(after.note, self._log.origin, self._post.key.public)
            self._own.check_has(self._post.party, head)
            fresh = [n for n, entry in logged if n >= head.size and entry.type != EntryType.LOG_CONTRADICTED]
            self._own.stand_at(OwnPlace(after.number, head.size, done=tuple(fresh)))

    def show(self, body: Body) -> LogHead | None:
        """The coordinator's log for the message that ``body`` becomes. Raises ``Refused`` LOG_BEHIND."""
        if not shows(body.kind):
            return None
        # every site's own head as it was seen last, so that a site which goes on from less convicts itself
        seen = self._others.notes(self._sites) if body.kind == "cohort" else {}
        return self._own.show(self._post.party, seen=seen, answers=None)

    def sent(self, message: SignedMessage) -> None:
        """What was signed: sites commit to the cohort when they answer it."""
        if message.body.kind == "cohort":
            self._others.cohort = message.detached()

    def hear(self, message: SignedMessage) -> None:
        """Witness a site's log in its verified answer. Raises ``Refused`` as ``Others.hear``."""
        if not shows(message.body.kind):
            return
        shown = self._others.hear(Said.of(message.header_bytes, message.signature, once=True))
        if shown is not None and self._post.party in shown.seen and message.body.kind == "join":
            self._own.claim(shown.seen[self._post.party])

    def settle(self) -> None:
        """Keep what was heard. Raises ``BrokenLogError`` WITNESS_UNWRITABLE."""
        self._others.settle()


@contextmanager
def witnessed(
    run: str,
    *,
    study: Study,
    roster: Roster,
    key: SigningKey,
    log: AuditLog,
    clock: Callable[[], datetime],
    state: Path,
) -> Iterator[CoordinatorWatch]:
    """The coordinator's watch over one run; what it keeps lies in ``state``. Raises ``BrokenLogError``."""
    party = roster.coordinator.id

    def record(kind: str, refs: dict[str, str], data: dict[str, str]) -> None:
        log.append(Entry(type=kind, party=party, at=clock(), refs={"run": run, **refs}, data={**data}))

    with closing(Witness(state / WITNESS_NAME)) as witness:
        post = Post(
            party=party,
            study=study.id,
            roster=roster,
            key=key,
            witness=witness,
            folder=state / PROOFS,
            clock=clock,
            record=record,
        )
        yield CoordinatorWatch(post, run=run, sites=sorted(study.sites), log=log)
