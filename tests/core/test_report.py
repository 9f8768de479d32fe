"""The reports: self-contained, both languages, inert against what studies and policies put into them."""

from __future__ import annotations

import re
from decimal import Decimal
from html.parser import HTMLParser

import pytest

from sekisho.core.pilot.report import (
    ClauseWords,
    LedgerRun,
    SiteReportInput,
    delta_text,
    epsilon_text,
    money_text,
    pilot_report,
    plain_text,
    site_report,
)
from sekisho.core.pilot.roi import RoiInput
from sekisho.core.pilot.summary import (
    BaseModelFacts,
    ClassResult,
    MeasureInput,
    MethodResult,
    Protection,
    SiteFacts,
    StageInput,
    StepRecord,
    Steps,
    SummaryInput,
    summarise,
)
from sekisho.governance.language import Text

SITES = (
    ("kohi", Text(en="Kohi Roasters", ja="珈琲焙煎工房")),
    ("wanko", Text(en="Wanko Pet Foods", ja="ワンコのごはん本舗株式会社")),
    ("okashi", Text(en="Okashi Confectionery", ja="御菓子司おかし堂")),
    ("shokuhin", Text(en="Shokuhin General Foods", ja="総合食品ホールディングス")),
    ("daidokoro", Text(en="Daidokoro Kitchen", ja="台所用品の大所")),
)
ROOT = "sha256:" + "ab" * 32


def facts(**changes: object) -> SummaryInput:
    ids = tuple(site for site, _ in SITES)
    history = tuple(
        StepRecord(step=n, cohort=ids if n < 24 else ids[:4], outcome="abandoned" if n == 24 else "completed")
        for n in range(1, 62)
    )
    values: dict[str, object] = {
        "study": "food-quality-2026",
        "title": Text(en="Finding dissatisfied customers of five food makers",
                      ja="食品メーカー5社による不満足レビューの検出"),
        "question": Text(
            en="Can five makers together sort reviews well enough to answer unhappy customers first?",
            ja="5社が協力すれば、不満のあるお客様に優先して対応できるだけの精度でレビューを分類できるか。",
        ),
        "requester": "quality-lead",
        "stage": "pilot",
        "run": "run-2026-11-23-0001",
        "started": "2026-11-23T10:00:00+00:00",
        "finished": "2026-11-23T10:03:12+00:00",
        "demo": True,
        "root": ROOT,
        "unit": "subject",
        "delta": Decimal("0.00001"),
        "epsilon_target": Decimal("3.0"),
        "observers": 1,
        "max_sites_per_subject": 1,
        "sites": tuple(
            SiteFacts(id=site, name=name, epsilon=2.9971, lifetime_before=0.0 if i else 3.4,
                      lifetime_spent=3.4 if i else 5.1, lifetime_epsilon=Decimal("6.5"),
                      lifetime_delta=Decimal("0.00001"))
            for i, (site, name) in enumerate(SITES)
        ),
        "steps": Steps(planned=60, completed=60, abandoned=1),
        "history": history,
        "methods": {"probe": MethodResult(
            auc=0.812, auc_low=0.781, auc_high=0.843, accuracy=0.779, accuracy_low=0.752, accuracy_high=0.804, n=993,
            per_class=(ClassResult(label="dissatisfied", n=410, correct=301),
                       ClassResult(label="satisfied", n=583, correct=473)))},
        "measures": (
            MeasureInput(name="auc", method="probe", target=Decimal("0.75"),
                         text=Text(en="Ranks an unhappy review above a happy one",
                                   ja="不満のレビューを上位に並べられる")),
            MeasureInput(name="accuracy", method="probe", target=Decimal("0.72"),
                         text=Text(en="Share of reviews labelled right", ja="正しく分類されたレビューの割合")),
        ),
        "protections": dict.fromkeys(map(str, Protection), True),
        "coalition": ((0, 2.61), (1, 2.9971), (2, 3.61), (3, 4.77), (4, 6.72)),
        "base_model": BaseModelFacts(name="all-MiniLM-L6-v2", digest="sha256:" + "53" * 32, licence="Apache-2.0",
                                     disclosure="sources-listed"),
        "adapter": "sha256:" + "cd" * 32,
        "parameters": 385,
        "uplink_bytes_per_parameter": 3.91,
        "seconds": {"features": 71.3, "training": 12.4, "encryption": 30.9, "opening": 9.1, "evidence": 1.2},
        "value": RoiInput(currency="JPY", reviews_per_year=120_000, minutes_saved_per_review=Decimal("1.5"),
                          cost_per_hour=Decimal("2400"), share_handled=Decimal("0.6"), pilot_cost=Decimal("1200000"),
                          yearly_cost=Decimal("900000"), threshold=Decimal("0.5")),
        "stages": (
            StageInput(name="pilot", cost=Decimal("1200000"), caps={"sites": "5", "epsilon": "3.0"},
                       gate=Text(en="Legal and IT have signed the study.",
                                 ja="法務とITが研究計画に署名していること。")),
            StageInput(name="next", cost=Decimal("4000000"), caps={"sites": "12", "epsilon": "8.0"},
                       gate=Text(en="The pilot's report says go, and a board has read it.",
                                 ja="パイロット報告書が「実施可」で、取締役会が確認していること。")),
            StageInput(name="production", cost=Decimal("9000000"), caps={"sites": "40"},
                       gate=Text(en="An independent review of the cryptography.",
                                 ja="暗号の第三者審査が完了していること。")),
        ),
    }
    return SummaryInput(**{**values, **changes})


