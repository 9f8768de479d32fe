"""sekisho coordinator: the machine in the middle, which adds what it cannot open.

    sekisho coordinator enrol --host NAME     FLARE's server: certificates and configuration, once
    sekisho coordinator admit REQUEST         a site's request -> what is sent back to it
    sekisho coordinator serve                 keeps FLARE's server running
    sekisho coordinator run METHOD            conducts a run; goes on with one that is open
    sekisho coordinator status | stop         what is happening; end the open run at all sites

No key of a site, no record and no model is within reach of these commands (tests/test_architecture.py).
"""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ...governance.errors import GovernanceError
from ..errors import CheckFailedError, CoreError
from ..parties import READABLE, SOCKET, check_has_key, load_key, make_private_folder, state_folder, write_whole
from ..site.papers import read_file, read_roster, read_study
from .console import DEFAULT_STUDY, FOUND, Terminal, guarded, seen

if TYPE_CHECKING:
    from ..engines.relayed import RelayedChannel
    from ..flare.conducting import Office

FLARE = "flare"  # in the coordinator's state folder: the kits of FLARE's processes
FLARE_LOG = "flare.log"
ENROLMENT = "enrolment"  # in the study's folder: requests and what comes back, for people to carry; nothing secret
PORT = 8002  # FLARE's own default; sites connect to this one and to no other
TEND_SECONDS = 5.0
STOP_SECONDS = 120.0  # how long `stop` waits: a minute for the stop to reach the sites, and a busy machine

STUDY = typer.Option(DEFAULT_STUDY, "--study", help="Folder of the study.")
JSON = typer.Option(False, "--json", help="Print one JSON object.")
PIPE_ONLY = typer.Option(False, "--pipe-only", help="Submit no job: whoever connects to the socket carries.")

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)


@app.callback()
def coordinator_commands() -> None:
    """The machine in the middle: admit sites, run, status, stop."""


@app.command()
@guarded()
def enrol(
    host: str = typer.Option(..., "--host", help="Name or address under which sites reach this machine."),
    port: int = typer.Option(PORT, "--port", min=1, max=65535, help="Port that sites connect to."),
    study: Path = STUDY,
    as_json: bool = JSON,
) -> None:
    """Make the federation's certificate authority and the kit of FLARE's server, once."""
    from ..flare.kits import address_of, coordinator_kit

    terminal = Terminal(as_json=as_json)
    read_study(study)
    _check_is_coordinators(study)
    state = _state(study)
    make_private_folder(state)
    before = address_of(state / FLARE)
    coordinator_kit(state / FLARE, host=host, port=port, now=_now())
    (study / ENROLMENT).mkdir(exist_ok=True)
    if before:
        terminal.say("the certificate authority is the one of before, the server's certificate is new: start it again")
    if before and before != (host, port):
        terminal.say(f"sites that were admitted still connect to {before[0]}:{before[1]}: admit each of them again")
    terminal.say(f"the server's kit is in {state / FLARE}: keep a copy of it where nobody else reads it")
    terminal.say(f"open port {port} of {host} for the sites; nothing else has to be open")
    terminal.say(f"next: sekisho coordinator serve --study {study}")
    terminal.result({"kit": str(state / FLARE), "host": host, "port": port})


@app.command()
@guarded()
def admit(
    request: Path = typer.Argument(..., help="What a site sent: <site>.request."),
    study: Path = STUDY,
    as_json: bool = JSON,
) -> None:
    """Check a site's request against the roster, and write what is sent back to it."""
    from ..flare.kits import issue

    terminal = Terminal(as_json=as_json)
    content = read_file(request)
    roster = read_roster(study, now=_now())
    key = load_key(study, roster.coordinator.id, demo=roster.demo)
    bundle = issue(
        _state(study) / FLARE, content, study=read_study(study).id, roster=roster, key=key, now=_now()
    )
    out = study / ENROLMENT / f"{request.stem}.bundle"
    out.parent.mkdir(exist_ok=True)
    write_whole(out, bundle, READABLE)
    terminal.say(f"send {out} back to the site; it holds no secret. There it is installed by:")
    terminal.say(f"  sekisho site enrol {request.stem} --study FOLDER --bundle {out.name}")
    terminal.result({"bundle": str(out)})


@app.command()
@guarded()
def serve(study: Path = STUDY, as_json: bool = JSON) -> None:
    """Keep FLARE's server running until told to end (SIGTERM); its log goes to standard error."""
    from ..flare.kits import address_of, server_command
    from ..flare.link import Port
    from ..flare.supervising import Supervised

    terminal = Terminal(as_json=as_json)
    read_study(study)
    state = _state(study)
    command = server_command(state / FLARE, socket=state / SOCKET)
    _, port = address_of(state / FLARE) or ("", PORT)
    server = Supervised("FLARE's server", command, state / FLARE_LOG, say=_say, heard=Port(port, _say).hear)
    ending = _told_to_end()
    server.start()
    try:
        while not ending.wait(TEND_SECONDS):
            server.tend()
    finally:
        server.stop()
    terminal.say("ended; a run that is open goes on when the server is back")
    terminal.result({"ended": True, "restarts": server.restarts})


