"""Ask every site of a cohort one thing, and take only what its key signed as the answer.

A reply that is late, forged, of another run or of another kind counts as none: the site did not deliver. A ``Decline``
ends the run by name. Not here: what a missing reply means for a step (coordinator.py), and any key but the
coordinator's own signing key.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...governance.errors import GovernanceError
from ...governance.signing.keys import SigningKey
from ...governance.signing.roster import Roster
from ...privacy.errors import PrivacyError
from ..engines.channel import Channel
from ..errors import CoreError, Refused
from ..messages import Body, Decline, SignedMessage, sign_message

REPLY_SECONDS = 3600.0  # a local step may take long on a small machine; an engine reports a dead site sooner
# What reading a hostile reply may raise: all of it means that this site did not deliver.
CODED = (CoreError, GovernanceError, PrivacyError)
POLL_SECONDS = 0.01  # only slept where replies are still out


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


class Collector:
    """Signs the coordinator's messages, posts them, and collects answers; counts the bytes."""

    def __init__(self, channel: Channel, *, study: str, roster: Roster, key: SigningKey) -> None:
        self._channel = channel
        self._study = study
        self._roster = roster
        self._key = key
        self.traffic = Traffic()

    def gather(
        self,
        run: str,
        sites: Sequence[str],
        body: Body,
        expected: type[Body],
        parts: Mapping[str, bytes] | None = None,
    ) -> Gathered:
        """Post ``body`` to ``sites`` and wait for a body of type ``expected`` from each.

        Raises ``Refused`` with the site's own code and clause when a site declines.
        """
        message = self._sign(run, body, parts)
        tickets = {self._channel.post(site, message, REPLY_SECONDS): site for site in sites}
        self.traffic.down += len(message) * len(tickets)
        answers: dict[str, SignedMessage] = {}
        deadline = time.monotonic() + REPLY_SECONDS
        while tickets and time.monotonic() < deadline:
            for reply in self._channel.poll():
                site = tickets.pop(reply.ticket, None)
                if site is not None and reply.data is not None:
                    self.traffic.up += len(reply.data)
                    answer = self._accept(reply.data, site, run, expected)
                    if answer is not None:
                        answers[site] = answer
            if tickets:
                time.sleep(POLL_SECONDS)
        return Gathered(answers, tuple(site for site in sites if site not in answers))

    def tell_all(self, run: str, body: Body) -> None:
        """Post ``body`` to every site that can be reached, and wait for nobody."""
        message = self._sign(run, body, None)
        for site in self._channel.sites():
            self._channel.post(site, message, REPLY_SECONDS)
        self._channel.poll()

    def _sign(self, run: str, body: Body, parts: Mapping[str, bytes] | None) -> bytes:
        sender = self._roster.coordinator.id
        message = sign_message(body, study=self._study, run=run, sender=sender, key=self._key, parts=parts).to_bytes()
        if parts and "sum" in parts:
            self.traffic.sum_bytes = len(message)
        return message

    def _accept(self, data: bytes, site: str, run: str, expected: type[Body]) -> SignedMessage | None:
        # a reply that is not exactly what was asked for counts as none: the site did not deliver
        try:
            message = SignedMessage.from_bytes(data)
            message.verify(self._roster.party(site).key)
        except CODED:
            return None
        if message.header.sender != site or message.header.run != run:
            return None
        if isinstance(message.body, Decline):
            raise Refused(
                message.body.code,
                f"{site} declined" + (f" by clause {message.body.clause}" if message.body.clause else ""),
                hint=f"the log and report of {site} say more; what was started stays charged",
                site=site,
                clause=message.body.clause,
            )
        return message if isinstance(message.body, expected) else None
