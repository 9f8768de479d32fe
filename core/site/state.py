"""A site's durable state of one run: where it stands, what it opened, and the transcript it has seen.

A few files per run: ``state/runs/<run>.json``, replaced atomically before a message is answered, and the arrays that it
names, ``<run>.<moves>.arrays``: vector, velocity and reference one after the other, float64, little endian; where
blocks are judged, also those of the last accepted state. They hold no key. What a site needs beside them to go on after
its process was killed, its keys among it, is kept by keeping.py, and only where somebody asked for that; elsewhere run
keys live in memory and end with the process. The adapter state is the one every site of the cohort holds; it never
leaves except as a MAC under the run secret.

``Transcript`` is the chain that binds masks and step keys: sites with different views do not cancel and do not open.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from ...governance.canonical import canonical_bytes
from ...governance.provenance.provenance import ConsentPart, SitePart, StepPart, ValidationPart
from ...privacy.keys.runkeys import JoinKeys, RunSecret
from ...privacy.mechanism.judged import JudgedCounts
from ..errors import ProtocolError
from ..messages import Join
from ..parties import make_private_folder, replace_file
from ..training.movement import Farthest, Push, farthest_of
from ..training.optimizer import OptimizerState

TRANSCRIPT_LABEL = b"sekisho-transcript-v1\x00"
NOTHING_MORE: Mapping[str, object] = {}
AGREEMENT = ("cohort", "kems", "secrets")  # each once and in this order: one run has one H0 and one run secret


def _hash(value: Mapping[str, object]) -> bytes:
    return hashlib.sha256(TRANSCRIPT_LABEL + canonical_bytes(dict(value))).digest()


@dataclass(frozen=True)
class Transcript:
    """H0 and everything since: outcomes and manifests of all steps so far, in order."""

    run: str
    roster: str
    h0: bytes
    running: bytes
    next_step: int = 1
    next_count: int = 1

    @classmethod
    def begin(cls, *, run: str, roster: str, offer: str, joins: Sequence[tuple[str, str]]) -> Transcript:
        """H0 = hash of study (in the offer), roster and all joins in order of site id (digests of signed headers)."""
        h0 = _hash({"run": run, "roster": roster, "offer": offer, "joins": [list(pair) for pair in sorted(joins)]})
        return cls(run, roster, h0, h0)

    def at(self, step: int, cohort: Sequence[str], state_mac: str) -> bytes:
        """H_t: this transcript, the ordered cohort, the step, and the MAC of the model state."""
        if step != self.next_step:
            raise ProtocolError("STEP_OUT_OF_ORDER", f"step {step} was asked for, step {self.next_step} comes next")
        return _hash(
            {
                "run": self.run,
                "roster": self.roster,
                "running": self.running.hex(),
                "cohort": list(cohort),
                "step": step,
                "state": state_mac,
            }
        )

    def at_count(self, number: int, cohort: Sequence[str], state_mac: str) -> bytes:
        """As ``at``, for a count: its own numbers and its own name, so no step is ever at the transcript of a count."""
        if number != self.next_count:
            raise ProtocolError("COUNT_OUT_OF_ORDER", f"count {number} was asked for, {self.next_count} comes next")
        return _hash(
            {
                "run": self.run,
                "roster": self.roster,
                "running": self.running.hex(),
                "cohort": list(cohort),
                "count": number,
                "state": state_mac,
            }
        )

    def after_count(self, number: int, verdict: str, manifest: Sequence[tuple[str, str]], total: str) -> Transcript:
        """The transcript once count ``number`` was judged."""
        running = _hash(
            {
                "running": self.running.hex(),
                "count": number,
                "verdict": verdict,
                "manifest": [list(pair) for pair in manifest],
                "sum": total,
            }
        )
        return replace(self, running=running, next_count=number + 1)

    def after(self, step: int, status: str, manifest: Sequence[tuple[str, str]], total: str) -> Transcript:
        """The transcript once ``step`` is over; ``manifest``: site and digest of its header; ``total``: digest."""
        if step != self.next_step:
            raise ProtocolError("STEP_OUT_OF_ORDER", f"step {step} cannot end where step {self.next_step} comes next")
        running = _hash(
            {
                "running": self.running.hex(),
                "step": step,
                "status": status,
                "manifest": [list(pair) for pair in manifest],
                "sum": total,
            }
        )
        return replace(self, running=running, next_step=step + 1)


@dataclass(frozen=True)
class Accepted:
    """The last state that a count accepted: after ``step``, with so many ``completed`` steps.

    ``moves`` names its arrays. The first is the start, which is nobody's block and so is not judged. ``counts``: of the
    trained states accepted so far, this one's last; of the start alone where that is the one. ``farthest``: how far the
    blocks until here pushed the state at most (training/movement.py); None at the start.
    """

    optimizer: OptimizerState
    step: int
    completed: int
    moves: int
    counts: tuple[JudgedCounts, ...]
    farthest: Farthest | None


@dataclass
class CountRound:
    """Where one count stands at this site: ``number``, the transcript and cohort it is made at, and what was done.

    ``middle_above``: where the middle lay as this site counted (``counts.ValidationDomain.one_is``).
    """

    number: int
    transcript: bytes
    cohort: tuple[str, ...]
    started: bool = False
    sealed: bool = False
    middle_above: bool = False


@dataclass
class RunState:
    """Where one site stands in one run. Mutable on purpose: it is the one workflow object of a run at a site.

    A message moves it as a whole or not at all: ``copy`` before, ``become`` that copy again where it was not answered.
    ``starts`` and ``count_starts``: how many steps and counts were charged here, as the ledger must bear out.
    ``join_keys`` are dropped once keys are agreed.
    """

    run: str
    transcript: Transcript
    optimizer: OptimizerState
    cohort: tuple[str, ...]
    join_keys: JoinKeys | None
    started: datetime
    agreed: int = 0
    pair_keys: dict[str, bytes] = field(default_factory=dict)
    run_secret: RunSecret | None = None
    step: int = 0
    step_transcript: bytes = b""
    step_cohort: tuple[str, ...] = ()
    step_started: bool = False
    step_sealed: bool = False
    starts: int = 0
    count_starts: int = 0
    outcome_due: bool = False
    finished: bool = False
    completed: int = 0
    abandoned: int = 0
    joins: dict[str, Join] = field(default_factory=dict)
    parts: dict[str, SitePart] = field(default_factory=dict)
    consents: dict[str, ConsentPart] = field(default_factory=dict)
    history: list[StepPart] = field(default_factory=list)
    validations: list[ValidationPart] = field(default_factory=list)
    count: CountRound | None = None
    accepted: Accepted | None = None
    rejected: int = 0
    undone: int = 0
    spoilt: bool = False
    saved: frozenset[str] = frozenset()  # the files of arrays that the document on the disk names

    @property
    def moves(self) -> int:
        """Counts every move of the state, back ones too; so no two states of a run have one number."""
        return self.optimizer.updates + self.undone

    def copy(self) -> RunState:
        """As it stands now; keys are shared, arrays are read-only."""
        own = {"joins", "parts", "consents", "history", "validations"}
        copied = {name: type(getattr(self, name))(getattr(self, name)) for name in own}
        return replace(self, **copied, count=None if self.count is None else replace(self.count))

    def become(self, other: RunState) -> None:
        """Stand where ``other`` does."""
        for one in fields(self):
            setattr(self, one.name, getattr(other, one.name))

    def note_start(self, *, sealed: bool = False) -> None:
        """The open step is charged, and where said sealed; counted once."""
        self.starts += not self.step_started
        self.step_started, self.step_sealed = True, self.step_sealed or sealed

    def note_count_start(self, count: CountRound, *, sealed: bool = False) -> None:
        """As ``note_start``, for the open count."""
        self.count_starts += not count.started
        count.started, count.sealed = True, count.sealed or sealed

    @property
    def sealed_at(self) -> tuple[bytes, ...]:
        """The transcripts at which something was sealed and could be sealed again, were it not known."""
        step = (self.step_transcript,) if self.step_sealed else ()
        return (*step, self.count.transcript) if self.count is not None and self.count.sealed else step

    def own_keys(self) -> JoinKeys:
        """The keys of this site's join. Raises ``ProtocolError`` once they were used and dropped."""
        if self.join_keys is None:
            raise ProtocolError("NO_JOIN_KEYS", "the run's keys have been agreed already")
        return self.join_keys

    def accept(self, counts: JudgedCounts, pushes: tuple[Push, Push] | None) -> None:
        """Keep where the state stands now as the one to go back to; ``pushes``: of the block, None at the start."""
        before = self.accepted
        earlier = () if before is None or before.completed == 0 else before.counts
        farthest = None if before is None else before.farthest
        if pushes is not None:
            farthest = farthest_of(pushes, farthest)
        self.accepted = Accepted(self.optimizer, self.step, self.completed, self.moves, (*earlier, counts), farthest)
        self.spoilt = False

    def roll_back(self) -> None:
        """All of the last accepted state again, bit for bit: vector, velocity, reference and count of updates.

        Transcript, step numbers and charges go on. Raises ``ProtocolError`` where nothing was accepted yet.
        """
        kept = self.accepted
        if kept is None:
            raise ProtocolError("NOTHING_ACCEPTED", "there is no state of this run to go back to")
        self.undone += self.optimizer.updates - kept.optimizer.updates + 1
        self.optimizer, self.completed, self.spoilt = kept.optimizer, kept.completed, False
        self.accepted = replace(kept, moves=self.moves)
        self.history = [
            part.model_copy(update={"outcome": "rolled-back"})
            if part.step > kept.step and part.outcome == "completed"
            else part
            for part in self.history
        ]

    def secret(self) -> RunSecret:
        """The run secret. Raises ``ProtocolError`` before the key exchange is complete."""
        if self.run_secret is None:
            raise ProtocolError("NO_RUN_SECRET", "the run's keys have not been agreed yet")
        return self.run_secret

    def state_mac(self) -> str:
        """MAC of the model state under the run secret: sites can compare it, the coordinator cannot use it."""
        return self.secret().state_mac(self.optimizer.digest(), self.transcript.running)

    def wipe(self) -> None:
        """Drop the run's keys (best effort in CPython)."""
        if self.run_secret is not None:
            self.run_secret.wipe()
        self.pair_keys.clear()

    def save(
        self,
        folder: Path,
        more: Mapping[str, object] = NOTHING_MORE,
        mac: Callable[[Mapping[str, Any]], str] | None = None,
    ) -> None:
        """Write the durable part atomically, with ``more`` fields, and a ``mac`` of all of them where one is wanted.

        Raises:
            BadInputError: disk full, read-only; the step must not go on.
        """
        make_private_folder(folder)
        # the arrays first: what the document names is there whenever it is read
        arrays = folder / f"{self.run}.{self.moves}.arrays"
        # an abandoned step moves nothing; what a message left there that was not answered is another state, perhaps
        if arrays.name not in self.saved or not arrays.exists():
            replace_file(arrays, self.optimizer.array_bytes())
        kept = arrays if self.accepted is None else folder / f"{self.run}.{self.accepted.moves}.arrays"
        document = {
            "run": self.run,
            "running": self.transcript.running.hex(),
            "next_step": self.transcript.next_step,
            "completed": self.completed,
            "abandoned": self.abandoned,
            "history": [part.model_dump(mode="json") for part in self.history],
            "updates": self.optimizer.updates,
            "dimension": self.optimizer.vector.size,
            "arrays": arrays.name,
            "digest": self.optimizer.digest(),
            "validations": [part.model_dump(mode="json") for part in self.validations],
            "accepted": None if self.accepted is None else {
                "step": self.accepted.step,
                "updates": self.accepted.optimizer.updates,
                "arrays": kept.name,
                "digest": self.accepted.optimizer.digest(),
            },
            **more,
        }
        if mac is not None:
            document["mac"] = mac(document)
        replace_file(folder / f"{self.run}.json", json.dumps(document).encode("utf-8"))
        self.saved = frozenset({arrays.name, kept.name})
        # of this very run: its name may be how another's begins, and names are the coordinator's choice
        own = re.compile(re.escape(self.run) + r"\.[0-9]+\.arrays")
        for older in folder.iterdir():
            if older not in (arrays, kept) and own.fullmatch(older.name):
                older.unlink(missing_ok=True)



def check_due(kind: str, state: RunState) -> None:
    """Keys are agreed once, before the first step; a count ends before a step; a run may be ended at any time."""
    between = ("step", "readies", "count", "finish") if state.count is None else ("readies", "judge")
    due = AGREEMENT[state.agreed : state.agreed + 1] or between
    if kind not in (*due, "stop"):
        raise ProtocolError("MESSAGE_UNEXPECTED", f"a {kind} message is not due at this point of the run")
