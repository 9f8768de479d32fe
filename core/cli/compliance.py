"""sekisho compliance: export evidence, and verify it. Reads papers, logs and released provenance; nothing else.

Verification here is the same file that travels in the bundle as ``verify.py``; a third party needs only that file,
Python and the package ``cryptography``.
"""

from __future__ import annotations

from pathlib import Path

import typer

from .console import DEFAULT_OUT, DEFAULT_STUDY, Terminal, guarded
from .provenance import provenance
from .proving import fsck, proof

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)


@app.callback()
def compliance_commands() -> None:
    """Export evidence, verify it, and trace an adapter."""


app.command("provenance", short_help="Where an adapter came from, link by link.")(provenance)
app.command("proof", short_help="One entry of a party's log, with its proof.")(proof)
app.command("fsck", short_help="Recompute a party's log from its entries.")(fsck)


@app.command()
@guarded()
def export(
    study: Path = typer.Argument(DEFAULT_STUDY, help="Folder of the study."),
    out: Path = typer.Option(Path("evidence.zip"), "--out", help="The bundle to write."),
    provenance: Path = typer.Option(
        DEFAULT_OUT / "adapter", "--provenance", help="A released adapter's statement, or a folder of adapters."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Write one canonical bundle: papers, logs, signed heads, provenance, and the verifier itself."""
    from ..pilot.evidence import export_evidence, statements_at

    terminal = Terminal(as_json=as_json)
    written = export_evidence(study, out, provenance=statements_at(provenance))
    terminal.say(f"{out} written ({written.size} bytes; provenance statements: {len(written.provenance)})")
    terminal.say(f"verify it with: sekisho compliance verify {out} --root {written.root}")
    terminal.result({"evidence": str(out), "root": written.root, "bytes": written.size,
                     "provenance": list(written.provenance)})


@app.command()
@guarded()
def verify(
    bundle: Path = typer.Argument(..., help="An evidence.zip."),
    root: str = typer.Option("", "--root", help="Fingerprint of the roster, as you received it elsewhere."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Verify a bundle. Without --root the answer is "consistent, signer unknown", never "verified"."""
    from ...governance.evidence import verifier
    from ..site.papers import read_file

    terminal = Terminal(as_json=as_json)
    verdict = verifier.verify(read_file(bundle), root or None)
    terminal.say(f"{verdict.name}: {verdict.sentence}")
    for line in verdict.details:
        terminal.say(f"  {line}")
    terminal.result({"verdict": verdict.name, "exit": verdict.code, "details": list(verdict.details)})
    raise typer.Exit(verdict.code)
