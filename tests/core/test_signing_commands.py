"""`sekisho legal sign` and `legal revoke` as people type them: what is shown, what is asked, what is taken back.

On the small study with demo keys, which need no passphrase. tests/core/test_own_study.py has the way with real ones.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sekisho.core.errors import Refused
from sekisho.core.paperwork.paper import open_paper
from sekisho.core.paperwork.signing import add_approval, check_signer, end_of
from sekisho.core.paperwork.withdrawing import add_no, check_withdrawer
from sekisho.core.site.papers import read_roster
from sekisho.governance.errors import Refused as GovernanceRefused
from sekisho.governance.policy.policy import Policy
from sekisho.governance.policy.signoff import RENDERER, rendering
from sekisho.governance.signing.envelope import Statement, read_envelopes
from sekisho.governance.signing.keys import demo_key

from ..federation import study_folder
from ..federation.command import Ended
from .own_study import run

NAME = "sites/ame/policy.yaml"
LEGAL = ("--role", "legal", "--as", "person-legal")
IT = ("--role", "it", "--as", "person-it")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything signed but ame's policy."""
    folder = study_folder.build(tmp_path_factory.mktemp("signing") / "study")
    (folder / f"{NAME}.dsse.json").unlink()
    return folder


@pytest.fixture
def study(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "study"))


def policy_of(study: Path) -> Policy:
    return Policy.parse((study / NAME).read_bytes(), NAME)


def statements(study: Path, name: str = NAME) -> list[Statement]:
    path = study / f"{name}.dsse.json"
    return [Statement.from_bytes(one.payload) for one in read_envelopes(path.read_bytes(), name=name)]


def amend(study: Path, *changes: tuple[str, str]) -> Policy:
    """The next version of ame's policy, unsigned, beside the one before with its signatures."""
    before, path = policy_of(study), study / NAME
    study_folder.sign_policy(study, "ame")
    earlier = path.parent / "earlier" / f"{before.version}.yaml"
    earlier.parent.mkdir(exist_ok=True)
    shutil.copy(path, earlier)
    shutil.move(f"{path}.dsse.json", f"{earlier}.dsse.json")
    heading = f"version: {before.version + 1}\nsupersedes: {before.bytes_digest}\n"
    text = path.read_text("utf-8").replace(f"version: {before.version}\n", heading)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path.write_text(text, "utf-8")
    return policy_of(study)


def refused(ended: Ended, code: str, *words: str, exit_code: int = 3) -> None:
    assert ended.exit == exit_code and f"[{code}]" in ended.err and "sekisho: hint: " in ended.err, ended
    assert all(word in ended.err for word in words), ended.err


class Keyboard(io.StringIO):
    """A terminal at which these lines are typed."""

    def isatty(self) -> bool:
        return True


def typed(answers: Iterable[str], *words: str | Path) -> Ended:
    return run(*words, keyboard=Keyboard("".join(f"{answer}\n" for answer in answers)))


# ------------------------------------------------------------------------------------------------ what is shown


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_whole_rendering_is_shown_and_its_digest_is_signed(study: Path, language: str) -> None:
    ended = run("legal", "sign", study / NAME, *LEGAL, "--language", language, "--yes")
    assert ended.exit == 0, ended
    policy = policy_of(study)
    assert rendering(policy, "ja" if language == "ja" else "en") in ended.out
    (said,) = statements(study)
    seen = open_paper(study / NAME).shown
    assert seen is not None and said.predicate["shown"] == seen.to_json()
    for told in (policy.bytes_digest, policy.canonical_digest, seen.en, seen.ja, RENDERER):
        assert told in ended.out
    assert said.digests == {policy.bytes_digest, policy.canonical_digest}