@app.command()
@guarded(policy_is_refusal=True)
def run(
    method: str = typer.Argument(..., help="Method of the study: probe, lora."),
    study: Path = STUDY,
    pipe_only: bool = PIPE_ONLY,
    as_json: bool = JSON,
) -> None:
    """Conduct a run of METHOD over the sites' services; where one is open, go on with it."""
    from ..flare.conducting import LAST_WORDS_SECONDS, Office

    terminal = Terminal(as_json=as_json)
    office = Office.open(study, clock=_now)
    try:
        office.check_method(method)  # before FLARE is asked, which takes its time
        channel = office.channel()
        before = office.open_run()
        terminal.say(f"going on with {before}" if before else f"{method}: {len(office.study.sites)} sites are asked")
        ended = False
        try:
            with _carried(study, office, channel, pipe_only):
                result = office.conduct(method, channel, progress=terminal.progress)
                ended = True
        except CoreError:
            # whoever ended the run has told the sites: that must have left before the relay goes
            channel.settle(LAST_WORDS_SECONDS)
            raise
        finally:
            channel.close(end=ended)
    finally:
        office.close()
    state = result.state
    terminal.say(f"{result.run}: finished after {state.completed} steps, {state.abandoned} abandoned")
    terminal.say(f"bytes through here: {result.traffic.up} up, {result.traffic.down} down")
    terminal.say(f"the adapter is released by the site '{min(state.cohort)}'; nothing of it is here")
    terminal.result(
        {
            "run": result.run,
            "method": result.method,
            "completed": state.completed,
            "abandoned": state.abandoned,
            "cohort": list(state.cohort),
            "sites_agree": result.state_macs_agree,
            "bytes": {"up": result.traffic.up, "down": result.traffic.down},
            "seconds": dict(result.seconds),
        }
    )


@app.command()
@guarded()
def status(study: Path = STUDY, as_json: bool = JSON) -> None:
    """What the coordinator is doing: run, step, sites heard, bytes; and whether a process is at work."""
    from ..coordinator.status import read_status
    from ..flare.conducting import is_conducted

    terminal = Terminal(as_json=as_json)
    party = _coordinator_id(study)
    found = read_status(_state(study))
    if found is None:
        raise CheckFailedError(
            "RUN_NONE", "no run was begun here yet", hint=f"sekisho coordinator run METHOD --study {study}"
        )
    working = is_conducted(study, party)
    at_work = "at work" if working else "no process is at work"
    terminal.say(f"{found.run}: {found.ended or found.phase or 'beginning'}, {at_work}")
    terminal.say(f"  steps: {found.completed} of {found.steps}, {found.abandoned} abandoned; sites: {found.cohort}")
    terminal.say(f"  {found.heard} of {found.asked} sites heard in this phase")
    terminal.say(f"  bytes: {found.bytes_up} up, {found.bytes_down} down; last progress {found.progressed}")
    told: dict[str, Any] = {**asdict(found), "working": working}
    if not found.ended and not working:
        waits = CheckFailedError(
            "RUN_WAITS", f"the run {found.run} is open, and no process conducts it",
            hint=f"go on: sekisho coordinator run {found.method} --study {study}; "
            f"or end it: sekisho coordinator stop --study {study}",
        )  # fmt: skip
        terminal.fail(waits, FOUND, also=told)
    terminal.result(told)


@app.command()
@guarded()
def stop(study: Path = STUDY, pipe_only: bool = PIPE_ONLY, as_json: bool = JSON) -> None:
    """End the open run at all sites, also inside a step; what was started stays charged."""
    from ..flare.conducting import Office, ask_to_stop, is_conducted

    terminal = Terminal(as_json=as_json)
    party = _coordinator_id(study)
    name = ask_to_stop(study)
    if is_conducted(study, party):
        _wait_until_over(study, party)
        by = "the process that conducted it"
    else:
        office = Office.open(study, clock=_now)
        try:
            channel = office.channel()
            try:
                with _carried(study, office, channel, pipe_only):
                    office.end(channel)
            finally:
                channel.close(end=True)
        finally:
            office.close()
        by = "this command"
    terminal.say(f"{name}: stopped by {by}")
    terminal.result({"run": name, "stopped_by": by})


def _check_is_coordinators(study: Path) -> None:
    """Raises ``Refused`` KEY_MISSING at a site's: an authority that was made there is one that nobody believes.

    The key is not opened. While sites have yet to sign the roster nobody is named by it, and nothing is checked.
    """
    try:
        roster = read_roster(study, now=_now())
    except (CoreError, GovernanceError):
        return
    check_has_key(study, roster.coordinator.id, demo=roster.demo)


def _wait_until_over(study: Path, party: str) -> None:
    from ..flare.conducting import is_conducted

    pause = threading.Event()
    waited = 0.0
    while is_conducted(study, party):
        if waited > STOP_SECONDS:
            raise CheckFailedError(
                "STOP_NOT_HEARD",
                "the process that conducts the run has been asked to stop it, and is still at work",
                hint="see `sekisho coordinator status`; the sites' own people can stop it: `sekisho legal stop`",
            )
        pause.wait(1.0)
        waited += 1.0


def _carried(study: Path, office: Office, channel: RelayedChannel, pipe_only: bool) -> AbstractContextManager[object]:
    """Whoever carries messages while a run goes on: FLARE's job, or whom others connect to the socket."""
    if pipe_only:
        return nullcontext()
    from ..flare.jobs import JobKeeper

    return JobKeeper(_state(study) / FLARE, channel, sites=tuple(office.study.sites), told=_say)


def _state(study: Path) -> Path:
    return state_folder(study, "", coordinator=True)


def _coordinator_id(study: Path) -> str:
    return read_roster(study, now=_now()).coordinator.id


def _told_to_end() -> threading.Event:
    """Set by SIGTERM or SIGINT; a second one ends the process at once."""
    ending = threading.Event()

    def hear(number: int, frame: object) -> None:
        if ending.is_set():
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        ending.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, hear)
    return ending


def _say(line: str) -> None:
    print(f"{_now().isoformat(timespec='seconds')} {seen(line)}", file=sys.stderr, flush=True)


def _now() -> datetime:
    return datetime.now(UTC)


