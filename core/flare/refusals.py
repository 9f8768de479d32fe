"""What NVIDIA FLARE's processes refused at this machine, read out of what they say.

A site's agent reads its client's standard output and enters what this finds in the site's own log. Nothing of a line is
passed on but what it is: a hostile server can choose many of the words in it.

Order of calls: ``Refusals.hear`` each line, and ``take`` now and then; or ``refusal_in(line)``.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass

NOT_THE_PIPE = "SEKISHO refuses a job that is not the pipe"  # launcher.py's words
NOT_A_COMMAND = "SEKISHO refuses a command"  # site_process.py's

# Code, and the words by which a line is known; of nvflare 2.9.0, which is pinned, and which tests/flare asks.
KNOWN = (
    ("JOB_BRINGS_CODE", re.compile(r"BYOC not permitted")),
    ("JOB_IS_ANOTHER", re.compile(re.escape(NOT_THE_PIPE))),
    ("JOB_CLASS", re.compile(r"is not in allow_list")),
    ("COMMAND_REFUSED", re.compile(re.escape(NOT_A_COMMAND))),
    ("SERVER_NOT_TRUSTED", re.compile(r"CERTIFICATE_VERIFY_FAILED|certificate verify failed")),
)
SENTENCES = {
    "JOB_BRINGS_CODE": "a job that brings code was refused",
    "JOB_IS_ANOTHER": "a job that is not the pipe was refused",
    "JOB_CLASS": "a job that names a class that is not allowed here was refused",
    "COMMAND_REFUSED": "a command from afar that is not allowed here was refused",
    "SERVER_NOT_TRUSTED": "who answers as the coordinator's server has no certificate of this federation",
}


@dataclass(frozen=True)
class RefusedByEngine:
    """A stable code, and one sentence without a word of the other end's."""

    code: str
    sentence: str


class Refusals:
    """What an agent has heard of and not entered in its log yet: ``hear`` in one thread, ``take`` in another.

    Each code once between two takings: a server that tries a thousand jobs fills no log.
    """

    def __init__(self) -> None:
        self._heard: dict[str, RefusedByEngine] = {}
        self._lock = threading.Lock()

    def hear(self, line: str) -> None:
        """One line of what FLARE's client wrote."""
        found = refusal_in(line)
        if found is not None:
            with self._lock:
                self._heard[found.code] = found

    def take(self) -> tuple[str, ...]:
        """Codes, and they are forgotten."""
        with self._lock:
            heard, self._heard = self._heard, {}
        return tuple(heard)


def refusal_in(line: str) -> RefusedByEngine | None:
    """The refusal that ``line`` of FLARE's output tells of, if it tells of one."""
    for code, words in KNOWN:
        if words.search(line):
            return RefusedByEngine(code, SENTENCES[code])
    return None