@pytest.mark.parametrize(("language", "allowed"), [("en", "What becomes allowed"), ("ja", "新たに許可されるもの")])
def test_a_later_version_is_shown_beside_the_one_before(study: Path, language: str, allowed: str) -> None:
    amend(study, ("max_steps: 120", "max_steps: 200"))
    ended = run("legal", "sign", study / NAME, *LEGAL, "--language", language, "--yes")
    assert ended.exit == 0, ended
    paper = open_paper(study / NAME)
    assert paper.shown is not None and paper.shown.comparison is not None
    assert allowed in ended.out and "G1" in ended.out and paper.shown.comparison in ended.out
    assert statements(study)[0].predicate["shown"]["comparison"] == paper.shown.comparison


@pytest.mark.parametrize(
    ("language", "told"), [("en", "Look again before you sign (clause 8)"), ("ja", "再確認（第8条）")]
)
def test_what_is_doubtful_is_said_before_anybody_signs(study: Path, language: str, told: str) -> None:
    study_folder.change(study / NAME, "unit: subject", "unit: record")
    ended = run("legal", "sign", study / NAME, *LEGAL, "--language", language)
    refused(ended, "NOT_CONFIRMED")
    assert told in ended.out, ended.out[-1500:]


def test_a_later_version_without_the_one_before_is_neither_shown_nor_signed(study: Path) -> None:
    amend(study, ("max_steps: 120", "max_steps: 200"))
    (study / "sites/ame/earlier/1.yaml").unlink()
    refused(run("legal", "sign", study / NAME, *LEGAL, "--yes"), "POLICY_PREDECESSOR_MISSING", "earlier/1.yaml")
    items = {item["about"]: item for item in run("study", "status", study, "--json").told["items"]}
    assert "POLICY_PREDECESSOR_MISSING" in items[NAME]["found"] and items[NAME]["next"]


def test_a_version_before_that_changed_since_it_was_shown_is_not_signed(study: Path) -> None:
    amend(study, ("max_steps: 120", "max_steps: 200"))
    now = datetime.now(UTC)
    paper, roster = open_paper(study / NAME), read_roster(study, now=now)
    signer = check_signer(paper, roster, person="person-legal", role="legal", now=now)
    earlier = study / "sites/ame/earlier/1.yaml"
    study_folder.change(earlier, "max_steps: 120", "max_steps: 200")
    with pytest.raises(GovernanceRefused) as caught:
        add_approval(paper, roster, signer=signer, role="legal", key=demo_key("person-legal"), until=roster.expires,
                     now=now)  # fmt: skip
    assert caught.value.code == "POLICY_PREDECESSOR_OTHER"
    assert not (study / f"{NAME}.dsse.json").exists()


def test_a_study_and_a_base_model_are_signed_without_anything_shown_being_bound(study: Path) -> None:
    for name, role in (("study.yaml", LEGAL), ("study.yaml", IT), ("base-model.yaml", LEGAL)):
        (study / f"{name}.dsse.json").unlink(missing_ok=role == IT)
        if role == IT:
            assert run("legal", "sign", study / name, *LEGAL, "--yes").exit == 0
        ended = run("legal", "sign", study / name, *role, "--yes", "--json")
        assert ended.exit == 0 and ended.told["shown"] is None, ended
        assert all("shown" not in said.predicate for said in statements(study, name))


# ------------------------------------------------------------------------------------------------ what is asked


def test_whoever_signs_types_how_the_digest_begins(study: Path) -> None:
    digits = policy_of(study).bytes_digest.removeprefix("sha256:")[:8]
    for wrong in ("y", "yes", digits[:7], "00000000", ""):
        ended = typed([wrong, "x"], "legal", "sign", study / NAME, *LEGAL)
        assert ended.exit == 3 and "[NOT_CONFIRMED]" in ended.err, (wrong, ended)
    assert not (study / f"{NAME}.dsse.json").exists()
    ended = typed([f" {digits.upper()} "], "legal", "sign", study / NAME, *LEGAL)
    assert ended.exit == 0 and "To sign, type the first 8 digits" in ended.out, ended
    assert len(statements(study)) == 1


def test_the_digest_may_be_typed_as_it_was_told_and_the_question_ends_in_one_colon(study: Path) -> None:
    told = policy_of(study).bytes_digest
    ended = typed([told[: len("sha256:") + 8]], "legal", "sign", study / NAME, *LEGAL)
    assert ended.exit == 0 and "::" not in ended.out, ended


