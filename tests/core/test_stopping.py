"""`sekisho legal stop`, `resume`, `stops`: stopping is easy and works when papers are broken; going on is not."""

from __future__ import annotations

import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sekisho.core.site.papers import read_policy, read_roster, read_study
from sekisho.core.site.stops import Stops, read_stops
from sekisho.governance.signing.keys import demo_key

from ..federation import study_folder
from ..federation.command import Ended, sekisho_here
from ..federation.study_folder import SITES, change

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return study_folder.build(tmp_path_factory.mktemp("stopping") / "study")


@pytest.fixture
def study(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "study"))


def stop(capsys: Capture, study: Path, *words: str, role: str = "business", reason: str = "INCIDENT") -> Ended:
    person = ("--as", f"person-{role}", "--role", role, "--reason", reason)
    return sekisho_here(capsys, "legal", "stop", study, *person, "--yes", "--json", *words)


def resume(capsys: Capture, study: Path, role: str, *words: str) -> Ended:
    person = ("--as", f"person-{role}", "--role", role, "--study", study)
    return sekisho_here(capsys, "legal", "resume", *person, "--yes", "--json", *words)


def seen(study: Path, site: str = SITES[0]) -> Stops:
    """What a site sees."""
    now = datetime.now(UTC)
    return read_stops(study, read_roster(study, now=now), read_study(study), read_policy(study, site), now=now)


def test_one_person_stops_and_legal_and_it_go_on(study: Path, capsys: Capture) -> None:
    assert not seen(study).stopped
    ordered = stop(capsys, study)
    assert ordered.exit == 0 and seen(study).stopped
    status = sekisho_here(capsys, "study", "status", study, "--json").told
    assert (status["state"], status["next"]) == ("stopped", f"sekisho legal stops {study}")
    for language, word in (("en", "incident"), ("ja", "事故")):
        assert word in sekisho_here(capsys, "legal", "stops", study, "--language", language).out
    shown = sekisho_here(capsys, "legal", "stops", study, "--json").told
    assert [(one["order"], one["missing"]) for one in shown["orders"]] == [(ordered.told["order"], ["legal", "it"])]
    assert resume(capsys, study, "legal").told["missing"] == ["it"]
    assert seen(study).stopped
    again = resume(capsys, study, "legal")
    assert (again.exit, again.told["code"]) == (3, "ALREADY_SIGNED")
    assert resume(capsys, study, "it").told["missing"] == []
    assert not seen(study).stopped
    assert resume(capsys, study, "it").told["code"] == "STOP_NONE"


def test_the_roles_that_a_sites_policy_names_must_sign_too_at_that_site(study: Path, capsys: Capture) -> None:
    change(study / "sites" / SITES[0] / "policy.yaml", "restart_by: [legal, it]", "restart_by: [legal, it, business]")
    stop(capsys, study)
    assert resume(capsys, study, "legal").told["missing"] == ["it", "business"]
    assert resume(capsys, study, "it").told["missing"] == ["business"]
    assert seen(study).stopped and not seen(study, SITES[1]).stopped
    assert seen(study).restart_roles == {"legal", "it", "business"}
    assert resume(capsys, study, "business").told["missing"] == []
    assert not seen(study).stopped


def test_a_role_without_a_holder_is_not_among_those_that_can_be_demanded(study: Path) -> None:
    change(study / "sites" / SITES[0] / "policy.yaml", "restart_by: [legal, it]", "restart_by: [legal, compliance]")
    assert seen(study).restart_roles == {"legal", "it"}  # and the policy's clause misses compliance then
    assert seen(study).roles == {"legal", "it", "business"}


def test_a_stop_is_possible_when_every_other_paper_is_broken(study: Path, capsys: Capture) -> None:
    for name in ("study.yaml", "base-model.yaml", f"sites/{SITES[0]}/policy.yaml", "roster.yaml.dsse.json"):
        (study / name).write_bytes(b"\xff not a paper")
    change(study / "roster.yaml", "2099-12-31", "2026-11-02")  # and the roster has expired
    ordered = stop(capsys, study)
    assert (ordered.exit, ordered.told["all"]) == (0, True)
    assert len(list((study / "stops").iterdir())) == 1


@pytest.mark.parametrize("exchanged", ["another person", "another key", "no role", "no roster", "nothing"])
def test_an_exchanged_roster_keeps_nobody_from_stopping(study: Path, capsys: Capture, exchanged: str) -> None:
    """A run that is open goes on under the true one, so the people of that one must be able to stop it."""
    path, own = study / "roster.yaml", demo_key("person-business").public.to_text()
    true = path.read_text("utf-8")
    other = demo_key("eve").public.to_text()
    path.write_text(
        {
            "another person": true.replace("pseudonym: person-business", "pseudonym: eve").replace(own, other),
            "another key": true.replace(own, other),
            "no role": true.replace("roles: [business]", "roles: []").replace(", business: 1}", "}"),
            "no roster": "gone",
            "nothing": "",
        }[exchanged],
        "utf-8",
    )
    if exchanged == "another person":
        refused = stop(capsys, study)
        assert (refused.exit, refused.told["code"]) == (3, "PERSON_UNKNOWN") and "--key" in refused.told["hint"]
    ordered = stop(capsys, study, "--key", str(study / "keys" / "person-business.demo.key"))
    assert (ordered.exit, ordered.told["known"]) == (0, exchanged == "no role")
    path.write_text(true, "utf-8")
    assert seen(study).code == "STOPPED"


