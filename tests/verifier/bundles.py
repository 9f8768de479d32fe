"""Bundles of every kind for the two verifiers to agree on, made with the real parts; small: thousands are judged.

Not for: bundles of a real run (a test of its own), or what is wrong with one (mutations.py).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from sekisho.governance.canonical import canonical_bytes, digest
from sekisho.governance.evidence import verifier
from sekisho.governance.log.checkpoint import Checkpoint, cosign, sign_checkpoint, with_cosignature
from sekisho.governance.log.entries import Entry
from sekisho.governance.log.merkle import consistency_proof, leaf_hash, node_hash

from ..governance import evidence_example as example
from ..governance.test_verifier_rosters import handed_on

STUDY = "sekisho.example/food-quality"
SECRET = b"w" * 32


class Made(NamedTuple):
    """A bundle's members without manifest, its scope and who signs it."""

    members: Mapping[str, bytes]
    scope: Mapping[str, str]
    signer: str = example.HUB

    def sealed(self, members: Mapping[str, bytes] | None = None, signer: str = "") -> bytes:
        contents = self.members if members is None else members
        return example.sealed(contents, example.key(signer or self.signer), self.scope)


@cache
def made() -> Mapping[str, Made]:
    """Every kind: whole, handed on, with witnesses and a conviction, of one run, of a person's request."""
    with TemporaryDirectory() as folder:
        return {
            "whole": Made(example.members(Path(folder) / "whole", runs=(example.PROBE, example.LORA)), example.WHOLE),
            "chain": Made(handed_on(example.members(Path(folder) / "chain")), example.WHOLE),
            "witnessed": _witnessed(example.members(Path(folder) / "witnessed")),
            "run": _of_a_run(example.members(Path(folder) / "run", runs=(example.PROBE, example.LORA))),
            "subject": _of_a_person(Path(folder) / "subject"),
        }


def entries_of(members: Mapping[str, bytes], party: str) -> list[bytes]:
    return members[f"logs/{party}.jsonl"].splitlines()


class Nodes:
    """The complete subtrees of a small log, computed from its entries each time: RFC 6962, 2.1."""

    def __init__(self, entries: list[bytes]) -> None:
        self.entries = entries

    def node(self, level: int, index: int) -> bytes:
        if level == 0:
            return leaf_hash(self.entries[index])
        return node_hash(self.node(level - 1, 2 * index), self.node(level - 1, 2 * index + 1))

    def root(self, start: int = 0, end: int | None = None) -> bytes:
        end = len(self.entries) if end is None else end
        if end - start == 1:
            return leaf_hash(self.entries[start])
        middle = start + largest_power_below(end - start)
        return node_hash(self.root(start, middle), self.root(middle, end))

    def path(self, index: int, start: int = 0, end: int | None = None) -> list[bytes]:
        end = len(self.entries) if end is None else end
        if end - start == 1:
            return []
        middle = start + largest_power_below(end - start)
        if index < middle:
            return [*self.path(index, start, middle), self.root(middle, end)]
        return [*self.path(index, middle, end), self.root(start, middle)]


def largest_power_below(size: int) -> int:
    return 1 << (size - 1).bit_length() - 1


def _head(party: str, entries: list[bytes], size: int) -> str:
    head = Checkpoint(f"{STUDY}/{party}", size, Nodes(entries).root(0, size))
    return sign_checkpoint(head, example.key(party))


def seen_by(witness: str, note: str) -> bytes:
    line = cosign(note, f"{STUDY}/{witness}", example.key(witness), example.NOW)
    return with_cosignature(note, line).encode()


def _with_witnesses(members: Mapping[str, bytes], parties: tuple[str, ...]) -> dict[str, bytes]:
    found = dict(members)
    for party, witness in zip(parties, (*parties[1:], parties[0]), strict=True):
        entries = entries_of(members, party)
        found[f"witnessed/{witness}/{party}.checkpoint"] = seen_by(witness, _head(party, entries, len(entries) - 2))
    return found


def _witnessed(members: Mapping[str, bytes]) -> Made:
    whole = _with_witnesses(members, (*example.SITES, example.HUB))
    origin = f"{STUDY}/{example.HUB}"
    notes = [sign_checkpoint(Checkpoint(origin, 3, bytes([n]) * 32), example.key(example.HUB)) for n in (1, 2)]
    proof = canonical_bytes({"schema": "sekisho-misbehaviour/1", "kind": "fork", "origin": origin,
                             "evidence": [{"note": note} for note in notes]})
    whole[f"misbehaviour/{hashlib.sha256(proof).hexdigest()[:16]}.json"] = proof
    return Made(whole, example.WHOLE, "kohi")


def selected(entries: list[bytes], indices: list[int]) -> bytes:
    nodes = Nodes(entries)
    return b"".join(canonical_bytes({
        "entry": json.loads(entries[index]), "index": index,
        "proof": [base64.b64encode(one).decode() for one in nodes.path(index)],
    }) + b"\n" for index in indices)


def _of_a_run(members: Mapping[str, bytes]) -> Made:
    """One of two runs, with what others saw of the logs."""
    found = _with_witnesses(members, (*example.SITES, example.HUB))
    found.pop(example.LORA.member)
    for party in (*example.SITES, example.HUB):
        entries = entries_of(members, party)
        whole = found.pop(f"logs/{party}.jsonl").splitlines()
        mine = [index for index, one in enumerate(whole) if json.loads(one)["refs"]["run"] == example.RUN]
        found[f"logs/{party}.selected.jsonl"] = selected(entries, mine)
        proof = consistency_proof(len(entries) - 2, len(entries), Nodes(entries).node)
        witness = next(name.split("/")[1] for name in found
                       if name.startswith("witnessed/") and name.endswith(f"/{party}.checkpoint"))
        found[f"witnessed/{witness}/{party}.consistency"] = canonical_bytes(
            [base64.b64encode(one).decode() for one in proof]) + b"\n"
    return Made(found, {"kind": "run", "of": example.RUN})


def _of_a_person(folder: Path) -> Made:
    """What kohi tells a person: two entries of a run, and a withdrawal under a commitment that the person can open."""
    at, told = example.NOW, {"case": "case-1", "reason": "ON_REQUEST", "subject": "person-1"}
    stamped = json.loads(Entry(type="consent.withdrawn", party="kohi", at=at).to_bytes())["at"]
    message = b"sekisho dataset commitment v1\0" + digest({**told, "at": stamped}).encode()
    commitment = "hmac-sha256:" + hmac.new(SECRET, message, hashlib.sha256).hexdigest()
    withdrawn = Entry(type="consent.withdrawn", party="kohi", at=at, refs={"commitment": commitment},
                      data={"reason": told["reason"]})
    members = example.members(folder, runs=(), also=(withdrawn,))
    entries = entries_of(members, "kohi")
    found = {name: data for name, data in members.items() if not name.startswith(("logs/", "provenance/"))}
    found["logs/kohi.checkpoint"] = members["logs/kohi.checkpoint"]
    found["logs/kohi.selected.jsonl"] = selected(entries, [0, len(entries) - 1])
    found["subject/request.json"] = canonical_bytes({
        "schema": verifier.SUBJECT_SCHEMA, "site": "kohi", "subject": told["subject"], "consent": [],
        "runs": [{"run": example.STOPPED, "entries": [0]}],
        "withdrawals": [{"case": told["case"], "index": len(entries) - 1, "key": SECRET.hex()}],
    }) + b"\n"
    return Made(found, {"kind": "subject", "of": "kohi"}, "kohi")
