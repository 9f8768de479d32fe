"""Lets a job in, at a site or at the server, only where it is the pipe, to the letter.

FLARE's own checks stand beside this one: no code comes with a job, and no class is built that is not allowed. This one
leaves a job no word to say at all: no argument, no variable of FLARE's configuration, no other way to be started. So
what a job can do at a site does not depend on FLARE's list of what is dangerous being complete. What was checked is
what is started: the check is of the job whose process it will be, and nothing takes a job's place once it lies there.

It is loaded by its class path from a kit's resources.json, into the process that FLARE's client or server is. Refusals
go to FLARE's log, from where refusals.py reads them.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.job_def import JobMetaKey
from nvflare.apis.job_launcher_spec import JobHandleSpec, JobProcessArgs
from nvflare.apis.workspace import Workspace
from nvflare.app_common.job_launcher.client_process_launcher import ClientProcessJobLauncher
from nvflare.app_common.job_launcher.server_process_launcher import ServerProcessJobLauncher
from nvflare.private.fed.utils.app_deployer import AppDeployer

from .pipe_job import amiss
from .refusals import NOT_THE_PIPE

LIES_THERE = f"{NOT_THE_PIPE}: a job of this name was taken before"
FLARE_JOB = "-m nvflare.private.fed.app.client.worker_process "


class _PipeOnly:
    """A launcher's ``launch_job`` behind the check."""

    def launch_job(self, job_meta: dict[str, Any], fl_ctx: FLContext) -> JobHandleSpec:
        """Start the process. Raises ``RuntimeError``, by which FLARE ends the job, where it is another."""
        workspace = fl_ctx.get_prop(FLContextKey.WORKSPACE_OBJECT)
        # FLARE's words for the process have the job's id from elsewhere than its description has it
        job = str(fl_ctx.get_prop(FLContextKey.JOB_PROCESS_ARGS)[JobProcessArgs.JOB_ID][1])
        other = str(job_meta.get(JobMetaKey.JOB_ID.value)) != job
        why = "goes by another's name" if other else amiss(Path(workspace.get_app_dir(job)), job_meta)
        if why:
            told = f"{NOT_THE_PIPE}: job {job} {why}"
            logging.getLogger("PipeLauncher").error(told)  # FLARE tells the server, and nobody here
            raise RuntimeError(told)
        return super().launch_job(job_meta, fl_ctx)  # type: ignore[misc]  # FLARE's, which ships no types


class SiteLauncher(_PipeOnly, ClientProcessJobLauncher):  # type: ignore[misc]  # FLARE ships no types
    """At a site, where the job's process is FLARE's without some of its commands (site_job.py)."""

    def get_command(self, job_meta: dict[str, Any], fl_ctx: FLContext) -> str:
        """FLARE's words, with our module for FLARE's."""
        words: str = super().get_command(job_meta, fl_ctx)
        return words.replace(FLARE_JOB, f"-m {__package__}.site_job ", 1)


class SiteDeployer(AppDeployer):  # type: ignore[misc]  # FLARE ships no types
    """At a site: a job that lies there stays as it is, where FLARE would let a server put another in its place while
    its process starts. And FLARE tells a server why it did not take a job, and nobody at the site; this tells its log.
    """

    def __init__(self) -> None:
        super().__init__()
        self._one_at_a_time = threading.Lock()

    def deploy(self, workspace: Workspace, job_id: str, *words: Any, **named: Any) -> str | None:
        """FLARE's answer: a reason, or None."""
        with self._one_at_a_time:
            there = Path(workspace.get_run_dir(job_id)).exists()
            why: str | None = LIES_THERE if there else super().deploy(workspace, job_id, *words, **named)
        if why:
            logging.getLogger("SiteDeployer").error("a job was not taken: %s", why)
        return why


class ServerLauncher(_PipeOnly, ServerProcessJobLauncher):  # type: ignore[misc]  # FLARE ships no types
    """At the coordinator's server."""