def site_facts(**changes: object) -> SiteReportInput:
    values: dict[str, object] = {
        "site": "wanko", "name": SITES[1][1], "study": "food-quality-2026", "title": facts().title,
        "run": "run-2026-11-23-0001", "started": "2026-11-23T10:00:00+00:00", "demo": True, "root": ROOT,
        "records": 1432, "subjects": 418, "used_subjects": 331,
        "excluded": {"withdrawn": 12, "expired": 31, "never-asked": 36, "objected": 8, "other-scope": 0},
        "unit": "subject", "epsilon": 2.9971, "delta": Decimal("0.00001"), "lifetime_epsilon": Decimal("6.5"),
        "lifetime_delta": Decimal("0.00001"), "spent_most": 5.102, "spent_least": 0.0, "ledger_subjects": 344,
        "runs": (LedgerRun(run="run-2026-11-22-0001", steps=65, started=61, disclosed=61, state="closed"),
                 LedgerRun(run="run-2026-11-23-0001", steps=65, started=60, disclosed=60, state="closed")),
        "policy_id": "wanko/reviews", "policy_version": 2, "policy_digest": "sha256:" + "12" * 32,
        "policy": (
            ClauseWords(
                id="1",
                name=Text(en="Validity", ja="有効期間"),
                prose=Text(en="In force until 31 December 2099.", ja="2099年12月31日まで有効。"),
                enforced=Text(en="nothing from 2100 on", ja="2100年以降は不可"),
                recorded=None,
            ),
        ),
        "log_entries": 211, "log_root": "9f" * 32,
    }
    return SiteReportInput(**{**values, **changes})


