"""A study of one's own from a table to a report, by the command: every person and party signs with a key of their own.

Attacks on the way are refused with a code; what is not signed by those who may is refused by the pilot before anything
is charged. The whole path runs the real pilot on the installed base model, three steps long.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sekisho.core.errors import CoreError, Refused
from sekisho.core.paperwork.paper import open_paper
from sekisho.core.paperwork.signing import add_approval, check_signer
from sekisho.core.site.papers import read_roster, study_approvals
from sekisho.core.study import Study
from sekisho.governance.errors import GovernanceError
from sekisho.governance.signing.keys import NO_KEY_YET, SigningKey, is_encrypted_file
from sekisho.governance.signing.roster import Roster

from ..federation.command import Ended, nothing_charged, one_line
from .own_study import (
    CANARY,
    NAMES,
    PASSPHRASE,
    SITES,
    change,
    draft,
    make_keys,
    run,
    sign,
    sign_all,
    sign_roster,
    signatures,
    table,
)

Patch = pytest.MonkeyPatch
POLICY = "sites/north/policy.yaml"


@pytest.fixture(scope="module", autouse=True)
def passphrase() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEKISHO_PASSPHRASE", PASSPHRASE)
        yield


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drafted; no key, no signature. The run is three steps long, which is decided before anybody signs."""
    folder = tmp_path_factory.mktemp("own")
    draft(folder / "tasting", table(folder))
    change(folder / "tasting" / "study.yaml", "steps: 60", "steps: 3")
    change(folder / "tasting" / "study.yaml", "allowance: 5", "allowance: 1")
    return folder / "tasting"


