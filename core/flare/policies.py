"""What NVIDIA FLARE's processes may do at each machine, as the files that they read. Each entry has its reason.

A site lets one class of ours be built and nothing that a job brings with it; the coordinator's server lets one other.
FLARE's own lists would let a job build some eighty classes of FLARE's, among them ones that read files and statistics.

Not here: keys and addresses (certificates.py, kits.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

CONTROLLER = "sekisho.core.flare.controller.RelayController"
EXECUTOR = "sekisho.core.flare.executor.RelayExecutor"
SITE_LAUNCHER = "sekisho.core.flare.launcher.SiteLauncher"
SITE_DEPLOYER = "sekisho.core.flare.launcher.SiteDeployer"
SERVER_LAUNCHER = "sekisho.core.flare.launcher.ServerLauncher"
ADMIN = "coordinator@sekisho"  # who submits the job; FLARE wants names of people to look like mail addresses
ADMIN_ROLE = "project_admin"
SERVER = "sekisho-server"  # the name in the server's certificate, which sites ask for, whatever its host is called
PROJECT = "sekisho"

HEARTBEAT_SECONDS = 600  # FLARE's own: a client that is silent for so long is forgotten, and registers anew
LOG_BYTES = 10 * 1024**2
LOG_FILES = 5


def authorization() -> dict[str, Any]:
    """Who may do what at a site or at the server. Roles that are not named may do nothing."""
    return {
        "format_version": "1.0",
        "permissions": {
            ADMIN_ROLE: {
                "submit_job": f"n:{ADMIN}",  # the pipe is a job, submitted by the coordinator's own process
                "abort_job": f"n:{ADMIN}",  # and ended by it; not "manage_job", which would allow to set how a job logs
                "check_status": f"n:{ADMIN}",  # which clients are connected, and who is in the job
                "byoc": "none",  # no job brings code: all of it is installed at each site
                "clone_job": "none",
                "download_job": "none",
                "operate": "none",  # no restart, no shutdown, no report of a site's environment from afar
                "shell_commands": "none",  # no reading of a site's files from afar
            }
        },
    }


def _resource_manager() -> list[dict[str, Any]]:
    # FLARE starts no job without somebody to ask for resources; these two count no GPU at all
    return [
        {
            "id": "resource_manager",
            "path": "nvflare.app_common.resource_managers.gpu_resource_manager.GPUResourceManager",
            "args": {"num_of_gpus": 0, "mem_per_gpu_in_GiB": 0, "expiration_period": 300},
        },
        {
            "id": "resource_consumer",
            "path": "nvflare.app_common.resource_consumers.gpu_resource_consumer.GPUResourceConsumer",
            "args": {},
        },
    ]


def site_resources() -> dict[str, Any]:
    """resources.json of a site."""
    return {
        "format_version": 2,
        "class_list_enforcement_mode": "enforce",
        "class_allow_list": [EXECUTOR],
        "allow_log_streaming": False,  # a site's log stays at the site
        "client": {"retry_timeout": 30},
        "components": [
            *_resource_manager(),
            {
                "id": "process_launcher",
                "path": SITE_LAUNCHER,  # FLARE's own, behind a check that the job is the pipe
                "args": {},
            },
            # FLARE's own, which says at home, too, what it refuses
            {"id": "app_deployer", "path": SITE_DEPLOYER, "args": {}},
        ],
    }


def server_resources(folder: Path) -> dict[str, Any]:
    """resources.json of the server; what it stores lies in ``folder``, not in a folder that everybody shares."""
    return {
        "format_version": 2,
        "class_list_enforcement_mode": "enforce",
        "class_allow_list": [CONTROLLER],
        "allow_log_streaming": False,  # nor does the server take a site's
        "servers": [
            {
                "admin_storage": "transfer",
                "max_num_clients": 100,  # more than a run may have (95 sites)
                "heart_beat_timeout": HEARTBEAT_SECONDS,
                "admin_timeout": 10.0,
            }
        ],
        "snapshot_persistor": {
            "path": "nvflare.app_common.state_persistors.storage_state_persistor.StorageStatePersistor",
            "args": {
                "uri_root": "/",
                "storage": {
                    "path": "nvflare.app_common.storages.filesystem_storage.FilesystemStorage",
                    "args": {"root_dir": str(folder / "snapshots"), "uri_root": "/"},
                },
            },
        },
        "components": [
            {
                "id": "job_scheduler",
                "path": "nvflare.app_common.job_schedulers.job_scheduler.DefaultJobScheduler",
                "args": {"max_jobs": 2},  # the pipe, and the one before it that is being ended
            },
            {
                "id": "job_manager",
                "path": "nvflare.apis.impl.job_def_manager.SimpleJobDefManager",
                "args": {"uri_root": str(folder / "jobs"), "job_store_id": "job_store"},
            },
            {"id": "job_store", "path": "nvflare.app_common.storages.filesystem_storage.FilesystemStorage"},
            {
                "id": "process_launcher",
                "path": SERVER_LAUNCHER,
                "args": {},
            },
        ],
    }


def logging_config() -> dict[str, Any]:
    """log_config.json: what FLARE says goes to its standard output and to files that do not grow for ever."""
    line = "%(asctime)s - %(name)s - %(levelname)s - %(fl_ctx)s - %(message)s"
    file: dict[str, Any] = {"class": "logging.handlers.RotatingFileHandler", "formatter": "baseFormatter", "mode": "a"}
    file |= {"maxBytes": LOG_BYTES, "backupCount": LOG_FILES}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"baseFormatter": {"()": "nvflare.fuel.utils.log_utils.BaseFormatter", "fmt": line}},
        "handlers": {
            "consoleHandler": {
                "class": "logging.StreamHandler",
                "level": "INFO",
                "formatter": "baseFormatter",
                "stream": "ext://sys.stdout",
            },
            "logFileHandler": {**file, "level": "INFO", "filename": "log.txt"},
            "errorFileHandler": {**file, "level": "ERROR", "filename": "error_log.txt"},
        },
        "loggers": {"root": {"level": "INFO", "handlers": ["consoleHandler", "logFileHandler", "errorFileHandler"]}},
    }


def server_startup(host: str, port: int) -> dict[str, Any]:
    """fed_server.json."""
    return {
        "format_version": 2,
        "servers": [
            {
                "name": PROJECT,
                "service": {"target": f"{host}:{port}", "scheme": "tcp"},
                "admin_server": host,
                "admin_port": port,
                "ssl_private_key": "server.key",
                "ssl_cert": "server.crt",
                "ssl_root_cert": "rootCA.pem",
                "connection_security": "mtls",
            }
        ],
    }


def client_startup(site: str, host: str, port: int) -> dict[str, Any]:
    """fed_client.json."""
    return {
        "format_version": 2,
        "servers": [{"name": PROJECT, "service": {"target": f"{host}:{port}", "scheme": "tcp"}, "identity": SERVER}],
        "client": {
            "ssl_private_key": "client.key",
            "ssl_cert": "client.crt",
            "ssl_root_cert": "rootCA.pem",
            "fqsn": site,
            "is_leaf": True,
            "connection_security": "mtls",
        },
    }


def admin_startup(host: str, port: int) -> dict[str, Any]:
    """fed_admin.json."""
    return {
        "format_version": 1,
        "admin": {
            "project_name": PROJECT,
            "username": ADMIN,
            "server_identity": SERVER,
            "scheme": "tcp",
            "host": host,
            "port": port,
            "connection_security": "mtls",
            "uid_source": "user_input",
            "with_file_transfer": True,
            "upload_dir": "transfer",
            "download_dir": "transfer",
            "client_key": "client.key",
            "client_cert": "client.crt",
            "ca_cert": "rootCA.pem",
        },
    }


def admin_resources() -> dict[str, Any]:
    """resources.json of who submits the job. A session that is idle for long is one that nobody needs."""
    return {
        "format_version": 1,
        "admin": {
            "idle_timeout": 900.0,
            "login_timeout": 30.0,
            "with_debug": False,
            "authenticate_msg_timeout": 10.0,
            "prompt": "> ",
        },
    }
