"""sekisho site consent: who may be used now and why not the others; bring a consent file in.

    sekisho site consent SITE                                   the counts, by reason
    sekisho site consent SITE --import FILE --dry-run           every row that would be refused, by line and code
    sekisho site consent SITE --import FILE --format csv        all rows, or none
    sekisho site consent SITE --withdraw PSEUDONYM              counts from the next step on

What it prints stays at the site. Of a row it prints where it stands and the code, of a person nothing. No torch here.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..errors import BadInputError
from ..parties import make_private_folder, replace_file, state_folder
from ..site.papers import read_file, read_study
from .console import DEFAULT_STUDY, UNUSABLE, Terminal, guarded

if TYPE_CHECKING:
    from ...governance.consent.consent import ConsentRegister
    from ...governance.consent.consent_import import ImportReport
    from ...governance.consent.rows import RowFormat

MOST_SHOWN = 20  # refused rows on the screen: as many as are read; the file has all
REFUSED_ROWS = "consent-refused.csv"  # in the site's state folder


@guarded()
def consent(
    site: str = typer.Argument(..., help="Id of the site."),
    study: Path = typer.Option(DEFAULT_STUDY, "--study", help="Folder of the study."),
    imported: Path = typer.Option(None, "--import", help="File of consent records to bring in, all rows or none."),
    form: str = typer.Option("jsonl", "--format", help="Of that file: jsonl, csv, fhir (a Bundle), fhir-ndjson."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Read the file, list every row that cannot be used, stop."),
    withdraw: str = typer.Option("", "--withdraw", help="Pseudonym of a subject who withdraws now."),
    check: bool = typer.Option(False, "--check", help="Read every event again and hold index and digest to them."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """How many subjects may be used now, and why not the others; bring consents in, or take a withdrawal."""
    from ...governance.consent.consent import ConsentRegister
    from ..site.consents import IMPORTED_FILE, REGISTER, import_consents, row_format

    terminal = Terminal(as_json=as_json)
    scope = read_study(study).legal_basis_scope
    folder = state_folder(study, known_site(study, site))
    if dry_run and imported is None:
        raise BadInputError("NOTHING_TO_IMPORT", "a dry run needs a file", hint="name it with --import")
    own_format = row_format(form, scope=scope)
    make_private_folder(folder)
    now = datetime.now(UTC)
    if withdraw:
        _withdraw(study, site, withdraw, now)
        terminal.say(f"{site}: the withdrawal counts from the next step on; it does not unlearn (docs/threats.md)")
    register = ConsentRegister.open(folder / REGISTER)
    told: dict[str, Any] = {"site": site, "scope": scope}
    try:
        if imported is not None:
            told["import"] = _bring_in(terminal, register, imported, own_format, folder, dry_run=dry_run)
            if dry_run:
                terminal.result(told)
                return
        import_consents(register, study / "sites" / site / IMPORTED_FILE, progress=terminal.progress)
        if check:
            told["checked"] = register.check()
            terminal.say(f"{site}: {told['checked']} events read again; index and digest are what they say")
        counts = register.counts(scope, now)
    finally:
        register.close()
    terminal.say(f"{site}: consent for '{scope}'")
    for reason, number in sorted(counts.items()):
        terminal.say(f"  {reason}: {number}")
    terminal.result({**told, "counts": dict(counts)})


def _withdraw(study: Path, site: str, subject: str, now: datetime) -> None:
    """The whole withdrawal, as `sekisho site withdraw` takes it; that command also says what was reached."""
    from ..site.remedy import Desk
    from ..site.remedy import withdraw as take

    desk = Desk.open(study, site)
    try:
        take(desk, subject, at=now)
    finally:
        desk.close()


def known_site(study: Path, site: str) -> str:
    """The id, if the study has such a site. Raises ``BadInputError`` SITE_UNKNOWN."""
    read_file(study / "study.yaml")
    content = read_study(study)
    if site not in content.sites:
        raise BadInputError(
            "SITE_UNKNOWN", f"the study has no site '{site}'", hint=f"its sites are {', '.join(content.sites)}"
        )
    return site


def _bring_in(
    terminal: Terminal, register: ConsentRegister, path: Path, form: RowFormat, folder: Path, *, dry_run: bool
) -> dict[str, Any]:
    from ..site.consents import refusal_of

    report = register.import_file(path, form, progress=terminal.progress, dry_run=dry_run)
    listed = folder / REFUSED_ROWS
    if report.refused:
        _list(terminal, report, listed)
        rows = [{"line": row.line, "code": row.code} for row in report.refused]
        terminal.fail(refusal_of(report), UNUSABLE, also={"file": path.name, "good": report.good, "refused": rows})
    listed.unlink(missing_ok=True)
    if dry_run:
        terminal.say(f"{path.name}: {report.good} rows can be used, none is refused; nothing was recorded")
    else:
        terminal.say(f"{path.name}: {report.recorded} events recorded, {report.known} were known")
        if report.erased:
            terminal.say(f"  {report.erased} rows are of people who were erased since, and were not taken")
    return {
        "file": path.name,
        "good": report.good,
        "recorded": report.recorded,
        "known": report.known,
        "erased": report.erased,
    }


def _list(terminal: Terminal, report: ImportReport, listed: Path) -> None:
    rows = [f"{row.line},{row.code}\r\n" for row in report.refused]
    replace_file(listed, "".join(["line,code\r\n", *rows]).encode())
    for row in report.refused[:MOST_SHOWN]:
        terminal.say(f"  {row.file}:{row.line}: {row.code}")
    if len(report.refused) > MOST_SHOWN:
        terminal.say(f"  … and {len(report.refused) - MOST_SHOWN} more")
    terminal.say(f"  all {len(report.refused)} stand in {listed.parent.name}/{listed.name}; {report.good} can be used")
