"""The commands that set a site's machine up and keep it going; site.py offers them.

    sekisho site enrol SITE                       folder, keys and a request for the coordinator
    sekisho site enrol SITE --bundle FILE         installs what came back
    sekisho site serve SITE                       the service, until it is told to end
    sekisho site status SITE                      what the service says of itself; exit 0 while it lives

No torch here: ``serve`` becomes another program (serving.py), by name.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import typer

from ..errors import BadInputError, CheckFailedError
from ..parties import READABLE, key_path, load_key, make_private_folder, state_folder, write_whole
from ..site.papers import read_file, read_roster, read_study
from .consent import known_site
from .console import DEFAULT_STUDY, Terminal, exit_code_of, guarded

FLARE = "flare"  # in a party's state folder: the kit of its FLARE process
ENROLMENT = "enrolment"  # in the study's folder: requests and what comes back, for people to carry; nothing secret
SITE = typer.Argument(..., help="Id of the site.")
STUDY = typer.Option(DEFAULT_STUDY, "--study", help="Folder of the study.")
PASSPHRASE = typer.Option(None, "--passphrase-file", help="File whose first line is the key's passphrase.")
JSON = typer.Option(False, "--json", help="Print one JSON object.")
LONGEST_BUNDLE = 1 << 20  # bytes of what the coordinator sends back: three certificates and an address are 8 KB


@guarded()
def enrol(
    site: str = SITE,
    study: Path = STUDY,
    bundle: Path | None = typer.Option(None, "--bundle", help="What the coordinator sent back: install it."),
    passphrase_file: Path | None = PASSPHRASE,
    as_json: bool = JSON,
) -> None:
    """Set this machine up as a site: its private folder, its keys, and what to send to the coordinator."""
    from ..flare.kits import site_kit, site_request
    from ..passphrases import unlock

    terminal = Terminal(as_json=as_json)
    known_site(study, site)
    state = state_folder(study, site)
    make_private_folder(state)
    if bundle is not None:
        roster = read_roster(study, now=_now())
        host, port = site_kit(
            state / FLARE, _bundle(bundle), study=study_id(study), site=site, roster=roster, now=_now()
        )
        terminal.say(f"{site}: installed; it connects to {host}:{port}, and to nothing else")
        terminal.say(f"start it, or start it again: sekisho site serve {site} --study {study}")
        terminal.result({"site": site, "installed": True, "host": host, "port": port})
        return
    # 1. the site's signing key, where the roster still waits for it
    made, demo = _roster_key(terminal, study, site, passphrase_file)
    # 2. a TLS key that never leaves, and a request for its certificate under the signing key
    if passphrase_file is not None:
        unlock(key_path(study, site, demo=demo), site, passphrase_file=passphrase_file)
    key = load_key(study, site, demo=demo)
    request = site_request(state / FLARE, study=study_id(study), site=site, key=key)
    out = study / ENROLMENT / f"{site}.request"
    out.parent.mkdir(exist_ok=True)
    write_whole(out, request, READABLE)
    if made:
        terminal.say("send roster.yaml, which has your public key now, to whoever keeps the roster; it is complete")
        terminal.say(f"when every site has signed it: sekisho site sign-roster {site} --study {study}")
    terminal.say(f"send {out} to the coordinator; it holds no secret. What comes back is installed by:")
    terminal.say(f"  sekisho site enrol {site} --study {study} --bundle FILE")
    terminal.result({"site": site, "request": str(out), "key_made": made, "public": key.public.to_text()})


@guarded()
def serve(
    site: str = SITE,
    study: Path = STUDY,
    pipe_only: bool = typer.Option(False, "--pipe-only", help="Do not start FLARE's client: others supervise it."),
    passphrase_file: Path | None = PASSPHRASE,
    as_json: bool = JSON,
) -> None:
    """Take part in runs until it is told to end (SIGTERM); its log goes to standard error."""
    known_site(study, site)
    words = [site, "--study", str(study)]
    words += ["--pipe-only"] if pipe_only else []
    words += ["--passphrase-file", str(passphrase_file)] if passphrase_file is not None else []
    words += ["--json"] if as_json else []
    # the same process from here on, so that who supervises it sees one
    os.execv(sys.executable, [sys.executable, "-P", "-m", f"{__package__}.serving", *words])  # noqa: S606  ours, by name


@guarded()
def status(site: str = SITE, study: Path = STUDY, as_json: bool = JSON) -> None:
    """What the site's service says of itself: what it does, since when, and whether it lives."""
    from ..site.status import check_healthy, read_status, status_lines

    terminal = Terminal(as_json=as_json)
    found = read_status(study, known_site(study, site), now=_now())
    for line in status_lines(found):
        terminal.say(line)
    try:
        check_healthy(found)
    except CheckFailedError as error:
        terminal.fail(error, exit_code_of(error), also=found)
    terminal.result(found)


def _roster_key(terminal: Terminal, study: Path, site: str, passphrase_file: Path | None) -> tuple[bool, bool]:
    """Make the site's signing key if the roster waits for it; whether it was made, and whether the roster is a demo's.

    Other sites' keys may still be missing: the roster is not one yet.
    """
    from ..paperwork.keys import entries, make_key
    from ..passphrases import new_passphrase

    document, named = entries(study)
    demo = isinstance(document.value, dict) and document.value.get("demo") is True
    if not any(entry.name == site and not entry.made for entry in named):
        return False, demo
    public = make_key(study, site, passphrase=new_passphrase(site, passphrase_file))
    terminal.say(f"signing key of {site}: {key_path(study, site)}, under the passphrase; keep a copy of both, apart")
    terminal.say(f"its public half, now in roster.yaml: {public.to_text()}")
    return True, demo


def study_id(study: Path) -> str:
    """The id of the study in a folder."""
    return read_study(study).id


def _bundle(path: Path) -> bytes:
    data = read_file(path)
    if len(data) > LONGEST_BUNDLE:
        raise BadInputError("BUNDLE_TOO_LONG", f"{path.name} is too long to be a bundle", "take the file that was sent")
    return data


def _now() -> datetime:
    return datetime.now(UTC)