class Outline(HTMLParser):
    """Collects what a browser would fetch or run, and checks that elements close."""

    VOID = frozenset({"meta", "input", "br", "link", "img", "rect", "line", "circle", "polyline"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetches: list[str] = []
        self.headings: list[tuple[str, str]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {"script", "iframe", "object", "embed", "link", "img"} or any(
            name in {"src", "href", "action"} or name.startswith("on") for name, _ in attrs
        ):
            self.fetches.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del tag, attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def outline(html: str) -> Outline:
    parser = Outline()
    parser.feed(html)
    assert parser.open == []
    return parser


def pages() -> list[str]:
    return [pilot_report(facts(), summarise(facts())), site_report(site_facts())]


def test_pages_fetch_nothing_and_run_nothing() -> None:
    for html in pages():
        assert outline(html).fetches == []
        assert "url(" not in html and "@import" not in html
        assert "default-src 'none'" in html


def test_both_languages_are_whole_in_one_file() -> None:
    for html in pages():
        english, japanese = html.split('<main class="ja"')
        assert len(re.findall("<section>", english)) == len(re.findall("<section>", japanese)) >= 5
        body = english.split('<main class="en"')[1]
        names = [name.ja for _, name in SITES]
        assert not re.search("[ぁ-んァ-ヶ]", "".join(body.split("<h2>")) if not any(n in body for n in names) else "")


def test_a_page_is_the_same_bytes_for_the_same_facts() -> None:
    assert pages() == pages()


def test_markup_in_names_questions_and_policies_stays_text() -> None:
    attack = Text(en='<script>alert(1)</script>"\'&', ja="<img src=x onerror=alert(1)>\"'&")
    html = pilot_report(facts(title=attack, question=attack), summarise(facts(title=attack)))
    clause = ClauseWords(id="1", name=attack, prose=attack, enforced=attack, recorded=attack)
    html += site_report(site_facts(name=attack, policy=(clause,)))
    assert "<script" not in html and "<img" not in html
    assert outline(html).fetches == []


def test_first_screen_says_decision_reasons_measures_and_budget_in_this_order() -> None:
    html = pages()[0]
    order = [html.index(word) for word in (
        "Decision, by the rule", ">Go<", "even the lower bound meets", "Measures of success", "≥ 0.75", "0.812",
        "Privacy budget", "5.10 of 6.5", "Protections")]
    assert order == sorted(order)


@pytest.mark.parametrize("words", [
    "no independent cryptographic review yet", "does not cover pretraining", "all keys sit on one machine",
    "The makers are fictitious", "shown because the data are public", "第三者による暗号の審査", "食品メーカーは架空",
])
def test_the_report_says_what_is_not_promised(words: str) -> None:
    assert words.lower() in pages()[0].lower()


def test_a_run_without_an_adapter_still_has_a_report() -> None:
    given = facts(methods={}, adapter=None, steps=Steps(planned=60, completed=3, abandoned=6))
    html = pilot_report(given, summarise(given))
    assert "The run ended without an adapter" in html and "Inconclusive" in html and "判定保留" in html
    outline(html)


def test_a_failed_protection_is_named_on_the_first_screen() -> None:
    given = facts(protections={"policy": True})
    html = pilot_report(given, summarise(given))
    head = html[: html.index("Measures of success")]
    assert "No-go" in head and "A protection failed: Noise" in head


def test_shown_epsilon_is_never_below_the_spent_one() -> None:
    assert epsilon_text(2.9971) == "3.00"
    assert epsilon_text(3.0) == "3.00"
    assert epsilon_text(3.000001) == "3.01"
    assert epsilon_text(Decimal("0.005")) == "0.01"


def test_figures_read_as_people_write_them() -> None:
    assert delta_text(Decimal("0.00001")) == "1e-5"
    assert delta_text(Decimal("0.0000025")) == "2.5e-6"
    assert money_text(Decimal(1200000), "JPY", "ja") == "1,200,000円"
    assert money_text(Decimal(1200000), "JPY", "en") == "1,200,000 JPY"
    assert plain_text(Decimal("3E+3")) == "3,000"
    assert plain_text(Decimal("0.30")) == "0.3"


def test_exclusions_are_shown_by_reason_and_zeroes_are_left_out() -> None:
    html = pages()[1]
    assert "never asked for consent" in html and "同意を求めていない" in html
    assert "consent for another purpose only" not in html
    assert "社外秘" in html


def test_an_unknown_reason_of_exclusion_is_counted_as_other_not_lost() -> None:
    assert "other reason" in site_report(site_facts(excluded={"something-new": 4}))


def test_timings_and_balances_stay_out_of_the_report_on_data_that_are_not_public() -> None:
    given = facts(demo=False, seconds={})
    html = pilot_report(given, summarise(given))
    assert "Shown because the data are public" not in html
    assert summarise(given).budgets == {} != summarise(facts()).budgets
    assert "lifetime_spent" not in summarise(given).to_bytes().decode("utf-8")
    assert "How long sites took stays at each site." in html
    assert "stays in that site&#39;s own report" in html or "stays in that site's own report" in html
    shown = facts()
    assert "Shown because the data are public" in pilot_report(shown, summarise(shown))
