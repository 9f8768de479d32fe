"""Signed messages of made-up logs, and a proof of misbehaviour of each kind; for tests and the page of the format."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sekisho.governance.canonical import canonical_bytes, digest_bytes
from sekisho.governance.evidence import verifier
from sekisho.governance.log import misbehaviour
from sekisho.governance.log.checkpoint import Checkpoint, log_origin, sign_checkpoint
from sekisho.governance.log.entries import Entry
from sekisho.governance.log.merkle import consistency_proof, inclusion_proof, leaf_hash, root_of
from sekisho.governance.log.misbehaviour import Charge, Proof
from sekisho.governance.signing.keys import PublicKey, SigningKey, demo_key

STUDY, RUN, PARTY, WITNESS = "study", "run-1", "coordinator", "ame"
ORIGIN = log_origin(STUDY, PARTY)
KEY, OTHER = demo_key(PARTY), demo_key(WITNESS)
SUM = "sha256:" + "ab" * 32


@dataclass
class Tree:
    """A log in memory, of a party that may say of it what it likes."""

    party: str = PARTY
    bodies: list[bytes] = field(default_factory=list)
    study: str = STUDY

    def add(
        self, kind: str, refs: Mapping[str, str] | None = None, data: Mapping[str, Any] | None = None, *,
        run: str = RUN,
    ) -> Tree:
        at = datetime(2026, 11, 2, tzinfo=UTC)
        refs = {"run": run, **(refs or {})}
        entry = Entry(type=kind, party=self.party, at=at, refs=refs, data=data or {})
        return Tree(self.party, [*self.bodies, entry.to_bytes()], self.study)

    @property
    def key(self) -> SigningKey:
        return demo_key(self.party)

    def note(self, size: int | None = None) -> str:
        size = len(self.bodies) if size is None else size
        root = root_of([leaf_hash(body) for body in self.bodies[:size]])
        return sign_checkpoint(Checkpoint(log_origin(self.study, self.party), size, root), self.key)

    def shown(self, number: int, *, base: Sequence[int] = (), entries: Sequence[int] = (), **more: Any) -> Any:
        size = len(self.bodies)
        return {
            "number": number,
            "note": self.note(),
            "continued": {str(old): text(consistency_proof(old, size, self.node)) for old in base},
            "entries": [
                {"index": one, "entry": self.bodies[one].decode(), "proof": text(inclusion_proof(one, size, self.node))}
                for one in entries
            ],
            "seen": {},
            "answers": None,
            **more,
        }

    def node(self, level: int, index: int) -> bytes:
        start = index << level
        return root_of([leaf_hash(body) for body in self.bodies[start : start + (1 << level)]])


def text(hashes: Sequence[bytes]) -> list[str]:
    return [base64.b64encode(one).decode("ascii") for one in hashes]


def message(
    body: Mapping[str, Any], log: Any, *, sender: str = PARTY, run: str = RUN, parts: Mapping[str, str] | None = None,
    **header: Any,
) -> bytes:
    """A signed message without its payload; ``parts`` are names and digests."""
    listed = [{"name": name, "length": 1, "digest": digest} for name, digest in (parts or {}).items()]
    head = canonical_bytes(
        {"version": 2, "study": STUDY, "run": run, "sender": sender, "body": dict(body), "parts": listed, "log": log,
         **header}
    )  # fmt: skip
    return b"SKM1" + struct.pack("<I", len(head)) + head + demo_key(sender).sign(b"sekisho-message-v1\x00" + head)


def step_body(step: int, previous: str = "none") -> dict[str, Any]:
    return {"kind": "step", "step": step, "cohort": ["ame", "hana", "kaze"], "previous": previous, "signers": []}


READIES = {"kind": "readies", "step": 1, "cohort": ["ame", "hana", "kaze"]}
GROWN = Tree().add("study.offered").add("run.joined", {"site": "ame"}).add("run.joined", {"site": "hana"})
SUMMED = GROWN.add("step.summed", {"sum": SUM}, {"step": 1})
OTHERWISE = GROWN.add("step.summed", {"sum": "sha256:" + "cd" * 32}, {"step": 1})
REWRITTEN = Tree().add("study.offered").add("run.stopped").add("run.stopped").add("run.stopped")


def fork() -> Proof:
    return Proof(Charge.FORK, ORIGIN, (SUMMED.note(), OTHERWISE.note()))


def rollback() -> Proof:
    earlier = message(step_body(1), SUMMED.shown(5))
    return Proof(Charge.ROLLBACK, ORIGIN, (earlier, message(READIES, GROWN.shown(6))))


def inconsistent() -> Proof:
    earlier = message(step_body(1), GROWN.shown(5))
    return Proof(Charge.INCONSISTENT, ORIGIN, (earlier, message(READIES, REWRITTEN.shown(6, base=[3]))))


def withheld() -> Proof:
    said = message(step_body(2, "summed"), GROWN.shown(7, base=[3]), parts={"sum": SUM})
    return Proof(Charge.WITHHELD, ORIGIN, (said,))


def join(seen: Mapping[str, str], *, sender: str = WITNESS) -> bytes:
    own = Tree(sender).add("budget.reserved")
    return message({"kind": "join", "offer": SUM}, own.shown(1, seen=dict(seen)), sender=sender)


def cohort(tree: Tree, joins: Mapping[str, bytes], **more: Any) -> bytes:
    body = {"kind": "cohort", "sites": sorted(joins)}
    parts = {f"join:{site}": digest_bytes(joined) for site, joined in joins.items()}
    return message(body, tree.shown(2, **more), parts=parts)


def disowned() -> Proof:
    """A coordinator that was put back to an earlier day, and goes on although a site shows it its own later head."""
    joined = join({PARTY: SUMMED.note()})
    return Proof(Charge.DISOWNED, ORIGIN, (cohort(GROWN, {WITNESS: joined}), joined))


def disowned_by_a_site() -> Proof:
    """A site that goes on after the coordinator has shown it its own later head."""
    old, new = Tree("hana").add("budget.reserved"), Tree("hana").add("budget.reserved").add("run.stopped")
    asked = cohort(GROWN, {}, seen={"hana": new.note()})
    answers = digest_bytes(asked[8:-64])
    kem = message({"kind": "kem", "had": {}, "ciphertexts": {}}, old.shown(2, answers=answers), sender="hana")
    return Proof(Charge.DISOWNED, log_origin(STUDY, "hana"), (kem, asked))


def convicts(proof: Proof, key: PublicKey) -> bool:
    """What the product says of a proof, and the stand-alone verifier, which must say the same."""
    ours = misbehaviour.convicts(proof, key)
    value = json.loads(proof.to_bytes())
    assert verifier.convicts(value["kind"], value["origin"], key.raw, value["evidence"]) == ours
    return ours


EVERY = (fork, rollback, inconsistent, withheld, disowned, disowned_by_a_site)
