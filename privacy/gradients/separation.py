"""Whether each record's row is its own: nothing in it depends on the records beside it.

For: ``shown_separate(rows, backward)``, once for each model (``gradients.py`` asks). Not for: computing rows,
and layers that are refused at sight (``trainable.py``).

Two ways in which a record may reach another's row, and what shows each:

* by its gradient: a loss of several records. Each record's loss gets a weight of its own, and its row must grow by
  that weight and no other's.
* by its values alone, along a path that no gradient takes: statistics of the batch in a frozen or detached part, a
  place that another record took. The records beside it are exchanged for others, in a batch of the same shape, and its
  row must stay as it was. A batch of half the size must leave it as it was, too: else a row depends on how many there
  are.

Records are compared on one batch: what mixes them under conditions that this batch does not meet is not seen.

The rows that come of a mixing model are bounded one by one, and yet a person moves other people's rows: the sum is then
not bounded by the clipping norm, and nobody would see it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ..errors import BadParametersError

Places = slice | Tensor  # of records in a batch, as they index its tensors; int64 [m] when it is a tensor
Losses = Callable[[Places], Tensor]
Backward = Callable[[Places, Tensor | None], Tensor]  # the rows of those records, each loss times its weight

# Part of its own length by which a row may be off. A row is clipped to C, so it moves what is summed by at most this
# part of C, however long it is. The weakest mixing in use (a balancing loss with weight 0.01) is off by 1e-3 and more.
SEPARATION_TOLERANCE = 1e-4
# And part of the longest row: float32 in another order of adding up, where a row is what is left of larger numbers.
ROUNDING = 1e-5
# Part of the longest row by which a batch of half the size may be off: other shapes take other kernels, which in
# bfloat16 are off by 3e-2. A loss divided by the number of records is off by 1.
SIZE_TOLERANCE = 0.1
# Different weights in one pass; more records take more passes. They are powers of two, by which every format of numbers
# multiplies exactly, so that no rounding of its own is in the way, not even bfloat16's.
APART = 32
LARGEST_EXPONENT = APART - 1  # 2^31 times a gradient is far from overflow


def shown_separate(rows: Tensor, backward: Backward) -> bool:
    """Whether this batch has shown that records are independent of each other.

    False where fewer than two rows are finite, which tells nothing; the next batch is looked at instead.

    Args:
        rows: float32 [n, d], of the whole batch.
        backward: runs the model again on some places of that batch.

    Raises:
        BadParametersError: ``RECORDS_MIXED``, or ``LOSS_REDUCED`` when the losses are not of the places asked for.
    """
    count = len(rows)
    if int(torch.isfinite(rows).all(dim=1).sum()) < 2:
        return False
    everybody = torch.arange(count)
    for weights in _weights(count):
        weighted = backward(everybody, weights)
        _refuse_mixed(rows, weighted / weights.unsqueeze(1), everybody)
    for places in _neighbours(count):
        _refuse_mixed(rows, backward(places, None), torch.nonzero(places == everybody).flatten())
    half = everybody[: (count + 1) // 2]
    found = backward(half, None)
    if len(found) != len(half):
        raise BadParametersError(
            "LOSS_REDUCED",
            "the losses are not those of the records that were asked for",
            "compute the records at the given places, and no others",
        )
    _refuse_mixed(rows, found, half, of_own=0.0, of_longest=SIZE_TOLERANCE)
    return True


def _weights(count: int) -> list[Tensor]:
    """float32 [count] each: in one of them at least, any two records have different weights, as far apart as may be."""
    places = torch.arange(count)
    spread = LARGEST_EXPONENT // (min(count, APART) - 1)
    digits = [places // stride % APART for stride in (1, APART, APART**2) if stride < count]
    return [2.0 ** (digit * spread).to(torch.float32) for digit in digits]


def _neighbours(count: int) -> Iterator[Tensor]:
    """int64 [count] each, the record at each place: of any two records, in one of them at least, the first is where it
    was and the second is not in the batch.

    For each binary digit of a place, the records where it is 0 stay, and each of them stands in once more for its
    partner where it is 1; and the other way round.
    """
    places = torch.arange(count)
    stride = 1
    while stride < count:
        for stays in (0, 1):
            partner = torch.where(places // stride % 2 == stays, places, places ^ stride)
            yield torch.where(partner < count, partner, stride)  # without a partner: the first whose digit is 1
        stride *= 2


def _refuse_mixed(
    rows: Tensor,
    found: Tensor,
    places: Tensor,
    of_own: float = SEPARATION_TOLERANCE,
    of_longest: float = ROUNDING,
) -> None:
    """``found[places]`` must be ``rows[places]``, wherever both are finite."""
    expected, again = rows[places], found[places]
    finite = torch.isfinite(expected).all(dim=1) & torch.isfinite(again).all(dim=1)
    if not finite.any():
        return
    lengths = expected[finite].norm(dim=1)
    off = (again - expected)[finite].norm(dim=1)
    if (off > of_own * lengths + of_longest * lengths.max()).any():
        raise BadParametersError(
            "RECORDS_MIXED",
            "a record's gradient depends on the records beside it, or differs from one pass to the next",
            "use a loss of each record by itself, no dropout, and no layer that compares records",
        )
