"""What messages say: the closed set of bodies, each a frozen model. How they travel and are signed: messages.py.

A kind or a field that is not listed here does not parse. Not here: who may send which when (site/, coordinator/).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..governance.log.witness import MAX_PROOF

MAX_SITES = 127      # as in a study
MAX_PARTIES = 128    # those and the coordinator, as in a roster
MAX_ENTRY = 16_384   # characters; the longest that is shown names 127 sites that did not deliver

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Hex = Annotated[str, Field(pattern=r"^([0-9a-f]{2})*$", max_length=16384)]
SiteId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
RunId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,63}$")]
Commitment = Annotated[str, Field(pattern=r"^hmac-sha256:[0-9a-f]{64}$")]
Code = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,63}$")]
Hash = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]{43}=$")]  # 32 bytes in base64
Note = Annotated[str, Field(min_length=1, max_length=1024)]  # a signed head: three lines and one signature, about 300
LogProof = Annotated[tuple[Hash, ...], Field(max_length=MAX_PROOF)]
LogSize = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,15})$")]


class Body(BaseModel):
    """Base of all bodies: closed, strict, frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    kind: str


class LedgerHeadSeen(BaseModel):
    """A ledger head as it travels: number of journal entries and the MAC over the last of them."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    entries: int = Field(ge=0)
    mac: Hex


class EntryShown(BaseModel):
    """One entry of the sender's log as it stands there, and its audit path to the head beside it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    index: int = Field(ge=0)
    entry: str = Field(max_length=MAX_ENTRY)
    proof: LogProof


class LogHead(BaseModel):
    """The sender's own log at this moment, and what it has seen of others'; see docs/formats/misbehaviour.md.

    ``number``: of the messages of this sender in this run that show its log. ``continued``: by size, the proof that the
    head continues the head of that size. ``answers``: the digest of the message that this one answers.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    number: int = Field(ge=1)
    note: Note
    continued: dict[LogSize, LogProof] = Field(max_length=MAX_PARTIES + 2)
    entries: tuple[EntryShown, ...] = Field(max_length=MAX_PARTIES)
    seen: dict[SiteId, Note] = Field(max_length=MAX_PARTIES)
    answers: Digest | None = None


class Offer(Body):
    """The coordinator offers a run; everything in it is fixed for the run."""

    kind: Literal["offer"] = "offer"
    study_bytes: Digest
    roster: Digest
    method: str = Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")
    base_model: Digest
    sites: tuple[SiteId, ...] = Field(min_length=3, max_length=MAX_SITES)
    plan: dict[str, object]
    counts_plan: dict[str, object] | None = None  # the plan of the counts that judge blocks of steps; None: no block is


class Join(Body):
    """A site takes part: fresh keys of this run, ledger heads, and what provenance will say of it.

    ``dataset`` is a commitment under a fresh key, so that not even a change since the last run shows; counts of
    records or subjects are not here.
    """

    kind: Literal["join"] = "join"
    offer: Digest
    plan: Digest
    counts_plan: Digest | None = None
    x25519: Hex
    mlkem: Hex
    head: LedgerHeadSeen
    seen: dict[SiteId, LedgerHeadSeen]
    policy: Digest
    dataset: Commitment  # to every record, under a key of this site and this run
    epsilon: str = Field(pattern=r"^[0-9]{1,9}(\.[0-9]{1,40})?$")


class Decline(Body):
    """A site does not go on: the refusal's code and the clause, nothing else."""

    kind: Literal["decline"] = "decline"
    code: Code
    clause: str = Field(default="", pattern=r"^[A-Za-z0-9._:/-]{0,128}$")  # as long as a policy's identifiers


class Cohort(Body):
    """All joins, as signed; part ``join:<site>`` is that site's whole message."""

    kind: Literal["cohort"] = "cohort"
    sites: tuple[SiteId, ...]


class Kem(Body):
    """ML-KEM ciphertexts from one site to every site with a higher id, and answers about its ledger (site/heads.py)."""

    kind: Literal["kem"] = "kem"
    had: dict[SiteId, Hex]
    ciphertexts: dict[SiteId, Hex]


