"""A worker process: encrypts or opens pieces of one vector under one step's key, and ends with its input.

For: ``parallel.py``, which starts ``python -m`` this module and speaks to it through standard input and output.
Not for: people, and not for import.
Order of calls: ``main``.

Nothing that it holds reaches a disk or an argument, not even in a crash: it leaves no core file. What it can wipe is
the seed's buffer; SEAL clears its key when the process lets go of it, and the operating system takes the rest back.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys

from ..errors import PrivacyError
from . import bfv
from .exchange import ENCRYPT, Pipe


def main() -> None:
    """Serve pieces until standard input ends. A mistake ends the process; whoever waits sees that it is gone."""
    _leave_no_core_file()
    signal.signal(signal.SIGTERM, _end)
    # Answers alone may stand in what the other side reads, whatever a library prints.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    pipe = Pipe(sys.stdin.buffer, answers)
    preset, seed = pipe.meet()
    key = bfv.seeded_key(preset, bytes(seed))
    seed[:] = bytes(len(seed))
    while (piece := pipe.next_piece(preset.degree)) is not None:
        try:
            if piece.kind == ENCRYPT:
                pipe.answer(*bfv.encrypt_words(piece.words, preset, key))
            else:
                pipe.answer(bfv.open_words(piece.words, piece.seeds, preset, key))
        except PrivacyError as error:
            pipe.refuse(error.code, error.sentence, error.hint)
    key.wipe()


def _leave_no_core_file() -> None:
    # it would be the step's key and this site's masked words, in whatever folder the command was started
    with contextlib.suppress(ImportError):  # a system without such limits writes none of its own accord
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _end(number: int, frame: object) -> None:
    sys.exit(128 + number)  # by way of an exception, so that whatever is open is cleared


if __name__ == "__main__":
    main()
