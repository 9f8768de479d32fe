"""After a coordinator lied about its log, the evidence of it verifies anywhere, and says whom it convicts of what."""

from __future__ import annotations

from pathlib import Path

import pytest

from sekisho.core.messages import LogHead, SignedMessage
from sekisho.core.pilot.evidence import export_evidence
from sekisho.governance.evidence import verifier

from ..governance.liars import Tree
from .hostile import attack
from .test_coordinator_log import (
    COORDINATOR,
    LIES,
    Lie,
    a_head_without_the_entry,
    a_rewritten_log,
    a_second_history,
    an_earlier_head,
    lied,
    shown,
)


@pytest.mark.parametrize(
    "lie", [a_second_history, an_earlier_head, a_rewritten_log, a_head_without_the_entry], ids=lambda lie: lie.__name__
)
def test_evidence_of_a_lie_verifies_without_us_and_convicts_the_liar(study: Path, tmp_path: Path, lie: Lie) -> None:
    kind, charge = LIES[lie]
    with attack(study, lied(kind, 2, lie)) as ongoing:
        assert ongoing.refused is not None
    out = tmp_path / "evidence.zip"
    written = export_evidence(study, out)
    verdict = verifier.verify_file(out, written.root)
    assert verdict.name == "verified", verdict.details
    told = [line for line in verdict.details if line.startswith("misbehaviour: ")]
    assert told and all(f"convicts {COORDINATOR} of " in line and line.endswith(f"({charge})") for line in told), told
    # whoever takes the proof out, or bends it, gets another verdict
    members = verifier.read_container(out.read_bytes())
    (name, *_) = (name for name in members if name.startswith("misbehaviour/"))
    for changed in (
        {key: data for key, data in members.items() if key != name},
        {**members, name: members[name].replace(b'"kind":"', b'"kind":"x')},
    ):
        assert verifier.verify(verifier.write_container(changed), written.root).name == "changed"


def test_two_histories_that_convicted_nobody_in_the_run_do_when_evidence_is_gathered(
    study: Path, tmp_path: Path
) -> None:
    def grown(message: SignedMessage, log: LogHead, tree: Tree) -> LogHead:
        return shown(tree.add("run.stopped"), log)

    both = [lied(kind, 2, grown) for kind in ("step", "readies")]
    with attack(study, lambda *told: next(filter(None, (lie(*told) for lie in both)), None)) as ongoing:
        assert ongoing.refused is not None and ongoing.refused.code == "LOG_VIEWS_DIFFER"
    written = export_evidence(study, tmp_path / "evidence.zip")
    verdict = verifier.verify_file(tmp_path / "evidence.zip", written.root)
    assert verdict.name == "verified", verdict.details
    assert any(f"convicts {COORDINATOR} of " in line and line.endswith("(fork)") for line in verdict.details)
    assert any(f"{COORDINATOR} is convicted above" in line for line in verdict.details)
