"""Selections, witnessed heads and proofs of misbehaviour in a bundle: what is shown, and every way to lie about it."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from sekisho.governance.canonical import canonical_bytes, digest_bytes
from sekisho.governance.evidence import verifier
from sekisho.governance.evidence.bundle import bundle_bytes, consistency_member, selected_line
from sekisho.governance.evidence.selection import Scope, ScopeKind
from sekisho.governance.evidence.verifier import verify
from sekisho.governance.log.auditlog import AuditLog
from sekisho.governance.log.checkpoint import Checkpoint, cosign, sign_checkpoint, with_cosignature
from sekisho.governance.log.entries import Entry
from sekisho.governance.log.merkle import leaf_hash, root_of

from . import evidence_example as example

ROOT = digest_bytes(example.roster_yaml())
RUN = {"kind": "run", "of": example.RUN}
PARTIES = (*example.SITES, example.HUB)
ORIGIN = "sekisho.example/food-quality/"
Members = dict[str, bytes]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("federation")


@pytest.fixture(scope="module")
def whole(folder: Path) -> Members:
    """A bundle's members with two runs, and what kohi saw of the hub's log when it had five entries."""
    members = example.members(folder, runs=(example.PROBE, example.LORA))
    return {**members, **seen("kohi", "hub", 5, members)}


def seen(witness: str, party: str, size: int, members: Mapping[str, bytes], world: str = "") -> Members:
    """The head of the first ``size`` entries of the party's log, signed by it and cosigned by the witness."""
    entries = members[f"logs/{party}.jsonl"].splitlines()[:size]
    head = Checkpoint(ORIGIN + party, size, root_of([leaf_hash(one) for one in entries]))
    return cosigned(witness, party, head, world)


def cosigned(witness: str, party: str, head: Checkpoint, world: str = "") -> Members:
    note = sign_checkpoint(head, example.key(party, world))
    line = cosign(note, ORIGIN + witness, example.key(witness, world), example.NOW)
    return {f"witnessed/{witness}/{party}.checkpoint": with_cosignature(note, line).encode()}


@pytest.fixture(scope="module")
def selected(folder: Path, whole: Members) -> Members:
    """The first run alone: its entries with their proofs; and that the hub's log goes on from what kohi saw."""
    members = {name: data for name, data in whole.items() if name != example.LORA.member}
    with ExitStack() as stack:
        for party in PARTIES:
            log = stack.enter_context(AuditLog.open(folder / f"{party}.sqlite", origin=ORIGIN + party,
                                                    key=example.key(party)))
            members[f"logs/{party}.selected.jsonl"] = b"".join(
                selected_line(n, body, log.inclusion(n)) for n, body in enumerate(log.entries())
                if Entry.from_bytes(body).refs.get("run") == example.RUN)
            del members[f"logs/{party}.jsonl"]
            if party == "hub":
                members["witnessed/kohi/hub.consistency"] = consistency_member(log.consistency(5))
    return members


def judged(members: Mapping[str, bytes], scope: Mapping[str, str] = RUN, signer: str = "hub") -> tuple[str, str]:
    verdict = verify(example.sealed(members, example.key(signer), scope), ROOT)
    return verdict.name, verdict.details[-1]


def lines(members: Members, party: str = "kohi") -> list[dict[str, object]]:
    return [json.loads(line) for line in members[f"logs/{party}.selected.jsonl"].splitlines()]


def with_lines(members: Members, changed: list[dict[str, object]], party: str = "kohi") -> Members:
    data = b"".join(canonical_bytes(line) + b"\n" for line in changed)
    return {**members, f"logs/{party}.selected.jsonl": data}


# --- what is shown -----------------------------------------------------------------------------------------------

def test_a_selection_verifies_and_says_so_in_its_first_line(selected: Members) -> None:
    data = bundle_bytes(selected, example.key("hub"), Scope(ScopeKind.RUN, example.RUN))
    verdict = verify(data, ROOT)
    assert verdict.code == 0, verdict.details
    assert verdict.details[0] == "a selection: run run-1; what was left out cannot be seen here"
    text = "\n".join(verdict.details)
    assert "log of kohi: 8 of 16 entries, each proven to be in the log with root " in text
    assert "kohi saw the log of hub at 5 entries (2026-11-23T10:00:00Z); the log here begins with it" in text
    assert "provenance: adapter" in text


