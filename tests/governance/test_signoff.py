"""What is signed is what was shown: nothing of a policy is hidden from its signer, no change of words goes unseen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from sekisho.governance.canonical import canonical_bytes, digest_bytes
from sekisho.governance.errors import BadDocumentError, Refused
from sekisho.governance.language import LANGUAGES, Language
from sekisho.governance.policy.compare import compare
from sekisho.governance.policy.explain import explanations
from sekisho.governance.policy.policy import Policy
from sekisho.governance.policy.signoff import (
    RENDERER,
    check_remembered,
    check_succession,
    rendering,
    shown,
)
from sekisho.governance.quoting import WIDTH, columns

SOURCE = (Path(__file__).parent / "policies" / "kohi.yaml").read_text("utf-8")
FIRST = Policy.parse(SOURCE.encode(), "kohi.yaml")


def parsed(text: str) -> Policy:
    return Policy.parse(text.encode("utf-8"), "policy.yaml")


def amended(*changes: tuple[str, str], version: int = 2, supersedes: str = FIRST.bytes_digest) -> Policy:
    """FIRST with these changes, as the version that replaces it."""
    text = SOURCE.replace(f"version: {FIRST.version}\n", f"version: {version}\nsupersedes: {supersedes}\n", 1)
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    return parsed(text)


WIDER = amended(('lifetime: {epsilon: "8.5"', 'lifetime: {epsilon: "9.5"'), ("max_steps: 120", "max_steps: 50"))


def refused(code: str, *arguments: Any, rule: Any = check_succession) -> None:
    with pytest.raises(Refused) as caught:
        rule(*arguments)
    assert caught.value.code == code and caught.value.hint


# ------------------------------------------------------------------------------------------------ words


def test_whoever_changes_a_word_a_layout_or_the_comparison_sees_it_here() -> None:
    """Every policy is signed again after such a change. If that is meant: raise RENDERER, then correct these."""
    assert RENDERER == "sekisho-rendering/1"
    first, second = shown(FIRST, None), shown(WIDER, FIRST)
    assert first.en == "sha256:66e949e9ed0253a1014bab9c5699d79109f30bb49d7972b16b580546eca561ac"
    assert first.ja == "sha256:6745e59c319fbc181c569749a105d51d3b02ff19bb7f35a4560588aa3869ec4f"
    assert second.comparison == "sha256:b500bde10dc211d586834ecc286d397e9a77becb6de88e3cfd7623701a0ae9ba"


@pytest.mark.parametrize("language", LANGUAGES)
def test_prose_stands_beside_what_the_system_enforces(language: Language) -> None:
    text = rendering(FIRST, language)
    for one in explanations(FIRST):
        place = text.index(f"\n{one.id}. {one.name[language]}\n")
        prose = text.index("│ " + one.prose[language].split("、")[0].split()[0][:30], place)
        assert place < prose < text.index(one.enforced[language], prose)
        assert one.recorded is None or one.recorded[language] in text
    assert "First version" in text or "初版" in text
    assert FIRST.bytes_digest in rendering(WIDER, language).splitlines()[1]
    header = FIRST.header
    for told in (FIRST.id, header.parties.controller.name[language], header.parties.contact, header.dataset.id):
        assert told in text


def test_each_language_shows_its_own_prose_and_names_the_authoritative_one() -> None:
    english, japanese = rendering(FIRST, "en"), rendering(FIRST, "ja")
    assert "The Japanese text is authoritative" in english and "日本語文を正文とする" in japanese
    other = parsed(SOURCE.replace("authoritative_language: ja", "authoritative_language: en"))
    assert "The English text is authoritative" in rendering(other, "en")
    assert "英語文を正文とする" in rendering(other, "ja")


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, (*path, key))
    else:
        yield path, value


VALUE = YAML(typ="safe", pure=True).load(SOURCE)
OTHERS = {
    "JP": "DE", "true": "false", "ja": "en", "subject": "record", "customer-review": "purchase-history",
    "Apache-2.0": "MIT", "sources-listed": "full", "probe": "lora", "pilot": "production", "text-classification":
    "causal-lm", "add-or-remove-one": "replace-one", "participants": "public",
}  # fmt: skip


def variants(value: Any) -> Iterator[Any]:
    """Other values that could stand in its place, and nothing (None); those that the language has must show."""
    yield None
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value + 1, max(1, value - 1))
    elif re.fullmatch(r"[0-9.]+", value):
        yield value + "1" if "." in value else value + ".1"
    elif re.match(r"\d{4}-\d\d-\d\dT", value):
        yield value.replace(":00+", ":01+", 1)
    elif value.startswith("sha256:"):
        yield "sha256:" + "0" * 64
    elif value in OTHERS:
        yield OTHERS[value]
    else:
        yield value + " x" if " " in value or not value.isascii() else value + "-x"


def changed(path: tuple[str | int, ...], new: Any) -> Policy | None:
    """The policy with one leaf exchanged, or without it; None where the language does not have that."""
    value = YAML(typ="safe", pure=True).load(SOURCE)
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    if new is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = new
    try:
        return Policy.parse(canonical_bytes(value) + b"\n", "policy.yaml")
    except BadDocumentError:
        return None


def test_nothing_that_can_be_changed_in_a_policy_is_hidden_from_its_signer() -> None:
    """Each leaf of the file in turn, exchanged for every value that the language has in its place."""
    before, seen = (rendering(FIRST, "en"), rendering(FIRST, "ja")), 0
    for path, value in leaves(VALUE):
        for new in variants(value):
            if new is None and isinstance(path[-1], str):
                continue  # a mapping without one of its fields is refused whatever it says
            policy = changed(path, new)
            if policy is not None and policy.canonical_digest != FIRST.canonical_digest:
                seen += 1
                after = rendering(policy, "en"), rendering(policy, "ja")
                # prose shows in its own language, everything else in both
                differing = [one for one, other in zip(before, after, strict=True) if one != other]
                assert len(differing) == (1 if path[-1] in LANGUAGES else 2), (path, new)
    assert seen > 100


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from(["\n", "   ", "\n\n", "The system will enforce: all", "9. Base model", "x", "\u3000"])))
def test_prose_cannot_pose_as_what_the_system_says(parts: list[str]) -> None:
    """Whatever line breaks an author writes, what stands behind no bar is what stands there in the honest one."""
    prose = "All use is refused." + "".join(parts)
    value = YAML(typ="safe", pure=True).load(SOURCE)
    value["always"][3]["text"]["en"] = prose
    text = rendering(Policy.parse(canonical_bytes(value) + b"\n", "policy.yaml"), "en")
    honest = rendering(FIRST, "en")
    ours, theirs = ([line for line in one.splitlines() if not line.startswith("   │ ")] for one in (text, honest))
    assert ours == theirs and "   │ All use is refused." in text
    assert all(columns(line) <= 3 + 2 + WIDTH for line in text.splitlines() if line.startswith("   │ "))


def test_a_second_that_decides_is_shown() -> None:
    policy = parsed(SOURCE.replace('until: "2100-01-01T00:00:00+09:00"', 'until: "2099-12-31T23:59:59+09:00"'))
    assert "2099-12-31 23:59:59+09:00" in rendering(policy, "en")


# ------------------------------------------------------------------------------------------------ comparison


def test_a_signature_is_bound_to_both_languages_whichever_was_read() -> None:
    english = amended(("In force from 1 November 2026 to the end of 2099.", "In force for ever."))
    japanese = amended(("一者が", "一名が"))
    same = amended()
    assert shown(english, FIRST).en != shown(same, FIRST).en and shown(english, FIRST).ja == shown(same, FIRST).ja
    assert shown(japanese, FIRST).ja != shown(same, FIRST).ja and shown(japanese, FIRST).en == shown(same, FIRST).en


def test_the_digests_are_of_the_text_that_is_shown() -> None:
    assert shown(FIRST, None).ja == digest_bytes(rendering(FIRST, "ja").encode("utf-8"))
    assert shown(WIDER, FIRST).comparison == compare(FIRST, WIDER).digest


# ------------------------------------------------------------------------------------------------ versions


def test_a_first_version_replaces_nothing_and_a_second_one_replaces_the_first() -> None:
    check_succession(FIRST, None)
    check_succession(WIDER, FIRST)
    refused("POLICY_FIRST_VERSION", amended(version=1), None)


def test_a_later_version_names_the_file_that_it_replaces_and_has_it_at_hand() -> None:
    refused("POLICY_PREDECESSOR_MISSING", WIDER, None)
    unnamed = parsed(SOURCE.replace("version: 1\n", "version: 2\n", 1))
    refused("POLICY_PREDECESSOR_MISSING", unnamed, FIRST)


def test_the_version_before_is_that_very_file() -> None:
    respelled = parsed(SOURCE + "# the same in other bytes\n")
    assert respelled.canonical_digest == FIRST.canonical_digest
    refused("POLICY_PREDECESSOR_OTHER", WIDER, respelled)


@pytest.mark.parametrize("whose", ["", "dataset:\n  "])
def test_a_policy_keeps_its_name_and_its_data_set(whose: str) -> None:
    changed = amended((f"{whose}id: kohi/customer-reviews\n", f"{whose}id: kohi/other\n"))
    assert (changed.id == FIRST.id) != (changed.dataset.id == FIRST.dataset.id)
    refused("POLICY_NAME_CHANGED", changed, FIRST)


def test_versions_are_counted_up_by_one() -> None:
    refused("POLICY_VERSION_STEP", amended(version=3), FIRST)
    tenth = parsed(SOURCE.replace("version: 1\n", f"version: 10\nsupersedes: {FIRST.bytes_digest}\n", 1))
    refused("POLICY_VERSION_STEP", amended(version=10, supersedes=tenth.bytes_digest), tenth)


def test_what_a_site_ran_under_is_not_taken_back() -> None:
    second, third = WIDER, amended(version=3, supersedes=WIDER.bytes_digest)
    chain = {2: FIRST, 3: second}

    def remembered(policy: Policy, version: int, digest: str) -> None:
        check_remembered(policy, (version, digest), lambda newer: chain[newer.version])

    check_remembered(FIRST, None, lambda _: None)
    remembered(FIRST, 1, FIRST.bytes_digest)
    remembered(second, 1, FIRST.bytes_digest)
    remembered(third, 1, FIRST.bytes_digest)
    remembered(third, 2, second.bytes_digest)
    other = "sha256:" + "0" * 64
    for policy, version, digest, code in (
        (FIRST, 2, second.bytes_digest, "POLICY_ROLLED_BACK"),
        (FIRST, 1, other, "POLICY_EXCHANGED"),
        (second, 1, other, "POLICY_PREDECESSOR_OTHER"),
        (third, 1, other, "POLICY_PREDECESSOR_OTHER"),
        (third, 2, other, "POLICY_PREDECESSOR_OTHER"),
    ):
        refused(code, policy, version, digest, rule=remembered)
