"""The seed manifest: whose ciphertexts are in a sum, and the seeds that their public halves c1 come from.

For: opening. The coordinator forwards only Σ c0 and this; the opener expands and adds c1 itself, so c1 cannot
be crafted and the signers of the seed lists can be counted.
Not for: signatures (the signed message around each list) or judging a cohort (whoever opens compares
``sites`` with the step's).
Order of calls: ``SeedList`` per signed header → ``Manifest`` → ``keys.decrypt.open_sum``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from ..errors import CiphertextError
from .ciphertext import split_seeds
from .presets import SEED_BYTES


@dataclass(frozen=True, slots=True)
class SeedList:
    """The seeds of one site's ciphertext of one step, 64 bytes per block; no seed twice."""

    site: str
    seeds: bytes

    def __post_init__(self) -> None:
        if not self.site:
            raise CiphertextError("MANIFEST_SITE", "a seed list belongs to a named site")
        split_seeds(self.seeds)


@dataclass(frozen=True, slots=True)
class Manifest:
    """Seed lists in the order of the sites' ids; each site once, equal lengths, no seed twice in all of them.

    Raises CiphertextError: MANIFEST_EMPTY, DUPLICATE_SITE, MANIFEST_LENGTHS, SEED_DUPLICATE.
    """

    lists: tuple[SeedList, ...]

    def __post_init__(self) -> None:
        # 1. somebody took part
        if not self.lists:
            raise CiphertextError("MANIFEST_EMPTY", "a manifest names at least one site")
        # 2. each site once: a site counted twice would open as a larger cohort than it is
        if len({one.site for one in self.lists}) != len(self.lists):
            raise CiphertextError("DUPLICATE_SITE", "a site is named twice in one manifest")
        # 3. all lists belong to vectors of one shape
        if len({len(one.seeds) for one in self.lists}) != 1:
            raise CiphertextError("MANIFEST_LENGTHS", "the seed lists of one step have different lengths")
        # 4. every block of every site has a public half of its own
        seeds = [seed for one in self.lists for seed in split_seeds(one.seeds)]
        if len(set(seeds)) != len(seeds):
            raise CiphertextError(
                "SEED_DUPLICATE",
                "two sites sent the same seed",
                "a repeated seed lets two ciphertexts be subtracted",
            )
        object.__setattr__(self, "lists", tuple(sorted(self.lists, key=lambda one: one.site)))

    @property
    def sites(self) -> tuple[str, ...]:
        """The signers, sorted."""
        return tuple(one.site for one in self.lists)

    @property
    def blocks(self) -> int:
        """Ciphertext blocks per site."""
        return len(self.lists[0].seeds) // SEED_BYTES

    @property
    def digest(self) -> str:
        """Digest ("sha256:…") of sites and seeds, the same whatever order they arrived in."""
        state = hashlib.sha256(b"sekisho/manifest/v1\0")
        for one in self.lists:
            name = one.site.encode()
            state.update(len(name).to_bytes(4, "little") + name)
            state.update(len(one.seeds).to_bytes(8, "little") + one.seeds)
        return "sha256:" + state.hexdigest()
