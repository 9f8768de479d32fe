"""The step's secret key: the same everywhere, in nobody's hands."""

import copy
import hashlib
import pickle

import pytest

from sekisho.privacy.errors import KeyAgreementError
from sekisho.privacy.keys import secretkey
from sekisho.privacy.keys.runkeys import RunSecret
from sekisho.privacy.keys.secretkey import StepSecret, golden_vector_holds

H = hashlib.sha256(b"step 1").digest()


@pytest.fixture
def fresh_check():
    golden_vector_holds.cache_clear()
    yield
    golden_vector_holds.cache_clear()


def test_this_build_draws_the_key_that_every_site_must_draw(fresh_check):
    assert secretkey.GOLDEN_DIGEST == "c925e7751f7468ae47966cb57ebd77990bb66c73734e99915648827f7f9c2ab6"
    assert golden_vector_holds()


def test_a_build_that_draws_another_key_derives_none(fresh_check, monkeypatch):
    monkeypatch.setattr(secretkey, "GOLDEN_DIGEST", "0" * 64)
    assert not golden_vector_holds()
    with pytest.raises(KeyAgreementError) as refusal:
        StepSecret.derive(RunSecret.generate(), H)
    assert refusal.value.code == "GOLDEN_VECTOR"


def test_a_step_secret_is_not_shown_copied_or_stored():
    secret = StepSecret.derive(RunSecret.generate(), H)
    assert repr(secret) == str(secret) == "StepSecret(hidden)"
    assert not hasattr(secret, "__dict__")
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            attempt(secret)


def test_a_wiped_step_secret_is_refused():
    secret = StepSecret.derive(RunSecret.generate(), H)
    secret.wipe()
    with pytest.raises(KeyAgreementError) as refusal:
        secret.use()
    assert refusal.value.code == "SECRET_WIPED"


def test_no_secret_from_a_wiped_run_or_an_odd_transcript():
    run = RunSecret.generate()
    with pytest.raises(KeyAgreementError) as refusal:
        StepSecret.derive(run, H[:16])
    assert refusal.value.code == "TRANSCRIPT_HASH"
    run.wipe()
    with pytest.raises(KeyAgreementError) as refusal:
        StepSecret.derive(run, H)
    assert refusal.value.code == "RUN_SECRET_WIPED"
