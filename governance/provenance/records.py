"""What a site's records were in one run, as one keyed value: nothing to its readers, a proof where the site opens it.

For: the commitment that a run's statement carries for each site's records, and the proof, made by that site alone, that
a record was or was not among them. Not for: reading records (core/data), or who may be used (governance/consent).

The marks HMAC(key, record digest) of all records, in their own order between two that no record has, are the leaves of
a Merkle tree (RFC 6962, 2.1); the commitment is HMAC(key, number of leaves and root). The key is of one site and one
run, so equal records show neither between sites nor between runs, and without it no record can be tried out. In the
order of the marks a record is absent exactly if two neighbours lie around its place. Whoever is shown a proof learns
the key of that run and how many records there were; a site shows it to whom it would show that.

Order of calls: ``CommittedRecords.of(key, digests)`` -> ``.commitment`` travels; later ``.prove(digest)`` ->
``verify_membership(commitment, key, proof, digest)``, which says whether the record was in it.
"""

from __future__ import annotations

import hashlib
import hmac
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..canonical import is_digest
from ..errors import BadDocumentError, BrokenLogError
from ..log.merkle import Frontier, inclusion_proof, leaf_hash, verify_inclusion

MIN_KEY_BYTES = 16      # a guessable key would turn the commitment into a plain hash of the data
MARK_BYTES = 32
LOWEST, HIGHEST = bytes(MARK_BYTES), b"\xff" * MARK_BYTES    # stand around all marks, so that every gap has two ends

_MARK, _WHOLE = b"sekisho record v1\0", b"sekisho records v1\0"


@dataclass(frozen=True)
class Leaf:
    """One mark (32 bytes), its place in the tree, and its RFC 6962 path."""

    index: int
    mark: bytes
    path: tuple[bytes, ...]


@dataclass(frozen=True)
class Membership:
    """A proof: the record's own leaf if it is in, the two leaves around its place if it is not."""

    size: int
    root: bytes
    leaves: tuple[Leaf, ...]


class CommittedRecords:
    """All marks of one site's records in one run. Holds nothing that is not keyed."""

    def __init__(self, key: bytes, marks: Sequence[bytes]) -> None:
        """Use ``of``; ``marks`` are in order, with both ends."""
        self._key = key
        self._marks = tuple(marks)
        self._nodes: dict[tuple[int, int], bytes] = {}
        frontier = Frontier()
        for mark in self._marks:
            for node in frontier.add(leaf_hash(mark)):
                self._nodes[node.level, node.index] = node.hash
        self._root = frontier.root()

    @classmethod
    def of(cls, key: bytes, digests: Iterable[str]) -> CommittedRecords:
        """From the records' digests ("sha256:..."), in any order; the same record twice counts twice.

        Raises:
            BadDocumentError: COMMITMENT_KEY_SHORT, RECORD_DIGEST.
        """
        check_key(key)
        return cls(key, [LOWEST, *sorted(_mark(key, digest) for digest in digests), HIGHEST])

    @property
    def commitment(self) -> str:
        """ "hmac-sha256:<hex>" over the number of leaves and the root."""
        return _whole(self._key, len(self._marks), self._root)

    def prove(self, digest: str) -> Membership:
        """That the record of this digest is among them, or that it is not."""
        mark = _mark(self._key, digest)
        place = bisect_left(self._marks, mark)
        there = self._marks[place] == mark
        indices = (place,) if there else (place - 1, place)
        return Membership(len(self._marks), self._root, tuple(self._leaf(index) for index in indices))

    def _leaf(self, index: int) -> Leaf:
        path = inclusion_proof(index, len(self._marks), lambda level, at: self._nodes[level, at])
        return Leaf(index, self._marks[index], path)


def verify_membership(commitment: str, key: bytes, proof: Membership, digest: str) -> bool:
    """Whether the record of this digest is among those of ``commitment``.

    Raises:
        BadDocumentError: COMMITMENT_KEY_SHORT, RECORD_DIGEST, MEMBERSHIP_UNPROVEN.
    """
    check_key(key)
    mark = _mark(key, digest)
    # 1. Number and root are those that the site committed to, under this key.
    if not hmac.compare_digest(_whole(key, proof.size, proof.root), commitment):
        raise _unproven("the proof is of other records, or under another key")
    # 2. Each leaf stands in that tree where it says.
    try:
        for leaf in proof.leaves:
            verify_inclusion(leaf.index, proof.size, leaf_hash(leaf.mark), leaf.path, proof.root)
    except BrokenLogError:
        raise _unproven("a leaf of the proof does not stand in the committed tree") from None
    # 3. It is the record's own leaf, or two neighbours with the record's place between them.
    if [leaf.mark for leaf in proof.leaves] == [mark]:
        return True
    if len(proof.leaves) == len((LOWEST, HIGHEST)):
        low, high = proof.leaves
        if low.index + 1 == high.index and low.mark < mark < high.mark:
            return False
    raise _unproven("the leaves of the proof say nothing about this record")


def check_key(key: bytes) -> None:
    """Raises ``BadDocumentError`` COMMITMENT_KEY_SHORT."""
    if len(key) < MIN_KEY_BYTES:
        raise BadDocumentError("COMMITMENT_KEY_SHORT", f"a commitment needs a key of at least {MIN_KEY_BYTES} bytes",
                               "use a key that the site keeps to itself")


def _mark(key: bytes, digest: str) -> bytes:
    if not is_digest(digest):
        raise BadDocumentError("RECORD_DIGEST", "a record's digest is not sha256 with 64 hexadecimal digits",
                               "pass the digest of each record")
    return hmac.new(key, _MARK + digest.encode(), hashlib.sha256).digest()


def _whole(key: bytes, size: int, root: bytes) -> str:
    text = _WHOLE + size.to_bytes(8, "big") + root
    return "hmac-sha256:" + hmac.new(key, text, hashlib.sha256).hexdigest()


def _unproven(sentence: str) -> BadDocumentError:
    return BadDocumentError("MEMBERSHIP_UNPROVEN", sentence, "have the site make the proof again, for this run")
