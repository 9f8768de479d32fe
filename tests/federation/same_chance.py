"""Whole runs that draw the same chance, so that two of them differ by what somebody did in them and by nothing else.

For: tests whose verdicts noise would turn now and then, and benchmarks/poisoning.py --paired, whose clean
runs lie further apart by their noise alone than what is to be measured. Not for: any run whose privacy matters. What is
fixed here is what keeps it: whoever knows the seed can take the noise off.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from sekisho.core.site import step, voting
from sekisho.privacy.accounting import subjects
from sekisho.privacy.accounting.plan import Plan
from sekisho.privacy.mechanism.randomness import KEY_BYTES, SecretStream
from sekisho.privacy.mechanism.rotation import Rotation


@contextmanager
def same_chance(seed: int) -> Iterator[None]:
    """Who is held out, noise, rounding and rotations follow from ``seed``, site and number of the step or count.

    Keys, masks and ciphertexts are drawn afresh: they change no sum.
    """
    secret = SecretStream(seed.to_bytes(KEY_BYTES, "big"))
    now = [b""]  # which step of which site asks; sites of one process act one after another
    transcripts: dict[bytes, int] = {}
    take, count = step.take, voting.take
    write_once, rotation = subjects._write_once, Plan.rotation

    def stepping(message: Any, state: Any, tools: Any, load: Any) -> Any:
        now[0] = b"step/%d/%s" % (state.step, tools.folder.site.encode())
        return take(message, state, tools, load)

    def counting(message: Any, state: Any, tools: Any, load: Any, public: Any) -> Any:
        now[0] = b"count/%d/%s" % (message.body.step, tools.folder.site.encode())
        return count(message, state, tools, load, public)

    def stream() -> SecretStream:
        return secret.derive(now[0])

    def subject_key(path: Path, data: bytes) -> None:
        site = path.parent.parent.name
        write_once(path, secret.derive(b"subjects/" + site.encode()).bytes(len(data)))

    def rotated(plan: Plan, transcript: bytes) -> Rotation | None:
        number = transcripts.setdefault(transcript, len(transcripts))  # a step's transcript differs from run to run
        return rotation(plan, secret.derive(b"rotation/%d" % number).bytes(len(transcript)))

    with (
        patch.object(step, "take", stepping),
        patch.object(voting, "take", counting),
        patch.object(step, "SecretStream", stream),
        patch.object(voting, "SecretStream", stream),
        patch.object(subjects, "_write_once", subject_key),
        patch.object(Plan, "rotation", rotated),
    ):
        yield