def test_somebody_who_is_in_an_earlier_roster_alone_stops_without_further_words(study: Path, capsys: Capture) -> None:
    (study / "rosters").mkdir()
    shutil.copy(study / "roster.yaml", study / "rosters" / "1.yaml")
    own = demo_key("person-business").public.to_text()
    change(study / "roster.yaml", own, demo_key("eve").public.to_text())
    change(study / "roster.yaml", "pseudonym: person-business", "pseudonym: eve")
    ordered = stop(capsys, study)
    assert (ordered.exit, ordered.told["known"]) == (0, True)


@pytest.mark.parametrize("language", ["en", "ja"])
def test_a_company_is_told_that_its_own_signature_is_missing(study: Path, capsys: Capture, language: str) -> None:
    """Legal and IT of others have signed the restart of what somebody of one site has stopped."""
    everywhere = f"acts_for: [{', '.join(SITES)}]"
    for where in (f"acts_for: [{SITES[1]}]", f"acts_for: [{SITES[1]}]", f"acts_for: [{SITES[0]}]"):
        change(study / "roster.yaml", everywhere, where)  # legal, it, business
    study_folder.sign_roster(study)
    stop(capsys, study)
    assert resume(capsys, study, "legal").told["missing"] == ["it"]
    ended = resume(capsys, study, "it")
    assert (ended.told["missing"], ended.told["missing_one_of_sites"]) == ([], [[SITES[0]]])
    assert seen(study).stopped
    shown = sekisho_here(capsys, "legal", "stops", study, "--language", language).out
    assert SITES[0] in shown and "person-business" in shown.splitlines()[-2]
    assert resume(capsys, study, "business").told["missing_one_of_sites"] == []
    assert not seen(study).stopped


def test_nobody_signs_a_list_over_one_that_cannot_be_read(study: Path, capsys: Capture) -> None:
    (study / "stops").mkdir()
    (study / "stops" / "list.dsse.json").write_text("x", "utf-8")
    ended = sekisho_here(capsys, "legal", "stops", study, "--sign", "--as", "person-it", "--yes", "--json")
    assert (ended.exit, ended.told["code"]) == (3, "STOP_LIST_UNREADABLE")
    assert (study / "stops" / "list.dsse.json").read_text("utf-8") == "x"


def test_a_stop_of_everything_is_one_of_this_study_too(study: Path, capsys: Capture) -> None:
    assert stop(capsys, study, "--all").told["all"] is True
    assert seen(study).stopped
    change(study / "study.yaml", 'target: "0.60"', 'target: "0.61"')
    assert seen(study).stopped


def test_an_amended_study_is_still_stopped(study: Path, capsys: Capture) -> None:
    stop(capsys, study)
    change(study / "study.yaml", 'target: "0.60"', 'target: "0.61"')
    assert seen(study).stopped


def test_of_two_stops_one_must_be_named(study: Path, capsys: Capture) -> None:
    first = stop(capsys, study).told["order"]
    second = stop(capsys, study, reason="DRILL").told["order"]
    assert resume(capsys, study, "legal").told["code"] == "STOP_UNNAMED"
    name = second.removeprefix("sha256:")[:8]
    for role in ("legal", "it"):
        assert resume(capsys, study, role, name).told["order"] == second
    assert seen(study).stopped
    for role in ("legal", "it"):
        assert resume(capsys, study, role).told["order"] == first
    assert not seen(study).stopped


@pytest.mark.parametrize(
    ("words", "code", "exit_code"),
    [
        (("--as", "nobody", "--role", "legal"), "PERSON_UNKNOWN", 3),
        (("--as", "person-it", "--role", "legal"), "ROLE_NOT_HELD", 3),
        (("--as", "person-it", "--role", "it", "--reason", "Ms Tanaka called"), "REASON_UNKNOWN", 2),
        (("--as", "person-it", "--role", "it", "--key", "{study}/keys/person-legal.demo.key"), "KEY_NOT_IN_ROSTER", 3),
    ],
)
def test_a_stop_that_would_not_count_is_not_written(
    study: Path, capsys: Capture, words: tuple[str, ...], code: str, exit_code: int
) -> None:
    given = [word.format(study=study) for word in words]
    more = [] if "--reason" in given else ["--reason", "INCIDENT"]
    ended = sekisho_here(capsys, "legal", "stop", study, *given, *more, "--yes", "--json")
    assert (ended.exit, ended.told["code"]) == (exit_code, code)
    assert not (study / "stops").exists()


def test_nothing_is_stopped_without_a_yes(study: Path, capsys: Capture) -> None:
    words = ("--as", "person-it", "--role", "it", "--reason", "DRILL")
    assert sekisho_here(capsys, "legal", "stop", study, *words).exit == 3
    assert not (study / "stops").exists()


