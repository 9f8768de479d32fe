"""A hostile coordinator, server or administrator: what a site of ours does not do, and what a lax one does.

The server is the attacker's: its own policy lets everything through. Site ``strict`` has our kit; site ``lax`` has
FLARE's freedom, as a positive control: there the attack succeeds, so that it would be seen where it did. Site
``unasked`` is ours but for its list of who may command what: as if the server had left out that it be asked.
"""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sekisho.core.flare.jobs import JobKeeper
from sekisho.core.flare.kits import coordinator_kit, started_with
from sekisho.core.flare.pipe_job import job_files
from sekisho.core.flare.policies import ADMIN, CONTROLLER, EXECUTOR, client_startup
from sekisho.core.flare.refusals import refusal_in

from .flare_processes import FlareProcesses

pytestmark = pytest.mark.proof

PATIENCE = 600.0
ANYTHING = {"format_version": "1.0", "permissions": {"project_admin": "any"}}
FLARE_LAUNCHER = "nvflare.app_common.job_launcher.{0}_process_launcher.{1}ProcessJobLauncher"


def wait_until(true: Callable[[], object], seconds: float = PATIENCE) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.2)


def loosen(kit: Path, end: str) -> None:
    """FLARE's freedom: code from anybody, every class, every command, FLARE's own launcher."""
    local = kit / "local"
    (local / "authorization.json").write_text(json.dumps(ANYTHING), "utf-8")
    resources = json.loads((local / "resources.json").read_text("utf-8"))
    resources["class_allow_list"] = ["*"]
    for component in resources["components"]:
        if component["id"] == "process_launcher":
            component["path"] = FLARE_LAUNCHER.format(end, end.capitalize())
    resources["components"] = [each for each in resources["components"] if each["id"] != "app_deployer"]
    (local / "resources.json").write_text(json.dumps(resources), "utf-8")


class Attacker:
    """Who holds the administrator's kit, and submits what it likes."""

    def __init__(self, processes: FlareProcesses) -> None:
        self.processes = processes
        self.desk = JobKeeper(processes.kit("coordinator"), processes.channel, sites=processes.sites)
        self.jobs = 0

    def submit(self, site: str, files: dict[str, Any]) -> str:
        """One job of ``files`` (path -> JSON value or text) for ``site``: who refuses ends it for others, too."""
        files["meta.json"]["deploy_map"] = {"app": ["server", site]}
        self.jobs += 1
        folder = self.processes.folder / f"attack-{self.jobs}"
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            text = content if isinstance(content, str) else json.dumps(content)
            (folder / path).write_text(text, "utf-8")
        found: list[dict[str, Any]] = []

        def submitted() -> bool:  # a login may take longer than the desk waits for it
            answer = self.desk._ask("submit", folder=str(folder))
            found.extend([] if answer is None else [answer])
            return bool(found)

        wait_until(submitted)
        return str(found[0]["job"])


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlareProcesses]:
    with FlareProcesses(tmp_path_factory.mktemp("hostile"), ("strict", "unasked", "lax")) as made:
        loosen(made.kit("coordinator") / "server", "server")
        loosen(made.kit("lax"), "client")
        (made.kit("unasked") / "local" / "authorization.json").write_text(json.dumps(ANYTHING), "utf-8")
        made.open_channel()
        for party in ("coordinator", "strict", "unasked"):
            made.start(party)
        made.start("lax", module="nvflare.private.fed.app.client.client_train")
        yield made


@pytest.fixture(scope="module")
def attacker(processes: FlareProcesses) -> Iterator[Attacker]:
    made = Attacker(processes)

    def both_connected() -> bool:
        found = made.desk._ask("look")
        return found is not None and len(found["clients"]) == 3

    wait_until(both_connected)
    yield made
    made.desk._close()


