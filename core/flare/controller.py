"""The one class of ours that NVIDIA FLARE's server loads, by its class path: a relay at the coordinator's machine.

It is installed, allowed by name in the server's kit, and never shipped. It holds no key, no state and no data: signed
messages go from the coordinator's socket to the sites that ask for them, and answers back. Where the socket is, says
the environment that the server was started with (kits.py); no word of a job decides a path.

It assigns no tasks. Tasks are worked on one at a time, and a stop must reach a site that is training; and a task's
result is one message with one deadline. Sites ask over FLARE's own connection instead (pieces.py), and FLARE vouches
for who asks: the origin of a request is bound to the token that the site's certificate was given.

FLARE calls ``start_controller`` → ``control_flow``, which lasts as long as the job → ``stop_controller``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.controller import Controller
from nvflare.apis.signal import Signal
from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey
from nvflare.fuel.f3.cellnet.fqcn import FQCN
from nvflare.fuel.f3.cellnet.utils import make_reply
from nvflare.fuel.f3.message import Message

from .orphans import end_with_parent
from .server_end import ServerEnd

SOCKET = "SEKISHO_ENGINE_SOCKET"  # kits.py sets it for the processes that it starts
CHANNEL = "sekisho"
TOPIC = "relay"
LOOK_SECONDS = 0.2  # how often the job's end is looked for


class RelayController(Controller):  # type: ignore[misc]  # FLARE ships no types
    """FLARE's server's end of the pipe. A job gives it no arguments, and it takes none."""

    def start_controller(self, fl_ctx: FLContext) -> None:
        """Connect to the coordinator's socket and answer sites from now on."""
        self._end = ServerEnd(Path(os.environ[SOCKET]))
        end_with_parent(self._end.close)
        cell = fl_ctx.get_engine().get_cell()
        cell.register_request_cb(channel=CHANNEL, topic=TOPIC, cb=self._answer)

    def control_flow(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        """Last until the coordinator says that nothing follows, or FLARE ends the job."""
        while not abort_signal.triggered and not self._end.ended.wait(LOOK_SECONDS):
            continue

    def stop_controller(self, fl_ctx: FLContext) -> None:
        """Hang up."""
        self._end.close()

    def process_result_of_unknown_task(self, *_: Any) -> None:
        """There are no tasks."""

    def _answer(self, request: Message) -> Message:
        site = FQCN.get_root(request.get_header(MessageHeaderKey.ORIGIN, ""))
        return make_reply("ok", body=self._end.answer(site, request.payload))
