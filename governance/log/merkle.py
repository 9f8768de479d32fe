"""The Merkle tree of a log: hashes, roots, proofs and their verification; bytes in, bytes out, no disk.

For: what ``auditlog`` stores and what a verifier recomputes. Not for: what an entry says (``entries``) or who
signed a root (``checkpoint``).

Order of calls: a writer keeps a ``Frontier`` and adds leaf hashes to it; ``inclusion_proof`` and
``consistency_proof`` ask for the complete subtrees they need through ``node(level, index)``; a reader calls
``verify_inclusion`` and ``verify_consistency``, which return or raise.

Sources: RFC 6962 section 2.1 (hashing, proofs), RFC 9162 sections 2.1.3.2 and 2.1.4.2 (verification).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import BrokenLogError

HASH_BYTES = 32
MAX_LEVELS = 54               # a log of 2**54 entries is beyond any disk; keeps a node's key in 63 bits
EMPTY_ROOT = hashlib.sha256(b"").digest()

NodeLookup = Callable[[int, int], bytes]
"""The stored hash of the complete subtree of 2**level leaves that starts at leaf index * 2**level."""


def leaf_hash(entry: bytes) -> bytes:
    """SHA-256(0x00 || entry)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right): the prefix keeps a node from being passed off as an entry."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True)
class Node:
    """A complete subtree: 2**level leaves from leaf ``index << level`` on."""

    level: int
    index: int
    hash: bytes


class Frontier:
    """The complete subtrees at the right edge of a tree, largest first: all that appending needs."""

    def __init__(self, size: int = 0, nodes: Sequence[Node] = ()) -> None:
        """Raises BrokenLogError LOG_DAMAGED if ``nodes`` are not the subtrees of a tree of ``size``."""
        if tuple((node.level, node.index) for node in nodes) != subtrees(0, size):
            raise damaged("a log's stored tree does not fit its size")
        self.size = size
        self._nodes = list(nodes)

    def copy(self) -> Frontier:
        """An independent frontier of the same tree."""
        return Frontier(self.size, self._nodes)

    def add(self, leaf: bytes) -> list[Node]:
        """Append one leaf hash; the complete subtrees that this creates, smallest first."""
        node = Node(0, self.size, leaf)
        created = [node]
        while self._nodes and self._nodes[-1].level == node.level:
            left = self._nodes.pop()
            node = Node(node.level + 1, node.index >> 1, node_hash(left.hash, node.hash))
            created.append(node)
        self._nodes.append(node)
        self.size += 1
        return created

    def root(self) -> bytes:
        """The tree's root hash (32 bytes)."""
        return _fold([node.hash for node in self._nodes])


def subtrees(start: int, end: int) -> tuple[tuple[int, int], ...]:
    """The complete subtrees (level, index) that make up leaves ``start`` to ``end``, left to right."""
    parts = []
    while start < end:
        level = (end - start).bit_length() - 1
        if start:
            level = min(level, (start & -start).bit_length() - 1)
        parts.append((level, start >> level))
        start += 1 << level
    return tuple(parts)


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The root over leaf hashes, computed from nothing else."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.add(leaf)
    return frontier.root()


def checked_frontier(size: int, node: NodeLookup, leaf: Callable[[int], bytes]) -> Frontier:
    """The frontier of a stored tree, recomputed along the right edge of each complete subtree in it.

    ``leaf(i)`` is the leaf hash computed from entry i itself. Time grows with the square of log(size); what lies
    to the left of those edges is for a full recomputation to find.

    Raises:
        BrokenLogError: LOG_DAMAGED.
    """
    nodes = []
    for top, position in subtrees(0, size):
        nodes.append(Node(top, position, node(top, position)))
        level, index = top, position
        while level:
            left, right = node(level - 1, 2 * index), node(level - 1, 2 * index + 1)
            if node_hash(left, right) != node(level, index):
                raise damaged("a log's stored tree contradicts itself")
            level, index = level - 1, 2 * index + 1
        if node(0, index) != leaf(index):
            raise damaged("a log's stored tree does not fit its entries")
    return Frontier(size, nodes)


def damaged(sentence: str) -> BrokenLogError:
    """A log whose parts disagree."""
    return BrokenLogError("LOG_DAMAGED", sentence, "keep the file and compare it with witnessed heads")


def range_hash(start: int, end: int, node: NodeLookup) -> bytes:
    """RFC 6962's MTH over leaves ``start`` to ``end``; ``start`` is where a subtree of that width begins."""
    return _fold([node(level, index) for level, index in subtrees(start, end)])


