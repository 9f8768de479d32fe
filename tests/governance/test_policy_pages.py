"""What people read of a policy and of a comparison: complete, in both languages, escaped, and nothing is fetched."""

from __future__ import annotations

import html as escapes
import re
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.core.paperwork.difference import difference
from sekisho.governance.evidence.policy_pages import comparison_page, policy_page
from sekisho.governance.language import LANGUAGES, Language
from sekisho.governance.policy.always_clauses import ALWAYS
from sekisho.governance.policy.changes import Changes, changes, marked
from sekisho.governance.policy.compare import Verdict, compare
from sekisho.governance.policy.escape import quantities
from sekisho.governance.policy.explain import explanations
from sekisho.governance.policy.grant_clauses import GRANTS
from sekisho.governance.policy.lattice import EITHER, MUST, Interval, Level, OneOf, Requires, Window, Within
from sekisho.governance.policy.policy import Policy
from sekisho.governance.policy.reading import Signatures, checks, summary
from sekisho.governance.policy.words import allowed, catalogue, fact_name, fact_value, moment

from .policy_cases import KOHI, kohi

SIGNED = Signatures((("sakura", "legal"),), ("it",))
BUDGET = ('lifetime: {epsilon: "8.5"', 'lifetime: {epsilon: "9.0"')
COUNTRY = ("destinations: [JP]", "destinations: [DE, JP]")
YEARS = ("audit_years: 6", "audit_years: 7")


def amended(*changed: tuple[str, str]) -> Policy:
    """Version 2 of kohi's policy, with some words replaced."""
    text = KOHI.decode("utf-8").replace("version: 1", "version: 2", 1)
    for old, new in changed:
        assert old in text, old
        text = text.replace(old, new)
    return Policy.parse(text.encode("utf-8"), "policy.yaml")


def without_release() -> Policy:
    text = KOHI.decode("utf-8")
    return Policy.parse(text[: text.index("  - id: G2")].encode("utf-8"), "policy.yaml")


def seen(*changed: tuple[str, str], language: Language = "en") -> Changes:
    new = amended(*changed)
    return changes(compare(kohi(), new), kohi(), new, language)


def page_of(new: Policy) -> str:
    return comparison_page(compare(kohi(), new), kohi(), new)


def in_one_language(page: str, language: Language) -> str:
    found = re.search(rf'<main class="{language}".*?</main>', page, re.S)
    assert found is not None
    return escapes.unescape(found.group())


# --- a policy


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_clause_and_grant_stands_on_the_page_with_its_prose_and_what_is_enforced(language: Language) -> None:
    shown = in_one_language(policy_page(kohi(), SIGNED), language)
    for one in explanations(kohi()):
        assert one.prose[language] in shown and one.enforced[language] in shown, one.id
        assert f"{one.id}. {one.name[language]}" in shown
        assert one.recorded is None or one.recorded[language] in shown, one.id


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_check_stands_on_the_page_with_whose_word_counts(language: Language) -> None:
    found = checks(kohi(), language)
    held = sum(len(quantities(one.held)) for one in (*kohi().always, *kohi().grants))
    assert sum(len(one.checks) for one in found) == held
    shown = in_one_language(policy_page(kohi(), SIGNED), language)
    for clause in found:
        for check in clause.checks:
            assert check.what in shown and check.allowed in shown and check.source in shown


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_overview_says_who_may_do_what_until_when_and_at_which_loss(language: Language) -> None:
    told = "\n".join(line.text for line in summary(kohi(), language))
    names = kohi().header.parties.controller.name
    for fact in (names[language], kohi().dataset.title[language], "2100", "3.2", "8.5", "0.00001", "all-MiniLM-L6-v2"):
        assert fact in told, fact


def test_who_has_signed_and_who_is_missing_is_said() -> None:
    shown = in_one_language(policy_page(kohi(), SIGNED), "en")
    assert "sakura" in shown and "not in force" in shown and "missing" in shown
    assert "do not count" not in shown
    changed = Signatures((), ("legal", "it"), ("SUBJECT_OTHER", "SUBJECT_OTHER"))
    assert "2 more signatures that do not count: SUBJECT_OTHER" in in_one_language(policy_page(kohi(), changed), "en")
    complete = in_one_language(policy_page(kohi(), Signatures((("sakura", "legal"), ("kaede", "it")))), "en")
    assert "not in force" not in complete and "kaede" in complete


