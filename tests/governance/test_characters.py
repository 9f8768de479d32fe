"""Characters: nobody signs other words than were shown."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.governance.characters import first_fault


@pytest.mark.parametrize(
    "text",
    [
        "plain ASCII, with punctuation: {[~]}\n",
        "個人情報の保護に関する法律（平成15年法律第57号）\u3000第27条第1項\r\n",
        "ＡＢＣ・ｶﾀｶﾅ ㈱ 髙橋 𠮷野家 ε ≤ 1 × 10 – “quoted” é",
    ],
)
def test_the_writing_of_contracts_is_accepted(text: str) -> None:
    assert first_fault(text) is None


@pytest.mark.parametrize(
    ("character", "code"),
    [
        ("\u202e", "BIDI_CHARACTER"),  # right-to-left override
        ("\u2066", "BIDI_CHARACTER"),  # isolate
        ("\u200f", "BIDI_CHARACTER"),  # right-to-left mark
        ("\u05d0", "BIDI_CHARACTER"),  # a Hebrew letter moves the digits beside it
        ("\u0661", "BIDI_CHARACTER"),  # an Arabic digit
        ("\u200b", "INVISIBLE_CHARACTER"),  # zero width space
        ("\u200d", "INVISIBLE_CHARACTER"),  # zero width joiner
        ("\u2060", "INVISIBLE_CHARACTER"),  # word joiner
        ("\u00ad", "INVISIBLE_CHARACTER"),  # soft hyphen
        ("\ufeff", "INVISIBLE_CHARACTER"),  # byte order mark
        ("\ufe0f", "INVISIBLE_CHARACTER"),  # variation selector
        ("\u180b", "INVISIBLE_CHARACTER"),  # Mongolian variation selector
        ("\U0001d159", "INVISIBLE_CHARACTER"),  # musical null notehead
        ("\U00016fe4", "INVISIBLE_CHARACTER"),  # Khitan filler
        ("\u0336", "INVISIBLE_CHARACTER"),  # strikes out the letter before it
        ("\U000e0101", "INVISIBLE_CHARACTER"),  # ideographic variation selector
        ("\U000e0041", "INVISIBLE_CHARACTER"),  # tag letter
        ("\u3164", "INVISIBLE_CHARACTER"),  # Hangul filler
        ("\u2800", "INVISIBLE_CHARACTER"),  # blank Braille
        ("\u00a0", "INVISIBLE_CHARACTER"),  # no-break space
        ("\u2028", "INVISIBLE_CHARACTER"),  # line separator
        ("\ue000", "INVISIBLE_CHARACTER"),  # private use: another picture on every machine
        ("\u0378", "INVISIBLE_CHARACTER"),  # unassigned
        ("\t", "CONTROL_CHARACTER"),
        ("\x00", "CONTROL_CHARACTER"),
        ("\x1b", "CONTROL_CHARACTER"),
        ("\x85", "CONTROL_CHARACTER"),
        ("\r", "CONTROL_CHARACTER"),  # a lone carriage return overwrites the line on a terminal
    ],
)
def test_a_character_that_misleads_is_refused_at_its_place(character: str, code: str) -> None:
    fault = first_fault(f"同意 {character}required")
    assert fault is not None
    assert (fault.code, fault.index) == (code, 3)
    assert fault.hint


def test_two_spellings_of_one_letter_are_not_two_letters() -> None:
    fault = first_fault("line one\nか\u3099")
    assert fault is not None
    assert (fault.code, fault.index) == ("NOT_NFC", 10)
    assert first_fault("が") is None


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("only with соnsent", 10),            # Cyrillic с and о in a Latin word
        ("legal and IТ", 11),                 # Cyrillic Т
        ("本人のсonsentを得る", 3),           # between kana
        ("Аpproval", 0),                      # Cyrillic А
        ("ΑPPI", 0),                          # Greek Alpha
        ("encryptiοn", 8),                    # Greek omicron
        ("encryptiόn", 8),                    # and one with an accent
        ("x̣б", 2),                            # a mark between the letters makes no two words of them
        ("СОРЕ", 0),                          # a whole word of Cyrillic letters that reads as Latin
        ("ΝΟ", 0),                            # and of Greek ones
        ("not а person", 4),                  # one Cyrillic letter alone
        ("aսthor", 1),                        # Armenian
        ("𝐚ll purposes", 0),                  # mathematical letters
    ],
)  # fmt: skip
def test_a_word_that_imitates_another_alphabet_is_refused_at_its_letter(text: str, at: int) -> None:
    fault = first_fault(text)
    assert fault is not None and (fault.code, fault.index) == ("MIXED_SCRIPTS", at)
    assert f"U+{ord(text[at]):04X}" in fault.sentence


@pytest.mark.parametrize(
    "text",
    [
        "ε ≤ 3.0, δ = 1e-5 and μ, at σ; Ο alone",
        "5 μm, 3 µg, Δt and λ1, the (ε, δ)-guarantee, ε-DP, ε̂",
        "1人あたりε=3.0、δ=0.00001とする。差分プライバシーのεを",
        "ＡＢＣ株式会社のAIとLoRAアダプター、ＡIも",
        "Société Générale, Łódź, naïve",
        "общество «Ромашка»",                 # a word that nobody reads as Latin
        "δοκιμή",
    ],
)  # fmt: skip
def test_greek_letters_alone_and_latin_beside_japanese_are_the_writing_of_contracts(text: str) -> None:
    assert first_fault(text) is None


@settings(max_examples=200)
@given(st.text(max_size=30))
def test_a_fault_is_always_placed_inside_the_text(text: str) -> None:
    fault = first_fault(text)
    assert fault is None or 0 <= fault.index < len(text)
