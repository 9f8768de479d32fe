"""Blocks shared out among worker processes: the same sums, fresh randomness in each, and nobody hangs or stays."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from sekisho.privacy.encryption import bfv, parallel
from sekisho.privacy.encryption.exchange import OPEN, Pipe
from sekisho.privacy.encryption.presets import PRESETS, PRIME
from sekisho.privacy.errors import BadParametersError

PRESET = PRESETS["3x16"]
SEED = bytes(range(64))
T = np.uint64(1 << 48)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def key() -> bfv.SeededKey:
    return bfv.seeded_key(PRESET, SEED)


def some_words(count: int, number: int = 0) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 1 << 48, count, dtype=np.uint64)


def blocks_of(seeds: bytes) -> list[bytes]:
    return [seeds[start : start + 64] for start in range(0, len(seeds), 64)]


def gone(process: int) -> bool:
    """Ended, if perhaps not yet collected by whoever inherited it."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    except FileNotFoundError:
        return True


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> list[parallel._Hand]:
    """Every worker that the test starts; none may be alive when it ends."""
    started: list[parallel._Hand] = []

    class Noted(parallel._Hand):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)  # type: ignore[arg-type]
            started.append(self)

    monkeypatch.setattr(parallel, "_Hand", Noted)
    return started


def test_one_worker_and_two_give_the_same_sums_bit_for_bit(
    key: bfv.SeededKey, hands: list[parallel._Hand], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "PIECE_BLOCKS", 2)
    count = 5 * 4096 + 77  # six blocks in three pieces, the last one short
    total, words, lists = np.zeros(count, np.uint64), np.zeros(count, np.uint64), []
    for number, workers in enumerate((1, 2)):
        own = some_words(count, number)
        shown: list[tuple[int, int]] = []
        c0, seeds = parallel.encrypt_words(
            own, PRESET, key, workers=workers, progress=lambda *at, to=shown: to.append(at)
        )
        assert shown[-1] == (6, 6) and shown == sorted(shown)
        total, words, lists = (total + c0) % np.uint64(PRIME), words + own, [*lists, seeds]
    opened = [parallel.open_words(total, lists, PRESET, key, workers=workers) for workers in (1, 2)]
    assert (opened[0] == words % T).all() and (opened[0] == opened[1]).all()
    assert len(hands) == 4 and all(hand.process.returncode == 0 for hand in hands)


def test_every_worker_draws_randomness_of_its_own(key: bfv.SeededKey, monkeypatch: pytest.MonkeyPatch) -> None:
    # Workers that shared a generator would repeat each other's seeds: two blocks that can be subtracted.
    monkeypatch.setattr(parallel, "PIECE_BLOCKS", 1)
    same = np.tile(some_words(4096), 4)
    runs = [parallel.encrypt_words(same, PRESET, key, workers=2) for _ in range(2)]
    assert len({seed for _, seeds in runs for seed in blocks_of(seeds)}) == 8
    halves = [c0[start : start + 4096] for c0, _ in runs for start in range(0, 4 * 4096, 4096)]
    assert all((one != other).all() for place, one in enumerate(halves) for other in halves[:place])


FORKED = """
    import os, sys
    from sekisho.privacy.encryption import bfv
    from sekisho.privacy.encryption.presets import PRESETS
    import numpy as np, tenseal.sealapi as seal
    preset = PRESETS["3x16"]
    key = bfv.seeded_key(preset, bytes(64))
    bfv.encrypt_words(np.ones(4096, np.uint64), preset, key)  # the public context, its generators and pools, are made
    if sys.argv[1] == "seeded":  # the mistake that must never be made, for comparison
        ring = bfv._ring(preset.degree, preset.modulus, preset.plain_bits)
        object.__setattr__(ring, "context", bfv._context(preset, seal.Blake2xbPRNGFactory(list(range(8)))))
    child = os.fork()
    if child:
        os.waitpid(child, 0)  # two at once would mix what they print
    print(bfv.encrypt_words(np.ones(4096, np.uint64), preset, key)[1].hex(), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize(("context", "different"), [("public", 2), ("seeded", 1)])
def test_even_a_fork_of_the_public_context_repeats_no_seed(context: str, different: int) -> None:
    """We do not fork; that nothing would repeat if somebody did is SEAL's doing, and watched here."""
    said = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FORKED), context],
        env={**os.environ, "PYTHONPATH": str(ROOT / ".namespace")},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    seeds = said.stdout.split()
    assert len(seeds) == 2 and len(set(seeds)) == different


