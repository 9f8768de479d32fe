"""A process with the coordinator of scale.py and nothing else; its sites are in processes of their own.

Started by scale.py, never by hand. What it holds at most is measured twice: by Python's own account of allocations
(tracemalloc; numpy's arrays are in it), which is exact, and by Linux's resident set, which is what a machine must have.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import tracemalloc
from collections import deque
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scale_wire import Wire, forget_peak, peak_bytes, resident_bytes

from sekisho.core.coordinator.coordinator import Coordinator
from sekisho.core.coordinator.stop_list import KNOWN, StopListKeeper
from sekisho.core.engines.channel import Reply
from sekisho.core.parties import LOG_NAME, load_key, log_origin, make_private_folder, state_folder
from sekisho.core.planning import plan_of
from sekisho.core.site.papers import read_roster, read_study
from sekisho.core.site.stops import STOPS
from sekisho.governance.log.auditlog import AuditLog

RUN, METHOD = "scale", "probe"


class Hosts:
    """``Channel`` over processes, each with one site or more; asked one after another, so that none disturbs another.

    ``taken`` is what each answer took at its site. When joining is over its peaks are noted in ``joining`` and
    forgotten.
    """

    def __init__(self, study: str, dimension: int, groups: list[list[str]]) -> None:
        self._wires: dict[str, Wire] = {}
        self._processes = []
        self._waiting: deque[tuple[int, str, bytes]] = deque()
        self._ticket = 0
        self.taken: list[dict[str, Any]] = []
        self.resident: list[int] = []  # of each host, before the run
        self.joining: dict[str, int] | None = None
        self._started_with = 0
        for group in groups:
            host = Path(__file__).with_name("scale_site.py")
            asked = json.dumps({"study": study, "dimension": dimension, "sites": group})
            process = subprocess.Popen(
                [sys.executable, str(host), asked], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            assert process.stdin is not None and process.stdout is not None
            wire = Wire(process.stdout, process.stdin)  # type: ignore[arg-type]  # IO[bytes] is one here
            self._processes.append(process)
            self._wires.update(dict.fromkeys(group, wire))
            note, _ = wire.receive()
            self.resident.append(note["resident"])

    def sites(self) -> tuple[str, ...]:
        return tuple(sorted(self._wires))

    def post(self, site: str, message: bytes, ttl: float) -> int:
        self._ticket += 1
        self._waiting.append((self._ticket, site, message))
        return self._ticket

    def poll(self) -> tuple[Reply, ...]:
        if not self._waiting:
            return ()
        ticket, site, message = self._waiting.popleft()
        self._wires[site].send({"site": site}, message)
        del message
        note, data = self._wires[site].receive()
        self.taken.append(note)
        if note["error"]:
            print(f"{site}: {note['error']}", file=sys.stderr)
        if self.joining is None and note["kind"] == "step":
            self.joining = peaks()
            tracemalloc.reset_peak()
            forget_peak()
        return (Reply(ticket, site, data),)

    def close(self) -> None:
        for wire in set(self._wires.values()):
            wire.send({})
        for process in self._processes:
            process.wait()


def peaks() -> dict[str, int]:
    """Of this process, in bytes: ``traced`` since tracemalloc began, ``resident`` in all."""
    return {"traced": tracemalloc.get_traced_memory()[1], "resident": peak_bytes()}


def main() -> None:
    """One run; what it took goes to standard output as JSON."""
    given = json.loads(sys.argv[1])
    folder = Path(given["study"])
    study, roster = read_study(folder), read_roster(folder, now=datetime.now(UTC))
    plan = plan_of(study, METHOD, dimension=given["dimension"])
    state = state_folder(folder, roster.coordinator.id, coordinator=True)
    make_private_folder(state)
    key = load_key(folder, roster.coordinator.id, demo=roster.demo)
    stops = StopListKeeper(
        folder / STOPS, roster=roster, key=key, clock=now, allowed=(), memory=state / KNOWN
    )
    stops.renew()
    log = AuditLog.open(state / LOG_NAME, origin=log_origin(study.id, roster.coordinator.id), key=key)
    hosts = Hosts(given["study"], given["dimension"], given["groups"])
    coordinator = Coordinator(
        hosts, study=study, roster=roster, key=key, log=log, clock=now, runs=state / "runs", stops=stops
    )
    offer = coordinator.offer(METHOD, plan)
    before = resident_bytes()
    tracemalloc.start()
    forget_peak()
    cpu, wall = time.process_time(), time.monotonic()
    result = coordinator.run(RUN, offer, plan)
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    found = {
        "joining": hosts.joining,
        "steps": peaks(),
        "before": before,
        "cpu": cpu,
        "wall": wall,
        "hosts_before": hosts.resident,
        "taken": hosts.taken,
        "traffic": asdict(result.traffic),
        "completed": result.state.completed,
        "states_agree": result.state_macs_agree,
        "preset": plan.preset,
        "sample": plan.expected_sample,
    }
    hosts.close()
    log.close()
    print(json.dumps(found))


def now() -> datetime:
    """The machine's clock, aware."""
    return datetime.now(UTC)


if __name__ == "__main__":
    main()
