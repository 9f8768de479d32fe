"""Remarks on a valid policy: one case per code, silence on a good one, and numbers read as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import ROUND_FLOOR, Decimal
from pathlib import Path

import pytest

from sekisho.governance.language import Catalogue, Text
from sekisho.governance.policy.lint import LEVEL_OF, LEVELS, Remark, lint
from sekisho.governance.policy.lint_rules import MOST_FOR_A_LIFE
from sekisho.governance.policy.policy import Policy
from sekisho.governance.policy.prose import named, numbers, only_in_one_language, only_in_prose
from sekisho.privacy.accounting.accountant import filter_cap, filter_order
from sekisho.privacy.budget import Adjacency, Budget, Unit

from .policy_cases import KOHI, kohi

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 11, 25, tzinfo=UTC)
UNTIL = 'until: "2100-01-01T00:00:00+09:00"'
CONSENT = 'bases: ["appi:specified-purpose-17-1", "appi:consent-18-1"]'
LEAVES = "leaves_site: [masked-update, adapter]"
TEXT = KOHI.decode()
TRAIN = TEXT[TEXT.index("  - id: G1") : TEXT.index("  - id: G2")]
RELEASE = TEXT[TEXT.index("  - id: G2") :]


def remarks(*edits: tuple[str, str], now: datetime = NOW) -> tuple[Remark, ...]:
    text = TEXT
    for before, after in edits:
        assert before in text, before
        text = text.replace(before, after, 1)
    return lint(Policy.parse(text.encode(), "edited.yaml"), now=now)


# code: (edits, clause, field)
CASES: dict[str, tuple[list[tuple[str, str]], str | None, str | None]] = {
    "EXPIRED": ([(UNTIL, 'until: "2026-11-25T09:00:00+09:00"')], "1", "until"),
    "EXPIRES_SOON": ([(UNTIL, 'until: "2027-01-10T00:00:00+09:00"')], "1", "until"),
    "NOT_YET_VALID": ([("2026-11-01T00:00:00+09:00", "2027-11-01T00:00:00+09:00")], "1", "from"),
    "VALID_FOR_LONG": ([], "1", "until"),
    "STOP_LIST_OLD": ([("list_max_age_hours: 24", "list_max_age_hours: 400")], "2", "list_max_age_hours"),
    "CONSENT_BASIS_UNUSED": ([("consent: {required: true", "consent: {required: false")], "3", "consent.required"),
    "CONSENT_WITHOUT_BASIS": ([(CONSENT, 'bases: ["appi:entrustment-27-5-1"]')], "3", "bases"),
    "SPECIAL_WITHOUT_BASIS": ([("special_category: false", "special_category: true")], "3", "bases"),
    "SPECIAL_WITHOUT_CONSENT": (
        [("special_category: false", "special_category: true"), (CONSENT, 'bases: ["appi:consent-20-2"]'),
         ("consent: {required: true", "consent: {required: false")], "3", "consent.required"),
    "SPECIAL_NOT_DECLARED": ([("[customer-review]", '["pd:HealthRecord"]')], "3", "dataset.special_category"),
    "DESTINATION_LACKS_PARTY": ([("destinations: [JP]", "destinations: [DE]")], "4", "destinations"),
    "TRAIN_CANNOT_LEAVE": ([(LEAVES, "leaves_site: [adapter]")], "4", "leaves_site"),
    "RELEASE_CANNOT_LEAVE": ([(LEAVES, "leaves_site: [masked-update]")], "4", "leaves_site"),
    "LEAVES_UNUSED": ([(RELEASE, "")], "4", "leaves_site"),
    "MEASURE_LACKING": ([("require: [secure-aggregation, bfv", "require: [bfv")], "5", "require"),
    "FEW_HONEST": ([("min_sites: 3", "min_sites: 2")], "6", "min_sites"),
    "UNIT_RECORD": ([("unit: subject", "unit: record")], "8", "unit"),
    "EPSILON_LARGE": ([('lifetime: {epsilon: "8.5"', 'lifetime: {epsilon: "10.01"')], "8", "lifetime.epsilon"),
    "DELTA_LARGE": ([('delta: "0.00001"}', 'delta: "0.0000100001"}')], "8", "lifetime.delta"),
    "LIFETIME_BEYOND_SITES": ([('lifetime: {epsilon: "8.5"', 'lifetime: {epsilon: "25.1"')], "8", "lifetime.epsilon"),
    "SINGLE_RUN": ([('lifetime: {epsilon: "8.5"', 'lifetime: {epsilon: "3.2"')], "8", "lifetime"),
    "UNDISCLOSED_MODELS": ([("min_disclosure: sources-listed", "min_disclosure: none")], "9", "min_disclosure"),
    "REQUESTER_APPROVES": ([("exclude_requester: true", "exclude_requester: false")], "10", "exclude_requester"),
    "NO_EVIDENCE_KEPT": ([("audit_years: 6", "audit_years: 0")], "11", "audit_years"),
    "WITHDRAWAL_KEEPS": (
        [("released_adapter: notify-and-review", "released_adapter: keep")], "11", "on_withdrawal.released_adapter"),
    "TRAIN_WITHOUT_RELEASE": ([(RELEASE, "")], None, None),
    "RELEASE_WITHOUT_TRAIN": ([(TRAIN, "")], None, None),
    "GRANT_VACUOUS": ([(RELEASE, RELEASE + RELEASE.replace("G2", "G3"))], "G3", "action"),
    "GRANT_PERMITS_NOTHING": ([("recipients: [participants]", "recipients: []")], "G1", None),
    "PERMITS_NOTHING": ([(LEAVES, "leaves_site: []")], None, None),
    "PROSE_NUMBER": ([('per_run: {epsilon: "3.2"', 'per_run: {epsilon: "4.0"')], "8", "text"),
    "LANGUAGES_DIFFER": ([("1回の実行はε=3.2", "1回の実行はε=3.0")], "8", "text"),
    "SUPERSEDES_MISSING": ([("version: 1", "version: 2")], None, "supersedes"),
    "SUPERSEDES_FIRST": ([("version: 1", f"version: 1\nsupersedes: sha256:{'a' * 64}")], None, "supersedes"),
    "CLAUSES_OUT_OF_ORDER": ([('id: "10"', 'id: "12"')], None, None),
}  # fmt: skip


@pytest.mark.parametrize("code", sorted(LEVEL_OF))
def test_each_remark_is_made_where_it_should_be(code: str) -> None:
    edits, clause, field = CASES[code]
    made = [one for one in remarks(*edits) if one.code == code]
    assert made and (made[0].clause, made[0].field, made[0].level) == (clause, field, LEVEL_OF[code])
    assert made[0].text.en and made[0].text.ja and "{" not in made[0].text.en + made[0].text.ja
    assert made[0].to_json()["text"]["ja"] == made[0].text.ja
    if edits:
        assert code not in {one.code for one in lint(kohi(), now=NOW)}


def test_the_example_is_remarked_upon_for_its_long_term_alone() -> None:
    assert [one.code for one in lint(kohi(), now=NOW)] == ["VALID_FOR_LONG"]


def test_every_code_has_words_and_there_are_no_words_without_a_code() -> None:
    texts = Catalogue.load("sekisho.governance", "texts")
    assert {key.removeprefix("lint.") for key in texts.keys() if key.startswith("lint.")} == set(LEVEL_OF)  # noqa: SIM118
    assert set(CASES) == set(LEVEL_OF)


def test_the_gravest_remarks_come_first() -> None:
    levels = [one.level for one in remarks(*CASES["EXPIRED"][0], *CASES["UNIT_RECORD"][0], *CASES["SINGLE_RUN"][0])]
    assert levels == sorted(levels, key=list(LEVELS).index) and set(levels) == {"error", "warning", "note"}


def test_the_last_moment_of_a_policy_is_not_yet_expired() -> None:
    until = datetime(2100, 1, 1, tzinfo=timezone(timedelta(hours=9)))
    assert "EXPIRED" not in {one.code for one in remarks(now=until - timedelta(microseconds=1))}
    assert "EXPIRED" in {one.code for one in remarks(now=until)}
    assert "EXPIRES_SOON" not in {one.code for one in remarks(now=until)}


def test_each_party_without_its_country_among_the_destinations_is_named() -> None:
    found = remarks(("destinations: [JP]", "destinations: [DE]"))
    assert ["kohi is in JP" in one.text.en for one in found if one.code == "DESTINATION_LACKS_PARTY"] == [True, False]


def test_of_two_grants_that_say_the_same_only_the_later_is_vacuous() -> None:
    found = remarks(*CASES["GRANT_VACUOUS"][0])
    assert [one.clause for one in found if one.code == "GRANT_VACUOUS"] == ["G3"]
    smaller = TRAIN.replace("methods: [probe, lora]", "methods: [probe]").replace("G1", "G0")
    contained = remarks((TRAIN, smaller + TRAIN))
    assert [one.clause for one in contained if one.code == "GRANT_VACUOUS"] == ["G0"]


@pytest.mark.parametrize(
    ("prose", "expected"),
    [
        ("epsilon 3.0 in one run, delta 1e-6 or 10^-6", {"3", "0.000001"}),
        ("at most 6,000,000 yen and 30 days", {"6000000", "30"}),
        ("APPI Art. 18(1), Arts. 17(1) and 21(1), 45 CFR 164.514(e), (EU) 2016/679, clause 8, TLS 1.3", set()),
        ("45 CFR 164.316(b)(2)(i) and 164.530(j) ask for six; recital 47; EDPB Opinion 28/2024; 同(e)(4)", set()),
        ("個人情報保護法27条1項、第8項、第23条の2、GDPR前文47項により5社以上", {"5"}),
        ("x25519-mlkem768 and all-MiniLM-L6-v2 and G2", set()),
        ("全角の１２か月", {"12"}),
    ],
)
def test_numbers_are_read_as_people_write_them(prose: str, expected: set[str]) -> None:
    assert numbers(prose) == {Decimal(one) for one in expected}


def test_a_number_in_words_is_no_difference_between_the_languages() -> None:
    assert only_in_one_language(Text(en="At least three companies.", ja="3社以上。")) == ()
    assert only_in_one_language(Text(en="From 1 November 2026.", ja="2026年11月1日から。")) == ()
    assert only_in_one_language(Text(en="At least 3 companies.", ja="三社以上。")) == ()
    assert only_in_one_language(Text(en="At least 3 companies.", ja="5社以上。")) == (3, 5)
    assert named("three", "en") == {Decimal(3)} and named("三", "ja") == {Decimal(3)}


def test_a_number_in_the_prose_must_stand_in_a_field() -> None:
    clause = kohi().clause("privacy_budget")
    assert only_in_prose(clause) == ()
    altered = clause.model_copy(update={"text": Text(en="Epsilon 3.20 and 9.5.", ja="ε=3.2。")})
    assert only_in_prose(altered) == (Decimal("9.5"),)
    validity = kohi().clause("validity")
    assert only_in_prose(validity) == ()  # the day before the end is the last day in force


def test_a_number_in_words_must_stand_in_a_field_as_well() -> None:
    clause = kohi().clause("retention")
    for words in (Text(en="For seven years.", ja="保存する。"), Text(en="Kept.", ja="七年間保存する。"),
                  Text(en="Kept.", ja="七名が保存する。")):
        assert only_in_prose(clause.model_copy(update={"text": words})) == (7,), words
    held = Text(en="For six years.", ja="六年間保存する。")
    assert clause.audit_years == 6 and only_in_prose(clause.model_copy(update={"text": held})) == ()
    assert only_in_prose(clause.model_copy(update={"text": Text(en="Kept.", ja="十二年間保存する。")})) == (12,)
    # said of what is not counted
    loose = Text(en="Of two sites, only two things, and in no one case.", ja="第三者に提供しない。二重に扱わない。")
    assert only_in_prose(clause.model_copy(update={"text": loose})) == ()
    assert only_in_one_language(Text(en="For three years.", ja="五年間とする。")) == (3, 5)
    assert only_in_one_language(Text(en="For twelve years.", ja="十二年間とする。")) == ()


def test_a_threshold_that_is_met_exactly_is_not_remarked_upon() -> None:
    ten = remarks(('lifetime: {epsilon: "8.5"', 'lifetime: {epsilon: "10.0"'))
    assert not {"EPSILON_LARGE", "DELTA_LARGE"} & {one.code for one in ten}  # and delta is 0.00001


def test_a_lifetime_that_is_not_remarked_upon_is_one_that_sites_keep() -> None:
    for delta in ("0.5", "0.001", "0.00001", "0.000001", "0.000000001"):
        epsilon = (MOST_FOR_A_LIFE + Decimal(delta).ln()).quantize(Decimal("0.1"), ROUND_FLOOR)
        budget = Budget(epsilon, Decimal(delta), Unit.SUBJECT, Adjacency.ADD_OR_REMOVE_ONE)
        assert filter_cap(budget, filter_order(budget)) > 0
    at_most = remarks(('lifetime: {epsilon: "8.5"', 'lifetime: {epsilon: "25"'))
    assert "LIFETIME_BEYOND_SITES" not in {one.code for one in at_most}


def test_a_special_basis_other_than_consent_needs_no_consent() -> None:
    found = remarks(
        ("special_category: false", "special_category: true"), (CONSENT, 'bases: ["eu-gdpr:A9-2-j"]'),
        ("consent: {required: true", "consent: {required: false"),
    )  # fmt: skip
    assert not {"SPECIAL_WITHOUT_CONSENT", "SPECIAL_WITHOUT_BASIS"} & {one.code for one in found}


def _shipped() -> list[Path]:
    templates = [path for path in (ROOT / "policies").glob("*.yaml") if not path.name.endswith(".cases.yaml")]
    return sorted([*(ROOT / "examples").glob("*/sites/*/policy.yaml"), *templates])


@pytest.mark.parametrize("path", _shipped(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_policy_that_we_ship_has_an_error_or_prose_that_contradicts_its_fields(path: Path) -> None:
    found = lint(Policy.parse(path.read_bytes(), path.name), now=NOW)
    assert not {one.code for one in found if one.level == "error"} | {"PROSE_NUMBER", "LANGUAGES_DIFFER"} & {
        one.code for one in found
    }