@pytest.mark.parametrize("moment", ["before its first piece", "with a piece in hand"])
def test_a_killed_worker_is_a_coded_refusal(
    moment: str, key: bfv.SeededKey, hands: list[parallel._Hand], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = Pipe.ask

    def killing(pipe: Pipe, *what: object) -> None:
        if moment == "before its first piece":
            hands[0].process.kill()
        ask(pipe, *what)  # type: ignore[arg-type]
        hands[0].process.kill()

    monkeypatch.setattr(Pipe, "ask", killing)
    with pytest.raises(BadParametersError) as refusal:
        parallel.encrypt_words(some_words(4 * 4096), PRESET, key, workers=2)
    assert refusal.value.code == "WORKER_LOST"
    assert len(hands) == 2 and all(hand.process.returncode is not None for hand in hands)


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="this system cannot halt a process")
def test_a_worker_that_stands_still_is_given_up(
    key: bfv.SeededKey, hands: list[parallel._Hand], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "STALL_SECONDS", 0.5)
    monkeypatch.setattr(parallel, "END_SECONDS", 0.2)
    ask = Pipe.ask

    def halting(pipe: Pipe, *what: object) -> None:
        for hand in hands:
            hand.process.send_signal(signal.SIGSTOP)
        ask(pipe, *what)  # type: ignore[arg-type]

    monkeypatch.setattr(Pipe, "ask", halting)
    with pytest.raises(BadParametersError) as refusal:
        parallel.open_words(some_words(8192), [bytes(128)] * 3, PRESET, key, workers=2)
    assert refusal.value.code == "WORKER_STALLED"
    assert len(hands) == 2 and all(hand.process.returncode == -signal.SIGKILL for hand in hands)


def test_a_mistake_in_a_worker_ends_the_call(key: bfv.SeededKey, hands: list[parallel._Hand]) -> None:
    with pytest.raises(BadParametersError) as refusal:
        parallel.encrypt_words(np.full(8192, 1 << 48, np.uint64), PRESET, key, workers=2)
    assert refusal.value.code == "WORKER_LOST"
    assert all(hand.process.returncode is not None for hand in hands)


def test_what_a_worker_refuses_is_raised_here_with_its_code() -> None:
    said = io.BytesIO()
    Pipe(io.BytesIO(), said).refuse("SEAL_STREAM", "a sentence", "a hint")
    with pytest.raises(BadParametersError) as refusal:
        Pipe(io.BytesIO(said.getvalue()), io.BytesIO()).receive(np.empty(3, np.uint64))
    assert (refusal.value.code, str(refusal.value), refusal.value.hint) == ("SEAL_STREAM", "a sentence", "a hint")


def test_what_one_end_says_the_other_reads() -> None:
    said = io.BytesIO()
    end = Pipe(io.BytesIO(), said)
    end.introduce(PRESET, bytearray(SEED))
    end.ask(OPEN, some_words(5000), [bytes(128), SEED * 2])
    other = Pipe(io.BytesIO(said.getvalue()), io.BytesIO())
    assert other.meet() == (PRESET, SEED)
    piece = other.next_piece(PRESET.degree)
    assert piece is not None and piece.kind == OPEN and piece.seeds == (bytes(128), SEED * 2)
    assert (piece.words == some_words(5000)).all()
    assert other.next_piece(PRESET.degree) is None


