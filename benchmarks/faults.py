"""What breaks in a run over NVIDIA FLARE, and what becomes of it: one run for each row, one fault for each run.

    python benchmarks/faults.py [--json FILE] [--rows "undisturbed;server killed"] [--folder DIR]
    python benchmarks/faults.py --json FILE --page docs/deploy.md

Three sites, three steps of the probe on hashed words, thirty people a site at 0.15 s each, so that a step takes some
five seconds; every party is processes of its own on this machine, with TLS between them. The fault comes in the second
step. Who was killed is started again at once: what a supervisor waits first (RestartSec, 30 s at a site in deploy/)
comes on top. FLARE's processes are started again by ours, which wait five seconds.

    recovery    seconds from the fault until the step in work was summed, or until the run had ended by a code; of the
                coordinator, whose step was summed already, until the next one was. Beside it stands what a step takes.
    run         seconds from the start of all processes to the end of the run
    paid        steps charged in each site's ledger; none may be more than those of the undisturbed run
    once        whether no step was started, sealed, opened or summed twice in anybody's log

A row whose means this machine does not have is not measured, and says why. Everything that a run started is ended.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sekisho.core.flare.policies import client_startup
from sekisho.tests.flare import skewed
from sekisho.tests.flare.faulty_run import AT, HUB, SITES, VICTIM, FaultyRun, Ready, prepare
from sekisho.tests.flare.slow_link import SlowLink

PUBLISHES = SITES[0]  # the lowest id: a wrong clock there is in the release, too
CUT_SECONDS = 60.0
FULL_SECONDS = 20.0
DISK = "96m"  # what a site's folder finds room in, and FLARE's files with it
ROUND_TRIP, LOSS = 0.2, 0.01


class NotMeasured(Exception):
    """This machine cannot make this fault."""


Fault = Callable[[FaultyRun], None]


def nothing(run: FaultyRun) -> None:
    """The run that all others stand beside."""


def site_in_training(run: FaultyRun) -> None:
    """A second into its training."""
    run.until_step()
    run.kill(VICTIM)
    run.struck()
    run.serve(VICTIM)


def site_before_sending(run: FaultyRun) -> None:
    """It killed itself: charged and sealed, neither logged nor sent."""
    run.gone(VICTIM)
    run.struck()
    run.serve(VICTIM)


def coordinator_before_sending(run: FaultyRun) -> None:
    """It killed itself: the sum is written down, and nobody has been told."""
    run.gone(HUB)
    run.struck()
    run.conduct()


def server(run: FaultyRun) -> None:
    """FLARE's server, while everybody trains."""
    run.until_step()
    run.kill_flare(HUB)
    run.struck()


def client(run: FaultyRun) -> None:
    """FLARE's client of one site, while it trains."""
    run.until_step()
    run.kill_flare(VICTIM)
    run.struck()


def wrong_clock(run: FaultyRun) -> None:
    """From the start, in every process of the site; looked at once it is in its first step, or refuses."""
    run.until_step(1, site=PUBLISHES)
    processes = run.processes_of(PUBLISHES)
    if not processes or not skewed.believes_it(processes):
        raise NotMeasured("a process of the site knows the right time")


@contextmanager
def behind_link(ready: Ready, folder: Path, link: SlowLink) -> Iterator[FaultyRun]:
    """A run whose victim's client reaches the server over ``link`` and in no other way."""
    try:
        with FaultyRun(ready, folder) as run:
            startup = run.state(VICTIM) / "flare" / "startup" / "fed_client.json"
            startup.write_text(json.dumps(client_startup(VICTIM, "localhost", link.port)), "utf-8")
            yield run
    finally:
        link.close()


@contextmanager
def on_small_disk(ready: Ready, folder: Path) -> Iterator[FaultyRun]:
    """A run whose victim has all of its files on a small file system of its own."""
    disk = folder / "disk"
    disk.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "none", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        raise NotMeasured("this user may not mount a small file system")
    try:
        with FaultyRun(ready, folder, disk={VICTIM: disk / VICTIM}) as run:
            yield run
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def cut_network(link: SlowLink) -> Fault:
    """For a minute, from the middle of a step on."""

    def fault(run: FaultyRun) -> None:
        run.until_step()
        link.cut()
        run.struck()
        run.later(CUT_SECONDS, link.heal)

    return fault


def full_disk(run: FaultyRun) -> None:
    """Every byte that is left is taken in the middle of a step, and given back later; then there is another run."""
    run.until_step()
    filler = run.home(VICTIM) / "filler"
    with filler.open("wb", buffering=0) as file:
        while _wrote(file):
            pass
    run.struck()
    run.later(FULL_SECONDS, filler.unlink)
    run.then_another()


def _wrote(file: Any) -> bool:
    for size in (1 << 20, 1 << 12):
        try:
            file.write(bytes(size))
        except OSError:
            continue
        return True
    return False


