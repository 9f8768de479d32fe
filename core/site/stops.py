"""What a site knows of emergency stops: the orders that lie here, the list that vouches for them, and its own policy.

For: every decision of a site, whoever shows what stands, and what the coordinator's messages bring. Not for: signing
orders (paperwork/stopping.py), the rules (governance/signing/stop.py, stop_list.py, stop_travel.py), or remembering
which orders were honoured (memory.py).
"""

from __future__ import annotations

import os
from collections.abc import Set
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ...governance.policy.policy import Policy
from ...governance.signing.roster import Roster
from ...governance.signing.stop import (
    LIST,
    order_digests,
    read_list,
    read_orders,
    restart_thresholds,
    stop_state,
    verified_stops,
)
from ...governance.signing.stop_list import list_state
from ...governance.signing.stop_travel import PREFIX, taken
from ..errors import BadInputError
from ..messages import SignedMessage
from ..parties import READABLE, write_whole
from ..study import Study

STOPS = "stops"  # the folder of stop orders, restarts and the list of stops, in the study's folder


@dataclass(frozen=True)
class Stops:
    """What is known of emergency stops; ``list_age_hours``, rounded up, is None where there is no signed list.

    ``roles`` are those in which the roster lets somebody stop; ``restart_roles`` those that must sign a restart here.
    ``orders`` are the digests of the verified orders that concern this study, lifted or not.
    """

    stopped: bool
    code: str
    roles: frozenset[str]
    restart_roles: frozenset[str]
    list_age_hours: int | None
    orders: frozenset[str] = frozenset()


def read_stops(
    study_folder: Path,
    roster: Roster,
    study: Study,
    policy: Policy,
    *,
    now: datetime,
    honoured: Set[str] = frozenset(),
) -> Stops:
    """Whether an emergency stop is in force for this study under this site's policy; doubt is a stop.

    ``honoured`` are orders that the site knew before: each must still lie here, even one that was lifted.
    """
    folder = study_folder / STOPS
    orders = read_orders(folder)
    restart_by = restart_roles_of(policy)
    subjects = frozenset({study.digest, study.canonical_digest})
    state = stop_state(roster, orders, subjects=subjects, now=now, study=study.id, restart_by=restart_by)
    listed = list_state(roster, read_list(folder), orders, now=now)
    missing = "STOP_ORDER_MISSING" if honoured - order_digests(orders) else ""
    return Stops(
        stopped=state.stopped or listed.stopped or bool(missing),
        code=state.code or listed.code or missing,
        roles=frozenset(role for person in roster.people if person.keys for role in person.roles),
        restart_roles=frozenset(restart_thresholds(roster, restart_by)),
        list_age_hours=listed.age_hours,
        orders=frozenset(
            stop.order
            for stop in verified_stops(roster, orders)
            if stop.affects(subjects | {roster.fingerprint}, study.id)
        ),
    )


def take_stops(message: SignedMessage, study_folder: Path, roster: Roster, *, drafts: Path, now: datetime) -> None:
    """Lay down what a message of the coordinator brings of stops, after this site's own checks; mostly nothing is new.

    ``drafts``: a folder of the same disk for what is half written, because half a file in ``stops`` would be an order.

    Raises:
        Refused: as ``taken``. BadInputError: STOPS_UNWRITABLE.
    """
    names = [part.name for part in message.header.parts if part.name.startswith(PREFIX)]
    if not names:
        return
    folder = study_folder / STOPS
    new = taken(roster, {name: message.part(name) for name in names}, read_list(folder), read_orders(folder), now=now)
    # orders before the list that names them: a kill in between must not leave one that is missing
    files = {**new.orders, **({LIST: new.listed} if new.listed is not None else {})}
    try:
        for name, data in files.items():
            folder.mkdir(parents=True, exist_ok=True)
            if name == LIST or not os.path.lexists(folder / name):  # nothing that lies there is written over
                write_whole(folder / name, data, READABLE, draft_in=drafts)
    except OSError as error:
        raise BadInputError(
            "STOPS_UNWRITABLE",
            f"stop orders that were brought cannot be laid down ({error.strerror}), so nothing goes on",
            hint=f"let this user write in {STOPS}/ in the study's folder",
        ) from None


def restart_roles_of(policy: Policy) -> frozenset[str]:
    """The roles that this policy wants, beside legal and it, before a stop is lifted at its site."""
    return frozenset(policy.clause("emergency_stop").restart_by)


def list_max_age(policy: Policy) -> int:
    """How many hours old the list of stops may be under this policy."""
    return policy.clause("emergency_stop").list_max_age_hours
