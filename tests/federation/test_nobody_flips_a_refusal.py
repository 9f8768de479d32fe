"""Whether a site takes a run must not tell of one person: two worlds that differ in one subject look alike outside.

The whole of a site runs in both: papers, ledger, joins, steps. Compared is every message that leaves it, by kind and
code. Not here: numbers that a person's records move, which the mechanism's noise covers.
"""

from __future__ import annotations

from pathlib import Path

import study_folder
from channels import Recording
from command import ledger_of
from study_folder import SITES, SUBJECTS_PER_SITE, HashedFeatures
from test_refusals import lifetime_for

from sekisho.core.engines.embedded import EmbeddedChannel
from sekisho.core.errors import CoreError
from sekisho.core.messages import Decline, SignedMessage
from sekisho.core.pilot.federation import Federation

ONE = "hana"
Seen = list[tuple[str, str, str]]  # site, kind of message, code of a refusal


def run_with(study: Path, subjects: int) -> Seen:
    """One run of ``study`` with that many subjects at one site; what the coordinator received."""
    study_folder.write_records(study / "sites" / ONE / "records.jsonl.gz", ONE, subjects)
    channels: list[Recording] = []

    def wrap(channel: EmbeddedChannel) -> Recording:
        channels.append(Recording(channel))
        return channels[-1]

    federation = Federation.open(study, features=HashedFeatures(), wrap=wrap)  # type: ignore[arg-type]  stands in for both
    try:
        federation.run("probe")
    except CoreError:
        pass  # what a refusal ends is in what was received
    finally:
        federation.close()
    bodies = [(site, SignedMessage.from_bytes(data).body) for site, data in channels[0].received]
    return [(site, body.kind, body.code if isinstance(body, Decline) else "") for site, body in bodies]


def test_one_person_who_came_later_does_not_decide_whether_a_site_joins(tmp_path: Path) -> None:
    """After two runs everybody else is spent; of the person who came for the second, one more would fit."""
    lifetime = lifetime_for(tmp_path, pilots=2)
    seen: dict[str, list[Seen]] = {}
    for world, later in (("with", 1), ("without", 0)):
        study = study_folder.build(tmp_path / world, steps=3, allowance=0, lifetime=lifetime)
        seen[world] = [run_with(study, 1), run_with(study, 1 + later), run_with(study, 1 + later)]
    assert seen["with"] == seen["without"]
    for world in seen:
        assert [run.charged for run in ledger_of(tmp_path / world, ONE)] == [3, 3]
    # both runs went to their end, and the third is refused by that site as by everybody
    assert all((ONE, "finished", "") in run for run in seen["with"][:2])
    assert declined(seen["with"][2]) == dict.fromkeys(SITES, "BUDGET_LIFETIME")
    # people who are all new find the budget as the runs left it: served, they would tell that somebody came
    assert of_the_run(run_with(tmp_path / "without", SUBJECTS_PER_SITE)) == of_the_run(seen["without"][2])


def of_the_run(seen: Seen) -> Seen:
    """Without what sites say when they are told once more how earlier runs ended, of which there is one more then."""
    return [one for one in seen if one[1] != "stopped"]


def declined(seen: Seen) -> dict[str, str]:
    return {site: code for site, kind, code in seen if kind == "decline"}
