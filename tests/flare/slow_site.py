"""The real service of a site, whose every batch of one person takes as long as it is told: a test task of any length.

    python slow_site.py SECONDS_A_BATCH SITE --study FOLDER [--pipe-only]

In the place of the transformer stand hashed words of the same width, so that the plan is the one that the coordinator
makes and no time goes into loading torch.
"""

import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from sekisho.core.cli import serving  # noqa: E402
from sekisho.core.training import training  # noqa: E402
from sekisho.core.training.task import TextProbe  # noqa: E402
from tests.federation.study_folder import HashedFeatures  # noqa: E402


class Wide(HashedFeatures):
    width = 384

    def __init__(self, base_model: Any, **named: Any) -> None:
        """As the real ones are made."""


def main() -> None:
    seconds = float(sys.argv.pop(1))
    real = TextProbe.gradients

    def slow(self: TextProbe, rows: Any, labels: Any, vector: Any) -> Any:
        time.sleep(seconds)
        return real(self, rows, labels, vector)

    TextProbe.gradients = slow  # type: ignore[method-assign]
    training.GRADIENT_BYTES = 8  # one person a batch
    serving.Features = Wide  # type: ignore[misc, assignment]
    serving.app(prog_name="slow site")


if __name__ == "__main__":
    main()
