"""sekisho legal intake: a base model's folder looked at before anybody signs for it or loads it.

    sekisho legal intake PATH                                  what it is, and what it shows of its training data
    sekisho legal intake STUDY                                 the same of a study's model, held against its record
    sekisho legal intake PATH --record base-model.yaml         what in legal's record the files contradict
    sekisho legal intake PATH --policy policy.yaml             what a policy's clause on base models says to it
    sekisho legal intake PATH --out base-model.yaml            a first record, unsigned, for legal to complete

Exit codes: 0 nothing found, 1 the record or the installed package differs, 2 a folder or file that is not taken,
3 a policy says no (also if something differs). Loads no torch, no TenSEAL; nothing of the model or its package runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer

from ...governance.language import Language
from ...governance.policy.words import cited
from ...governance.provenance.disclosure import BaseModelRecord
from ..data.files import BaseModelRefusedError
from ..data.intake import locate
from ..data.sources import CARD_FILE, largest_groups
from ..errors import BadInputError, CheckFailedError, Refused
from ..paperwork.answers import answers_of, restrictions_of
from ..paperwork.base_model import Difference, Verdict, as_installed, differences, first_record, verdict
from ..paperwork.decisions import to_decide
from ..paperwork.model import DraftModel, model_of
from ..paperwork.words import say, term, texts
from ..site.papers import read_file, read_study
from .console import FOUND, REFUSED, Terminal, guarded
from .templates import parse_policy

GAP = "  "
STUDY, RECORD = "study.yaml", "base-model.yaml"  # in the folder of a study


@guarded()
def intake(
    path: Path = typer.Argument(..., metavar="PATH", help="Folder of the model's files, or of a study."),
    record: Path | None = typer.Option(None, "--record", help="Legal's record of it, to hold against the files."),
    policy: list[Path] = typer.Option([], "--policy", help="A policy.yaml to ask; may be given several times."),
    out: Path | None = typer.Option(None, "--out", help="Write a first record here; a file is never overwritten."),
    language: Language = typer.Option("en", "--language", help="en or ja."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Look at a base model: digests, licence, who packaged it, and what it shows of its training data."""
    terminal = Terminal(as_json=as_json)
    now = datetime.now(UTC)
    # 1. what was named can be used, before a large file is read
    if out is not None and (out.exists() or out.is_symlink()):
        raise Refused("FILE_EXISTS", f"{out} exists already", hint="choose another name, or move the file away")
    folder, record = _meant(path, record)
    recorded = BaseModelRecord.parse(read_file(record), str(record)) if record else None
    policies = [(path, parse_policy(path, language)) for path in policy]
    # 2. the folder
    model = _looked_at(folder, language)
    for line in _shown(model, language):
        terminal.say(line)
    # 3. record and policies
    differing = (*as_installed(model), *(differences(recorded, model, now) if recorded else ()))
    verdicts = [(path, verdict(parsed, model, recorded)) for path, parsed in policies]
    for line in (*_differing(record, differing, language), *_verdicts(verdicts, recorded is not None, language)):
        terminal.say(line)
    # 4. a draft; never a signature
    if out is not None:
        text = first_record(model, now)
        with out.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
        terminal.say(_say("draft", language, file=str(out), count=str(to_decide(text))))
    _finish(terminal, _told(model, differing, verdicts, out, language), differing, [one for _, one in verdicts])


def _meant(path: Path, record: Path | None) -> tuple[Path, Path | None]:
    """The model's folder and the record to hold against it: of a study both are known."""
    if not (path / STUDY).is_file():
        return path, record
    return locate(read_study(path).base_model, path), record or path / RECORD


def _looked_at(folder: Path, language: Language) -> DraftModel:
    if not folder.is_dir():
        raise BadInputError("BASE_MODEL_NO_FOLDER", f"there is no folder {folder}", "name the folder of the weights")
    try:
        return model_of(folder, place="", any_licence=True)
    except BaseModelRefusedError as error:
        key = f"intake.refused.{error.code}"
        if language == "en" or key not in texts():
            raise
        sentence = texts().render(key, language, file=error.file, why=error.why)
        raise BadInputError(error.code, sentence) from None


def _finish(
    terminal: Terminal, told: dict[str, Any], differing: Sequence[Difference], verdicts: Sequence[Verdict]
) -> None:
    denying = [one for one in verdicts if one.denied]
    if denying:
        codes = dict.fromkeys(denial.code for one in denying for denial in one.denied)
        who = f"{len(denying)} of {len(verdicts)} policies do not permit this base model: {', '.join(codes)}"
        hint = "each reason is printed above with what would change it"
        terminal.fail(Refused("BASE_MODEL_DENIED", who, hint=hint), REFUSED, also=told)
    if differing:
        error = CheckFailedError(
            "BASE_MODEL_RECORD_DIFFERS",
            f"{len(differing)} things differ: {', '.join(dict.fromkeys(one.code for one in differing))}",
            "restore the model that was recorded, or have legal review the record and sign it again",
        )
        terminal.fail(error, FOUND, also=told)
    terminal.result(told)


