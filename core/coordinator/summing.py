"""One step's sum at the coordinator: each frame is checked, added and let go as it arrives.

For: a memory that does not grow with the number of sites. What stays of a frame is its share of the one running sum,
its signed header and its seeds (64 bytes a block; every opener needs them, so they cannot be let go). Not for: asking
sites, re-asking them, or what a site that is found wrong means for the run (coordinator.py).

Order of calls: ``StepSum(...)`` with what every site was ready for -> ``add`` per frame -> ``wrong`` -> ``parts``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from ...privacy.encryption import frame
from ...privacy.encryption.aggregation import Aggregator
from ...privacy.encryption.presets import Preset
from ...privacy.errors import CiphertextError
from ..messages import Frame, Ready, SignedMessage

PART = "frame"


@dataclass(frozen=True)
class Kept:
    """What outlives a frame: its header with signature, its seeds, and the key that it says it was sealed under."""

    header: bytes
    seeds: bytes
    key_check: str


class StepSum:
    """The running sum of one step. ``readies`` are the sites' signed positions, whose transcripts frames must name."""

    def __init__(self, preset: Preset, dimension: int, *, step: int, readies: Mapping[str, SignedMessage]) -> None:
        self._preset = preset
        self._dimension = dimension
        self._step = step
        self._transcripts = {
            site: ready.body.transcript for site, ready in readies.items() if isinstance(ready.body, Ready)
        }
        self._aggregator = Aggregator(preset, dimension)
        self._kept: dict[str, Kept] = {}
        self._refused: set[str] = set()

    def add(self, site: str, message: SignedMessage) -> None:
        """Check one site's frame and add it; of one that is not of this step, or malformed, only the name is kept."""
        kept = self._checked(site, message)
        if kept is None:
            self._refused.add(site)
        else:
            self._kept[site] = kept

    def wrong(self) -> tuple[str, ...]:
        """Sites whose frame cannot be in this sum, sorted: refused by ``add``, or under another key than most.

        One that sealed under a key of its own has spoilt the running sum already; so a step in which anybody is wrong
        is abandoned, and its sum is nobody's.
        """
        checks = Counter(self._kept[site].key_check for site in sorted(self._kept))
        common = checks.most_common(1)[0][0] if checks else ""
        alone = {site for site, kept in self._kept.items() if kept.key_check != common}
        return tuple(sorted(self._refused | alone))

    def parts(self) -> dict[str, bytes]:
        """What sites open: every signed header, every seed list, and the sum. Not where anybody is ``wrong``."""
        parts: dict[str, bytes] = {}
        for site in sorted(self._kept):
            parts[f"header:{site}"] = self._kept[site].header
            parts[f"seeds:{site}"] = self._kept[site].seeds
        parts["sum"] = frame.encode_sum(self._aggregator.running, preset=self._preset, dimension=self._dimension)
        return parts

    def _checked(self, site: str, message: SignedMessage) -> Kept | None:
        body = message.body
        # 1. of the step and transcript that this very site was ready for
        if not isinstance(body, Frame) or (body.step, body.transcript) != (self._step, self._transcripts.get(site)):
            return None
        try:
            # 2. a frame of the plan's shape, whose halves are the ones that were signed
            ciphertext = frame.decode(message.view(PART), preset=self._preset, dimension=self._dimension)
            if (body.seeds, body.c0) != (frame.seeds_digest(ciphertext), frame.c0_digest(ciphertext)):
                return None
            # 3. once a site, and no seed that another has used
            self._aggregator.add(site, ciphertext)
        except CiphertextError:
            return None
        return Kept(message.detached(), ciphertext.seeds, body.key_check)
