"""A proof of misbehaviour convicts whoever signed its evidence, and nobody by any other."""

from __future__ import annotations

import pytest

from sekisho.governance.log.misbehaviour import Proof, check
from sekisho.governance.signing.keys import demo_key

from .liars import EVERY


@pytest.mark.parametrize("made", EVERY, ids=lambda made: made.__name__)
def test_each_kind_convicts_its_party(made) -> None:
    proof = made()
    finding = check(Proof.parse(proof.to_bytes()), demo_key(proof.origin.rpartition("/")[2]).public)
    assert (finding.charge, finding.origin) == (proof.charge, proof.origin)
