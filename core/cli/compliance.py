"""sekisho compliance: export evidence, and verify it. Reads papers, logs and released provenance; nothing else.

Verification here is the same file that travels in the bundle as ``verify.py``; a third party needs only that file,
Python and the package ``cryptography``.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import typer

from ...governance.evidence.selection import EVERYTHING, Scope, ScopeKind
from ..errors import BadInputError
from ..site.papers import read_file
from .console import DEFAULT_OUT, DEFAULT_STUDY, Terminal, guarded
from .provenance import provenance
from .proving import fsck, proof, retire
from .viewing import views

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)


@app.callback()
def compliance_commands() -> None:
    """Export evidence, verify it, and trace an adapter."""


app.command("provenance", short_help="Where an adapter came from, link by link.")(provenance)
app.command("proof", short_help="One entry of a party's log, with its proof.")(proof)
app.command("fsck", short_help="Recompute a party's log from its entries.")(fsck)
app.command("retire", short_help="Let go of routine entries past their term.")(retire)
app.command("views", short_help="What people read of a bundle: pages, tables, events.")(views)


@app.command()
@guarded()
def export(
    study: Path = typer.Argument(DEFAULT_STUDY, help="Folder of the study."),
    out: Path = typer.Option(Path("evidence.zip"), "--out", help="The bundle to write."),
    provenance: Path = typer.Option(
        DEFAULT_OUT / "adapter", "--provenance", help="A released adapter's statement, or a folder of adapters."
    ),
    run: str = typer.Option("", "--run", help="Only this run, and what it rests on."),
    since: str = typer.Option("", "--from", help="Only from this day or time on (UTC where no zone is given)."),
    until: str = typer.Option("", "--until", help="Only until this day or time, which is not included."),
    model: str = typer.Option("", "--model", help="Only this model: its digest, or the folder of a released adapter."),
    own: bool = typer.Option(False, "--own", help="Only the party whose key lies here: a part, for `gather`."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Write one canonical bundle: papers, logs, signed heads, provenance, and the verifier itself.

    Everything, unless one of --run, --from with --until, or --model says what; the bundle then says that it is a
    selection. What one person asks for, a site answers: sekisho site subject-request.
    """
    from ..pilot.evidence import export_evidence, statements_at

    terminal = Terminal(as_json=as_json)
    scope = _scope(run, since, until, model)
    if own:
        if not scope.whole:
            raise BadInputError("SCOPE_TWICE", "a party's own part is whole", "give --own alone")
        _tell_part(terminal, study, out)
        return
    paths = statements_at(provenance) + (statements_at(Path(model)) if model and Path(model).is_dir() else [])
    written = export_evidence(study, out, provenance=paths, scope=scope)
    terminal.say(f"{out} written ({written.size} bytes; provenance statements: {len(written.provenance)})")
    scope = written.scope
    if not scope.whole:
        terminal.say(f"it is a selection ({scope.kind}): what was left out cannot be seen in it")
    terminal.say(f"verify it with: sekisho compliance verify {out} --root {written.root}")
    terminal.result({"evidence": str(out), "root": written.root, "bytes": written.size,
                     "provenance": list(written.provenance), "scope": scope.written()})


@app.command()
@guarded()
def gather(
    parts: list[Path] = typer.Argument(..., help="What each party exported with --own."),
    study: Path = typer.Option(DEFAULT_STUDY, "--study", help="Folder of the study, with the key of who gathers."),
    out: Path = typer.Option(Path("evidence.zip"), "--out", help="The bundle to write."),
    provenance: Path = typer.Option(
        DEFAULT_OUT / "adapter", "--provenance", help="A released adapter's statement, or a folder of adapters."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Put the parts of parties on different machines together, and hold what each saw of the others against it."""
    from ..pilot.evidence import statements_at
    from ..pilot.gathering import gather as gathered

    terminal = Terminal(as_json=as_json)
    written = gathered(study, parts, out, provenance=statements_at(provenance))
    terminal.say(f"{out} written ({written.size} bytes; parts: {len(parts)}, "
                 f"provenance statements: {len(written.provenance)})")
    if written.lacking:
        terminal.say(f"not in it: what {', '.join(written.lacking)} exported; ask for it, and gather again")
    terminal.say(f"verify it with: sekisho compliance verify {out} --root {written.root}")
    terminal.result({"evidence": str(out), "root": written.root, "bytes": written.size, "parts": len(parts),
                     "lacking": list(written.lacking), "provenance": list(written.provenance)})


def _tell_part(terminal: Terminal, study: Path, out: Path) -> None:
    from ..pilot.gathering import export_own

    written = export_own(study, out)
    terminal.say(f"{out} written ({written.size} bytes): one party's part, for `compliance gather`")
    terminal.say(f"verify it with: sekisho compliance verify {out} --root {written.root}")
    terminal.result({"evidence": str(out), "root": written.root, "bytes": written.size, "own": True})


def _scope(run: str, since: str, until: str, model: str) -> Scope:
    """The one scope that the options name. Raises ``BadInputError`` SCOPE_TWICE, SCOPE_PERIOD."""
    from ..pilot.evidence import adapter_digest

    if sum(map(bool, (run, since or until, model))) > 1:
        raise BadInputError("SCOPE_TWICE", "a bundle has one scope", "give one of --run, --from with --until, --model")
    if run:
        return Scope(ScopeKind.RUN, run)
    if model:
        return Scope(ScopeKind.MODEL, adapter_digest(model))
    if since or until:
        return Scope(ScopeKind.PERIOD, since=_moment(since), until=_moment(until))
    return EVERYTHING


def _moment(written: str) -> datetime:
    """A day or a time; UTC where it names no zone."""
    try:
        moment = datetime.fromisoformat(written)
    except ValueError:
        raise BadInputError("SCOPE_PERIOD", "a period needs two ends, each a day or a time",
                            "for instance --from 2026-11-01 --until 2026-12-01") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


@app.command()
@guarded()
def verify(
    bundle: Path = typer.Argument(..., help="An evidence.zip."),
    root: str = typer.Option("", "--root", help="Fingerprint of the roster, as you received it elsewhere."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Verify a bundle. Without --root the answer is "consistent, signer unknown", never "verified"."""
    from ...governance.evidence import verifier

    terminal = Terminal(as_json=as_json)
    if not bundle.is_file():
        read_file(bundle)  # which says what is wrong with it
    verdict = verifier.verify_file(bundle, root or None, lambda line: print(line, file=sys.stderr, flush=True))
    terminal.say(f"{verdict.name}: {verdict.sentence}")
    for line in verdict.details:
        terminal.say(f"  {line}")
    terminal.result({"verdict": verdict.name, "exit": verdict.code, "details": list(verdict.details)})
    raise typer.Exit(verdict.code)
