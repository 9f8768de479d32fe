"""sekisho compliance proof, fsck and retire: a party's log looked at without any key, or relieved under its own."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from .console import DEFAULT_STUDY, Terminal, guarded

if TYPE_CHECKING:
    from ..paperwork.logbook import Checked


@guarded()
def proof(
    party: str = typer.Argument(..., help="Id of the party whose log it is."),
    index: int = typer.Argument(..., min=0, help="Number of the entry, from 0."),
    study: Path = typer.Option(DEFAULT_STUDY, "--study", help="Folder of the study."),
    out: Path | None = typer.Option(None, "--out", help="Where to write it; PARTY-INDEX.tlog-proof if not given."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Write one entry of a party's log with what proves that it is in there (C2SP tlog-proof).

    Whoever has the party's public key verifies it without the log, with this or any other reader of the format.
    """
    from ...governance.log.proofs import SUFFIX
    from ..paperwork.logbook import prove_entry, write_proof

    terminal = Terminal(as_json=as_json)
    found = prove_entry(study, party, index)
    target = out or Path(f"{party}-{index}{SUFFIX}")
    write_proof(target, found)
    terminal.say(f"{target} written: entry {index} of the log of {party}, {len(found.hashes)} hashes, signed head")
    terminal.result({"proof": str(target), "party": party, "index": index, "hashes": len(found.hashes)})


@guarded()
def fsck(
    party: str = typer.Argument("", help="Id of a party; every party that has a log here, if not given."),
    study: Path = typer.Option(DEFAULT_STUDY, "--study", help="Folder of the study."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Recompute every hash, stored node and signed head of a log from its entries, and the heads that it witnessed."""
    from ..paperwork.logbook import check_log, parties_with_logs

    terminal = Terminal(as_json=as_json)
    found = []
    for name in [party] if party else parties_with_logs(study):
        def progress(done: int, total: int, name: str = name) -> None:
            terminal.progress(name, done, total)

        found.append(check_log(study, name, progress))
        for line in _told(found[-1]):
            terminal.say(f"{name}: {line}")
    if not found:
        terminal.say("no party has a log beside this study")
    terminal.result({"logs": [_as_json(one) for one in found]})


@guarded()
def retire(
    party: str = typer.Argument(..., help="Id of the party whose log it is."),
    study: Path = typer.Option(DEFAULT_STUDY, "--study", help="Folder of the study."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Let go of a log's routine entries that are older than the study's audit_years; their hashes stay.

    Every proof and signed head holds as before. Policies, rosters, stops, budgets, releases and withdrawals stay.
    """
    from datetime import UTC, datetime

    from ..site.retiring import retire as let_go

    terminal = Terminal(as_json=as_json)
    found = let_go(study, party, clock=lambda: datetime.now(UTC))
    day = found.until.date().isoformat()
    terminal.say(f"{party}: {found.entries} routine entries from before {day} let go of; {found.size} hashes stay")
    terminal.result({"party": party, "entries": found.entries, "until": day, "size": found.size})


def _told(checked: Checked) -> list[str]:
    log, seen = checked.log, checked.witnessed
    lines = [
        f"{log.entries} entries, {log.nodes} nodes and {log.heads} signed heads recomputed and found in order",
        f"root {log.root.hex()}",
    ]
    if log.retired:
        lines.append(f"{log.retired} of the entries were let go of after their term; the log says which")
    if seen is not None:
        lines.append(
            f"heads of {seen.verified} other logs verified, {seen.otherwise} signed otherwise, "
            f"{seen.contradictions} contradictions kept as evidence"
        )
    return lines


def _as_json(checked: Checked) -> dict[str, Any]:
    witnessed = None if checked.witnessed is None else asdict(checked.witnessed)
    return {"party": checked.party, **asdict(checked.log), "root": checked.log.root.hex(), "witnessed": witnessed}