@pytest.fixture(scope="module")
def accepted(first: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With everybody's key, and a roster that every site has signed."""
    folder = Path(shutil.copytree(first, tmp_path_factory.mktemp("accepted") / "tasting"))
    make_keys(folder)
    sign_roster(folder)
    return folder


@pytest.fixture
def drafted(first: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(first, tmp_path / "tasting"))


@pytest.fixture
def study(accepted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(accepted, tmp_path / "tasting"))


def refused(ended: Ended, code: str, *words: str, exit_code: int = 3) -> None:
    """One sentence, one code, one hint; and nothing of any record."""
    assert ended.exit == exit_code, ended
    assert f"[{code}]" in ended.err, ended.err
    assert "sekisho: hint: " in ended.err
    assert CANARY not in ended.out + ended.err and "lovely" not in ended.out + ended.err
    for word in words:
        assert word in ended.err, ended.err


def pilot(study: Path) -> Ended:
    return run("pilot", study, "--out", study / "out")


# ------------------------------------------------------------------------------------------------ the whole path


@pytest.mark.proof
def test_from_a_table_to_a_report_by_following_the_next_command(drafted: Path) -> None:
    """What `study status` says is typed, until it says pilot; the pilot refuses before, and runs then."""
    typed: list[list[str]] = []
    refusals: list[str] = []
    while True:
        status = run("study", "status", drafted, "--json").told
        words, *after = (command.split() for command in status["next"].split(" && "))
        assert words[0] == "sekisho"
        if after:
            break
        assert not status["ready"]
        if not typed or words[1:3] != typed[-1][1:3]:  # a new kind of command
            before = run("pilot", drafted, "--out", drafted / "out", "--json")
            assert before.exit in (2, 3) and one_line(before.told), before
            refusals.append(before.told["code"])
            assert nothing_charged(drafted)
        assert run(*words[1:], *(["--yes"] if "sign" in words[2] else [])).exit == 0, words
        typed.append(words)
        assert len(typed) < 50
    assert len(typed) == len(NAMES) + len(SITES) + len(signatures())
    assert refusals == ["ROSTER_KEY_NOT_MADE", "SIGNATURE_MISSING", "SIGNATURE_MISSING"]
    assert status["ready"] and all(item["done"] for item in status["items"])
    # every policy is asked before the pilot is begun: signed is not permitted
    (pilot,) = after
    assert words[1:3] == ["legal", "decide"] and pilot[:2] == ["sekisho", "pilot"]
    assert run(*words[1:]).exit == 0
    ended = run(*pilot[1:], "--json")
    assert ended.exit == 0, ended
    (only,) = ended.told["runs"]
    assert only["method"] == "probe" and 0.4 < only["result"]["auc"] <= 1
    out = drafted / "out"
    assert {"report.html", "summary.json", "adapter", "evidence.zip", "sites"} <= {path.name for path in out.iterdir()}
    root = Roster.parse((drafted / "roster.yaml").read_bytes(), "roster.yaml").fingerprint
    assert run("compliance", "verify", out / "evidence.zip", "--root", root).exit == 0
    assert CANARY not in (out / "report.html").read_text("utf-8") + ended.out + ended.err


# ------------------------------------------------------------------------------------------------ keys


def test_a_key_is_locked_private_and_written_into_the_roster_alone(drafted: Path) -> None:
    before = (drafted / "roster.yaml").read_text("utf-8")
    told = run("study", "key", "north-it", "--study", drafted, "--json").told
    path = drafted / "keys" / "north-it.key"
    assert is_encrypted_file(path) and path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert SigningKey.load(path, PASSPHRASE.encode()).public.to_text() == told["public"]
    after = (drafted / "roster.yaml").read_text("utf-8")
    changed = [(old, new) for old, new in zip(before.split("\n"), after.split("\n"), strict=True) if old != new]
    assert changed == [(f'    keys: ["{NO_KEY_YET}"]', f'    keys: ["{told["public"]}"]')]
    assert after.split(told["public"])[0].rstrip().endswith('keys: ["') and "north-it" in after.split(told["public"])[0]


def test_a_roster_that_people_rewrote_keeps_their_words(drafted: Path) -> None:
    path = drafted / "roster.yaml"
    text = path.read_text("utf-8").replace(f'["{NO_KEY_YET}"]', f"[{NO_KEY_YET}]").replace("\n", "\r\n")
    path.write_text("# ours\r\n" + text, "utf-8", newline="")
    make_keys(drafted)
    read = Roster.parse(path.read_bytes(), "roster.yaml")
    assert {person.pseudonym for person in read.people} | {party.id for party in read.parties} == set(NAMES)
    data = path.read_bytes()
    assert data.startswith(b"# ours\r\n") and data.count(b"\r\n") == data.count(b"\n")


def test_a_key_is_never_made_twice_nor_for_a_stranger(drafted: Path, monkeypatch: Patch) -> None:
    make_keys(drafted, ["owner"])
    kept = (drafted / "keys" / "owner.key").read_bytes()
    refused(run("study", "key", "owner", "--study", drafted), "KEY_IN_ROSTER")
    own = SigningKey.load(drafted / "keys" / "owner.key", PASSPHRASE.encode()).public.to_text()
    change(drafted / "roster.yaml", own, NO_KEY_YET)
    refused(run("study", "key", "owner", "--study", drafted), "KEY_EXISTS", exit_code=2)
    assert (drafted / "keys" / "owner.key").read_bytes() == kept
    refused(run("study", "key", "mallory", "--study", drafted), "NAME_UNKNOWN")
    monkeypatch.setenv("SEKISHO_PASSPHRASE", "short")
    refused(run("study", "key", "study-it", "--study", drafted), "PASSPHRASE_SHORT", exit_code=2)
    monkeypatch.delenv("SEKISHO_PASSPHRASE")
    refused(run("study", "key", "study-it", "--study", drafted), "KEY_LOCKED", "SEKISHO_PASSPHRASE_STUDY_IT")
    assert not (drafted / "keys" / "study-it.key").exists()


# ------------------------------------------------------------------------------------------------ signing


def test_what_is_signed_is_shown_and_nothing_is_signed_without_a_yes(study: Path) -> None:
    paper = study / "study.yaml"
    ended = run("legal", "sign", paper, "--role", "legal", "--as", "study-legal")
    refused(ended, "NOT_CONFIRMED", "--yes")
    assert not (study / "study.yaml.dsse.json").exists()
    read = Study.parse(paper.read_bytes(), "study.yaml")
    for shown in (read.digest, read.canonical_digest, read.question.en, "0.75", "epsilon 3.0", "DECIDE"):
        assert shown in ended.out, shown
    japanese = run("legal", "sign", paper, "--role", "legal", "--as", "study-legal", "--language", "ja")
    assert read.question.ja in japanese.out and "署名の有効期限" in japanese.out
    model = run("legal", "sign", study / "base-model.yaml", "--role", "legal", "--as", "study-legal")
    assert "undisclosed" in model.out and read.base_model.digest in model.out
    policy = run("legal", "sign", study / POLICY, "--role", "legal", "--as", "north-legal")
    assert "The system will enforce" in policy.out
    roster = run("site", "sign-roster", "north", "--study", study)
    refused(roster, "ALREADY_SIGNED")


@pytest.mark.parametrize(
    ("paper", "role", "person", "code"),
    [
        ("study.yaml", "legal", "mallory", "PERSON_UNKNOWN"),
        ("study.yaml", "legal", "north", "PERSON_UNKNOWN"),
        ("study.yaml", "legal", "study-it", "ROLE_NOT_HELD"),
        ("study.yaml", "king", "study-it", "ROLE_NOT_HELD"),
        ("study.yaml", "business", "owner", "OWN_REQUEST"),
        (POLICY, "legal", "south-legal", "NOT_ACTING_FOR"),
        (POLICY, "legal", "study-legal", "NOT_ACTING_FOR"),
    ],
)
def test_a_signature_of_somebody_who_may_not_is_refused(
    paper: str, role: str, person: str, code: str, study: Path
) -> None:
    refused(sign(study / paper, role, person), code)
    assert not (study / f"{paper}.dsse.json").exists()


def test_who_signs_in_the_wrong_role_is_told_the_own_role_and_who_signs_in_that_one(study: Path) -> None:
    ended = sign(study / POLICY, "legal", "north-it")
    refused(ended, "ROLE_NOT_HELD", "by the roster 'north-it' signs as IT (it)")
    assert "in the role legal this paper is signed by north-legal" in ended.err and "south-legal" not in ended.err


def test_nobody_signs_twice_or_in_two_roles(study: Path) -> None:
    change(study / "roster.yaml", "roles: [legal]", "roles: [legal, it]")  # study-legal is the first of them
    (study / "roster.yaml.dsse.json").unlink()
    sign_roster(study)
    assert sign(study / "study.yaml", "legal", "study-legal").exit == 0
    refused(sign(study / "study.yaml", "legal", "study-legal"), "ALREADY_SIGNED")
    refused(sign(study / "study.yaml", "it", "study-legal"), "ONE_PERSON_TWO_ROLES")
    assert (study / "study.yaml.dsse.json").read_bytes().count(b"\n") == 1


def test_another_persons_key_and_a_wrong_passphrase_sign_nothing(study: Path, monkeypatch: Patch) -> None:
    other = study / "keys" / "north-legal.key"
    refused(sign(study / "study.yaml", "legal", "study-legal", "--key", other), "KEY_NOT_IN_ROSTER")
    refused(sign(study / "study.yaml", "legal", "study-legal", "--key", study / "none.key"), "KEY_MISSING", exit_code=2)
    wrong = study / "wrong"
    wrong.write_text("another four words entirely", "utf-8")
    wrong.chmod(0o600)
    shutil.copy2(study / "keys" / "study-legal.key", study / "copy.key")
    words = ("--key", study / "copy.key", "--passphrase-file", wrong)
    refused(sign(study / "study.yaml", "legal", "study-legal", *words), "KEY_PASSPHRASE")
    assert not (study / "study.yaml.dsse.json").exists()


def test_a_file_that_changed_since_it_was_shown_is_not_signed(study: Path) -> None:
    now = datetime.now(UTC)
    paper = open_paper(study / "study.yaml")
    roster = read_roster(study, now=now)
    signer = check_signer(paper, roster, person="study-legal", role="legal", now=now)
    change(study / "study.yaml", 'epsilon: "3.0"', 'epsilon: "9.0"')
    key = SigningKey.load(study / "keys" / "study-legal.key", PASSPHRASE.encode())
    with pytest.raises(Refused) as caught:
        add_approval(paper, roster, signer=signer, role="legal", key=key, until=roster.expires, now=now)
    assert caught.value.code == "FILE_CHANGED"
    assert not (study / "study.yaml.dsse.json").exists()


def test_a_clock_that_is_behind_signs_nothing_that_would_not_count(study: Path) -> None:
    """An approval that is older than the same person's no would be passed over: it is not written."""
    now = datetime.now(UTC)
    roster = read_roster(study, now=now)
    with pytest.raises(GovernanceError) as caught:
        read_roster(study, now=roster.expires + timedelta(seconds=1))
    assert caught.value.code == "ROSTER_EXPIRED"
    with pytest.raises((CoreError, GovernanceError)) as early:
        paper = open_paper(study / "study.yaml")
        signer = next(person for person in roster.people if person.pseudonym == "study-legal")
        key = SigningKey.load(study / "keys" / "study-legal.key", PASSPHRASE.encode())
        early_on = roster.created - timedelta(days=1)
        add_approval(paper, roster, signer=signer, role="legal", key=key, until=roster.expires, now=early_on)
    assert early.value.code == "SIGNATURE_NOT_COUNTED"


def test_an_expired_roster_signs_nothing(study: Path) -> None:
    path = study / "roster.yaml"
    expires = path.read_text("utf-8").split('expires: "')[1].split('"')[0]
    created = path.read_text("utf-8").split('created: "')[1].split('"')[0]
    change(path, f'created: "{created}"', 'created: "2025-01-01T00:00:00+00:00"')
    change(path, f'expires: "{expires}"', 'expires: "2025-06-01T00:00:00+00:00"')
    refused(run("site", "sign-roster", "north", "--study", study, "--yes"), "ROSTER_EXPIRED")
    refused(sign(study / "study.yaml", "legal", "study-legal"), "ROSTER_EXPIRED")


def test_people_sign_nothing_before_every_site_has_signed_the_roster(study: Path) -> None:
    path = study / "roster.yaml.dsse.json"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))
    refused(sign(study / "study.yaml", "legal", "study-legal"), "ROSTER_UNSIGNED", "sekisho site sign-roster")