def test_an_answer_of_another_length_is_not_taken() -> None:
    said = io.BytesIO()
    Pipe(io.BytesIO(), said).answer(some_words(4))
    with pytest.raises(EOFError):
        Pipe(io.BytesIO(said.getvalue()), io.BytesIO()).receive(np.empty(3, np.uint64))


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="this system does not show its processes")
def test_a_worker_goes_with_its_parent_and_shows_its_key_to_nobody() -> None:
    program = """
        import time
        from sekisho.privacy.encryption import bfv, parallel
        from sekisho.privacy.encryption.presets import PRESETS
        preset = PRESETS["3x16"]
        hand = parallel._Hand(preset, bfv.seeded_key(preset, bytes(range(64))))
        print(hand.process.pid, flush=True)
        time.sleep(60)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**os.environ, "PYTHONPATH": str(ROOT / ".namespace")},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    with parent.stdout:
        worker = int(parent.stdout.readline())
        shown = b"".join(Path(f"/proc/{worker}/{name}").read_bytes() for name in ("cmdline", "environ"))
        assert b"worker" in shown
        assert SEED not in shown and SEED.hex().encode() not in shown
        parent.kill()
        parent.wait()
    waited = time.monotonic() + 30
    while not gone(worker) and time.monotonic() < waited:
        time.sleep(0.05)
    assert gone(worker)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="this system does not show its processes")
def test_a_worker_that_crashes_leaves_no_core_file(key: bfv.SeededKey, hands: list[parallel._Hand]) -> None:
    """It would hold the step's key, in the folder in which somebody started the command."""
    import resource

    limits: set[str] = set()

    def look(done: int, total: int) -> None:
        lines = [Path(f"/proc/{hand.process.pid}/limits").read_text().splitlines() for hand in hands]
        limits.update(line for each in lines for line in each if line.startswith("Max core file size"))

    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))  # as where core files are written
    try:
        # a piece comes back before another is counted: whoever answered has begun
        parallel.encrypt_words(some_words(3 * 4096), PRESET, key, workers=1 + 1, progress=look)
        own = Path("/proc/self/limits").read_text()
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)
    assert any(line.split()[-3:-1] == ["0", "0"] for line in limits), limits
    if before[1] != 0:  # positive control: the limit is the worker's own doing
        assert not any(line.split()[-3:-1] == ["0", "0"] for line in own.splitlines() if line.startswith("Max core"))


def test_a_worker_imports_nothing_from_the_current_folder(tmp_path: Path) -> None:
    """Such as a site's folder of data, into which others may write."""
    program = """
        import os, sys
        import numpy as np
        from sekisho.privacy.encryption import bfv, parallel
        from sekisho.privacy.encryption.presets import PRESETS
        sys.path[:0] = sys.argv[1:]
        os.chdir("data")
        preset = PRESETS["3x16"]
        try:
            parallel.encrypt_words(np.ones(8192, np.uint64), preset, bfv.seeded_key(preset, bytes(64)), workers=2)
        except Exception as error:
            print(error.code)
    """
    data = tmp_path / "data"
    for folder in (data, data / "sekisho", data / "in"):
        folder.mkdir()
    trap = f"open({str(tmp_path / 'sprung')!r}, 'w')\n"
    for name in ("sitecustomize.py", "zstandard.py", "sekisho/__init__.py", "in/sitecustomize.py"):
        (data / name).write_text(trap)

    def sprung(*first: str) -> bool:
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program), *first],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT / ".namespace")},
            check=True,
        )
        return (tmp_path / "sprung").exists()

    assert not sprung("")
    assert not sprung(f"{tmp_path}/a{os.pathsep}in")  # one folder's name, which would read as two
    assert sprung(str(data))  # positive control: the traps work


def test_small_vectors_stay_in_this_process(key: bfv.SeededKey, hands: list[parallel._Hand]) -> None:
    parallel.encrypt_words(some_words(4096), PRESET, key)
    parallel.encrypt_words(some_words(4096), PRESET, key, workers=8)  # one block cannot be shared
    assert hands == []


def test_workers_are_as_many_as_cores_and_work_make_worth_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "cores", lambda: 4)
    worth = parallel.WORTH_A_WORKER
    figures = [parallel._workers(None, worth * share // 10, 5) for share in (0, 1, 2, 3, 4, 8, 100)]
    assert figures == [1, 1, 1, 1, 2, 4, 4]
    assert parallel._workers(3, 2, 5) == 2
    monkeypatch.undo()
    assert parallel.cores() >= 1
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert parallel.cores() >= 1


def test_a_key_is_neither_copied_nor_shown_and_its_seed_is_overwritten() -> None:
    key = bfv.seeded_key(PRESET, SEED)
    assert repr(key) == "SeededKey(hidden)"
    with pytest.raises(TypeError):
        pickle.dumps(key)
    key.wipe()
    assert key.seed == bytes(64) and key.seal is None
    with contextlib.suppress(TypeError, RuntimeError, ValueError):
        bfv.encrypt_words(some_words(10), PRESET, key)
        pytest.fail("a wiped key encrypted")
