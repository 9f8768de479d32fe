"""Selections of a real study's evidence: one run, a period, a model; each verifies and none passes for the whole."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import study_folder
from command import Ended, Quiet, log_of, sekisho_here
from study_folder import SITES, HashedFeatures

from sekisho.core.pilot.evidence import export_evidence, statements_at
from sekisho.core.pilot.pilot import run_pilot
from sekisho.governance.canonical import canonical_bytes, digest_bytes
from sekisho.governance.evidence import verifier
from sekisho.governance.evidence.selection import Scope, ScopeKind
from sekisho.governance.signing.envelope import PREDICATES, Statement, Subject, read_time, sign_statement
from sekisho.governance.signing.keys import demo_key

from ..verifier.second import Second

Capture = pytest.CaptureFixture[str]
PARTIES = (*SITES, "coordinator")
SELECTED = ".selected.jsonl"
ONE = SITES[0]
PERSON = f"{ONE}-c000"


@dataclass(frozen=True)
class Twice:
    """A study with two finished pilots and both released adapters; the runs in the order in which they ran."""

    study: Path
    adapters: Path
    root: str
    runs: tuple[str, str]

    def export(self, scope: Scope, out: Path) -> bytes:
        export_evidence(self.study, out, provenance=statements_at(self.adapters), scope=scope)
        return out.read_bytes()


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> Twice:
    folder = tmp_path_factory.mktemp("twice")
    study = study_folder.build(folder / "study")
    for name in ("first", "second"):
        finished = run_pilot(study, folder / name, Quiet(), features=HashedFeatures())  # type: ignore[arg-type]
        shutil.copytree(folder / name / "adapter", folder / "adapters" / name)
    released = [entry["refs"]["run"] for entry in log_of(study, SITES[0]) if entry["type"] == "release.published"]
    first, second = dict.fromkeys(released)
    return Twice(study, folder / "adapters", finished.evidence.root, (first, second))


def selections(data: bytes) -> dict[str, list[dict[str, object]]]:
    """By party the selected lines, as values."""
    members = verifier.read_container(data)
    return {
        name.removeprefix("logs/").removesuffix(SELECTED): [json.loads(line) for line in body.splitlines()]
        for name, body in members.items()
        if name.endswith(SELECTED)
    }


def verified(data: bytes, root: str) -> verifier.Verdict:
    verdict = verifier.verify(data, root)
    assert verdict.name == "verified", verdict.details
    return verdict


def test_a_run_is_given_whole_in_every_log_with_what_it_rests_on(twice: Twice, tmp_path: Path) -> None:
    for run, other in (twice.runs, twice.runs[::-1]):
        data = twice.export(Scope(ScopeKind.RUN, run), tmp_path / "run.zip")
        verdict = verified(data, twice.root)
        assert verdict.details[0] == f"a selection: run {run}; what was left out cannot be seen here"
        found = selections(data)
        assert set(found) == set(PARTIES)
        for party in PARTIES:
            entries = log_of(twice.study, party)
            chosen = {int(str(line["index"])) for line in found[party]}
            assert {n for n, entry in enumerate(entries) if entry["refs"].get("run") == run} <= chosen
            assert not {n for n, entry in enumerate(entries) if entry["refs"].get("run") == other} & chosen
            assert all(line["entry"] == entries[int(str(line["index"]))] for line in found[party])
            assert len(chosen) < len(entries)
        for site in SITES:      # under which policy, roster and register it ran
            types = {str(dict(line["entry"])["type"]) for line in found[site]}  # type: ignore[call-overload]
            assert {"policy.loaded", "roster.accepted", "consent.imported"} <= types
        held = {name for name in verifier.read_container(data) if name.startswith("provenance/")}
        assert held == {f"provenance/{run}.dsse.json"}


def test_a_period_takes_whole_runs_and_a_model_the_run_that_made_it(
    twice: Twice, tmp_path: Path, capsys: Capture
) -> None:
    first, second = twice.runs
    begun = min(read_time(one["at"]) for one in log_of(twice.study, "coordinator") if one["refs"].get("run") == second)
    scope = Scope(ScopeKind.PERIOD, since=begun, until=datetime(2090, 1, 1, tzinfo=UTC))
    data = twice.export(scope, tmp_path / "period.zip")
    assert verified(data, twice.root).details[0].startswith("a selection: from 20")
    named = {str(line["entry"]) for lines in selections(data).values() for line in lines}
    assert any(second in one for one in named) and not any(first in one for one in named)
    early = Scope(ScopeKind.PERIOD, since=begun - timedelta(days=900), until=begun - timedelta(days=800))
    assert all(not lines for lines in selections(twice.export(early, tmp_path / "empty.zip")).values())

    adapter = next(one["refs"]["adapter"] for one in log_of(twice.study, SITES[0])
                   if one["type"] == "release.published" and one["refs"]["run"] == first)
    folder = next(twice.adapters.joinpath("first").rglob("provenance.dsse.json")).parent
    for named_by in (adapter, folder):
        out = tmp_path / "model.zip"
        words = ("compliance", "export", twice.study, "--out", out, "--provenance", twice.adapters, "--model", named_by)
        ended = sekisho_here(capsys, *words, "--json")
        assert ended.exit == 0, ended
        assert ended.told["scope"] == {"kind": "model", "of": adapter}
        assert ended.told["provenance"] == [f"provenance/{first}.dsse.json"]
        verified(out.read_bytes(), twice.root)


def test_the_same_state_gives_the_same_selection(twice: Twice, tmp_path: Path) -> None:
    scope = Scope(ScopeKind.RUN, twice.runs[0])
    assert twice.export(scope, tmp_path / "one.zip") == twice.export(scope, tmp_path / "two.zip")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.zip", "two.zip"]     # and nothing is left beside


def resealed(members: dict[str, bytes], scope: dict[str, str], signer: str = "coordinator") -> bytes:
    """The members under a fresh manifest of the signer's own: what a dishonest exporter can make."""
    whole = {name: data for name, data in members.items() if not name.startswith("manifest.json")}
    manifest = canonical_bytes({"schema": verifier.SCHEMA, "scope": scope,
                                "members": {name: digest_bytes(data) for name, data in whole.items()}})
    statement = Statement((Subject(verifier.MANIFEST, digest_bytes(manifest)),), PREDICATES["evidence"], {})
    whole[verifier.MANIFEST] = manifest
    whole[verifier.MANIFEST_SIGNATURE] = sign_statement(statement, [demo_key(signer)]).to_bytes()
    return verifier.write_container(whole)