def test_the_last_line_of_signing_and_of_taking_back_is_in_the_language_asked_for(study: Path) -> None:
    ended = run("legal", "sign", study / NAME, *LEGAL, "--yes", "--language", "ja")
    assert ended.out.splitlines()[-1].endswith("署名した。まだ署名のない役割：IT"), ended.out
    ended = run("legal", "revoke", study / NAME, *LEGAL, "--yes", "--language", "ja")
    assert "承認を撤回した。署名を欠く役割：" in ended.out.splitlines()[-1], ended.out


def test_without_a_terminal_nothing_is_signed_but_with_yes(study: Path) -> None:
    refused(run("legal", "sign", study / NAME, *LEGAL), "NOT_CONFIRMED", "--yes")
    assert not (study / f"{NAME}.dsse.json").exists()


# ------------------------------------------------------------------------------------------------ how long it holds


def test_an_approval_holds_through_its_last_day(study: Path) -> None:
    day = (datetime.now(UTC) + timedelta(days=30)).date()
    ended = run("legal", "sign", study / NAME, *LEGAL, "--yes", "--until", day.isoformat())
    end = datetime.combine(day + timedelta(days=1), datetime.min.time(), UTC)
    assert ended.exit == 0 and end.isoformat() in ended.out, ended
    assert statements(study)[0].predicate["expires"] == end.isoformat()
    roster = read_roster(study, now=datetime.now(UTC))
    assert end_of("", roster, now=datetime.now(UTC)) == roster.expires
    exact = "2098-03-31T18:00:00+09:00"
    assert end_of(exact, roster, now=datetime.now(UTC)) == datetime.fromisoformat(exact)


@pytest.mark.parametrize(
    ("until", "code", "exit_code"),
    [
        ("2020-01-31", "UNTIL_PAST", 3),
        ("2100-01-01", "UNTIL_BEYOND_ROSTER", 3),
        ("9999-12-31", "UNTIL_UNREADABLE", 2),
        ("next year", "UNTIL_UNREADABLE", 2),
        ("31.3.2027", "UNTIL_UNREADABLE", 2),
        ("2027-03-31T18:00:00", "UNTIL_UNREADABLE", 2),
    ],
)
def test_an_end_that_is_over_beyond_the_roster_or_no_date_signs_nothing(
    study: Path, until: str, code: str, exit_code: int
) -> None:
    ended = run("legal", "sign", study / NAME, *LEGAL, "--yes", "--until", until)
    refused(ended, code, exit_code=exit_code)
    assert not (study / f"{NAME}.dsse.json").exists()


# ------------------------------------------------------------------------------------------------ what is taken back


def signed(study: Path) -> None:
    for role in (LEGAL, IT):
        assert run("legal", "sign", study / NAME, *role, "--yes").exit == 0


def test_an_approval_that_is_taken_back_is_missing_and_status_says_by_whom(study: Path) -> None:
    signed(study)
    assert run("legal", "decide", study).exit == 0
    ended = run("legal", "revoke", study / NAME, *LEGAL, "--yes", "--json")
    assert ended.exit == 0 and ended.told["missing"] == ["legal"] and ended.told["decision"] == "revoked", ended
    refused(run("legal", "decide", study), "POLICY_NOT_SIGNED", "NOT_AN_APPROVAL, WITHDRAWN")
    status = run("study", "status", study, "--json").told
    item = next(item for item in status["items"] if item["about"] == NAME)
    assert item["found"] == "signed by person-it (it); missing: legal; revoked or rejected by person-legal"
    assert item["next"] == [f"sekisho legal sign {study}/{NAME} --role legal --as person-legal"]
    # a new approval by the same person, and by nobody else, changes that
    assert run("legal", "sign", study / NAME, *LEGAL, "--yes").exit == 0
    assert run("legal", "decide", study).exit == 0


