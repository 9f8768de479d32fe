"""What one party shows of its own log in one run, and what it holds the others' logs to; the same at every party.

For: the rules of witnessing between messages: each head continues the last, each message shows the entry for what it
says was done. Not for: which messages there are to hear (site/witnessing.py, coordinator/witnessing.py), or the rules
over bytes (governance/log/shown.py), by which outsiders re-check what is found here.

Order of calls: ``Others.hear`` each message, then ``settle``, before anything else is done with it;
``OwnLog.claim`` what others hold of this log, ``OwnLog.show`` in what is sent.

Whoever is found out is named in a ``Refused``, which ends the run at whoever found it. Where the evidence convicts in
anybody's eyes it is stored first: the log says by which digest.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NoReturn

from ..governance.errors import BadSignatureError
from ..governance.evidence import verifier
from ..governance.log.auditlog import AuditLog
from ..governance.log.checkpoint import Checkpoint, cosign, verify_checkpoint
from ..governance.log.misbehaviour import CODES, Charge, Proof, convicts, store
from ..governance.log.shown import SHOWING, Said, Shown, holds, owed
from ..governance.log.witness import Offered, Witness, contradiction, head_of
from ..governance.signing.keys import PublicKey, SigningKey
from ..governance.signing.roster import Roster
from .bodies import EntryShown, LogHead
from .errors import ProtocolError, Refused
from .parties import log_origin

WITNESS_NAME = "witness.sqlite"
PROOFS = "misbehaviour"
VIEWS_DIFFER = "LOG_VIEWS_DIFFER"
HINT = "the run ends here; what was started stays charged. Ask its owner for the log, and show others what is kept"
# A run's first messages say where a log is. What it was before is asked for in them, and answered in the next.
OPENING = frozenset({"offer", "join"})


@dataclass(frozen=True)
class OwnPlace:
    """What one party has shown of its own log so far: how much ``OwnLog`` needs to go on after its process was killed.

    ``number``, ``last``, ``round``: of its last message, and the log's size there and in the last that came round.
    ``claims``: size and root of each head that others hold. ``done``: entries that the next message must show.
    """

    number: int = 0
    last: int = 0
    round: int = 0
    claims: frozenset[tuple[int, bytes]] = frozenset()
    done: tuple[int, ...] = ()


class OwnLog:
    """One party's log as its messages of one run show it."""

    def __init__(self, log: AuditLog, key: PublicKey) -> None:
        self._log = log
        self._key = key
        self._number = 0
        self._last = 0        # the size in the last message
        self._round = 0       # the size in the last message that came round to everybody
        self._claims: set[Checkpoint] = set()  # of one size there may be two, and then one is not this log's
        self._done: list[int] = []

    @property
    def place(self) -> OwnPlace:
        """Where it stands; ``stand_at`` it later."""
        claims = frozenset((head.size, head.root) for head in self._claims)
        return OwnPlace(self._number, self._last, self._round, claims, tuple(self._done))

    def stand_at(self, place: OwnPlace) -> None:
        """Stand where ``place`` says: what was shown since was handed to nobody."""
        self._number, self._last, self._round = place.number, place.last, place.round
        self._claims = {Checkpoint(self._log.origin, size, root) for size, root in place.claims}
        self._done = [*place.done]

    def did(self, index: int) -> None:
        """Entry ``index`` is of something that the next message says was done."""
        self._done.append(index)

    def claim(self, note: str) -> None:
        """Others hold ``note`` as a head of this log; what this key did not sign is nobody's claim."""
        try:
            head = verify_checkpoint(note, self._log.origin, self._key)
        except BadSignatureError:
            return
        self._claims.add(head)

    def came_round(self) -> None:
        """Everybody has the last message that showed this log."""
        self._round = self._last

    def show(self, party: str, *, seen: Mapping[str, str], answers: str | None) -> LogHead:
        """The log now, with the proofs from wherever others may have seen it last.

        Raises:
            Refused: LOG_BEHIND, when others hold heads that this key signed and this log never had.
        """
        # 1. What this party signed once and no longer has: its log was put back, and must not go on.
        self._check_claims(party)
        # 2. The head, kept in the log itself, so that nothing it signs later can contradict it.
        note = self._log.checkpoint()
        size = verify_checkpoint(note, self._log.origin, self._key).size
        # 3. From each size that anybody can have seen last; between equal heads there is nothing to prove.
        bases = sorted({self._last, self._round, *(head.size for head in self._claims)} - {0, size})
        shown = LogHead(
            number=self._number + 1,
            note=note,
            continued={str(base): _texts(self._log.consistency(base, size)) for base in bases},
            entries=tuple(self._entry(index, size) for index in self._done),
            seen=dict(seen),
            answers=answers,
        )
        self._number, self._last, self._done = self._number + 1, size, []
        return shown

    def _check_claims(self, party: str) -> None:
        for head in self._claims:
            self.check_has(party, head)

    def check_has(self, party: str, head: Checkpoint) -> None:
        """Return if ``head``, which this key signed, is of this log. Raises ``Refused`` LOG_BEHIND."""
        if head.size > self._log.size or self._log.root(head.size) != head.root:
            raise Refused(
                "LOG_BEHIND",
                f"{party}: others hold a head of {head.size} entries that this log's key signed "
                "and this log never had",
                hint="a log restored from a backup must not go on; find the newest copy",
                site=party,
            )

    def _entry(self, index: int, size: int) -> EntryShown:
        body = next(self._log.entries(index)).decode("ascii")
        return EntryShown(index=index, entry=body, proof=_texts(self._log.inclusion(index, size)))