class Kems(Body):
    """All ML-KEM messages, as signed; part ``kem:<site>``."""

    kind: Literal["kems"] = "kems"
    sites: tuple[SiteId, ...]


class Secret(Body):
    """The run secret under each pair key, from the site with the lowest id; empty from all others."""

    kind: Literal["secret"] = "secret"
    wrapped: dict[SiteId, Hex]


class Secrets(Body):
    """The lowest site's message, as signed; part ``secret:<site>``."""

    kind: Literal["secrets"] = "secrets"
    sites: tuple[SiteId, ...]


class Keyed(Body):
    """The site holds the run secret: a key-check value that only holders can compute."""

    kind: Literal["keyed"] = "keyed"
    key_check: Hex


class Step(Body):
    """Begin step ``step`` with this cohort; carries the outcome of the step before (parts of ``Outcome``)."""

    kind: Literal["step"] = "step"
    step: int = Field(ge=1)
    cohort: tuple[SiteId, ...]
    previous: Literal["none", "summed", "abandoned"]
    signers: tuple[SiteId, ...] = ()


class Count(Body):
    """Begin count ``number`` of held-out people; carries the outcome of the step before, as ``Step`` does."""

    kind: Literal["count"] = "count"
    number: int = Field(ge=1)
    step: int = Field(ge=0)  # the last step so far; 0 at the start
    cohort: tuple[SiteId, ...]
    previous: Literal["none", "summed", "abandoned"]
    signers: tuple[SiteId, ...] = ()


class Judge(Body):
    """The outcome of count ``number`` (parts as of a step's outcome): each site opens it and judges the block."""

    kind: Literal["judge"] = "judge"
    number: int = Field(ge=1)
    previous: Literal["summed", "abandoned"]
    signers: tuple[SiteId, ...] = ()


class Judged(Body):
    """What follows from the opened counts, the same at every honest site; no count is in it.

    ``lost``: the count fell, so nothing is known and the block stays as it is, not accepted. ``state_mac`` as in
    ``Finished``, of the state that the site stands at now.
    """

    kind: Literal["judged"] = "judged"
    number: int = Field(ge=1)
    verdict: Literal["accepted", "rejected", "lost"]
    state_mac: Hex


class Ready(Body):
    """The site stands at this transcript, of a step or of a count; nothing has been charged yet.

    ``consent``: the site's register as this begins, committed to under a key of this site and step or count.
    """

    kind: Literal["ready"] = "ready"
    step: int = Field(ge=1)
    transcript: Hex
    consent: Commitment


class Readies(Body):
    """All readies, as signed; part ``ready:<site>``. Of the step or count that is open."""

    kind: Literal["readies"] = "readies"
    step: int = Field(ge=1)
    cohort: tuple[SiteId, ...]


class Frame(Body):
    """One site's sealed share of one step or count; part ``frame`` is the ciphertext frame."""

    kind: Literal["frame"] = "frame"
    step: int = Field(ge=1)
    transcript: Hex
    key_check: Hex
    seeds: Digest
    c0: Digest
    head: LedgerHeadSeen


class Finish(Body):
    """The last outcome; after it the sites hold the result: where blocks are judged, the last accepted state."""

    kind: Literal["finish"] = "finish"
    step: int = Field(ge=0)
    previous: Literal["none", "summed", "abandoned"]
    signers: tuple[SiteId, ...] = ()


class Finished(Body):
    """The site reached the end: MAC of its state under the run secret, so that only sites can compare."""

    kind: Literal["finished"] = "finished"
    step: int = Field(ge=0)
    state_mac: Hex


class Stop(Body):
    """The run stops; never-started steps are refunded, nothing else."""

    kind: Literal["stop"] = "stop"
    code: Code


class Stopped(Body):
    """The site has closed the run."""

    kind: Literal["stopped"] = "stopped"


class ReleaseNotice(Body):
    """A site releases the adapter under its grant."""

    kind: Literal["release"] = "release"
    adapter: Digest
    provenance: Digest


AnyBody = Annotated[
    Offer | Join | Decline | Cohort | Kem | Kems | Secret | Secrets | Keyed | Step | Count | Judge | Judged
    | Ready | Readies | Frame | Finish | Finished | Stop | Stopped | ReleaseNotice,
    Field(discriminator="kind"),
]
