"""Charts: finite numbers in, escaped and accessible SVG out, never wider than their frame."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.governance.errors import BadDocumentError
from sekisho.governance.evidence.charts import WIDTH, Bar, Interval, Series, Svg, bars, intervals, lines

NS = "{http://www.w3.org/2000/svg}"


def parsed(svg: Svg) -> ElementTree.Element:
    return ElementTree.fromstring(str(svg))


def samples() -> list[Svg]:
    return [
        bars("Spent", [Bar("Kohi", (1.0, 2.0), "3.0 of 6.5"), Bar("ワンコのごはん本舗株式会社", (0.5,), "0.5")],
             maximum=6.5, limit="limit 6.5"),
        bars("Free", [Bar("a", (3.0,), "3")]),
        bars("Empty", []),
        intervals("AUC", [Interval("probe", 0.81, 0.78, 0.84, "0.81", 0.75), Interval("lora", 0.8, 0.7, 0.9, "0.80")],
                  low=0.5, high=1.0, target="target"),
        lines("Budget", [Series("kohi", ((0.0, 0.0), (1.0, 3.0))), Series("wanko", ((0.0, 1.0), (2.0, 2.0)))],
              x_label="run", y_label="ε"),
        lines("Nothing", [], x_label="x", y_label="y"),
        lines("AUC", [Series(f"line {n}", ((0.1, 0.6 + n / 20), (1.0, 0.7 + n / 20))) for n in range(4)],
              x_label="share", y_label="AUC", low=0.6, x_ticks=[(0.1, "10 %"), (1.0, "100 %")],
              y_ticks=[(0.6, "0.6"), (0.9, "0.9")]),
    ]


def test_charts_are_well_formed_and_say_in_words_what_they_show() -> None:
    for svg in samples():
        root = parsed(svg)
        assert root.get("role") == "img"
        title = root.find(NS + "title")
        assert title is not None and title.get("id") == root.get("aria-labelledby") and title.text
    assert "3.0 of 6.5" in (parsed(samples()[0]).findtext(NS + "title") or "")


def test_the_last_tick_is_not_cut_off_at_the_pictures_edge() -> None:
    first, last = (text for text in parsed(samples()[-1]).iter(NS + "text") if (text.text or "").endswith(" %"))
    assert (first.get("text-anchor"), last.get("text-anchor"), last.get("x")) == ("middle", "end", "360")


def test_charts_fetch_nothing_and_carry_no_script_or_style() -> None:
    for svg in samples():
        assert not re.search(r"href|url\(|<script|<style|<image|on\w+=", svg.replace("http://www.w3.org/2000/svg", ""))


def test_words_of_others_stay_text() -> None:
    attack = "<script>alert(1)</script>\"'&"
    for svg in (bars(attack, [Bar(attack, (1.0,), attack)], limit=attack),
                intervals(attack, [Interval(attack, 0.5, 0.4, 0.6, attack)], low=0, high=1, target=attack),
                lines(attack, [Series(attack, ((1.0, 1.0),))], x_label=attack, y_label=attack)):
        assert "<script" not in svg
        assert attack in (parsed(svg).findtext(NS + "title") or "")


def test_the_same_chart_is_the_same_bytes() -> None:
    assert samples() == samples()


values = st.floats(min_value=0, max_value=1e6)


@settings(max_examples=40)
@given(parts=st.lists(st.lists(values, min_size=1, max_size=3), min_size=1, max_size=4), top=st.none() | values)
def test_bars_never_leave_their_frame(parts: list[list[float]], top: float | None) -> None:
    root = parsed(bars("t", [Bar("x", tuple(row), "y") for row in parts], maximum=top))
    for rect in root.iter(NS + "rect"):
        assert float(rect.get("width", "")) >= 0
        assert float(rect.get("x", "")) + float(rect.get("width", "")) <= WIDTH + 0.02


@settings(max_examples=40)
@given(value=st.floats(-2, 3), low=st.floats(-2, 3), high=st.floats(-2, 3), target=st.none() | st.floats(-2, 3))
def test_intervals_never_leave_their_frame(value: float, low: float, high: float, target: float | None) -> None:
    root = parsed(intervals("t", [Interval("x", value, low, high, "y", target)], low=0.0, high=1.0))
    for line in root.iter(NS + "line"):
        assert all(0 <= float(line.get(name, "")) <= WIDTH for name in ("x1", "x2"))


@settings(max_examples=40)
@given(points=st.lists(st.tuples(values, values), min_size=1, max_size=6), low=st.floats(0, 1e6))
def test_lines_never_leave_their_frame(points: list[tuple[float, float]], low: float) -> None:
    root = parsed(lines("t", [Series("a", tuple(points)), Series("b", tuple(points))], x_label="x", y_label="y",
                        low=low))
    height = float(root.get("viewBox", "").split()[3])
    drawn = [place for line in root.iter(NS + "polyline") for place in line.get("points", "").split()]
    assert drawn
    for place in drawn:
        x, y = map(float, place.split(","))
        assert 0 <= x <= WIDTH and 0 <= y <= height


def test_four_lines_can_be_told_apart_without_colour() -> None:
    svg = samples()[-1]
    for style in ("solid", "dashed", "dotted", "mixed"):
        assert svg.count(f'class="line {style}"') == 2, "once in the chart, once in the legend"
    marks = re.findall(r'<polygon class="mark" points="([^"]*)"', svg)
    assert {len(points.split()) for points in marks} == {3, 4}
    assert svg.count("<circle") == svg.count("<rect") == 3


def test_an_axis_that_begins_above_zero_says_where_it_begins() -> None:
    root = parsed(samples()[-1])
    words = [text.text for text in root.iter(NS + "text")]
    assert {"0.6", "0.9", "10 %", "100 %"} <= set(words) and "0" not in words


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(number: float) -> None:
    with pytest.raises(BadDocumentError):
        bars("t", [Bar("x", (number,), "y")])
    with pytest.raises(BadDocumentError):
        intervals("t", [Interval("x", number, 0, 1, "y")], low=0, high=1)
    with pytest.raises(BadDocumentError):
        lines("t", [Series("x", ((0.0, number),))], x_label="x", y_label="y")


def test_an_axis_that_does_not_rise_is_refused() -> None:
    with pytest.raises(BadDocumentError):
        intervals("t", [], low=1.0, high=1.0)


def test_a_long_label_is_squeezed_before_it_meets_its_figure() -> None:
    long = "食品総合研究開発ホールディングス株式会社 品質保証本部 お客様相談室"
    assert "textLength" in bars("t", [Bar(long, (1.0,), "5.10 of 6.5")])
    assert "textLength" not in bars("t", [Bar("珈琲", (1.0,), "5.10 of 6.5")])
