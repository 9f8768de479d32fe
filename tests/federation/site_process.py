"""One site in a process of its own, for tests that kill it: messages in on stdin, answers out on stdout.

    python site_process.py STUDY SITE WRITE STEP

A message or an answer is its length (uint32, little endian) and its bytes; an answer of no bytes is a site that did not
deliver. After the durable write WRITE in STEP, as outages.Cuts tells them, the process kills itself: SIGKILL, so that
nothing is closed, flushed or handled. With WRITE "-" it lives.
"""

from __future__ import annotations

import os
import signal
import struct
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[2] / ".namespace"))

from sekisho.core.data.intake import inspect, locate
from sekisho.core.engines.channel import carry
from sekisho.core.errors import CoreError
from sekisho.core.messages import SignedMessage
from sekisho.core.site.folder import SiteFolder
from sekisho.core.site.papers import read_study
from sekisho.core.site.resuming import go_on
from sekisho.core.site.site import Site
from sekisho.core.training.tasks import Tasks
from sekisho.governance.errors import GovernanceError
from sekisho.privacy.errors import PrivacyError
from tests.federation.outages import Cuts, now
from tests.federation.study_folder import HashedFeatures


class Switch(Cuts):
    """The real one."""

    def wrote(self, write: str) -> None:
        if self.armed and self.wanted(self.kind, write, 1):
            os.kill(os.getpid(), signal.SIGKILL)


def main(study: Path, name: str, write: str, step: int) -> None:
    """Answer until stdin ends."""
    place: dict[str, int] = {"step": 0}
    switch = Switch(study, lambda kind, its, times: (its, place["step"]) == (write, step), victim=name)
    content = read_study(study)
    facts = inspect(locate(content.base_model, study))
    features: Any = HashedFeatures()
    with switch.installed():
        folder = SiteFolder.open(study, name, base_model=facts, clock=now, open_runs=go_on)
        site = Site(folder, Tasks(facts, content.methods.values(), features, progress=lambda stage, done, total: None))
        print("ready", file=sys.stderr, flush=True)
        while header := sys.stdin.buffer.read(4):
            data = sys.stdin.buffer.read(struct.unpack("<I", header)[0])
            message = SignedMessage.from_bytes(data)
            place["step"] = getattr(message.body, "step", 0)
            switch.before(name, message)
            try:
                answer = carry(site.handle(data))
            except (CoreError, GovernanceError, PrivacyError) as error:
                print(error.code, file=sys.stderr, flush=True)
                answer = b""
            sys.stdout.buffer.write(struct.pack("<I", len(answer)) + answer)
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))
