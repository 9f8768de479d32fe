"""A coordinator whose operator turned: it rewrites what it sends to some sites and signs with the real key.

It has everything a coordinator has: the channel, its signing key, and all that sites ever sent it. It enters at the
engine's own interface; sites, gate, ledger and log are the product's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal
from unittest.mock import patch

from sekisho.core.coordinator import coordinator, rounds
from sekisho.core.coordinator.coordinator import RunResult
from sekisho.core.coordinator.witnessing import CoordinatorWatch
from sekisho.core.engines.embedded import EmbeddedChannel
from sekisho.core.errors import CoreError, Refused
from sekisho.core.messages import Body, LogHead, SignedMessage, sign_message
from sekisho.core.pilot.federation import Federation
from sekisho.core.site.witnessing import SiteWatch
from sekisho.governance.errors import GovernanceError
from sekisho.governance.signing.keys import SigningKey, demo_key
from sekisho.privacy.errors import PrivacyError

from ..federation.books import Features, Spent, books, entries, open_federation
from ..federation.channels import Tampering

# change(site, message, what sites have sent so far) -> the bytes to send instead, or None to leave it
Change = Callable[[str, SignedMessage, "Attack"], bytes | None]


def parts_of(message: SignedMessage) -> dict[str, bytes]:
    """Every part of a message's payload, in order."""
    return {part.name: message.part(part.name) for part in message.header.parts}


def resigned(
    message: SignedMessage,
    *,
    body: Mapping[str, object] | Body | None = None,
    parts: Mapping[str, bytes | None] | None = None,
    key: SigningKey | None = None,
    log: LogHead | Literal["as it was"] | None = "as it was",
    **header: str,
) -> bytes:
    """``message`` with other fields, parts (None drops one) or header, signed by the coordinator's key or ``key``.

    It shows the sender's log as ``message`` does, or else ``log``.
    """
    its_body = body if isinstance(body, Body) else message.body.model_copy(update=dict(body or {}))
    pieces = {name: data for name, data in {**parts_of(message), **(parts or {})}.items() if data is not None}
    names = {"study": message.header.study, "run": message.header.run, "sender": message.header.sender, **header}
    log = message.header.log if log == "as it was" else log
    return sign_message(its_body, **names, key=key or demo_key("coordinator"), parts=pieces, log=log).to_bytes()


@dataclass(frozen=True)
class Answer:
    """A site's answer to one message: the code it raised, or the kind it sent; and what it moved at the site."""

    code: str | None
    kind: str | None
    moved: tuple[str, ...] = ()


@dataclass
class Attack:
    """One run under attack, and what came of it."""

    federation: Federation
    channel: Tampering
    result: RunResult | None = None
    refused: Refused | None = None
    fired: list[tuple[str, str]] = field(default_factory=list)

    def sent_to(self, site: str, kind: str) -> list[SignedMessage]:
        """Messages of ``kind`` that were sent to ``site`` so far, oldest first."""
        messages = [SignedMessage.from_bytes(data) for name, data in self.channel.posted if name == site]
        return [message for message in messages if message.body.kind == kind]

    def sent_by(self, site: str, kind: str) -> list[SignedMessage]:
        """Messages of ``kind`` that ``site`` sent so far, oldest first."""
        messages = [SignedMessage.from_bytes(data) for name, data in self.channel.received if name == site]
        return [message for message in messages if message.body.kind == kind]

    def code_at(self, site: str) -> str | None:
        """The code of the last error that ``site`` raised at the engine's edge."""
        error = self.federation.embedded.failures.get(site)
        return None if error is None else error.code

    def books(self) -> dict[str, Spent]:
        """Every site's ledger of this run."""
        return books(self.federation)

    def started(self) -> dict[str, list[int]]:
        """The steps that each site's log says were started."""
        return {
            site: [entry["data"]["step"] for entry in entries(self.federation, site, "step.started")]
            for site in self.federation.sites
        }

    def aside(self, site: str, data: bytes) -> Answer:
        """Hand one message to ``site`` out of turn, and note its answer and whether anything there moved."""
        before = self._standing(site)
        try:
            answer = Answer(None, self.federation.sites[site].handle(data).message.body.kind)
        except (CoreError, GovernanceError, PrivacyError) as error:
            answer = Answer(error.code, None)
        after = self._standing(site)
        return replace(answer, moved=tuple(name for name, value in after.items() if value != before[name]))

    def _standing(self, name: str) -> dict[str, object]:
        site = self.federation.sites[name]
        state = site.state
        told = [line for line in site.folder.log.entries() if b'"type":"decision.permit"' not in line]
        standing: dict[str, object] = {
            "balance": site.folder.ledger.balance(),
            "ledger": site.folder.ledger.head(),
            "log": told,
            "heads": site.folder.heads.seen(),
        }
        if state is not None:
            standing["place"] = (state.step, state.step_cohort, state.cohort, state.step_transcript, state.step_sealed)
            standing["transcript"] = state.transcript
            standing["model"] = state.optimizer.digest()
            standing["keys"] = (dict(state.pair_keys), state.run_secret and state.run_secret.to_bytes())
        return standing

    def frames(self) -> int:
        """How many frames left sites."""
        return sum(SignedMessage.from_bytes(data).body.kind == "frame" for _, data in self.channel.received)


@contextmanager
def attack(
    study: Path, change: Change, *, run: str = "attacked", features: Features | None = None, witnessed: bool = True
) -> Iterator[Attack]:
    """Run the study's method with ``change`` between coordinator and sites. Never raises what sites refuse.

    Not ``witnessed``: nobody looks at anybody's log, where most lies show first (test_coordinator_log.py). So what
    stands behind that is shown to hold by itself.
    """
    channels: list[Tampering] = []

    def rewrite(site: str, message: SignedMessage, data: bytes) -> bytes:
        changed = change(site, message, ongoing)
        if changed is None or changed == data:
            return data
        ongoing.fired.append((site, message.body.kind))
        return changed

    def wrap(channel: EmbeddedChannel) -> Tampering:
        channels.append(Tampering(channel, change=rewrite))
        return channels[0]

    federation = open_federation(study, wrap, features=features)
    ongoing = Attack(federation, channels[0])
    asleep = ExitStack()
    for module in (coordinator, rounds):  # its operator turned: it does not say that sites stand apart
        asleep.enter_context(patch.object(module, "apart", lambda said: ()))
    if not witnessed:
        for watch in (SiteWatch, CoordinatorWatch):
            asleep.enter_context(patch.object(watch, "hear", lambda watch, message: None))
    try:
        try:
            ongoing.result = federation.run("probe", run=run)
        except Refused as refused:
            ongoing.refused = refused
        yield ongoing
    finally:
        asleep.close()
        federation.close()
