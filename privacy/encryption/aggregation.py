"""The coordinator's sum: ciphertexts in, running Σ c0 mod q and seed manifest out.

For: the coordinator, to whom numpy is enough.
Not for: keys, SEAL, deciding who may take part or when a cohort is complete.
Order of calls: ``Aggregator(preset, dimension)`` per step → ``add`` per site → ``result`` once.

Memory holds one running sum and the seeds, however many sites add to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import CiphertextError
from .ciphertext import Ciphertext, Words, split_seeds
from .manifest import Manifest, SeedList
from .presets import Preset


@dataclass(frozen=True, slots=True, eq=False)
class Aggregate:
    """c0_sum: uint64[W] below q; manifest: who is in it and their seeds."""

    c0_sum: Words
    manifest: Manifest


class Aggregator:
    """The sum of one step. A refused ciphertext leaves the sum as it was."""

    def __init__(self, preset: Preset, dimension: int) -> None:
        self._preset = preset
        self._dimension = dimension
        self._sum: Words = np.zeros(preset.words(dimension), np.uint64)
        self._lists: dict[str, SeedList] = {}
        self._seeds: set[bytes] = set()

    @property
    def sites(self) -> tuple[str, ...]:
        """Who has been added so far, sorted."""
        return tuple(sorted(self._lists))

    @property
    def running(self) -> Words:
        """Σ c0 so far: a view, not to be written to, that the next ``add`` changes."""
        view = self._sum.view()
        view.setflags(write=False)
        return view

    def add(self, site: str, ciphertext: Ciphertext) -> None:
        """Add one site's ciphertext; one that does not belong in this sum is refused and changes nothing.

        Raises CiphertextError: MANIFEST_SITE, CIPHERTEXT_SHAPE, DUPLICATE_SITE, TOO_MANY_SITES,
        SEED_DUPLICATE.
        """
        seed_list = SeedList(site, ciphertext.seeds)
        seeds = split_seeds(ciphertext.seeds)
        # 1. the shape of this step
        if ciphertext.preset != self._preset or ciphertext.dimension != self._dimension:
            raise CiphertextError(
                "CIPHERTEXT_SHAPE", "the ciphertext has another preset or dimension than this step"
            )
        # 2. each site once
        if site in self._lists:
            raise CiphertextError("DUPLICATE_SITE", "this site is already in the sum")
        # 3. no more sites than decrypt exactly
        if len(self._lists) >= self._preset.maximum_sites:
            raise CiphertextError("TOO_MANY_SITES", "one more site and the sum could decrypt wrongly")
        # 4. no seed twice
        if not self._seeds.isdisjoint(seeds):
            raise CiphertextError(
                "SEED_DUPLICATE",
                "two sites sent the same seed",
                "a repeated seed lets two ciphertexts be subtracted",
            )
        self._lists[site] = seed_list
        self._seeds.update(seeds)
        # Both terms are below q < 2^60, so their sum cannot wrap and one subtraction reduces it.
        np.add(self._sum, ciphertext.c0, out=self._sum)
        np.subtract(
            self._sum, np.uint64(self._preset.modulus), out=self._sum, where=self._sum >= self._preset.modulus
        )

    def result(self) -> Aggregate:
        """Sum and manifest of all sites added. Raises CiphertextError (MANIFEST_EMPTY) if there are none."""
        return Aggregate(self._sum.copy(), Manifest(tuple(self._lists.values())))