@contextmanager
def row(name: str, ready: Ready, folder: Path) -> Iterator[tuple[FaultyRun, Fault]]:
    """The run of this row, ready to be started, and what is to happen in it."""
    plain: Mapping[str, tuple[Mapping[str, str], Fault]] = {
        "undisturbed": ({}, nothing),
        "a site killed in training": ({}, site_in_training),
        "a site killed between charge and send": ({VICTIM: f"seal:{AT}"}, site_before_sending),
        "the coordinator killed between sum and broadcast": ({HUB: f"sum:{AT}"}, coordinator_before_sending),
        "FLARE's server killed": ({}, server),
        "FLARE's client of a site killed": ({}, client),
    }
    with ExitStack() as stack:
        if name in plain:
            cuts, fault = plain[name]
            yield stack.enter_context(FaultyRun(ready, folder, cuts=cuts)), fault
        elif name == NETWORK:
            link = SlowLink(ready.port)
            yield stack.enter_context(behind_link(ready, folder, link)), cut_network(link)
        elif name == LINK:
            link = SlowLink(ready.port, delay=ROUND_TRIP / 2, loss=LOSS)
            yield stack.enter_context(behind_link(ready, folder, link)), nothing
        elif name == DISK_FULL:
            yield stack.enter_context(on_small_disk(ready, folder)), full_disk
        else:
            try:
                clocks = {PUBLISHES: skewed.clock(CLOCKS[name])}
            except LookupError as error:
                raise NotMeasured(str(error)) from None
            yield stack.enter_context(FaultyRun(ready, folder, clocks=clocks)), wrong_clock


NETWORK = "the network of a site cut for 60 s"
LINK = "the link of a site 200 ms and 1 % loss"
DISK_FULL = "the disk full at a site for 20 s"
CLOCKS = {"the clock of a site an hour ahead": 1, "the clock of a site an hour behind": -1}
ROWS = (
    "undisturbed",
    "a site killed in training",
    "a site killed between charge and send",
    "the coordinator killed between sum and broadcast",
    "FLARE's server killed",
    "FLARE's client of a site killed",
    NETWORK,
    LINK,
    *CLOCKS,
    DISK_FULL,
)


def measured(name: str, ready: Ready, folder: Path) -> dict[str, Any]:
    """One row: what the run came to, or why there was none. What hangs is a row that did not hold, and not the end."""
    try:
        with row(name, ready, folder) as (run, fault):
            load = round(os.getloadavg()[0], 1)  # of the last minute: what else this machine was at work on
            run.start()
            fault(run)
            found = run.found(run.finish(), load_before=load)
            return {**found.to_json(), "held": found.held()}
    except NotMeasured as error:
        return {"not_measured": str(error)}
    except (AssertionError, subprocess.TimeoutExpired) as error:
        return {"failed": str(error), "held": False}


def line(name: str, found: Mapping[str, Any]) -> str:
    """The row as it is printed."""
    if "not_measured" in found:
        return f"{name:50} not measured: {found['not_measured']}"
    if "failed" in found:
        return f"{name:50} FAILED: {found['failed']}"
    recovery = "" if found["recovery"] is None else f"{found['recovery']:.0f}"
    paid = "/".join(str(found["charged"][site]) for site in SITES)
    return (
        f"{name:50}{found['ended']:>22}{recovery:>10}{found['seconds']:>7.0f}{found['completed']:>7}{paid:>9}"
        f"{'yes' if found['once'] else 'NO':>6}  {found['logs']}, {found['evidence']}"
    )


def filled(page: str, rows: Mapping[str, Mapping[str, Any]]) -> str:
    """The page with the figures of ``rows`` in the lines of its table that begin with their names."""
    lines = page.split("\n")
    for number, before in enumerate(lines):
        cells = [cell.strip() for cell in before.strip("|").split("|")]
        if before.startswith("| ") and cells[0] in rows:
            lines[number] = f"| {' | '.join((cells[0], *figures(rows[cells[0]]), cells[-1]))} |"
    return "\n".join(lines)


def figures(found: Mapping[str, Any]) -> tuple[str, ...]:
    """What the table says of a row: how the run ended, recovery, the whole run, steps paid."""
    if "not_measured" in found:
        return "not measured", "–", "–", "–"
    if "failed" in found:
        return "**failed**", "–", "–", "–"
    ended = found["ended"] if found["ended"] == "finished" else f"ends by `{found['ended']}`"
    ended += f", the next one {found['next']}" if found["next"] else ""
    recovery = "–" if found["recovery"] is None else f"{found['recovery']:.0f}"
    paid = sorted(set(found["charged"].values()))
    return ended, recovery, f"{found['seconds']:.0f}", " or ".join(map(str, paid))


def main() -> None:
    """Print the rows as they come, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rows", default="", help="only these, with ; between; a part of a name will do")
    parser.add_argument("--folder", type=Path, help="where runs lie, and stay; else they are deleted")
    parser.add_argument("--page", type=Path, help="only put the figures of --json into this page's table")
    given = parser.parse_args()
    if given.page:
        page = given.page.read_text("utf-8")
        given.page.write_text(filled(page, json.loads(given.json.read_text("utf-8"))["rows"]), "utf-8")
        return
    wanted = [part.strip() for part in given.rows.split(";") if part.strip()]
    results: dict[str, Any] = {}
    with ExitStack() as stack:
        folder = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        ready = prepare(folder / "ready")
        print(f"{'':50}{'ended':>22}{'recovery':>10}{'run':>7}{'steps':>7}{'paid':>9}{'once':>6}  logs, evidence")
        for number, name in enumerate(ROWS):
            if wanted and not any(part in name for part in wanted):
                continue
            results[name] = measured(name, ready, folder / str(number))
            print(line(name, results[name]))
            sys.stdout.flush()
            if given.json:  # after each row: what was measured stays
                told = {"sites": len(SITES), "fault_in_step": AT, "cores": os.cpu_count(), "rows": results}
                given.json.write_text(json.dumps(told, indent=2) + "\n", "utf-8")
    lost = [name for name, found in results.items() if not found.get("held", True)]
    if lost:
        print("did not hold:", "; ".join(lost))
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()
