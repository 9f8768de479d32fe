"""The one-query key recovery: c0 = 0, c1 = 2^40 in place of the sum, and what opens is the secret key.

It is the textbook malleability of BFV. It works on anything that decrypts two halves it is given (shown here
against a naive opener), and does not work on ours, which never takes c1 from the coordinator.
"""

from __future__ import annotations

import struct

import numpy as np
import pytest
import tenseal.sealapi as seal
import zstandard

from sekisho.privacy.encryption import frame
from sekisho.privacy.encryption.manifest import SeedList
from sekisho.privacy.encryption.presets import PRIME
from sekisho.privacy.errors import CiphertextError

N, T = 4096, 1 << 48
QUERY = 1 << 40  # opens to round(t/q · 2^40 · s) = 2^28 · s
NOTHING = np.zeros(N, np.uint64)
CRAFTED = np.array([QUERY] + [0] * (N - 1), np.uint64)


class NaiveOpener:
    """What usual designs do: load the aggregate's two halves from the coordinator, decrypt, hand back."""

    def __init__(self, key: object, folder) -> None:
        self.path = str(folder / "stream")
        parameters = seal.EncryptionParameters(seal.SCHEME_TYPE.BFV)
        parameters.set_poly_modulus_degree(N)
        parameters.set_coeff_modulus([seal.Modulus(PRIME)])
        parameters.set_plain_modulus(T)
        self.context = seal.SEALContext(parameters, True, seal.SEC_LEVEL_TYPE.TC192)
        self.decryptor = seal.Decryptor(self.context, key)
        sample = seal.Ciphertext(self.context)
        seal.Encryptor(self.context, key).encrypt_symmetric(seal.Plaintext("1"), sample)
        self.head = self.body_of(sample)[:97]

    def body_of(self, item) -> bytes:
        item.save(self.path)
        with open(self.path, "rb") as file:
            data = file.read()
        return zstandard.ZstdDecompressor().decompressobj().decompress(data[16:])

    def open(self, c0: np.ndarray, c1: np.ndarray) -> np.ndarray:
        body = self.head + c0.astype(np.uint64).tobytes() + c1.astype(np.uint64).tobytes()
        with open(self.path, "wb") as file:
            file.write(struct.pack("<2sBBBBHQ", b"\x5e\xa1", 16, 4, 3, 0, 0, 16 + len(body)) + body)
        ciphertext, plaintext = seal.Ciphertext(), seal.Plaintext()
        ciphertext.load(self.context, self.path)
        self.decryptor.decrypt(ciphertext, plaintext)
        words = np.zeros(N, np.uint64)
        found = np.frombuffer(self.body_of(plaintext), np.uint64, offset=72)
        words[: found.size] = found
        return signed(words)

    def expand(self, ciphertext, folder) -> np.ndarray:
        """c1 of a real ciphertext, as anybody can expand it from the seed."""
        info = b"\x5e\xa1\x10\x04\x03\x00\x00\x00" + struct.pack("<Q", 81) + b"\x01" + ciphertext.seeds[:64]
        inner = b"\x5e\xa1\x10\x04\x03\x00\x00\x00" + struct.pack("<QQ", 24 + 8 * N, N)
        body = self.head[:73] + inner + bytes(8 * N) + info
        with open(self.path, "wb") as file:
            file.write(struct.pack("<2sBBBBHQ", b"\x5e\xa1", 16, 4, 3, 0, 0, 16 + len(body)) + body)
        expanded = seal.Ciphertext()
        expanded.load(self.context, self.path)
        return np.frombuffer(self.body_of(expanded), np.uint64, N, 97 + 8 * N)


def signed(words: np.ndarray) -> np.ndarray:
    values = words.astype(np.int64)
    return np.where(values >= T // 2, values - T, values)


def read_key(opened: np.ndarray) -> np.ndarray:
    """The attacker's arithmetic on what was opened."""
    return np.rint(opened / (QUERY >> 12)).astype(np.int64)


def decrypt_with(key: np.ndarray, c0: np.ndarray, c1: np.ndarray) -> np.ndarray:
    """BFV by hand, with the recovered ternary key: round(t/q · (c0 + c1·s)) mod t, negacyclic product."""
    product = np.zeros(N, np.uint64)
    for place in np.flatnonzero(key):
        rotated = np.roll(c1, place)
        rotated[:place] = (PRIME - rotated[:place]) % np.uint64(PRIME)
        product = (product + (rotated if key[place] > 0 else PRIME - rotated)) % np.uint64(PRIME)
    total = (c0.astype(object) + product.astype(object)) % PRIME
    return np.array([(int(x) * T + PRIME // 2) // PRIME % T for x in total], np.uint64)


@pytest.fixture
def naive(step, tmp_path):
    return NaiveOpener(step.secret().use().seal, tmp_path)


def test_one_query_gives_a_naive_opener_away(step, naive, tmp_path):
    # Positive control: the attack is real, and on the very key that our sites use.
    key = read_key(naive.open(NOTHING, CRAFTED))
    assert set(np.unique(key)) == {-1, 0, 1}
    victim = step.ciphertexts["kohi"]
    words = decrypt_with(key, victim.c0, naive.expand(victim, tmp_path))
    masked = (step.values["kohi"].view(np.uint64) + step.mask("kohi")) % np.uint64(T)
    assert (words == masked).all()


def test_crafted_aggregate_cannot_be_opened(step, naive, looks_random):
    # The best the coordinator can still choose is c0; the real manifest's c1 makes what opens unpredictable.
    key = read_key(naive.open(NOTHING, CRAFTED))
    manifest = step.aggregate().manifest
    for c0 in (NOTHING, CRAFTED):
        opened = step.open(c0, manifest)
        assert looks_random(opened, key)
        guess = np.clip(read_key(opened), -1, 1)
        assert abs(np.corrcoef(guess, key)[0, 1]) < 5 / np.sqrt(N)


def test_a_crafted_half_has_no_place_in_frame_or_manifest(step):
    # c1 itself instead of its seed: 32,768 bytes where 64 belong.
    crafted = CRAFTED.tobytes()
    victim = step.ciphertexts["kohi"]
    honest = frame.encode(victim)
    with pytest.raises(CiphertextError) as refusal:
        frame.decode(honest[:12] + crafted + honest[76:], preset=step.preset, dimension=step.dimension)
    assert refusal.value.code == "FRAME_TRAILING"
    with pytest.raises(CiphertextError) as refusal:
        SeedList("kohi", crafted)  # 512 "seeds", 511 of them equal
    assert refusal.value.code == "SEED_DUPLICATE"
    with pytest.raises(CiphertextError) as refusal:
        step.open(np.zeros(2 * N, np.uint64), step.aggregate().manifest)
    assert refusal.value.code == "HALF_SHAPE"


def test_the_recovered_key_is_worth_one_step_only(next_step, naive, tmp_path):
    # Were one step's key lost all the same: the next step has another.
    key = read_key(naive.open(NOTHING, CRAFTED))
    victim = next_step.ciphertexts["kohi"]
    words = decrypt_with(key, victim.c0, naive.expand(victim, tmp_path))
    masked = (next_step.values["kohi"].view(np.uint64) + next_step.mask("kohi")) % np.uint64(T)
    assert not (words == masked).any()
