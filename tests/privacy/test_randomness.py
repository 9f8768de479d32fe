"""Secret streams: the published cipher, independent by label, impossible to copy."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from sekisho.privacy.errors import BadParametersError
from sekisho.privacy.mechanism.randomness import MAXIMUM_BYTES, SecretStream

# RFC 8439, appendix A.1, test vectors 1 and 2: zero key, zero nonce, blocks 0 and 1.
RFC_8439 = bytes.fromhex(
    "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
    "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"
    "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
    "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f"
)


def test_the_stream_is_chacha20() -> None:
    stream = SecretStream(bytes(32))
    assert stream.bytes(5) + stream.bytes(123) == RFC_8439
    words = SecretStream(bytes(32)).uint64(16)
    assert words.dtype == np.uint64 and words.astype("<u8").tobytes() == RFC_8439


def test_without_a_key_no_two_streams_agree() -> None:
    assert SecretStream().bytes(32) != SecretStream().bytes(32)


def test_derived_streams_differ_by_label_and_ignore_what_was_read() -> None:
    first, second = SecretStream(bytes(32)), SecretStream(bytes(32))
    second.bytes(1000)
    assert first.derive(b"a").bytes(32) == second.derive(b"a").bytes(32)
    assert len({first.bytes(32), *(first.derive(label).bytes(32) for label in (b"", b"a", b"b", b"aa"))}) == 5


def test_a_stream_is_neither_copied_nor_pickled_nor_printed() -> None:
    stream = SecretStream(bytes(range(32)))
    for act in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(BadParametersError) as refused:
            act(stream)
        assert refused.value.code == "STREAM_NOT_COPYABLE"
    assert repr(stream) == "SecretStream(...)"


def test_a_stream_ends_before_its_counter_wraps() -> None:
    with pytest.raises(BadParametersError) as refused:
        SecretStream().bytes(MAXIMUM_BYTES + 1)
    assert refused.value.code == "STREAM_EXHAUSTED"


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_short_key_is_refused(length: int) -> None:
    with pytest.raises(BadParametersError):
        SecretStream(bytes(length))