def test_a_record_of_other_weights_is_not_signed(study: Path) -> None:
    path = study / "base-model.yaml"
    digest = path.read_text("utf-8").split("digest: ")[1].split("\n")[0]
    change(path, digest, "sha256:" + "0" * 64)
    refused(sign(path, "legal", "study-legal"), "BASE_MODEL_DIFFERS")


def test_only_papers_of_a_study_are_signed(study: Path, tmp_path: Path) -> None:
    stranger = tmp_path / "letter.txt"
    stranger.write_text("sign here", "utf-8")
    refused(sign(stranger, "legal", "study-legal"), "NOT_A_PAPER", exit_code=2)
    refused(sign(study / "roster.yaml", "legal", "study-legal"), "ROSTER_FIRST", "sign-roster")


# ------------------------------------------------------------------------------------------------ refused pilots


def unsigned(study: Path) -> None:
    pass


def signed_by_legal_alone(study: Path) -> None:
    for paper, role, person in signatures():
        if (paper, role) != ("study.yaml", "it"):
            assert sign(study / paper, role, person).exit == 0


def changed_after_signing(study: Path) -> None:
    sign_all(study)
    change(study / "study.yaml", 'target: "0.75"', 'target: "0.50"')


def signatures_of_another_study(study: Path) -> None:
    sign_all(study)
    path = study / "sites" / "north" / "policy.yaml.dsse.json"
    path.write_bytes((study / "sites" / "south" / "policy.yaml.dsse.json").read_bytes())


