"""What people wrote stays theirs on a screen: one line a value, a bar before every line of prose, nothing unseen."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sekisho.governance.quoting import BAR, WIDTH, columns, one_line, quoted


@given(st.text())
def test_a_value_is_one_line_that_moves_no_cursor(text: str) -> None:
    line = one_line(text)
    assert len(line.splitlines()) <= 1 and "  " not in line
    assert all(letter.isprintable() or letter == "\u3000" for letter in line)


@given(st.text(alphabet="ab 、全角\n\u3000The system will enforce: nothing 9."))
def test_a_quoted_line_has_its_bar_and_fits(text: str) -> None:
    lines = quoted(text)
    assert lines and all(line.startswith(BAR.rstrip()) and columns(line) <= WIDTH + len(BAR) for line in lines)
    assert "".join("".join(line.removeprefix(BAR) for line in lines).split()) == "".join(text.split())


def test_words_are_kept_whole_and_japanese_breaks_anywhere() -> None:
    assert quoted("aaa bbb ccc", width=7) == ["│ aaa bbb", "│ ccc"]
    assert quoted("一二三四五", width=4) == ["│ 一二", "│ 三四", "│ 五"]
    assert quoted("x" * 9, width=4) == ["│ xxxx", "│ xxxx", "│ x"]
    assert quoted("") == [BAR]
