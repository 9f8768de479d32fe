"""Where a run stands when the coordinator's process comes back, from what it wrote down and what its log says.

For: telling whether the run can go on, and from what. Not for: going on (coordinator.py): that is the same course as of
a run that begins, because what comes next follows from the state alone. What was asked last is either what comes next
again, and then the very same bytes are asked, or it is over.

Three things are durable, in this order: the sum (keeping.py), the state that counts it, the log. So a kill leaves

- a sum that no state counts: nobody heard of it, the frames come once more, and it is made again;
- a state whose last entry the log lacks: the entry is owed, and written before anything is sent;
- never a log that says more than the state. Where it does, a state was put back, and must not go on.

Order of calls: ``standing_of``; then ``Standing.take_readies`` and ``take_count`` as the run comes to them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from ...governance.log.entries import Entry
from ...governance.signing.keys import PublicKey
from ...governance.signing.roster import Roster
from ..bodies import LogHead
from ..errors import ProtocolError, Refused
from ..messages import Offer, Readies, SignedMessage
from ..study import Study
from .entries import OF_THE_STATE, Told, told_of
from .keeping import Asked, RunFiles, unreadable
from .state import FINISHED, CoordinatorState, Pending

FRAMES = "frames of a "  # the phase in which readies are asked; with "step" or "count", which readies do not say
MOST_OWED = 2  # what happened last, and that the run ended: a log that could not be written has neither


@dataclass
class Standing:
    """From where a run goes on; empty for one that begins. ``owed``: entries that the log lacks; ``refused``: why it
    does not go on."""

    asked: Asked | None = None
    pending: Pending = field(default_factory=Pending)
    count: dict[str, bytes] = field(default_factory=dict)
    owed: tuple[Told, ...] = ()
    refused: Refused | None = None

    @property
    def shown(self) -> LogHead | None:
        """How the coordinator's log was shown last in this run."""
        return None if self.asked is None else self.asked.message.header.log

    def take_readies(self, body: Readies, phase: str) -> dict[str, SignedMessage] | None:
        """The readies of exactly this step or count, where they were heard and asked for; once."""
        asked = self.asked
        if asked is None or (asked.phase, asked.message.body) != (phase, body):
            return None
        self.asked = None
        return {site: SignedMessage.from_bytes(asked.message.part(f"ready:{site}")) for site in body.cohort}

    def take_count(self) -> dict[str, bytes]:
        """The parts of the sum that is to be judged; empty where the count fell. Once."""
        parts, self.count = self.count, {}
        return parts


def offer_of(state: CoordinatorState) -> Offer:
    """What the run's sites were offered. Raises ``BadInputError`` RUN_UNREADABLE."""
    try:
        return Offer.model_validate_json(json.dumps(dict(state.offer)))
    except ValidationError:
        raise unreadable(f"{state.run}.json") from None


def standing_of(
    state: CoordinatorState,
    files: RunFiles,
    logged: Sequence[tuple[int, Entry]],
    *,
    study: Study,
    roster: Roster,
    key: PublicKey,
) -> Standing:
    """From where the run goes on; ``logged``: what the log says of it.

    Raises:
        Refused: RUN_OF_ANOTHER_STUDY, RUN_STATE_BEHIND, LOG_BEHIND. BadInputError: RUN_UNREADABLE.
    """
    # 1. of the study and the roster that are here
    offer = offer_of(state)
    if (offer.study_bytes, offer.roster) != (study.digest, roster.fingerprint):
        raise Refused(
            "RUN_OF_ANOTHER_STUDY",
            "the study or the roster is not the one that the run was begun under",
            hint="put back the papers that the sites accepted, or stop the run at all sites by its name",
        )
    # 2. the log says nothing that the state does not
    owed = _owed(state, logged)
    # 3. what was asked last is this coordinator's own, of this run
    asked = _own(files.asked(), state, study=study, roster=roster, key=key)
    if state.ended or not state.agreed:
        return Standing(asked, owed=owed, refused=_why_not(state))
    if asked is None:
        raise unreadable(f"{state.run}.asked")
    # 4. what it brought or was to bring
    return Standing(asked, _pending(state, files, asked), _count(state, files), owed)


def _owed(state: CoordinatorState, logged: Sequence[tuple[int, Entry]]) -> tuple[Told, ...]:
    due = list(told_of(state))
    for _, entry in logged:
        if entry.type not in OF_THE_STATE:
            continue
        if not any(one.is_in(entry) for one in due):
            raise Refused(
                "RUN_STATE_BEHIND",
                "the log says more of this run than the coordinator's state does, or something else",
                hint="a state restored from a backup must not go on; stop the run at all sites by its name",
            )
        due = [one for one in due if not one.is_in(entry)]
    if len(due) > MOST_OWED:
        raise Refused(
            "LOG_BEHIND",
            "the coordinator's log lacks entries that its state says were written",
            hint="a log restored from a backup must not go on; find the newest copy",
        )
    return tuple(due)


def _own(asked: Asked | None, state: CoordinatorState, *, study: Study, roster: Roster, key: PublicKey) -> Asked | None:
    if asked is None:
        return None
    try:
        asked.message.verify(key)
    except ProtocolError:
        raise unreadable(f"{state.run}.asked") from None
    if not asked.message.is_from(roster.coordinator.id, study=study.id, run=state.run):
        raise unreadable(f"{state.run}.asked")
    return asked


def _why_not(state: CoordinatorState) -> Refused | None:
    if state.ended == FINISHED:
        return None
    if state.ended:
        return Refused(
            "RUN_ENDED",
            f"the run was stopped by {state.ended}; there is nothing to go on with",
            hint="begin another run; what was started in this one stays charged",
        )
    return Refused(
        "RUN_NOT_BEGUN",
        "keys were being agreed on, and the run is stopped: it cannot go on without those who were interrupted",
        hint="nothing was charged; begin another run",
    )


def _pending(state: CoordinatorState, files: RunFiles, asked: Asked) -> Pending:
    """The outcome that sites have not heard. Where it is in what was asked last, its parts are not needed."""
    outcome = state.heard_last
    if outcome is None or outcome.status != "summed":
        return Pending(outcome)
    of, body = f"step {outcome.step}", asked.message.body
    parts = files.sum_of(of, outcome.total)
    if parts is None and asked.phase == f"{FRAMES}step" and isinstance(body, Readies) and body.step == outcome.step:
        raise unreadable(f"{state.run}.sum")
    return Pending(outcome, parts or {})


def _count(state: CoordinatorState, files: RunFiles) -> dict[str, bytes]:
    if state.judging is None or not state.judging.total:
        return {}
    parts = files.sum_of(f"count {state.judging.number}", state.judging.total)
    if parts is None:
        raise unreadable(f"{state.run}.sum")
    return parts

