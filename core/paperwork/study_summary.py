"""A study as a person reads it before signing: everything that is signed, in words where there are words.

For: summary.py. Not for: what it costs (planning.py) or whether a policy permits it (``sekisho legal decide``).

What has no words of its own here is listed under its name in the file: no field of a study can be changed without
a line of this changing, in either language (tests/core/test_paper_summary.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from pydantic import BaseModel

from ...governance.language import Language, Text
from ..study import Stage, Study, StudyFile
from .words import say, term, texts

# What stands in the lines of ``_main``; the rest is listed. ``*`` is any one part of the path.
SHOWN = (
    "id", "title", "question", "requester", "purpose", "stage", "legal_basis_scope", "sites.*", "minimum_sites",
    "observers", "max_sites_per_subject", "on_drop", "unit", "records_per_subject", "subjects.*", "audit_years",
    "base_model.name", "base_model.digest", "base_model.licence", "base_model.disclosure", "test_set.file",
    "test_set.digest", "methods.*.epsilon", "methods.*.delta", "methods.*.steps", "methods.*.allowance",
    "recipients.*", "downstream_uses.*", "release_licence", "measures.*.name", "measures.*.method",
    "measures.*.target", "measures.*.text", "value.*", "cost.*", "roi_threshold", "stages.*.name", "stages.*.cost",
    "stages.*.gate", "stages.*.caps.*", "personal_heads", "schema",
)  # fmt: skip


def study_summary(study: Study, language: Language) -> list[str]:
    """The study in words, then what is signed beside it."""
    return [*_main(study, language), *_rest(study, language)]


def _main(study: Study, language: Language) -> list[str]:
    def terms(kind: str, values: tuple[str, ...]) -> str:
        return ", ".join(term(kind, value, language) for value in values) or "-"

    model, value, cost = study.base_model, study.value, study.cost
    people = ", ".join(f"{site} {study.subjects[site]}" for site in study.sites)
    drop = {"minimum": study.minimum_sites} if study.on_drop == "continue" else {}
    lines = [
        say("study.what", language, id=study.id, title=study.title[language]),
        say("study.question", language, question=study.question[language]),
        say("study.asked", language, requester=study.requester, stage=term("stages", study.stage, language),
             purpose=term("purposes", study.purpose, language)),
        *_stages(study, language),
        say("study.sites", language, sites=", ".join(study.sites), minimum=study.minimum_sites,
             observers=study.observers),
        say("study.people", language, unit=term("units", study.unit, language), subjects=people,
             records=study.records_per_subject),
        say("study.once", language, number=study.max_sites_per_subject),
        *_several(study, language),
        say("study.consents", language, scope=study.legal_basis_scope),
        say(f"study.drop-{study.on_drop}", language, **drop),
        say("study.test", language, file=study.test_set.file, digest=study.test_set.digest),
        say("study.model", language, name=model.name, licence=model.licence, digest=model.digest,
             disclosure=term("disclosure_levels", model.disclosure, language)),
        *_study_runs(study, language),
        say("study.release", language, recipients=terms("recipients", study.recipients),
             uses=terms("downstream_uses", study.downstream_uses), licence=study.release_licence),
    ]  # fmt: skip
    lines += [
        say("study.measure", language, name=say(f"metric.{measure.name}", language),
             method=term("methods", measure.method, language), target=measure.target, text=measure.text[language])
        for measure in study.measures
    ]  # fmt: skip
    return [
        *lines,
        say("study.money", language, count=value.reviews_per_year, minutes=value.minutes_saved_per_review,
             share=value.share_handled, hour=value.cost_per_hour, currency=value.currency, pilot=cost.pilot,
             yearly=cost.yearly, threshold=study.roi_threshold),
        say("study.kept", language, years=study.audit_years),
    ]  # fmt: skip


def _several(study: Study, language: Language) -> list[str]:
    """What the bounds mean to a person at several sites, where there may be one."""
    number = study.max_sites_per_subject
    return [say("study.several", language, number=number)] if number > 1 else []


def _study_runs(study: Study, language: Language) -> list[str]:
    """What each method may cost, what they may cost together, and what every site trains for itself afterwards."""
    unit = say(f"study.each-{study.unit}", language)
    methods = study.methods.values()
    lines = [
        say("study.method", language, method=term("methods", name, language), epsilon=method.epsilon,
             delta=f"{method.delta:f}", steps=method.steps, allowance=method.allowance, unit=unit)
        for name, method in study.methods.items()
    ]  # fmt: skip
    if len(methods) > 1:
        lines.append(
            say("study.together", language, unit=unit, sum=sum(method.epsilon for method in methods),
                 sum_delta=f"{sum(method.delta for method in methods):f}")
        )  # fmt: skip
    return [*lines, say("study.personal" if study.personal_heads else "study.no-personal", language)]


def _stages(study: Study, language: Language) -> list[str]:
    """Every stage with its caps, which each site holds, and what people want to see before it begins."""
    return [line for stage in study.stages for line in _stage(stage, stage.name == study.stage, language)]


def _stage(stage: Stage, current: bool, language: Language) -> list[str]:
    caps = {name: str(cap) for name, cap in stage.caps.ordered()}
    name = term("stages", stage.name, language)
    return [
        texts().render("stages.signed" if current else "stages.later", language, stage=name, **caps),
        texts().render("stages.gate", language, gate=stage.gate[language], cost=str(stage.cost)),
    ]


def _rest(study: Study, language: Language) -> list[str]:
    """What is signed and has no words of its own, under its name in the file."""
    found = [(path, text) for path, text in _leaves(study, language) if not any(_fits(path, one) for one in SHOWN)]
    return [texts().render("stages.also", language, field=path, value=text) for path, text in found]


def _fits(path: str, pattern: str) -> bool:
    parts, wanted = path.split("."), pattern.split(".")
    return len(parts) == len(wanted) and all(want in ("*", part) for part, want in zip(parts, wanted, strict=True))


def _leaves(study: Study, language: Language) -> Iterator[tuple[str, str]]:
    for name, field in StudyFile.model_fields.items():
        yield from _below(field.alias or name, getattr(study, name), language)


def _below(path: str, value: object, language: Language) -> Iterator[tuple[str, str]]:
    if isinstance(value, Text):
        yield path, value[language]
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _below(f"{path}.{name}", getattr(value, name), language)
    elif isinstance(value, Mapping):
        for name in value:
            yield from _below(f"{path}.{name}", value[name], language)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for number, item in enumerate(value, 1):
            yield from _below(f"{path}.{number}", item, language)
    elif value is not None:
        yield path, _written(value)


def _written(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return format(value, "f")
    return value.isoformat() if isinstance(value, datetime) else str(value)
