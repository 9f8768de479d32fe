"""The weak membership test of a pilot's report: where data are public, never elsewhere, and never an acceptance."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sekisho.core.pilot.findings import MembershipFacts, NotTried
from sekisho.core.pilot.membership import membership_facts
from sekisho.core.pilot.scores import evaluate_method, read_test_set
from sekisho.core.pilot.summary import RunSummary, Summary
from sekisho.core.site.publish import publish

from .books import open_federation


def test_a_figure_with_bounds_for_public_data_and_none_for_private_ones(study: Path, tmp_path: Path) -> None:
    federation = open_federation(study)
    try:
        result = federation.run("probe")
        published = publish(federation.sites["ame"], tmp_path / "adapter")
        test = read_test_set(study, federation.study)
        found = evaluate_method(federation, "probe", published, test).membership
        assert isinstance(found, MembershipFacts) and found.weak
        assert (found.customers, found.others) == (5 * 30, len(test.texts))
        assert found.auc_low <= found.auc <= found.auc_high
        # the direction: whoever was learned from and has the lower losses is told apart
        positive = test.positive(federation.study.labels[1])
        worse = np.where(positive, -1000.0, 1000.0)
        told = membership_facts(federation, published, worse, test)
        better = membership_facts(federation, published, -worse, test)
        assert isinstance(told, MembershipFacts) and told.auc == 1.0
        assert isinstance(better, MembershipFacts) and better.auc == 0.0
        # what sites do whose study has no personal heads: then the report says why there is no figure
        for site in federation.sites.values():
            site.data = None
        assert membership_facts(federation, published, worse, test) is NotTried.DROPPED
        # private records were not approved for this use
        federation.roster = replace(federation.roster, demo=False)
        assert evaluate_method(federation, "probe", published, test).membership is NotTried.PRIVATE
        assert result.state.completed == 4
    finally:
        federation.close()


def test_a_summary_says_the_figure_and_no_rule_looks_at_it() -> None:
    assert "membership" in RunSummary.model_fields
    assert "membership" not in Summary.model_fields


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_report_says_that_the_test_is_weak(language: str) -> None:
    from sekisho.core.pilot.report import HOUSE
    from sekisho.governance.language import Catalogue

    texts = Catalogue.load(HOUSE, "texts")
    weak = {"en": ("weak", "cannot show that the bound holds"), "ja": ("検出力", "示すことはできません")}[language]
    said = texts["report.membership.title"][language] + texts["report.membership.weak"][language]
    assert all(words in said for words in weak)
