"""A released adapter's model card, as Hugging Face reads one: front matter, then English, then Japanese.

For: whoever opens the folder of a release. Not for: proof; the card says so itself. It holds nothing but what the
signed statement and the signed papers say.

Order of calls: ``card(statement, about, texts)`` -> text of README.md; ``texts`` is governance's catalogue.
Source: Hugging Face Hub, model card metadata (license, license_name, base_model, library_name, pipeline_tag, tags).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from ..language import LANGUAGES, Catalogue, Language
from ..quoting import one_line
from ..signing.envelope import Statement
from .about import About
from .provenance import TrainingRun

TAGS = ("differential-privacy", "federated-learning", "sekisho")
LIBRARIES = {"lora": "peft"}        # a probe is a head of its own and needs no library
OTHER = "other"                     # the Hub's word for a licence that it does not list
LISTED = frozenset({"apache-2.0", "mit", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0"})
HUB_NAME = re.compile(r"https://[^/]+/([\w.-]+/[\w.-]+)/?")

Say = Callable[..., str]


def card(statement: Statement, about: About, texts: Catalogue) -> str:
    """The card of one adapter; the same statement and papers give the same text.

    Raises:
        BadDocumentError: as ``TrainingRun.of``.
    """
    said = TrainingRun.of(statement)
    parts = [_front_matter(said, about)]
    for language in LANGUAGES:
        parts.append("\n".join(_body(said, about, texts, language)))
    return "\n\n".join(parts) + "\n"


def metadata(said: TrainingRun, about: About) -> dict[str, Any]:
    """The front matter as values."""
    licence = about.licence.lower()
    named = {"license": licence} if licence in LISTED else {"license": OTHER, "license_name": licence}
    found = HUB_NAME.fullmatch(about.base_model.source)
    return {
        **named,
        "base_model": found[1] if found else said.base_model.name,
        **({"library_name": LIBRARIES[said.method]} if said.method in LIBRARIES else {}),
        "pipeline_tag": about.task,
        "tags": list(TAGS),
    }


def _front_matter(said: TrainingRun, about: About) -> str:
    # JSON is YAML: quoted as JSON, no value can be read as another type or end the block
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in metadata(said, about).items()]
    return "\n".join(["---", *lines, "---"])


def _body(said: TrainingRun, about: About, texts: Catalogue, language: Language) -> list[str]:
    def say(key: str, **values: object) -> str:
        return texts.render(f"modelcard.{key}", language, **{name: str(value) for name, value in values.items()})

    lines = [f"# {_plain(about.title[language])}", "", say("informative"), "",
             say("question", question=_plain(about.question[language]))]
    if about.disclaimer is not None:
        lines += ["", _plain(about.disclaimer[language])]
    sections = {
        "model": _model(said, about, say),
        "data": _data(said, say),
        "base": _base(about, say, language),
        "privacy": _privacy(said, say),
        "quality": _quality(said, say),
        "uses": _uses(about, say, language),
        "limits": [_plain(risk[language]) for risk in about.base_model.known_risks] + [say("uses.recall")],
        "check": [say("check.how")],
    }
    for name, points in sections.items():
        lines += ["", f"## {say(f'headings.{name}')}", "", *(f"- {point}" for point in points)]
    return lines


def _model(said: TrainingRun, about: About, say: Say) -> list[str]:
    outcomes = [step.outcome for step in said.steps]
    return [
        say("model.what", method=said.method, base=said.base_model.name, licence=said.base_model.licence, run=said.run,
            sites=len(said.sites), labels=" / ".join(about.labels)),
        say("model.steps", completed=outcomes.count("completed"), rolled_back=outcomes.count("rolled-back"),
            abandoned=outcomes.count("abandoned")),
    ]


def _data(said: TrainingRun, say: Say) -> list[str]:
    lines = [say("data.site", site=site.id, subjects=site.subjects) for site in said.sites]
    scopes = sorted({site.consent.scope for site in said.sites if site.consent is not None})
    return lines + [say("data.consent", scope=scope) for scope in scopes]


def _base(about: About, say: Say, language: Language) -> list[str]:
    return [
        say("base.status", question=say(f"questions.{question}"), status=say(f"statuses.{answer.status}"),
            text=_plain(answer.text[language]))
        for question, answer in about.base_model.training_data.answers()
    ]


def _privacy(said: TrainingRun, say: Say) -> list[str]:
    promise = said.guarantee
    return [
        say("privacy.bound", unit=say(f"units.{promise.unit}"), site=site.id, epsilon=site.epsilon,
            delta=promise.delta, observers=promise.observers)
        for site in said.sites
    ]


def _quality(said: TrainingRun, say: Say) -> list[str]:
    accepted = [one for one in said.validations if one.accepted]
    if not accepted:
        return [say("quality.none")]
    return [say("quality.measured", step=one.after_step, right=one.right, low=one.low, high=one.high,
                labels=one.labels, labels_low=one.labels_low, labels_high=one.labels_high)
            for one in accepted]


def _uses(about: About, say: Say, language: Language) -> list[str]:
    lines = [say("uses.recipients", recipients=", ".join(about.recipients)), say("uses.licence", licence=about.licence)]
    if about.permitted:
        lines.append(say("uses.permitted", uses=", ".join(about.permitted)))
    return lines + [say("uses.prohibited", use=_plain(use[language])) for use in about.prohibited]


def _plain(text: str) -> str:
    """One line that Markdown cannot read as a heading, a link or HTML."""
    return re.sub(r"([\\`*_\[\]<>#|])", r"\\\1", one_line(text))
