"""A site's machine is set up by two commands at each end, and no private key is in what travels."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import pytest

from sekisho.governance.signing.keys import NO_KEY_YET, demo_key

from ..federation import study_folder
from ..federation.command import sekisho_here

Capture = pytest.CaptureFixture[str]
SITE = study_folder.SITES[0]


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return study_folder.build(tmp_path_factory.mktemp("enrol") / "study")


@pytest.fixture
def study(signed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(signed, tmp_path / "study"))


def private(path: Path) -> bytes:
    """The lines of a key file that nobody else may have."""
    return b"".join(line for line in path.read_bytes().splitlines() if not line.startswith(b"-"))


def test_only_a_request_and_certificates_travel_and_all_keys_stay(study: Path, tmp_path: Path, capsys: Capture) -> None:
    coordinator = Path(shutil.copytree(study, tmp_path / "coordinator"))
    host = ("coordinator", "enrol", "--host", "coordinator.example", "--study", coordinator, "--json")
    assert sekisho_here(capsys, *host).exit == 0
    told = sekisho_here(capsys, "site", "enrol", SITE, "--study", study, "--json").told
    assert told["key_made"] is False  # a demo's is there
    request = Path(told["request"])
    state = study / "sites" / SITE / "state"
    key = state / "flare" / "startup" / "client.key"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (state, state / "flare", key)] == [0o700, 0o700, 0o600]
    done = sekisho_here(capsys, "coordinator", "admit", request, "--study", coordinator, "--json")
    assert done.exit == 0, done
    bundle = Path(done.told["bundle"])
    installed = sekisho_here(capsys, "site", "enrol", SITE, "--study", study, "--bundle", bundle, "--json")
    assert installed.told["installed"] is True
    assert (state / "flare" / "startup" / "client.crt").exists()
    # neither the TLS key nor any of the coordinator's left its folder
    secrets = [private(key), *(private(path) for path in (coordinator / "coordinator" / "state").rglob("*.key"))]
    assert len(secrets) >= 3
    for travelled in (request, bundle):
        data = travelled.read_bytes().replace(b"\\n", b"")
        assert not [secret for secret in secrets if secret in data]
    # asked once more, the key is the same one: its certificate goes on
    before = key.read_bytes()
    sekisho_here(capsys, "site", "enrol", SITE, "--study", study, "--json")
    assert key.read_bytes() == before


def test_a_bundle_is_for_one_site_and_from_the_rosters_coordinator(
    study: Path, tmp_path: Path, capsys: Capture
) -> None:
    sekisho_here(capsys, "coordinator", "enrol", "--host", "coordinator.example", "--study", study, "--json")
    sekisho_here(capsys, "site", "enrol", SITE, "--study", study, "--json")
    request = study / "enrolment" / f"{SITE}.request"
    bundle = Path(sekisho_here(capsys, "coordinator", "admit", request, "--study", study, "--json").told["bundle"])
    other = study_folder.SITES[1]
    sekisho_here(capsys, "site", "enrol", other, "--study", study, "--json")
    told = sekisho_here(capsys, "site", "enrol", other, "--study", study, "--bundle", bundle, "--json").told
    assert (told["code"], told["exit"]) == ("ENGINE_SITE", 3)
    changed = json.loads(bundle.read_bytes())
    changed["paper"]["host"] = "somebody-else.example"
    forged = tmp_path / "forged.bundle"
    forged.write_text(json.dumps(changed), "utf-8")
    told = sekisho_here(capsys, "site", "enrol", SITE, "--study", study, "--bundle", forged, "--json").told
    assert (told["code"], told["exit"]) == ("ENGINE_PAPER_FORGED", 3)
    long = tmp_path / "long.bundle"
    long.write_bytes(b" " * (1 << 20) + b"{}")
    told = sekisho_here(capsys, "site", "enrol", SITE, "--study", study, "--bundle", long, "--json").told
    assert (told["code"], told["exit"]) == ("BUNDLE_TOO_LONG", 2)


def test_an_authority_is_made_at_the_coordinators_alone_and_a_second_time_says_what_it_changes(
    study: Path, capsys: Capture
) -> None:
    words = ("coordinator", "enrol", "--study", study, "--host")
    first = sekisho_here(capsys, *words, "coordinator.example")
    assert first.exit == 0 and "admit each of them again" not in first.out
    same = sekisho_here(capsys, *words, "coordinator.example")
    assert "authority is the one of before" in same.out and "admit each of them again" not in same.out
    other = sekisho_here(capsys, *words, "192.0.2.10", "--port", "8003")
    assert "sites that were admitted still connect to coordinator.example:8002: admit each of them again" in other.out
    for key in (study / "keys").glob("coordinator.*key"):
        key.unlink()
    told = sekisho_here(capsys, *words, "coordinator.example", "--json").told
    assert (told["code"], told["exit"]) == ("KEY_MISSING", 3)
    assert "machine of 'coordinator'" in told["hint"]


def test_a_site_makes_its_signing_key_while_the_roster_still_waits_for_others(
    study: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    roster = study / "roster.yaml"
    text = roster.read_text("utf-8").replace("demo: true", "demo: false")
    for site in study_folder.SITES:
        text = text.replace(demo_key(site).public.to_text(), NO_KEY_YET)
    roster.write_text(text, "utf-8")
    shutil.rmtree(study / "keys")
    words = ("site", "enrol", SITE, "--study", study, "--json")
    told = sekisho_here(capsys, *words).told
    assert (told["code"], told["exit"]) == ("KEY_LOCKED", 3)  # no passphrase, no key
    monkeypatch.setenv("SEKISHO_PASSPHRASE", "four words kept apart")
    told = sekisho_here(capsys, *words).told
    assert told["key_made"] is True and told["public"] in roster.read_text("utf-8")
    assert stat.S_IMODE((study / "keys" / f"{SITE}.key").stat().st_mode) == 0o600
    assert roster.read_text("utf-8").count(NO_KEY_YET) == len(study_folder.SITES) - 1
    assert sekisho_here(capsys, *words).told["key_made"] is False  # once
