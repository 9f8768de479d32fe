"""sekisho compliance proof and fsck: without a key, while the log is open, and refusing by name."""

from __future__ import annotations

import base64
import shutil
import sqlite3
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "federation"))  # the command and the study are the same as there

import study_folder
from command import sekisho_here

from sekisho.core.parties import LOG_NAME, log_origin, state_folder
from sekisho.governance.log.auditlog import AuditLog
from sekisho.governance.log.entries import Entry
from sekisho.governance.log.proofs import TlogProof, verify_proof
from sekisho.governance.log.witness import Witness
from sekisho.governance.signing.keys import demo_key

AT = datetime(2026, 12, 1, tzinfo=UTC)
SITE, OTHER = study_folder.SITES[:2]
ORIGIN = log_origin("small-study", SITE)
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return study_folder.build(tmp_path_factory.mktemp("logbook") / "study")


@pytest.fixture
def study(signed: Path, tmp_path: Path) -> Path:
    """A study in which one site has written a log, signed at nine of ten entries, and witnessed another's."""
    study = Path(shutil.copytree(signed, tmp_path / "study"))
    shutil.rmtree(study / "keys")
    for site, count in ((SITE, 9), (OTHER, 2)):
        state = state_folder(study, site)
        state.mkdir(mode=0o700)
        with AuditLog.open(state / LOG_NAME, origin=log_origin("small-study", site), key=demo_key(site)) as log:
            log.append_all([Entry("step.started", site, AT, {"run": "run-1"}, {"step": n}) for n in range(count)])
            head = log.checkpoint()
            log.append(Entry("run.finished", site, AT, {"run": "run-1"}, {}))
    witness = Witness(state_folder(study, SITE) / "witness.sqlite")
    witness.check_and_persist(log_origin("small-study", OTHER), head, (), demo_key(OTHER).public)
    witness.close()
    return study


def test_fsck_says_what_it_recomputed(study: Path, capsys: Capture) -> None:
    told = sekisho_here(capsys, "compliance", "fsck", "--study", str(study), "--json").told["logs"]
    figures = [(one["party"], one["entries"], one["nodes"], one["heads"]) for one in told]
    assert figures == [(SITE, 10, 18, 1), (OTHER, 3, 4, 1)]
    assert told[0]["witnessed"] == {"verified": 1, "otherwise": 0, "contradictions": 0} and told[1]["witnessed"] is None
    prose = sekisho_here(capsys, "compliance", "fsck", SITE, "--study", str(study))
    assert prose.exit == 0 and "10 entries, 18 nodes and 1 signed heads recomputed" in prose.out
    assert f"{SITE}: 10/10" in prose.err


def changed(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(statement)


@pytest.mark.parametrize(
    ("file", "statement", "code"),
    [
        (LOG_NAME, "UPDATE entries SET body = (SELECT body FROM entries WHERE i = 3) WHERE i = 2", "LOG_DAMAGED"),
        (LOG_NAME, "UPDATE entries SET body = x'7b7d' WHERE i = 2", "ENTRY_MALFORMED"),
        (LOG_NAME, "UPDATE about SET value = value || 'x' WHERE name = 'origin'", "LOG_OF_ANOTHER"),
        ("witness.sqlite", "UPDATE heads SET size = size + 1", "LOG_DAMAGED"),
        ("witness.sqlite", "UPDATE heads SET note = replace(note, char(10) || '2', char(10) || '3')", "LOG_DAMAGED"),
    ],
)  # fmt: skip
def test_fsck_names_whose_file_is_changed(file: str, statement: str, code: str, study: Path, capsys: Capture) -> None:
    changed(state_folder(study, SITE) / file, statement)
    ended = sekisho_here(capsys, "compliance", "fsck", "--study", str(study), "--json")
    assert (ended.exit, ended.told["code"]) == (1, code) and ended.told["sentence"].startswith(f"{SITE}: ")


def test_an_entry_is_handed_over_with_its_proof(study: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "entry.tlog-proof"
    path = state_folder(study, SITE) / LOG_NAME
    with AuditLog.open(path, origin=ORIGIN, key=demo_key(SITE)) as log:      # open, as in the middle of a run
        ended = sekisho_here(capsys, "compliance", "proof", SITE, "4", "--study", study, "--out", out, "--json")
        body = list(log.entries())[4]
    assert (ended.exit, ended.told["hashes"]) == (0, 4)
    found, head = verify_proof(TlogProof.parse(out.read_text("utf-8")), origin=ORIGIN, key=demo_key(SITE).public)
    assert (found, head.size) == (body, 9)
    assert base64.b64encode(body).decode() in out.read_text("utf-8")


def test_no_proof_of_what_nobody_signed_for(study: Path, tmp_path: Path, capsys: Capture) -> None:
    for index in ("9", "10"):
        ended = sekisho_here(
            capsys, "compliance", "proof", SITE, index, "--study", str(study), "--out", str(tmp_path / "p"), "--json"
        )
        assert (ended.exit, ended.told["code"]) == (2, "NO_SUCH_ENTRY")
    changed(state_folder(study, SITE) / LOG_NAME, "UPDATE nodes SET hash = zeroblob(32) WHERE k = 5")
    ended = sekisho_here(
        capsys, "compliance", "proof", SITE, "4", "--study", str(study), "--out", str(tmp_path / "p"), "--json"
    )
    assert ended.told["code"] == "INCLUSION_INVALID" and not (tmp_path / "p").exists()
    ended = sekisho_here(
        capsys, "compliance", "proof", SITE, "0", "--study", str(study), "--out", str(tmp_path / "no" / "p"), "--json"
    )
    assert ended.exit == 2
