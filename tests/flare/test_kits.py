"""Joining the transport: keys that stay, papers that are signed, and kits that allow one thing."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from sekisho.core.errors import BadInputError, CoreError, Refused
from sekisho.core.flare.kits import (
    address_of,
    client_command,
    coordinator_kit,
    issue,
    server_command,
    site_kit,
    site_request,
)
from sekisho.core.flare.link import Link, Port
from sekisho.core.flare.pipe_job import amiss, job_files
from sekisho.core.flare.policies import CONTROLLER, EXECUTOR, authorization
from sekisho.core.flare.refusals import Refusals, refusal_in
from sekisho.governance.canonical import canonical_bytes

from ..governance import roster_chain

STUDY = "study-of-tests"
NOW = datetime(2026, 11, 30, tzinfo=UTC)
ROSTER = roster_chain.roster(sites=("alpha", "beta"))
HUB = roster_chain.key("hub")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "flare"
    coordinator_kit(folder, host="hub.example", port=8002, now=NOW)
    return folder


@pytest.fixture(scope="module")
def alpha(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("alpha") / "flare"


@pytest.fixture(scope="module")
def asked(alpha: Path) -> bytes:
    return site_request(alpha, study=STUDY, site="alpha", key=roster_chain.key("alpha"))


@pytest.fixture(scope="module")
def sent(hub: Path, asked: bytes) -> bytes:
    return issue(hub, asked, study=STUDY, roster=ROSTER, key=HUB, now=NOW)


def install(folder: Path, bundle: bytes, *, site: str = "alpha", study: str = STUDY, now: datetime = NOW) -> None:
    site_kit(folder, bundle, study=study, site=site, roster=ROSTER, now=now)


def refused(error: pytest.ExceptionInfo[CoreError]) -> str:
    return error.value.code


def test_no_private_key_travels_and_none_can_be_read_by_others(
    hub: Path, alpha: Path, asked: bytes, sent: bytes
) -> None:
    assert b"PRIVATE" not in asked + sent
    keys = [*hub.rglob("*.key"), *alpha.rglob("*.key")]
    assert {path.name for path in keys} == {"ca.key", "server.key", "client.key"}
    for path in keys:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_what_came_back_is_installed_and_starts_a_client_with_nothing_of_the_environment(
    alpha: Path, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_STARTER", "x")
    install(alpha, sent)
    command = client_command(alpha, site="alpha", socket=alpha.parent / "engine.sock")
    assert "uid=alpha" in command.argv
    assert command.env["SEKISHO_ENGINE_SOCKET"] == str(alpha.parent / "engine.sock")
    assert "SECRET_OF_THE_STARTER" not in command.env
    assert json.loads((alpha / "startup" / "fed_client.json").read_text("utf-8"))["servers"][0]["service"] == {
        "target": "hub.example:8002",
        "scheme": "tcp",
    }


def test_each_certificate_is_good_for_one_end(hub: Path, alpha: Path, sent: bytes) -> None:
    install(alpha, sent)
    for path, purpose in (
        (hub / "server" / "startup" / "server.crt", ExtendedKeyUsageOID.SERVER_AUTH),
        (hub / "admin" / "startup" / "client.crt", ExtendedKeyUsageOID.CLIENT_AUTH),
        (alpha / "startup" / "client.crt", ExtendedKeyUsageOID.CLIENT_AUTH),
    ):
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        assert list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [purpose]
        assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_a_request_that_the_site_did_not_sign_is_not_answered(hub: Path, tmp_path: Path) -> None:
    forged = site_request(tmp_path / "x", study=STUDY, site="alpha", key=roster_chain.key("beta"))
    with pytest.raises(Refused) as error:
        issue(hub, forged, study=STUDY, roster=ROSTER, key=HUB, now=NOW)
    assert refused(error) == "ENGINE_PAPER_FORGED"


def test_a_site_that_is_not_of_the_roster_is_not_answered(hub: Path, tmp_path: Path) -> None:
    stranger = site_request(tmp_path / "x", study=STUDY, site="gamma", key=roster_chain.key("gamma"))
    with pytest.raises(Refused) as error:
        issue(hub, stranger, study=STUDY, roster=ROSTER, key=HUB, now=NOW)
    assert refused(error) == "ENGINE_SITE"


def test_papers_of_another_study_or_site_are_refused_at_both_ends(hub: Path, alpha: Path, asked: bytes) -> None:
    with pytest.raises(Refused):
        issue(hub, asked, study="another", roster=ROSTER, key=HUB, now=NOW)
    sent = issue(hub, asked, study=STUDY, roster=ROSTER, key=HUB, now=NOW)
    for words in ({"study": "another"}, {"site": "beta"}):
        with pytest.raises(Refused) as error:
            install(alpha, sent, **words)  # type: ignore[arg-type]
        assert refused(error) == "ENGINE_SITE"


def test_a_bundle_of_another_coordinator_is_not_trusted(hub: Path, alpha: Path, asked: bytes) -> None:
    """Whoever can put its own authority here can stand between the site and the server."""
    sent = issue(hub, asked, study=STUDY, roster=ROSTER, key=roster_chain.key("beta"), now=NOW)
    with pytest.raises(Refused) as error:
        install(alpha, sent)
    assert refused(error) == "ENGINE_PAPER_FORGED"


@pytest.mark.parametrize("place", range(40, 1000, 60))
def test_a_changed_paper_is_refused(hub: Path, asked: bytes, place: int) -> None:
    changed = asked[:place] + bytes([asked[place] ^ 1]) + asked[place + 1 :]
    with pytest.raises(CoreError) as error:
        issue(hub, changed, study=STUDY, roster=ROSTER, key=HUB, now=NOW)
    assert refused(error) in {"ENGINE_PAPER", "ENGINE_PAPER_FORGED", "ENGINE_SITE"}


@pytest.mark.parametrize(
    "paper", [b"", b"[]", b"{}", b'{"paper": 1}', b"\xff", b'{"paper": {}, "signature": "zz"}', b"0" * 70_000]
)
def test_what_is_no_paper_is_told_so(hub: Path, alpha: Path, paper: bytes) -> None:
    with pytest.raises(CoreError) as error:
        issue(hub, paper, study=STUDY, roster=ROSTER, key=HUB, now=NOW)
    assert refused(error) in {"ENGINE_PAPER", "ENGINE_SITE"}
    with pytest.raises(BadInputError) as bad:
        install(alpha, paper)
    assert bad.value.code == "ENGINE_PAPER"


def test_a_signed_paper_of_another_form_is_refused(hub: Path, alpha: Path, asked: bytes) -> None:
    body = {**json.loads(asked)["paper"], "role": "project_admin"}
    signature = roster_chain.key("alpha").sign(b"sekisho-enrolment-v1\x00" + canonical_bytes(body)).hex()
    with pytest.raises(BadInputError) as error:
        paper = canonical_bytes({"paper": body, "signature": signature})
        issue(hub, paper, study=STUDY, roster=ROSTER, key=HUB, now=NOW)
    assert error.value.code == "ENGINE_PAPER"


@pytest.mark.parametrize("host", ["", "two words", "hub.example:8002", "https://hub.example", "höb", "h" * 254])
def test_a_host_that_no_site_could_be_told_is_refused_before_anything_is_made(tmp_path: Path, host: str) -> None:
    """It was found out only when a site was admitted, as a defect."""
    with pytest.raises(BadInputError) as error:
        coordinator_kit(tmp_path / "flare", host=host, now=NOW)
    assert error.value.code == "ENGINE_HOST" and error.value.hint
    assert not (tmp_path / "flare").exists() and address_of(tmp_path / "flare") is None


def test_a_file_that_was_mistaken_for_another_is_told_which_is_meant(
    hub: Path, alpha: Path, asked: bytes, sent: bytes, tmp_path: Path
) -> None:
    """A request where a bundle belongs, the other way round, a table, and a bundle where nobody has asked."""
    refusals = []
    for attempt in (
        lambda: install(alpha, asked),
        lambda: issue(hub, sent, study=STUDY, roster=ROSTER, key=HUB, now=NOW),
        lambda: issue(hub, b"id,text\n", study=STUDY, roster=ROSTER, key=HUB, now=NOW),
        lambda: install(alpha, b"id,text\n"),
        lambda: install(tmp_path / "nobody", sent),
    ):
        with pytest.raises(BadInputError) as error:
            attempt()
        refusals.append(error.value)
    assert [one.code for one in refusals] == ["ENGINE_PAPER"] * 4 + ["ENGINE_KEY"]
    assert all(one.hint for one in refusals)
    for one, file in zip(refusals, ("bundle", "request", "request", "bundle"), strict=False):
        assert f"<site>.{file}" in one.hint


def test_a_certificate_for_another_key_or_another_time_is_not_installed(
    alpha: Path, sent: bytes, tmp_path: Path
) -> None:
    site_request(tmp_path / "other", study=STUDY, site="alpha", key=roster_chain.key("alpha"))
    year, days = timedelta(days=366), timedelta(days=2)
    for folder, now in ((tmp_path / "other", NOW), (alpha, NOW + year), (alpha, NOW - days)):
        with pytest.raises(BadInputError) as error:
            install(folder, sent, now=now)
        assert error.value.code == "ENGINE_CERTIFICATE"
    install(alpha, sent, now=NOW - timedelta(hours=1))  # a clock that is an hour behind


def test_a_kit_is_made_again_with_the_keys_that_are_there(hub: Path) -> None:
    before = {path: path.read_bytes() for path in hub.rglob("*.key")}
    coordinator_kit(hub, host="hub.example", port=8002, now=NOW + timedelta(days=300))
    assert {path: path.read_bytes() for path in hub.rglob("*.key")} == before
    certificate = x509.load_pem_x509_certificate((hub / "server" / "startup" / "server.crt").read_bytes())
    assert certificate.not_valid_after_utc == NOW + timedelta(days=665)


@pytest.mark.parametrize("site", ["server", "admin", "a.b"])
def test_a_name_that_flare_keeps_for_itself_is_refused(tmp_path: Path, site: str) -> None:
    with pytest.raises(BadInputError) as error:
        site_request(tmp_path / "x", study=STUDY, site=site, key=HUB)
    assert error.value.code == "ENGINE_NAME"


def test_without_a_kit_nothing_is_started(tmp_path: Path) -> None:
    for command in (
        lambda: server_command(tmp_path, socket=tmp_path / "s"),
        lambda: client_command(tmp_path, site="alpha", socket=tmp_path / "s"),
    ):
        with pytest.raises(BadInputError) as error:
            command()
        assert error.value.code == "ENGINE_KIT"
        assert "enrol" in error.value.hint and "--study" in error.value.hint
    with pytest.raises(BadInputError) as error:  # a request before the coordinator has enrolled
        issue(tmp_path, site_request(tmp_path / "x", study=STUDY, site="alpha", key=roster_chain.key("alpha")),
              study=STUDY, roster=ROSTER, key=HUB, now=NOW)  # fmt: skip
    assert error.value.code == "ENGINE_KIT" and not (tmp_path / "ca.key").exists()


def test_a_site_allows_one_class_and_nobody_commands_it(alpha: Path, hub: Path, sent: bytes) -> None:
    install(alpha, sent)
    for kit, allowed in ((alpha, EXECUTOR), (hub / "server", CONTROLLER)):
        resources = json.loads((kit / "local" / "resources.json").read_text("utf-8"))
        assert resources["class_allow_list"] == [allowed]
        assert resources["class_list_enforcement_mode"] == "enforce"
        assert resources["allow_log_streaming"] is False
        assert json.loads((kit / "local" / "authorization.json").read_text("utf-8")) == authorization()
    (allowed_to,) = authorization()["permissions"].values()
    assert {name for name, who in allowed_to.items() if who != "none"} == {"submit_job", "abort_job", "check_status"}


def test_a_job_brings_no_code_and_no_argument() -> None:
    files = job_files(("alpha", "beta"), "pipe")
    assert set(files) == {"meta.json", "app/config/config_fed_server.json", "app/config/config_fed_client.json"}
    client = files["app/config/config_fed_client.json"]
    assert client["executors"] == [{"tasks": ["none"], "executor": {"path": EXECUTOR, "args": {}}}]


def deployed(folder: Path) -> Path:
    """The files of the pipe as they lie at a site."""
    for path, value in job_files(("alpha",), "pipe").items():
        if path.startswith("app/"):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(json.dumps(value), "utf-8")
    (folder / "app" / ".__nvfl_sig.json").write_text("{}", "utf-8")
    return folder / "app"


def test_the_pipe_is_started(tmp_path: Path) -> None:
    assert amiss(deployed(tmp_path), {"job_id": "x"}) == ""


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda app, client: {**client, "nvflare_decomposers": "this"}, "says other things"),
        (lambda app, client: {**client, "components": [{"path": EXECUTOR}]}, "says other things"),
        (lambda app, client: [(app / "custom").mkdir(), client][1], "brings files of its own"),
        (lambda app, client: [(app / "config" / "x.json").write_text("{}"), client][1], "brings files of its own"),
        (lambda app, client: [(app / "config" / ".__nvfl_x").symlink_to("/etc"), client][1], "brings files of its own"),
        (lambda app, client: [(app / "config" / "config_fed_server.json").unlink(), client][1], "lacks a file"),
        (lambda app, client: None, "says other things"),
    ],
    ids=["variable", "component", "code", "file", "link", "no file", "nothing"],
)
def test_a_job_that_differs_from_the_pipe_is_not_started(tmp_path: Path, change: Any, why: str) -> None:
    app = deployed(tmp_path)
    config = app / "config" / "config_fed_client.json"
    config.write_text(json.dumps(change(app, json.loads(config.read_text("utf-8")))), "utf-8")
    assert amiss(app, {}) == why


def test_how_a_job_is_started_is_not_its_own_to_say(tmp_path: Path) -> None:
    assert amiss(deployed(tmp_path), {"launcher_spec": {"alpha": {"docker": {"image": "x"}}}}) != ""


def test_what_flare_refused_is_heard_once_and_without_its_words() -> None:
    heard = Refusals()
    for _ in range(1000):
        heard.hear("2026-11-30 - SiteDeployer - ERROR - a job was not taken: BYOC not permitted <script>")
    heard.hear("everything is fine")
    assert heard.take() == ("JOB_BRINGS_CODE",)
    assert heard.take() == ()
    found = refusal_in("x is not in allow_list <script>")
    assert found is not None
    assert "script" not in found.sentence


REFUSED_LINE = "x - conn_manager - ERROR - Connector [CH00001 ACTIVE tcp://{}] failed with exception {}: [111] <b>"
MADE_LINE = "x - Connection [CN00002 127.0.0.1:49132 => 127.0.0.1:8002 SSL sekisho-server] is created: PID: 7757"


def test_people_are_told_once_whether_their_site_reaches_the_coordinator_and_why_not(alpha: Path, sent: bytes) -> None:
    install(alpha, sent)
    said: list[str] = []
    link = Link(alpha, said.append)
    for _ in range(100):
        link.hear(REFUSED_LINE.format("hub.example:8002", "ConnectionRefusedError"))
    link.hear(REFUSED_LINE.format("127.0.0.1:4711", "ConnectionRefusedError"))  # a job's process and its parent
    for _ in range(2):
        link.hear(MADE_LINE)
    link.hear(REFUSED_LINE.format("hub.example:8002", "OSError"))
    assert len(said) == 3
    assert "not reached" in said[0] and "coordinator serve" in said[0]
    assert said[1] == "connected to the coordinator's server at hub.example:8002"
    assert "flare.log" in said[2]
    assert not any("<b>" in line for line in said)


def test_a_port_that_another_process_has_is_told_once_and_what_to_do() -> None:
    said: list[str] = []
    port = Port(8002, said.append)
    for _ in range(10):
        port.hear("x - ERROR - Error binding to 127.0.0.1:8002: OSError: [Errno 98] Address already in use")
    assert len(said) == 1 and "port 8002 is taken" in said[0] and "--port" in said[0]
