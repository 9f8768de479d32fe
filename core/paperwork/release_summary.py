"""A release as a person reads it before approving it: to whom, for what, until when, each condition, each file.

For: summary.py, and the commands around releases. Not for: counting approvals, or deciding.
"""

from __future__ import annotations

from ...governance.language import Language
from ...governance.provenance.release import ReleaseRecord
from .words import term, texts


def release_summary(record: ReleaseRecord, language: Language) -> list[str]:
    """Every field of the record in a line."""
    said = record.model_dump()
    return [
        say("paper.what", language, adapter=record.adapter, run=record.run, grant=record.grant),
        say("paper.to", language, parties=", ".join(record.parties), issued=record.issued, expires=record.expires,
            licence=record.licence),
        *uses(record, language),
        *(
            say("paper.condition", language, name=one.name, outcome=say(f"outcome.{one.outcome}", language),
                code=one.code, evidence=one.evidence)
            for one in record.conditions
        ),
        *(say("paper.file", language, name=name, digest=digest) for name, digest in record.files.items()),
        *(f"{name}: {said[name]}" for name in ("provenance", "base_model", "base_licence", "recipients")),
        *(f"{name}: {dict(said[name])}" for name in ("data_licences", "approvals") if said[name]),
    ]  # fmt: skip


def uses(record: ReleaseRecord, language: Language) -> list[str]:
    """What it may be used for and what not."""
    return [
        *(say("notice.permitted", language, use=term("downstream_uses", use, language)) for use in record.permitted),
        *(say("notice.prohibited", language, use=text[language]) for text in record.prohibited),
        *(say("notice.restriction", language, text=text[language]) for text in record.restrictions),
    ]


def say(key: str, language: Language, **values: object) -> str:
    """A text of release.toml with its values, each on one line."""
    return texts().render(f"release.{key}", language, **{name: str(value) for name, value in values.items()})