def test_a_file_of_nobody_known_is_shown_as_a_stop_and_nothing_is_lifted(study: Path, capsys: Capture) -> None:
    stop(capsys, study)
    (study / "stops" / "note.txt").write_text("call me", "utf-8")
    assert sekisho_here(capsys, "legal", "stops", study, "--json").told["unusable"] == "note.txt"
    assert resume(capsys, study, "legal").told["code"] == "STOP_UNREADABLE"
    assert seen(study).code == "STOP_UNREADABLE"


def test_a_person_signs_a_list_of_stops(study: Path, capsys: Capture) -> None:
    assert seen(study).list_age_hours is None
    words = ("--sign", "--as", "person-it", "--yes", "--json")
    assert sekisho_here(capsys, "legal", "stops", study, *words).told["list"] == {"age_hours": 1, "code": ""}
    assert seen(study).list_age_hours == 1
    stop(capsys, study)
    sekisho_here(capsys, "legal", "stops", study, *words)
    next((study / "stops").glob("stop.*")).unlink()
    assert (seen(study).stopped, seen(study).code) == (True, "STOP_ORDER_MISSING")


@pytest.mark.parametrize("language", ["en", "ja"])
def test_decide_says_that_it_takes_a_fresh_list_for_granted(study: Path, capsys: Capture, language: str) -> None:
    ended = sekisho_here(capsys, "legal", "decide", study, "--language", language)
    assert ended.exit == 0
    assert ended.out.splitlines()[-1].startswith("and that the coordinator" if language == "en" else "同じく仮定")
    stop(capsys, study)
    stopped = sekisho_here(capsys, "legal", "decide", study, "--json")
    assert stopped.exit == 3 and stopped.told["code"] == "STUDY_DENIED"


def test_a_command_signs_instead_of_a_key_file(study: Path, capsys: Capture, tmp_path: Path) -> None:
    seed = tmp_path / "sign.py"
    seed.write_text(
        "import sys, base64\nfrom cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey as K\n"
        f"k = K.from_private_bytes(bytes.fromhex('{(study / 'keys/person-it.demo.key').read_text().strip()}'))\n"
        "print(base64.b64encode(k.sign(sys.stdin.buffer.read())).decode())\n",
        "utf-8",
    )
    for path in (study / "keys").glob("person-*"):
        path.unlink()
    assert stop(capsys, study, "--signer", f"{sys.executable} '{seed}'", role="it").exit == 0
    assert seen(study).stopped
    wrong = stop(capsys, study, "--signer", f"{sys.executable} '{seed}'", role="legal")
    assert (wrong.exit, wrong.told["code"]) == (3, "SIGNER_WRONG_KEY")
    both = stop(capsys, study, "--signer", "x", "--key", str(seed))
    assert (both.exit, both.told["code"]) == (2, "SIGNER_AND_KEY")
    assert len(list((study / "stops").iterdir())) == 1


def test_a_roster_is_handed_on_with_the_command(study: Path, capsys: Capture) -> None:
    (study / "rosters").mkdir()
    for end in ("", ".dsse.json"):
        shutil.move(study / f"roster.yaml{end}", study / "rosters" / f"1.yaml{end}")
    old = study_folder.Roster.parse((study / "rosters" / "1.yaml").read_bytes(), "1.yaml")
    text = (study / "rosters" / "1.yaml").read_text("utf-8")
    text = text.replace("version: 1\n", f"version: 2\nsupersedes: {old.fingerprint}\n", 1)
    text = text.replace(demo_key("person-legal").public.to_text(), demo_key("legal-2").public.to_text())
    (study / "roster.yaml").write_text(text, "utf-8")
    demo_key("legal-2").save(study / "keys" / "legal-2.demo.key", None)

    def sign(role: str, *words: str) -> Ended:
        given = ("--as", f"person-{role}", "--role", role, *words)
        return sekisho_here(capsys, "legal", "sign", study / "roster.yaml", *given, "--yes")

    def missing() -> str:
        items = sekisho_here(capsys, "study", "status", study, "--json").told["items"]
        about = [str(item["found"]) for item in items if item["about"] == "roster.yaml"]
        return about[1]  # the first says that the keys are made

    assert missing() == "missing: legal of version 1, it of version 1, legal of version 2, it of version 2"
    shown = sign("it").out
    assert "person person-legal: " in shown and demo_key("legal-2").public.to_text() in shown
    assert missing() == "missing: legal of version 1, legal of version 2"
    assert sign("business").exit == 0  # it may, and nobody needs it
    assert sign("legal").exit == 0
    assert missing() == "missing: legal of version 2"
    assert sign("legal", "--key", str(study / "keys" / "kaze.demo.key")).exit == 3
    assert sign("legal", "--key", str(study / "keys" / "legal-2.demo.key")).exit == 0
    assert missing() == "version 2 follows version 1"
    assert read_roster(study, now=datetime.now(UTC)).version == 2