@pytest.mark.parametrize("reason", ["no-study", "no-roster", "no-earlier"])
def test_where_signatures_cannot_be_known_the_page_says_so_and_calls_nothing_signed(reason: str) -> None:
    shown = in_one_language(policy_page(kohi(), Signatures(unknown=reason)), "en")
    assert "✓" not in shown and "has signed the policy as it stands" not in shown


def test_the_digests_that_a_signature_is_about_stand_on_the_page() -> None:
    shown = policy_page(kohi(), SIGNED)
    assert kohi().bytes_digest in shown and kohi().canonical_digest in shown


def test_whoever_reads_the_translation_is_told_which_text_prevails() -> None:
    shown = policy_page(kohi(), SIGNED)
    assert "This is the translation" in in_one_language(shown, "en")
    assert "翻訳文" not in in_one_language(shown, "ja")


@pytest.mark.parametrize("first", LANGUAGES)
def test_the_language_asked_for_is_shown_first(first: Language) -> None:
    assert f'<html lang="{first}">' in policy_page(kohi(), SIGNED, first=first)
    assert f'<html lang="{first}">' in comparison_page(compare(kohi(), kohi()), kohi(), kohi(), first=first)


@pytest.mark.parametrize("page", [policy_page(kohi(), SIGNED), page_of(amended(BUDGET))], ids=["policy", "comparison"])
def test_a_page_fetches_nothing_and_runs_nothing(page: str) -> None:
    assert not re.search(r"<(script|link|img|iframe|object|form|base)\b", page)
    assert not re.search(r"\b(src|href|srcset|action|on[a-z]+)\s*=", page.split("<body>")[1])
    assert "url(" not in page and "@import" not in page
    assert "default-src 'none'" in page


def test_what_somebody_wrote_into_a_policy_cannot_become_markup() -> None:
    evil = "<script>alert(1)</script>"
    new = amended(("Reviews of coffee by customers", f'"{evil}"'), ("Pilot training", f"{evil} training"))
    for page in (policy_page(new, Signatures(((evil, "legal"),))), page_of(new)):
        assert "<script" not in page and escapes.escape(evil) in page


# --- words


def test_every_fact_that_a_clause_is_held_against_has_a_name_in_both_languages() -> None:
    for declared in (*ALWAYS.values(), *GRANTS.values()):
        for field in declared.fields:
            for one in (field, *field.measured):
                fact = one.fact.replace("*", "legal")
                assert all(fact_name(fact, language) != fact for language in LANGUAGES), fact


def test_every_recorded_field_has_a_name_in_both_languages() -> None:
    named = catalogue().keys()
    for declared in ALWAYS.values():
        for name in declared.recorded:
            assert any(key.startswith(f"fields.{declared.name}.{name}") for key in named), name


def test_every_kind_of_constraint_is_said_in_words() -> None:
    day = datetime(2026, 11, 1, tzinfo=timezone(timedelta(hours=9)))
    said = {
        "one of: Japan (JP), Norway (NO)": allowed(OneOf(frozenset({"NO", "JP"})), "countries", "en"),
        "Japan (JP)": allowed(OneOf(frozenset({"JP"})), "countries", "en"),
        "nothing but: Japan (JP)": allowed(Within(frozenset({"JP"})), "countries", "en"),
        "nothing": allowed(Within(frozenset()), "countries", "en"),
        "all of: IT, legal": allowed(Requires(frozenset({"legal", "it"})), "roles", "en"),
        "at least 3": allowed(Interval(low=3, whole=True), None, "en"),
        "at most 7.5": allowed(Interval(high=Decimal("7.5")), None, "en"),
        "at least 1, at most 2": allowed(Interval(1, 2, whole=True), None, "en"),
        "from 1 November 2026, 00:00 (UTC+09:00)": allowed(Window(start=day), None, "en"),
        "before 1 November 2026, 00:00 (UTC+09:00)": allowed(Window(until=day), None, "en"),
        "at least: one record (record)": allowed(Level(("record", "subject"), "record"), "units", "en"),
        "yes": allowed(MUST, None, "en"),
        "yes or no": allowed(EITHER, None, "en"),
    }
    for words, phrase in said.items():
        assert phrase.text("en") == words


