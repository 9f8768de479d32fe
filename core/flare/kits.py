"""The files that NVIDIA FLARE's processes are started with, and how they are started.

    coordinator/state/flare/server/   its server's kit        coordinator/state/flare/admin/   who may submit jobs
    sites/<id>/state/flare/           a site's client kit

Order of calls: ``coordinator_kit`` once; ``site_request`` at a site → ``issue`` at the coordinator's → ``site_kit`` at
the site (papers of enrolment.py, carried by people); then ``server_command`` and ``client_command`` for who supervises.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ...governance.signing.keys import SigningKey
from ...governance.signing.roster import Roster


@dataclass(frozen=True)
class Command:
    """A process to supervise: restart it when it ends, with a growing pause. ``env`` is its whole environment."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path


def coordinator_kit(folder: Path, *, host: str, port: int, now: datetime) -> None:
    """Make the federation's CA, the server's kit and the admin's in ``folder`` (coordinator/state/flare), once.

    Sites connect to ``host``:``port``, which is all that has to be open. What is there already is kept.
    """
    raise NotImplementedError


def site_request(folder: Path, *, study: str, site: str, key: SigningKey) -> bytes:
    """The paper that a site sends to the coordinator, signed with the site's roster key ``key``.

    Its TLS key is made in ``folder`` (sites/<id>/state/flare) where there is none, and stays there.
    """
    raise NotImplementedError


def issue(folder: Path, request: bytes, *, study: str, roster: Roster, key: SigningKey, now: datetime) -> bytes:
    """The paper that goes back: certificates, and where the server is; signed with the coordinator's roster key.

    Raises ``Refused`` where the request is not signed by the roster's site that it names.
    """
    raise NotImplementedError


def site_kit(folder: Path, bundle: bytes, *, study: str, site: str, roster: Roster, now: datetime) -> None:
    """Install what came back. Raises ``Refused`` where it is not signed by the roster's coordinator, or not for us."""
    raise NotImplementedError


def server_command(folder: Path, *, socket: Path) -> Command:
    """FLARE's server; ``folder`` as for ``coordinator_kit``, ``socket`` the coordinator's (coordinator/state/engine.sock)."""
    raise NotImplementedError


def client_command(folder: Path, *, site: str, socket: Path) -> Command:
    """FLARE's client; ``folder`` as for ``site_kit``, ``socket`` the site's (sites/<id>/state/engine.sock)."""
    raise NotImplementedError
