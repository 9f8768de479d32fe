"""`sekisho study new`: a whole folder that the pilot's own readers accept, unsigned; or nothing at all."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from pathlib import Path

import pytest

from sekisho.core.data.dataset import Dataset, TestSet
from sekisho.core.errors import BadInputError
from sekisho.core.paperwork.decisions import to_decide
from sekisho.core.paperwork.division import divide, rounded_up
from sekisho.core.paperwork.table import Columns, Table, read_table
from sekisho.core.planning import plan_of
from sekisho.core.site.papers import read_policy, read_study
from sekisho.core.study import Study
from sekisho.core.training.optimizer import public_learning_rate
from sekisho.governance.consent.consent import ConsentRegister
from sekisho.governance.provenance.disclosure import BaseModelRecord, DisclosureLevel
from sekisho.governance.signing.keys import NO_KEY_YET

from .own_study import CANARY, NOW, PEOPLE, SITES, draft, rows, table, text_of, weights

LABELS = ("bad", "good")
EXAMPLE = Path(__file__).parents[2] / "examples" / "food-quality"


@pytest.fixture(scope="module")
def drafted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("draft")
    draft(folder / "tasting", table(folder))
    return folder / "tasting"


def records(study: Path) -> dict[str, Dataset]:
    return {
        site: Dataset.load(study / "sites" / site / "records.jsonl.gz", labels=LABELS) for site in SITES
    }


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_every_paper_is_filled_in_and_nothing_is_signed(drafted: Path) -> None:
    study = read_study(drafted)
    assert (study.id, study.sites, study.labels) == ("tasting", SITES, LABELS)
    for site in SITES:
        policy = read_policy(drafted, site)
        assert policy.clause("legal_basis").consent.scope == study.legal_basis_scope
        assert {method for grant in policy.grants for method in grant.clause.methods} == set(study.methods)  # type: ignore[attr-defined]
        assert policy.clause("privacy_budget").per_run.epsilon == max(m.epsilon for m in study.methods.values())
    assert not list(drafted.rglob("*.dsse.json")) and not (drafted / "keys").exists()
    roster = (drafted / "roster.yaml").read_text("utf-8")
    assert "\ndemo: false\n" in roster
    assert roster.count(f'"{NO_KEY_YET}"') == len(SITES) + 1 + len(PEOPLE)
    for name in ("study.yaml", "base-model.yaml", "roster.yaml", "sites/north/policy.yaml"):
        assert to_decide((drafted / name).read_text("utf-8")) >= 2, name
    assert all("$" not in path.read_text("utf-8") for path in drafted.rglob("*.yaml"))


def test_the_study_has_a_plan_and_follows_the_public_rule(drafted: Path) -> None:
    study = read_study(drafted)
    for name, method in study.methods.items():
        assert plan_of(study, name, dimension=385).epsilon == method.epsilon
    probe = study.settings("probe")
    assert probe.learning_rate == public_learning_rate(probe.clipping_norm, probe.momentum)


def test_every_subject_is_at_one_place_and_no_test_text_was_trained_on(drafted: Path) -> None:
    found = records(drafted)
    homes = [subject for data in found.values() for subject in data.subjects]
    assert len(homes) == len(set(homes))
    study = read_study(drafted)
    test = TestSet.load(drafted / "test.jsonl.gz", labels=LABELS, digest=study.test_set.digest)
    trained = {record.text for data in found.values() for own in data.records.values() for record in own}
    assert not trained & set(test.texts)
    assert len(test.texts) + len(trained) == len(rows())
    assert 0.1 < len(test.texts) / len(rows()) < 0.3
    for site in SITES:
        assert 0 < study.subjects[site] - len(found[site].subjects) < 50, "declared in public, so rounded up"


def test_the_public_file_names_nobody(drafted: Path) -> None:
    lines = [json.loads(line) for line in gzip.decompress((drafted / "test.jsonl.gz").read_bytes()).splitlines()]
    assert all(set(line) == {"id", "text", "label"} for line in lines)
    assert [line["id"] for line in lines] == [f"test-{number:06d}" for number in range(1, len(lines) + 1)]
    said = " ".join((drafted / "study.yaml").read_text("utf-8").split())
    assert "every record of this file is visible to every site" in said and "公開データ" in said


def test_private_files_are_private_and_kept_out_of_a_repository(drafted: Path) -> None:
    for site in SITES:
        assert (drafted / "sites" / site).stat().st_mode & 0o077 == 0
        for name in ("records.jsonl.gz", "consent.jsonl"):
            assert (drafted / "sites" / site / name).stat().st_mode & 0o077 == 0
    ignored = (drafted / ".gitignore").read_text("utf-8").split()
    assert {"keys/", "**/state/", "sites/*/records.jsonl.gz", "sites/*/consent.jsonl", "out/"} <= set(ignored)
    papers = list(drafted.rglob("*.yaml"))
    assert all(CANARY not in path.read_text("utf-8") for path in papers)


def test_declared_consents_are_those_of_the_subjects_trained_on(drafted: Path, tmp_path: Path) -> None:
    study = read_study(drafted)
    for site, data in records(drafted).items():
        register = ConsentRegister.open(tmp_path / site)
        assert register.import_jsonl(drafted / "sites" / site / "consent.jsonl").refused == ()
        kept, _ = register.eligible(data.subjects, study.legal_basis_scope, NOW)
        assert set(kept) == set(data.subjects)
        register.close()


def test_without_a_declaration_nobody_has_consented(tmp_path: Path) -> None:
    draft(tmp_path / "silent", table(tmp_path), consented=None)
    assert all((tmp_path / "silent" / "sites" / site / "consent.jsonl").read_bytes() == b"" for site in SITES)


def test_the_same_table_gives_the_same_study_in_any_order(drafted: Path, tmp_path: Path) -> None:
    draft(tmp_path / "tasting", table(tmp_path, reversed(rows())))
    again, first = records(tmp_path / "tasting"), records(drafted)
    assert all(again[site].records == first[site].records for site in SITES)


def test_a_column_of_sites_decides_where_a_subject_is(tmp_path: Path) -> None:
    content = [{**row, "plant": SITES[int(row["subject"][1:]) % 3]} for row in rows()]
    path = tmp_path / "data.csv"
    lines = [",".join(("id", "subject", "text", "label", "plant"))]
    lines += [",".join(row[name] for name in ("id", "subject", "text", "label", "plant")) for row in content]
    path.write_text("\n".join(lines), "utf-8")
    draft(tmp_path / "plants", path, columns=Columns(site="plant"))
    for number, site in enumerate(SITES):
        subjects = records(tmp_path / "plants")[site].subjects
        assert subjects and all(int(subject[1:]) % 3 == number for subject in subjects)


def test_a_test_file_of_its_own_leaves_every_subject_to_training(tmp_path: Path) -> None:
    test = tmp_path / "test.csv"
    fresh = [f"fresh and new {number},{label}" for number in range(12) for label in LABELS]
    known = rows()[0]
    test.write_text("\n".join(["text,label", *fresh, f"{known['text']},{known['label']}"]), "utf-8")
    done = draft(tmp_path / "own-test", table(tmp_path), test=test)
    assert (done.test, done.left_out) == (24, 1), "a text that was trained on measures memory"
    assert sum(done.subjects.values()) == 120


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"sites": ("north", "south")}, "SITES_UNUSABLE"),
        ({"sites": ("north", "south", "south")}, "SITES_UNUSABLE"),
        ({"sites": ("north", "south", "East")}, "SITES_UNUSABLE"),
        ({"sites": ("north", "south", "coordinator")}, "SITES_UNUSABLE"),
        ({"sites": ("north", "south", "study")}, "SITES_UNUSABLE"),
        ({"sites": ("north", "south", "north-legal")}, "SITES_UNUSABLE"),
        ({"sites": tuple(f"s{number}" for number in range(12))}, "SITE_TOO_FEW_SUBJECTS"),
        ({"test_share": 2}, "TEST_SHARE"),
        ({"test_share": 5}, "TEST_SET_TOO_SMALL"),
        ({"country": "XX"}, "COUNTRY_UNKNOWN"),
        ({"country": "US"}, "LAW_UNKNOWN"),
        ({"law": "salic"}, "LAW_UNKNOWN"),
        ({"base_model": Path("nowhere")}, "BASE_MODEL_NO_FOLDER"),
        ({"licence": "Proprietary"}, "BASE_MODEL_LICENCE_UNKNOWN"),
    ],
)
def test_what_cannot_be_a_study_is_refused_and_nothing_is_left(
    changes: dict[str, object], code: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInputError) as caught:
        draft(tmp_path / "tasting", table(tmp_path), **changes)
    assert caught.value.code == code
    assert caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["data.csv"]


def test_too_few_subjects_for_three_sites_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError) as caught:
        draft(tmp_path / "tasting", table(tmp_path, rows(30)))
    assert caught.value.code == "SITE_TOO_FEW_SUBJECTS"
    assert CANARY not in str(caught.value) and caught.value.sentence.split(":")[0] in SITES
    assert "--test" in caught.value.hint and "fewer" not in caught.value.hint, "three sites are the fewest"


def test_the_way_out_of_too_few_subjects_is_one_that_is_open(tmp_path: Path) -> None:
    twelve = tuple(f"s{number}" for number in range(12))
    test = tmp_path / "public.csv"
    test.write_text(text_of(rows(40)), "utf-8")
    with pytest.raises(BadInputError) as caught:
        draft(tmp_path / "tasting", table(tmp_path), sites=twelve, test=test)
    assert caught.value.code == "SITE_TOO_FEW_SUBJECTS"
    assert "name fewer sites" in caught.value.hint and "--test" not in caught.value.hint, "a test set was given"


def test_a_subject_at_two_sites_is_refused_at_its_line(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("text,label,subject,site\na,good,ann,north\nb,bad,bob,south\nc,bad,ann,south\n", "utf-8")
    found = read_table(path, Columns(), sites=SITES)
    with pytest.raises(BadInputError) as caught:
        divide(found, SITES, share=20, test=None)
    assert caught.value.code == "SUBJECT_AT_TWO_SITES"
    assert "line 4" in caught.value.sentence and "ann" not in str(caught.value)


def test_a_folder_in_use_is_left_alone_and_an_empty_one_is_filled(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("do not touch", "utf-8")
    with pytest.raises(BadInputError) as caught:
        draft(mine, table(tmp_path))
    assert caught.value.code == "STUDY_EXISTS"
    assert tree(mine) == {"notes.txt": b"do not touch"}
    (mine / "notes.txt").unlink()
    draft(mine, table(tmp_path))
    assert read_study(mine).id == "mine"


@pytest.mark.parametrize("name", ["Tasting", "tasting notes", "試食", "-x"])
def test_a_folder_whose_name_is_no_id_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError) as caught:
        draft(tmp_path / name, table(tmp_path))
    assert caught.value.code == "STUDY_NAME"


def test_odd_site_names_and_labels_stay_text(tmp_path: Path) -> None:
    """Words that YAML could read as no, null or a number."""
    content = [{**row, "label": {"good": 'yes: "so" #1', "bad": "no"}[row["label"]]} for row in rows()]
    draft(tmp_path / "odd", table(tmp_path, content), sites=("no", "null", "123"))
    study = read_study(tmp_path / "odd")
    assert (study.sites, study.labels) == (("no", "null", "123"), ("no", 'yes: "so" #1'))


def test_european_sites_start_from_their_own_law(tmp_path: Path) -> None:
    draft(tmp_path / "eu", table(tmp_path), country="DE")
    policy = read_policy(tmp_path / "eu", "north")
    assert policy.clause("legal_basis").bases == frozenset({"eu-gdpr:A6-1-a"})
    assert policy.clause("transfer").destinations == frozenset({"DE"})
    assert read_study(tmp_path / "eu").value.currency == "EUR"


def test_a_local_model_travels_with_the_study_and_what_it_hides_is_undisclosed(tmp_path: Path) -> None:
    model = tmp_path / "our-model"
    model.mkdir()
    for name in ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(weights() / name, model / name)
    with pytest.raises(BadInputError) as caught:
        draft(tmp_path / "local", table(tmp_path), base_model=model)
    assert caught.value.code == "BASE_MODEL_LICENCE_UNKNOWN"
    draft(tmp_path / "local", table(tmp_path), base_model=model, licence="MIT")
    study = read_study(tmp_path / "local")
    assert (study.base_model.folder, study.base_model.package, study.base_model.licence) == ("base-model", None, "MIT")
    assert os.path.samestat(os.stat(tmp_path / "local" / "base-model"), os.lstat(tmp_path / "local" / "base-model"))
    path = tmp_path / "local" / "base-model.yaml"
    record = BaseModelRecord.parse(path.read_bytes(), path.name)
    assert (record.name, record.disclosure) == ("our-model", DisclosureLevel.NONE)
    assert not any(answer.given for _, answer in record.training_data.answers())


def test_a_model_that_could_run_code_is_not_copied(tmp_path: Path) -> None:
    model = tmp_path / "our-model"
    model.mkdir()
    (model / "modeling.py").write_text("print('hello')", "utf-8")
    with pytest.raises(BadInputError) as caught:
        draft(tmp_path / "local", table(tmp_path), base_model=model, licence="MIT")
    assert caught.value.code == "BASE_MODEL_CODE"
    assert not (tmp_path / "local").exists()


@pytest.mark.parametrize(("count", "public"), [(10, 10), (11, 20), (87, 90), (100, 100), (267, 300), (1234, 1500)])
def test_declared_numbers_are_rounded_up(count: int, public: int) -> None:
    assert rounded_up(count) == public


def test_a_table_shows_nothing_of_itself(tmp_path: Path) -> None:
    found = read_table(table(tmp_path), Columns())
    assert isinstance(found, Table) and CANARY not in repr(found) + str(found.rows[:3])


def test_the_second_method_that_a_draft_offers_can_be_taken_as_it_stands(tmp_path: Path) -> None:
    text = (draft(tmp_path / "tasting", table(tmp_path)).folder / "study.yaml").read_text("utf-8")
    start = text.index("  # lora:\n")
    end = text.index("\n\n", start)
    offered = text[start:end].replace("  # ", "  ")
    taken = Study.parse((text[:start] + offered + text[end:]).encode("utf-8"), "study.yaml")
    assert set(taken.methods) == {"probe", "lora"}
    example = Study.parse((EXAMPLE / "study.yaml").read_bytes(), "study.yaml")
    # the example allows for a block that is rolled back; a draft judges no blocks
    assert taken.settings("lora") == example.settings("lora").model_copy(update={"allowance": 5})
