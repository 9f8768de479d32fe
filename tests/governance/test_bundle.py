"""The evidence bundle: the same bytes every time, whole or not at all, and never one that would not verify."""

from __future__ import annotations

import importlib.util
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from sekisho.governance.canonical import digest_bytes
from sekisho.governance.errors import BadDocumentError, GovernanceError
from sekisho.governance.evidence import verifier
from sekisho.governance.evidence.bundle import bundle_bytes, provenance_member, write_bundle
from sekisho.governance.signing.envelope import PREDICATES, Statement, Subject, sign_statement, write_envelopes
from sekisho.governance.signing.roster import Roster


def load_example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("evidence_example", Path(__file__).with_name("evidence_example.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


example = load_example()
KEY = example.key("kohi")


@pytest.fixture(scope="module", params=[0, 1, 2], ids=lambda count: f"{count} statements")
def members(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return example.members(tmp_path_factory.mktemp("federation"), runs=(example.PROBE, example.LORA)[:request.param])


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return example.members(tmp_path_factory.mktemp("two"), runs=(example.PROBE, example.LORA))


def test_what_is_written_verifies_and_its_digest_is_returned(members: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "evidence.zip"
    digest = write_bundle(path, members=members, key=KEY)
    assert digest == digest_bytes(path.read_bytes())
    assert verifier.verify(path.read_bytes(), digest_bytes(members["roster.yaml"])).code == 0
    assert os.listdir(tmp_path) == ["evidence.zip"]


def test_the_same_members_and_key_give_the_same_bytes_in_any_order(members: dict[str, bytes]) -> None:
    shuffled = dict(sorted(members.items(), reverse=True))
    assert bundle_bytes(members, KEY) == bundle_bytes(shuffled, KEY)


def test_ordinary_tools_open_it(members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(io.BytesIO(bundle_bytes(members, KEY))) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == sorted(archive.namelist())
        for info in archive.infolist():
            assert info.compress_type == zipfile.ZIP_STORED and info.extra == b"" and info.comment == b""
            assert info.date_time == (1980, 1, 1, 0, 0, 0) and info.external_attr >> 16 == 0o100644
        assert archive.read("verify.py") == Path(verifier.__file__).read_bytes()
        assert "検証" in archive.read("README.txt").decode() and "--root" in archive.read("README.txt").decode()
        for name, data in members.items():
            assert archive.read(name) == data


def refused(members: dict[str, bytes], key: object = KEY) -> str:
    with pytest.raises(BadDocumentError) as caught:
        bundle_bytes(members, key)
    assert caught.value.hint
    return caught.value.code


def test_nothing_is_written_that_would_not_verify(members: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "evidence.zip"
    spoilt = {**members, "study.yaml": members["study.yaml"] + b"#"}
    with pytest.raises(BadDocumentError) as caught:
        write_bundle(path, members=spoilt, key=KEY)
    assert caught.value.code == "EVIDENCE_INCONSISTENT" and "study.yaml" in caught.value.sentence
    assert not path.exists()


def drop(name: str) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    return lambda members: {key: value for key, value in members.items() if key != name}


@pytest.mark.parametrize("name", ["study.yaml", "roster.yaml.dsse.json", "logs/kohi.checkpoint", "logs/kohi.jsonl",
                                  "policies/kohi.yaml", "policies/kohi.yaml.dsse.json"])
def test_a_missing_member_is_refused(two: dict[str, bytes], name: str) -> None:
    assert refused(drop(name)(two)) == "EVIDENCE_INCONSISTENT"


def test_a_missing_or_unreadable_roster_is_refused(members: dict[str, bytes]) -> None:
    assert refused(drop("roster.yaml")(members)) == "EVIDENCE_MEMBER"
    with pytest.raises(GovernanceError):
        bundle_bytes({**members, "roster.yaml": b"{"}, KEY)


def test_a_key_outside_the_roster_cannot_export(members: dict[str, bytes]) -> None:
    assert refused(members, example.key("stranger")) == "EVIDENCE_INCONSISTENT"
    assert refused(members, example.key("counsel-1")) == "EVIDENCE_INCONSISTENT"


@pytest.mark.parametrize("name", ["manifest.json", "verify.py", "README.txt", "../x", "/x", "a//b", "a b", "logs/.x",
                                  "x" * 101, "", "レビュー.txt"])
def test_names_that_are_taken_or_not_plain_are_refused(members: dict[str, bytes], name: str) -> None:
    assert refused({**members, name: b""}) == "EVIDENCE_MEMBER"


def test_a_roster_that_only_a_full_yaml_reader_understands_is_refused_at_export(members: dict[str, bytes]) -> None:
    # Valid for us, beyond the verifier's plain YAML: better now than at an auditor's desk.
    folded = members["roster.yaml"].replace(b"    controller: kohi-kk\n", b"    controller:\n      kohi-kk\n")
    wrapped = members["roster.yaml"].replace(b"roles: {legal: 1, it: 1, business: 1}",
                                             b"roles: {legal: 1,\n  it: 1, business: 1}")
    assert wrapped != members["roster.yaml"] and folded != members["roster.yaml"]
    assert refused({**members, "roster.yaml": wrapped}) == "EVIDENCE_ROSTER"
    assert refused({**members, "roster.yaml": folded}) == "EVIDENCE_INCONSISTENT"     # read alike; not what was signed


def test_an_unwritable_place_is_an_error_with_a_hint_and_leaves_nothing(
    members: dict[str, bytes], tmp_path: Path
) -> None:
    for path in (tmp_path / "no" / "evidence.zip", tmp_path):
        with pytest.raises(BadDocumentError) as caught:
            write_bundle(path, members=members, key=KEY)
        assert caught.value.code == "EVIDENCE_UNWRITABLE" and caught.value.hint
    assert os.listdir(tmp_path) == []


def test_a_failed_export_leaves_the_earlier_bundle_alone(members: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "evidence.zip"
    write_bundle(path, members=members, key=KEY)
    before = path.read_bytes()
    with pytest.raises(BadDocumentError):
        write_bundle(path, members=drop("study.yaml")(members), key=KEY)
    assert path.read_bytes() == before


# --- provenance --------------------------------------------------------------------------------------------------

def test_a_statement_is_filed_under_its_run(two: dict[str, bytes]) -> None:
    roster = Roster.parse(two["roster.yaml"], "roster.yaml")
    for run in (example.PROBE, example.LORA):
        assert provenance_member(two[run.member], roster, file="x") == run.member


def test_a_statement_that_lies_under_another_runs_name_is_not_written(two: dict[str, bytes]) -> None:
    first, second = example.PROBE.member, example.LORA.member
    assert refused({**two, first: two[second], second: two[first]}) == "EVIDENCE_INCONSISTENT"
    assert refused({**two, "provenance.dsse.json": two[first]}) == "EVIDENCE_INCONSISTENT"


def test_what_is_no_single_statement_of_a_party_is_not_filed(two: dict[str, bytes]) -> None:
    roster = Roster.parse(two["roster.yaml"], "roster.yaml")

    def signed(signer: str, kind: str = "training-run", run: object = "run-1") -> bytes:
        statement = Statement((Subject("x", example.ADAPTER),), PREDICATES[kind], {"run": run})
        return write_envelopes([sign_statement(statement, [example.key(signer)])])

    assert provenance_member(signed("kohi"), roster, file="x") == "provenance/run-1.dsse.json"
    for data in (signed("counsel-1"), signed("stranger"), signed("kohi", "evidence"), signed("kohi", run="a/b"),
                 signed("kohi", run="../x"), signed("kohi", run=""), two[example.PROBE.member] * 2):
        with pytest.raises(BadDocumentError) as caught:
            provenance_member(data, roster, file="x")
        assert caught.value.code == "EVIDENCE_PROVENANCE" and caught.value.hint and caught.value.file == "x"
    for data in (b"", b"{}", b"\xff", b"hello\n"):
        with pytest.raises(BadDocumentError) as caught:
            provenance_member(data, roster, file="x")
        assert caught.value.code == "SIGNATURES_UNREADABLE"


def test_views_that_lie_are_told_to_be_the_exporters_words(tmp_path: Path) -> None:
    """Who signs the manifest may write any page: a reader is told whose word it is, and that nobody compared it."""
    lying = {**example.members(tmp_path / "with"), "views/en/index.html": b"<p>No privacy was spent.</p>"}
    verdict = verifier.verify(example.sealed(lying, example.key("kohi")))
    assert verdict.name == "consistent"
    assert "views: in the words of kohi; not compared with the papers and logs below" in verdict.details
    assert not any(line.startswith("views") for line in verifier.verify(example.sealed(
        example.members(tmp_path / "without"), example.key("kohi"))).details)
