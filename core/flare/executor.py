"""The one class of ours that NVIDIA FLARE's client loads, by its class path: a relay at a site's machine.

It is installed, allowed by name in the site's kit, and never shipped. It holds no key, no record and no state: signed
messages go from FLARE's connection to the site's door, and answers back. Where the door is, says the environment that
the client was started with (kits.py); no word of a job decides a path.

It executes no task, whatever a job calls one. FLARE calls ``handle_event`` when the job's process starts and ends.
"""

from __future__ import annotations

import os
from pathlib import Path

from nvflare.apis.event_type import EventType
from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey
from nvflare.fuel.f3.cellnet.defs import ReturnCode as CellReturnCode
from nvflare.fuel.f3.cellnet.fqcn import FQCN
from nvflare.fuel.f3.message import Message

from .orphans import end_with_parent
from .site_end import SiteEnd

SOCKET = "SEKISHO_ENGINE_SOCKET"  # as in controller.py: the two never run in one process
CHANNEL = "sekisho"
TOPIC = "relay"


class RelayExecutor(Executor):  # type: ignore[misc]  # FLARE ships no types
    """FLARE's client's end of the pipe. A job gives it no arguments, and it takes none."""

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Connect to the site's door when the job starts, hang up when it ends."""
        if event_type == EventType.START_RUN:
            self._cell = fl_ctx.get_engine().get_cell()
            self._server = FQCN.join([FQCN.ROOT_SERVER, fl_ctx.get_job_id()])
            self._end = SiteEnd(Path(os.environ[SOCKET]), self._ask)
            end_with_parent(self._end.close)
        elif event_type == EventType.END_RUN:
            self._end.close()

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """Nothing: the controller assigns no tasks, and what another would assign is not done."""
        return make_reply(ReturnCode.TASK_UNKNOWN)

    def _ask(self, request: bytes, seconds: float) -> bytes | memoryview | None:
        reply = self._cell.send_request(
            channel=CHANNEL,
            topic=TOPIC,
            target=self._server,
            request=Message(payload=request),
            timeout=seconds,
            optional=True,
        )
        if reply.get_header(MessageHeaderKey.RETURN_CODE) != CellReturnCode.OK:
            return None
        answer = reply.payload
        return memoryview(answer) if isinstance(answer, (bytes, bytearray, memoryview)) else None
