"""The real service of a site, or the real coordinator, which kills itself right after one durable write.

    python cut_process.py site CUT SECONDS_A_BATCH SITE --study FOLDER
    python cut_process.py coordinator CUT WORDS OF THE COMMAND

CUT is ``charge:N``, ``seal:N`` or ``sum:N``: SIGKILL after the N-th step was charged, or was sealed, at this site, or
was written down as summed at the coordinator; ``-`` for never. So a process dies where nobody outside could hit it.
A site is the one of slow_site.py, and hands a false clock on to FLARE's client, which would else not be given it.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from sekisho.core.flare import kits  # noqa: E402
from sekisho.governance.log.auditlog import AuditLog  # noqa: E402
from sekisho.governance.log.entries import EntryType  # noqa: E402
from sekisho.privacy.accounting.ledger import Ledger  # noqa: E402
from tests.flare.skewed import CLOCK  # noqa: E402

PLACES: dict[str, tuple[type, str]] = {
    "charge": (Ledger, "start"),
    "seal": (Ledger, "disclose"),
    "sum": (AuditLog, "append_all"),
}


def cut_after(place: str, number: int) -> None:
    """SIGKILL to this process as the ``number``-th write of this kind returns."""
    owner, name = PLACES[place]
    real, done = getattr(owner, name), 0

    def written(self: Any, *given: Any, **named: Any) -> Any:
        nonlocal done
        found = real(self, *given, **named)
        if place != "sum" or any(entry.type == EntryType.STEP_SUMMED for entry in given[0]):
            done += 1
            if done == number:
                os.kill(os.getpid(), signal.SIGKILL)
        return found

    setattr(owner, name, written)


def main() -> None:
    who, cut = sys.argv.pop(1), sys.argv.pop(1)
    if cut != "-":
        place, _, number = cut.partition(":")
        cut_after(place, int(number))
    if who == "site":
        from tests.flare.slow_site import main as serve

        kits.PASSED_ON = (*kits.PASSED_ON, *CLOCK)
        serve()
    else:
        from sekisho.core.cli.cli import main as command

        command()


if __name__ == "__main__":
    main()
