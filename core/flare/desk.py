"""FLARE's administrator, in a process of its own: submits the job that is the pipe, looks at it, and aborts it.

The coordinator's process starts it (jobs.py) and never imports FLARE itself: whoever holds the coordinator's key loads
nothing of it. It is asked in lines of JSON on its standard input and answers each with one on its standard output; it
ends when its input does.

Not here: when a job is needed.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from nvflare.fuel.flare_api.flare_api import Session, new_secure_session

LOGIN_SECONDS = 20.0


class Desk:
    """One administrator's session, opened when it is needed and after each trouble anew."""

    def __init__(self, kit: Path, user: str) -> None:
        self._kit = kit
        self._user = user
        self._session: Session | None = None

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """What was asked for, or ``trouble`` in FLARE's words."""
        try:
            if self._session is None:
                self._session = new_secure_session(self._user, str(self._kit), timeout=LOGIN_SECONDS)
            return self._do(self._session, asked)
        except Exception as error:  # noqa: BLE001  this process's outermost boundary: FLARE raises of every kind
            session, self._session = self._session, None
            if session is not None:
                session.api.close()
            return {"trouble": f"{type(error).__name__}: {error}"}

    def _do(self, session: Session, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["do"] == "look":
            info = session.get_system_info()
            heard = {client.name: client.last_connect_time for client in info.client_info}
            return {"clients": heard, "jobs": self._jobs(session) if heard else {}}
        if asked["do"] == "submit":
            return {"job": session.submit_job(asked["folder"])}
        if asked["do"] == "abort":
            session.abort_job(asked["job"])
        return {}

    def _jobs(self, session: Session) -> dict[str, list[str]]:
        """Jobs that clients are in."""
        found: dict[str, list[str]] = {}
        for status in session.get_client_job_status() or []:
            if "job_id" in status:
                found.setdefault(str(status["job_id"]), []).append(str(status["client_name"]))
        return found


def main() -> None:
    """Answer until nobody asks any more; what FLARE prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    desk = Desk(Path(sys.argv[1]), sys.argv[2])
    for line in sys.stdin:
        answers.write(json.dumps(desk.answer(json.loads(line))) + "\n")
        answers.flush()
    os._exit(0)  # FLARE's threads would keep the process for a server that may be gone


if __name__ == "__main__":
    main()
