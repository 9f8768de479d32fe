"""One process beside ours, kept running: NVIDIA FLARE's client at a site, its server at the coordinator's.

For: ``Supervised``: start, restart after a growing pause, hand on what it writes, stop it and what it started. Not for:
what is started with what (kits.py), or one's own process: that is for systemd or the container (deploy/).

Nothing of ours lies in that process, so killing it loses nothing: whatever is outstanding is posted again.

Order of calls: ``start`` → ``tend`` every few seconds → ``stop``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from .kits import Command

FIRST_PAUSE = 5.0  # seconds before the first restart; doubled each time, since a fault that stays must not fill a disk
LONGEST_PAUSE = 300.0  # a network that was away for a day is found again within five minutes
SETTLED_SECONDS = 600.0  # whoever ran so long has not failed at its start: the next pause is the first again
END_SECONDS = 20.0  # FLARE ends its jobs first; then it is killed
LONGEST_LOG = 16 << 20  # bytes of what it wrote; at the next start the file before is replaced
MOST_READ = 1 << 20  # bytes of what it wrote that are looked at in one turn


class Supervised:
    """A child process, in a group of its own. ``heard`` gets each line that it writes, ``say`` what becomes of it."""

    def __init__(
        self,
        name: str,
        command: Command,
        log: Path,
        *,
        say: Callable[[str], None],
        heard: Callable[[str], None] = lambda line: None,
    ) -> None:
        """``log`` is where its output goes, readable by this user alone; beside it ``.pid``."""
        self.name = name
        self._command = command
        self._log = log
        self._mark = log.with_suffix(".pid")
        self._say = say
        self._heard = heard
        self._process: subprocess.Popen[bytes] | None = None
        self._began = 0.0
        self._pause = FIRST_PAUSE
        self._again = 0.0
        self._read = 0
        self.restarts = 0

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it; one that an earlier process of ours left behind ends first: two would contend for one name."""
        self._end_left_over()
        if self._log.exists() and self._log.stat().st_size > LONGEST_LOG:
            self._log.replace(self._log.with_suffix(".before"))
            self._read = 0
        elif not self._read and self._log.exists():
            self._read = self._log.stat().st_size  # what an earlier one wrote was heard then
        descriptor = os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            self._process = subprocess.Popen(  # noqa: S603  the command is ours, made from a kit in a private folder
                self._command.argv,
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                env=dict(self._command.env),
                cwd=self._command.cwd,
                start_new_session=True,
            )
        except OSError as error:
            self._wait_and_say(f"{self.name} cannot be started ({error.strerror})")
            return
        finally:
            os.close(descriptor)
        self._began = time.monotonic()
        with contextlib.suppress(OSError):
            self._mark.write_text(f"{self._process.pid}\n", "ascii")
        self._say(f"{self.name} started, process {self._process.pid}")

    def tend(self) -> None:
        """Hand on what it wrote; where it has ended, start it again once its pause is over. Returns at once."""
        self._hand_on()
        if self.running:
            return
        now = time.monotonic()
        if self._process is not None:
            if now - self._began > SETTLED_SECONDS:
                self._pause = FIRST_PAUSE
            ended, self._process = self._process.returncode, None
            self._wait_and_say(f"{self.name} ended with {ended}")
        elif now >= self._again:
            self.restarts += 1
            self.start()

    def stop(self) -> None:
        """End it and what it started."""
        if self._process is not None:
            _end_group(self._process.pid)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_SECONDS)
            self._process = None
        self._mark.unlink(missing_ok=True)
        self._hand_on()

    def _wait_and_say(self, what: str) -> None:
        self._again = time.monotonic() + self._pause
        self._say(f"{what}; it is started again in {self._pause:g} s, and what it wrote is in {self._log.name}")
        self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def _hand_on(self) -> None:
        try:
            with self._log.open("rb") as file:
                file.seek(self._read)
                data = file.read(MOST_READ)
        except OSError:
            return
        whole = data[: data.rfind(b"\n") + 1] if len(data) < MOST_READ else data
        self._read += len(whole)
        for line in whole.decode("utf-8", "replace").splitlines():
            self._heard(line)

    def _end_left_over(self) -> None:
        try:
            left = int(self._mark.read_text("ascii"))
            started = Path(f"/proc/{left}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return
        # by its whole command: the number may be another process's by now
        if [os.fsencode(word) for word in self._command.argv] == started[:-1]:
            self._say(f"{self.name} of an earlier process is still there, process {left}; it is ended")
            _end_group(left)


def _end_group(leader: int) -> None:
    """SIGTERM to the group of ``leader``, and SIGKILL where it has not ended in ``END_SECONDS``."""
    until = time.monotonic() + END_SECONDS
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGTERM)
        while time.monotonic() < until:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(leader, os.WNOHANG)  # one of ours would stay a zombie, and its group with it
            os.killpg(leader, 0)
            time.sleep(0.1)
        os.killpg(leader, signal.SIGKILL)