def nobody_consents(study: Path) -> None:
    sign_all(study)
    (study / "sites" / "north" / "consent.jsonl").write_bytes(b"")


@pytest.mark.parametrize(
    ("prepare", "code"),
    [
        (unsigned, "SIGNATURE_MISSING"),
        (signed_by_legal_alone, "APPROVALS_MISSING"),
        (changed_after_signing, "APPROVALS_MISSING"),
        (signatures_of_another_study, "POLICY_NOT_SIGNED"),
        (nobody_consents, "CONSENT_MISSING"),
    ],
)
def test_a_study_that_is_not_wholly_signed_is_refused_before_anything_is_charged(
    prepare: Callable[[Path], None], code: str, study: Path
) -> None:
    prepare(study)
    ended = pilot(study)
    refused(ended, code)
    if code != "CONSENT_MISSING":
        assert "sekisho legal sign" in ended.err, "the refusal names the command that mends it"
    assert nothing_charged(study) and not (study / "out" / "report.html").exists()
    status = run("study", "status", study, "--json").told
    assert not status["ready"] and "pilot" not in status["next"]


def test_a_signature_in_a_role_that_is_not_held_does_not_count(study: Path) -> None:
    """Made past the command, with a real key: the study's IT signs as legal."""
    now = datetime.now(UTC)
    roster = read_roster(study, now=now)
    paper = open_paper(study / "study.yaml")
    imposter = next(person for person in roster.people if person.pseudonym == "study-it")
    key = SigningKey.load(study / "keys" / "study-it.key", PASSPHRASE.encode())
    with pytest.raises(Refused) as caught:
        add_approval(paper, roster, signer=imposter, role="legal", key=key, until=roster.expires, now=now)
    assert (caught.value.code, "ROLE_NOT_HELD" in str(caught.value)) == ("SIGNATURE_NOT_COUNTED", True)
    assert sign(study / "study.yaml", "it", "study-it").exit == 0
    assert study_approvals(study, paper.content, roster, now=now + timedelta(seconds=9)) == {  # type: ignore[arg-type]
        "legal": 0, "it": 1, "business": 0,
    }  # fmt: skip