# -- in words ------------------------------------------------------------------------------------------------------


def _shown(model: DraftModel, language: Language) -> list[str]:
    facts, shown = model.facts, model.shown
    sizes = {name: f"{getattr(facts, name):,}" for name in ("depth", "width", "inner", "parameters")}
    lines = [
        _say("model", language, name=model.name, architecture=facts.architecture, files=str(len(facts.files)), **sizes),
        _say("weights", language, digest=facts.digest),
        _say("licence", language, licence=_licence(model, language)),
        _package(model, language),
        _say("use", language),
        *(f"{GAP}- {text[language]}" for text in restrictions_of(shown.card)),
        _say("training", language, level=term("disclosure_levels", str(facts.disclosure), language)),
    ]
    for question, answer in answers_of(shown).items():
        evidence = ", ".join(shown.findings[question].evidence) or _say("no-evidence", language)
        words = {"question": say(f"question.{question}", language), "status": say(f"status.{answer.status}", language)}
        lines.append(GAP + _say("answer", language, text=answer.text[language], evidence=evidence, **words))
    return lines + _groups(model, language) + _files(model, language)


def _groups(model: DraftModel, language: Language) -> list[str]:
    total = sum(source.lines or 0 for source in model.shown.listed)
    if not total:
        return []
    lines = [_say("groups", language)]
    for name, files, count in largest_groups(model.shown.listed):
        numbers = {"files": f"{files:,}", "lines": f"{count:,}", "share": f"{count / total:.0%}"}
        lines.append(GAP + _say("group", language, name=name, **numbers))
    return lines


def _files(model: DraftModel, language: Language) -> list[str]:
    return [_say("files", language), *(f"{GAP}{digest}  {name}" for name, digest in model.facts.files.items())]


def _licence(model: DraftModel, language: Language) -> str:
    card = model.shown.card
    stated = card.licence or _say("not-stated", language)
    return f"{model.facts.licence} ({CARD_FILE}: {stated})"


def _package(model: DraftModel, language: Language) -> str:
    own = model.packaged
    if own is None:
        return _say("no-package", language)
    unknown = _say("not-stated", language)
    return _say("package", language, package=own.package, version=own.version, by=own.by or unknown,
                licence=own.licence or unknown, weights=_say(f"package-{own.weights}", language))  # fmt: skip


def _differing(record: Path | None, differing: Sequence[Difference], language: Language) -> list[str]:
    name = record.name if record else "RECORD"
    if record and not differing:
        return [_say("record-same", language, file=name)]
    return [
        _say("record-differs", language, file=name, field=one.name(language), recorded=one.recorded, found=one.found,
             code=one.code)
        for one in differing
    ]  # fmt: skip


def _verdicts(verdicts: Sequence[tuple[Path, Verdict]], recorded: bool, language: Language) -> list[str]:
    lines: list[str] = []
    basis = _say("basis-record" if recorded else "basis-files", language)
    for _, one in verdicts:
        if not one.denied:
            lines.append(_say("policy-permits", language, policy=one.policy, basis=basis))
        for denial in one.denied:
            lines.append(_say("policy-denies", language, policy=one.policy, clause=cited(denial.clause, language),
                              name=denial.name[language], reason=denial.reason[language], code=denial.code))
            lines.append(f"{GAP}-> {denial.fix[language]}")
    return lines


def _say(key: str, language: Language, **values: str) -> str:
    return texts().render(f"intake.say.{key}", language, **values)


# -- as JSON -------------------------------------------------------------------------------------------------------


def _told(
    model: DraftModel,
    differing: Sequence[Difference],
    verdicts: Sequence[tuple[Path, Verdict]],
    out: Path | None,
    language: Language,
) -> dict[str, Any]:
    facts, shown, package = model.facts, model.shown, model.packaged
    return {
        "name": model.name,
        "digest": facts.digest,
        "files": dict(facts.files),
        "architecture": facts.architecture,
        "width": facts.width, "inner": facts.inner, "depth": facts.depth, "parameters": facts.parameters,
        "licence": facts.licence,
        "licence_stated": shown.card.licence,
        "use_restrictions": [text[language] for text in restrictions_of(shown.card)],
        "package": vars(package) if package else None,
        "disclosure": str(facts.disclosure),
        "training_data": {
            question: {
                "status": answer.status,
                "text": answer.text[language],
                "evidence": list(shown.findings[question].evidence),
            }
            for question, answer in answers_of(shown).items()
        },
        "sources": facts.sources,
        "largest": [
            {"name": name, "files": files, "lines": lines} for name, files, lines in largest_groups(shown.listed)
        ],
        "differences": [vars(one) for one in differing],
        "policies": [
            {
                "policy": one.policy,
                "file": str(path),
                "permitted": not one.denied,
                "denied": [{"code": denial.code, "field": denial.field, "reason": denial.reason[language],
                            "fix": denial.fix[language]} for denial in one.denied],
            }
            for path, one in verdicts
        ],
        "draft": str(out) if out else None,
    }  # fmt: skip
