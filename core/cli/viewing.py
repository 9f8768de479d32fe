"""sekisho compliance views: verify a bundle, then write out what people read of it.

For: ``compliance.py``. Not for: proof. The pages are made again from the members that were verified; whether the bundle
holds the same is said, since who exported it may have made them with another version, or by hand.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import typer

from ...governance.evidence.selection import EVERYTHING, Scope, ScopeKind
from ...governance.language import LANGUAGES, Language
from ..errors import BadInputError
from ..site.papers import read_file
from .console import Terminal, guarded

USABLE = ("verified", "consistent")   # not another's bundle where a fingerprint was given: nobody asked to read that


@guarded()
def views(
    bundle: Path = typer.Argument(..., help="An evidence.zip."),
    out: Path = typer.Option(..., "--out", help="A folder for the pages, tables and events."),
    root: str = typer.Option("", "--root", help="Fingerprint of the roster, as you received it elsewhere."),
    language: Language | None = typer.Option(None, "--language", help="en or ja alone; else both."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Verify a bundle, then write its pages (HTML), tables (CSV, JSON) and SIEM events (OCSF).

    Of a bundle that was changed, or is not of the roster with your fingerprint, nothing is written. The exit code is
    that of the verdict.
    """
    from ...governance.evidence import verifier
    from ...governance.evidence.views import FOLDER, view_members

    terminal = Terminal(as_json=as_json)
    # 1. verify; nothing of a changed bundle is looked at
    data = read_file(bundle)
    verdict = verifier.verify(data, root or None)
    terminal.say(f"{verdict.name}: {verdict.sentence}")
    if verdict.name not in USABLE:
        for line in verdict.details:
            terminal.say(f"  {line}")
        terminal.result({"verdict": verdict.name, "exit": verdict.code, "written": []})
        raise typer.Exit(verdict.code)
    # 2. make the views again, from what was verified
    members = verifier.read_container(data)
    made = view_members(members, _scope(members[verifier.MANIFEST]))
    same = made == {name: held for name, held in members.items() if name.startswith(FOLDER)}
    # 3. write them
    left_out = {f"{FOLDER}{one}/" for one in LANGUAGES if language is not None and one != language}
    chosen = {name: view for name, view in made.items() if not name.startswith(tuple(left_out))}
    _write(out, {name.removeprefix(FOLDER): view for name, view in chosen.items()})
    first = out / (language or LANGUAGES[0]) / "index.html"
    terminal.say(f"{len(chosen)} files written; begin with {first}")
    if not same:
        terminal.say("the views inside the bundle are not these; another version of Sekisho, or somebody, made them")
    terminal.result({"verdict": verdict.name, "exit": verdict.code, "written": sorted(chosen), "index": str(first),
                     "same_as_in_bundle": same})
    raise typer.Exit(verdict.code)


def _scope(manifest: bytes) -> Scope:
    """The scope that a verified manifest names."""
    said = json.loads(manifest).get("scope") or {}
    kind = ScopeKind(said.get("kind", ScopeKind.ALL))
    if kind is ScopeKind.ALL:
        return EVERYTHING
    since, until = (datetime.fromisoformat(said[name]) if name in said else None for name in ("from", "until"))
    return Scope(kind, said.get("of", ""), since=since, until=until)


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    try:
        for name, data in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    except OSError as error:
        raise BadInputError("VIEWS_UNWRITABLE", f"the views cannot be written ({error.strerror})",
                            hint="give --out a folder that you may write to and that has room") from None
