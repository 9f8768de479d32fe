"""Records as the frozen layers of the base model see them; what adapters on the layers above are trained from.

As personal as the texts: in memory only, shown to nobody, never written. Not here: how they are made (prefix.py), and
torch, so that what handles them loads no model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class PrefixRows:
    """``states``: for each text float32 [tokens, width], the input of the lowest layer that trains; unpadded."""

    states: tuple[NDArray[np.float32], ...]

    def __len__(self) -> int:
        return len(self.states)

    def __getitem__(self, places: NDArray[np.int64]) -> PrefixRows:
        """The rows at ``places`` (int64 [m]); nothing is copied."""
        return PrefixRows(tuple(self.states[place] for place in places.tolist()))

    def __repr__(self) -> str:
        return "PrefixRows(...)"
