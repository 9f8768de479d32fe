"""A site that says it is another one: FLARE's server refuses it, so another site's messages are not even read by it.

What it would answer counts by its signature in any case (coordinator/collecting.py); here it must not be asked at all.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ..core.test_engine_conformance import Echo
from .flare_processes import FlareProcesses

pytestmark = pytest.mark.proof

PATIENCE = 600.0
# What a site can do to its own installation: each message of its job's process names another site as its origin.
FORGING = '''
import os, sys, threading, time
def forge():
    while "sekisho.core.flare.executor" not in sys.modules:
        time.sleep(0.02)
    while not os.path.exists(os.path.join(os.path.dirname(__file__), "forge")):
        time.sleep(0.05)
    from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey
    from nvflare.fuel.f3.communicator import Communicator
    honest = Communicator.send
    def send(self, endpoint, app_id, message):
        origin = message.headers.get(MessageHeaderKey.ORIGIN) or ""
        if origin.startswith("beta."):
            message.headers[MessageHeaderKey.ORIGIN] = "alpha" + origin[4:]
            print("FORGED", flush=True)
        return honest(self, endpoint, app_id, message)
    Communicator.send = send
if any("site_job" in word for word in sys.orig_argv):
    threading.Thread(target=forge, daemon=True).start()
'''


def test_a_site_that_says_it_is_another_is_told_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(FORGING, "utf-8")
    with FlareProcesses(tmp_path / "flare", ("alpha", "beta")) as processes:
        channel = processes.open_channel()
        for party in ("coordinator", "alpha"):
            processes.start(party)
        namespace = Path(__file__).resolve().parents[2] / ".namespace"
        monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'hook'}:{namespace}")
        processes.start("beta")
        processes.keep_job()
        forger = Echo("forged")
        processes.open_door("beta", forger)  # alpha's is closed: nobody but the forger could answer for it
        until = time.monotonic() + PATIENCE
        while "beta" not in channel.sites():  # under its own name: its relay works
            assert time.monotonic() < until
            time.sleep(0.1)
        (tmp_path / "hook" / "forge").touch()
        while "FORGED" not in processes.said("beta"):
            assert time.monotonic() < until
            time.sleep(0.1)
        ticket = channel.post("alpha", b"for alpha", 20.0)
        replies = []
        while not replies:
            assert time.monotonic() < until
            replies += channel.poll()
            time.sleep(0.1)
        assert [(reply.ticket, reply.site, reply.data) for reply in replies] == [(ticket, "alpha", None)]
        assert forger.heard == []
        assert "is bound to origin beta, not message origin alpha" in processes.said("coordinator")
