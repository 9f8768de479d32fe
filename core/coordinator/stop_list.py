"""The coordinator keeps the list of stops fresh while it runs, under its own key.

For: a list that is never half as old as the strictest policy allows. Not for: stopping or restarting, which people do,
or judging a list, which each site does for itself (governance/signing/stop_list.py).

Order of calls: ``StopListKeeper(...)`` -> ``renew()`` at the start, then ``keep()`` before whatever a site may refuse
under an old list.

It names every order that it can see, that a list has named before, or that it has ever seen: what it knows is in its
own state, so an order does not vanish with its file and the list. A coordinator that leaves one out has signed the
evidence of it. Over a list that cannot be read, or that was signed under a later roster, it writes none: its own would
cover up what makes every site stand still.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence, Set
from datetime import datetime, timedelta
from pathlib import Path

from ...governance.canonical import is_digest
from ...governance.signing.envelope import sign_statement, write_envelopes
from ...governance.signing.keys import SigningKey
from ...governance.signing.roster import Roster
from ...governance.signing.stop import LIST, order_digests, read_list, read_orders
from ...governance.signing.stop_list import ListState, check_may_follow, list_state, stop_list_statement
from ...governance.signing.stop_travel import travelling
from ..errors import BadInputError
from ..parties import READABLE, replace_file, write_whole

KNOWN = "stops.json"  # in the coordinator's state: the digests of all orders that it has ever known
STRICTEST = 1  # hours; what a policy can ask for at most, taken where no policy is known


class StopListKeeper:
    """Signs ``list.dsse.json`` in ``folder``. ``allowed`` are the hours that each site's policy lets a list be old;
    ``memory`` is the file of the orders that it has ever known."""

    def __init__(
        self,
        folder: Path,
        *,
        roster: Roster,
        key: SigningKey,
        clock: Callable[[], datetime],
        allowed: Sequence[int],
        memory: Path,
    ) -> None:
        self._folder = folder
        self._roster = roster
        self._key = key
        self._clock = clock
        self._half = timedelta(hours=min(allowed, default=STRICTEST)) / 2
        self._memory = memory

    def keep(self) -> None:
        """Sign a new list if the last one is half as old as the strictest policy allows, or names too little.

        Raises as ``renew`` does.
        """
        now = self._clock()
        listed, known = self._look(now)
        if listed.stopped or listed.issued is None or now - listed.issued >= self._half or known - listed.orders:
            self._sign(known, now)

    def renew(self) -> None:
        """Sign a list of what lies there now and of all that is known.

        Raises:
            Refused: ROSTER_OUT_OF_DATE, STOP_LIST_UNREADABLE. BadInputError: STOPS_UNWRITABLE, STATE_UNWRITABLE,
                STOPS_UNREADABLE.
        """
        now = self._clock()
        self._sign(self._look(now)[1], now)

    def papers(self) -> dict[str, bytes]:
        """What sites on other machines must have afresh, as parts of a message: the list, and every order known here.

        An order that lies in no readable file here, or that finds no room, does not travel; the list names it, so a
        site without it stands still. Raises as ``keep``.
        """
        self.keep()
        return travelling(self._roster, read_list(self._folder), read_orders(self._folder))

    def _look(self, now: datetime) -> tuple[ListState, frozenset[str]]:
        """The last list, and every order that was ever known, which is remembered before anything is signed."""
        orders = read_orders(self._folder)
        listed = list_state(self._roster, read_list(self._folder), orders, now=now)
        remembered = self._remembered()
        known = remembered | listed.orders | order_digests(orders)
        if known != remembered:
            replace_file(self._memory, json.dumps(sorted(known)).encode("ascii"))
        check_may_follow(listed)
        return listed, known

    def _remembered(self) -> frozenset[str]:
        try:
            content = json.loads(self._memory.read_bytes())
        except FileNotFoundError:
            return frozenset()
        except (OSError, ValueError):
            content = None
        if not isinstance(content, list) or not all(map(is_digest, content)):
            raise BadInputError(
                "STOPS_UNREADABLE",
                f"{self._memory.name}, where the coordinator remembers stop orders, is damaged",
                hint="restore it from a backup; without it, an order that was deleted may go unnoticed",
            )
        return frozenset(content)

    def _sign(self, known: Set[str], now: datetime) -> None:
        statement = stop_list_statement(self._roster, (), known=known, issued=now)
        data = write_envelopes([sign_statement(statement, [self._key])])
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_whole(self._folder / LIST, data, READABLE, draft_in=self._memory.parent)
        except OSError as error:
            raise BadInputError(
                "STOPS_UNWRITABLE",
                f"the list of stops cannot be written ({error.strerror}), and without a fresh one no site goes on",
                hint=f"let this user write {self._folder.name}/{LIST} in the study's folder",
            ) from None
