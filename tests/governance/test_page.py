"""Pages: escaped, self-contained, both languages, and a missing value is a fault."""

from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import UndefinedError

from sekisho.governance.errors import BadDocumentError
from sekisho.governance.evidence.charts import Bar, bars
from sekisho.governance.evidence.page import Page, Words
from sekisho.governance.language import Catalogue, Text

CATALOGUE = Catalogue.parse(
    '[hello]\nen = "Hello {name}"\nja = "{name} さん、こんにちは"\n'
    '[only]\nen = "English"\nja = "日本語の文"\n', name="p")
TITLE = Text(en="A page <1>", ja="ページ")
BODY = '{% extends "page.html" %}{% block body %}'


def page(tmp_path: Path, body: str) -> Page:
    (tmp_path / "test.html").write_text(BODY + body + "{% endblock %}", "utf-8")
    return Page(CATALOGUE, [tmp_path], prefix="p.")


def test_a_body_is_rendered_once_for_each_language(tmp_path: Path) -> None:
    html = page(tmp_path, '<p>{{ t("hello", name="Kohi") }}</p>').render("test.html", title=TITLE)
    assert '<main class="en" lang="en">' in html and '<main class="ja" lang="ja">' in html
    assert html.count("<p>Hello Kohi</p>") == 1 and html.count("<p>Kohi さん、こんにちは</p>") == 1


def test_the_first_language_is_shown_without_a_script(tmp_path: Path) -> None:
    made = page(tmp_path, "x")
    english, japanese = made.render("test.html", title=TITLE), made.render("test.html", title=TITLE, first="ja")
    assert '<html lang="en">' in english and 'aria-label="English" checked' in english
    assert '<html lang="ja">' in japanese and 'aria-label="日本語" checked' in japanese and "<title>ページ" in japanese
    assert "<script" not in english


def test_values_are_escaped_and_charts_are_not(tmp_path: Path) -> None:
    chart = bars("t", [Bar("<b>", (1.0,), "x")])
    html = page(tmp_path, "{{ value }}{{ chart }}{{ t('hello', name=value) }}").render(
        "test.html", title=TITLE, value="<b onclick=x>", chart=chart)
    assert "<b onclick" not in html and "&lt;b onclick" in html
    assert str(chart) in html
    assert "<title>A page &lt;1&gt;</title>" in html


def test_views_are_made_once_for_each_language(tmp_path: Path) -> None:
    def views(words: Words) -> dict[str, str]:
        return {"text": words.say(Text(en="one", ja="一つ")) + "/" + words.language}

    html = page(tmp_path, "<i>{{ v.text }}</i>").render("test.html", title=TITLE, views=views)
    assert "<i>one/en</i>" in html and "<i>一つ/ja</i>" in html


def test_a_missing_value_or_text_is_a_fault_not_an_empty_place(tmp_path: Path) -> None:
    with pytest.raises(UndefinedError):
        page(tmp_path, "{{ nothing }}").render("test.html", title=TITLE)
    with pytest.raises(BadDocumentError):
        page(tmp_path, '{{ t("unknown") }}').render("test.html", title=TITLE)
    with pytest.raises(BadDocumentError):
        page(tmp_path, '{{ t("hello") }}').render("test.html", title=TITLE)


def test_the_page_tells_the_browser_to_fetch_nothing(tmp_path: Path) -> None:
    html = page(tmp_path, "x").render("test.html", title=TITLE)
    assert "content=\"default-src 'none'; style-src 'unsafe-inline'\"" in html
    assert "http" not in html.replace("http-equiv", "")


def test_words_know_which_keys_exist() -> None:
    words = Words(CATALOGUE, "ja", "p.")
    assert words.has("only") and not words.has("never") and words("only") == "日本語の文"
