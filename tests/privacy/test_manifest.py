"""The manifest: each site once, each seed once, one shape."""

import pytest

from sekisho.privacy.encryption.manifest import Manifest, SeedList
from sekisho.privacy.errors import CiphertextError


def seeds(first: int, blocks: int = 2) -> bytes:
    return b"".join(bytes([first + block]) * 64 for block in range(blocks))


def test_sites_are_sorted_and_the_digest_ignores_arrival():
    one = Manifest((SeedList("wanko", seeds(10)), SeedList("kohi", seeds(20))))
    other = Manifest((SeedList("kohi", seeds(20)), SeedList("wanko", seeds(10))))
    assert one.sites == ("kohi", "wanko")
    assert one == other
    assert one.digest == other.digest
    assert one.blocks == 2


def test_the_digest_says_whose_seeds_they_are():
    one = Manifest((SeedList("wanko", seeds(10)), SeedList("kohi", seeds(20))))
    swapped = Manifest((SeedList("wanko", seeds(20)), SeedList("kohi", seeds(10))))
    assert one.digest != swapped.digest


@pytest.mark.parametrize(
    ("lists", "code"),
    [
        ((), "MANIFEST_EMPTY"),
        ((("kohi", seeds(1)), ("kohi", seeds(5))), "DUPLICATE_SITE"),
        ((("kohi", seeds(1)), ("wanko", seeds(5, 3))), "MANIFEST_LENGTHS"),
        ((("kohi", seeds(1)), ("wanko", seeds(2))), "SEED_DUPLICATE"),
        ((("kohi", seeds(1)[:64] * 2),), "SEED_DUPLICATE"),
        ((("kohi", seeds(1)[:100]),), "SEEDS_LENGTH"),
        ((("kohi", b""),), "SEEDS_LENGTH"),
        ((("", seeds(1)),), "MANIFEST_SITE"),
    ],
)
def test_other_manifests_do_not_exist(lists, code):
    with pytest.raises(CiphertextError) as refusal:
        Manifest(tuple(SeedList(site, its) for site, its in lists))
    assert refusal.value.code == code
