"""Ask every site of a cohort one thing, and take only what its key signed as the answer.

A reply that is late, forged, too long, of another run or of another kind counts as none: the site did not deliver. A
``Decline`` ends the run by name. Not here: what a missing reply means for a step (coordinator.py), and any key but the
coordinator's own signing key.

Order of calls: ``begin`` a run; ``gather`` where the answers are small and all needed at once; ``each`` where they are
large: it hands over one at a time and keeps none, so that memory does not grow with the number of sites.

Every message is written down before it is first posted (keeping.py). What is asked once more, by this process or by
the next one, is the same message, to the byte.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from ...governance.canonical import digest_bytes
from ...governance.errors import GovernanceError
from ...governance.signing.keys import SigningKey
from ...governance.signing.roster import Roster
from ...privacy.errors import PrivacyError
from ..engines.channel import Channel, Reply
from ..errors import CoreError, ProtocolError, Refused
from ..messages import Body, Decline, Judge, SignedMessage, sign_message
from .keeping import SUM, Asked, RunFiles
from .waiting import PATIENCE, Patience, Waiting
from .witnessing import CoordinatorWatch

STOP_SECONDS = 60.0  # a site in training hears of a stop between two batches; who has not by then ends by itself later
# What reading a hostile reply may raise: all of it means that this site did not deliver.
CODED = (CoreError, GovernanceError, PrivacyError)
POLL_SECONDS = 0.01  # only slept where replies are still out
# A reply without its parts. The longest honest one carries 126 ML-KEM ciphertexts in hex, about 290 KiB.
LONGEST_REPLY = 512 * 1024
# These begin something at a site, which decides under stops as they stand; what it needs to know of them goes along.
WITH_PAPERS = frozenset({"offer", "step", "count", "readies", "judge", "finish"})

Papers = Callable[[], Mapping[str, bytes]]
Heard = Callable[[str, int, int], None]


@dataclass
class Traffic:
    """Bytes through the coordinator.

    Of one site and one step, whole signed messages: ``frame_bytes`` is its share, ``sum_bytes`` what it is sent to open
    the sum.
    """

    up: int = 0
    down: int = 0
    frame_bytes: int = 0
    frame_payload: int = 0
    sum_bytes: int = 0


@dataclass(frozen=True)
class Gathered:
    """Verified answers by site, and who did not give one."""

    messages: dict[str, SignedMessage] = field(default_factory=dict)
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Expected:
    """What may come back: a body of type ``body`` with ``parts``, each by name and exact length, and nothing else."""

    body: type[Body]
    parts: Mapping[str, int] = field(default_factory=dict)

    def fits(self, length: int) -> bool:
        """Whether a reply of so many bytes can be one; asked before any of it is read."""
        return length <= LONGEST_REPLY + sum(self.parts.values())

    def matches(self, message: SignedMessage) -> bool:
        """Whether ``message`` is one."""
        carried = tuple((part.name, part.length) for part in message.header.parts)
        return isinstance(message.body, self.body) and carried == tuple(self.parts.items())


def apart(said: Mapping[str, Hashable]) -> tuple[str, ...]:
    """Sites that say other than most, sorted; all of them where no more than half say the same.

    For what every honest site says alike: by it a step is lost, and the one that is named must not be the honest one.
    """
    most, count = Counter(said.values()).most_common(1)[0] if said else (None, 0)
    agreed = 2 * count > len(said)
    return tuple(sorted(site for site, its in said.items() if not (agreed and its == most)))


class Collector:
    """Signs the coordinator's messages, posts them, and collects answers; counts the bytes.

    ``papers``: what sites must know afresh, as parts of a message (stop_list.py). ``halted``: the code by which
    somebody here wants the run stopped, or nothing. ``heard``: told the phase, how many have answered, of how many.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        study: str,
        sites: Sequence[str],
        roster: Roster,
        key: SigningKey,
        papers: Papers = dict,
        patience: Patience = PATIENCE,
        halted: Callable[[], str] = str,
        heard: Heard = lambda phase, heard, of: None,
    ) -> None:
        self._channel = channel
        self._study = study
        self._sites = sites
        self._roster = roster
        self._key = key
        self._papers = papers
        self._patience = patience
        self._halted = halted
        self._heard = heard
        self.traffic = Traffic()
        self._watch: CoordinatorWatch
        self._files: RunFiles
        self._asked: tuple[str, Body] | None = None
        self._told = ""  # which papers the sites have

    def begin(self, watch: CoordinatorWatch, files: RunFiles, *, after: Asked | None = None) -> None:
        """From here on messages are of one run: they show the log that ``watch`` watches, and lie in ``files``.

        ``after``: what another process asked last in this run.
        """
        self._watch, self._files = watch, files
        self._asked = None if after is None else (after.phase, after.message.body)
        self._told = "" if after is None else after.papers

    def has_asked(self, body: Body, phase: str) -> bool:
        """Whether ``body`` is what was asked last: then the same message is asked again."""
        return self._asked == (phase, body)

    def gather(
        self,
        run: str,
        sites: Sequence[str],
        body: Body,
        expected: type[Body],
        parts: Mapping[str, bytes] | None = None,
    ) -> Gathered:
        """Post ``body`` to ``sites`` and wait for a body of type ``expected`` from each; for answers without parts.

        Raises ``Refused`` with the site's own code and clause when a site declines.
        """
        answers: dict[str, SignedMessage] = {}
        missing = self.each(run, sites, body, Expected(expected), answers.__setitem__, parts)
        return Gathered(answers, missing)

    def each(
        self,
        run: str,
        sites: Sequence[str],
        body: Body,
        expected: Expected,
        use: Callable[[str, SignedMessage], None],
        parts: Mapping[str, bytes] | None = None,
        *,
        phase: str = "",
    ) -> tuple[str, ...]:
        """As ``gather``, but every answer goes to ``use`` as it arrives and is let go; returns who gave none.

        All sites are posted the same bytes object. At most one reply is in hand at a time. ``phase`` names what is
        asked for, where the kind of the body does not say it.
        """
        phase = phase or body.kind
        message = self._message(run, body, parts, phase)
        waiting = Waiting(self._channel, self._patience, message, sites)
        self.traffic.down += len(message) * len(sites)
        del message  # the engine has it until the last site has heard it
        missing = set(sites)
        while waiting:
            # what a turn held is gone when it returns: before the next reply comes
            if not self._turn(waiting, missing, run, expected, use):
                waiting.look()
                if waiting:
                    time.sleep(POLL_SECONDS)
            self._heard(phase, len(sites) - len(missing), len(sites))
            if code := self._halted():
                raise Refused(code, "the run was stopped at the coordinator", hint="what was started stays charged")
        self._watch.settle()
        return tuple(site for site in sites if site in missing)

    def tell_all(self, *told: tuple[str, Body]) -> None:
        """Post each body, of its run, to every site, also to one that is out of reach; wait a while until all heard."""
        tickets = set()
        for run, body in told:
            message = sign_message(body, study=self._study, run=run, sender=self._roster.coordinator.id, key=self._key)
            data = message.to_bytes()
            for site in self._sites:
                with suppress(ProtocolError):  # of a site that is not in this engine, nobody can say more
                    tickets.add(self._channel.post(site, data, STOP_SECONDS))
        deadline = time.monotonic() + STOP_SECONDS
        while tickets and time.monotonic() < deadline:
            replies = self._channel.poll()  # what is still on its way is heard by nobody; each poll lets go of it
            tickets -= {reply.ticket for reply in replies}
            if not replies and tickets:
                time.sleep(POLL_SECONDS)

    def _turn(
        self,
        waiting: Waiting,
        missing: set[str],
        run: str,
        expected: Expected,
        use: Callable[[str, SignedMessage], None],
    ) -> bool:
        """One poll; whether anything came."""
        replies = self._channel.poll()
        for reply in replies:
            site = waiting.take(reply)
            answer = None if site is None else self._accept(reply, site, run, expected)
            if site is not None and answer is not None:
                missing.discard(site)
                use(site, answer)
        return bool(replies)

    def _message(self, run: str, body: Body, parts: Mapping[str, bytes] | None, phase: str) -> bytes:
        """What is posted: what was asked before, to the byte, or a new message, which is written down first."""
        if self.has_asked(body, phase):
            message = self._files.wire()
        else:
            pieces = {**(parts or {}), **self._fresh(body.kind)}
            signed = sign_message(
                body,
                study=self._study,
                run=run,
                sender=self._roster.coordinator.id,
                key=self._key,
                parts=pieces,
                log=self._watch.show(body),
            )
            self._watch.sent(signed)
            self._files.keep(signed, phase, self._told)
            self._asked = phase, body
            message = signed.to_bytes()
        if parts and SUM in parts and not isinstance(body, Judge):
            self.traffic.sum_bytes = len(message)
        return message

    def _fresh(self, kind: str) -> Mapping[str, bytes]:
        """The papers, where they are others than the sites were told of last."""
        if kind not in WITH_PAPERS:
            return {}
        papers = self._papers()
        before, self._told = self._told, digest_bytes(b"".join(digest_bytes(one).encode() for one in papers.values()))
        return {} if self._told == before else papers

    def _accept(self, reply: Reply, site: str, run: str, expected: Expected) -> SignedMessage | None:
        # a reply that is not exactly what was asked for counts as none: the site did not deliver
        if reply.data is None:
            return None
        self.traffic.up += len(reply.data)
        if not expected.fits(len(reply.data)):
            return None
        try:
            message = SignedMessage.from_bytes(reply.data, once=True)
            message.verify(self._roster.party(site).key)
        except CODED:
            return None
        if not message.is_from(site, study=self._study, run=run):
            return None
        if isinstance(message.body, Decline):
            raise Refused(
                message.body.code,
                f"{site} declined" + (f" by clause {message.body.clause}" if message.body.clause else ""),
                hint=f"the log and report of {site} say more; what was started stays charged",
                site=site,
                clause=message.body.clause,
            )
        if not expected.matches(message):
            return None
        self._watch.hear(message)  # a log that contradicts itself ends the run, whatever else the answer says
        return message
