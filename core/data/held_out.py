"""Who of a site's people is held out: they never train, they are only counted when a block of steps is judged.

For: one person's place, by a key of the site and that person's own id. Not for: who may be used now (eligible.py).

It depends on nobody else, on no run and no study but for the share, so a person is on one side for good and pays for
one of the two mechanisms (docs/adr/0018). Where a later study holds out more, some move from the one side to the other:
the ledger, which knows each person, counts both.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from ...privacy.accounting.subjects import SubjectKey

LABEL = "validation/held-out/v1/"
DRAW_BYTES = 8
DRAWS = Decimal(2 ** (8 * DRAW_BYTES))


def is_held_out(subject: str, key: SubjectKey, share: Decimal) -> bool:
    """Whether ``subject`` is among the ``share`` (0 to 1) of people that the site's key sets aside."""
    draw = int.from_bytes(key.fingerprint(LABEL + subject)[:DRAW_BYTES], "big")
    return Decimal(draw) < share * DRAWS


def divide(subjects: Sequence[str], key: SubjectKey, share: Decimal) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """``subjects`` that train and those that are held out, each in their order."""
    aside = {subject for subject in subjects if is_held_out(subject, key, share)}
    return tuple(one for one in subjects if one not in aside), tuple(one for one in subjects if one in aside)
