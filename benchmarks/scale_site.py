"""A process with one site of scale.py, or with all of them; started by scale_coordinator.py, never by hand.

Sites, gate, ledger, log, keys and encryption are the product's. Made up is the way of training alone
(``MadeUpTask``): there is no base model here with an adapter of exactly the size that is asked for.

    standard input: a message for a named site    standard output: its answer, and what it took
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scale_wire import Wire, Workers, cpu_seconds, forget_peak, peak_bytes, resident_bytes

from sekisho.core.data.intake import BaseModelFacts, inspect, locate
from sekisho.core.engines.embedded import EmbeddedChannel
from sekisho.core.messages import SignedMessage
from sekisho.core.methods import Method
from sekisho.core.site.folder import SiteFolder
from sekisho.core.site.papers import read_study
from sekisho.core.site.site import Site
from sekisho.core.training.schedule import PLAIN, Schedule
from sekisho.core.training.tasks import Tasks
from sekisho.tests.federation.study_folder import HashedFeatures

TOUCHED = 1000  # coordinates that a made-up gradient moves; everything after the gradient works on all d
FOREVER = 1e9


class MadeUpTask:
    """A way of training that costs nothing: a record's gradient is a run of ones at a place that its text decides.

    Honest about nothing but its size: d numbers, dense from the gradient on. It learns nothing.
    """

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension

    def initial(self) -> NDArray[np.float64]:
        return np.zeros(self.dimension)

    def load(self, texts: Sequence[str]) -> NDArray[np.int64]:
        marks = [hashlib.sha256(text.encode("utf-8")).digest() for text in texts]
        return np.array([int.from_bytes(mark[:7], "big") % self.dimension for mark in marks], dtype=np.int64)

    def linearise(self, rows: NDArray[np.int64], reference: NDArray[np.float64]) -> None:
        return

    def gradients(
        self, rows: NDArray[np.int64], labels: NDArray[np.float64], vector: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        made = np.zeros((len(rows), self.dimension))
        for gradient, start, label in zip(made, rows, labels, strict=True):
            gradient[start : start + TOUCHED] = 0.5 - label
        return made

    def scores(self, rows: NDArray[np.int64], vector: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.zeros(len(rows))


class MadeUpTasks(Tasks):
    """Every method of the study is the made-up task."""

    def __init__(self, base_model: BaseModelFacts, dimension: int) -> None:
        super().__init__(base_model, (), HashedFeatures())
        self._task = MadeUpTask(dimension)

    def dimension(self, settings: Method) -> int:
        return self._task.dimension

    def schedule(self, settings: Method) -> Schedule:
        return PLAIN

    def initial(self, settings: Method) -> NDArray[np.float64]:
        return self._task.initial()

    def of(self, settings: Method) -> Any:
        return self._task


def answered(channel: EmbeddedChannel, site: str, message: bytes) -> tuple[bytes | None, dict[str, Any]]:
    """The site's answer to one message, and what it took: seconds, and the memory that this process held at most.

    ``peak`` counts the message that was received and the answer, as any site's process would hold both.
    """
    # without its payload, so that nothing is copied to learn the kind
    length = 8 + int.from_bytes(message[4:8], "little") + 64
    kind = SignedMessage.from_bytes(message[:length], detached=True).body.kind
    forget_peak()
    cpu, wall = cpu_seconds(), time.monotonic()
    with Workers() as workers:
        channel.post(site, message, FOREVER)
        (reply,) = channel.poll()
    note = {
        "site": site,
        "kind": kind,
        "cpu": cpu_seconds() - cpu,
        "wall": time.monotonic() - wall,
        "peak": peak_bytes(),
        "workers": workers.peak,
        "error": str(channel.failures.get(site, "")),
    }
    return reply.data, note


def main() -> None:
    """Serve until the other end closes."""
    given = json.loads(sys.argv[1])
    wire = Wire(sys.stdin.buffer, sys.stdout.buffer)
    folder = Path(given["study"])
    base_model = inspect(locate(read_study(folder).base_model, folder))
    tasks = MadeUpTasks(base_model, given["dimension"])
    sites = {
        name: Site(SiteFolder.open(folder, name, base_model=base_model, clock=lambda: datetime.now(UTC)), tasks)
        for name in given["sites"]
    }
    channel = EmbeddedChannel(sites)
    wire.send({"resident": resident_bytes()})
    try:
        while True:
            note, message = wire.receive()
            if message is None:
                break
            answer, taken = answered(channel, note["site"], message)
            del message
            wire.send(taken, answer)
            del answer
    finally:
        for site in sites.values():
            site.folder.close()


if __name__ == "__main__":
    main()
