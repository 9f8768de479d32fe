"""Evidence of a real run: verified with the fingerprint alone, another verdict after any changed byte, by anyone."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import study_folder
from channels import Dying
from command import Ended, Quiet, log_of, sekisho, sekisho_here
from study_folder import SITES, HashedFeatures

from sekisho.core.engines.embedded import EmbeddedChannel
from sekisho.core.errors import Refused
from sekisho.core.pilot.evidence import export_evidence, statements_at
from sekisho.core.pilot.federation import Federation
from sekisho.core.pilot.pilot import run_pilot
from sekisho.governance.evidence import verifier
from sekisho.governance.signing.envelope import Statement, read_envelopes, sign_statement, write_envelopes
from sekisho.governance.signing.keys import demo_key

from ..verifier.second import Second

OTHER_ROOT = "sha256:" + "1" * 64
PLACES = 3  # of a member where a byte is changed: first, middle, last; the verifier's own tests try every kind of byte
Capture = pytest.CaptureFixture[str]


@dataclass(frozen=True)
class Ran:
    """A study with one finished pilot, and its evidence."""

    study: Path
    out: Path
    root: str

    @property
    def bundle(self) -> Path:
        return self.out / "evidence.zip"


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("ran")
    study = study_folder.build(folder / "study")
    finished = run_pilot(study, folder / "out", Quiet(), features=HashedFeatures())  # type: ignore[arg-type]
    return Ran(study, folder / "out", finished.evidence.root)


@pytest.fixture(scope="module")
def twice(ran: Ran, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The same study after a second pilot; evidence of both runs, the adapters lying as several methods leave them."""
    folder = tmp_path_factory.mktemp("twice")
    study = Path(shutil.copytree(ran.study, folder / "study"))
    run_pilot(study, folder / "second", Quiet(), features=HashedFeatures())  # type: ignore[arg-type]
    shutil.copytree(ran.out / "adapter", folder / "out" / "adapter" / "first")
    shutil.copytree(folder / "second" / "adapter", folder / "out" / "adapter" / "second")
    paths = statements_at(folder / "out" / "adapter")
    assert [path.parent.parent.name for path in paths] == ["first", "second"]
    written = export_evidence(study, folder / "out" / "evidence.zip", provenance=paths)
    return Ran(study, folder / "out", written.root)


def runs_of(study: Path) -> set[str]:
    released = [entry for entry in log_of(study, SITES[0]) if entry["type"] == "release.published"]
    return {entry["refs"]["run"] for entry in released}


def test_verified_with_the_fingerprint_and_never_without(ran: Ran, tmp_path: Path, capsys: Capture) -> None:
    verified = sekisho("compliance", "verify", ran.bundle, "--root", ran.root)
    assert verified.exit == 0
    assert verified.out.startswith("verified: Verified: ")
    assert not {"torch", "tenseal", "dp_accounting"} & verified.loaded
    alone = sekisho_here(capsys, "compliance", "verify", ran.bundle)
    assert alone.exit == 1
    assert "Consistent, signer unknown" in alone.out
    wrong = sekisho_here(capsys, "compliance", "verify", ran.bundle, "--root", OTHER_ROOT, "--json")
    assert (wrong.exit, wrong.told["verdict"]) == (4, "other-root")
    malformed = sekisho_here(capsys, "compliance", "verify", ran.bundle, "--root", ran.root.upper(), "--json")
    assert (malformed.exit, malformed.told["verdict"]) == (6, "unusable")
    (tmp_path / "half.zip").write_bytes(ran.bundle.read_bytes()[:-1])
    half = sekisho_here(capsys, "compliance", "verify", tmp_path / "half.zip", "--root", ran.root, "--json")
    assert (half.exit, half.told["verdict"]) == (5, "changed")
    (tmp_path / "text.zip").write_text("this is no archive")
    text = sekisho_here(capsys, "compliance", "verify", tmp_path / "text.zip", "--root", ran.root, "--json")
    assert (text.exit, text.told["verdict"]) == (6, "unusable")


def test_the_bundle_holds_every_paper_log_and_signature(ran: Ran) -> None:
    members = verifier.read_container(ran.bundle.read_bytes())
    expected = {"README.txt", "verify.py", "manifest.json", "manifest.json.dsse.json"}
    (run,) = runs_of(ran.study)
    expected.add(f"provenance/{run}.dsse.json")
    for paper in ("roster.yaml", "study.yaml", "base-model.yaml", *(f"policies/{site}.yaml" for site in SITES)):
        expected |= {paper, f"{paper}.dsse.json"}
    for party in (*SITES, "coordinator"):
        expected |= {f"logs/{party}.jsonl", f"logs/{party}.checkpoint"}
        expected |= {f"witnessed/{party}/{other}.checkpoint" for other in (*SITES, "coordinator") if other != party}
    assert {name for name in members if not name.startswith("views/")} == expected
    assert {"views/en/index.html", "views/ja/index.html", "views/budget.json", "views/ocsf.jsonl"} < set(members)
    # nothing of what stays at a site: no pseudonym, no record
    whole = ran.bundle.read_bytes()
    assert not re.search(rb"-c000(?![0-9a-f])", whole) and b"lovely" not in whole


