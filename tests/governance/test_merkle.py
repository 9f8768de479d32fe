"""The tree: published vectors, every small tree, and no way to bend a proof."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.governance.errors import BrokenLogError
from sekisho.governance.log.merkle import (
    EMPTY_ROOT,
    Frontier,
    checked_frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    range_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "rfc6962.json").read_text(encoding="utf-8"))
LARGEST = 70


def decode(text: str) -> bytes:
    return base64.b64decode(text)


class Tree:
    """A tree kept in memory, as the log keeps it on disk."""

    def __init__(self, size: int) -> None:
        self.leaves = [leaf_hash(b"entry %d" % n) for n in range(size)]
        self.nodes: dict[tuple[int, int], bytes] = {}
        self.roots = [EMPTY_ROOT]
        frontier = Frontier()
        for leaf in self.leaves:
            for node in frontier.add(leaf):
                self.nodes[node.level, node.index] = node.hash
            self.roots.append(frontier.root())

    def node(self, level: int, index: int) -> bytes:
        return self.nodes[level, index]


TREE = Tree(LARGEST)


def naive_root(leaves: list[bytes]) -> bytes:
    """RFC 6962's definition, word for word."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return node_hash(naive_root(leaves[:k]), naive_root(leaves[k:]))


def test_reference_roots_of_rfc_6962() -> None:
    leaves = [leaf_hash(bytes.fromhex(text)) for text in VECTORS["leaves_hex"]]
    assert decode(VECTORS["empty_root_base64"]) == EMPTY_ROOT == root_of([])
    for size, root in VECTORS["roots_base64"].items():
        assert root_of(leaves[: int(size)]) == decode(root)
    assert root_of(leaves).hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


@pytest.mark.parametrize("case", VECTORS["inclusion"], ids=lambda case: case["file"])
def test_published_inclusion_vectors(case: dict[str, Any]) -> None:
    arguments = (
        case["leafIdx"], case["treeSize"], decode(case["leafHash"]), [decode(p) for p in case["proof"]],
        decode(case["root"]),
    )
    if case["wantErr"]:
        with pytest.raises(BrokenLogError) as caught:
            verify_inclusion(*arguments)
        assert caught.value.code == "INCLUSION_INVALID"
    else:
        verify_inclusion(*arguments)


@pytest.mark.parametrize("case", VECTORS["consistency"], ids=lambda case: case["file"])
def test_published_consistency_vectors(case: dict[str, Any]) -> None:
    arguments = (
        case["size1"], case["size2"], [decode(p) for p in case["proof"]], decode(case["root1"]),
        decode(case["root2"]),
    )
    if case["wantErr"]:
        with pytest.raises(BrokenLogError) as caught:
            verify_consistency(*arguments)
        assert caught.value.code == "CONSISTENCY_INVALID"
    else:
        verify_consistency(*arguments)


def test_our_proofs_are_the_published_ones() -> None:
    tree = Tree(0)
    frontier = Frontier()
    for text in VECTORS["leaves_hex"]:
        for node in frontier.add(leaf_hash(bytes.fromhex(text))):
            tree.nodes[node.level, node.index] = node.hash
    for case in VECTORS["inclusion"]:
        if case["file"].endswith("happy-path.json"):
            proof = inclusion_proof(case["leafIdx"], case["treeSize"], tree.node)
            assert list(proof) == [decode(p) for p in case["proof"]]
    for case in VECTORS["consistency"]:
        if case["file"].endswith("happy-path.json"):
            proof = consistency_proof(case["size1"], case["size2"], tree.node)
            assert list(proof) == [decode(p) for p in case["proof"]]


def test_every_entry_of_every_small_tree_is_proved() -> None:
    for size in range(1, LARGEST + 1):
        root = TREE.roots[size]
        assert root == naive_root(TREE.leaves[:size]) == range_hash(0, size, TREE.node)
        for index in range(size):
            verify_inclusion(index, size, TREE.leaves[index], inclusion_proof(index, size, TREE.node), root)
        for old in range(1, size + 1):
            verify_consistency(
                old, size, consistency_proof(old, size, TREE.node), TREE.roots[old], root
            )


SIZES = st.integers(1, LARGEST)