def test_a_second_that_could_decide_is_shown() -> None:
    assert moment(datetime(2026, 11, 1, 0, 0, 1, tzinfo=UTC), "en") == "1 November 2026, 00:00:01 (UTC)"
    assert moment(datetime(2026, 11, 1, tzinfo=UTC), "ja") == "2026年11月1日0時00分（UTC）"


def test_a_value_of_a_fact_is_said_in_words() -> None:
    assert fact_value("stop.active", False, "ja") == "いいえ"
    assert fact_value("transfer.destinations", frozenset({"NO", "JP"}), "en") == "Japan (JP), Norway (NO)"


def test_a_digest_is_shown_whole_since_its_beginning_can_be_imitated() -> None:
    whole = "sha256:" + "a" * 64
    assert fact_value("base_model.digest", whole, "en") == whole
    assert allowed(OneOf(frozenset({whole})), None, "en").text("en") == whole


# --- a comparison


def test_a_wider_version_shows_a_study_that_becomes_allowed_and_which_clause_denied_it() -> None:
    found = seen(COUNTRY)
    assert found.allowed is not None and found.forbidden is None
    assert [fact.value for fact in found.allowed.deciding] == ["Germany (DE), Japan (JP)"]
    assert [(one.clause, one.grant) for one in found.allowed.reasons] == [("4", False)]
    assert [(row.id, row.verdict) for row in found.changed] == [("4", Verdict.WIDER)]


def test_a_stricter_version_shows_a_study_that_becomes_forbidden() -> None:
    found = seen(YEARS)
    assert found.allowed is None and found.forbidden is not None
    assert [fact.fact for fact in found.forbidden.deciding] == ["retention.audit_years"]


def test_of_a_larger_budget_the_figure_is_shown_and_not_the_answer_worked_out_from_it() -> None:
    found = seen(BUDGET)
    assert found.allowed is not None
    facts = {fact.fact: fact for fact in found.allowed.facts}
    assert "budget.lifetime_fits" not in facts
    assert [fact.fact for fact in found.allowed.deciding] == ["budget.lifetime_epsilon"]
    assert Decimal("8.5") < Decimal(facts["budget.lifetime_epsilon"].value) <= Decimal("9.0")


def test_a_term_that_is_new_is_marked_and_one_that_stays_is_not() -> None:
    (row,) = seen(COUNTRY).changed
    (field,) = row.fields
    assert [(one.text, one.mark) for one in field.new if "JP" in one.text or "DE" in one.text] == [
        ("Germany (DE)", "added"), ("Japan (JP)", "same"),
    ]  # fmt: skip
    assert {one.mark for one in field.old} == {"same"}


def test_reworded_prose_is_shown_and_permits_the_same() -> None:
    wording = ("may each stop all use at once", "may each stop everything at once")
    found = seen(wording)
    assert found.allowed is None and found.forbidden is None
    (row,) = found.changed
    assert row.verdict is Verdict.SAME and [prose.language for prose in row.prose] == ["en"]
    assert "Both versions permit exactly the same" in in_one_language(page_of(amended(wording)), "en")


def test_the_same_in_what_is_enforced_is_not_called_the_same_where_people_have_to_judge() -> None:
    new = amended(("may each stop all use at once", "may stop"), ("privacy@kohi.example", "dpo@kohi.example"))
    comparison = compare(kohi(), new)
    for shown in (in_one_language(page_of(new), "en"), "\n".join(difference(comparison, kohi(), new, "en"))):
        assert "same in what is enforced; other changes for people to judge: 2" in shown
        assert "No decision of the system depends on them" in shown
    # the number of the version alone is no change for people to judge
    alone = amended()
    assert ": = same\n" in "\n".join(difference(compare(kohi(), alone), kohi(), alone, "en"))


def test_a_version_under_another_data_set_is_not_said_to_change_no_decision() -> None:
    new = amended(("\n  id: kohi/customer-reviews", "\n  id: kohi/other"))
    for shown in (in_one_language(page_of(new), "en"), "\n".join(difference(compare(kohi(), new), kohi(), new, "en"))):
        assert "POLICY_NAME_CHANGED" in shown and "No decision of the system" not in shown


def test_fields_that_change_under_the_same_words_are_told_at_the_terminal_and_on_the_page() -> None:
    new = amended(YEARS)
    for shown in (in_one_language(page_of(new), "en"), "\n".join(difference(compare(kohi(), new), kohi(), new, "en"))):
        assert "What is enforced changed; the wording did not." in shown
    new = amended(("全利用を即時停止", "すべての利用を即時停止"))
    assert "Only this language's text changed" in "\n".join(difference(compare(kohi(), new), kohi(), new, "en"))


