"""The job that is the pipe: the files with which it is submitted, and whether a job is it.

Not here: submitting it (jobs.py), and starting its processes (launcher.py), which asks ``amiss`` at every machine.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .policies import CONTROLLER, EXECUTOR

CONFIG = "config/config_fed_{}.json"
SIGNATURES = ".__nvfl_"  # what FLARE puts beside a job's files when they are submitted
LONGEST_CONFIG = 64 * 1024  # ours are three hundred bytes
LAUNCHER = "launcher_spec"  # FLARE's key for how a job is to be started


def job_files(sites: tuple[str, ...], name: str) -> dict[str, dict[str, Any]]:
    """The job, by path: one controller at the server, one executor at each of ``sites``; no code, no arguments."""
    filters: dict[str, Any] = {"task_data_filters": [], "task_result_filters": [], "components": []}
    return {
        "meta.json": {
            "name": name,
            "resource_spec": {},
            "min_clients": 1,  # who connects later is in the next job, which takes this one's place
            "deploy_map": {"app": ["server", *sites]},
        },
        "app/config/config_fed_server.json": {
            "format_version": 2,
            "workflows": [{"id": "relay", "path": CONTROLLER, "args": {}}],
            **filters,
        },
        "app/config/config_fed_client.json": {
            "format_version": 2,
            "executors": [{"tasks": ["none"], "executor": {"path": EXECUTOR, "args": {}}}],
            **filters,
        },
    }


def amiss(app: Path, meta: dict[str, Any]) -> str:
    """What makes the job whose files lie in ``app`` another than the pipe; empty where nothing does."""
    # 1. how it is to be started is not the job's to say
    if meta.get(LAUNCHER):
        return "says how it is to be started"
    # 2. it brings its two files and no other
    allowed = {CONFIG.format(end) for end in ("client", "server")}
    for path in app.rglob("*"):
        name = path.relative_to(app).as_posix()
        known = name == "config" if path.is_dir() else name in allowed or path.name.startswith(SIGNATURES)
        if path.is_symlink() or not known:
            return "brings files of its own"
    # 3. and they say what ours say
    ours = job_files((), "")
    for end in ("client", "server"):
        file = app / CONFIG.format(end)
        if not file.is_file() or file.stat().st_size > LONGEST_CONFIG:
            return "lacks a file"
        try:
            said = json.loads(file.read_bytes())
        except ValueError:
            return "has a file that cannot be read"
        if said != ours[f"app/{CONFIG.format(end)}"]:
            return "says other things"
    return ""
