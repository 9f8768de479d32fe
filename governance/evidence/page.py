"""Values and words -> one self-contained HTML page in both languages.

What it is for: rendering a template with every value escaped, no script, no external resource (a content security
policy inside the page says so to the browser), readable on a phone and printable on A4. What it is NOT for: words (the
catalogue has them), charts (charts.py), deciding what is shown.

Order of calls: `Page(catalogue, folders)` -> `render("template.html", title=Text, **values)` -> HTML text.

A template extends "page.html" and fills the block `body`, which is rendered once for each language. Inside it, `t(key,
name=value)` is the text of a key, `say(text)` one language of a Text, `language` is "en" or "ja". Without a script the
reader switches languages with two radio buttons; what is shown is what is printed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..language import LANGUAGES, Catalogue, Language, Text

BASE_TEMPLATES = Path(__file__).parent.parent / "templates"
LANGUAGE_NAMES = {"en": "English", "ja": "日本語"}


class Words:
    """The catalogue in one language, as a template speaks it."""

    def __init__(self, catalogue: Catalogue, language: Language, prefix: str) -> None:
        self._catalogue = catalogue
        self._prefix = prefix
        self.language = language
        self.name = LANGUAGE_NAMES[language]

    def __call__(self, key: str, **values: object) -> str:
        """The text under ``key`` (inside the page's own part of the catalogue), with its values put in."""
        return self._catalogue.render(self._prefix + key, self.language, **{k: str(v) for k, v in values.items()})

    def has(self, key: str) -> bool:
        """Whether the catalogue has this key."""
        return self._prefix + key in self._catalogue

    def say(self, text: Text) -> str:
        """One language of a text that is not in the catalogue: a study's, a roster's."""
        return text[self.language]


class Page:
    """Templates with one catalogue. ``prefix`` is the catalogue's part that the templates use, e.g. "report."."""

    def __init__(self, catalogue: Catalogue, folders: Sequence[Path] = (), *, prefix: str = "") -> None:
        self.words = tuple(Words(catalogue, language, prefix) for language in LANGUAGES)
        self._environment = Environment(
            loader=FileSystemLoader([*folders, BASE_TEMPLATES]),
            autoescape=True,                # every value is text until a chart declares itself safe
            undefined=StrictUndefined,      # a missing value is a fault of ours, never an empty place on the page
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def render(
        self, template: str, *, title: Text, views: Callable[[Words], object] | None = None, first: Language = "en",
        **values: object,
    ) -> str:
        """The page; ``views`` makes what differs by language (charts, figures), once per language, as ``v``."""
        per_language = [(words, views(words) if views else None) for words in self.words]
        return self._environment.get_template(template).render(
            languages=per_language, title=title, first=first, **values
        )

    def render_in(self, language: Language, template: str, **values: object) -> str:
        """A page in one language alone, whose template has the values, ``t`` and ``language``."""
        words = next(words for words in self.words if words.language == language)
        return self._environment.get_template(template).render(t=words, language=language, **values)
