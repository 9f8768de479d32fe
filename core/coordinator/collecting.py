"""Ask every site of a cohort one thing, and take only what its key signed as the answer.

A reply that is late, forged, too long, of another run or of another kind counts as none: the site did not deliver. A
``Decline`` ends the run by name. Not here: what a missing reply means for a step (coordinator.py), and any key but the
coordinator's own signing key.

Order of calls: ``gather`` where the answers are small and all needed at once; ``each`` where they are large: it hands
over one at a time and keeps none, so that memory does not grow with the number of sites.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from ...governance.errors import GovernanceError
from ...governance.signing.keys import SigningKey
from ...governance.signing.roster import Roster
from ...privacy.errors import PrivacyError
from ..engines.channel import Channel, Reply
from ..errors import CoreError, Refused
from ..messages import Body, Decline, Judge, LogHead, SignedMessage, sign_message
from .witnessing import CoordinatorWatch

REPLY_SECONDS = 3600.0  # a local step may take long on a small machine; an engine reports a dead site sooner
# What reading a hostile reply may raise: all of it means that this site did not deliver.
CODED = (CoreError, GovernanceError, PrivacyError)
POLL_SECONDS = 0.01  # only slept where replies are still out
# A reply without its parts. The longest honest one carries 126 ML-KEM ciphertexts in hex, about 290 KiB.
LONGEST_REPLY = 512 * 1024


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
    """Signs the coordinator's messages, posts them, and collects answers; counts the bytes."""

    def __init__(self, channel: Channel, *, study: str, roster: Roster, key: SigningKey) -> None:
        self._channel = channel
        self._study = study
        self._roster = roster
        self._key = key
        self.traffic = Traffic()
        self._watch: CoordinatorWatch | None = None
        self._asked: tuple[str, Body] | None = None
        self._shown: LogHead | None = None

    def watch(self, watch: CoordinatorWatch) -> None:
        """From here on every message shows the coordinator's log, and every answer's log is witnessed."""
        self._watch, self._asked = watch, None

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
    ) -> tuple[str, ...]:
        """As ``gather``, but every answer goes to ``use`` as it arrives and is let go; returns who gave none.

        All sites are posted the same bytes object. At most one reply is in hand at a time.
        """
        message = self._sign(run, body, parts)
        tickets = {self._channel.post(site, message, REPLY_SECONDS): site for site in sites}
        self.traffic.down += len(message) * len(tickets)
        del message  # the engine has it until the last site has heard it
        missing = set(sites)
        deadline = time.monotonic() + REPLY_SECONDS
        while tickets and time.monotonic() < deadline:
            # what a turn held is gone when it returns: before the next reply comes
            if not self._turn(tickets, missing, run, expected, use) and tickets:
                time.sleep(POLL_SECONDS)
        if self._watch is not None:
            self._watch.settle()
        return tuple(site for site in sites if site in missing)

    def tell_all(self, run: str, body: Body) -> None:
        """Post ``body`` to every site that can be reached, and wait for nobody."""
        message = self._sign(run, body, None)
        for site in self._channel.sites():
            self._channel.post(site, message, REPLY_SECONDS)
        while self._channel.poll():  # what is still on its way is heard by nobody; each poll lets go of it
            continue

    def _turn(
        self,
        tickets: dict[int, str],
        missing: set[str],
        run: str,
        expected: Expected,
        use: Callable[[str, SignedMessage], None],
    ) -> bool:
        """One poll; whether anything came."""
        replies = self._channel.poll()
        for reply in replies:
            site = tickets.pop(reply.ticket, None)
            answer = None if site is None else self._accept(reply, site, run, expected)
            if site is not None and answer is not None:
                missing.discard(site)
                use(site, answer)
        return bool(replies)

    def _sign(self, run: str, body: Body, parts: Mapping[str, bytes] | None) -> bytes:
        sender = self._roster.coordinator.id
        if self._asked != (run, body):  # what is asked once more is the same message, to the byte
            self._shown = None if self._watch is None else self._watch.show(body)
            self._asked = run, body
        signed = sign_message(
            body, study=self._study, run=run, sender=sender, key=self._key, parts=parts, log=self._shown
        )
        if self._watch is not None:
            self._watch.sent(signed)
        message = signed.to_bytes()
        if parts and "sum" in parts and not isinstance(body, Judge):
            self.traffic.sum_bytes = len(message)
        return message

    def _accept(self, reply: Reply, site: str, run: str, expected: Expected) -> SignedMessage | None:
        # a reply that is not exactly what was asked for counts as none: the site did not deliver
        if reply.data is None:
            return None
        self.traffic.up += len(reply.data)
        if not expected.fits(len(reply.data)):
            return None
        try:
            message = SignedMessage.from_bytes(reply.data)
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
        if self._watch is not None:  # a log that contradicts itself ends the run, whatever else the answer says
            self._watch.hear(message)
        return message
