"""What a site remembers of the papers that it ran under lives in its log; a demo may forget it, nobody else.

The attacks that it stops (rollback, exchange, a predecessor that never was) are in tests/attacks/; how the last entry
of a type is found, in tests/governance/test_milestones.py.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from sekisho.core.data.intake import BaseModelFacts
from sekisho.core.site.folder import SiteFolder
from sekisho.governance.errors import Refused
from sekisho.governance.provenance.disclosure import DisclosureLevel

from ..federation import study_folder
from .own_study import run

NOW = datetime(2026, 12, 1, tzinfo=UTC)


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
