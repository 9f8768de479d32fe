"""Every command: help, one JSON object when it succeeds and when it fails, and the exit code of the table."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer

from sekisho.core.cli.cli import COMMANDS
from sekisho.core.parties import LOG_NAME, log_origin
from sekisho.core.site import budget
from sekisho.core.site.budget import RunView
from sekisho.governance.log.auditlog import AuditLog
from sekisho.governance.signing.envelope import sign_statement, write_envelopes
from sekisho.governance.signing.keys import SigningKey, demo_key
from sekisho.governance.signing.roster import roster_statement

from ..federation import study_folder
from ..federation.command import Ended, one_line, sekisho, sekisho_here

Capture = pytest.CaptureFixture[str]

# Words that succeed on the small study, and words that do not, with their exit code and error code.
# {study}, {site} and {out} are filled in; a pilot that succeeds takes long and is shown in tests/faults, and what
# changes a study succeeds once: test_own_study.py.
GOOD: dict[str, str | None] = {
    "pilot": None,
    "study new": None,
    "study status": "{study}",
    "study key": None,
    "study reset-demo": "{study}",
    "legal sign": None,
    "legal stop": None,
    "legal resume": None,
    "legal stops": "{study}",
    "legal revoke": None,
    "site sign-roster": None,
    "legal check": "{study}/sites/{site}/policy.yaml",
    "legal show": "{study}/sites/{site}/policy.yaml",
    "legal diff": "{study}/sites/{site}/policy.yaml {study}/sites/{site}/policy.yaml",
    "legal combine": "{study}",
    "legal lint": "{study}/sites/{site}/policy.yaml",
    "legal amend": None,
    "legal decide": "{study}",
    "legal test": None,
    "legal intake": None,  # tests/core/test_legal_intake.py
    "legal template": "finance",
    "legal schema": None,  # its prose is JSON as well
    "legal odrl": None,
    "legal revoke-adapter": None,
    "legal revocations": "{study}",
    "site enrol": "{site} --study {study}",
    "site serve": None,  # tests/federation/test_site_service.py, tests/flare
    "site status": None,
    "coordinator enrol": "--host coordinator.example --study {study}",
    "coordinator admit": None,
    "coordinator serve": None,
    "coordinator run": None,
    "coordinator status": None,
    "coordinator stop": None,
    "site release": None,
    "site use": None,
    "site budget": "{site} --study {study}",
    "site consent": "{site} --study {study}",
    "site withdraw": "{site} {site}-c007 --study {study}",
    "site erase": "{site} nobody --study {study}",
    "site remedies": "{site} --study {study}",
    "site subject-request": None,
    "remedy": "{study}",
    "compliance export": None,
    "compliance gather": None,  # tests/flare/test_processes.py
    "compliance verify": None,
    "compliance provenance": None,
    "compliance proof": None,
    "compliance fsck": None,
    "compliance retire": None,
    "compliance views": None,
    "doctor": "",
}
BAD: dict[str, tuple[str, int, str]] = {
    "pilot": ("{out}/nowhere --out {out}/out", 2, "FILE_UNREADABLE"),
    "study new": ("{out}/new --sites one,two --from {out}/nowhere.csv", 2, "SITES_UNUSABLE"),
    "study status": ("{out}/nowhere", 2, "FILE_UNREADABLE"),
    "study key": ("nobody --study {study}", 3, "NAME_UNKNOWN"),
    "study reset-demo": ("{out}/nowhere", 2, "FILE_UNREADABLE"),
    "legal sign": ("{study}/study.yaml --role legal --as nobody", 3, "PERSON_UNKNOWN"),
    "legal stop": ("{study} --role legal --as nobody --reason INCIDENT", 3, "PERSON_UNKNOWN"),
    "legal resume": ("--study {study} --role legal --as person-legal", 3, "STOP_NONE"),
    "legal stops": ("{out}/nowhere", 2, "FILE_UNREADABLE"),
    "legal revoke": ("{study}/study.yaml --role legal --as nobody", 3, "PERSON_UNKNOWN"),
    "site sign-roster": ("nobody --study {study}", 3, "NOT_A_SITE"),
    "legal check": ("{study}/study.yaml", 2, "SCHEMA_VERSION"),
    "legal show": ("{study}/study.yaml", 2, "SCHEMA_VERSION"),
    "legal diff": ("{study}/sites/{site}/policy.yaml", 2, "NO_EARLIER_VERSION"),
    "legal combine": ("{out}/nowhere", 2, "FILE_UNREADABLE"),
    "legal lint": ("{out}/nowhere", 2, "FILE_UNREADABLE"),
    "legal amend": ("{out}/nowhere", 2, "FILE_UNREADABLE"),
    "legal decide": ("{out}/nowhere", 2, "FILE_UNREADABLE"),
    "legal test": ("{study}/sites/{site}/policy.yaml", 3, "CASES_MISSING"),
    "legal intake": ("{out}/nowhere", 2, "BASE_MODEL_NO_FOLDER"),
    "legal template": ("nothing", 2, "TEMPLATE_UNKNOWN"),
    "legal schema": ("--out {study}/study.yaml", 3, "FILE_EXISTS"),
    "legal odrl": ("{study}/study.yaml", 2, "SCHEMA_VERSION"),
    "legal revoke-adapter": ("{out} --study {study} --as person-legal --reason QUALITY", 2, "FILE_UNREADABLE"),
    "legal revocations": ("{out}/nowhere", 2, "FILE_UNREADABLE"),
    "site enrol": ("nobody --study {study}", 2, "SITE_UNKNOWN"),
    "site serve": ("nobody --study {study}", 2, "SITE_UNKNOWN"),
    "site status": ("nobody --study {study}", 2, "SITE_UNKNOWN"),
    "coordinator enrol": ("--host coordinator.example --study {out}/nowhere", 2, "FILE_UNREADABLE"),
    "coordinator admit": ("{out}/nowhere --study {study}", 2, "FILE_UNREADABLE"),
    "coordinator serve": ("--study {study}", 2, "ENGINE_KIT"),
    "coordinator run": ("nothing --study {study}", 3, "METHOD_UNKNOWN"),
    "coordinator status": ("--study {out}/nowhere", 2, "FILE_UNREADABLE"),
    "coordinator stop": ("--study {out}/nowhere", 2, "FILE_UNREADABLE"),
    "site release": ("{site} no-such-run --study {study}", 2, "CANDIDATE_MISSING"),
    "site use": ("{out} --site {site} --study {study}", 3, "USE_MALFORMED"),
    "site budget": ("nobody --study {study}", 2, "SITE_UNKNOWN"),
    "site consent": ("{site} --study {study} --withdraw nobody", 3, "CONSENT_SUBJECT_UNKNOWN"),
    "site withdraw": ("{site} nobody --study {study}", 3, "CONSENT_SUBJECT_UNKNOWN"),
    "site erase": ("{site} {site}-c007 --study {study}", 3, "ERASURE_FILES_HOLD"),
    "site remedies": ("nobody --study {study}", 2, "SITE_UNKNOWN"),
    "site subject-request": ("{site} nobody --study {study} --out {out}/mine.zip", 2, "SUBJECT_UNKNOWN"),
    "remedy": ("{out}/nowhere", 2, "FILE_UNREADABLE"),
    "compliance export": ("{study} --out {out}/evidence.zip", 2, "NO_LOG"),
    "compliance gather": ("{out}/nowhere.zip --study {study} --out {out}/whole.zip", 2, "FILE_UNREADABLE"),
    "compliance verify": ("{out}/nowhere.zip", 2, "FILE_UNREADABLE"),
    "compliance provenance": ("{out}/nowhere --study {study}", 2, "PROVENANCE_MISSING"),
    "compliance proof": ("{site} 0 --study {study}", 2, "NO_LOG"),
    "compliance views": ("{out}/nowhere.zip --out {out}/views", 2, "FILE_UNREADABLE"),
    "compliance retire": ("nobody --study {study}", 3, "PARTY_UNKNOWN"),
    "compliance fsck": ("nobody --study {study}", 3, "PARTY_UNKNOWN"),
}


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return study_folder.build(tmp_path_factory.mktemp("cli") / "study")


@pytest.fixture
def study(signed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(signed, tmp_path / "study"))


def leaves() -> Iterator[tuple[str, Any]]:
    """Every command with its parameters, as the program itself knows them."""
    for name in COMMANDS:
        command = typer.main.get_command(importlib.import_module(f"sekisho.core.cli.{COMMANDS[name][0]}").app)
        below = getattr(command, "commands", None)
        yield from [(name, command)] if not below else [(f"{name} {word}", below[word]) for word in below]


LEAVES = dict(leaves())


def here(capsys: Capture, words: str, study: Path, out: Path) -> Ended:
    filled = words.format(study=study, site=study_folder.SITES[0], out=out)
    return sekisho_here(capsys, *filled.split())


def test_every_command_is_tried_here_and_takes_json() -> None:
    assert set(GOOD) == set(LEAVES)
    assert set(BAD) == set(LEAVES) - {"doctor"}  # the doctor's way to fail is in test_doctor.py's hands
    for name, command in LEAVES.items():
        options = [option for parameter in command.params for option in parameter.opts]
        assert "--json" in options, name
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"{name}: {parameter.name} is not explained"


@pytest.mark.parametrize("name", ["", *COMMANDS, *(name for name in LEAVES if " " in name)])
def test_help_says_what_a_command_does(name: str, capsys: Capture) -> None:
    ended = sekisho_here(capsys, *name.split(), "--help")
    assert (ended.exit, ended.err) == (0, "")
    assert ended.out.startswith("Usage: sekisho")
    assert len(ended.out.splitlines()) > 4


def test_version_and_unknown_words(capsys: Capture) -> None:
    assert sekisho_here(capsys, "--version").out.startswith("sekisho 0.")
    for words in (("nonsense",), ("pilot", "--nonsense"), ("legal", "nonsense"), ("legal", "check")):
        ended = sekisho_here(capsys, *words)
        assert (ended.exit, ended.out) == (2, ""), words
        assert ended.err.startswith("Usage: sekisho"), words


@pytest.mark.parametrize("name", [name for name, words in GOOD.items() if words is not None])
def test_success_is_one_json_object(name: str, study: Path, tmp_path: Path, capsys: Capture) -> None:
    ended = here(capsys, f"{name} {GOOD[name]} --json", study, tmp_path)
    assert (ended.exit, ended.err) == (0, ""), ended
    assert "code" not in ended.told
    prose = here(capsys, f"{name} {GOOD[name]}", study, tmp_path)
    assert prose.exit == 0 and prose.out.strip()
    assert not prose.out.startswith("{")


@pytest.mark.parametrize("name", BAD)
def test_failure_is_one_json_object(name: str, study: Path, tmp_path: Path, capsys: Capture) -> None:
    words, exit_code, code = BAD[name]
    ended = here(capsys, f"{name} {words} --json", study, tmp_path)
    assert (ended.exit, ended.err) == (exit_code, ""), ended
    assert (ended.told["exit"], ended.told["code"]) == (exit_code, code)
    assert one_line(ended.told)
    prose = here(capsys, f"{name} {words}", study, tmp_path)
    assert prose.exit == exit_code
    line, hint = prose.err.splitlines()
    assert line == f"sekisho: {'refused' if exit_code == 3 else 'error'}: {ended.told['sentence']} [{code}]"
    assert hint == f"sekisho: hint: {ended.told['hint']}"


def test_a_denied_study_is_one_object_with_every_decision(study: Path, tmp_path: Path, capsys: Capture) -> None:
    study_folder.change(study / "study.yaml", "dpv:ImproveExistingProductsAndServices", "dpv:Marketing")
    ended = here(capsys, "legal decide {study} --json", study, tmp_path)
    assert (ended.exit, ended.told["code"]) == (3, "STUDY_DENIED")
    decisions = ended.told["decisions"]
    assert {name.split("/")[0] for name in decisions} == set(study_folder.SITES)
    assert all(decision["decision"] == "deny" for decision in decisions.values())
    prose = here(capsys, "legal decide {study} --language ja", study, tmp_path)
    assert prose.exit == 3
    assert "[PURPOSE_NOT_GRANTED]" in prose.out and "  拒否" in prose.out and "  NO" not in prose.out
    assert "ここでは仮定し、後に各拠点が判断する事項" in prose.out and "assumed here" not in prose.out


def test_a_policy_is_read_out_in_one_language(study: Path, tmp_path: Path, capsys: Capture) -> None:
    policy = "{study}/sites/ame/policy.yaml"
    english = here(capsys, f"legal check {policy}", study, tmp_path).out.splitlines()[0]
    japanese = here(capsys, f"legal check {policy} --language ja", study, tmp_path).out.splitlines()[0]
    assert english.startswith("policy.yaml: ") and english.endswith(", version 1, reads as follows")
    assert japanese.startswith("policy.yaml: ") and japanese.endswith("、第1版の内容")


def test_only_a_demo_gets_its_budget_back(study: Path, tmp_path: Path, capsys: Capture) -> None:
    state = study / "sites" / "ame" / "state"
    state.mkdir(mode=0o700)
    (state / "ledger.sqlite").write_bytes(b"what was spent")
    origin = log_origin("small-study", "ame")
    AuditLog.open(state / LOG_NAME, origin=origin, key=demo_key("ame")).close()
    real = Path(shutil.copytree(study, tmp_path / "real"))
    roster_in_earnest(real)
    ended = here(capsys, "study reset-demo {study} --json", real, tmp_path)
    assert (ended.exit, ended.told["code"]) == (3, "NOT_A_DEMO")
    # one edited word is not enough: the sites did not sign it
    study_folder.change(real / "roster.yaml", "\ndemo: false", "\ndemo: true")
    ended = here(capsys, "study reset-demo {study} --json", real, tmp_path)
    assert (ended.exit, ended.told["code"]) == (3, "ROSTER_UNSIGNED")
    assert (real / "sites" / "ame" / "state" / "ledger.sqlite").read_bytes() == b"what was spent"
    assert here(capsys, "study reset-demo {study} --json", study, tmp_path).told["removed"] == ["ame"]
    assert not state.exists()


@pytest.mark.parametrize("log", [True, False])
def test_a_demo_roster_in_the_place_of_a_real_one_wipes_no_real_study(
    study: Path, tmp_path: Path, capsys: Capture, log: bool
) -> None:
    """Everybody can make one of the same sites, signed by all of them: the keys of a demo are published."""
    for site in study_folder.SITES:
        state = study / "sites" / site / "state"
        state.mkdir(mode=0o700)
        (state / "ledger.sqlite").write_bytes(b"what was spent")
        key = demo_key(site) if site != study_folder.SITES[-1] else SigningKey.generate()
        if log or key.demo:
            AuditLog.open(state / LOG_NAME, origin=log_origin("small-study", site), key=key).close()
    ended = here(capsys, "study reset-demo {study} --json", study, tmp_path)
    assert (ended.exit, ended.told["code"]) == (3, "STATE_NOT_A_DEMO")
    for site in study_folder.SITES:  # nothing at all, not only the real one's
        assert (study / "sites" / site / "state" / "ledger.sqlite").read_bytes() == b"what was spent"


def roster_in_earnest(study: Path) -> None:
    """The same roster with keys of its own, not marked as a demo, signed by every site."""
    path = study / "roster.yaml"
    text = path.read_text("utf-8").replace("demo: true", "demo: false")
    keys = {name: SigningKey.generate() for name in (*study_folder.SITES, "coordinator", *study_folder.PEOPLE.values())}
    for name, key in keys.items():
        text = text.replace(demo_key(name).public.to_text(), key.public.to_text())
    path.write_text(text, "utf-8")
    statement = roster_statement(study_folder.read_roster(study), file="roster.yaml")
    envelopes = [sign_statement(statement, [keys[site]]) for site in study_folder.SITES]
    path.with_name("roster.yaml.dsse.json").write_bytes(write_envelopes(envelopes))


@pytest.mark.parametrize("more", [("--sign",), ("--as", "person-legal")])
def test_who_signs_the_list_of_revoked_adapters_says_so_and_who_they_are(
    more: tuple[str, ...], study: Path, capsys: Capture
) -> None:
    told = sekisho_here(capsys, "legal", "revocations", study, *more, "--json").told
    assert (told["code"], told["exit"]) == ("SIGN_AND_PERSON", 2)


def test_whoever_asks_in_japanese_is_refused_in_japanese(study: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "out").mkdir()
    words, _, code = BAD["site use"]
    told = here(capsys, f"site use {words} --language ja --json", study, tmp_path).told
    assert told["code"] == code and told["sentence"].startswith("フォルダーは") and "指定する" in told["hint"]


def test_a_hint_names_a_folder_only_for_a_file_that_it_holds(study: Path, tmp_path: Path, capsys: Capture) -> None:
    revoked = ("legal", "revoke-adapter", tmp_path, "--study", study, "--as", "person-legal", "--reason", "QUALITY")
    assert "of a released adapter holds release.json" in sekisho_here(capsys, *revoked, "--json").told["hint"]
    other = sekisho_here(capsys, "legal", "intake", study, "--record", tmp_path / "other.yaml", "--json").told
    assert other["code"] == "FILE_UNREADABLE" and "holds" not in other["hint"]


def test_a_withdrawal_counts_at_once_and_is_not_printed(study: Path, tmp_path: Path, capsys: Capture) -> None:
    before = here(capsys, "site consent ame --study {study} --json", study, tmp_path).told["counts"]
    ended = here(capsys, "site consent ame --study {study} --withdraw ame-c007 --json", study, tmp_path)
    assert (before, ended.told["counts"]) == ({"granted": 30}, {"granted": 29, "withdrawn": 1})
    assert "ame-c007" not in ended.out + ended.err


def test_a_dry_run_of_consents_lists_every_row_and_an_import_takes_all_or_none(
    study: Path, tmp_path: Path, capsys: Capture
) -> None:
    table = tmp_path / "consents.csv"
    head = "subject,scope,event,at,expires,notice"
    good = f"ame-c900,{study_folder.SCOPE},granted,2026-11-01T00:00:00Z,,n"
    table.write_text("\n".join([head, good, *(f"planted taro {n}" for n in range(30))]), "utf-8")
    command = f"site consent ame --study {{study}} --import {table} --format csv"
    ended = here(capsys, command + " --dry-run", study, tmp_path)
    assert ended.exit == 2
    assert "consents.csv:22: CONSENT_ROW_FIELDS" in ended.out and "consents.csv:23:" not in ended.out
    assert "10 more" in ended.out and "30 such rows" in ended.err
    listed = (study / "sites" / "ame" / "state" / "consent-refused.csv").read_text("utf-8").splitlines()
    assert listed == ["line,code", *(f"{n},CONSENT_ROW_FIELDS" for n in range(3, 33))]
    told = here(capsys, command + " --json", study, tmp_path).told
    assert (told["code"], len(told["refused"])) == ("CONSENT_ROW_FIELDS", 30)
    assert "planted" not in ended.out + ended.err + repr(told)
    table.write_text(f"{head}\n{good}\n", "utf-8")
    assert here(capsys, command + " --dry-run --json", study, tmp_path).told["import"]["good"] == 1
    assert here(capsys, "site consent ame --study {study} --json", study, tmp_path).told["counts"] == {"granted": 30}
    told = here(capsys, command + " --check --json", study, tmp_path).told
    assert (told["import"]["recorded"], told["counts"], told["checked"]) == (1, {"granted": 31}, 31)


def test_a_budget_names_each_run_once(
    study: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunView(run="probe-1", steps=65, started=60, disclosed=59, state="closed")
    view = replace(budget.budget_view(study, "ame"), runs=(run,))
    monkeypatch.setattr(budget, "budget_view", lambda study, site: view)  # a run on the small study takes long
    assert here(capsys, "site budget ame --study {study}", study, tmp_path).out.count("probe-1") == 1


def test_help_in_a_process_of_its_own_is_light() -> None:
    ended = sekisho("--help")
    assert ended.exit == 0
    assert not {"torch", "tenseal", "numpy", "dp_accounting", "transformers"} & ended.loaded


def test_a_crash_leaves_no_core_file_with_keys_and_records() -> None:
    script = (
        "import resource, sys; sys.argv = ['sekisho', '--help']\n"
        "from sekisho.core.cli.cli import main\n"
        "try:\n    main()\nfinally:\n    print('limit', resource.getrlimit(resource.RLIMIT_CORE))"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines()[-1] == "limit (0, 0)"