def test_a_whole_bundle_says_that_it_is_whole_and_which_log_is_not_there(whole: Members) -> None:
    verdict = verify(example.sealed(whole, example.key("hub")), ROOT)
    assert verdict.code == 0 and verdict.details[0].startswith("everything: each log that is here is whole")
    assert "kohi saw the log of hub at 5 entries" in "\n".join(verdict.details)
    fewer = {name: data for name, data in whole.items()
             if not name.startswith(("logs/okashi", "provenance/"))}
    assert "not in this bundle: the log of okashi" in verify(example.sealed(fewer, example.key("hub")), ROOT).details


def test_an_empty_selection_of_a_log_is_one(selected: Members) -> None:
    members = {name: data for name, data in selected.items() if not name.startswith("provenance/")}
    assert judged({**members, "logs/kohi.selected.jsonl": b""})[0] == "verified"


class Counting(io.BytesIO):
    """A file that knows the most that was ever read from it at once."""

    most = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.most = max(self.most, len(data))
        return data


def test_a_log_is_never_read_whole(whole: Members) -> None:
    body = b"".join(Entry("step.started", "hub", example.NOW, {"run": "run-9"}, {"step": n}).to_bytes() + b"\n"
                    for n in range(20_000))
    assert len(body) > 2 * verifier.CHUNK
    root = root_of([leaf_hash(line) for line in body.splitlines()])
    head = sign_checkpoint(Checkpoint(ORIGIN + "hub", 20_000, root), example.key("hub"))
    members = {name: data for name, data in whole.items() if not name.startswith(("provenance/", "witnessed/"))}
    members |= {"logs/hub.jsonl": body, "logs/hub.checkpoint": head.encode()}
    file = Counting(example.sealed(members, example.key("hub")))
    assert verifier.judge(file, ROOT).name == "verified"
    assert file.most <= verifier.CHUNK


# --- selections that lie -----------------------------------------------------------------------------------------

def flipped(line: dict[str, object]) -> dict[str, object]:
    first, *rest = [base64.b64decode(one) for one in line["proof"]]  # type: ignore[attr-defined]
    proof = [bytes([first[0] ^ 1]) + first[1:], *rest]
    return {**line, "proof": [base64.b64encode(one).decode() for one in proof]}


@pytest.mark.parametrize(("name", "lie"), [
    ("another number", lambda all_: [{**all_[0], "index": 1}, *all_[2:]]),
    ("a number beyond the log", lambda all_: [*all_, {**all_[-1], "index": 99}]),
    ("a hash changed", lambda all_: [flipped(all_[0]), *all_[1:]]),
    ("a hash dropped", lambda all_: [{**all_[0], "proof": all_[0]["proof"][:-1]}, *all_[1:]]),
    ("a hash more", lambda all_: [{**all_[0], "proof": [*all_[0]["proof"], all_[0]["proof"][0]]}, *all_[1:]]),
    ("no proof", lambda all_: [{**all_[0], "proof": []}, *all_[1:]]),
    ("two exchanged", lambda all_: [all_[1], all_[0], *all_[2:]]),
    ("one twice", lambda all_: [all_[0], *all_]),
    ("another entry", lambda all_: [{**all_[0], "entry": {**all_[0]["entry"], "type": "decision.refuse"}}, *all_[1:]]),
    ("another's entry", lambda all_: [{**all_[0], "entry": {**all_[0]["entry"], "party": "wanko"}}, *all_[1:]]),
    ("a key more", lambda all_: [{**all_[0], "note": "x"}, *all_[1:]]),
    ("a truth value for a number", lambda all_: [{**all_[0], "index": False}, *all_[1:]]),
])  # fmt: skip
def test_an_entry_counts_only_where_it_is_proven_to_be(
    selected: Members, name: str, lie: Callable[[list[dict[str, object]]], list[dict[str, object]]]
) -> None:
    assert judged(with_lines(selected, lie(lines(selected))))[0] == "changed", name


