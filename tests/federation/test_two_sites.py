"""A study whose people may be at two sites runs like any other: with the noise for two, and no page says otherwise."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import study_folder
from command import Quiet
from study_folder import HashedFeatures, change

from sekisho.core.errors import CoreError
from sekisho.core.pilot.pilot import run_pilot
from sekisho.core.planning import plan_of
from sekisho.core.site.papers import read_study
from sekisho.privacy.accounting.accountant import subject_figure, worst_certificate


@pytest.fixture(params=["1", pytest.param("0.5", marks=pytest.mark.proof)], ids=["full batch", "half of them"])
def two_sites(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The small study with s_max = 2, with one person whose records are at two sites, signed again."""
    study = study_folder.build(tmp_path / "study", steps=3, allowance=0)
    change(study / "study.yaml", "max_sites_per_subject: 1", "max_sites_per_subject: 2")
    # where only some are drawn each site has a coin of its own; at full batch two vectors are one of twice the length
    change(study / "study.yaml", 'sampling_rate: "1"', f'sampling_rate: "{request.param}"')
    for site in ("ame", "hana"):
        path = study / "sites" / site / "records.jsonl.gz"
        rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode("utf-8").splitlines()]
        for row in rows[:2]:
            row["subject"] = "at-two-sites"
        path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode("utf-8"), mtime=0))
        change(study / "sites" / site / "consent.jsonl", f'"{site}-c000"', '"at-two-sites"')
    for site in study_folder.SITES:
        change(study / "sites" / site / "policy.yaml", "max_sites_per_subject: 1", "max_sites_per_subject: 2")
    study_folder.sign(study)
    return study


def test_a_study_of_people_at_two_sites_runs_with_the_noise_for_two(two_sites: Path, tmp_path: Path) -> None:
    run_pilot(two_sites, tmp_path / "out", Quiet(), features=HashedFeatures())  # type: ignore[arg-type]  stands in for both
    told = json.loads((tmp_path / "out" / "summary.json").read_text("utf-8"))
    (run,) = told["runs"]
    plan = plan_of(read_study(two_sites), "probe", dimension=HashedFeatures.width + 1)
    assert plan.sites_per_subject == plan.event(5, 1).contributions == 2
    # every site certified it for a person at two, and nothing is spent beyond the target
    assert all(worst_certificate(plan, 1) <= epsilon <= 3 for epsilon in run["epsilon"].values())
    assert run["more_sites"][0] == 3 and run["more_sites"][1] > 4
    # the other accountant knows no coins of several sites, and its figure would be another's
    assert (run["cross_check"] is None) == (plan.sampling_rate != 1)
    assert all(run["protections"].values())
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "at up to 2 sites together" in page and "最大 2 社にあるものとして" in page
    assert "records at 3 sites, which is more than was declared" in page
    assert "add-or-remove-one, per data subject" in page and told["adjacency"] == "add-or-remove-one"
    site = (tmp_path / "out" / "sites" / "ame" / "report.html").read_text("utf-8")
    assert "add-or-remove-one, per data subject" in site
    # the positive control: the noise for one site would not have done
    alone = read_study(two_sites).model_copy(update={"max_sites_per_subject": 1})
    bare = plan_of(alone, "probe", dimension=HashedFeatures.width + 1)
    assert subject_figure(bare, cohort=5, observers=1, contributions=2) > 6


def test_a_policy_for_one_site_refuses_a_study_for_two(two_sites: Path, tmp_path: Path) -> None:
    path = two_sites / "sites" / "ame" / "policy.yaml"
    change(path, "max_sites_per_subject: 2", "max_sites_per_subject: 1")
    study_folder.sign_policy(two_sites, "ame")
    with pytest.raises(CoreError) as refused:
        run_pilot(two_sites, tmp_path / "out", Quiet(), features=HashedFeatures())  # type: ignore[arg-type]  stands in for both
    assert "SUBJECT_AT_TOO_MANY_SITES" in str(refused.value) or refused.value.code == "SUBJECT_AT_TOO_MANY_SITES"
