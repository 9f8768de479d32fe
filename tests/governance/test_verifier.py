"""The stand-alone verifier: any changed byte, and any dishonest exporter, gets another verdict; never a traceback."""

from __future__ import annotations

import ast
import importlib.util
import json
import random
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from sekisho.governance.canonical import canonical_bytes, digest_bytes
from sekisho.governance.evidence import verifier
from sekisho.governance.evidence.verifier import verify
from sekisho.governance.log.entries import Entry
from sekisho.governance.log.merkle import leaf_hash, root_of
from sekisho.governance.signing.approvals import Shown
from sekisho.governance.signing.envelope import Envelope, Statement, read_envelopes, sign_statement, write_envelopes
from sekisho.governance.signing.roster import Roster, roster_statement


def load_example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("evidence_example", Path(__file__).with_name("evidence_example.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


example = load_example()
ROOT = digest_bytes(example.roster_yaml())
BOTH_RUNS = (example.PROBE, example.LORA)
FIRST, SECOND = example.PROBE.member, example.LORA.member
SAMPLES = 40           # positions in each member, and as many in the archive's own structure


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return example.members(tmp_path_factory.mktemp("federation"))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return example.members(tmp_path_factory.mktemp("two"), runs=BOTH_RUNS)


@pytest.fixture(scope="module", params=[0, 1, 2], ids=lambda count: f"{count} statements")
def each(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Members with no provenance statement, with one, and with two; what holds for a bundle holds for each."""
    return example.members(tmp_path_factory.mktemp("each"), runs=BOTH_RUNS[:request.param])


@pytest.fixture(scope="module")
def bundle(each: dict[str, bytes]) -> bytes:
    return example.sealed(each, example.key("kohi"))


def spans(data: bytes) -> Iterator[tuple[str, int, int]]:
    """Where each member's bytes lie, and the archive's own bytes between them."""
    end = 0
    for name, body in verifier.read_container(data).items():
        start = data.index(body, end + 30)
        yield f"header of {name}", end, start
        yield name, start, start + len(body)
        end = start + len(body)
    yield "directory", end, len(data)


# --- verdicts ----------------------------------------------------------------------------------------------------

def test_verified_only_with_the_right_fingerprint(bundle: bytes) -> None:
    assert verify(bundle, ROOT)[:2] == (0, "verified")
    assert verify(bundle)[:2] == (1, "consistent")
    assert verify(bundle, "sha256:" + "0" * 64)[:2] == (4, "other-root")


def test_every_verdict_is_one_sentence_in_both_languages(bundle: bytes) -> None:
    verdict = verify(bundle)
    assert "signer unknown" in verdict.sentence and "署名者は不明" in verdict.sentence_ja
    assert {code for code, _, _ in verifier.SENTENCES.values()} == {0, 1, 4, 5, 6}
    for _, english, japanese in verifier.SENTENCES.values():
        assert english.count(". ") == 0 and english.endswith(".") and japanese.endswith("。")


def test_details_say_who_approved_what_and_where_each_adapter_was_logged(two: dict[str, bytes]) -> None:
    text = "\n".join(verify(example.sealed(two, example.key("kohi")), ROOT).details)
    assert "study.yaml: approved by admin-1 (it), counsel-1 (legal)" in text
    assert "log of hub: 8 entries" in text
    assert f"adapter {example.ADAPTER}, run run-1, signed by kohi; logged: kohi entry 7" in text
    assert f"adapter {example.LORA.adapter}, run run-2, signed by kohi; logged: kohi entry 15" in text
    assert text.count("released with it in run") == len(example.LORA.files)
    for name, digest in example.LORA.files.items():
        assert f"released with it in run run-2: {name}, {digest}" in text
    assert "none" not in text and "not in this bundle" not in text


@pytest.mark.parametrize("root", ["", "sha256:", "SHA256:" + "0" * 64, "sha256:" + "0" * 63, ROOT.upper()])
def test_a_malformed_fingerprint_is_unusable_not_unknown(bundle: bytes, root: str) -> None:
    assert verify(bundle, root).code == 6


@pytest.mark.parametrize("data", [b"", b"PK", b"hello", b"\x00" * 100, b"PK\x05\x06" + bytes(18)])
def test_what_is_no_bundle_is_unusable(data: bytes) -> None:
    assert verify(data, ROOT).code == 6


# --- changed bytes -----------------------------------------------------------------------------------------------

def test_any_changed_byte_of_any_member_or_of_the_archive_itself_is_caught(bundle: bytes) -> None:
    rng = random.Random(8)
    tried = 0
    for name, start, end in spans(bundle):
        positions = range(start, end) if end - start <= SAMPLES else rng.sample(range(start, end), SAMPLES)
        for position in {start, end - 1, *positions}:
            changed = bytearray(bundle)
            changed[position] ^= rng.choice((0x01, 0x20, 0x80, rng.randrange(1, 256)))
            assert verify(bytes(changed), ROOT).code == 5, (name, position)
            assert verify(bytes(changed)).code == 5, (name, position)
            tried += 1
    assert tried > 1500


def test_any_changed_byte_is_caught_even_when_the_archive_is_rebuilt_around_it(each: dict[str, bytes]) -> None:
    whole = verifier.read_container(example.sealed(each, example.key("kohi")))
    rng = random.Random(9)
    for name, data in whole.items():
        for position in {0, len(data) - 1, *rng.sample(range(len(data)), min(len(data), SAMPLES))}:
            body = bytearray(data)
            body[position] ^= rng.randrange(1, 256)
            assert verify(verifier.write_container({**whole, name: bytes(body)})).code in (5, 6), (name, position)


def test_every_byte_of_the_manifest_and_its_signature_is_bound(members: dict[str, bytes]) -> None:
    whole = verifier.read_container(example.sealed(members, example.key("kohi")))
    for name in (verifier.MANIFEST, verifier.MANIFEST_SIGNATURE):
        for position in range(len(whole[name])):
            for flip in (0x01, 0x20):
                body = bytearray(whole[name])
                body[position] ^= flip
                verdict = verify(verifier.write_container({**whole, name: bytes(body)}), ROOT)
                assert verdict.code in (5, 6), (name, position)


def test_dropped_added_swapped_truncated_and_appended_are_caught(bundle: bytes) -> None:
    whole = verifier.read_container(bundle)
    for name in whole:
        assert verify(verifier.write_container({n: d for n, d in whole.items() if n != name})).code == 5, name
    assert verify(verifier.write_container({**whole, "extra.txt": b""})).code == 5
    swapped = {**whole, "logs/kohi.jsonl": whole["logs/wanko.jsonl"], "logs/wanko.jsonl": whole["logs/kohi.jsonl"]}
    assert verify(verifier.write_container(swapped)).code == 5
    for cut in (1, 22, 100, len(bundle) // 2, len(bundle) - 4):
        assert verify(bundle[:-cut]).code == 5
    for more in (b"\x00", bundle, b"PK\x05\x06" + bytes(18)):
        assert verify(bundle + more).code == 5
    assert verify(b"#!/bin/sh\n" + bundle).code == 5


def test_the_same_members_packed_by_another_tool_are_not_the_bundle(bundle: bytes, tmp_path: Path) -> None:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(tmp_path / "again.zip", "w", method) as archive:
            for name, data in verifier.read_container(bundle).items():
                archive.writestr(name, data)
        assert verify((tmp_path / "again.zip").read_bytes()).code == 5


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=300), head=st.booleans(), tail=st.booleans())
def test_noise_never_raises(data: bytes, head: bool, tail: bool) -> None:
    noise = (b"PK\x03\x04" if head else b"") + data + (b"PK\x05\x06" + bytes(18) if tail else b"")
    assert verify(noise, ROOT).code in (5, 6)


# --- dishonest exporters and signers -----------------------------------------------------------------------------

@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_bundle_resigned_wholesale_under_another_roster_is_consistent_but_not_yours(
    tmp_path: Path, count: int
) -> None:
    members = example.members(tmp_path, world="-evil", runs=BOTH_RUNS[:count])
    forged = example.sealed(members, example.key("kohi", "-evil"))
    assert verify(forged).code == 1
    assert verify(forged, ROOT)[:2] == (4, "other-root")


def test_the_true_roster_file_does_not_lend_its_fingerprint_to_other_keys(members: dict[str, bytes]) -> None:
    # The attack on a verifier that takes keys from a copy of the roster in another form.
    evil = Roster.parse(example.roster_yaml("-evil"), "roster.yaml")
    yaml = members["roster.yaml"]
    statement = roster_statement(Roster.parse(yaml, "roster.yaml"), file="roster.yaml")
    signed = sign_statement(statement, [example.key(site, "-evil") for site in example.SITES])
    forged = {**members, "roster.json": json.dumps(verifier.read_yaml(example.roster_yaml("-evil").decode())).encode(),
              "roster.yaml.dsse.json": signed.to_bytes()}
    assert evil.fingerprint != ROOT
    assert verify(example.sealed(forged, example.key("kohi", "-evil")), ROOT).code == 5


def test_a_manifest_signed_by_a_person_or_a_stranger_does_not_count(members: dict[str, bytes]) -> None:
    assert verify(example.sealed(members, example.key("hub"))).code == 1
    assert verify(example.sealed(members, example.key("counsel-1"))).code == 5
    assert verify(example.sealed(members, example.key("stranger"))).code == 5


def tampered(members: dict[str, bytes], **changes: bytes | None) -> verifier.Verdict:
    """The verdict on what a party of the roster makes of the members, signing the result properly."""
    whole = {**members, **{name: data for name, data in changes.items() if data is not None}}
    for name, data in changes.items():
        if data is None:
            del whole[name]
    return verify(example.sealed(whole, example.key("hub")), ROOT)


def lines(data: bytes) -> list[bytes]:
    return data.splitlines(keepends=True)


def test_an_exporter_cannot_drop_change_repeat_or_reorder_an_entry_of_anothers_log(members: dict[str, bytes]) -> None:
    log = lines(members["logs/kohi.jsonl"])
    for forged in (log[:-1], log[1:], [*log, log[0]], [log[1], log[0], *log[2:]], [],
                   [log[0].replace(b"permit", b"refuse"), *log[1:]]):
        verdict = tampered(members, **{"logs/kohi.jsonl": b"".join(forged)})
        assert verdict.code == 5 and "kohi" in verdict.details[-1]
    assert tampered(members, **{"logs/kohi.jsonl": members["logs/kohi.jsonl"][:-1]}).code == 5


def test_a_log_and_its_head_cannot_be_taken_from_another_party_or_study(
    members: dict[str, bytes], tmp_path: Path
) -> None:
    whole = {**members, "logs/kohi.jsonl": members["logs/wanko.jsonl"],
             "logs/kohi.checkpoint": members["logs/wanko.checkpoint"]}
    assert verify(example.sealed(whole, example.key("hub"))).code == 5
    other = example.members(tmp_path, world="-evil")
    assert tampered(members, **{"logs/kohi.checkpoint": other["logs/kohi.checkpoint"]}).code == 5


def test_a_checkpoint_without_the_partys_signature_does_not_count(members: dict[str, bytes]) -> None:
    note = members["logs/kohi.checkpoint"].decode()
    text, _, signature = note.rpartition("\n\n")
    for forged in (text + "\n\n", text + "\n", note.replace("kohi", "okashi"), note + signature, note + "junk\n",
                   note.replace("\n8\n", "\n08\n"), text + "\nextension\n\n" + signature):
        verdict = tampered(members, **{"logs/kohi.checkpoint": forged.encode()})
        if forged == note + signature:      # a second signature line is allowed: cosignatures are to come
            assert verdict.code == 0
        else:
            assert verdict.code == 5, forged


@pytest.mark.parametrize("name", ["study.yaml", "policies/kohi.yaml", "base-model.yaml"])
def test_a_paper_cannot_be_exchanged_under_its_approvals(members: dict[str, bytes], name: str) -> None:
    assert tampered(members, **{name: members[name] + b"# softer\n"}).code == 5
    assert tampered(members, **{name + ".dsse.json": b""}).code == 5
    assert tampered(members, **{name + ".dsse.json": None}).code == 5


def approvals(members: dict[str, bytes], **words: object) -> bytes:
    roster = Roster.parse(members["roster.yaml"], "roster.yaml")
    return example.approved(roster, members["study.yaml"], words.pop("kind", "study-approval"),
                            words.pop("roles", example.BOTH), **words)


def test_the_study_needs_legal_and_it_by_people_who_hold_the_roles(members: dict[str, bytes]) -> None:
    for forged in (
        approvals(members, roles={"legal": "counsel-1"}),
        approvals(members, roles={"legal": "admin-1", "it": "admin-1"}),
        approvals(members, roles={"legal": "counsel-1", "it": "analyst-1"}),
        approvals(members, roles={"legal": "counsel-1", "it": "kohi"}),
        approvals(members, kind="policy-approval"),
        approvals(members, decision="reject"),
        approvals(members, world="-evil"),
    ):
        assert tampered(members, **{"study.yaml.dsse.json": forged}).code == 5
    assert tampered(members, **{"study.yaml.dsse.json": approvals(members)}).code == 0


def test_the_signers_of_a_policy_must_have_seen_the_same(members: dict[str, bytes]) -> None:
    roster = Roster.parse(members["roster.yaml"], "roster.yaml")
    name = "policies/kohi.yaml"

    def signed(shown: Shown | None, **roles: str) -> bytes:
        return example.approved(roster, members[name], "policy-approval", roles or example.BOTH, shown=shown)

    other = replace(example.SEEN, ja="sha256:" + "0" * 64)
    compared = replace(example.SEEN, comparison="sha256:" + "c" * 64)
    legal, it = signed(example.SEEN, legal="counsel-1"), signed(other, it="admin-1")
    for forged in (
        legal + it,                                            # two people, two renderings
        signed(None),                                          # nothing bound
        signed(replace(example.SEEN, en="the same")),          # no digest
        signed(replace(example.SEEN, renderer="")),
    ):  # fmt: skip
        assert tampered(members, **{name + ".dsse.json": forged}).code == 5
    for honest in (legal + it + signed(other, legal="counsel-1"), signed(compared)):
        # without the run, which names the signatures that it was made under
        assert tampered(members, **{name + ".dsse.json": honest, FIRST: None}).code == 0
    assert tampered(members, **{"study.yaml.dsse.json": approvals(members, shown=example.SEEN)}).code == 5
    revoked = example.approved(roster, members[name], "policy-approval", {"it": "admin-1"}, decision="revoke")
    assert tampered(members, **{name + ".dsse.json": signed(example.SEEN) + revoked}).code == 5  # needs nothing shown


def test_a_later_no_outweighs_an_approval(members: dict[str, bytes]) -> None:
    signed = members["study.yaml.dsse.json"] + approvals(members, roles={"it": "admin-1"}, decision="revoke")
    assert tampered(members, **{"study.yaml.dsse.json": signed}).code == 5


def test_an_unsigned_statement_cannot_lend_a_paper_another_digest(members: dict[str, bytes]) -> None:
    # A stranger's statement names the study together with another digest; the run claims to have followed the other.
    roster = Roster.parse(members["roster.yaml"], "roster.yaml")
    other = digest_bytes(b"another study")
    statement, = [json.loads(one.payload) for one in read_envelopes(members["study.yaml.dsse.json"], name="x")][:1]
    statement["subject"].append({"name": "other", "digest": {"sha256": other.removeprefix("sha256:")}})
    lent = sign_statement(Statement.from_bytes(canonical_bytes(statement)), [example.key("stranger")])
    policies = {site: members[f"policies/{site}.yaml"] for site in example.SITES}
    run = sign_statement(example.statement(roster, b"another study", policies), [example.key("kohi")])
    verdict = tampered(members, **{"study.yaml.dsse.json": members["study.yaml.dsse.json"] + lent.to_bytes(),
                                   FIRST: write_envelopes([run])})
    assert verdict.code == 5 and "another study" in verdict.details[-1]


def test_the_roster_needs_every_site(members: dict[str, bytes]) -> None:
    roster = Roster.parse(members["roster.yaml"], "roster.yaml")
    statement = roster_statement(roster, file="roster.yaml")
    for signers in (["kohi", "wanko"], ["hub"], ["kohi", "wanko", "counsel-1"]):
        signed = sign_statement(statement, [example.key(name) for name in signers]).to_bytes()
        assert tampered(members, **{"roster.yaml.dsse.json": signed}).code == 5
    one_each = b"".join(sign_statement(statement, [example.key(site)]).to_bytes() for site in example.SITES)
    # without the run, which names the signatures that it was made under
    assert tampered(members, **{"roster.yaml.dsse.json": one_each, FIRST: None}).code == 0


def provenance(members: dict[str, bytes], old: bytes, new: bytes, signer: str = "kohi", name: str = FIRST) -> bytes:
    envelope, = read_envelopes(members[name], name="x")
    assert old in envelope.payload
    statement = Statement.from_bytes(envelope.payload.replace(old, new))
    return write_envelopes([sign_statement(statement, [example.key(signer)])])


@pytest.mark.parametrize(("old", "new", "about"), [
    (b"ad" * 32, b"ae" * 32, "no log mentions the adapter"),
    (example.SUMS[1][7:].encode(), b"7" * 64, "no log mentions the sum of step 2"),
    (ROOT.encode(), b"sha256:" + b"1" * 64, "names another roster"),
    (b'"id":"wanko"', b'"id":"okashi"', "not in the bundle"),
    (example.DATASET.encode(), b"hmac-sha256:" + b"3" * 64, "log of kohi does not mention, in run run-1, the dataset"),
    (b"c2" * 32, b"c3" * 32, "the log of kohi does not mention, in run run-1, the snapshot"),
    (b'"plan":{"schema":"plan","steps":4}', b'"plan":{"schema":"plan","steps":5}', "shows another plan"),
    (b'"study.yaml":["sha256:', b'"study.yaml":["sha256:' + b"0" * 64 + b'","sha256:', "signatures on study.yaml"),
    (b'"validations":[]', b'"validations":[{"after_step":3,"sum":"sha256:' + b"5" * 64 + b'"}]',
     "no log mentions the counts after step 3"),
    (b'"outcome":"completed","step":3,"sum":"' + example.SUMS[2].encode(),
     b'"outcome":"rolled-back","step":3,"sum":"sha256:' + b"7" * 64, "no log mentions the sum of step 3"),
])
@pytest.mark.parametrize("count", [1, 2])
def test_a_provenance_statement_is_held_against_papers_and_logs(
    members: dict[str, bytes], two: dict[str, bytes], count: int, old: bytes, new: bytes, about: str
) -> None:
    whole = members if count == 1 else two
    verdict = tampered(whole, **{FIRST: provenance(whole, old, new)})
    assert verdict.code == 5 and about in verdict.details[-1]


@pytest.mark.parametrize("name", [FIRST, SECOND])
def test_a_provenance_statement_nobody_logged_or_no_party_signed_is_refused(
    two: dict[str, bytes], name: str
) -> None:
    later = provenance(two, b'"finished":"2026-11-23T10:03', b'"finished":"2026-11-23T10:04', name=name)
    assert "no log mentions the provenance statement" in tampered(two, **{name: later}).details[-1]
    for signer in ("counsel-1", "hub"):  # a person; the coordinator, which holds no adapter
        verdict = tampered(two, **{name: provenance(two, b"2.3.4", b"2.3.5", signer, name)})
        assert verdict.code == 5 and f"{name} is not signed by a site" in verdict.details[-1]
    assert tampered(two, **{name: provenance(two, b"2.3.4", b"2.3.5", "stranger", name)}).code == 5


@pytest.mark.parametrize("signer", ["hub", "kohi"])
@pytest.mark.parametrize("emptied", ["sites", "steps", "both"])
def test_a_run_that_nobody_took_part_in_is_no_run_whoever_says_so(
    members: dict[str, bytes], signer: str, emptied: str
) -> None:
    envelope, = read_envelopes(members[FIRST], name="x")
    told = json.loads(envelope.payload)
    for field in ("sites", "steps") if emptied == "both" else (emptied,):
        told["predicate"][field] = []
    forged = sign_statement(Statement.from_bytes(canonical_bytes(told)), [example.key(signer)])
    verdict = tampered(members, **{FIRST: write_envelopes([forged])})
    about = "not signed by a site" if signer == "hub" or emptied != "steps" else "tells of no step"
    assert verdict.code == 5 and about in verdict.details[-1]


def test_a_step_with_somebody_who_took_no_part_is_refused(members: dict[str, bytes]) -> None:
    envelope, = read_envelopes(members[FIRST], name="x")
    told = json.loads(envelope.payload)
    told["predicate"]["steps"][0]["cohort"].append("hub")
    forged = sign_statement(Statement.from_bytes(canonical_bytes(told)), [example.key("kohi")])
    verdict = tampered(members, **{FIRST: write_envelopes([forged])})
    assert verdict.code == 5 and "somebody who took no part" in verdict.details[-1]


def test_a_bundle_without_an_adapter_says_so_and_what_is_not_enclosed(members: dict[str, bytes]) -> None:
    verdict = tampered(members, **{FIRST: None})
    assert verdict.code == 0
    assert any("not in this bundle: the adapter that kohi released in run run-1" in line for line in verdict.details)
    assert any("no run that released" in line for line in verdict.details)


def test_a_bundle_with_one_of_two_adapters_says_which_is_not_enclosed(two: dict[str, bytes]) -> None:
    verdict = tampered(two, **{FIRST: None})
    text = "\n".join(verdict.details)
    assert verdict.code == 0 and "run run-2, signed by kohi" in text and "no run that released" not in text
    assert "not in this bundle: the adapter that kohi released in run run-1 (its entry 7)" in text
    assert "released in run run-2 (" not in text


@pytest.mark.parametrize("name", [
    "provenance.dsse.json", "provenance/run-1.json", "provenance/dsse.json", "provenance/x/run-1.dsse.json",
    "provenance/run-3.dsse.json", "provenance/Run-1.dsse.json", "provenance/run-1.dsse.json.dsse.json", "provenance",
])
def test_a_statement_whose_file_is_not_named_after_its_run_is_refused(two: dict[str, bytes], name: str) -> None:
    moved = tampered(two, **{FIRST: None, name: two[FIRST]})
    again = tampered(two, **{name: two[FIRST]})        # a second file for a run that has one
    for verdict in (moved, again):
        assert verdict.code == 5 and name in verdict.details[-1]


def test_statements_cannot_change_places_or_share_a_file(two: dict[str, bytes]) -> None:
    swapped = tampered(two, **{FIRST: two[SECOND], SECOND: two[FIRST]})
    assert swapped.code == 5 and "another run" in swapped.details[-1]
    for both in (two[FIRST] + two[SECOND], two[FIRST] * 2, b""):
        verdict = tampered(two, **{FIRST: both})
        assert verdict.code == 5 and "it must hold the one of its run" in verdict.details[-1]


def test_a_statement_of_a_run_that_no_log_knows_is_refused(two: dict[str, bytes]) -> None:
    invented = provenance(two, b'"run":"run-1"', b'"run":"run-9"')
    verdict = tampered(two, **{"provenance/run-9.dsse.json": invented})
    assert verdict.code == 5 and "no log knows run run-9" in verdict.details[-1]


@pytest.mark.parametrize(("mine", "others", "about"), [
    (example.LORA.adapter, example.PROBE.adapter, "the adapter of run run-2"),
    (example.LORA.sums[2], example.PROBE.sums[2], "the sum of step 3 of run run-2"),
])
def test_a_run_cannot_claim_the_adapter_or_a_sum_of_another_run(
    two: dict[str, bytes], mine: str, others: str, about: str
) -> None:
    claimed = provenance(two, mine[7:].encode(), others[7:].encode(), name=SECOND)
    verdict = tampered(two, **{SECOND: claimed})
    assert verdict.code == 5 and f"no log mentions {about}" in verdict.details[-1]


@pytest.mark.parametrize("kind", ["study", "policy"])
def test_a_run_cannot_lean_on_what_was_decided_in_another_run(tmp_path: Path, kind: str) -> None:
    # run-2 has its sums and its release in the logs; the offer, or a site's decision, stands under run-1 alone.
    verdict = tampered(example.members(
        tmp_path, runs=BOTH_RUNS, without=lambda entry: entry.refs["run"] == "run-2" and kind in entry.refs))
    about = {"study": "no log mentions the study of run run-2", "policy": "does not mention, in run run-2, the policy"}
    assert verdict.code == 5 and about[kind] in verdict.details[-1]


@pytest.mark.parametrize("kind", ["study", "policy"])
def test_a_paper_that_a_log_names_in_a_run_with_a_statement_must_be_in_the_bundle(tmp_path: Path, kind: str) -> None:
    def decided(run: str) -> Entry:
        return Entry(type="decision.permit", party="wanko", at=example.NOW,
                     refs={"run": run, kind: "sha256:" + "5" * 64})

    verdict = tampered(example.members(tmp_path / "run-2", runs=BOTH_RUNS, also=[decided("run-2")]))
    assert verdict.code == 5 and f"of the log of wanko mentions a {kind} that is not in" in verdict.details[-1]
    # papers change between runs: one that released nothing here may have had others
    assert tampered(example.members(tmp_path / "run-7", runs=BOTH_RUNS, also=[decided("run-7")])).code == 0


def test_a_log_that_names_another_statement_of_a_run_contradicts_it(tmp_path: Path) -> None:
    def released(run: str) -> Entry:
        return Entry(type="release.published", party="wanko", at=example.NOW,
                     refs={"run": run, "provenance": "sha256:" + "5" * 64})

    for run in ("run-1", "run-2"):
        verdict = tampered(example.members(tmp_path / run, runs=BOTH_RUNS, also=[released(run)]))
        assert verdict.code == 5 and "of the log of wanko names another provenance statement" in verdict.details[-1]
    # of a run without a statement here, the same entry is only said
    verdict = tampered(example.members(tmp_path / "run-7", runs=BOTH_RUNS, also=[released("run-7")]))
    assert verdict.code == 0 and any("wanko released in run run-7" in line for line in verdict.details)


ADAPTER = {"name": "adapter.safetensors", "digest": {"sha256": "1a" * 32}}
HEAD = {"name": "head.safetensors", "digest": {"sha256": "4e" * 32}}


@pytest.mark.parametrize("subject", [
    [], [HEAD], [HEAD, ADAPTER], [ADAPTER, ADAPTER], [ADAPTER, HEAD, HEAD],
    [ADAPTER, {**HEAD, "digest": ADAPTER["digest"]}, HEAD], [{**ADAPTER, "name": "adapter_model.safetensors"}, HEAD],
    [ADAPTER, {**HEAD, "name": "../head"}], [ADAPTER, {**HEAD, "name": ""}], [ADAPTER, {**HEAD, "name": 1}],
    [ADAPTER, {**HEAD, "digest": {"sha256": "4E" * 32}}], [ADAPTER, {**HEAD, "digest": {"sha512": "4e" * 64}}],
])
def test_a_statement_is_about_the_adapter_first_and_each_other_file_once(
    tmp_path: Path, two: dict[str, bytes], subject: list[object]
) -> None:
    # Signed and logged as it stands, so that its subjects are all that is wrong with it.
    def about(subjects: list[object], folder: str) -> verifier.Verdict:
        envelope, = read_envelopes(two[SECOND], name="x")
        payload = canonical_bytes({**json.loads(envelope.payload), "subject": subjects})
        signed = write_envelopes([Envelope(envelope.payload_type, payload, ()).signed_by(example.key("kohi"))])
        return tampered(example.members(tmp_path / folder, runs=BOTH_RUNS, instead={SECOND: signed}))

    assert about([ADAPTER, HEAD], "right").code == 0
    verdict = about(subject, "wrong")
    assert verdict.code == 5, verdict
    assert SECOND in verdict.details[-1] or "malformed" in verdict.details[-1]


def test_evidence_of_another_form_is_unusable_and_not_called_changed(members: dict[str, bytes]) -> None:
    whole = verifier.read_container(example.sealed(members, example.key("kohi")))
    older = whole["manifest.json"].replace(verifier.SCHEMA.encode(), b"sekisho-evidence/1")
    assert older != whole["manifest.json"]
    verdict = verify(verifier.write_container({**whole, "manifest.json": older}), ROOT)
    assert verdict.code == 6 and "verify.py that came with the bundle" in verdict.details[-1]


def test_evidence_without_any_log_is_refused(members: dict[str, bytes]) -> None:
    assert tampered(members, **{name: None for name in members if name.startswith("logs/")}).code == 5


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_nonsense_signed_by_a_party_is_a_finding_never_a_crash(two: dict[str, bytes], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(two)))
    value = data.draw(st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
            st.sampled_from(["payload", "payloadType", "signatures", "parties", "party", "refs", "x"]), inner),
        max_leaves=8))
    body = data.draw(st.sampled_from([json.dumps(value).encode() + b"\n", b"\n", b"\xff", b"[" * 5000, b"{}\n"]))
    assert tampered(two, **{name: body}).code in (4, 5)


# --- the parts ---------------------------------------------------------------------------------------------------

@settings(max_examples=30, deadline=None)
@given(st.lists(st.binary(max_size=20), max_size=40))
def test_the_log_root_is_that_of_the_log(entries: list[bytes]) -> None:
    assert verifier.log_root(entries) == root_of([leaf_hash(entry) for entry in entries])


def test_rfc_6962_reference_roots() -> None:
    # certificate-transparency's reference tree: roots of its first 0, 1, 2, 3 and 8 leaves
    leaves = [bytes.fromhex(text) for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")]
    roots = {
        0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    }
    assert {n: verifier.log_root(leaves[:n]).hex() for n in roots} == roots


YAML_SAMPLES = (
    "a: 1\nb: text # c\nc: 'it''s'\nd: \"x\\u0041: #\"\n",
    "# head\nlist:\n  - id: x\n    name: {en: A B, ja: \"い, ろ\"}\n  - id: y\n    keys: []\nroles: {legal: 1}\n",
    "list:\n- a\n- b: ed25519:AA+/=\n  c: [x, 'y', \"z\"]\n-   d: true\n",
    "outer:\n  inner:\n    - - 1\n      - 2\n    - {a: {b: [1, 2]}}\nlast: Food makers, Ltd. [JP]\n",
)


@pytest.mark.parametrize("text", YAML_SAMPLES)
def test_plain_yaml_means_what_it_means_to_a_full_reader(text: str) -> None:
    assert verifier.read_yaml(text) == YAML(typ="safe", pure=True).load(text)


@pytest.mark.parametrize("text", [
    "a: &x 1\n", "a: *x\n", "a: !!str 1\n", "a: |\n  text\n", "a: >\n  text\n", "a: 1\na: 2\n", "a: {b: 1, b: 2}\n",
    "a: [1, 2\n", "a: {b: 1\n", "a: [1,\n  2]\n", "a: 'x' y\n", "a:\n", "a: 1\n  b: 2\n", "--- \na: 1\n", "a: @x\n",
    "? a\n: b\n", "a: b: c\n", "", "a: \"\\q\"\n", "\ta: 1\n", "a: {b}\n",
])
def test_yaml_beyond_the_plain_is_refused_not_guessed(text: str) -> None:
    with pytest.raises(verifier.MALFORMED):
        verifier.read_yaml(text)


# --- the file itself ---------------------------------------------------------------------------------------------

def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-I", *arguments], cwd=cwd, capture_output=True, text=True, check=False)


def test_an_outsider_verifies_with_the_file_from_the_archive_alone(bundle: bytes, tmp_path: Path) -> None:
    (tmp_path / "evidence.zip").write_bytes(bundle)
    (tmp_path / "verify.py").write_bytes(verifier.read_container(bundle)["verify.py"])
    (tmp_path / "broken.zip").write_bytes(bundle[:-1] + b"!")
    outcomes = {
        ("evidence.zip", "--root", ROOT): 0, ("evidence.zip",): 1, ("evidence.zip", "--root", "sha256:" + "0" * 64): 4,
        ("broken.zip", "--root", ROOT): 5, ("missing.zip",): 6, (".",): 6, (): 6, ("evidence.zip", "--root"): 6,
    }
    for arguments, code in outcomes.items():
        done = run("verify.py", *arguments, cwd=tmp_path)
        assert done.returncode == code, (arguments, done)
        assert "Traceback" not in done.stderr
    done = run("verify.py", "evidence.zip", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["name"] == "consistent"


def test_the_file_is_python_3_9_and_imports_nothing_of_ours() -> None:
    source = Path(verifier.__file__).read_text("utf-8")
    tree = ast.parse(source, feature_version=(3, 9))
    assert "from __future__ import annotations" in source
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module is not None
            assert node.module.partition(".")[0] in {*sys.stdlib_module_names, "cryptography"}
        elif isinstance(node, ast.Import):
            assert all(alias.name in sys.stdlib_module_names for alias in node.names)