def test_a_proof_that_is_not_spelled_as_it_must_be_is_refused(selected: Members) -> None:
    data = selected["logs/kohi.selected.jsonl"]
    for forged in (data[:-1], data.replace(b'{"entry"', b'{ "entry"', 1), data + b"\n", b"\n" + data,
                   data.replace(b"\n", b"\r\n", 1), data + b"x" * 80_000):
        assert judged({**selected, "logs/kohi.selected.jsonl": forged})[0] == "changed"


def test_a_partial_log_cannot_pass_for_a_whole_one(selected: Members, whole: Members) -> None:
    everything = {"kind": "all"}
    assert judged(selected, everything)[0] == "changed"
    assert judged(whole, RUN)[0] == "changed"
    as_log = {name: data for name, data in selected.items() if ".selected." not in name and ".consistency" not in name}
    for party in PARTIES:
        as_log[f"logs/{party}.jsonl"] = b"".join(
            canonical_bytes(line["entry"]) + b"\n" for line in lines(selected, party))
    name, detail = judged(as_log, everything)
    assert name == "changed" and "whose size and root" in detail
    both = {**selected, "logs/kohi.jsonl": whole["logs/kohi.jsonl"]}
    assert judged(both)[0] == "changed" and judged(both, everything)[0] == "changed"
    alone = {name: data for name, data in selected.items() if name != "logs/kohi.selected.jsonl"}
    assert judged(alone)[0] == "changed"


@pytest.mark.parametrize("scope", [
    {}, {"kind": "most"}, {"kind": "all", "of": "x"}, {"kind": "run"}, {"kind": "run", "of": ""},
    {"kind": "run", "of": "a b"}, {"kind": "model", "of": "run-1"}, {"kind": "run", "of": "run-1", "from": "x"},
    {"kind": "period", "from": "2026-01-01T00:00:00Z"},
    {"kind": "period", "from": "2026-02-01T00:00:00Z", "until": "2026-01-01T00:00:00Z"},
    {"kind": "period", "from": "2026-01-01", "until": "2026-02-01"},
])  # fmt: skip
def test_a_scope_is_one_of_those_that_there_are(selected: Members, scope: dict[str, str]) -> None:
    assert judged(selected, scope)[0] == "changed"


def test_a_member_that_no_bundle_holds_is_refused_but_below_views(selected: Members) -> None:
    for name in ("notes.txt", "logs/kohi.txt", "provenance/x.json", "witnessed/kohi", "misbehaviour/x.json",
                 verifier.SUBJECT, "policies/a/b.yaml", "rosters/a.yaml"):
        assert judged({**selected, name: b"{}"})[0] == "changed", name
    assert judged({**selected, "views/en/index.html": b"<p>"})[0] == "verified"


# --- witnesses ---------------------------------------------------------------------------------------------------

HEAD = "witnessed/kohi/hub.checkpoint"


def other_root(size: int) -> Checkpoint:
    return Checkpoint(ORIGIN + "hub", size, b"\x07" * 32)


def test_a_log_that_is_not_what_a_witness_saw_convicts_its_party(whole: Members, selected: Members) -> None:
    everything = {"kind": "all"}
    name, detail = judged({**whole, **cosigned("kohi", "hub", other_root(5))}, everything)
    assert name == "changed" and "hub signed both: that convicts hub" in detail
    name, detail = judged({**selected, **cosigned("kohi", "hub", other_root(5))})
    assert name == "changed" and "hub signed two histories" in detail
    for members, scope in ((whole, everything), (selected, RUN)):
        longer = {**members, **cosigned("kohi", "hub", other_root(99))}
        name, detail = judged(longer, scope)
        assert name == "changed" and "hub took entries back, or whoever exported this left them out" in detail
        elsewhere = Checkpoint("sekisho.example/other/hub", 5, b"\x07" * 32)
        assert judged({**members, **cosigned("kohi", "hub", elsewhere)}, scope)[0] == "changed"


