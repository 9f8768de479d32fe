"""The reports: self-contained, both languages, no empty section, inert against what studies and policies put in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_facts import SITES, baselines, facts, failed_run, groups, one_method, row, run, site_facts

from sekisho.core.pilot import report
from sekisho.core.pilot.baselines import Baselines, CurveSeries, Point
from sekisho.core.pilot.figures import chance_text, delta_text, epsilon_text, money_text, plain_text
from sekisho.core.pilot.findings import NotTried, SummaryInput
from sekisho.core.pilot.report import pilot_report
from sekisho.core.pilot.site_report import ClauseWords, SiteReportInput, SiteRun, site_report
from sekisho.core.pilot.summary import summarise
from sekisho.governance.language import Catalogue, Text

CORE = Path(report.__file__).parents[1]


class Outline(HTMLParser):
    """Collects what a browser would fetch or run, checks that elements close, and reads sections and table rows."""

    VOID = frozenset({"meta", "input", "br", "link", "img", "rect", "line", "circle", "polyline", "polygon"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetches: list[str] = []
        self.sections: list[list[str]] = []
        self.widths: list[int] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {"script", "iframe", "object", "embed", "link", "img"} or any(
            name in {"src", "href", "action"} or name.startswith("on") for name, _ in attrs
        ):
            self.fetches.append(tag)
        if tag == "section":
            self.sections.append([])
        if tag == "tr":
            self.widths.append(0)
        if tag in {"th", "td"}:
            self.widths[-1] += int(dict(attrs).get("colspan") or 1)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del tag, attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "section" in self.open and data.strip() and "h2" not in self.open:
            self.sections[-1].append(data.strip())


def outline(html: str) -> Outline:
    parser = Outline()
    parser.feed(html)
    assert parser.open == []
    return parser


def told(given: SummaryInput) -> str:
    return pilot_report(given, summarise(given))


def variants() -> Iterator[tuple[str, str]]:
    """Every shape that a report can have."""
    yield "two methods, baselines, groups", told(facts())
    yield "one method alone", told(one_method())
    yield "one method, nothing shown of sites", told(one_method(demo=False))
    yield "no measure, no stage", told(facts(measures=(), stages=()))
    yield "a later run failed", told(facts(runs=(run("probe"), failed_run())))
    yield "a later run never begun", told(facts(runs=(run("probe"),)))
    yield "no result at all", told(one_method(runs=(failed_run("probe"),)))
    yield "protection failed", told(facts(runs=(run("probe", protections={"policy": True}), run("lora"))))
    yield "warnings, a disclaimer", told(facts(warnings=(Text(en="Mind", ja="注意"),), disclaimer=Text(en="d", ja="d")))
    yield "records", told(facts(unit="record"))
    yield "a site", site_report(site_facts())
    yield "a site of one run, without a head", site_report(site_facts(runs=site_facts().runs[:1], personal=None))
    yield "nobody left out, no ledger", site_report(site_facts(runs=(quiet_run(),), ledger=(), demo=False))


def quiet_run() -> SiteRun:
    return site_facts().runs[0].model_copy(update={"excluded": {"withdrawn": 0}})


VARIANTS = dict(variants())
each_variant = pytest.mark.parametrize("html", VARIANTS.values(), ids=VARIANTS)


@each_variant
def test_pages_fetch_nothing_and_run_nothing(html: str) -> None:
    assert outline(html).fetches == []
    assert "url(" not in html and "@import" not in html
    assert "default-src 'none'" in html


@each_variant
def test_no_section_is_empty(html: str) -> None:
    sections = outline(html).sections
    assert len(sections) >= 10
    assert all(sections), html


@each_variant
def test_every_row_of_a_table_has_as_many_cells_as_its_head(html: str) -> None:
    for table in re.findall(r"<table>.*?</table>", html, flags=re.DOTALL):
        assert len(set(outline(table).widths)) == 1, table


@each_variant
def test_both_languages_are_whole_in_one_file(html: str) -> None:
    english, japanese = html.split('<main class="en"')[1].split('<main class="ja"')
    for part in ("<section>", "<h3", "<tr", "<td", "<li", "<svg", "<figure>", "<p"):
        assert english.count(part) == japanese.count(part), part
    names = "".join(name.ja for _, name in SITES)
    texts = re.sub(r"<[^>]*>", "", english)
    assert not re.search("[ぁ-んァ-ヶ]", texts.translate(dict.fromkeys(map(ord, names)))), "Japanese among the English"


def test_a_page_is_the_same_bytes_for_the_same_facts() -> None:
    assert dict(variants()) == VARIANTS


def test_markup_in_names_questions_and_policies_stays_text() -> None:
    attack = Text(en='<script>alert(1)</script>"\'&', ja="<img src=x onerror=alert(1)>\"'&")
    plain = baselines().model_dump(by_alias=True)
    plain["rows"] = [{**dict(row("a", attack.en, attack.ja, None, 0.7)), "note": attack.model_dump()}]
    plain["settings"] = [attack.model_dump()]
    plain["curve"]["series"][0]["name"] = attack.model_dump()
    hostile = Baselines.model_validate(plain, strict=False)
    group = groups(0.0)[0].model_copy(update={"id": attack.en})
    html = told(facts(
        title=attack, question=attack, requester=attack.en, study=attack.en, stage=attack.en, baselines=hostile,
        methods=(attack.en, "lora"), disclaimer=attack, warnings=(attack,),
        runs=(run("probe", settings=((attack.en, attack.en),), groups=(group,)).model_copy(
            update={"method": attack.en}), failed_run("lora", failure=attack.en)),
    ))
    clause = ClauseWords(id="1", name=attack, prose=attack, enforced=attack, recorded=attack)
    html += site_report(site_facts(name=attack, policy=(clause,)))
    assert "<script" not in html and "<img" not in html
    assert outline(html).fetches == []


# --- what stands where


def test_first_screen_says_decision_reasons_measures_and_budget_before_anything_else() -> None:
    html = told(facts())
    order = [html.index(words) for words in (
        "Decision, by the rule", ">Go<", "even the lower bound 0.783 meets the target 0.75", "All protections held",
        "The return of the first year", "against the target</figcaption>", "Lifetime ε spent", "9.02 of 9.5",
        "Otherwise inconclusive", "Privacy budget", "6.10 of 9.5", "Measures of success", "Accuracy, whoever wins",
        "Does a foundation model need", "Results by product group", "Privacy of each run", "If parties join forces",
        "Protections</h2>", "How an update is packed", "Value, cost", "Bytes and seconds", "Not promised",
        "Verify it yourself")]
    assert order == sorted(order)


@pytest.mark.parametrize("words", [
    "no independent cryptographic review yet", "does not cover pretraining", "all keys sit on one machine",
    "people of the public test set are not protected", "公開テストデータに含まれる人は保護の対象外です",
    "The makers are fictitious", "shown because the data are public", "第三者による暗号の審査", "食品メーカーは架空",
])
def test_the_report_says_what_is_not_promised(words: str) -> None:
    assert words.lower() in told(facts()).lower()


def test_both_methods_stand_side_by_side_everywhere() -> None:
    english = VARIANTS["two methods, baselines, groups"].split('<main class="ja"')[0]
    for heading in ("Results by product group", "Privacy of each run", "If parties join forces", "Protections</h2>"):
        part = english[english.index(heading):]
        head = part[: part.index("</thead>")]
        assert head.count("Linear head") == 1 and head.count("LoRA") == 1, heading
    assert "0.812" in english and "0.831" in english


def test_the_second_opinion_stands_beside_the_certificate() -> None:
    english = told(facts()).split('<main class="ja"')[0]
    label = english.index("ε by Opacus")
    cells = re.findall(r'<td class="number">(.*?)</td>', english[label:])[:2]
    assert cells == ["2.95", "2.96"]
    assert '<td class="number">–</td>' in told(facts(runs=(run("probe", cross_check=None), run("lora"))))
    alone = told(one_method(runs=(run("probe", cross_check=None),)))
    assert "Opacus" not in alone and "–</td>" not in alone


def test_epsilon_is_shown_for_every_size_of_a_coalition_of_each_run() -> None:
    html = told(facts())
    for run_of in facts().runs:
        for _, epsilon in run_of.coalition:
            assert f">{epsilon_text(epsilon)}<" in html


def test_what_holds_at_one_site_more_than_declared_stands_beside_the_coalitions() -> None:
    told_of = told(facts(runs=(run("probe", more_sites=(2, 6.7049)), run("lora", more_sites=(2, 6.713)))))
    after = told_of[told_of.index("If parties join forces") :]
    assert "Should a person have records at 2 sites, which is more than was declared" in after
    assert "6.71, 1e-5)" in after and "6.72, 1e-5)" in after  # rounded up, as every epsilon is
    assert "申告より多い 2 社に一人の記録がある場合" in told_of
    assert "more than was declared" not in told(facts())  # where there is no figure nothing is said


def test_the_report_says_how_updates_were_packed_noised_and_sent_and_what_was_computed() -> None:
    part = told(facts()).split('<main class="ja"')[0]
    part = part[part.index("How an update is packed") : part.index("Who took part")]
    rows = {
        label: [re.sub(r"<[^>]*>", "", cell.replace("<br>", " ")) for cell in cells]
        for label, *cells in re.findall(
            r'<th scope="row">(.*?)</th><td class="number loose">(.*?)</td><td class="number loose">(.*?)</td>', part
        )
    }
    assert rows["Packing: fields encrypted as one number"] == ["2x24 2 × 24 bits", "3x16-rotated 3 × 16 bits, rotated"]
    assert rows["More noise because of whole numbers (factor f)"] == ["× 1.001", "× 1.009"]  # rounded up
    assert rows["Chance that a field overflows in a step"] == ["≤ 4e-10", "≤ 2e-6"]
    assert rows["Chance that a field overflows in the run"] == ["≤ 3e-8", "≤ 5e-5"]
    assert rows["Sums decrypt exactly, for certain, up to"] == ["95 sites", "95 sites"]
    sent = rows["Sent by one site in a step, measured"][1]
    assert sent == "208,004 bytes 2.79 bytes a parameter, 70 % of float32"
    for label, count in (("", "299,482"), (" to open", "306,002")):
        former = rows[f"The same{label}, had it been packed as 2x24: computed, to compare"]
        assert former[1].startswith(f"{count} bytes 4."), former
    assert "Overflow costs accuracy, never privacy" in part
    assert "upper bounds while no step uses more people or records than the study planned for" in part


def test_a_run_that_did_not_finish_counts_no_bytes_and_still_says_how_it_was_packed() -> None:
    html = told(one_method(runs=(failed_run("probe"),)))
    assert "2 × 24 bits" in html and "a parameter, " not in html


@pytest.mark.parametrize(("value", "shown"), [
    (0.0, "< 1e-300"), (3.1e-12, "≤ 4e-12"), (1e-6, "≤ 1e-6"), (0.0421, "≤ 0.05"), (0.96, "≤ 1"), (1.0, "≤ 1"),
])
def test_a_chance_is_never_shown_smaller_than_its_bound(value: float, shown: str) -> None:
    assert chance_text(value) == shown


@pytest.mark.parametrize(("why", "says", "in_japanese"), [
    (NotTried.PRIVATE, "which nobody approved", "その利用は承認されていない"),
    (NotTried.DROPPED, "each site dropped the rows as soon as the run was over", "各社は実行の終了と同時に"),
    (NotTried.UNFINISHED, "there is no adapter to try", "試すアダプターがありません"),
])
def test_a_membership_test_that_was_not_tried_says_why(why: NotTried, says: str, in_japanese: str) -> None:
    html = told(one_method(runs=(run("probe", membership=why),)))
    assert "Not tried: " in html and says in html and "実施していません" in html and in_japanese in html
    assert "0.5 is a guess" not in html and "0.5 is a guess" in told(facts())
    assert summarise(one_method(runs=(run("probe", membership=why),))).runs[0].membership == why


def test_every_lifetime_figure_names_its_delta_and_the_coalition_that_it_holds_against() -> None:
    first, *others = facts().sites
    other = first.model_copy(update={"lifetime_delta": Decimal("0.000002")})
    for html, delta in ((told(facts()), "1e-5"), (told(facts(sites=(other, *others))), "2e-6, 1e-5")):
        for said in (f"Lifetime ε by site (δ = {delta})", f"ε at δ = {delta}, against", "in this pilot at most 1"):
            assert said in html, said
        own = delta.split(",")[0]  # one bar, so the δ of that site alone
        assert f"<figcaption>Lifetime ε spent (δ = {own})," in html
    assert html.count(" · δ = 2e-6</text>") == 2 and html.count(" · δ = 1e-5</text>") == 2 * len(others)
    assert " · δ = " not in told(facts())
    site = VARIANTS["a site"]
    assert "including observing sites (at most 1 acting together)" in site and "結託は最大 1 社" in site
    assert "Each ε here is at δ = 1e-5" in site and "いずれも δ = 1e-5 での値" in site


def test_a_site_shows_what_somebody_spent_who_was_in_every_run() -> None:
    site = VARIANTS["a site"]
    assert "Spent by somebody who was in every run" in site and "全実行に参加した人の消費" in site
    assert site.count("ε = 9.31") == 2 and site.count("ε = 9.02") == 2


def test_the_report_names_the_neighbouring_relation_and_whose_it_is() -> None:
    assert "(add-or-remove-one, per data subject)" in told(facts())
    assert "隣接関係 add-or-remove-one、単位は本人" in told(facts())
    assert "(add-or-remove-one, per record)" in told(facts(unit="record"))
    assert "隣接関係 add-or-remove-one、単位は記録" in told(facts(unit="record"))


def test_what_a_lifetime_budget_counts_of_a_person_at_several_sites_is_said_where_there_may_be_one() -> None:
    several = told(facts(max_sites_per_subject=2))
    assert "at up to 2 sites together" in several and "最大 2 社にあるものとして" in several
    assert "sites together" not in told(facts())


def test_what_all_runs_reveal_together_is_said_where_there_are_several() -> None:
    html, records = told(facts()), told(facts(unit="record"))
    assert "about any one data subject is bounded by their sum, (6.00, 2e-5)" in html
    assert "本人1名について知り得ることの上限は、各回の合計 (6.00, 2e-5)" in html
    assert "about any one record is bounded by their sum" in records
    assert "1件の記録について知り得ることの上限は、各回の合計" in records
    assert "bounded by their sum" not in told(one_method())


def test_groups_bear_the_names_of_the_sites_and_say_where_nothing_can_be_ranked() -> None:
    html = told(facts())
    assert "Kohi Roasters</th>" in html and "珈琲焙煎工房</th>" in html
    assert "one label only" in html and "一方のラベルのみ" in html
    other = groups(0.0)[0].model_copy(update={"id": "tea"})
    assert ">tea</th>" in told(facts(runs=(run("probe", groups=(other,)), run("lora", groups=()))))
    assert "Results by product group" not in told(facts(runs=(run("probe", groups=()), run("lora", groups=()))))


# --- whoever wins


def marked(html: str) -> list[str]:
    english = html.split('<main class="ja"', maxsplit=1)[0]
    rows = re.findall(r'<tr class="best"><th scope="row">(.*?) <span class="mark">', english)
    return [re.sub(r"<[^>]*>", "", name) for name in rows]


def test_the_best_of_those_with_privacy_is_marked_whoever_it_is() -> None:
    assert marked(told(facts())) == ["LoRA adapters on the foundation model"]
    plain = baselines().model_dump(by_alias=True)
    plain["rows"][3]["auc"] = plain["rows"][3]["auc_high"] = 0.9
    better = Baselines.model_validate(plain)
    assert marked(told(facts(baselines=better))) == ["No foundation model: hashed words"]


def test_this_pilots_methods_stand_before_what_was_measured_beforehand() -> None:
    english = told(facts()).split('<main class="ja"')[0]
    order = [english.index(words) for words in (
        "This pilot</th>", "Linear head on the frozen foundation model</th>", "LoRA adapters on the foundation model",
        "measured beforehand", "Shokuhin alone", "LoRA, no privacy", "medians of 5 runs", "chosen by cross-validation")]
    assert order == sorted(order)


def test_other_studies_reports_omit_the_comparison() -> None:
    html = told(facts(baselines=None))
    assert "measured beforehand" not in html and "Does a foundation model" not in html
    assert html.count("<section>") == told(facts()).count("<section>") - 2


def series(foundation: bool, *points: tuple[float, float, float]) -> CurveSeries:
    name = Text(en="With" if foundation else "Without", ja="あり" if foundation else "なし")
    return CurveSeries(name=name, foundation=foundation,
                       points=tuple(Point(share=share, auc=auc, seconds=spent) for share, auc, spent in points))


@pytest.mark.parametrize(("points", "says"), [
    (((0.1, 0.80, 1.0), (1.0, 0.9, 9.0)), "Here it needed less data and less time."),
    (((0.1, 0.80, 6.0), (1.0, 0.9, 9.0)), "Here it needed less data, but not less time."),
    (((0.1, 0.70, 1.0), (1.0, 0.8, 4.0)), "Here it needed less time, but not less data."),
    (((0.1, 0.70, 1.0), (1.0, 0.8, 9.0)), "Here it needed neither less data nor less time."),
    (((0.1, 0.60, 1.0), (1.0, 0.7, 2.0)), "did not reach the 0.780 of Without"),
])
def test_what_the_data_curve_says_follows_from_its_figures(
    points: tuple[tuple[float, float, float], ...], says: str
) -> None:
    lines = (series(True, *points), series(False, (0.1, 0.60, 1.0), (1.0, 0.78, 5.0)))
    curve = baselines().curve.model_copy(update={"series": lines})
    assert says in told(facts(baselines=baselines().model_copy(update={"curve": curve})))


def test_without_a_pair_to_compare_the_data_curve_claims_nothing() -> None:
    curve = baselines().curve.model_copy(update={"series": (series(True, (0.1, 0.7, 1.0), (1.0, 0.8, 2.0)),)})
    html = told(facts(baselines=baselines().model_copy(update={"curve": curve})))
    assert "so this was not measured" in html and "Here it needed" not in html


# --- runs that failed


def test_a_pilot_without_any_adapter_still_has_a_report() -> None:
    html = VARIANTS["no result at all"]
    assert "No run ended with an adapter" in html and "Inconclusive" in html and "判定保留" in html


def test_a_run_that_failed_is_named_on_the_first_screen_in_both_languages() -> None:
    html = VARIANTS["a later run failed"]
    for head in (html[: html.index("Privacy budget")], html[html.index('<main class="ja"'): html.rindex("使用状況")]):
        assert "COHORT_TOO_SMALL" in head and "0.812" in head
    assert "the run did not finish (COHORT_TOO_SMALL)" in html
    assert "LoRA: there is no result" in html
    assert "not begun, because the run before it failed" in VARIANTS["a later run never begun"]


def test_a_failed_protection_is_named_with_its_run_on_the_first_screen() -> None:
    html = VARIANTS["protection failed"]
    head = html[: html.index("Privacy budget")]
    assert "No-go" in head and "A protection failed (Linear head): Noise" in head


# --- what stays where


def test_timings_and_balances_stay_out_of_the_report_on_data_that_are_not_public() -> None:
    html = told(facts(demo=False))
    assert "Shown because the data are public" not in html and "Seconds by stage" not in html
    assert "9.02 of" not in html and "Lifetime ε spent" not in html
    assert "How long sites took stays at each site." in html
    assert "stays in that site&#39;s own report" in html
    assert "ε of this pilot, with its δ: Linear head (3.00, 1e-5), LoRA (3.00, 1e-5)" in html
    assert "Shown because the data are public" in told(facts())


def test_exclusions_are_shown_by_reason_and_zeroes_are_left_out() -> None:
    html = VARIANTS["a site"]
    assert "never asked for consent" in html and "同意を求めていない" in html
    assert "consent for another purpose only" not in html
    assert "社外秘" in html
    assert html.count("never asked for consent</text>") == 1, "two runs with the same account of it are told once"


def test_runs_that_left_out_different_people_are_told_apart() -> None:
    first, second = site_facts().runs
    html = site_report(site_facts(runs=(first, second.model_copy(update={"excluded": {"budget": 7}}))))
    assert "by reason · Linear head" in html and "by reason · LoRA" in html
    assert "own privacy budget spent" in html


def test_an_unknown_reason_of_exclusion_is_counted_as_other_not_lost() -> None:
    strange = quiet_run().model_copy(update={"excluded": {"something-new": 4}})
    assert "other reason" in site_report(site_facts(runs=(strange,)))


def test_the_personal_head_is_in_its_own_sites_report_alone_and_says_that_it_stays() -> None:
    html = VARIANTS["a site"]
    for words in ("0.769", "0.818", "0.747 – 0.873", "143", "trained and tried at this site", "it never leaves",
                  "costs no privacy budget", "社外に出ることはありません", "プライバシー予算を消費しません"):
        assert words in html, words
    assert "personal head" not in VARIANTS["a site of one run, without a head"]
    assert "personal" not in set(SummaryInput.model_fields) and "personal" in set(SiteReportInput.model_fields)
    assert "personal head" not in told(facts())


# --- figures


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


# --- the catalogue


def keys_asked_for() -> set[str]:
    """Every key in templates and code, as a pattern: what is filled in when the page is made stands for any name."""
    texts = [path.read_text("utf-8") for path in sorted((CORE / "templates").glob("*.html"))]
    texts += [path.read_text("utf-8") for path in sorted((CORE / "pilot").glob("*.py"))]
    found: set[str] = set()
    for text in texts:
        found |= set(re.findall(r"""["']([a-z-]+\.[a-z-]+)["']""", text))                       # whole
        found |= {f"{a}*" for a in re.findall(r"""["']([a-z-]+\.(?:[a-z]+-)?)["'] ~""", text)}     # in templates
        found |= {f"{a}*" for a in re.findall(r"""f["']([a-z-]+\.(?:[a-z]+-)?)\{""", text)}        # in code
        found |= {f"{a}.*" for a in re.findall(r"""known\(\s*t,\s*["']([a-z-]+)["']""", text)}      # a known family
    return found


def test_no_text_of_the_reports_is_unused_and_none_is_missing() -> None:
    keys = {key.removeprefix("report.") for key in Catalogue.load("sekisho.core", "texts").keys()  # noqa: SIM118
            if key.startswith("report.")}
    asked = keys_asked_for()
    unused = {key for key in keys if not any(
        key == pattern or (pattern.endswith("*") and key.startswith(pattern[:-1])) for pattern in asked)}
    assert unused == set()
    families = {key.split(".")[0] for key in keys}
    missing = {one for one in asked if not one.endswith("*") and one.split(".")[0] in families} - keys
    # file names, and the types of log entries that protections.py reads
    assert missing <= {"report.html", "site.html", "decision.permit", "decision.refuse"}


def test_an_adapter_that_was_not_released_says_so_and_why_in_both_languages() -> None:
    kept = run("probe").model_copy(update={"withheld": "RELEASE_CLASS_DROP"})
    html = told(facts(methods=("probe",), runs=(kept,)))
    assert "not released, stays at the sites" in html and "提供せず、各拠点にとどまる" in html
    assert html.count("RELEASE_CLASS_DROP") == 2
    assert "not released" not in told(facts())
