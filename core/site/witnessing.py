"""A site witnesses the coordinator's log at every message, and every other site's in each round that it is shown.

For: one run at one site, between the signature of a message and everything else that is done with it. Not for: the
rules (core/watching.py), or who may send what when (site.py).

Order of calls: ``SiteWatch(folder, run)`` at the offer; ``hear`` each message of the coordinator; ``show`` in what the
gate signs. Where a message could not be answered ``go_back`` to the ``place`` before it; after a kill ``go_on``.
"""

from __future__ import annotations

from ...governance.errors import GovernanceError
from ...governance.log.shown import Said, Shown
from ..errors import CoreError
from ..messages import Body, LogHead, SignedMessage
from ..parties import state_folder
from ..watching import PROOFS, Others, OwnLog, OwnPlace, Post, shows
from .folder import SiteFolder
from .keeping import to_bytes, to_text
from .kept import Watched

# The messages that bring other sites' own ones, and the kind of those.
ROUNDS = {"cohort": "join", "kems": "kem", "readies": "ready"}
BEGINS = ("step", "count")


class SiteWatch:
    """What one site shows and sees of logs in one run."""

    def __init__(self, folder: SiteFolder, run: str) -> None:
        self._folder = folder
        self._run = run
        self._own = OwnLog(folder.log, folder.key.public)
        self._others = Others(
            Post(
                party=folder.site,
                study=folder.study.id,
                roster=folder.roster,
                key=folder.key,
                witness=folder.witness,
                folder=state_folder(folder.study_folder, folder.site) / PROOFS,
                clock=folder.clock,
                record=lambda kind, refs, data: folder.record(kind, refs={"run": run, **refs}, data={**data}),
            )
        )
        self._answers: str | None = None
        self._begun = ""  # the coordinator's head as the step or count that is open began
        self._told = b""  # the coordinator's last message that shows its log, without payload

    @property
    def place(self) -> OwnPlace:
        """How much of this site's log its answers have shown."""
        return self._own.place

    def go_back(self, place: OwnPlace) -> None:
        """What was shown since was handed to nobody."""
        self._own.stand_at(place)

    def kept(self) -> Watched:
        """What ``go_on`` needs; the heads of others lie in the witness's own file."""
        own = self._own.place
        claims = tuple(sorted((size, root.hex()) for size, root in own.claims))
        return Watched(
            number=own.number, last=own.last, round=own.round, claims=claims, begun=self._begun,
            coordinator=to_text(self._told),
        )  # fmt: skip

    def go_on(self, kept: Watched, own_join: bytes) -> None:
        """After a kill: as it stood with the last answer. Raises ``CannotResumeError``, ``ProtocolError``."""
        claims = frozenset((size, bytes.fromhex(root)) for size, root in kept.claims)
        self._own.stand_at(OwnPlace(kept.number, kept.last, kept.round, claims))
        self._begun, self._told = kept.begun, to_bytes(kept.coordinator)
        self._others.own_join = own_join
        told = SignedMessage.from_bytes(self._told, detached=True)
        told.verify(self._folder.roster.coordinator.key)
        self._others.go_on(Said.of(told.header_bytes, told.signature))

    @property
    def own_join(self) -> bytes:
        """This site's join as the coordinator sent it round."""
        return self._others.own_join

    def hear(self, message: SignedMessage) -> None:
        """Witness what a verified message of the coordinator shows, its own log and others'.

        Raises:
            Refused: as ``Others.hear`` and ``Others.compare_views``. BrokenLogError: WITNESS_UNWRITABLE.
        """
        kind = message.body.kind
        self._answers = message.digest
        if not shows(kind):
            return
        coordinator = message.header.sender
        if kind == "cohort":
            self._others.cohort = message.detached()
            self._others.own_join = self._own_part(message)
        # 1. the coordinator's own log
        told = self._others.hear(Said.of(message.header_bytes, message.signature))
        self._claimed(told)
        self._told = message.detached()
        if told is not None and kind in BEGINS:
            self._begun = told.note
        # 2. the log of each other site whose message this one brings
        for said in self._brought(message, ROUNDS.get(kind, "")):
            shown = self._others.hear(said)
            self._claimed(shown)
            # 3. who is ready was shown the same log of the coordinator as this site, when the step or count began
            if shown is not None and kind == "readies":
                sender = str(said.header["sender"])
                self._others.compare_views(coordinator, self._begun, shown.seen.get(coordinator), told_by=sender)
        # 4. kept, cosigned, before anything else is done
        self._others.settle()
        if kind in ROUNDS:
            self._own.came_round()

    def show(self, body: Body) -> LogHead | None:
        """This site's log for the message that ``body`` becomes; None for kinds that show none.

        Raises:
            Refused: LOG_BEHIND.
        """
        if not shows(body.kind):
            return None
        coordinator = self._folder.roster.coordinator.id
        parties = {"join": (*self._folder.study.sites, coordinator), "ready": (coordinator,)}.get(body.kind, ())
        return self._own.show(self._folder.site, seen=self._others.notes(parties), answers=self._answers)

    def _claimed(self, shown: Shown | None) -> None:
        note = None if shown is None else shown.seen.get(self._folder.site)
        if note is not None:
            self._own.claim(note)

    def _own_part(self, message: SignedMessage) -> bytes:
        name = f"join:{self._folder.site}"
        return message.part(name) if any(part.name == name for part in message.header.parts) else b""

    def _brought(self, message: SignedMessage, kind: str) -> list[Said]:
        """Other sites' messages in this one. What is not one is left to those who read it next: they refuse it."""
        found = []
        for part in message.header.parts:
            prefix, _, site = part.name.partition(":")
            if prefix != kind or site == self._folder.site:
                continue
            try:
                received = SignedMessage.from_bytes(message.part(part.name))
                received.verify(self._folder.roster.party(site).key)
            except (CoreError, GovernanceError):
                continue
            if received.body.kind == kind and received.is_from(site, study=self._folder.study.id, run=self._run):
                found.append(Said.of(received.header_bytes, received.signature))
        return found
