"""The process of a job at a site, without the commands that a server could give it beyond ending it.

As site_process.py, whose child this is; one of FLARE's commands to a job's process would set how it logs, in words that
name what is to be called.

Started by launcher.py in place of FLARE's own module, which does the rest.
"""

from __future__ import annotations

import sys
from pathlib import Path

from nvflare.fuel.f3.mpm import MainProcessMonitor
from nvflare.private.fed.app.client import worker_process
from nvflare.private.fed.client.admin_commands import AdminCommands

KEPT = frozenset({"CheckStatusCommand", "AbortCommand", "ByeCommand"})


def main() -> None:
    """FLARE's job process, until it ends."""
    known = AdminCommands.commands
    known[:] = [command for command in known if type(command).__name__ in KEPT]
    arguments = worker_process.parse_arguments()
    folder = str(Path(arguments.workspace) / arguments.job_id)
    sys.exit(MainProcessMonitor.run(main_func=worker_process.main, run_dir=folder, args=arguments))


if __name__ == "__main__":
    main()
