"""Whether FLARE's processes have what they need of the network, read out of what they say.

For: one line in the service's log whenever it changes. Not for: deciding anything, or the site's own log: what FLARE
refuses is in refusals.py. Nothing of a line is passed on but what it is.

Order of calls: ``Link.hear`` at a site, ``Port.hear`` at the coordinator's, each line as it is written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from .policies import SERVER

Say = Callable[[str], None]

# What Python calls the fault of a connection, and where people look for it. Words of nvflare 2.9.0, which is pinned.
REASONS = {
    "ConnectionRefusedError": "nobody listens there: does `sekisho coordinator serve` run, and on this port?",
    "TimeoutError": "nothing answers: look at the firewalls between",
    "gaierror": "its name is not known here: look at the names that this machine resolves",
    "SSLCertVerificationError": "who answers has no certificate of this federation: a proxy, or an attack",
    "SSLError": "TLS fails: is it that server which listens there? certificates, clocks at both ends",
}
OTHERWISE = "what FLARE says is in flare.log"
FAILED = re.compile(r"Connector \[\S+ ACTIVE \w+://(\S+?)(?:\?\S*)?\] failed with exception (\w+)")
MADE = re.compile(rf"Connection \[\S+ \S+ => \S+ SSL {re.escape(SERVER)}\] is created")
TAKEN = "Address already in use"


class Link:
    """A site's connection to the coordinator's server."""

    def __init__(self, kit: Path, say: Say) -> None:
        """``kit``: sites/<id>/state/flare."""
        startup = json.loads((kit / "startup" / "fed_client.json").read_bytes())
        self._target = str(startup["servers"][0]["service"]["target"])
        self._say = say
        self._told = ""

    def hear(self, line: str) -> None:
        """One line of what FLARE's client wrote."""
        failed = FAILED.search(line)
        if failed is not None and failed[1] == self._target:  # a job's process connects to its parent, too
            why = REASONS.get(failed[2], OTHERWISE)
            self._tell(f"the coordinator's server at {self._target} is not reached, and tried again; {why}")
        elif MADE.search(line):
            self._tell(f"connected to the coordinator's server at {self._target}")

    def _tell(self, what: str) -> None:
        if what != self._told:
            self._told = what
            self._say(what)


class Port:
    """The port of the coordinator's server."""

    def __init__(self, port: int, say: Say) -> None:
        self._port = port
        self._say = say
        self._told = False

    def hear(self, line: str) -> None:
        """One line of what FLARE's server wrote."""
        if TAKEN in line and not self._told:
            self._told = True
            self._say(
                f"port {self._port} is taken by another process (`ss -ltnp` shows which): no site can connect. "
                "End it, and FLARE's server takes the port by itself; or enrol with another --port"
            )