def test_the_pilot_signs_for_nobody_whose_key_it_cannot_open(study: Path, monkeypatch: Patch) -> None:
    sign_all(study)
    # copies are other files, so that nothing of this process is open already
    for party in (*SITES, "coordinator"):
        path = study / "keys" / f"{party}.key"
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
        path.chmod(0o600)
    monkeypatch.delenv("SEKISHO_PASSPHRASE")
    refused(pilot(study), "KEY_LOCKED", "SEKISHO_PASSPHRASE_COORDINATOR")
    monkeypatch.setenv("SEKISHO_PASSPHRASE", PASSPHRASE)
    monkeypatch.setenv("SEKISHO_PASSPHRASE_NORTH", "not the one of north")
    ended = run("pilot", study, "--out", study / "out", "--json")
    assert (ended.exit, ended.told["sites"]["north"]["code"]) == (3, "KEY_PASSPHRASE")
    monkeypatch.delenv("SEKISHO_PASSPHRASE_NORTH")
    (study / "keys" / "north.key").unlink()
    refused(pilot(study), "KEY_MISSING", "sekisho study key north")
    assert nothing_charged(study)


# ------------------------------------------------------------------------------------------------ status


def test_status_says_what_counts_what_does_not_and_what_is_next(study: Path) -> None:
    assert sign(study / "study.yaml", "legal", "study-legal").exit == 0
    items = {item["about"]: item for item in run("study", "status", study, "--json").told["items"]}
    assert items["study.yaml"]["found"].startswith("signed by study-legal (legal); missing: it")
    assert items["study.yaml"]["next"] == [f"sekisho legal sign {study}/study.yaml --role it --as study-it"]
    assert items[POLICY]["next"][0] == f"sekisho legal sign {study}/{POLICY} --role legal --as north-legal"
    change(study / "study.yaml", 'target: "0.75"', 'target: "0.76"')
    items = {item["about"]: item for item in run("study", "status", study, "--json").told["items"]}
    signed, changed = items["study.yaml"]["found"].split("; 1 ")
    assert signed == "signed by nobody; missing: legal, it"
    assert changed.startswith("no longer count: the file changed after they signed (SUBJECT_OTHER)")
    prose = run("study", "status", study).out.splitlines()
    assert len(prose) == len(items) + 3 and prose[-1].startswith("next: sekisho legal sign")


