"""The files that NVIDIA FLARE's processes are started with, and how they are started.

    coordinator/state/flare/          the CA, and an administrator's kit in admin/, the server's in server/
    sites/<id>/state/flare/           a site's client kit

A kit is FLARE's workspace: ``startup/`` with addresses, key and certificates, ``local/`` with what may be done there
(policies.py). Each private key is made where it is used and stays there; no key here is a roster key.

Order of calls: ``coordinator_kit`` once; ``site_request`` at a site → ``issue`` at the coordinator's → ``site_kit`` at
the site (papers of enrolment.py, carried by people); then ``server_command`` and ``client_command`` for who supervises.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ...governance.signing.keys import SigningKey
from ...governance.signing.roster import Roster
from ..errors import BadInputError, Refused
from ..parties import make_private_folder
from .certificates import authority, check_vouched, new_key, request, requested_key, to_pem, vouch
from .enrolment import HOST, Bundle, Request, read_paper, write_paper
from .policies import (
    ADMIN,
    ADMIN_ROLE,
    SERVER,
    admin_resources,
    admin_startup,
    authorization,
    client_startup,
    logging_config,
    server_resources,
    server_startup,
    site_resources,
)

PORT = 8002  # FLARE's own
SOCKET = "SEKISHO_ENGINE_SOCKET"  # what controller.py and executor.py read
# Of the starter's environment, what Python and FLARE need to find themselves and to write as it does.
PASSED_ON = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "LANG", "LC_ALL", "TZ", "TMPDIR")
NAMES_OF_FLARE = frozenset({"server", "admin", "relay"})  # what FLARE calls its own ends of a connection


@dataclass(frozen=True)
class Command:
    """A process to supervise: restart it when it ends, with a growing pause. ``env`` is its whole environment.

    It starts processes of its own for the job: run it as the leader of a group, and signal the group.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path


def address_of(folder: Path) -> tuple[str, int] | None:
    """Where sites reach the server whose kit lies in ``folder`` (coordinator/state/flare); None where none does."""
    path = folder / "server" / "startup" / "fed_server.json"
    if not path.exists():
        return None
    where = json.loads(path.read_bytes())["servers"][0]
    return str(where["admin_server"]), int(where["admin_port"])


def coordinator_kit(folder: Path, *, host: str, port: int = PORT, now: datetime) -> None:
    """Make the federation's CA, the server's kit and the administrator's in ``folder`` (coordinator/state/flare).

    Sites connect to ``host``:``port``, which is all that has to be open. Keys that are there are kept; certificates and
    files are written anew: that is how the server's is renewed before it ends after a year.

    Raises ``BadInputError`` ENGINE_HOST for a host that no site could be told.
    """
    if not re.fullmatch(HOST, host):
        raise BadInputError(
            "ENGINE_HOST",
            "--host is not the name or the address of a machine",
            hint="letters, digits, `.` and `-`, as in hub.example or 192.0.2.10; the port is given with --port",
        )
    make_private_folder(folder)
    ca = authority(folder, now)
    server, admin = folder / "server", folder / "admin"
    for kit, name, role, served in ((server, SERVER, "", host), (admin, ADMIN, ADMIN_ROLE, "")):
        end = "server" if served else "client"
        make_private_folder(kit)
        make_private_folder(kit / "startup")
        make_private_folder(kit / "local")
        key = new_key(kit / "startup" / f"{end}.key")
        certificate = vouch(
            ca, key.public_key(), name=name, organisation="coordinator", role=role, host=served, now=now
        )
        (kit / "startup" / f"{end}.crt").write_bytes(to_pem(certificate))
        (kit / "startup" / "rootCA.pem").write_bytes(to_pem(ca[1]))
    for store in ("jobs", "snapshots"):
        make_private_folder(server / store)
    (admin / "transfer").mkdir(mode=0o700, exist_ok=True)
    _write(server / "startup" / "fed_server.json", server_startup(host, port))
    _write(server / "local" / "resources.json", server_resources(server.absolute()))
    _write_local(server)
    _write(admin / "startup" / "fed_admin.json", admin_startup(host, port))
    _write(admin / "local" / "resources.json", admin_resources())


def site_request(folder: Path, *, study: str, site: str, key: SigningKey) -> bytes:
    """The paper that a site sends to the coordinator, signed with the site's roster key ``key``.

    Its TLS key is made in ``folder`` (sites/<id>/state/flare) where there is none, and stays there.
    """
    if site in NAMES_OF_FLARE or "." in site:
        raise BadInputError(
            "ENGINE_NAME", f"NVIDIA FLARE cannot have a site called '{site}'", hint="a roster with another id is needed"
        )
    make_private_folder(folder)
    make_private_folder(folder / "startup")
    made = new_key(folder / "startup" / "client.key")
    paper = Request(study=study, site=site, csr=request(made, site).decode("ascii"))
    return write_paper(paper, key)


