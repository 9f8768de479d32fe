"""A site's durable state of one run: where it stands, what it opened, and the transcript it has seen.

Two files per run: ``state/runs/<run>.json``, replaced atomically before the step goes on, and the arrays that it names,
``<run>.<updates>.arrays``: vector, velocity and reference one after the other, float64, little endian. They hold no
key: run keys live in memory and end with the process, so a site that restarts can neither re-seal a step (the ledger
re-sends sealed bytes) nor open one. The adapter state is the one every site of the cohort holds; it never leaves except
as a MAC under the run secret.

``Transcript`` is the chain that binds masks and step keys: sites with different views do not cancel and do not open.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from ...governance.canonical import canonical_bytes
from ...governance.provenance.provenance import ConsentPart, SitePart, StepPart, ValidationPart
from ...privacy.keys.runkeys import JoinKeys, RunSecret
from ..errors import ProtocolError
from ..messages import Join
from ..parties import make_private_folder, replace_file
from ..training.optimizer import OptimizerState

TRANSCRIPT_LABEL = b"sekisho-transcript-v1\x00"
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


@dataclass
class RunState:
    """Where one site stands in one run. Mutable on purpose: it is the one workflow object of a run at a site."""

    run: str
    transcript: Transcript
    optimizer: OptimizerState
    cohort: tuple[str, ...]
    join_keys: JoinKeys
    started: datetime
    agreed: int = 0
    pair_keys: dict[str, bytes] = field(default_factory=dict)
    run_secret: RunSecret | None = None
    step: int = 0
    step_transcript: bytes = b""
    step_cohort: tuple[str, ...] = ()
    step_started: bool = False
    step_sealed: bool = False
    opened_step: int = 0
    finished: bool = False
    completed: int = 0
    abandoned: int = 0
    joins: dict[str, Join] = field(default_factory=dict)
    parts: dict[str, SitePart] = field(default_factory=dict)
    consents: dict[str, ConsentPart] = field(default_factory=dict)
    history: list[StepPart] = field(default_factory=list)
    validations: list[ValidationPart] = field(default_factory=list)

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

    def save(self, folder: Path) -> None:
        """Write the durable part atomically. Raises ``BadInputError`` (disk full): the step must not go on."""
        make_private_folder(folder)
        # the arrays first: what the document names is there whenever it is read
        arrays = folder / f"{self.run}.{self.optimizer.updates}.arrays"
        if not arrays.exists():  # an abandoned step moves nothing
            replace_file(arrays, self.optimizer.array_bytes())
        document = {
            "run": self.run,
            "running": self.transcript.running.hex(),
            "next_step": self.transcript.next_step,
            "completed": self.completed,
            "abandoned": self.abandoned,
            "history": [part.model_dump() for part in self.history],
            "updates": self.optimizer.updates,
            "dimension": self.optimizer.vector.size,
            "arrays": arrays.name,
            "digest": self.optimizer.digest(),
        }
        replace_file(folder / f"{self.run}.json", json.dumps(document).encode("utf-8"))
        # of this very run: its name may be how another's begins, and names are the coordinator's choice
        own = re.compile(re.escape(self.run) + r"\.[0-9]+\.arrays")
        for older in folder.iterdir():
            if older != arrays and own.fullmatch(older.name):
                older.unlink(missing_ok=True)