def test_a_change_in_the_other_language_alone_does_not_go_unseen() -> None:
    (row,) = seen(("全利用を即時停止", "すべての利用を即時停止")).changed
    assert [prose.language for prose in row.prose] == ["ja"]
    shown = in_one_language(page_of(amended(("全利用を即時停止", "すべての利用を即時停止"))), "en")
    assert "Only this language's text changed" in shown


def test_a_grant_that_is_struck_out_is_shown_with_what_it_gave() -> None:
    old, new = kohi(), without_release()
    found = changes(compare(old, new), old, new, "en")
    assert [(row.id, row.state, row.verdict) for row in found.changed] == [("G2", "removed", Verdict.NARROWER)]
    assert found.forbidden is not None and found.forbidden.reasons[0].grant
    shown = in_one_language(comparison_page(compare(old, new), old, new), "en")
    assert "struck out" in shown and "release the adapter" in shown


def test_a_grant_that_is_new_is_shown_with_what_it_gives() -> None:
    old, new = without_release(), kohi()
    found = changes(compare(old, new), old, new, "en")
    assert [(row.id, row.state, row.verdict) for row in found.changed] == [("G2", "added", Verdict.WIDER)]
    assert "new clause" in in_one_language(comparison_page(compare(old, new), old, new), "en")


def test_what_is_recorded_and_what_stands_outside_the_clauses_is_listed_as_not_judged() -> None:
    changed = ("notify-and-review", "revoke"), ("privacy@kohi.example", "dpo@kohi.example")
    found = seen(*changed)
    assert found.allowed is None and found.forbidden is None
    (row,) = found.changed
    assert row.verdict is Verdict.SAME and [field.verdict for field in row.recorded] == [None]
    assert row.recorded[0].name == "After a withdrawal, an adapter that is released"
    assert [field.name for field in found.header] == ["Version", "Contact"]
    shown = in_one_language(page_of(amended(*changed)), "en")
    assert "After a withdrawal, an adapter that is released" in shown and "<ins>dpo</ins>@kohi.example" in shown


def test_a_comparison_with_itself_says_that_nothing_changed() -> None:
    shown = in_one_language(comparison_page(compare(kohi(), kohi()), kohi(), kohi()), "en")
    assert "No clause differs" in shown and "Nothing else changed" in shown and "<mark>" not in shown


def test_two_policies_of_different_sites_are_compared_under_both_names() -> None:
    name = "id: kohi/customer-reviews\nversion", "id: wanko/customer-reviews\nversion"
    other = amended(name, ("Kohi Roasters", "Wanko"))
    shown = in_one_language(page_of(other), "en")
    assert "Kohi Roasters Co., Ltd. → Wanko Co., Ltd." in shown and "kohi/customer-reviews and wanko/" in shown
    for told in (shown, "\n".join(difference(compare(kohi(), other), kohi(), other, "en"))):
        assert "What Wanko Co., Ltd. permits and Kohi Roasters Co., Ltd. denies" in told
        assert "version permit" not in told and "old version" not in told and "new version" not in told


def test_what_is_said_between_two_sites_is_said_in_words_that_a_comparison_has() -> None:
    keys = catalogue().keys()
    between = {one.removeprefix("reading.between.") for one in keys if one.startswith("reading.between.")}
    assert between and all(f"reading.comparison.{one}" in catalogue() for one in between)


def test_a_verdict_is_told_by_sign_and_word_and_not_by_colour_alone() -> None:
    shown = in_one_language(page_of(amended(COUNTRY, YEARS)), "ja")
    for sign, name in (("+", "緩和"), ("−", "厳格化"), ("±", "緩和及び厳格化")):
        assert re.search(rf">{re.escape(sign)}</span> {name}", shown), name


@given(st.text("ab 、。学習する.", max_size=30), st.text("ab 、。学習する.", max_size=30))
def test_a_marked_text_holds_both_versions_to_the_letter(old: str, new: str) -> None:
    pieces = marked(old, new)
    assert "".join(one.text for one in pieces if one.mark != "added") == old
    assert "".join(one.text for one in pieces if one.mark != "removed") == new
