"""The coordinator shows its log in every message, and witnesses each site's wherever a site shows it.

For: one run, at the coordinator. Not for: the rules (core/watching.py), or asking sites (collecting.py).

Order of calls: ``CoordinatorWatch(...)`` at the start of a run; ``did`` for each entry that the next message will say
was done; ``show`` and ``sent`` for each message; ``hear`` each answer, ``settle`` when a round of them is over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from ...governance.log.auditlog import AuditLog
from ...governance.log.entries import Entry
from ...governance.log.shown import Said
from ...governance.log.witness import Witness
from ...governance.signing.keys import SigningKey
from ...governance.signing.roster import Roster
from ..messages import Body, LogHead, SignedMessage
from ..watching import PROOFS, Others, OwnLog, Post, shows


class CoordinatorWatch:
    """What the coordinator shows and sees of logs in one run. ``state`` is its private folder."""

    def __init__(
        self,
        *,
        study: str,
        run: str,
        sites: Sequence[str],
        roster: Roster,
        key: SigningKey,
        log: AuditLog,
        witness: Witness,
        state: Path,
        clock: Callable[[], datetime],
    ) -> None:
        me = roster.coordinator.id

        def record(kind: str, refs: dict[str, str], data: dict[str, str]) -> None:
            log.append(Entry(type=kind, party=me, at=clock(), refs={"run": run, **refs}, data={**data}))

        self._me = me
        self._sites = tuple(sites)
        self._own = OwnLog(log, key.public)
        self._others = Others(
            Post(
                party=me,
                study=study,
                roster=roster,
                key=key,
                witness=witness,
                folder=state / PROOFS,
                clock=clock,
                record=record,
            )
        )

    def did(self, index: int) -> None:
        """The next message says that this was done: entry ``index``."""
        self._own.did(index)

    def show(self, body: Body) -> LogHead | None:
        """The coordinator's log for the message that ``body`` becomes. Raises ``Refused`` LOG_BEHIND."""
        if not shows(body.kind):
            return None
        # every site's own head as it was seen last, so that a site which goes on from less convicts itself
        seen = self._others.notes(self._sites) if body.kind == "cohort" else {}
        return self._own.show(self._me, seen=seen, answers=None)

    def sent(self, message: SignedMessage) -> None:
        """What was signed: sites commit to the cohort when they answer it."""
        if message.body.kind == "cohort":
            self._others.cohort = message.detached()

    def hear(self, message: SignedMessage) -> None:
        """Witness a site's log in its verified answer. Raises ``Refused`` as ``Others.hear``."""
        if not shows(message.body.kind):
            return
        shown = self._others.hear(Said.of(message.header_bytes, message.signature))
        if shown is not None and self._me in shown.seen and message.body.kind == "join":
            self._own.claim(shown.seen[self._me])

    def settle(self) -> None:
        """Keep what was heard. Raises ``BrokenLogError`` WITNESS_UNWRITABLE."""
        self._others.settle()