@dataclass(frozen=True)
class Post:
    """From where a party witnesses: its name and key, what it keeps, and how it logs."""

    party: str
    study: str
    roster: Roster
    key: SigningKey
    witness: Witness
    folder: Path
    clock: Callable[[], datetime]
    record: Callable[[str, dict[str, str], dict[str, str]], None]

    def key_of(self, party: str) -> PublicKey:
        """The public key of a party of the roster."""
        return self.roster.party(party).key


@dataclass(frozen=True)
class _Last:
    """What is kept of a message until the next one comes: its bytes, and its head; nothing else that was read."""

    raw: bytes
    number: int
    head: Checkpoint
    note: str


@dataclass
class _Heard:
    """What one party has shown in this run."""

    digests: set[str] = field(default_factory=set)
    heads: dict[int, Checkpoint] = field(default_factory=dict)
    last: _Last | None = None
    forgotten: int = 0  # of messages up to this number only the last is known: an earlier process heard them


class Others:
    """The other parties' logs in one run, as one party has seen them."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._heard: dict[str, _Heard] = {}
        self._queue: list[Offered] = []
        self._kept: dict[str, str | None] = {}
        self.cohort: bytes = b""     # the coordinator's cohort message, without payload
        self.own_join: bytes = b""   # this party's own join in it

    def hear(self, said: Said) -> Shown | None:
        """Hold one message to all that was seen of its sender's log. None where it was heard before.

        Raises:
            Refused: LOG_WITHHELD, LOG_FORKED, LOG_ROLLED_BACK, LOG_INCONSISTENT, LOG_DISOWNED, LOG_VIEWS_DIFFER.
            ProtocolError: MESSAGE_OLD, where it is from before a kill (``go_on``).
        """
        party = str(said.header["sender"])
        heard = self._heard.setdefault(party, _Heard())
        # 1. The same message again says nothing new, and accuses nobody.
        if said.digest in heard.digests:
            return None
        # 2. It shows the log, and there the entry for what it says was done.
        shown = said.shown(self._post.key_of(party))
        if shown is None or not holds(shown, owed(said)):
            self._convict(Charge.WITHHELD, party, said.raw)
        # 3. The log goes on from where it was in the sender's last message of this run.
        if heard.last is not None:
            self._compare(party, heard, heard.last, said, shown)
        # 4. And from the last head that was seen of it at all.
        self._continue(party, said, shown)
        heard.digests.add(said.digest)
        heard.heads[shown.number] = shown.head
        if heard.last is None or shown.number > heard.last.number:
            heard.last = _Last(said.raw, shown.number, shown.head, shown.note)
        return shown

    def go_on(self, said: Said) -> None:
        """After a kill: ``said`` was the last message heard of its sender; nothing is compared, for that was done.

        What the sender said before it is not known any more, and is refused should it come again (``hear``).
        """
        party = str(said.header["sender"])
        shown = said.shown(self._post.key_of(party))
        if shown is not None:
            last = _Last(said.raw, shown.number, shown.head, shown.note)
            self._heard[party] = _Heard({said.digest}, {shown.number: shown.head}, last, forgotten=shown.number)

    def settle(self) -> None:
        """Keep what was heard, cosigned, in one transaction. Raises ``BrokenLogError`` WITNESS_UNWRITABLE."""
        if self._queue:
            queue, self._queue = self._queue, []
            self._post.witness.check_and_persist_all(queue)

    def notes(self, parties: Iterable[str]) -> dict[str, str]:
        """The newest head that this party has kept of each of ``parties``, where it has one."""
        found = {party: self._last_kept(party) for party in parties if party != self._post.party}
        return {party: note for party, note in found.items() if note is not None}

    def compare_views(self, party: str, mine: str, theirs: str | None, *, told_by: str) -> None:
        """Return if ``told_by`` was shown the same head of ``party`` as this party was, at the same moment.

        Raises:
            Refused: LOG_FORKED, LOG_VIEWS_DIFFER.
        """
        if mine == theirs:
            return
        key, origin = self._post.key_of(party), log_origin(self._post.study, party)
        own = verify_checkpoint(mine, origin, key)
        try:
            other = None if theirs is None else verify_checkpoint(theirs, origin, key)
        except BadSignatureError:
            other = None
        if other == own:
            return
        if other is not None and theirs is not None and other.size == own.size:
            self._convict(Charge.FORK, party, mine, theirs)
        # Two heads of different sizes may both be honest: somebody is not, and nobody can show who.
        self._refuse(VIEWS_DIFFER, party, f"'{told_by}' says that it was shown another log of '{party}'")

    # -- the rules -------------------------------------------------------------------------------------------------

    def _compare(self, party: str, heard: _Heard, earlier: _Last, said: Said, shown: Shown) -> None:
        if shown.number <= earlier.number:
            if shown.number < heard.forgotten and shown.number not in heard.heads:
                raise ProtocolError("MESSAGE_OLD", f"a message of '{party}' from before this process began came again")
            # Another message under a number that has passed may not show another log than it did then.
            if heard.heads.get(shown.number) != shown.head:
                self._refuse(VIEWS_DIFFER, party, f"'{party}' signed two messages for one place in the run")
            return
        if shown.head.size < earlier.head.size:
            self._convict(Charge.ROLLBACK, party, earlier.raw, said.raw)
        if shown.head.size == earlier.head.size and shown.head.root != earlier.head.root:
            self._convict(Charge.FORK, party, earlier.note, shown.note)
        follows = shown.number == earlier.number + 1
        if follows and _denies(earlier.head, shown):
            self._convict(Charge.INCONSISTENT, party, earlier.raw, said.raw)
        # A site's ready is not forwarded when its step falls; the coordinator's messages go to everybody.
        if not follows and party == self._post.roster.coordinator.id:
            self._refuse(CODES[Charge.WITHHELD], party, f"'{party}' left a message out")

    def _continue(self, party: str, said: Said, shown: Shown) -> None:
        note, key = self._last_kept(party), self._post.key_of(party)
        if note is not None:
            seen = head_of(note)
            if seen.size == shown.head.size and seen.root != shown.head.root:
                self._convict(Charge.FORK, party, note, shown.note)
            if said.kind not in OPENING and _denies(seen, shown):
                self._convict(Charge.DISOWNED, party, *self._commitment(said))
            if seen.size >= shown.head.size:
                return
        if said.kind in OPENING:
            return
        line = cosign(shown.note, log_origin(self._post.study, self._post.party), self._post.key, self._post.clock())
        proof = () if note is None else shown.proof_from(seen.size)
        self._queue.append(Offered(said.origin, shown.note, proof, key, line))
        self._kept[party] = shown.note

    def _commitment(self, said: Said) -> tuple[bytes, ...]:
        """What shows that the sender knew of the head that it does not continue; it convicts only where it does."""
        if said.kind == "kem":
            return (said.raw, self.cohort, *([self.own_join] if self.own_join else []))
        return (said.raw, self.own_join)

    def _last_kept(self, party: str) -> str | None:
        if party not in self._kept:
            origin = log_origin(self._post.study, party)
            self._kept[party] = self._post.witness.last_note(origin, self._post.key_of(party))
        return self._kept[party]

    # -- what follows ----------------------------------------------------------------------------------------------

    def _convict(self, charge: Charge, party: str, *evidence: str | bytes) -> NoReturn:
        proof = Proof(charge, log_origin(self._post.study, party), evidence)
        said = f"the log of '{party}' contradicts what '{party}' has shown or says ({charge})"
        # By both readers: one that outsiders do not follow convicts nobody, and spoils the evidence that holds it.
        if not convicts(proof, self._post.key_of(party)) or not _is_followed(proof, self._post.key_of(party)):
            self._refuse(CODES[charge], party, said)
        # Stored before anybody hears of it: the run that ends next may be the last thing this process does.
        store(self._post.folder, proof)
        self._refuse(CODES[charge], party, said, proof=proof.digest)

    def _refuse(self, code: str, party: str, sentence: str, *, proof: str = "") -> NoReturn:
        refs = {"party": party} | ({"proof": proof} if proof else {})
        self._post.record("log.contradicted", refs, {"code": code})
        raise Refused(code, f"{self._post.party}: {sentence}", hint=HINT, site=self._post.party, clause=f"log/{party}")


def shows(kind: str) -> bool:
    """Whether a message of this kind shows its sender's log."""
    return kind in SHOWING


def _denies(earlier: Checkpoint, later: Shown) -> bool:
    return contradiction(earlier, later.head, later.proof_from(earlier.size)) is not None


def _is_followed(proof: Proof, key: PublicKey) -> bool:
    """Whether the stand-alone verifier finds the same."""
    evidence = json.loads(proof.to_bytes())["evidence"]
    return verifier.convicts(str(proof.charge), proof.origin, key.raw, evidence)


def _texts(hashes: Iterable[bytes]) -> tuple[str, ...]:
    return tuple(base64.b64encode(one).decode("ascii") for one in hashes)