def issue(folder: Path, request: bytes, *, study: str, roster: Roster, key: SigningKey, now: datetime) -> bytes:
    """The paper that goes back: certificates, and where the server is; signed with the coordinator's roster key.

    Raises ``Refused`` where the request is not signed by the site of the roster that it names.
    """
    if claimed_kind(request) != Request.model_fields["kind"].default:
        raise BadInputError(
            "ENGINE_PAPER",
            "this is not a site's request",
            hint="`sekisho site enrol SITE` at the site makes <site>.request: take that file",
        )
    named = claimed_site(request)
    if named not in {party.id for party in roster.sites}:
        raise Refused("ENGINE_SITE", "the request is not one of a site of this roster", hint="is it for this study?")
    asked = read_paper(request, Request, roster.party(named).key, by=named)
    if (asked.study, asked.site) != (study, named):
        raise Refused("ENGINE_SITE", "the request is for another study", hint="requests are made study by study")
    address = address_of(folder)
    if address is None:
        raise no_kit("server")
    ca = authority(folder, now)
    public = requested_key(asked.csr.encode("ascii"), asked.site)
    certificate = vouch(ca, public, name=asked.site, organisation=asked.site, now=now)
    bundle = Bundle(
        study=study,
        site=asked.site,
        certificate=to_pem(certificate).decode("ascii"),
        ca=to_pem(ca[1]).decode("ascii"),
        host=address[0],
        port=address[1],
    )
    return write_paper(bundle, key)


def site_kit(
    folder: Path, bundle: bytes, *, study: str, site: str, roster: Roster, now: datetime
) -> tuple[str, int]:
    """Install what came back; where the server is. Raises ``Refused`` where the coordinator did not sign it for us."""
    # 1. the coordinator of this roster signed it, for this study and this site
    if claimed_kind(bundle) == Request.model_fields["kind"].default:
        raise BadInputError(
            "ENGINE_PAPER",
            "this is a site's request, and not what the coordinator sent back",
            hint="`sekisho coordinator admit` at the coordinator's makes <site>.bundle of it",
        )
    told = read_paper(bundle, Bundle, roster.coordinator.key, by=roster.coordinator.id)
    if (told.study, told.site) != (study, site):
        raise Refused(
            "ENGINE_SITE",
            f"the bundle is for the site '{told.site}' of the study '{told.study}', and this is '{site}' of '{study}'",
            hint="take the file that was sent to you: each site has its own",
        )
    # 2. its CA vouches for the key that was made here
    startup = folder / "startup"
    key = startup / "client.key"
    if not key.exists():
        raise BadInputError(
            "ENGINE_KEY",
            "the key that the certificate is for is not on this machine",
            hint=f"ask from here: `sekisho site enrol {site}` makes a new request, which the coordinator admits again",
        )
    certificate, ca = told.certificate.encode("ascii"), told.ca.encode("ascii")
    check_vouched(certificate, ca, new_key(key), name=site, now=now)
    # 3. only then is anything written
    make_private_folder(folder / "local")
    (startup / "client.crt").write_bytes(certificate)
    (startup / "rootCA.pem").write_bytes(ca)
    _write(startup / "fed_client.json", client_startup(site, told.host, told.port))
    _write(folder / "local" / "resources.json", site_resources())
    _write_local(folder)
    return told.host, told.port


def claimed_site(request: bytes) -> str:
    """Whose a request says that it is, before that is checked; empty where it says nothing."""
    return _claimed(request, "site")


def claimed_kind(paper: bytes) -> str:
    """What a paper says that it is, before that is checked; empty where it says nothing."""
    return _claimed(paper, "kind")


def _claimed(paper: bytes, name: str) -> str:
    try:
        found = json.loads(paper)
        return str(found["paper"][name])
    except (ValueError, KeyError, TypeError):
        return ""


def server_command(folder: Path, *, socket: Path) -> Command:
    """FLARE's server. ``folder``: coordinator/state/flare; ``socket``: coordinator/state/engine.sock."""
    kit = folder / "server"
    options = ("secure_train=true", "org=coordinator", "config_folder=config")
    return _command("nvflare.private.fed.app.server.server_train", kit, "fed_server.json", options, socket)


def client_command(folder: Path, *, site: str, socket: Path) -> Command:
    """FLARE's client. ``folder``: sites/<id>/state/flare; ``socket``: sites/<id>/state/engine.sock."""
    options = ("secure_train=true", f"uid={site}", f"org={site}", "config_folder=config")
    return _command(f"{__package__}.site_process", folder, "fed_client.json", options, socket)


def started_with(socket: Path | None = None) -> dict[str, str]:
    """The environment of a process of FLARE's: little of ours, and where the socket is."""
    env = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    if "PYTHONPATH" in env:  # its processes run in folders of their own
        env["PYTHONPATH"] = os.pathsep.join(os.path.abspath(path) for path in env["PYTHONPATH"].split(os.pathsep))
    env |= {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    return env if socket is None else {**env, SOCKET: str(socket.absolute())}


def _command(module: str, kit: Path, startup: str, options: tuple[str, ...], socket: Path) -> Command:
    if not (kit / "startup" / startup).exists():
        raise no_kit("server" if startup == "fed_server.json" else "client")
    kit = kit.absolute()
    argv = (sys.executable, "-u", "-m", module, "-m", str(kit), "-s", startup, "--set", *options)
    return Command(argv, started_with(socket), kit)


def no_kit(end: str) -> BadInputError:
    """Nobody has enrolled here; ``end``: server or client."""
    words = "coordinator enrol --host NAME" if end == "server" else "site enrol SITE"
    return BadInputError(
        "ENGINE_KIT",
        f"this machine is not enrolled: there is no kit of NVIDIA FLARE's {end}",
        hint=f"enrol first: `sekisho {words} --study FOLDER`; step by step in docs/deploy.md",
    )


def _write_local(kit: Path) -> None:
    _write(kit / "local" / "authorization.json", authorization())
    _write(kit / "local" / "log_config.json", logging_config())


def _write(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