def job(client_config: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A job whose clients get ``client_config``, and whose server gets our own class."""
    files: dict[str, Any] = dict(job_files(("strict", "lax"), "attack"))
    files["app/config/config_fed_client.json"] |= client_config
    return {**files, **more}


def executor(path: str, **args: Any) -> dict[str, Any]:
    return {"executors": [{"tasks": ["none"], "executor": {"path": path, "args": args}}]}


def codes(said: str, of: str = "") -> set[str]:
    """Codes of the refusals that an agent reads in the lines of what FLARE's client said that name job ``of``."""
    lines = [line for line in said.splitlines() if of in line]
    return {found.code for found in map(refusal_in, lines) if found is not None}


EVIL = """
import pathlib
from nvflare.apis.executor import Executor
here = pathlib.Path.cwd()
(pathlib.Path({marks!r}) / here.parts[-3]).write_text("ran")
class Evil(Executor):
    def execute(self, *_): ...
"""


def test_a_job_that_brings_code_executes_none_of_it(
    processes: FlareProcesses, attacker: Attacker, tmp_path: Path
) -> None:
    for site in ("strict", "lax"):
        files = job(executor("evil.Evil"))
        files["app/custom/evil.py"] = EVIL.format(marks=str(tmp_path))
        attacker.submit(site, files)
    wait_until((tmp_path / "lax").exists)
    wait_until(lambda: "JOB_BRINGS_CODE" in codes(processes.said("strict")))
    assert not (tmp_path / "strict").exists()


def test_a_job_that_names_any_installed_class_builds_none(
    processes: FlareProcesses, attacker: Attacker, tmp_path: Path
) -> None:
    """FLARE builds what a job names, of whatever package: a process, for one."""
    program = f"import pathlib; (pathlib.Path({str(tmp_path)!r}) / pathlib.Path.cwd().parts[-3]).write_text('ran')"
    evil = executor("subprocess.Popen", args=[sys.executable, "-c", program])
    submitted = [attacker.submit(site, job(evil)) for site in ("strict", "lax")]
    wait_until((tmp_path / "lax").exists)
    wait_until(lambda: "JOB_IS_ANOTHER" in codes(processes.said("strict"), submitted[0]))
    assert not (tmp_path / "strict").exists()


@pytest.mark.parametrize(
    "client_config",
    [
        executor("nvflare.app_common.np.np_trainer.NPTrainer"),
        # a variable of FLARE's that names a module to load: no class, so no list of classes would see it
        {**executor(EXECUTOR), "nvflare_decomposers": "this"},
    ],
    ids=["an executor of FLARE's own", "our executor and a word more"],
)
def test_a_job_that_is_not_the_pipe_to_the_letter_is_not_started(
    processes: FlareProcesses, attacker: Attacker, client_config: dict[str, Any]
) -> None:
    strict, lax = (attacker.submit(site, job(client_config)) for site in ("strict", "lax"))
    wait_until(lambda: f"run={lax}] - client runner started" in processes.said("lax"))
    wait_until(lambda: "JOB_IS_ANOTHER" in codes(processes.said("strict"), strict))
    assert "client runner started" not in processes.said("strict")


def test_no_file_of_a_site_is_read_from_afar(processes: FlareProcesses, attacker: Attacker) -> None:
    """FLARE's client asks for leave only where the server says that it should; so it lacks the command."""
    program = (
        "import sys, json, os\n"
        "from nvflare.fuel.flare_api.flare_api import new_secure_session\n"
        f"s = new_secure_session({ADMIN!r}, sys.argv[1], timeout=30)\n"
        "for site in ('lax', 'strict', 'unasked'):\n"
        "    try: print(site, json.dumps(s.ls_target(site)), flush=True)\n"
        "    except Exception as error: print(site, type(error).__name__, error, flush=True)\n"
        "os._exit(0)"
    )
    kit = processes.kit("coordinator") / "admin"
    done = subprocess.run(
        [sys.executable, "-c", program, str(kit)],
        check=False,
        env=started_with(),
        cwd=kit,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    lines = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    assert "startup" in lines["lax"], done
    assert "startup" not in lines["strict"]
    assert "startup" not in lines["unasked"]
    assert "COMMAND_REFUSED" in codes(processes.said("unasked"))


# --- who answers as the server


def posing(certificate: Path, key: Path, ca: Path) -> tuple[int, list[str], socket.socket]:
    """A TLS server on a free port that shows ``certificate``; what became of each handshake."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(ca))
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(("127.0.0.1", 0))
    outcomes: list[str] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(connection, server_side=True) as shaken:
                    shaken.settimeout(60.0)
                    outcomes.append("talked" if shaken.recv(1) else "left")
            except OSError as error:
                outcomes.append(str(error))

    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()[1], outcomes, listener


@pytest.mark.parametrize("who", ["the server", "another federation", "another site"])
def test_only_the_federations_own_server_is_talked_to(processes: FlareProcesses, tmp_path: Path, who: str) -> None:
    """A site's certificate is of the same authority, and FLARE compares no names of hosts: its purpose refuses it."""
    kit = processes.kit("coordinator") / "server" / "startup"
    ca, shown = kit / "rootCA.pem", (kit / "server.crt", kit / "server.key")
    if who == "another federation":
        coordinator_kit(tmp_path / "other", host="localhost", port=1, now=processes.now)
        other = tmp_path / "other" / "server" / "startup"
        shown = (other / "server.crt", other / "server.key")
    elif who == "another site":
        lax = processes.kit("lax") / "startup"
        shown = (lax / "client.crt", lax / "client.key")
    port, outcomes, listener = posing(*shown, ca)
    startup = processes.kit("strict") / "startup" / "fed_client.json"
    before, out = startup.read_text("utf-8"), tmp_path / "client.out"
    startup.write_text(json.dumps(client_startup("strict", "localhost", port)), "utf-8")
    command = processes.command("strict")
    try:
        with out.open("wb") as written:
            client = subprocess.Popen(
                command.argv,
                env=dict(command.env),
                cwd=command.cwd,
                stdout=written,
                stderr=written,
                start_new_session=True,
            )
        wait_until(lambda: outcomes)
        if who == "the server":
            assert outcomes[0] == "talked"
        else:
            wait_until(lambda: "SERVER_NOT_TRUSTED" in codes(out.read_text("utf-8")))
            assert "talked" not in outcomes
    finally:
        client.kill()
        client.wait()
        listener.close()
        startup.write_text(before, "utf-8")


def test_the_controller_at_the_server_is_ours_alone(processes: FlareProcesses) -> None:
    """Names in jobs are checked letter by letter, so a renamed class would be another job."""
    files = job_files(("strict",), "x")
    assert files["app/config/config_fed_server.json"]["workflows"] == [{"id": "relay", "path": CONTROLLER, "args": {}}]
