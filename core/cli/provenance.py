"""sekisho compliance provenance: an adapter's lineage, each edge verified, drawn or exported.

Reads papers, signed logs and the adapter's folder; no record, no vault, no ledger, no key. The exports (mlbom, prov,
croissant, card) are made from the signed statement, and only where it counts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from ...governance.language import Catalogue, Language
from ...governance.provenance.lineage import Lineage
from ...governance.provenance.material import Material
from ..errors import BadInputError
from ..parties import write_whole
from .console import DEFAULT_STUDY, FOUND, Terminal, guarded

READABLE = 0o644
GOVERNANCE = __name__.removesuffix("core.cli.provenance") + "governance"
FORMATS = ("text", "svg", "json", "mlbom", "prov", "croissant", "card")


@guarded()
def provenance(
    adapter: Path = typer.Argument(..., help="Folder of one released adapter."),
    study: Path = typer.Option(DEFAULT_STUDY, "--study", help="Folder of the study, or an evidence.zip."),
    form: str = typer.Option("text", "--format", help=f"One of: {', '.join(FORMATS)}."),
    out: Path | None = typer.Option(None, "--out", help="File to write; without it the terminal."),
    root: str = typer.Option("", "--root", help="Fingerprint of the roster, as you received it elsewhere."),
    language: Language = typer.Option("en", "--language", help="en or ja."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Where an adapter came from, link by link; exit code 1 when one does not hold. Without --root the roster, on which
    all rests, is "unchecked"."""
    from ...governance.provenance.drawing import broken_lines
    from ...governance.provenance.tracing import trace
    from ..pilot.tracing import material_of

    terminal = Terminal(as_json=as_json)
    material = material_of(adapter, study, root=root or None)
    lineage = trace(material)
    texts = Catalogue.load(GOVERNANCE, "texts")
    data = _written(form, material, lineage, texts, language)
    if out is not None:
        write_whole(out, data.encode("utf-8"), READABLE)
        terminal.say(f"{out} written")
    else:
        terminal.say(data.removesuffix("\n"))
    if lineage.broken and (out is not None or form != "text"):
        for line in broken_lines(lineage, texts, language):
            terminal.say(f"broken: {line}")
    terminal.result(lineage.to_json())
    raise typer.Exit(FOUND if lineage.broken else 0)


def _written(form: str, material: Material, lineage: Lineage, texts: Catalogue, language: Language) -> str:
    from ...governance.provenance.drawing import as_svg, as_text

    match form:
        case "text":
            return "\n".join(as_text(lineage, texts, language)) + "\n"
        case "svg":
            return as_svg(lineage, texts, language)
        case "json":
            return json.dumps(lineage.to_json(), indent=1) + "\n"
    if form not in FORMATS:
        raise BadInputError("FORMAT_UNKNOWN", "there is no such format", f"name one of {', '.join(FORMATS)}")
    return _exported(form, material, texts)


def _exported(form: str, material: Material, texts: Catalogue) -> str:
    from ...governance.provenance import croissant, mlbom, modelcard, prov
    from ...governance.provenance.tracing import opened, signer_of
    from ..pilot.tracing import about_of

    statement = opened(material)
    if form == "prov":
        return _as_json(prov.document(statement, signer_of(material)))
    words = about_of(material)
    match form:
        case "mlbom":
            return mlbom.to_bytes(mlbom.document(statement, words)).decode("utf-8")
        case "croissant":
            return _as_json(croissant.documents(statement, words))
    return modelcard.card(statement, words, texts)


def _as_json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"
