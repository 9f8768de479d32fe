"""Published vectors through the own functions of both verifiers: trees, notes, DSSE, RFC 8785, Ed25519's edges."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sekisho.governance.canonical import canonical_bytes
from sekisho.governance.errors import BadSignatureError
from sekisho.governance.evidence import verifier
from sekisho.governance.log.checkpoint import Note, verify_note
from sekisho.governance.signing.keys import PublicKey

from .second import Refused, Second

VECTORS = Path(__file__).parents[1] / "vectors"
FORMATS = Path(__file__).parents[2] / "docs" / "formats"


def published(name: str) -> Any:
    return json.loads((VECTORS / name).read_text(encoding="utf-8"))


TREES, NOTES, DSSE = published("rfc6962.json"), published("c2sp.json"), published("dsse.json")
JCS, EDGES = published("rfc8785.json"), published("ed25519.json")["vectors"]


@pytest.fixture(scope="module")
def second() -> Iterator[Second]:
    process = Second()
    yield process
    process.close()


def decode(text: str) -> bytes:
    return base64.b64decode(text)


# --- RFC 6962 ----------------------------------------------------------------------------------------------------

def test_all_published_tree_vectors_are_here() -> None:
    assert (len(TREES["inclusion"]), len(TREES["consistency"])) == (98, 96)
    assert sum(not case["wantErr"] for case in TREES["inclusion"] + TREES["consistency"]) == 11


def test_reference_roots(second: Second) -> None:
    leaves = [bytes.fromhex(text) for text in TREES["leaves_hex"]]
    roots = {0: TREES["empty_root_base64"], **{int(size): root for size, root in TREES["roots_base64"].items()}}
    for size, root in roots.items():
        assert verifier.log_root(leaves[:size]) == decode(root)
        assert second.ask("tree", leaves=[leaf.hex() for leaf in leaves[:size]]) == decode(root).hex()


def test_inclusion(second: Second) -> None:
    for case in TREES["inclusion"]:
        index, size, proof = case["leafIdx"], case["treeSize"], case["proof"]
        assert second.ask("inclusion", index=index, size=size, leaf=case["leafHash"], proof=proof,
                          root=case["root"]) is not case["wantErr"], case["file"]
        # verify.py is given the entry, not its hash; lengths it checks where it reads a proof
        entries = [bytes.fromhex(text) for text in TREES["leaves_hex"]]
        entry = next((one for one in [*entries, b"data"] if _leaf(one) == decode(case["leafHash"])), None)
        if entry is None:
            assert case["wantErr"]
            continue
        try:
            found = verifier.is_included(index, size, entry, verifier.hashes(proof), decode(case["root"]))
        except ValueError:
            found = False
        assert found is not case["wantErr"], case["file"]


def _leaf(entry: bytes) -> bytes:
    return verifier.log_root([entry])


def test_consistency(second: Second) -> None:
    for case in TREES["consistency"]:
        roots, proof = [case["root1"], case["root2"]], case["proof"]
        sizes = case["size1"], case["size2"]
        said = second.ask("consistency", first=sizes[0], second=sizes[1], proof=proof, roots=roots)
        assert said is not case["wantErr"] or _starts_empty(case), case["file"]
        try:
            old, new = (verifier.Head("x", size, _hash(root)) for size, root in zip(sizes, roots, strict=True))
            found = verifier.is_consistent(old, new, verifier.hashes(proof))
        except ValueError:
            found = False
        assert found is said, case["file"]


def _starts_empty(case: dict[str, Any]) -> bool:
    """A witnessed head may be of an empty log, from which every log continues: upstream refuses to prove that."""
    return bool(case["size1"] == 0 and case["root1"] == TREES["empty_root_base64"] and not case["proof"])


def _hash(text: str) -> bytes:
    if len(decode(text)) != 32:
        raise ValueError("a note with such a root is not read")
    return decode(text)


# --- notes, envelopes --------------------------------------------------------------------------------------------

def test_the_published_note_and_key_ids(second: Second) -> None:
    note = NOTES["note"]
    raw = base64.b64decode(note["verifier_key"].split("+", 2)[2])[1:]
    signed = f"{note['text']}\n\u2014 {note['name']} {note['signature']}\n"
    verify_note(Note.parse(signed), note["name"], PublicKey(raw))
    assert second.ask("signed", signed.encode(), name=note["name"], key=raw.hex()) is True
    other = signed.replace("answer", "question").encode()
    assert second.ask("signed", other, name=note["name"], key=raw.hex()) is False
    for vector in [note["verifier_key"], *NOTES["verifier_keys"]]:
        name, key_id, material = vector.split("+", 2)
        kind, *key = base64.b64decode(material)
        assert second.ask("noteKeyId", name=name, kind=kind, key=bytes(key).hex()) == key_id


def test_published_notes_are_read_alike(second: Second) -> None:
    for text in NOTES["parse_only"]:
        ours, theirs = Note.parse(text), second.ask("note", text.encode())
        assert theirs["text"] == ours.text
        assert theirs["signatures"] == [
            [one.name, one.key_id.hex(), base64.b64encode(one.value).decode()] for one in ours.signatures]
        try:
            head = verifier.read_note(text.encode()).head
        except ValueError:      # a note that is no checkpoint
            with pytest.raises(Refused):
                second.ask("checkpoint", text.encode())
        else:
            expected = [head.origin, head.size, base64.b64encode(head.root).decode()]
            assert second.ask("checkpoint", text.encode()) == expected


def test_dsse(second: Second) -> None:
    kind, payload = DSSE["payload_type"], DSSE["payload"].encode()
    assert decode(second.ask("pae", payload, type=kind)).decode() == DSSE["pae"]
    envelope = DSSE["envelope"].encode()
    assert second.ask("envelope", envelope) == {
        "type": kind, "payload": base64.b64encode(payload).decode(), "signed": 0}
    read = verifier.read_envelope(envelope)
    assert (read.kind, read.payload) == (kind, payload)


# --- RFC 8785 ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("case", JCS["documents"] + JCS["testdata"], ids=lambda case: case.get("file", "RFC 8785"))
def test_published_canonical_documents(second: Second, case: dict[str, str]) -> None:
    data, expected = case["input"].encode(), case["canonical"].encode()
    assert canonical_bytes(json.loads(data)) == expected
    assert decode(second.ask("canonicalWithFractions", data)) == expected
    if re.search(r"\d[.eE]", re.sub(r'"[^"]*"', "", case["input"])):      # a bundle holds whole numbers only
        with pytest.raises(ValueError):
            verifier.parse(data)
        with pytest.raises(Refused):
            second.ask("canonical", data)
    else:
        assert verifier.canonical(verifier.parse(data)) == decode(second.ask("canonical", data)) == expected


def test_published_numbers(second: Second) -> None:
    assert [second.ask("number", bits=bits) for bits, _ in JCS["numbers"]] == [text for _, text in JCS["numbers"]]


# --- Ed25519 -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("start", range(0, 914, 100))
def test_edges_of_ed25519_are_accepted_by_all_or_refused_before(second: Second, start: int) -> None:
    """What `cryptography`, Node and our own keys say of each vector; weak keys never come to be asked."""
    for case in EDGES[start:start + 100]:
        key, signature, text = bytes.fromhex(case["key"]), bytes.fromhex(case["sig"]), case["msg"].encode()
        first = verifier._is_good(key, signature, text)
        assert first is second.ask("signature", text, key=case["key"], signature=case["sig"]), case
        # RFC 8032 without the cofactor, as OpenSSL and Go: nothing else decides
        flags = set(case["flags"])
        assert first is not bool(flags & {"non_canonical_R", "low_order_residue"}), case
        strong = verifier.is_strong(key)
        assert strong is second.ask("strong", key=case["key"])
        assert strong is not bool(flags & {"low_order_A", "non_canonical_A"}), case
        assert _accepts(key, signature, text) is (strong and first), case


def _accepts(key: bytes, signature: bytes, text: bytes) -> bool:
    try:
        PublicKey(key).verify(signature, text)
    except BadSignatureError:
        return False
    return True


def test_every_edge_is_tried() -> None:
    flags = {flag for case in EDGES for flag in case["flags"]}
    assert len(EDGES) == 914 and flags == {
        "low_order_A", "low_order_R", "low_order_component_A", "low_order_component_R", "low_order_residue",
        "non_canonical_A", "non_canonical_R", "reencoded_k"}


# --- our own page of misbehaviour --------------------------------------------------------------------------------

PAGE = re.compile(r"Key of `\w+` \(raw Ed25519, hex\): `([0-9a-f]{64})`; file `([0-9a-f]{16})\.json`\.\n\n"
                  r"```json\n(.+?)\n```")


def test_the_examples_of_misbehaviour_convict_to_both_and_not_when_changed(second: Second) -> None:
    examples = PAGE.findall((FORMATS / "misbehaviour.md").read_text(encoding="utf-8"))
    assert len(examples) >= 5
    for key, name, text in examples:
        assert verifier.digest(text.encode())[7:23] == name
        proof = json.loads(text)
        kinds = {"fork", "rollback", "inconsistent", "withheld", "disowned"}
        assert judged(second, key, proof) is True
        for kind in kinds - {proof["kind"]}:
            if judged(second, key, {**proof, "kind": kind}):      # a log that shrinks does not continue, either
                assert (proof["kind"], kind) == ("rollback", "inconsistent")
        for evidence in ([], proof["evidence"][:-1], proof["evidence"][::-1], proof["evidence"] * 2):
            if evidence != proof["evidence"]:
                judged(second, key, {**proof, "evidence": evidence})
        assert judged(second, "11" * 32, proof) is False
        assert judged(second, key, {**proof, "origin": proof["origin"] + "x"}) is False


def judged(second: Second, key: str, proof: dict[str, Any]) -> bool:
    said = second.ask("convicts", kind=proof["kind"], origin=proof["origin"], key=key, evidence=proof["evidence"])
    assert verifier.convicts(proof["kind"], proof["origin"], bytes.fromhex(key), proof["evidence"]) is said
    return bool(said)