def test_status_shows_a_broken_paper_with_its_line_and_goes_on(study: Path) -> None:
    change(study / POLICY, "type: validity", "type: validitie")
    (study / "base-model.yaml").unlink()
    (study / "sites" / "east" / "records.jsonl.gz").unlink()
    (study / "sites" / "south" / "consent.jsonl").write_bytes(b"")
    (study / "keys" / "coordinator.key").unlink()
    items = {item["about"]: item for item in run("study", "status", study, "--json").told["items"]}
    assert "UNKNOWN_CLAUSE" in items[POLICY]["found"] and f"{POLICY}:" in items[POLICY]["found"]
    assert "FILE_UNREADABLE" in items["base-model.yaml"]["found"]
    for about in ("sites/east", "sites/south", "keys"):
        assert not items[about]["done"] and items[about]["next"], about
    assert items["sites/north"]["done"]


def test_status_of_the_demo_asks_for_nothing() -> None:
    example = Path(__file__).parents[2] / "examples" / "food-quality"
    told = json.loads(run("study", "status", example, "--json").out)
    assert told["ready"], told


# ------------------------------------------------------------------------- folders that somebody else prepared


def test_a_roster_with_another_key_under_the_same_name_shows_itself_before_a_site_signs(drafted: Path) -> None:
    make_keys(drafted)
    honest = run("site", "sign-roster", SITES[0], "--study", drafted)  # shown, and not confirmed: there is no terminal
    roster = Roster.parse((drafted / "roster.yaml").read_bytes(), "roster.yaml")
    stolen = next(person for person in roster.people if "legal" in person.roles)
    change(drafted / "roster.yaml", stolen.keys[0].to_text(), SigningKey.generate().public.to_text())
    swapped = run("site", "sign-roster", SITES[0], "--study", drafted)
    assert honest.exit != 0 and swapped.exit != 0 and not (drafted / "roster.yaml.dsse.json").exists()
    told = [(ended.out + ended.err).splitlines() for ended in (honest, swapped)]
    differing = {line for lines in told for line in lines if line not in told[0] or line not in told[1]}
    assert any(stolen.pseudonym in line for line in differing), differing


@pytest.mark.parametrize("name", ["x;touch${IFS}INJECTED;#", "../../x", "a b"])
def test_a_name_that_is_no_plain_word_becomes_neither_a_command_nor_a_path(drafted: Path, name: str) -> None:
    path = drafted / "roster.yaml"
    text = re.sub(r'pseudonym: "?study-legal"?', lambda _: f"pseudonym: '{name}'", path.read_text("utf-8"))
    assert name in text
    path.write_text(text, "utf-8")
    for words in (("study", "status", drafted), ("study", "key", name, "--study", drafted)):
        ended = run(*words, "--json")
        assert name not in ended.told.get("next", ""), ended
    assert not (drafted / "keys").exists() or not list((drafted / "keys").glob("*"))


def test_a_link_left_where_a_draft_is_written_leads_nowhere(drafted: Path, tmp_path: Path) -> None:
    own = tmp_path / "own-file"
    own.write_text("mine", "utf-8")
    (drafted / "roster.yaml.part").symlink_to(own)
    make_keys(drafted)
    (drafted / "roster.yaml.dsse.json.part").symlink_to(own)
    sign_roster(drafted)
    assert own.read_text("utf-8") == "mine"
    assert not (drafted / "roster.yaml").is_symlink() and not (drafted / "roster.yaml.dsse.json").is_symlink()
