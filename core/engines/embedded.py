"""Every site in this process: the default engine, and what tests run on.

Sites share one frozen base model in memory and nothing else. A site that raises is reported as one that did not
deliver; its coded error is kept for the person at the terminal (``failures``), not for the coordinator.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping

from ...governance.errors import GovernanceError
from ...privacy.errors import PrivacyError
from ..errors import CoreError, ProtocolError
from .channel import Reply, SiteEnd, carry


class EmbeddedChannel:
    """``Channel`` over objects in this process; posts are answered in their order, one at each poll."""

    def __init__(self, sites: Mapping[str, SiteEnd]) -> None:
        self._sites = dict(sites)
        self._waiting: deque[tuple[int, str, bytes, float]] = deque()
        self._next_ticket = 1
        self.failures: dict[str, CoreError | GovernanceError | PrivacyError] = {}

    def sites(self) -> tuple[str, ...]:
        """Ids of all sites in this process, in order."""
        return tuple(sorted(self._sites))

    def post(self, site: str, message: bytes, ttl: float) -> int:
        """Queue one message for ``site``. Raises ``ProtocolError`` for a site that is not here."""
        if site not in self._sites:
            raise ProtocolError("SITE_UNKNOWN", f"there is no site '{site}' in this engine")
        ticket = self._next_ticket
        self._next_ticket += 1
        self._waiting.append((ticket, site, message, time.monotonic() + ttl))
        return ticket

    def poll(self) -> tuple[Reply, ...]:
        """Let the site that was addressed first answer; nothing where all have."""
        return (self._answer(*self._waiting.popleft()),) if self._waiting else ()

    def _answer(self, ticket: int, site: str, message: bytes, deadline: float) -> Reply:
        if time.monotonic() > deadline:
            return Reply(ticket, site, None)
        try:
            return Reply(ticket, site, carry(self._sites[site].handle(message)))
        except (CoreError, GovernanceError, PrivacyError) as error:
            self.failures.setdefault(site, error)  # the first one is the cause
            return Reply(ticket, site, None)
