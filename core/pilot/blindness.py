"""Take one step's whole view from the coordinator's place, on this machine, and try to open it.

Five sites agree on keys, and mask, encrypt and sign made-up updates with the real parts. What passes the coordinator
is kept to the last byte (``View``), and then read as somebody would who wants an update, the sum, or to confirm a
guess of the model; alone, and with every site but two on its side. A reading that finds nothing shows little unless
it can find something: ``CONTROLS`` take a protection away and must raise the alarm.

For: doctor.py. Not for: a user's study or data, which are out of reach from here, and not for readings beyond these
(tests/attacks has more, on whole runs).
Order of calls: each of ``ATTEMPTS`` and ``CONTROLS``, which share one exchange.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ...privacy.encryption.ciphertext import Words
from ...privacy.encryption.manifest import Manifest, SeedList
from ...privacy.encryption.packing import Integers, pack, unpack
from ...privacy.errors import CiphertextError
from ...privacy.keys.decrypt import StepSecret, golden_vector_holds, open_sum
from ...privacy.keys.encrypt import encrypt
from ...privacy.keys.masks import add_pair, step_mask
from ...privacy.keys.runkeys import RunSecret
from .check import NOISE_TOLERANCE, Check
from .made_up_step import SITES, TRANSCRIPT, View, exchange, exchanged, plan, preset

VICTIM = "a"
COALITION = ("b", "c", "d")  # all sites but two, which is as many as may be against one
OTHER_STEP = bytes(range(1, 33))
WORDS_BY_CHANCE = 1  # of 48 bits, found among all bytes of a view: two by chance once in 10 billion runs


# --- readings


def _read(name: str, view: View, truth: Mapping[str, Integers]) -> Check:
    """Every frame, every difference of two and their sum, in each way that words can be read; and all bytes for words
    of any update. Held: nothing of ``truth`` is there."""
    readings = [reading for words in _combined(view) for reading in _readings(words, view.modulus)]
    worst, bound, entries = _alike(readings, truth.values())
    packed = np.unique(np.concatenate([pack(values, preset()) for values in truth.values()]))
    # words that are nearly zero stand in any list of lengths
    found = sum(int(np.isin(_windows(data), packed[packed > 1 << 32]).sum()) for data in view.received)
    return Check(
        name,
        worst < bound and not entries and found <= WORDS_BY_CHANCE,
        f"{len(readings)} readings: largest correlation {worst:.3f}, chance allows {bound:.3f}; "
        f"{found} words of an update among all bytes",
    )


def _combined(view: View) -> list[Words]:
    modulus, frames = np.uint64(view.modulus), list(view.words.values())
    differences = [(one + (modulus - other)) % modulus for one, other in itertools.combinations(frames, 2)]
    total = np.zeros_like(frames[0])
    for words in frames:
        total = (total + words) % modulus
    return [*frames, *differences, total]


def _readings(words: Words, modulus: int) -> list[Integers]:
    """The words as they are, and as a plaintext scaled to the modulus: round(t/q · word)."""
    its = preset()
    scaled = np.rint(words.astype(np.float64) * (2.0**its.plain_bits / modulus)).astype(np.uint64)
    mask = np.uint64(its.plain_mask)
    return [unpack(one & mask, its, plan().dimension) for one in (words, scaled)]


def _windows(data: bytes) -> NDArray[np.uint64]:
    """The 48-bit number at every place of ``data``."""
    octets = np.frombuffer(data, np.uint8).astype(np.uint64)
    count = max(0, octets.size - 5)
    windows = np.zeros(count, np.uint64)
    for place in range(6):
        windows |= octets[place : place + count] << np.uint64(8 * place)
    return windows


def _correlation(left: Integers, right: Integers) -> float:
    return abs(float(np.corrcoef(left.astype(np.float64), right.astype(np.float64))[0, 1]))


def _alike(found: Sequence[Integers], wanted: Collection[Integers]) -> tuple[float, float, bool]:
    """The largest correlation of any with any, what chance allows, and whether more entries than by chance are equal:
    where part of a vector lies open, the noise in the rest of it would hide that from a correlation."""
    pairs = list(itertools.product(found, wanted))
    worst = max(_correlation(one, other) for one, other in pairs)
    equal = sum(int(np.count_nonzero(one == other)) for one, other in pairs)
    by_chance = len(pairs) * plan().dimension / 2**preset().width
    bound = NOISE_TOLERANCE / math.sqrt(plan().dimension)
    return worst, bound, equal > by_chance + NOISE_TOLERANCE * (math.sqrt(by_chance) + 1)


def _looks_like_noise(name: str, *opened: Integers) -> Check:
    worst, bound, entries = _alike(opened, (*exchange().values.values(), exchange().truth()))
    seen = f"largest correlation with any update {worst:.3f}, chance allows {bound:.3f}"
    return Check(name, worst < bound and not entries, seen + ("; entries of it are found exactly" if entries else ""))


def _open(c0_sum: Words, secret: StepSecret, manifest: Manifest | None = None) -> Integers:
    manifest = manifest or exchange().manifest
    return open_sum(c0_sum, manifest, preset(), plan().dimension, secret=secret)


# --- attempts


def _seeded_key_is_known() -> Check:
    held = golden_vector_holds()
    return Check("the seeded key is the one that all sites compute", held, "golden vector of the TenSEAL build")


def _sum_opens_exactly() -> Check:
    exact = bool(np.array_equal(_open(exchange().c0_sum, exchange().step_secret()), exchange().truth()))
    return Check("the sum of all shares opens exactly (so the attempts below test something)", exact, "five sites")


def _view_shows_nothing() -> Check:
    step = exchange()
    truth = {**step.values, "sum": step.truth()}
    return _read("nothing that reaches the coordinator shows an update or the sum", step.view, truth)


def _view_is_as_long_for_zeros() -> Check:
    zeros = exchanged({site: np.zeros(plan().dimension, np.int64) for site in SITES})
    lengths = [[len(data) for data in view.received] for view in (exchange().view, zeros.view)]
    seen = f"{len(lengths[0])} pieces, {sum(lengths[0]):,} bytes"
    return Check("what is sent is as long for zeros as for any update", lengths[0] == lengths[1], seen)


def _view_holds_no_key() -> Check:
    step = exchange()
    keys = {step.secret.to_bytes(), *(key for pairs in step.pairs.values() for key in pairs.values())}
    seen = b"|".join(step.view.received)
    found = sum(key in seen or key.hex().encode() in seen for key in keys)
    name = "no key that sites share is among the bytes that reach the coordinator"
    return Check(name, not found, f"{found} of {len(keys)} keys, as bytes or in hex")


def _other_step_opens_noise() -> Check:
    """A key and masks that stay would open, or take off, in one step what was sealed in another."""
    step, its = exchange(), preset()
    opened = _open(step.c0_sum, StepSecret.derive(step.secret, OTHER_STEP))
    noise = _looks_like_noise("what was sealed in one step opens in no other", opened)
    here, there = (
        unpack(step_mask(VICTIM, step.pairs[VICTIM], SITES, when, its.words(plan().dimension), its), its, opened.size)
        for when in (TRANSCRIPT, OTHER_STEP)
    )
    worst, bound, entries = _alike([here], [there])
    return Check(noise.name, noise.held and worst < bound and not entries, f"{noise.seen}; masks {worst:.3f}")


def _other_secret_opens_noise() -> Check:
    opened = _open(exchange().c0_sum, StepSecret.derive(RunSecret.generate(), TRANSCRIPT))
    return _looks_like_noise("what the coordinator holds opens under no secret of its own", opened)


def _single_share_opens_noise() -> Check:
    opened = _open(exchange().view.words[VICTIM], exchange().step_secret())
    return _looks_like_noise("one site's share does not open, not even at a site", opened)


def _crafted_sum_opens_noise() -> Check:
    name = "a crafted aggregate gives nothing away"
    crafted = np.zeros_like(exchange().c0_sum)
    crafted[0] = np.uint64(1 << 40)
    try:
        return _looks_like_noise(name, _open(crafted, exchange().step_secret()))
    except CiphertextError as error:
        return Check(name, True, f"refused with {error.code}")


def _coalition_sees_noise() -> Check:
    name = "the coordinator and all sites but two see noise in a third's share"
    return _looks_like_noise(name, _uncovered(COALITION), _uncovered(()))  # as it is, too: were there no masks


def _state_mac_confirms_nothing() -> Check:
    """A candidate that is right: whoever holds the run secret confirms it, the coordinator cannot."""
    step = exchange()
    guesses = {
        step.model.removeprefix("sha256:"),
        hashlib.sha256(step.model.encode()).hexdigest(),
        hashlib.sha256(TRANSCRIPT + step.model.encode()).hexdigest(),
        *(RunSecret(secret).state_mac(step.model, TRANSCRIPT) for secret in (bytes(64), TRANSCRIPT * 2)),
        RunSecret.generate().state_mac(step.model, TRANSCRIPT),
    }
    at_a_site = step.secret.state_mac(step.model, TRANSCRIPT) == step.mac
    held = at_a_site and step.mac not in guesses
    name = "the state that sites compare does not confirm a model that the coordinator guesses"
    return Check(name, held, f"a site confirms it; {len(guesses)} ways without the run secret do not")


def _uncovered(corrupt: Collection[str]) -> Integers:
    """The victim's share, with encryption off, as ``corrupt`` sites can take it off: they hold the step's key and may
    encrypt zeros of their own to fill the manifest; and with every mask off that one of them shares with the victim."""
    step, its, dimension = exchange(), preset(), plan().dimension
    modulus, count = np.uint64(its.modulus), its.words(dimension)
    seeds = {one.site: one.seeds for one in step.manifest.lists}
    total, lists = step.view.words[VICTIM], [SeedList(VICTIM, seeds[VICTIM])]
    ones = np.ones(count, np.uint64)
    for helper in ("x", "y"):  # a manifest has three sites at least
        filler = encrypt(np.zeros(dimension, np.int64), its, secret=step.step_secret(), masks=ones)
        total = (total + filler.c0) % modulus
        lists.append(SeedList(helper, filler.seeds))
    masked = pack(_open(total, step.step_secret(), Manifest(tuple(lists))), its)
    known = ones + ones
    for site in corrupt:
        add_pair(known, VICTIM, site, step.pairs[site][VICTIM], SITES, TRANSCRIPT)
    return unpack((masked - known) & np.uint64(its.plain_mask), its, dimension)


# --- controls: the same readings, with a protection taken away


def _in_the_clear() -> Check:
    step, its = exchange(), preset()
    plain = {site: pack(values, its) for site, values in step.values.items()}
    view = View(tuple(words.tobytes() for words in plain.values()), plain, 1 << its.plain_bits)
    inner = _read("", view, step.values)
    name = "control: without masks and encryption, the same reading finds the updates"
    return Check(name, not inner.held, inner.seen)


def _masked_only() -> Check:
    step, its = exchange(), preset()
    words = {}
    for site, values in step.values.items():
        masks = step_mask(site, step.pairs[site], SITES, TRANSCRIPT, its.words(plan().dimension), its)
        words[site] = (pack(values, its) + masks) & np.uint64(its.plain_mask)
    view = View(tuple(one.tobytes() for one in words.values()), words, 1 << its.plain_bits)
    inner = _read("", view, {"sum": step.truth()})
    return Check("control: without encryption, the same reading finds the sum", not inner.held, inner.seen)


def _everybody_against_one() -> Check:
    found = bool(np.array_equal(_uncovered(SITES[1:]), exchange().values[VICTIM]))
    name = "control: with one site more on its side, nothing hides the last (so the coalition's attempt can succeed)"
    return Check(name, found, "the update was found exactly" if found else "the attempt does not work")


ATTEMPTS: tuple[Callable[[], Check], ...] = (
    _seeded_key_is_known,
    _sum_opens_exactly,
    _view_shows_nothing,
    _view_is_as_long_for_zeros,
    _view_holds_no_key,
    _other_step_opens_noise,
    _other_secret_opens_noise,
    _single_share_opens_noise,
    _crafted_sum_opens_noise,
    _coalition_sees_noise,
    _state_mac_confirms_nothing,
)
CONTROLS: tuple[Callable[[], Check], ...] = (_in_the_clear, _masked_only, _everybody_against_one)
