"""What is kept of a run at a site, to go on with after a kill: closed forms, each with a MAC where it is a file.

For: reading strictly what keeping.py wrote. Not for: files, keys, or whether the run may go on (resuming.py). A field
that is missing or unknown does not parse, and then the run is not gone on with. Pure.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ...governance.provenance.provenance import ConsentPart, SitePart, StepPart, ValidationPart
from ..bodies import Digest, RunId, SiteId

Bytes64 = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]*={0,2}$")]
Count = Annotated[int, Field(ge=0)]
Transcript32 = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]



class Closed(BaseModel):
    """Base of all of these: closed, strict, frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Figures(Closed):
    """What the site certified of one plan as it joined: ε for one person, and ledger units a disclosure."""

    epsilon: float
    step_cost: Count


class Begun(Closed):
    """What is fixed from the agreement on. ``keys_at``: inode of the file of keys, and the second it last changed."""

    version: Literal[1] = 1
    run: RunId
    offer: Bytes64
    join: Bytes64
    started: str
    policy: Digest
    dataset: Digest
    figures: Figures
    counted: Figures | None
    excluded: dict[str, Count]
    parts: dict[SiteId, SitePart]
    h0: Transcript32
    keys_at: tuple[int, int]
    mac: Transcript32 = ""


class Opening(Closed):
    """Which message's sum is opened at which place."""

    run: RunId
    place: str
    message: Digest
    mac: Transcript32 = ""


class Round(Closed):
    """A count that is open (``state.CountRound``)."""

    number: Count
    transcript: Transcript32
    cohort: tuple[SiteId, ...]
    started: bool
    sealed: bool
    middle_above: bool


class Counted(Closed):
    """Opened counts (``JudgedCounts``), exact."""

    values: tuple[float, ...]
    standard_error: float
    middle_above: bool


class AcceptedState(Closed):
    """The last accepted state; its arrays and step stand in the document itself."""

    completed: Count
    moves: Count
    counts: tuple[Counted, ...]
    farthest: tuple[float, float] | None


class Watched(Closed):
    """What this site has shown of its log in the run, and the coordinator's last message (``SiteWatch``)."""

    number: Count
    last: Count
    round: Count
    claims: tuple[tuple[int, Transcript32], ...]
    begun: str
    coordinator: Bytes64


class Answered(Closed):
    """The last message, by digest, and its answer: None where that is a share, which the ledger keeps."""

    message: Digest
    told: Bytes64 | None


class GoingOn(Closed):
    """All that moves beside what the document holds anyway. ``entries``: how many the log had with the last answer.

    ``ended``: the code of the refusal that ended the run here; "" where it goes on, or ended well.
    """

    cohort: tuple[SiteId, ...]
    consents: dict[SiteId, ConsentPart]
    next_count: Count
    step: Count
    step_transcript: Transcript32
    step_cohort: tuple[SiteId, ...]
    step_started: bool
    step_sealed: bool
    starts: Count
    count_starts: Count
    outcome_due: bool
    finished: bool
    count: Round | None
    accepted: AcceptedState | None
    rejected: Count
    undone: Count
    spoilt: bool
    watched: Watched
    entries: Count
    answered: Answered
    ended: str = ""


class Arrays(Closed):
    """The last accepted state as the document has it."""

    step: Count
    updates: Count
    arrays: str
    digest: Digest


class Document(Closed):
    """``<run>.json`` of a run that can go on. ``place``: its own file of this name; ``place_at`` as ``keys_at``."""

    run: RunId
    running: Transcript32
    next_step: Count
    completed: Count
    abandoned: Count
    history: tuple[StepPart, ...]
    updates: Count
    dimension: Annotated[int, Field(ge=1)]
    arrays: str
    digest: Digest
    validations: tuple[ValidationPart, ...]
    accepted: Arrays | None
    going_on: GoingOn
    place: str
    place_at: tuple[int, int]
    mac: Transcript32
