"""A lineage: each edge is held against what is there; one changed byte breaks those that rest on it and no other."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.governance.canonical import digest_bytes
from sekisho.governance.errors import BadDocumentError
from sekisho.governance.language import Catalogue
from sekisho.governance.log.copy import LogCopy
from sekisho.governance.log.entries import Entry
from sekisho.governance.provenance.drawing import MARKS, as_text
from sekisho.governance.provenance.lineage import Edge, Kind, Lineage, Verdict
from sekisho.governance.provenance.material import Here, Material
from sekisho.governance.provenance.release import Condition, ReleaseRecord, read_record, release_statement
from sekisho.governance.provenance.revocation import MAX_REVOKED, list_state, next_list
from sekisho.governance.provenance.tracing import ROOTS, opened, trace
from sekisho.governance.signing.approvals import approval_statement
from sekisho.governance.signing.envelope import (
    PREDICATES,
    Statement,
    Subject,
    read_envelopes,
    sign_statement,
    write_envelopes,
)
from sekisho.governance.signing.roster import Roster


def load_example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("evidence_example", Path(__file__).with_name("evidence_example.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


example = load_example()
ADAPTER, HEAD = b"the trained numbers", b"another form of them"
RUN = example.Run("run-1", "lora", digest_bytes(ADAPTER), example.SUMS, {"head.safetensors": digest_bytes(HEAD)})
WEIGHTS = "sha256:53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
CODE = example.SOFTWARE.code


def material(folder: Path) -> Material:
    """A released adapter with everything that its lineage can be held against."""
    first = example.members(folder / "first", runs=[RUN])
    provenance = first[RUN.member]
    files = {"adapter.safetensors": ADAPTER, "head.safetensors": HEAD, "provenance.dsse.json": provenance,
             "LICENCE": b"for participants\n"}
    record = ReleaseRecord(
        run=RUN.name, adapter=RUN.adapter, provenance=digest_bytes(provenance), base_model=WEIGHTS,
        base_licence="Apache-2.0", grant="G2", recipients=("participants",), parties=("kohi",), permitted=(),
        licence="Apache-2.0", files={name: digest_bytes(data) for name, data in files.items()},
        issued="2026-11-23T10:03:00+00:00", expires="2027-11-23T10:03:00+00:00",
        conditions=(Condition(name="release-grant", required=True, outcome="passed"),))
    published = Entry(type="release.published", party="kohi", at=example.NOW,
                      refs={"run": RUN.name, "release": record.digest}, data={})
    members = example.members(folder / "second", runs=[RUN], also=[published])
    assert members[RUN.member] == provenance
    released = {**files, "release.json": record.to_bytes()}
    signed = sign_statement(release_statement(record, released, {}), [example.key("kohi")])
    released["release.dsse.json"] = write_envelopes([signed])
    logs = {party: members[f"logs/{party}.jsonl"] for party in (*example.SITES, example.HUB)}
    papers = {name: data for name, data in members.items() if not name.startswith(("logs/", "provenance/"))}
    papers["revocations/list.dsse.json"] = revoking(papers["roster.yaml"])
    copies = {party: copied(data, members[f"logs/{party}.checkpoint"]) for party, data in logs.items()}
    return Material(released, papers, copies, Here(CODE, WEIGHTS, example.NOW), digest_bytes(papers["roster.yaml"]))


def revoking(roster_yaml: bytes, adapter: str = "") -> bytes:
    """The first list of revocations, which names ``adapter`` or nothing."""
    roster = Roster.parse(roster_yaml, "roster.yaml")
    state = list_state(roster, None, now=example.NOW)
    reason = "QUALITY" if adapter else ""
    listed = next_list(roster, state, issued=example.NOW, adapter=adapter, reason=reason)
    return write_envelopes([sign_statement(listed, [example.key("kohi")])])


def copied(entries: bytes, note: bytes) -> LogCopy:
    return LogCopy(entries.removesuffix(b"\n").split(b"\n"), note.decode("utf-8", "replace"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return material(tmp_path_factory.mktemp("lineage"))


def files_of(material: Material) -> dict[str, bytes]:
    """Every file that anything is held against, by the names in ``rests_on``."""
    logs = {f"logs/{party}.jsonl": b"\n".join(copy.entries) for party, copy in material.logs.items()}
    notes = {f"logs/{party}.checkpoint": copy.note.encode() for party, copy in material.logs.items()}
    return {**material.released, **material.papers, **logs, **notes}


def with_file(material: Material, name: str, data: bytes) -> Material:
    if name in material.released:
        return replace(material, released={**material.released, name: data})
    if not name.startswith("logs/"):
        return replace(material, papers={**material.papers, name: data})
    party, _, end = name.removeprefix("logs/").rpartition(".")
    copy = material.logs[party]
    note = data if end == "checkpoint" else copy.note.encode()
    changed = copied(data if end == "jsonl" else b"\n".join(copy.entries), note)
    return replace(material, logs={**material.logs, party: changed})


def without(material: Material, name: str) -> Material:
    return replace(material, papers={key: value for key, value in material.papers.items() if key != name},
                   released={key: value for key, value in material.released.items() if key != name})


def by_id(lineage: Lineage) -> Mapping[str, Edge]:
    return {edge.id: edge for edge in lineage.edges}


def test_every_edge_of_what_was_released_as_it_was_signed_is_verified(whole: Material) -> None:
    lineage = trace(whole)
    assert lineage.count(Verdict.VERIFIED) == len(lineage.edges) == 6 + 3 * 3 + 4 + 5
    assert len({edge.id for edge in lineage.edges}) == len(lineage.edges)
    assert {node.id for node in lineage.nodes} == {end for edge in lineage.edges for end in (edge.source, edge.target)}
    # nothing that lies there is beside the point: each file decides at least one edge
    assert set(files_of(whole)) == {file for edge in lineage.edges for file in edge.rests_on}


@pytest.fixture(scope="module")
def intact(whole: Material) -> Mapping[str, Edge]:
    return by_id(trace(whole))


def holds_exactly(before: Mapping[str, Edge], name: str, changed: Material) -> None:
    """All that rests on ``name`` is broken, and nothing else has another verdict."""
    after = by_id(trace(changed))
    if name in ROOTS:  # everything hangs on these: what was signed is not even read
        found = {edge.id: edge.verdict for edge in after.values()}
        assert Verdict.BROKEN in (found["roster -> run"], found["signer -> run"])
        assert found["run -> adapter"] is Verdict.BROKEN
        assert Verdict.VERIFIED not in found.values()
        return
    assert set(before) == set(after)
    for edge_id, edge in before.items():
        expected = Verdict.BROKEN if name in edge.rests_on else edge.verdict
        assert after[edge_id].verdict is expected, (name, edge_id, after[edge_id].code)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_one_changed_byte_breaks_the_edges_that_rest_on_its_file_and_no_other(
    whole: Material, intact: Mapping[str, Edge], data: st.DataObject
) -> None:
    files = files_of(whole)
    name = data.draw(st.sampled_from(sorted(files)))
    place = data.draw(st.integers(0, len(files[name]) - 1))
    spoiled = bytearray(files[name])
    spoiled[place] ^= 1 << data.draw(st.integers(0, 7))
    holds_exactly(intact, name, with_file(whole, name, bytes(spoiled)))


def test_every_file_has_an_edge_that_its_first_and_its_last_byte_decide(
    whole: Material, intact: Mapping[str, Edge]
) -> None:
    for name, data in files_of(whole).items():
        for place in (0, len(data) - 1):
            spoiled = bytearray(data)
            spoiled[place] ^= 1
            holds_exactly(intact, name, with_file(whole, name, bytes(spoiled)))


def test_a_missing_paper_breaks_its_edge_and_a_missing_log_leaves_it_unchecked(whole: Material) -> None:
    for name in ("study.yaml", "study.yaml.dsse.json", "policies/wanko.yaml", "head.safetensors", "LICENCE"):
        broken = trace(without(whole, name)).broken
        assert [name in edge.rests_on for edge in broken] == [True], name
    logs = {party: copy for party, copy in whole.logs.items() if party != "wanko"}
    lineage = trace(replace(whole, logs=logs))
    assert not lineage.broken
    unchecked = [edge.source for edge in lineage.edges if edge.verdict is Verdict.UNCHECKED]
    assert unchecked == ["dataset:run-1/wanko", "consent:run-1/wanko", "log:run-1/wanko"]


def resigned(whole: Material, old: bytes, new: bytes, signer: str = "kohi") -> Material:
    """The statement with other words, signed again."""
    (envelope,) = read_envelopes(whole.released["provenance.dsse.json"], name="x")
    assert old in envelope.payload
    statement = Statement.from_bytes(envelope.payload.replace(old, new))
    signed = write_envelopes([sign_statement(statement, [example.key(signer)])])
    return with_file(whole, "provenance.dsse.json", signed)


@pytest.mark.parametrize(("old", "new", "edge", "code"), [
    (example.DATASET.encode(), b"hmac-sha256:" + b"3" * 64, "dataset:run-1/kohi -> run:run-1", "NOT_LOGGED"),
    (b"c2" * 32, b"c3" * 32, "consent:run-1/okashi -> run:run-1", "NOT_LOGGED"),
    (example.SUMS[1].encode(), b"sha256:" + b"7" * 64, "log:run-1/hub -> run:run-1", "NOT_LOGGED"),
    (digest_bytes(HEAD)[7:].encode(), b"7" * 64, "run:run-1 -> file:run-1/head.safetensors", "DIFFERS"),
    (b"all-MiniLM-L6-v2\",\"record", b"all-MiniLM-L6-v3\",\"record", "log:run-1/kohi -> run:run-1", "NOT_LOGGED"),
])
def test_a_site_that_signs_something_else_is_contradicted_by_logs_and_files(
    whole: Material, old: bytes, new: bytes, edge: str, code: str
) -> None:
    found = by_id(trace(resigned(whole, old, new)))[edge]
    assert (found.verdict, found.code) == (Verdict.BROKEN, code)


def test_other_signatures_than_those_that_it_was_made_under_are_not_those(whole: Material) -> None:
    """Valid approvals of the same bytes, given another time: somebody has exchanged the file."""
    roster, paper = Roster.parse(whole.papers["roster.yaml"], "roster.yaml"), whole.papers["study.yaml"]
    later = example.NOW + timedelta(hours=1)
    fresh = write_envelopes([
        sign_statement(
            approval_statement(roster, role=role, subjects=[Subject("study.yaml", digest_bytes(paper))],
                               predicate_type=PREDICATES["study-approval"], issued=later, expires=roster.expires),
            [example.key(person)])
        for role, person in example.BOTH.items()
    ])
    found = by_id(trace(with_file(whole, "study.yaml.dsse.json", fresh)))["study -> run:run-1"]
    assert found.code == "SIGNATURES_CHANGED"
    more = with_file(whole, "study.yaml.dsse.json", whole.papers["study.yaml.dsse.json"] + fresh)
    assert not trace(more).broken  # people may sign again; what was there is still there


def test_a_log_with_an_entry_less_or_more_is_not_the_one_that_was_signed(whole: Material) -> None:
    log = whole.logs["wanko"]
    for entries in (log.entries[:-1], log.entries[1:], (*log.entries, log.entries[-1])):
        lineage = trace(replace(whole, logs={**whole.logs, "wanko": replace(log, entries=entries)}))
        assert {edge.code for edge in lineage.broken} == {"LOG_BROKEN"}
        assert len(lineage.broken) == 3


@pytest.mark.parametrize("signer", ["stranger", "hub", "counsel-1"])
def test_nothing_of_a_statement_counts_that_no_site_signed(whole: Material, signer: str) -> None:
    forged = resigned(whole, b'"method":"lora"', b'"method":"lora"', signer)
    assert [edge.code for edge in trace(forged).broken] == ["NOT_SIGNED", "RESTS_ON_BROKEN"]
    with pytest.raises(BadDocumentError) as caught:
        opened(forged)
    assert caught.value.code == "LINEAGE_UNSIGNED"
    assert opened(whole).predicate["run"] == "run-1"


def test_a_release_that_another_site_signed_for_is_none(whole: Material) -> None:
    """It took part and signs the very record that was logged, with a licence of its own beside it."""
    files = {name: data for name, data in whole.released.items() if name != "release.dsse.json"}
    files["LICENCE"] = b"for everybody\n"
    record = read_record(files["release.json"])
    for signer, codes in (("wanko", ("NOT_SIGNED", "RESTS_ON_BROKEN")), ("kohi", ("DIFFERS", "HOLDS"))):
        signed = write_envelopes([sign_statement(release_statement(record, files, {}), [example.key(signer)])])
        found = by_id(trace(replace(whole, released={**files, "release.dsse.json": signed})))
        edges = ("adapter:run-1 -> release:run-1", "release:run-1 -> file:run-1/LICENCE")
        assert tuple(found[edge].code for edge in edges) == codes


def test_another_roster_is_not_the_root_that_was_given(whole: Material) -> None:
    (edge,) = [edge for edge in trace(replace(whole, root=None)).edges if edge.verdict is not Verdict.VERIFIED]
    assert (edge.source, edge.verdict, edge.code) == ("roster", Verdict.UNCHECKED, "ROOT_NOT_GIVEN")
    found = trace(replace(whole, root="sha256:" + "1" * 64)).broken
    assert [edge.code for edge in found] == ["ROOT_DIFFERS", "RESTS_ON_BROKEN", "RESTS_ON_BROKEN"]


def test_other_weights_break_their_edge_and_another_program_does_not(whole: Material) -> None:
    found = trace(replace(whole, here=Here("sha256:" + "2" * 64, "sha256:" + "2" * 64)))
    assert [(edge.source, edge.code) for edge in found.broken] == [("weights", "DIFFERS")]
    assert by_id(found)["software -> run:run-1"].code == "OTHER_VERSION_HERE"
    nowhere = trace(replace(whole, here=Here()))
    assert not nowhere.broken and by_id(nowhere)["weights -> run:run-1"].verdict is Verdict.UNCHECKED


def test_a_revoked_adapter_breaks_its_edge_and_without_a_list_nobody_can_tell(whole: Material) -> None:
    name = "revocations/list.dsse.json"
    revoked = with_file(whole, name, revoking(whole.papers["roster.yaml"], RUN.adapter))
    assert [(edge.target, edge.code) for edge in trace(revoked).broken] == [("revocation:run-1", "REVOKED")]
    nobody = trace(without(whole, name))
    assert not nobody.broken and nobody.count(Verdict.UNCHECKED) == 1
    another = with_file(whole, name, revoking(whole.papers["roster.yaml"], "sha256:" + "9" * 64))
    assert not trace(another).broken


def test_a_list_that_is_full_is_not_written_over(whole: Material) -> None:
    """One that nobody can read would take every revocation before it away."""
    roster = Roster.parse(whole.papers["roster.yaml"], "roster.yaml")
    known = {f"sha256:{number:064x}" for number in range(MAX_REVOKED)}
    state = list_state(roster, None, now=example.NOW)
    next_list(roster, state, issued=example.NOW, known=known)
    with pytest.raises(BadDocumentError) as caught:
        next_list(roster, state, issued=example.NOW, known=known, adapter=RUN.adapter, reason="QUALITY")
    assert caught.value.code == "REVOCATION_LIST_FULL"


def test_a_remedy_that_put_another_adapter_in_its_place_is_downstream_of_it(tmp_path: Path, whole: Material) -> None:
    settled = Entry(type="remedy.done", party="kohi", at=example.NOW, data={"outcome": "retrained"},
                    refs={"run": "run-1", "adapter": RUN.adapter, "successor": "sha256:" + "5" * 64})
    members = example.members(tmp_path, runs=[RUN], also=[settled])
    logs = {**whole.logs, "kohi": copied(members["logs/kohi.jsonl"], members["logs/kohi.checkpoint"])}
    lineage = trace(replace(whole, logs=logs))
    (successor,) = (node for node in lineage.downstream("adapter:run-1") if node.kind is Kind.SUCCESSOR)
    assert successor.digest == "sha256:" + "5" * 64


def test_a_file_that_nobody_signed_for_is_said_to_be_one(whole: Material) -> None:
    lineage = trace(replace(whole, released={**whole.released, "notes.txt": b"trust me"}))
    (odd,) = (edge for edge in lineage.edges if edge.verdict is Verdict.UNCHECKED)
    assert (odd.target, odd.code) == ("file:run-1/notes.txt", "NOBODY_SIGNED")


def test_upstream_and_downstream_of_the_adapter(whole: Material) -> None:
    lineage = trace(whole)
    assert {node.id for node in lineage.upstream("adapter:run-1")} >= {"study", "policy:wanko", "run:run-1", "roster"}
    assert [node.id for node in lineage.downstream("dataset:run-1/wanko")] == [
        "run:run-1", "adapter:run-1", "file:run-1/head.safetensors", "release:run-1", "file:run-1/LICENCE",
        "revocation:run-1"]
    assert (lineage | lineage) == lineage


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_text_names_every_broken_edge_and_why(whole: Material, language: str) -> None:
    texts = Catalogue.load("sekisho.governance", "texts")
    spoiled = with_file(whole, "policies/wanko.yaml", b"schema: another\n")
    lines = as_text(trace(spoiled), texts, language)
    (broken,) = (line for line in lines if line.startswith(f"  [{MARKS[Verdict.BROKEN]}]"))
    assert "wanko" in broken and "DIFFERS" in broken
    assert sum(line.startswith("  [") for line in lines) == len(trace(whole).edges)