def test_putting_the_older_approval_back_undoes_no_revocation(study: Path) -> None:
    signed(study)
    path = study / f"{NAME}.dsse.json"
    before = path.read_bytes()
    assert run("legal", "revoke", study / NAME, *LEGAL, "--yes").exit == 0
    path.write_bytes(path.read_bytes() + before)
    refused(run("legal", "decide", study), "POLICY_NOT_SIGNED", "WITHDRAWN")


def test_what_is_taken_back_is_shown_and_nothing_is_taken_back_without_a_yes(study: Path) -> None:
    signed(study)
    refused(run("legal", "revoke", study / NAME, *LEGAL), "NOT_CONFIRMED")
    assert typed(["n"], "legal", "revoke", study / NAME, *LEGAL).exit == 3
    assert len(statements(study)) == 2
    ended = typed(["y"], "legal", "revoke", study / NAME, *LEGAL, "--language", "ja")
    assert ended.exit == 0 and "撤回する" in ended.out and policy_of(study).bytes_digest in ended.out, ended


def test_a_no_in_advance_is_heard(study: Path) -> None:
    refused(run("legal", "revoke", study / NAME, *LEGAL, "--yes"), "NOTHING_TO_REVOKE", "--reject")
    assert run("legal", "revoke", study / NAME, *LEGAL, "--yes", "--reject").exit == 0
    assert [said.predicate["decision"] for said in statements(study)] == ["reject"]
    assert all("shown" not in said.predicate for said in statements(study))
    assert run("legal", "sign", study / NAME, *IT, "--yes").exit == 0
    refused(run("legal", "decide", study), "POLICY_NOT_SIGNED", "NOT_AN_APPROVAL")


@pytest.mark.parametrize("words", [("--role", "it", "--as", "person-legal"), ("--role", "legal", "--as", "nobody")])
def test_nobody_speaks_in_anothers_name(study: Path, words: tuple[str, ...]) -> None:
    signed(study)
    ended = run("legal", "revoke", study / NAME, *words, "--yes", "--json")
    assert ended.exit == 3 and ended.told["code"] in {"ROLE_NOT_HELD", "PERSON_UNKNOWN"}
    other = study / "keys" / "person-it.demo.key"
    refused(run("legal", "revoke", study / NAME, *LEGAL, "--yes", "--key", other), "KEY_NOT_IN_ROSTER")
    assert len(statements(study)) == 2


def test_a_no_that_would_not_be_heard_is_not_written(study: Path) -> None:
    signed(study)
    past = datetime.now(UTC) - timedelta(hours=1)
    paper, roster = open_paper(study / NAME), read_roster(study, now=past)
    signer = check_withdrawer(paper, roster, person="person-legal", role="legal", reject=False, now=datetime.now(UTC))
    before = (study / f"{NAME}.dsse.json").read_bytes()
    # a clock that is behind: by the time everybody else has, the approval is the later word
    later = datetime.now(UTC) + timedelta(seconds=1)
    assert add_no(paper, roster, signer=signer, role="legal", key=demo_key("person-legal"), reject=False, now=later)
    (study / f"{NAME}.dsse.json").write_bytes(before)
    with pytest.raises(Refused) as caught:
        add_no(paper, roster, signer=signer, role="legal", key=demo_key("person-legal"), reject=False, now=past)
    assert caught.value.code == "NO_NOT_HEARD"
    assert (study / f"{NAME}.dsse.json").read_bytes() == before


def test_a_study_whose_approval_is_taken_back_is_denied_by_every_site(study: Path) -> None:
    signed(study)
    assert run("legal", "revoke", study / "study.yaml", *IT, "--yes").exit == 0
    ended = run("legal", "decide", study, "--json")
    assert ended.exit == 3 and ended.told["code"] == "STUDY_DENIED"
    codes = {
        result["code"] for decision in ended.told["decisions"].values() for result in decision["results"]
        if not result["passed"]
    }  # fmt: skip
    assert codes == {"APPROVALS_MISSING"}, json.dumps(ended.told)[:500]
