"""What people read beside a released adapter: LICENCE and NOTICE, each in English and Japanese.

For: the folder of a release (publish.py). Not for: the model card and the bill of materials, which are exports of the
run's statement (governance/provenance/), or deciding anything.

Order of calls: ``licence_text(record)`` and ``notice(record, statement)``, before the record names their digests.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from typing import Any

from ...governance.language import LANGUAGES, Catalogue, Language
from ...governance.provenance.licences import licences
from ...governance.provenance.release import ReleaseRecord
from ...governance.vocabulary import known, label

HOUSE = __name__.removesuffix(".site.notices")
LICENCE, NOTICE = "LICENCE", "NOTICE.md"


def licence_text(record: ReleaseRecord) -> bytes:
    """Under what the adapter is handed on, and under what it was made: name, place of the terms, and each source's."""
    return _both(lambda language: _licence(record, language))


def notice(record: ReleaseRecord, said: Mapping[str, Any]) -> bytes:
    """What it is, from what, for whom, for what and what not, its guarantee, and that it cannot be recalled.

    ``said`` is the predicate of the run's statement.
    """
    return _both(lambda language: _notice(record, said, language))


def say(key: str, language: Language, **values: object) -> str:
    """A text of release.toml with its values."""
    return _texts().render(f"release.{key}", language, **{name: str(value) for name, value in values.items()})


def term(kind: str, name: str, language: Language) -> str:
    """The label of a term; what is none is repeated."""
    return label(kind, name)[language] if known(kind, name) else name


def _both(lines: Any) -> bytes:
    return "\n\n---\n\n".join("\n\n".join(lines(language)) for language in LANGUAGES).encode("utf-8") + b"\n"


def _licence(record: ReleaseRecord, language: Language) -> list[str]:
    listed = licences().get(record.licence)
    terms = (
        say("licence.unlisted", language, licence=record.licence)
        if listed is None
        else say("licence.terms", language, licence=record.licence, name=listed.name[language], source=listed.source)
    )
    data = [
        say("licence.data", language, site=site, licence=name) for site, name in sorted(record.data_licences.items())
    ]
    return [
        say("licence.title", language, run=record.run),
        terms,
        say("licence.base", language, licence=record.base_licence),
        *data,
    ]


def _notice(record: ReleaseRecord, said: Mapping[str, Any], language: Language) -> list[str]:
    base, guarantee = said["base_model"], said["guarantee"]
    epsilon = max(Decimal(site["epsilon"]) for site in said["sites"])
    unchecked = [condition.name for condition in record.conditions if condition.outcome == "not-checked"]
    return [
        f"# {say('notice.title', language)}",
        say("notice.what", language, method=said["method"], run=record.run,
            sites=", ".join(site["id"] for site in said["sites"])),
        say("notice.from", language, model=base["name"], weights=record.base_model, licence=record.base_licence),
        say("notice.to", language, parties=", ".join(record.parties)),
        say("notice.until", language, issued=record.issued, expires=record.expires),
        *(say("notice.permitted", language, use=term("downstream_uses", use, language)) for use in record.permitted),
        say("notice.other-uses", language),
        *(say("notice.prohibited", language, use=text[language]) for text in record.prohibited),
        *(say("notice.restriction", language, text=text[language]) for text in record.restrictions),
        say("notice.privacy", language, epsilon=epsilon, delta=guarantee["delta"],
            unit=term("units", guarantee["unit"], language)),
        *([say("notice.unchecked", language, names=", ".join(unchecked))] if unchecked else []),
        say("notice.recall", language),
    ]  # fmt: skip


@cache
def _texts() -> Catalogue:
    return Catalogue.load(HOUSE, "texts")
