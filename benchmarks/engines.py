"""What it costs that sites are elsewhere: one message down and one up, in this process, by a relay, by NVIDIA FLARE.

    python benchmarks/engines.py [--json FILE] [--sites 2] [--rounds 5] [--megabytes 0.2 2.5 25] [--parameters 10000000]

A round is a post to every site and the reply of each, of random bytes of the same length (bytes that repeat would be
stored or sent once somewhere). Sites answer at once: nothing is encrypted or trained, so what is measured is the pipe.
``relayed`` is our socket and a small relay in a process of its own; ``flare`` is FLARE's server, a client for each
site, and their job processes, all on this machine over TLS with certificates at both ends; nothing is compressed.

Wall clock of a shared machine says little, so the processor's time is given by whose process spent it, and ratios to
the engine in one process. ``--parameters``: one round more, of the ciphertext halves of so many parameters.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sekisho.core.engines.channel import Channel
from sekisho.core.engines.embedded import EmbeddedChannel
from sekisho.core.gate.sealed import Sealed
from sekisho.privacy.encryption.frame import ciphertext_length
from sekisho.privacy.encryption.presets import PRESETS
from sekisho.tests.core.test_engine_conformance import Flare, Relayed
from sekisho.tests.flare.flare_processes import FlareProcesses

TICK = os.sysconf("SC_CLK_TCK")
PRESET = "3x16-rotated"  # three parameters in a coefficient, as a run of few sites takes it
PATIENCE = 600.0


@dataclass(frozen=True)
class Raw:
    """In place of a signed message: engines do not look inside."""

    data: bytes

    def to_bytes(self) -> bytes:
        return self.data


class Answers:
    """A site that answers with bytes that it has ready."""

    up = b""

    def handle(self, message: bytes) -> Sealed:
        return Sealed(Raw(Answers.up))  # type: ignore[arg-type]


def spent(process: int) -> float:
    """Processor seconds of a process so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


Parts = dict[str, list[int]]


@contextmanager
def embedded(sites: list[str], folder: Path) -> Iterator[tuple[Channel, Callable[[], Parts]]]:
    """Every site in this process."""
    yield EmbeddedChannel({site: Answers() for site in sites}), lambda: {"ours": [os.getpid()]}


@contextmanager
def relayed(sites: list[str], folder: Path) -> Iterator[tuple[Channel, Callable[[], Parts]]]:
    """Sites behind doors, and a relay."""
    engine = Relayed(folder)
    try:
        channel = engine.start({site: Answers() for site in sites})  # type: ignore[misc]
        assert engine.relay is not None
        relay = engine.relay.pid
        yield channel, lambda: {"ours": [os.getpid()], "relay": [relay]}
    finally:
        engine.close()


@contextmanager
def flare(sites: list[str], folder: Path) -> Iterator[tuple[Channel, Callable[[], Parts]]]:
    """Sites behind doors, and NVIDIA FLARE."""
    with FlareProcesses(folder, sites) as processes:
        engine = Flare(processes)
        channel = engine.start({site: Answers() for site in sites})  # type: ignore[misc]

        def parts() -> Parts:
            return {
                "ours": [os.getpid()],
                "server": [processes.running["coordinator"].pid],
                "server's job": processes.job_processes("coordinator"),
                "clients": [processes.running[site].pid for site in sites],
                "clients' jobs": [pid for site in sites for pid in processes.job_processes(site)],
            }

        yield channel, parts
        engine.close()


ENGINES = {"embedded": embedded, "relayed": relayed, "flare": flare}


def one_round(channel: Channel, sites: list[str], down: bytes) -> None:
    """Post to every site and take every reply."""
    for site in sites:
        channel.post(site, down, PATIENCE)
    heard = 0
    while heard < len(sites):
        for reply in channel.poll():
            assert reply.data is not None
            assert len(reply.data) == len(Answers.up)
            heard += 1
        time.sleep(0.001)


def measured(
    channel: Channel, parts: Callable[[], Parts], sites: list[str], length: int, rounds: int
) -> dict[str, Any]:
    """Wall and processor seconds of a round."""
    walls = []
    down, Answers.up = os.urandom(length), os.urandom(length)
    before = {name: sum(map(spent, pids)) for name, pids in parts().items()}
    for _ in range(rounds):
        began = time.perf_counter()
        one_round(channel, sites, down)
        walls.append(time.perf_counter() - began)
    after = {name: sum(map(spent, pids)) for name, pids in parts().items()}
    cpu = {name: (after[name] - before[name]) / rounds for name in after}
    return {"bytes": length, "wall": statistics.median(walls), "cpu": cpu, "cpu_sum": sum(cpu.values())}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sites", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=float, nargs="*", default=[0.2, 2.5, 25])
    parser.add_argument("--parameters", type=int, default=0)
    given = parser.parse_args()
    sites = ["alpha", "beta", "gamma", "delta", "epsilon"][: given.sites]
    lengths = [(int(size * 1e6), given.rounds) for size in given.megabytes]
    if given.parameters:
        lengths.append((ciphertext_length(PRESETS[PRESET], given.parameters), 1))
    rows = []
    print(f"{given.sites} sites; processor time of a round, milliseconds; ratio of wall clock to 'embedded'")
    for name, engine in ENGINES.items():
        with tempfile.TemporaryDirectory() as folder, engine(sites, Path(folder)) as (channel, parts):
            one_round(channel, sites, b"first")
            for length, rounds in lengths:
                row = {"engine": name, **measured(channel, parts, sites, length, rounds)}
                rows.append(row)
                base = next(each["wall"] for each in rows if each["bytes"] == length)
                by = "  ".join(f"{part} {seconds * 1000:.0f}" for part, seconds in row["cpu"].items())
                print(
                    f"{name:>9} {length / 1e6:>7.1f} MB  wall {row['wall']:>7.3f} s  x {row['wall'] / base:>6.1f}"
                    f"  CPU {row['cpu_sum'] * 1000:>7.0f} ms: {by}",
                    flush=True,
                )
    print(f"threads of this process at the end: {threading.active_count()}")
    if given.json:
        given.json.write_text(json.dumps({"sites": given.sites, "rows": rows}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