def changed_bundles(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The archive with one byte of a member changed: in place, and packed anew around the changed member."""
    members = verifier.read_container(data)
    for name, content in members.items():
        start = data.index(content)
        places = {0, len(content) // 2, len(content) - 1} | {len(content) * n // (PLACES + 1) for n in range(1, PLACES)}
        if name.startswith("views/"):  # many, and held by their digests alone: one place each
            places = {len(content) // 2}
        for place in sorted(places):
            spoiled = bytearray(data)
            spoiled[start + place] ^= 0x01
            yield f"{name} in place at {place}", bytes(spoiled)
            other = bytearray(content)
            other[place] ^= 0x01
            yield f"{name} packed anew at {place}", verifier.write_container({**members, name: bytes(other)})


@pytest.mark.parametrize("which", ["ran", "twice"])
def test_one_changed_byte_of_any_member_gives_another_verdict(which: str, request: pytest.FixtureRequest) -> None:
    done: Ran = request.getfixturevalue(which)
    every_changed_byte_is_caught(done.bundle.read_bytes(), done.root)


def every_changed_byte_is_caught(data: bytes, true_root: str) -> None:
    assert verifier.verify(data, true_root).name == "verified"
    seen = 0
    for what, spoiled in changed_bundles(data):
        assert spoiled != data
        for root in (true_root, None):
            verdict = verifier.verify(spoiled, root)
            assert verdict.code not in (0, 1) and verdict.name in ("changed", "unusable"), (what, verdict)
        seen += 1
    names = verifier.read_container(data)
    views = sum(name.startswith("views/") for name in names)
    assert seen >= 2 * PLACES * (len(names) - views) + 2 * views


def test_a_missing_or_added_member_gives_another_verdict(ran: Ran) -> None:
    members = verifier.read_container(ran.bundle.read_bytes())
    for name in members:
        less = verifier.write_container({key: value for key, value in members.items() if key != name})
        assert verifier.verify(less, ran.root).code in (5, 6), name
    more = verifier.write_container({**members, "logs/stranger.jsonl": b""})
    assert verifier.verify(more, ran.root).name == "changed"


def test_the_verifier_in_the_bundle_needs_python_and_cryptography_alone(ran: Ran, tmp_path: Path) -> None:
    script = tmp_path / "verify.py"
    script.write_bytes(verifier.read_container(ran.bundle.read_bytes())["verify.py"])
    shutil.copy(ran.bundle, tmp_path / "evidence.zip")
    # -I: no PYTHONPATH, no user site, and not this folder; the observer says what was imported
    observed = (
        "import runpy, sys; sys.argv = sys.argv[1:]\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "finally: print('loaded', *sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    for more, code in ((("--root", ran.root), 0), ((), 1), (("--root", OTHER_ROOT), 4)):
        done = subprocess.run(
            [sys.executable, "-I", "-c", observed, script, tmp_path / "evidence.zip", *more],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env={"PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8"},
            timeout=300,
        )
        assert done.returncode == code, done
        loaded = set(done.stderr.strip().split("loaded ")[-1].split())
        plain = set(sys.stdlib_module_names) | {"cryptography", "cffi", "_cffi_backend", "verify"}
        assert {name for name in loaded - plain if not name.startswith("_")} == set(), done.stderr


def test_evidence_of_a_stopped_run_verifies_and_says_that_no_adapter_came_of_it(study: Path, tmp_path: Path) -> None:
    def wrap(channel: EmbeddedChannel) -> Dying:
        return Dying(channel, dies=lambda site, kind, step: site in SITES[:3] and kind == "readies" and step == 2)

    federation = Federation.open(study, features=HashedFeatures(), wrap=wrap)  # type: ignore[arg-type]
    try:
        with pytest.raises(Refused) as caught:
            federation.run("probe")
    finally:
        federation.close()
    assert caught.value.code == "COHORT_TOO_SMALL"
    out = tmp_path / "evidence.zip"
    exported = sekisho("compliance", "export", study, "--out", out, "--provenance", tmp_path / "none.json", "--json")
    assert exported.exit == 0, exported
    root = exported.told["root"]
    verdict = verifier.verify(out.read_bytes(), root)
    assert (verdict.code, verdict.name) == (0, "verified")
    assert any("released an adapter" in line and "none" in line for line in verdict.details), verdict.details
    assert not any(name.startswith("provenance") for name in verifier.read_container(out.read_bytes()))
    assert exported.told["provenance"] == []
    every_changed_byte_is_caught(out.read_bytes(), root)
    stopped = [entry for entry in log_of(study, "coordinator") if entry["type"] == "run.stopped"]
    assert [entry["data"]["code"] for entry in stopped] == ["COHORT_TOO_SMALL"]


def test_the_same_state_gives_the_same_bundle(twice: Ran, tmp_path: Path) -> None:
    paths = statements_at(twice.out / "adapter")
    written = [
        export_evidence(twice.study, tmp_path / "bundle.zip", provenance=order)
        for order in (paths, paths[::-1], [*paths, *paths])  # the same bytes in two places are one statement
    ]
    assert len({one.digest for one in written}) == 1
    assert written[0].root == twice.root


def test_evidence_of_two_runs_holds_each_released_adapter_under_its_run(twice: Ran, tmp_path: Path) -> None:
    runs = runs_of(twice.study)
    assert len(runs) == 2
    members = verifier.read_container(twice.bundle.read_bytes())
    held = {name for name in members if name.startswith("provenance")}
    assert held == {f"provenance/{run}.dsse.json" for run in runs}
    verdict = verifier.verify(twice.bundle.read_bytes(), twice.root)
    assert verdict.code == 0
    for run in runs:
        assert any(line.startswith("provenance: adapter ") and f"run {run}," in line for line in verdict.details)
    assert not any("not in this bundle" in line for line in verdict.details)


def test_export_takes_one_statement_or_a_folder_of_adapters(twice: Ran, tmp_path: Path, capsys: Capture) -> None:
    folder, out = twice.out / "adapter", tmp_path / "evidence.zip"
    for given, count in ((folder, 2), (folder / "first", 1), (folder / "second" / "probe" / "provenance.dsse.json", 1)):
        words = ("compliance", "export", twice.study, "--out", out, "--provenance", given, "--json")
        ended = sekisho_here(capsys, *words)
        assert ended.exit == 0, ended
        assert len(ended.told["provenance"]) == count
        verdict = verifier.verify(out.read_bytes(), twice.root)
        assert verdict.code == 0
        missing = [line for line in verdict.details if line.startswith("not in this bundle")]
        assert len(missing) == 2 - count


def test_export_finds_the_adapters_below_the_default_folder(
    twice: Ran, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(twice.out.parent)
    ended = sekisho_here(capsys, "compliance", "export", twice.study, "--out", tmp_path / "evidence.zip", "--json")
    assert ended.exit == 0
    assert (tmp_path / "evidence.zip").read_bytes() == twice.bundle.read_bytes()


def test_a_second_or_foreign_statement_is_refused_and_nothing_is_written(
    twice: Ran, tmp_path: Path, capsys: Capture
) -> None:
    first = (twice.out / "adapter" / "first" / "probe" / "provenance.dsse.json").read_bytes()
    (envelope,) = read_envelopes(first, name="first")
    statement = Statement.from_bytes(envelope.payload)
    site = demo_key(SITES[1])
    again = write_envelopes([sign_statement(statement, [site])])  # the same claim, by another site: not what was logged
    unknown = dataclasses.replace(statement, predicate={**statement.predicate, "run": "probe-0"})
    cases = {
        "PROVENANCE_TWICE": {"one": first, "two": again},
        "EVIDENCE_INCONSISTENT": {"one": again},
        "EVIDENCE_PROVENANCE": {"one": write_envelopes([sign_statement(statement, [demo_key("stranger")])])},
        "SIGNATURES_UNREADABLE": {"one": b"nothing of the kind"},
    }
    for code, files in cases.items():
        ended = export_of(files, twice, tmp_path / code, capsys)
        assert (ended.exit, ended.told["code"]) == (2, code), ended
    ended = export_of({"one": write_envelopes([sign_statement(unknown, [site])])}, twice, tmp_path / "unknown", capsys)
    assert "no log knows run probe-0" in ended.told["sentence"]


def export_of(files: dict[str, bytes], done: Ran, folder: Path, capsys: Capture) -> Ended:
    for name, data in files.items():
        (folder / "adapters" / name).mkdir(parents=True)
        (folder / "adapters" / name / "provenance.dsse.json").write_bytes(data)
    out = folder / "evidence.zip"
    words = ("compliance", "export", done.study, "--out", out, "--provenance", folder / "adapters", "--json")
    ended = sekisho_here(capsys, *words)
    assert not out.exists()
    return ended


def test_there_is_no_evidence_before_a_run_was_asked_for(study: Path, tmp_path: Path, capsys: Capture) -> None:
    ended = sekisho_here(capsys, "compliance", "export", study, "--out", tmp_path / "evidence.zip", "--json")
    assert (ended.exit, ended.told["code"]) == (2, "NO_LOG")
    assert not (tmp_path / "evidence.zip").exists()


def test_the_second_verifier_says_the_same_of_real_evidence(ran: Ran, twice: Ran) -> None:
    second = Second()
    for one in (ran, twice):
        data = one.bundle.read_bytes()
        for root in (None, one.root, OTHER_ROOT):
            assert second.ask("verdict", data, root=root)["verdict"] == verifier.verify(data, root).name
        for what, changed in changed_bundles(data):
            assert second.ask("verdict", changed, root=one.root)["verdict"] == "changed", what
    second.close()
