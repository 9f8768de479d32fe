"""NVIDIA FLARE's client at a site, without the commands that a server could give it beyond the pipe.

FLARE's client asks whether a command is allowed only where the server says that it should be asked (a header of the
message), and a site does not trust the server. So the commands are not there: none that runs a shell's words, tells of
the machine, restarts the client or sets how it logs.

Started by kits.py in place of FLARE's own module, which does the rest.
"""

from __future__ import annotations

import logging
import sys

from nvflare.fuel.f3.mpm import MainProcessMonitor
from nvflare.private.admin_defs import Message, error_reply
from nvflare.private.fed.app.client import client_train
from nvflare.private.fed.client.admin import RequestProcessor
from nvflare.private.fed.client.client_req_processors import ClientRequestProcessors

from .refusals import NOT_A_COMMAND

KEPT = frozenset(
    {
        "ClientStatusProcessor",  # who is in the job
        "DeployProcessor",  # the job's two files
        "CheckResourceProcessor",  # may a job begin? asked before every job
        "CancelResourceProcessor",  # and never mind
        "StartJobProcessor",
        "AbortAppProcessor",
        "NotifyJobStatusProcessor",  # that the job has ended
    }
)


class Refusing(RequestProcessor):  # type: ignore[misc]  # FLARE ships no types
    """In place of the commands that are not there: says so, here and to who asks."""

    def __init__(self, topics: list[str]) -> None:
        self._topics = topics

    def get_topics(self) -> list[str]:
        """What FLARE calls these commands."""
        return self._topics

    def process(self, req: Message, app_ctx: object) -> Message:
        """Refuse."""
        logging.getLogger("SiteProcess").error("%s: %s", NOT_A_COMMAND, req.topic)
        return error_reply("not at this site")


def main() -> None:
    """FLARE's client, until it ends."""
    known = ClientRequestProcessors.request_processors
    left_out = [processor for processor in known if type(processor).__name__ not in KEPT]
    kept = [processor for processor in known if processor not in left_out]
    known[:] = [*kept, Refusing([topic for processor in left_out for topic in processor.get_topics()])]
    arguments = client_train.parse_arguments()
    sys.exit(MainProcessMonitor.run(main_func=client_train.main, run_dir=arguments.workspace, args=arguments))


if __name__ == "__main__":
    main()