@settings(max_examples=150, deadline=None)
@given(SIZES, st.data())
def test_a_bent_inclusion_proof_is_refused(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = list(inclusion_proof(index, size, TREE.node))
    bent = data.draw(st.sampled_from(["flip", "drop", "repeat", "swap", "index", "leaf", "root", "extend"]))
    leaf, root = TREE.leaves[index], TREE.roots[size]
    if bent in ("flip", "drop", "repeat") and proof:
        place = data.draw(st.integers(0, len(proof) - 1))
        if bent == "flip":
            proof[place] = bytes((proof[place][0] ^ 1,)) + proof[place][1:]
        elif bent == "drop":
            del proof[place]
        else:
            proof.insert(place, proof[place])
    elif bent == "swap" and len(proof) > 1:
        proof[0], proof[-1] = proof[-1], proof[0]
    elif bent == "index" and size > 1:
        index = (index + data.draw(st.integers(1, size - 1))) % size
    elif bent == "leaf":
        leaf = root if size > 1 else leaf_hash(b"other")
    elif bent == "root":
        root = TREE.roots[size - 1]
    else:
        proof.append(root)
    with pytest.raises(BrokenLogError):
        verify_inclusion(index, size, leaf, proof, root)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, LARGEST - 1), st.data())
def test_a_bent_consistency_proof_is_refused(old: int, data: st.DataObject) -> None:
    new = data.draw(st.integers(old + 1, LARGEST))
    proof = list(consistency_proof(old, new, TREE.node))
    roots = [TREE.roots[old], TREE.roots[new]]
    bent = data.draw(st.sampled_from(["flip", "drop", "repeat", "swap roots", "old root", "extend", "empty"]))
    place = data.draw(st.integers(0, len(proof) - 1))
    if bent == "flip":
        proof[place] = proof[place][:-1] + bytes((proof[place][-1] ^ 128,))
    elif bent == "drop":
        del proof[place]
    elif bent == "repeat":
        proof.insert(place, proof[place])
    elif bent == "swap roots":
        roots.reverse()
    elif bent == "old root":
        roots[0] = TREE.roots[old - 1]
    elif bent == "extend":
        proof.append(roots[1])
    else:
        proof.clear()
    with pytest.raises(BrokenLogError):
        verify_consistency(old, new, proof, roots[0], roots[1])


def test_a_proof_from_an_empty_tree_says_nothing_and_is_refused() -> None:
    for new, proof in ((0, ()), (4, ()), (4, (TREE.nodes[2, 0],))):
        with pytest.raises(BrokenLogError):
            verify_consistency(0, new, proof, EMPTY_ROOT, TREE.roots[new])


def test_a_size_cannot_be_overstated_by_a_proof_that_stops_early() -> None:
    # Whoever makes up the later root can make the hashes fit a smaller tree; the sizes must fit as well.
    old, more = TREE.roots[1], TREE.leaves[1]
    verify_consistency(1, 2, [more], old, node_hash(old, more))
    for size in (3, 4, 5):
        with pytest.raises(BrokenLogError):
            verify_consistency(1, size, [more], old, node_hash(old, more))
        with pytest.raises(BrokenLogError):
            verify_inclusion(0, size, old, [more], node_hash(old, more))


def test_a_node_cannot_be_passed_off_as_an_entry() -> None:
    inner = TREE.nodes[1, 0]
    with pytest.raises(BrokenLogError):
        verify_inclusion(0, 1, leaf_hash(TREE.leaves[0] + TREE.leaves[1]), [], inner)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 8, 37, LARGEST])
def test_a_stored_tree_is_checked_along_its_right_edge(size: int) -> None:
    tree = Tree(size)
    assert checked_frontier(size, tree.node, tree.leaves.__getitem__).root() == tree.roots[size]
    if size:
        edge = size - 1
        for level, index in ((0, edge), (size.bit_length() - 1, 0)):
            broken = dict(tree.nodes)
            broken[level, index] = b"\0" * 32
            with pytest.raises(BrokenLogError) as caught:
                checked_frontier(size, lambda *at, nodes=broken: nodes[at], tree.leaves.__getitem__)
            assert caught.value.code == "LOG_DAMAGED"


def test_proofs_of_what_is_not_there_are_refused() -> None:
    for index, size in ((-1, 4), (4, 4), (0, 0)):
        with pytest.raises(BrokenLogError):
            inclusion_proof(index, size, TREE.node)
    for old, new in ((5, 4), (-1, 4)):
        with pytest.raises(BrokenLogError):
            consistency_proof(old, new, TREE.node)
    assert consistency_proof(0, 4, TREE.node) == consistency_proof(4, 4, TREE.node) == ()
    with pytest.raises(BrokenLogError):
        Frontier(3, ())
