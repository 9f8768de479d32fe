"""The process of `sekisho site serve`: a site's papers, keys and training behind its door, until it is told to end.

`sekisho site serve` (enrolling.py) becomes this module, by name: it loads what trains, which no other command of a site
does. torch itself comes with the first step.

Order: the key is unlocked → papers and state are opened and checked → the agent runs → where papers changed, again.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import typer

from ..data.intake import inspect, locate
from ..errors import CoreError
from ..flare.kits import client_command
from ..flare.link import Link
from ..flare.refusals import Refusals
from ..flare.supervising import Supervised
from ..parties import SOCKET, key_path, state_folder
from ..passphrases import unlock
from ..pilot.after_run import follow
from ..site.agent import PAPERS, Agent
from ..site.folder import SiteFolder
from ..site.papers import read_roster, read_study
from ..site.resuming import go_on
from ..site.site import Site
from ..training.features import Features
from ..training.going_on import GoingOn
from ..training.tasks import Tasks
from .console import Terminal, guarded, seen
from .enrolling import FLARE

FLARE_LOG = "flare.log"

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
@guarded(policy_is_refusal=True)
def serve(
    site: str = typer.Argument(...),
    study: Path = typer.Option(..., "--study"),
    pipe_only: bool = typer.Option(False, "--pipe-only"),
    passphrase_file: Path | None = typer.Option(None, "--passphrase-file"),
    as_json: bool = typer.Option(False, "--json"),
) -> None:
    """Serve ``site`` until SIGTERM or SIGINT."""
    terminal = Terminal(as_json=as_json)
    told = Told()
    served = 0
    while True:
        outcome = _serve_once(site, study, pipe_only=pipe_only, passphrase_file=passphrase_file, told=told)
        served += 1
        if outcome != PAPERS or told.to_end.is_set():
            break
    terminal.say(f"{site}: ended; what was started stays charged")
    terminal.result({"site": site, "opened": served, "ended": True})


class Told:
    """SIGTERM and SIGINT, for the agent of the moment; a second one ends the process at once."""

    def __init__(self) -> None:
        self.to_end = threading.Event()
        self.act: Callable[[], None] = lambda: None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._hear)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.to_end.is_set():
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.to_end.set()
        say(f"told to end by {signal.Signals(number).name}")
        self.act()


def say(line: str) -> None:
    """One line of the service's log: time and what happened; codes and numbers, nothing of a record."""
    with suppress(OSError):  # whoever reads the log may have gone: that ends no run
        print(f"{datetime.now(UTC).isoformat(timespec='seconds')} {seen(line)}", file=sys.stderr, flush=True)


def _serve_once(
    site: str, study_folder: Path, *, pipe_only: bool, passphrase_file: Path | None, told: Told
) -> str:
    # 1. the key: asked for once, or read where it was named
    study = read_study(study_folder)
    roster = read_roster(study_folder, now=datetime.now(UTC))
    if roster.demo:
        say("the roster is a demo's: anybody can compute its keys, so only data that are public belong here")
    own = key_path(study_folder, site, demo=roster.demo)
    if passphrase_file is not None and own.exists():
        unlock(own, site, passphrase_file=passphrase_file)
    # 2. papers, key, ledger, log, in the order of folder.py
    base_model = inspect(locate(study.base_model, study_folder))
    folder = SiteFolder.open(
        study_folder, site, base_model=base_model, clock=lambda: datetime.now(UTC), open_runs=go_on
    )
    try:
        # 3. what trains; the model is loaded by the first step that needs it
        going_on = GoingOn()
        features = Features(base_model, check=going_on.check)
        tasks = Tasks(base_model, study.methods.values(), features, going_on=going_on)
        # 4. the service
        state = state_folder(study_folder, site)
        command = client_command(state / FLARE, site=site, socket=state / SOCKET) if not pipe_only else None
        refusals = Refusals()
        client = None
        if command is not None:
            link = Link(state / FLARE, say)

            def heard(line: str) -> None:
                refusals.hear(line)
                link.hear(line)

            client = Supervised("FLARE's client", command, state / FLARE_LOG, say=say, heard=heard)
        agent = Agent(
            Site(folder, tasks), after=lambda one: follow(one, say), say=say, client=client, refusals=refusals.take
        )
        told.act = agent.end
        if told.to_end.is_set():
            agent.end()
        return agent.run()
    except CoreError as error:
        say(f"ended by {error.code}")
        raise
    finally:
        told.act = lambda: None
        folder.close()


if __name__ == "__main__":
    app(prog_name="sekisho site serve")
