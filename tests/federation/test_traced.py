"""The lineage of a real run's adapter, by the command: verified whole, and with one byte changed, at the right link."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import study_folder
from command import Quiet, sekisho, sekisho_here
from study_folder import SITES, HashedFeatures

from sekisho.core.pilot.federation import Federation
from sekisho.core.pilot.pilot import run_pilot
from sekisho.core.pilot.tracing import material_of
from sekisho.governance.canonical import digest_bytes
from sekisho.governance.errors import BadDocumentError
from sekisho.governance.provenance.provenance import SitePart, TrainingRun
from sekisho.governance.provenance.records import verify_membership
from sekisho.governance.provenance.tracing import opened

Capture = pytest.CaptureFixture[str]
HEAVY = {"torch", "tenseal", "dp_accounting", "transformers", "numpy"}


@dataclass(frozen=True)
class Ran:
    """A study after two pilots, and the adapter that each released."""

    study: Path
    first: Path
    second: Path

    def copied(self, folder: Path) -> Ran:
        whole = Path(shutil.copytree(self.study.parent, folder / "whole"))
        return Ran(whole / "study", whole / self.first.relative_to(self.study.parent),
                   whole / self.second.relative_to(self.study.parent))


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("traced")
    study = study_folder.build(folder / "study")
    for name in ("one", "two"):
        run_pilot(study, folder / name, Quiet(), features=HashedFeatures())  # type: ignore[arg-type]
    return Ran(study, folder / "one" / "adapter" / "probe", folder / "two" / "adapter" / "probe")


def said(ran: Ran, adapter: Path) -> TrainingRun:
    return TrainingRun.of(opened(material_of(adapter, ran.study)))


def parts(run: TrainingRun) -> Mapping[str, SitePart]:
    return {site.id: site for site in run.sites}


def traced(capsys: Capture, adapter: Path, study: Path) -> tuple[int, dict[str, str]]:
    ended = sekisho_here(capsys, "compliance", "provenance", adapter, "--study", study, "--json")
    return ended.exit, {f"{one['source']} -> {one['target']}": one["verdict"] for one in ended.told["edges"]}


def test_the_command_verifies_every_link_of_a_released_adapter_and_loads_nothing_heavy(ran: Ran) -> None:
    root = digest_bytes((ran.study / "roster.yaml").read_bytes())
    done = sekisho("compliance", "provenance", ran.first, "--study", ran.study, "--root", root, "--json")
    assert done.exit == 0
    assert {one["verdict"] for one in done.told["edges"]} == {"verified"}
    kinds = [node["kind"] for node in done.told["nodes"]]
    assert kinds.count("dataset") == kinds.count("consent") == kinds.count("policy") == len(SITES)
    assert kinds.count("log") == len(SITES) + 1
    assert not HEAVY & done.loaded


def test_an_evidence_bundle_serves_in_place_of_the_study(ran: Ran, capsys: Capture) -> None:
    code, edges = traced(capsys, ran.first, ran.study.parent / "two" / "evidence.zip")
    assert code == 0
    unchecked = {edge for edge, verdict in edges.items() if verdict != "verified"}
    assert all("revocation" in edge or "weights" in edge or "roster" in edge for edge in unchecked)


def test_a_changed_file_breaks_its_own_link_and_the_command_names_it(ran: Ran, tmp_path: Path, capsys: Capture) -> None:
    whole = traced(capsys, ran.first, ran.study)[1]
    (run,) = {edge.partition(" -> run:")[2] for edge in whole if " -> run:" in edge}
    own = ran.copied(tmp_path)
    site = SITES[1]
    cases = {
        own.first / "adapter.safetensors": {f"run:{run} -> adapter:{run}"},
        own.first / "NOTICE.md": {f"release:{run} -> file:{run}/NOTICE.md"},
        own.first / "release.json": {f"adapter:{run} -> release:{run}"},
        own.study / "study.yaml": {f"study -> run:{run}"},
        own.study / "study.yaml.dsse.json": {f"study -> run:{run}"},
        own.study / "base-model.yaml": {f"base-model -> run:{run}"},
        own.study / "sites" / site / "policy.yaml": {f"policy:{site} -> run:{run}"},
        own.study / "revocations" / "list.dsse.json": {f"release:{run} -> revocation:{run}"},
    }
    for path, expected in cases.items():
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(bytes(data))
        code, edges = traced(capsys, own.first, own.study)
        assert code == 1
        assert {edge for edge, verdict in edges.items() if verdict == "broken"} == expected, path.name
        data[len(data) // 2] ^= 1
        path.write_bytes(bytes(data))
    assert traced(capsys, own.first, own.study)[0] == 0


def test_neither_data_nor_consent_that_stayed_the_same_show_that_they_did(ran: Ran) -> None:
    one, two = parts(said(ran, ran.first)), parts(said(ran, ran.second))
    told: list[str] = []
    for site in SITES:
        for part in (one[site], two[site]):
            assert part.consent is not None and part.consent.scope == study_folder.SCOPE
            told += [part.dataset, part.consent.first, part.consent.last]
    assert len(set(told)) == len(told) == 2 * 3 * len(SITES)


def test_a_site_proves_that_a_record_was_in_a_run_or_was_not(ran: Ran, tmp_path: Path) -> None:
    run = said(ran, ran.first)
    federation = Federation.open(ran.copied(tmp_path).study, features=HashedFeatures())  # type: ignore[arg-type]
    try:
        folder = federation.sites[SITES[0]].folder
        kept = folder.committed_records(run.run)
        key = folder.subject_key.fingerprint(f"run/{run.run}")
        mine = next(iter(folder.dataset().records.values()))[0].digest
        theirs = next(iter(federation.sites[SITES[1]].folder.dataset().records.values()))[0].digest
    finally:
        federation.close()
    told = parts(run)[SITES[0]].dataset
    assert kept.commitment == told
    assert verify_membership(told, key, kept.prove(mine), mine) is True
    assert verify_membership(told, key, kept.prove(theirs), theirs) is False
    with pytest.raises(BadDocumentError):
        verify_membership(parts(said(ran, ran.second))[SITES[0]].dataset, key, kept.prove(mine), mine)


@pytest.mark.parametrize("form", ["svg", "json", "mlbom", "prov", "croissant", "card", "text"])
def test_every_format_is_written_whole(ran: Ran, tmp_path: Path, capsys: Capture, form: str) -> None:
    out = tmp_path / "export"
    words: tuple[Any, ...] = ("--study", ran.study, "--format", form, "--out", out, "--json")
    ended = sekisho_here(capsys, "compliance", "provenance", ran.first, *words)
    assert ended.exit == 0
    written = out.read_text("utf-8")
    if form in ("json", "mlbom", "prov", "croissant"):
        assert json.loads(written)
    assert written.startswith({"svg": "<svg ", "card": "---\n", "text": "Lineage "}.get(form, "{"))
    assert not re.search(rb"-c000(?![0-9a-f])", out.read_bytes()) and b"lovely" not in out.read_bytes()


def test_unusable_input_is_refused_by_name(ran: Ran, tmp_path: Path, capsys: Capture) -> None:
    for words, code in (
        ((ran.study.parent / "one" / "adapter",), "PROVENANCE_MISSING"),
        ((tmp_path,), "PROVENANCE_MISSING"),
        ((ran.first, "--format", "gif"), "FORMAT_UNKNOWN"),
        ((ran.first, "--format", "mlbom", "--study", tmp_path), "LINEAGE_UNSIGNED"),
        ((ran.first, "--study", ran.first / "release.json"), "EVIDENCE_UNREADABLE"),
    ):
        study = () if "--study" in words else ("--study", ran.study)
        ended = sekisho_here(capsys, "compliance", "provenance", *words, *study, "--json")
        assert (ended.exit, ended.told["code"]) == (2, code)
