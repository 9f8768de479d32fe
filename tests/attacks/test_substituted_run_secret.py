"""The coordinator relays every key message, and can put neither itself nor its own secret in between."""

from __future__ import annotations

import hashlib

import pytest

from sekisho.privacy.errors import KeyAgreementError
from sekisho.privacy.keys.runkeys import JoinKeys, RunSecret, pair_key

H0 = hashlib.sha256(b"joins as both sites saw them").digest()


def agree(low: JoinKeys, high: JoinKeys, h0: bytes = H0) -> tuple[bytes, bytes]:
    sent, shared = low.encapsulate(high.public)
    received = high.decapsulate(sent)
    return (
        pair_key(low, high.public, shared, h0=h0, low="kohi", high="wanko"),
        pair_key(high, low.public, received, h0=h0, low="kohi", high="wanko"),
    )


def refused(key: bytes, wrapped: bytes) -> bool:
    with pytest.raises(KeyAgreementError) as refusal:
        RunSecret.unwrap(key, wrapped, h0=H0, sender="kohi", recipient="wanko")
    return refusal.value.code == "RUN_SECRET_NOT_AUTHENTIC"


def test_coordinator_cannot_seal_its_own_run_secret():
    kohi, wanko, coordinator = JoinKeys.generate(), JoinKeys.generate(), JoinKeys.generate()
    _, at_wanko = agree(kohi, wanko)
    own = RunSecret.generate()
    # Everything it can compute: a key agreed between itself and wanko, or a guess.
    sent, shared = coordinator.encapsulate(wanko.public)
    with_itself = pair_key(coordinator, wanko.public, shared, h0=H0, low="kohi", high="wanko")
    for key in (with_itself, bytes(32)):
        assert refused(at_wanko, own.wrap(key, h0=H0, sender="kohi", recipient="wanko"))
    # Positive control: had wanko taken the coordinator's keys for kohi's, it would have worked.
    fooled = pair_key(wanko, coordinator.public, wanko.decapsulate(sent), h0=H0, low="kohi", high="wanko")
    wrapped = own.wrap(with_itself, h0=H0, sender="kohi", recipient="wanko")
    opened = RunSecret.unwrap(fooled, wrapped, h0=H0, sender="kohi", recipient="wanko")
    assert opened.to_bytes() == own.to_bytes()


def test_a_replaced_kem_ciphertext_breaks_the_agreement_instead_of_joining_it():
    kohi, wanko, coordinator = JoinKeys.generate(), JoinKeys.generate(), JoinKeys.generate()
    _, shared = kohi.encapsulate(wanko.public)
    at_kohi = pair_key(kohi, wanko.public, shared, h0=H0, low="kohi", high="wanko")
    replaced, known = coordinator.encapsulate(wanko.public)
    at_wanko = pair_key(wanko, kohi.public, wanko.decapsulate(replaced), h0=H0, low="kohi", high="wanko")
    assert at_wanko not in {
        at_kohi,
        pair_key(coordinator, wanko.public, known, h0=H0, low="kohi", high="wanko"),
    }
    assert refused(at_wanko, RunSecret.generate().wrap(at_kohi, h0=H0, sender="kohi", recipient="wanko"))


def test_joins_replaced_for_one_site_change_its_h0_and_its_keys():
    kohi, wanko = JoinKeys.generate(), JoinKeys.generate()
    at_kohi, _ = agree(kohi, wanko)
    _, at_wanko = agree(kohi, wanko, hashlib.sha256(b"joins as the coordinator showed them").digest())
    assert refused(at_wanko, RunSecret.generate().wrap(at_kohi, h0=H0, sender="kohi", recipient="wanko"))


def test_a_wrapped_secret_cannot_be_redirected_or_replayed():
    kohi, wanko = JoinKeys.generate(), JoinKeys.generate()
    at_kohi, at_wanko = agree(kohi, wanko)
    secret = RunSecret.generate()
    assert refused(at_wanko, secret.wrap(at_kohi, h0=H0, sender="wanko", recipient="kohi"))
    assert refused(at_wanko, secret.wrap(at_kohi, h0=H0, sender="kohi", recipient="okashi"))
    assert refused(
        at_wanko,
        secret.wrap(at_kohi, h0=hashlib.sha256(b"last run").digest(), sender="kohi", recipient="wanko"),
    )


def test_sites_with_different_run_secrets_see_it_before_anything_opens():
    assert RunSecret.generate().key_check(H0) != RunSecret.generate().key_check(H0)
