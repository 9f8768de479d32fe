"""Text in two languages, and the catalogue that holds all of it.

Not for: the prose of a policy (it stays in the policy file), refusals of other houses (core/texts/).

    Catalogue.load("sekisho.governance", "texts")
        -> catalogue["clauses.cohort.name"] -> Text
        -> catalogue.render("clauses.cohort.enforce", "ja", sites="3") -> str

A key is the file's name without .toml and the path inside the file, joined by dots. A key that lacks a
language, has an unknown one, or whose languages speak of different values does not load.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from string import Formatter
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from .errors import BadDocumentError
from .fields import fault
from .quoting import one_line

Language = Literal["en", "ja"]
LANGUAGES: tuple[Language, ...] = ("en", "ja")
MAX_TEXT = 4000  # characters; a clause is a paragraph, not a contract


def _written(text: str) -> str:
    if not text.strip():
        raise fault("EMPTY_TEXT", "the text is empty", "write the text; nobody can sign a clause that says nothing")
    return text


_Sentence = Annotated[
    str, Field(min_length=1, max_length=MAX_TEXT, json_schema_extra={"pattern": r"\S"}), AfterValidator(_written)
]


class Text(BaseModel):
    """The same sentence in English and Japanese."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    en: _Sentence
    ja: _Sentence

    def __getitem__(self, language: Language) -> str:
        """The sentence in one language."""
        return self.ja if language == "ja" else self.en


class Catalogue:
    """Texts by key; immutable after loading."""

    def __init__(self, texts: Mapping[str, Text]) -> None:
        self._texts = dict(texts)

    @classmethod
    def load(cls, package: str, folder: str) -> Catalogue:
        """Every ``*.toml`` of ``folder`` inside an installed package; read once, since a package stays as it is."""
        return cls(_read(package, folder))

    @classmethod
    def parse(cls, source: str, *, name: str) -> Catalogue:
        """Read one TOML text as if it were the file ``name``.toml."""
        texts: dict[str, Text] = {}
        _collect(tomllib.loads(source), name, texts)
        return cls(texts)

    def __getitem__(self, key: str) -> Text:
        try:
            return self._texts[key]
        except KeyError:
            raise BadDocumentError(
                "TEXT_MISSING", f"there is no text for {key}", "add the key, in both languages, to the texts folder"
            ) from None

    def __contains__(self, key: object) -> bool:
        return key in self._texts

    def keys(self) -> tuple[str, ...]:
        """All keys, sorted."""
        return tuple(sorted(self._texts))

    def render(self, key: str, language: Language, **values: str) -> str:
        """The text in one language with ``{name}`` replaced, each value on one line; one that is not given refuses."""
        template = self[key][language]
        try:
            return template.format_map({name: one_line(value) for name, value in values.items()})
        except KeyError as error:
            raise BadDocumentError(
                "TEXT_VALUE_MISSING", f"the text {key} needs a value for {error.args[0]}", "pass it to render"
            ) from None


@cache
def _read(package: str, folder: str) -> Mapping[str, Text]:
    texts: dict[str, Text] = {}
    for entry in sorted(files(package).joinpath(folder).iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".toml"):
            table = tomllib.loads(entry.read_text(encoding="utf-8"))
            _collect(table, entry.name.removesuffix(".toml"), texts)
    return MappingProxyType(texts)


def _collect(table: Mapping[str, Any], key: str, into: dict[str, Text]) -> None:
    # A table with a plain text below it is meant to be a Text; anything else is a branch.
    if any(isinstance(value, str) for value in table.values()):
        into[key] = _text(table, key)
        return
    for name, value in table.items():
        if not isinstance(value, dict):
            raise BadDocumentError("TEXT_MALFORMED", f"{key}.{name} is neither a text nor a table", "write {en, ja}")
        _collect(value, f"{key}.{name}", into)


def _text(table: Mapping[str, Any], key: str) -> Text:
    wrong = set(table) ^ set(LANGUAGES)
    if wrong or not all(isinstance(value, str) and value.strip() for value in table.values()):
        raise BadDocumentError(
            "TEXT_LANGUAGE", f"{key} is not written in exactly the languages en and ja", "give every key both languages"
        )
    text = Text(en=table["en"], ja=table["ja"])
    if _placeholders(text.en) != _placeholders(text.ja):
        raise BadDocumentError(
            "TEXT_VALUES_DIFFER", f"the languages of {key} speak of different values", "use the same {names} in both"
        )
    return text


def _placeholders(template: str) -> frozenset[str]:
    try:
        return frozenset(name for _, name, _, _ in Formatter().parse(template) if name is not None)
    except ValueError as error:
        raise BadDocumentError("TEXT_MALFORMED", f"a text has a broken placeholder: {error}", "write {name}") from error
