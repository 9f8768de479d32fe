"""docs/deploy.md holds: its commands, exactly as written, lead from an empty folder to a run of sites as services.

Its papers are those of docs/your-data.md, whose first blocks are typed as they stand, too. Twice, as a new site would:
what works once may have left something behind.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from ..core.own_study import CANARY, rows, text_of
from ..federation.command import MAIN, ROOT
from .flare_processes import free_port

GUIDE = (ROOT / "docs" / "deploy.md").read_text("utf-8")
PAPERS = (ROOT / "docs" / "your-data.md").read_text("utf-8").split("## 5. Ask every policy")[0]
NAMES = {"good": "satisfied", "bad": "dissatisfied"}
PORT = "8002"
SECONDS = 1500
SHORT = ("steps: 60", "steps: 3")  # made short before it is signed: the guide is not about how long it trains


def blocks(page: str) -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```$", page, re.S | re.M)


def typed(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Type a script in ``folder``, with `sekisho` on the path; whatever it leaves running is ended."""
    programs = folder / ".programs"
    programs.mkdir(exist_ok=True)
    program = programs / "sekisho"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{MAIN}" "$@"\n', "utf-8")
    program.chmod(0o755)
    with (folder / "out.log").open("w") as out, (folder / "err.log").open("w") as err:
        shell = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", script], cwd=folder, stdout=out, stderr=err, stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={
                **os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / ".namespace"),
                "OMP_NUM_THREADS": "1", "NO_COLOR": "1",
            },
        )  # fmt: skip
        try:
            code = shell.wait(SECONDS)
        finally:
            left = subprocess.run(["pgrep", "-s", str(shell.pid)], capture_output=True, text=True, check=False).stdout
            for process in left.split():
                os.kill(int(process), signal.SIGKILL)
            for mark in folder.glob("**/state/flare.pid"):  # what was supervised by those: groups of their own
                with suppress(ProcessLookupError):
                    os.killpg(int(mark.read_text("ascii")), signal.SIGKILL)
    return subprocess.CompletedProcess(
        script, code, (folder / "out.log").read_text("utf-8"), (folder / "err.log").read_text("utf-8")
    )


@pytest.mark.proof
@pytest.mark.parametrize("time", ["first", "second"])
def test_the_guide_leads_from_an_empty_folder_to_a_run_of_services(time: str, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    content = [
        {"id": row["id"], "customer": row["subject"], "text": row["text"], "label": NAMES[row["label"]]}
        for row in rows(150)
    ]
    (folder / "reviews.csv").write_text(text_of(content, ("id", "customer", "text", "label")), "utf-8")
    draft, *papers = blocks(PAPERS)
    shorter = f"sed -i 's/{SHORT[0]}/{SHORT[1]}/' tasting/study.yaml; grep -q '{SHORT[1]}' tasting/study.yaml"
    guide = "\n".join(blocks(GUIDE))
    assert guide.count(PORT) == 1
    done = typed(folder, "\n".join([draft, shorter, *papers, guide.replace(PORT, str(free_port()))]))
    told = done.stderr + "".join(path.read_text("utf-8", "replace") for path in folder.glob("*/service.log"))
    assert done.returncode == 0, (done.stdout[-1500:], told[-4000:])
    assert "verified: " in done.stdout and "not in this bundle" not in done.stdout
    assert CANARY not in done.stdout + told
    # everything was ended by the guide's own last lines, and nothing of a site lies at the coordinator's
    assert not list((folder / "coordinator" / "sites").iterdir())
    assert "ended by" not in told and told.count("told to end by SIGTERM") == 3
    shutil.rmtree(folder)


def test_every_code_of_the_guide_is_one_of_the_product() -> None:
    product = "".join(
        path.read_text("utf-8") for house in ("core", "governance", "privacy") for path in (ROOT / house).rglob("*.py")
    )
    codes = set(re.findall(r"`([A-Z]+_[A-Z_]+)`", GUIDE))
    assert len(codes) > 10
    for code in codes:
        assert f'"{code}"' in product, code


def test_the_units_and_the_container_start_what_the_guide_says() -> None:
    site, coordinator, container = (
        (ROOT / "deploy" / name).read_text("utf-8")
        for name in ("sekisho-site.service", "sekisho-coordinator.service", "Containerfile")
    )
    assert "sekisho site serve %i --study" in site and "sekisho coordinator serve --study" in coordinator
    assert "sekisho site status" in container and "USER 10001" in container and "sekisho site serve" in container
    for unit in (site, coordinator):
        assert {"Restart=always", "NoNewPrivileges=yes", "ProtectSystem=strict", "UMask=0077"} <= set(unit.splitlines())
        assert re.search(r"^RestartSec=\d+$", unit, re.M)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine")
@pytest.mark.parametrize("name", ["site", "coordinator"])
def test_systemd_accepts_the_unit(name: str, tmp_path: Path) -> None:
    text = (ROOT / "deploy" / f"sekisho-{name}.service").read_text("utf-8")
    unit = tmp_path / f"sekisho-{name}@north.service"
    unit.write_text(text.replace("/opt/sekisho/bin/sekisho", "/bin/true"), "utf-8")
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