def test_a_log_cut_short_with_a_head_of_its_own_is_found_by_the_witness(whole: Members) -> None:
    cut = whole["logs/hub.jsonl"].splitlines(keepends=True)[:3]
    root = root_of([leaf_hash(line[:-1]) for line in cut])
    head = sign_checkpoint(Checkpoint(ORIGIN + "hub", 3, root), example.key("hub"))
    members = {**whole, "logs/hub.jsonl": b"".join(cut), "logs/hub.checkpoint": head.encode()}
    members = {name: data for name, data in members.items() if not name.startswith("provenance/")}
    assert judged(members, {"kind": "all"})[0] == "changed"
    assert judged({name: data for name, data in members.items() if name != HEAD}, {"kind": "all"})[0] == "verified"


def test_in_a_selection_the_log_is_proven_to_go_on_from_what_was_seen(selected: Members) -> None:
    proof = json.loads(selected["witnessed/kohi/hub.consistency"])
    name = "witnessed/kohi/hub.consistency"
    for forged in ([], proof[:-1], proof[::-1], [*proof, proof[0]], "x", {}):
        assert judged({**selected, name: canonical_bytes(forged) + b"\n"})[0] == "changed", forged
    assert judged({**selected, name: canonical_bytes(proof)})[0] == "changed"
    assert judged({key: data for key, data in selected.items() if key != name})[0] == "changed"
    assert judged({key: data for key, data in selected.items() if key != HEAD})[0] == "changed"


def test_a_whole_log_needs_no_proof_and_takes_none(whole: Members, selected: Members) -> None:
    more = {**whole, "witnessed/kohi/hub.consistency": selected["witnessed/kohi/hub.consistency"]}
    assert judged(more, {"kind": "all"})[0] == "changed"


def test_every_size_that_a_witness_can_have_seen_fits(whole: Members, folder: Path, selected: Members) -> None:
    with AuditLog.open(folder / "hub.sqlite", origin=ORIGIN + "hub", key=example.key("hub")) as log:
        for size in range(log.size + 1):
            head = cosigned("kohi", "hub", Checkpoint(ORIGIN + "hub", size, log.root(size)))
            assert judged({**whole, **head}, {"kind": "all"})[0] == "verified", size
            proof = consistency_member(log.consistency(size))
            assert judged({**selected, **head, "witnessed/kohi/hub.consistency": proof})[0] == "verified", size


def test_a_witness_must_be_a_party_and_have_cosigned(whole: Members) -> None:
    everything = {"kind": "all"}
    note = whole[HEAD].decode()
    alone = "\n".join(note.split("\n")[:5]) + "\n"
    later = cosign(note, ORIGIN + "kohi", example.key("wanko"), example.NOW + timedelta(days=1))
    for name, data in (
        (HEAD, alone),                                                  # nobody says that they saw it
        (HEAD, alone + cosign(alone, ORIGIN + "kohi", example.key("wanko"), example.NOW)),
        (HEAD, alone + cosign(alone, ORIGIN + "wanko", example.key("wanko"), example.NOW)),
        ("witnessed/wanko/hub.checkpoint", note),
        ("witnessed/kohi/kohi.checkpoint", note),
        ("witnessed/stranger/hub.checkpoint", note),
        ("witnessed/kohi/okashi.checkpoint", note),
    ):  # fmt: skip
        assert judged({**whole, name: data.encode()}, everything)[0] == "changed", name
    # a line that somebody else's key made says nothing, beside one that counts
    assert judged({**whole, HEAD: (note + later).encode()}, everything)[0] == "verified"
    stranger = cosigned("kohi", "hub", other_root(5), "-evil")
    assert judged({**whole, **stranger}, everything)[0] == "changed"


def test_what_a_witness_saw_of_a_log_that_is_not_here_is_said_to_be_compared_with_nothing(selected: Members) -> None:
    members = {name: data for name, data in selected.items()
               if not name.startswith(("logs/hub", "provenance/")) and not name.endswith(".consistency")}
    verdict = verify(example.sealed(members, example.key("hub"), RUN), ROOT)
    assert verdict.code == 0 and any("compared with nothing" in line for line in verdict.details)


# --- misbehaviour ------------------------------------------------------------------------------------------------

