"""Whether long work at a site is to go on: asked between two physical batches, answered from another thread.

For: ``GoingOn``, one for the sites that share a process's tasks; training, features, counting and encryption are handed
its ``check``. Not for: deciding that something stops (site/site.py verifies who says so), or for anything durable: what
was started stays charged, and what was not sealed has left nothing behind.

Order of calls: ``work_on(run)`` as a message of that run is taken up -> ``check()`` between batches; ``stop(run)`` and
``stop_all()`` from another thread, at any time. A run that was stopped stays stopped, so nothing has to be reset, and a
stop that comes between two messages is not lost.
"""

from __future__ import annotations

from ..errors import Interrupted, Refused

STOPPED = "STOPPED_BY_COORDINATOR"  # the run is over
ORDERED = "STOPPED"  # people have ordered a stop, by the code that every decision has for it
ENDING = "SITE_ENDING"  # this process ends; the run may be taken up again


def never_stops() -> None:
    """A ``check`` of work that nobody can stop: tests, benchmarks, what takes no time."""


class GoingOn:
    """Plain reads and writes of single attributes: safe between threads."""

    def __init__(self) -> None:
        self._run = ""
        self._stopped = "", STOPPED
        self._ending = False

    def work_on(self, run: str) -> None:
        """What ``check`` is about from here on."""
        self._run = run

    def stop(self, run: str, code: str = STOPPED) -> None:
        """``run`` is over, with ``code``: whatever is at work for it ends at its next ``check``."""
        self._stopped = run, code

    def stop_all(self) -> None:
        """This process ends."""
        self._ending = True

    def check(self) -> None:
        """Return if the work is to go on.

        Raises ``Interrupted`` STOPPED_BY_COORDINATOR or SITE_ENDING; ``Refused`` STOPPED, which a site says itself.
        """
        run, code = self._stopped
        if run and run == self._run:
            what, hint = "the run was stopped while a step was at work", "what was started stays charged"
            raise Refused(code, what, hint) if code == ORDERED else Interrupted(code, what, hint)
        if self._ending:
            raise Interrupted(
                ENDING, "this site's process was told to end while a step was at work", "start it again to go on"
            )
