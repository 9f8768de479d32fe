"""What a site remembers of the papers that it ran under lives in its log and is found from the log's end.

The attacks that it stops (rollback, exchange, a predecessor that never was) are in tests/attacks/test_approvals.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sekisho.core.data.intake import BaseModelFacts
from sekisho.core.site.folder import SiteFolder
from sekisho.core.site.memory import CHUNK, highest, remember
from sekisho.governance.errors import Refused
from sekisho.governance.log.auditlog import AuditLog
from sekisho.governance.log.entries import Entry, EntryType
from sekisho.governance.provenance.disclosure import DisclosureLevel
from sekisho.governance.signing.keys import SigningKey

from ..federation import study_folder
from .own_study import run

NOW = datetime(2026, 12, 1, tzinfo=UTC)
KEY = SigningKey.from_seed(b"m" * 32)
POLICY, ROSTER = EntryType.POLICY_LOADED, EntryType.ROSTER_ACCEPTED


def digest(letter: str) -> str:
    return "sha256:" + letter * 64


@pytest.fixture
def log(tmp_path: Path) -> Iterator[AuditLog]:
    with AuditLog.open(tmp_path / "log.sqlite", origin="sekisho.example/study/kohi", key=KEY) as opened:
        yield opened


def test_a_new_log_remembers_nothing(log: AuditLog) -> None:
    assert highest(log, POLICY) is None and highest(log, ROSTER) is None


def test_the_last_version_is_remembered_for_each_kind_of_paper_and_after_opening_again(tmp_path: Path) -> None:
    for version, letter in ((1, "a"), (2, "b")):
        with AuditLog.open(tmp_path / "log.sqlite", origin="sekisho.example/study/kohi", key=KEY) as log:
            remember(log, POLICY, party="kohi", version=version, digest=digest(letter), at=NOW)
            remember(log, ROSTER, party="kohi", version=version + 5, digest=digest("f"), at=NOW)
    with AuditLog.open(tmp_path / "log.sqlite", origin="sekisho.example/study/kohi", key=KEY) as log:
        assert highest(log, POLICY) == (2, digest("b"))
        assert highest(log, ROSTER) == (7, digest("f"))


@pytest.mark.parametrize("later", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 3])
def test_it_is_found_behind_any_number_of_other_entries(log: AuditLog, later: int) -> None:
    remember(log, POLICY, party="kohi", version=3, digest=digest("c"), at=NOW)
    other = Entry("run.stopped", "kohi", NOW, refs={"run": "r1"}, data={"type": "policy.loaded"})
    log.append_all([other] * later)
    assert highest(log, POLICY) == (3, digest("c"))


def test_a_demo_forgets_what_it_ran_under_when_it_is_reset_and_a_real_study_cannot(tmp_path: Path) -> None:
    """Whoever edits the example signs it again under the same version: after a reset that runs, before it does not."""
    study = study_folder.build(tmp_path / "study")

    def open_site() -> None:
        SiteFolder.open(study, "ame", base_model=facts(), clock=lambda: NOW).close()

    open_site()
    study_folder.change(study / "sites/ame/policy.yaml", "audit_years: 6", "audit_years: 5")
    study_folder.sign_policy(study, "ame")
    with pytest.raises(Refused) as caught:
        open_site()
    assert caught.value.code == "POLICY_EXCHANGED" and "reset-demo" in caught.value.hint
    assert run("study", "reset-demo", study).exit == 0
    open_site()
    study_folder.change(study / "roster.yaml", "demo: true\ncreated", "demo: false\ncreated")
    assert run("study", "reset-demo", study).exit != 0
    assert (study / "sites/ame/state/log.sqlite").is_file()


def facts() -> BaseModelFacts:
    level = DisclosureLevel.SOURCES_LISTED
    return BaseModelFacts(Path(), study_folder.WEIGHTS, {}, "bert", 384, 1536, 6, 1, "Apache-2.0", level, 1)
