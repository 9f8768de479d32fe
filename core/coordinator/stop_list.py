"""The coordinator keeps the list of stops fresh while it runs, under its own key.

For: a list that is never half as old as the strictest policy allows. Not for: stopping or restarting, which people do,
or judging a list, which each site does for itself (governance/signing/stop_list.py).

Order of calls: ``StopListKeeper(...)`` -> ``renew()`` at the start, then ``keep()`` before whatever a site may refuse
under an old list.

It names every order that it can see and every order that a list has named before. A coordinator that leaves one out
has signed the evidence of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from ...governance.signing.envelope import sign_statement, write_envelopes
from ...governance.signing.keys import SigningKey
from ...governance.signing.roster import Roster
from ...governance.signing.stop import LIST, read_list, read_orders
from ...governance.signing.stop_list import list_state, stop_list_statement
from ..errors import BadInputError
from ..parties import READABLE, write_whole

STRICTEST = 1  # hours; what a policy can ask for at most, taken where no policy is known


class StopListKeeper:
    """Signs ``list.dsse.json`` in ``folder``. ``allowed`` are the hours that each site's policy lets a list be old."""

    def __init__(
        self, folder: Path, *, roster: Roster, key: SigningKey, clock: Callable[[], datetime], allowed: Sequence[int]
    ) -> None:
        self._folder = folder
        self._roster = roster
        self._key = key
        self._clock = clock
        self._half = timedelta(hours=min(allowed, default=STRICTEST)) / 2

    def keep(self) -> None:
        """Sign a new list if the last one is half as old as the strictest policy allows, or names too little."""
        now = self._clock()
        orders = read_orders(self._folder)
        state = list_state(self._roster, read_list(self._folder), orders, now=now)
        if state.stopped or state.issued is None or now - state.issued >= self._half:
            self.renew()

    def renew(self) -> None:
        """Sign a list of what lies there now. Raises ``BadInputError`` STOPS_UNWRITABLE."""
        now = self._clock()
        orders = read_orders(self._folder)
        known = list_state(self._roster, read_list(self._folder), orders, now=now).orders
        statement = stop_list_statement(self._roster, orders, known=known, issued=now)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_whole(self._folder / LIST, write_envelopes([sign_statement(statement, [self._key])]), READABLE)
        except OSError as error:
            raise BadInputError(
                "STOPS_UNWRITABLE",
                f"the list of stops cannot be written ({error.strerror}), and without a fresh one no site goes on",
                hint=f"let this user write {self._folder.name}/{LIST} in the study's folder",
            ) from None