def test_a_selection_cannot_pass_for_the_whole(twice: Twice, tmp_path: Path) -> None:
    run = {"kind": "run", "of": twice.runs[0]}
    members = verifier.read_container(twice.export(Scope(ScopeKind.RUN, twice.runs[0]), tmp_path / "run.zip"))
    assert verifier.verify(resealed(members, run), twice.root).name == "verified"
    assert verifier.verify(resealed(members, {"kind": "all"}), twice.root).name == "changed"
    # the selected entries as if they were the log, under the head of the whole
    as_whole = dict(members)
    for party in PARTIES:
        lines = as_whole.pop(f"logs/{party}{SELECTED}").splitlines()
        as_whole[f"logs/{party}.jsonl"] = b"".join(canonical_bytes(json.loads(line)["entry"]) + b"\n" for line in lines)
    verdict = verifier.verify(resealed(as_whole, {"kind": "all"}), twice.root)
    assert verdict.name == "changed" and "whose size and root" in verdict.details[-1]
    # and the scope without the manifest's signature
    forged = dict(members)
    forged[verifier.MANIFEST] = forged[verifier.MANIFEST].replace(b'"kind":"run"', b'"kind":"mod"')
    assert verifier.verify(verifier.write_container(forged), twice.root).name == "changed"


def test_scopes_that_say_nothing_or_too_much_are_refused(twice: Twice, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "evidence.zip"
    for words, code in (
        (("--run", "probe-0"), "EVIDENCE_NOTHING"),
        (("--model", "sha256:" + "0" * 64), "EVIDENCE_NOTHING"),
        (("--model", tmp_path), "MODEL_UNKNOWN"),
        (("--run", twice.runs[0], "--model", "sha256:" + "0" * 64), "SCOPE_TWICE"),
        (("--from", "2026-01-01"), "SCOPE_PERIOD"),
        (("--from", "2026-02-01", "--until", "2026-01-01"), "EVIDENCE_SCOPE"),
        (("--from", "yesterday", "--until", "2026-01-01"), "SCOPE_PERIOD"),
    ):
        ended = sekisho_here(capsys, "compliance", "export", twice.study, "--out", out, *words, "--json")
        assert (ended.exit, ended.told["code"]) == (2, code), ended
        assert ended.told["hint"]
    assert not out.exists()


# --- what a person asks for -------------------------------------------------------------------------------------------


def asked(capsys: Capture, study: Path, subject: str, out: Path) -> Ended:
    return sekisho_here(capsys, "site", "subject-request", ONE, subject, "--study", study, "--out", out, "--json")


def test_a_person_gets_what_one_site_holds_and_did_and_nobody_elses(
    twice: Twice, tmp_path: Path, capsys: Capture
) -> None:
    study = Path(shutil.copytree(twice.study, tmp_path / "study"))
    out = tmp_path / "mine.zip"
    before = asked(capsys, study, PERSON, out)
    assert (before.exit, before.told["runs"], before.told["withdrawals"]) == (0, 2, 0), before
    assert sekisho_here(capsys, "site", "withdraw", ONE, PERSON, "--study", study, "--json").exit == 0
    after = asked(capsys, study, PERSON, out)
    assert (after.exit, after.told["runs"], after.told["withdrawals"]) == (0, 2, 1), after
    assert PERSON not in after.out and PERSON not in after.err
    assert out.stat().st_mode & 0o777 == 0o600
    verdict = verified(out.read_bytes(), twice.root)
    assert verdict.details[0].startswith(f"a selection: what one person asked for at {ONE}")
    assert f"manifest: {len(verifier.read_container(out.read_bytes()))} members, signed by {ONE}" in verdict.details
    members = verifier.read_container(out.read_bytes())
    assert {name for name in members if name.startswith(("logs/", "policies/"))} == {
        f"logs/{ONE}.checkpoint", f"logs/{ONE}{SELECTED}", f"policies/{ONE}.yaml", f"policies/{ONE}.yaml.dsse.json"}
    said = json.loads(members[verifier.SUBJECT])
    assert said["subject"] == PERSON and [one["kind"] for one in said["consent"]] == ["granted", "withdrawn"]
    assert [one["run"] for one in said["runs"]] == list(twice.runs)
    entries = log_of(study, ONE)
    assert all(entries[n]["refs"]["run"] == one["run"] for one in said["runs"] for n in one["entries"])
    assert [entries[one["index"]]["type"] for one in said["withdrawals"]] == ["consent.withdrawn"]
    # the person reads it on a page, too, in the same words as the member has them
    told = json.loads(members["views/request.json"])["rows"]
    assert [one["event"] for one in told] == ["granted", "withdrawn", "run", "run", "logged"]
    assert [one["run"] for one in told if one["event"] == "run"] == list(twice.runs)
    assert "What you asked for" in members["views/en/index.html"].decode()
    assert "ご本人への回答" in members["views/ja/request.html"].decode()
    # the pseudonym stands in that one member, and nobody else's anywhere
    others = b"".join(data for name, data in members.items() if name != verifier.SUBJECT)
    assert PERSON.encode() not in others
    assert f"{ONE}-c001".encode() not in others + members[verifier.SUBJECT]
    assert b"personal data" in members["README.txt"] and "本人以外に渡さないで".encode() in members["README.txt"]


def test_what_a_site_tells_a_person_is_held_against_its_log(twice: Twice, tmp_path: Path, capsys: Capture) -> None:
    study = Path(shutil.copytree(twice.study, tmp_path / "study"))
    assert sekisho_here(capsys, "site", "withdraw", ONE, PERSON, "--study", study, "--json").exit == 0
    assert asked(capsys, study, PERSON, tmp_path / "mine.zip").exit == 0
    members = verifier.read_container((tmp_path / "mine.zip").read_bytes())
    scope = {"kind": "subject", "of": ONE}
    assert verifier.verify(resealed(members, scope, ONE), twice.root).name == "verified"
    assert "is not signed by" in verifier.verify(resealed(members, scope), twice.root).details[-1]
    said = json.loads(members[verifier.SUBJECT])
    (withdrawal,) = said["withdrawals"]
    wrong_run = said["runs"][0]["entries"][:1]
    for change in (
        {"subject": f"{ONE}-c001"},
        {"withdrawals": [{**withdrawal, "key": "0" * 64}]},
        {"withdrawals": [{**withdrawal, "index": wrong_run[0]}]},
        {"runs": [{**said["runs"][1], "entries": wrong_run}]},
        {"runs": [{**said["runs"][0], "entries": [10**6]}]},
        {"site": SITES[1]},
        {"more": 1},
    ):
        forged = {**members, verifier.SUBJECT: canonical_bytes({**said, **change}) + b"\n"}
        assert verifier.verify(resealed(forged, scope, ONE), twice.root).name == "changed", change
    without = {name: data for name, data in members.items() if name != verifier.SUBJECT}
    assert verifier.verify(resealed(without, scope, ONE), twice.root).name == "changed"
    assert verifier.verify(resealed(members, {"kind": "run", "of": twice.runs[0]}, ONE), twice.root).name == "changed"


def test_a_mistyped_or_erased_person_is_not_answered(twice: Twice, tmp_path: Path, capsys: Capture) -> None:
    ended = asked(capsys, twice.study, "nobody-known", tmp_path / "mine.zip")
    assert (ended.exit, ended.told["code"]) == (2, "SUBJECT_UNKNOWN")
    assert not (tmp_path / "mine.zip").exists() and "nobody-known" not in ended.out + ended.err


def test_the_second_verifier_says_the_same_of_real_selections(twice: Twice, tmp_path: Path, capsys: Capture) -> None:
    second = Second()
    now = datetime.now(UTC)
    scopes = [Scope(ScopeKind.RUN, of=run) for run in twice.runs]
    scopes.append(Scope(ScopeKind.PERIOD, since=now - timedelta(days=1), until=now + timedelta(days=1)))
    bundles = [twice.export(scope, tmp_path / f"{number}.zip") for number, scope in enumerate(scopes)]
    study = Path(shutil.copytree(twice.study, tmp_path / "study"))
    assert sekisho_here(capsys, "site", "withdraw", ONE, PERSON, "--study", study, "--json").exit == 0
    assert asked(capsys, study, PERSON, tmp_path / "mine.zip").exit == 0
    bundles.append((tmp_path / "mine.zip").read_bytes())
    for data in bundles:
        assert second.ask("verdict", data, root=twice.root)["verdict"] == verified(data, twice.root).name
        for at in range(0, len(data), len(data) // 40):
            changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]
            assert second.ask("verdict", changed, root=twice.root)["verdict"] == "changed"
    second.close()
