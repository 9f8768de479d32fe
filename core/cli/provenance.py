"""sekisho compliance provenance: an adapter's lineage, each edge verified, drawn or exported.

Reads papers, signed logs and the adapter's folder; no record, no vault, no ledger, no key.
"""

from __future__ import annotations

from pathlib import Path

import typer

from ...governance.language import Catalogue, Language
from ..parties import write_whole
from .console import DEFAULT_STUDY, FOUND, Terminal, guarded

READABLE = 0o644
GOVERNANCE = __name__.removesuffix("core.cli.provenance") + "governance"
FORMATS = ("text", "svg", "json")


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
    """Where an adapter came from, link by link; exit code 1 when one does not hold."""
    import json

    from ...governance.provenance.drawing import as_text, broken_lines
    from ...governance.provenance.tracing import trace
    from ..pilot.tracing import material_of

    terminal = Terminal(as_json=as_json)
    material = material_of(adapter, study, root=root or None)
    lineage = trace(material)
    texts = Catalogue.load(GOVERNANCE, "texts")
    match form:
        case "json":
            data = json.dumps(lineage.to_json(), indent=1) + "\n"
        case _:
            data = "\n".join(as_text(lineage, texts, language)) + "\n"
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