def fork(party: str, size: int = 5, origin: str = ORIGIN) -> bytes:
    """Two heads of one size that the party signed."""
    notes = [sign_checkpoint(Checkpoint(origin + party, size, root * 32), example.key(party)) for root in (b"a", b"b")]
    return canonical_bytes({"schema": "sekisho-misbehaviour/1", "kind": "fork", "origin": origin + party,
                            "evidence": [{"note": note} for note in notes]})


def withheld(party: str) -> bytes:
    """A message in which the party, the coordinator, shows no log."""
    header = canonical_bytes({"version": 2, "study": "food-quality", "run": "run-1", "sender": party, "parts": [],
                              "body": {"kind": "readies", "step": 1, "cohort": []}, "log": None})
    signature = example.key(party).sign(b"sekisho-message-v1\0" + header)
    said = b"SKM1" + len(header).to_bytes(4, "little") + header + signature
    return canonical_bytes({"schema": "sekisho-misbehaviour/1", "kind": "withheld", "origin": ORIGIN + party,
                            "evidence": [{"message": base64.b64encode(said).decode()}]})


def filed(proof: bytes) -> Members:
    return {f"misbehaviour/{digest_bytes(proof)[7:23]}.json": proof}


def test_a_proof_that_holds_leaves_the_verdict_and_says_whom_it_convicts(whole: Members, selected: Members) -> None:
    for members, scope in ((whole, {"kind": "all"}), (selected, RUN)):
        verdict = verify(example.sealed({**members, **filed(fork("hub"))}, example.key("kohi"), scope), ROOT)
        assert verdict.code == 0
        assert any("convicts hub of showing two histories of one length (fork)" in line for line in verdict.details)


def test_a_witness_who_saw_the_other_history_is_told_beside_the_proof(whole: Members) -> None:
    contradicted = {**whole, **cosigned("kohi", "hub", other_root(5)), **filed(fork("hub"))}
    verdict = verify(example.sealed(contradicted, example.key("kohi")), ROOT)
    assert verdict.code == 0
    assert any("has another history" in line and "hub is convicted above" in line for line in verdict.details)
    # neither a proof of something else, nor of another log of the same party, excuses a log that is not what was seen
    for other in (withheld("hub"), fork("hub", origin="sekisho.example/other-study/")):
        with_it = {**whole, **cosigned("kohi", "hub", other_root(5)), **filed(other)}
        assert judged(with_it, {"kind": "all"})[0] == "changed"
    assert judged({**whole, **filed(withheld("hub"))}, {"kind": "all"})[0] == "verified"  # control: it holds
    # a proof against somebody else excuses nothing
    accused = {**whole, **cosigned("kohi", "hub", other_root(5)), **filed(fork("wanko"))}
    assert judged(accused, {"kind": "all"})[0] == "changed"


def test_a_proof_that_does_not_hold_is_refused(whole: Members) -> None:
    proof = json.loads(fork("hub"))
    one, other = proof["evidence"]
    for forged in (
        {**proof, "evidence": [one, one]},                                   # no contradiction
        {**proof, "evidence": [one]},
        {**proof, "evidence": [one, other, other]},
        {**proof, "origin": ORIGIN + "kohi"},                                # somebody else's heads
        {**proof, "origin": "sekisho.example/other/hub"},
        {**proof, "origin": ORIGIN + "counsel-1"},                           # nobody who has a log
        {**proof, "kind": "rollback"},
        {**proof, "kind": "theft"},
        {**proof, "schema": "sekisho-misbehaviour/2"},
        {**proof, "why": "x"},
        {**proof, "evidence": [one, {"note": other["note"].replace("\n5\n", "\n6\n")}]},
        {**proof, "evidence": [one, {**other, "message": ""}]},
    ):  # fmt: skip
        assert judged({**whole, **filed(canonical_bytes(forged))}, {"kind": "all"})[0] == "changed", forged
    assert judged({**whole, "misbehaviour/0123456789abcdef.json": fork("hub")}, {"kind": "all"})[0] == "changed"
    assert judged({**whole, **filed(fork("hub") + b"\n")}, {"kind": "all"})[0] == "changed"
