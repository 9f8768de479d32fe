"""A hostile server that lets the check see the pipe and has another job started: FLARE's own deployer and executor."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zipfile import ZipFile

import pytest
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.workspace import Workspace
from nvflare.app_common.job_launcher import process_launcher
from nvflare.private.fed.client import client_executor
from nvflare.private.fed.client.client_executor import JobExecutor

from sekisho.core.flare.launcher import SiteDeployer, SiteLauncher
from sekisho.core.flare.pipe_job import job_files

SITE = "alpha"
PIPE, OTHER = "job-that-is-the-pipe", "job-that-is-another"


def app(word: str = "") -> bytes:
    """A job's application as the server sends it; ``word`` is one more than the pipe says."""
    data = io.BytesIO()
    with ZipFile(data, "w") as written:
        for path, value in job_files((SITE,), "pipe").items():
            if path.startswith("app/"):
                said = {**value, word: "this"} if word else value
                written.writestr(path.removeprefix("app/"), json.dumps(said))
    return data.getvalue()


class Machine:
    """FLARE's client at a site, as far as a job's start goes; ``started``: the words of each process."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for part in ("startup", "local"):
            (folder / part).mkdir(parents=True)
        self.workspace = Workspace(str(folder), SITE)
        self.launcher, self.deployer = SiteLauncher(), SiteDeployer()
        self.started: list[list[str]] = []

        def spawned(argv: list[str], env: dict[str, str]) -> Any:
            self.started.append(argv)
            return SimpleNamespace(terminate=lambda: None, poll=lambda: 0, wait=lambda: None)

        monkeypatch.setattr(process_launcher, "spawn_process", spawned)
        monkeypatch.setattr(client_executor, "get_job_launcher", lambda meta, context: self.launcher)
        monkeypatch.setattr(JobExecutor, "_wait_child_process_finish", lambda *words: None)

    def deploy(self, job: str, data: bytes, **meta: Any) -> str | None:
        return self.deployer.deploy(self.workspace, job, {"job_id": job, **meta}, "app", data, FLContext())

    def start(self, job: str, **meta: Any) -> None:
        cell = SimpleNamespace(get_internal_listener_url=lambda: "tcp://localhost:1", get_internal_listener_params=dict)
        client = SimpleNamespace(client_name=SITE, token="t", token_signature="s", ssid="d", cell=cell)
        words = SimpleNamespace(workspace=self.workspace.get_root_dir(), set=[])
        context = FLContext()
        context.set_prop(FLContextKey.WORKSPACE_OBJECT, self.workspace, private=True)
        context.set_prop(FLContextKey.SERVER_CONFIG, [{"service": {"target": "x:1", "scheme": "tcp"}}], private=True)
        context.get_engine = lambda: SimpleNamespace(fire_event=lambda *words: None)  # type: ignore[method-assign]
        JobExecutor(client, "").start_app(client, job, {"job_id": job, **meta}, words, None, "", None, context)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path / "flare", monkeypatch)


def test_control_the_pipe_is_started(machine: Machine) -> None:
    assert machine.deploy(PIPE, app()) is None
    machine.start(PIPE)
    (words,) = machine.started
    assert words[words.index("-n") + 1] == PIPE


def test_a_job_is_not_started_in_the_name_of_the_pipe(machine: Machine) -> None:
    """FLARE takes the job to start from one place of a message, and its description from another."""
    assert machine.deploy(PIPE, app()) is None
    assert machine.deploy(OTHER, app("nvflare_decomposers"), job_id=PIPE) is None
    with pytest.raises(RuntimeError, match="is not the pipe"):
        machine.start(OTHER, job_id=PIPE)
    assert machine.started == []


def test_a_job_is_not_exchanged_between_the_check_and_its_start(machine: Machine) -> None:
    """A process takes seconds until it reads its job; what was checked lies there until then."""
    assert machine.deploy(PIPE, app()) is None
    machine.start(PIPE)
    assert machine.deploy(PIPE, app("nvflare_decomposers"))
    config = Path(machine.workspace.get_app_dir(PIPE)) / "config" / "config_fed_client.json"
    assert "nvflare_decomposers" not in config.read_text("utf-8")


def test_of_two_jobs_of_one_name_at_once_one_is_taken(machine: Machine) -> None:
    together = threading.Barrier(2)
    found: list[str | None] = []

    def sent(data: bytes) -> None:
        together.wait()
        found.append(machine.deploy(PIPE, data))

    sending = [threading.Thread(target=sent, args=(app(word),)) for word in ("", "nvflare_decomposers")]
    for one in sending:
        one.start()
    for one in sending:
        one.join()
    assert sorted(map(bool, found)) == [False, True]


@pytest.mark.parametrize("name", ["startup", "local"])
def test_a_job_does_not_take_the_place_of_the_sites_own_files(machine: Machine, name: str) -> None:
    """A job lies beside the folders of keys and of what may be done here, and FLARE lets it have their names."""
    own = Path(machine.workspace.get_root_dir()) / name / "own"
    own.write_text("", "utf-8")
    assert machine.deploy(name, app())
    assert own.exists()