def inclusion_proof(index: int, size: int, node: NodeLookup) -> tuple[bytes, ...]:
    """RFC 6962 PATH(index, D[size]), leaf to root.

    Raises:
        BrokenLogError: NO_SUCH_ENTRY.
    """
    if not 0 <= index < size:
        raise BrokenLogError("NO_SUCH_ENTRY", "a log has no entry of this number", "ask below its size")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(range_hash(middle, end, node))
            end = middle
        else:
            path.append(range_hash(start, middle, node))
            start = middle
    return tuple(reversed(path))


def consistency_proof(old: int, new: int, node: NodeLookup) -> tuple[bytes, ...]:
    """RFC 6962 PROOF(old, D[new]); empty where ``old`` is 0 or equal to ``new``.

    Raises:
        BrokenLogError: NO_SUCH_SIZE.
    """
    if not 0 <= old <= new:
        raise BrokenLogError("NO_SUCH_SIZE", "a log never had this size", "ask for one that it had")
    if old in (0, new):
        return ()
    path: list[bytes] = []
    start, end = 0, new
    whole = True  # as long as the old tree is a left part of [start, end) its own root need not be sent
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(range_hash(middle, end, node))
            end = middle
        else:
            path.append(range_hash(start, middle, node))
            start, whole = middle, False
    if not whole:
        path.append(range_hash(start, end, node))
    return tuple(reversed(path))


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Return if ``leaf`` is entry ``index`` of the tree of ``size`` with this ``root``.

    Raises:
        BrokenLogError: INCLUSION_INVALID.
    """
    if not 0 <= index < size or not _all_hashes(leaf, root, *proof):
        raise _invalid_inclusion()
    first, last, computed = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise _invalid_inclusion()  # more hashes than the tree has levels
        if first & 1 or first == last:
            computed = node_hash(sibling, computed)
            first, last = _past_zero_bits(first, last)
        else:
            computed = node_hash(computed, sibling)
        first, last = first >> 1, last >> 1
    if last != 0 or computed != root:
        raise _invalid_inclusion()


def verify_consistency(
    old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes
) -> None:
    """Return if the tree of size ``new`` begins with the tree of size ``old``.

    An empty old tree is refused: it is consistent with everything, so a proof from it says nothing.

    Raises:
        BrokenLogError: CONSISTENCY_INVALID.
    """
    if not 0 < old <= new or not _all_hashes(old_root, new_root, *proof):
        raise _invalid_consistency()
    if old == new:
        if proof or old_root != new_root:
            raise _invalid_consistency()
        return
    if not proof:
        raise _invalid_consistency()
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)  # a power of two is itself a subtree, so the proof leaves it out
    first, last = old - 1, new - 1
    while first & 1:
        first, last = first >> 1, last >> 1
    old_computed = new_computed = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise _invalid_consistency()
        if first & 1 or first == last:
            old_computed = node_hash(sibling, old_computed)
            new_computed = node_hash(sibling, new_computed)
            first, last = _past_zero_bits(first, last)
        else:
            new_computed = node_hash(new_computed, sibling)
        first, last = first >> 1, last >> 1
    if last != 0 or old_computed != old_root or new_computed != new_root:
        raise _invalid_consistency()


def _fold(hashes: Sequence[bytes]) -> bytes:
    if not hashes:
        return EMPTY_ROOT
    computed = hashes[-1]
    for left in reversed(hashes[:-1]):
        computed = node_hash(left, computed)
    return computed


def _split(width: int) -> int:
    """The largest power of two below ``width`` (RFC 6962's k)."""
    return 1 << ((width - 1).bit_length() - 1)


def _past_zero_bits(first: int, last: int) -> tuple[int, int]:
    while first and not first & 1:
        first, last = first >> 1, last >> 1
    return first, last


def _all_hashes(*values: bytes) -> bool:
    return all(len(value) == HASH_BYTES for value in values)


def _invalid_inclusion() -> BrokenLogError:
    return BrokenLogError(
        "INCLUSION_INVALID", "an entry is not where a log's signed head says it is",
        "keep both: they show that the log was changed",
    )


def _invalid_consistency() -> BrokenLogError:
    return BrokenLogError(
        "CONSISTENCY_INVALID", "a log's later head does not continue its earlier head",
        "keep both heads: they show that history was rewritten",
    )
