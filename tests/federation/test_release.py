"""A trained adapter leaves only when everything holds that its study asks for, and is used only while it still does."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import study_folder
from command import codes_logged, log_of
from command import sekisho_here as main
from study_folder import SITES, HashedFeatures, person_key, read_roster

from sekisho.core.conditions import ReleaseTerms
from sekisho.core.data.intake import BaseModelFacts, inspect, locate
from sekisho.core.errors import Refused
from sekisho.core.pilot.federation import Federation
from sekisho.core.pilot.pilot import run_pilot
from sekisho.core.site.candidate import PROVENANCE
from sekisho.core.site.papers import read_study
from sekisho.core.site.publish import publish
from sekisho.core.site.revocations import revoke_released
from sekisho.core.site.revoking import revoke
from sekisho.core.site.site import Site
from sekisho.core.site.use import use
from sekisho.governance.canonical import digest_bytes
from sekisho.governance.errors import Refused as GovernanceRefused
from sekisho.governance.language import Text
from sekisho.governance.provenance.conditions import AuditResult
from sekisho.governance.provenance.provenance import ValidationPart
from sekisho.governance.provenance.release import (
    RECORD,
    ReleaseRecord,
    check_approved,
    read_record,
    release_approvals,
    release_statement,
)
from sekisho.governance.signing.approvals import approval_statement
from sekisho.governance.signing.envelope import (
    PREDICATES,
    Statement,
    Subject,
    read_envelopes,
    sign_statement,
    write_envelopes,
)
from sekisho.governance.signing.keys import demo_key

Capture = pytest.CaptureFixture[str]
DIGEST = "sha256:" + "ab" * 32
CLOSED = "LicenseRef-Food-Quality-Participants-Only"
USE = "internal-quality-triage"
PUBLISHER = "ame"
FILES = {
    "LICENCE", "NOTICE.md", "README.md", "adapter.safetensors", "bom.json", "provenance.dsse.json", "release.dsse.json",
    "release.json",
}  # fmt: skip
SECTION = (
    "release:\n  conditions: [licence, approvals]\n  approvals: {legal: 1, it: 1}\n  valid_days: 30\n"
    "  prohibited_uses: [{en: Judging employees, ja: 従業員の評価}]\n  data_licences: {"
    + ", ".join(f"{site}: LicenseRef-Own-Records" for site in SITES)
    + "}\n"
)


def opened(study: Path) -> Federation:
    return Federation.open(study, features=HashedFeatures())  # type: ignore[arg-type]  # the interface is what counts


# --- each condition, at a site that has trained ----------------------------------------------------------------------


@contextmanager
def after_a_run(study: Path) -> Iterator[Site]:
    federation = opened(study_folder.build(study, steps=2, allowance=1))
    try:
        federation.run("probe")
        yield federation.sites[PUBLISHER]
    finally:
        federation.close()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site after a run, its study open; what a test changes it puts back."""
    with after_a_run(tmp_path_factory.mktemp("trained") / "study") as site:
        yield site


@pytest.fixture
def trained_alone(tmp_path: Path) -> Iterator[Site]:
    """One for a test that releases: a release cannot be put back."""
    with after_a_run(tmp_path / "study") as site:
        yield site


TERMS = ReleaseTerms(
    conditions=("validation", "class-drop", "audit", "licence"),
    class_drop="0.15",  # type: ignore[arg-type]  # as it stands in a file
    data_licences=dict.fromkeys(SITES, "LicenseRef-Own-Records"),
    prohibited_uses=(Text(en="Judging employees.", ja="従業員の評価。"),),
    valid_days=30,
)


def validation(after: int, right: int, *, accepted: bool = True) -> ValidationPart:
    cells = {"no-both": 80, "no-one": 0, "no-neither": 20,
             "yes-both": right, "yes-one": 0, "yes-neither": 100 - right}
    return ValidationPart(after_step=after, cohort=SITES, cells=cells, one_is={"no": "order", "yes": "label"},
                          standard_error="2.0", right="0.8", low="0.75", high="0.85", labels="0.8", labels_low="0.75",
                          labels_high="0.85", accepted=accepted, sum=DIGEST)  # fmt: skip


GOOD: dict[str, object] = {
    "terms": TERMS, "validations": [validation(1, 79), validation(2, 80)], "audit": AuditResult(DIGEST, passed=True),
    "study": {"release_licence": CLOSED},
}  # fmt: skip


def released(site: Site, folder: Path, **changed: object) -> object:
    """``publish`` under these terms and findings."""
    given = {**GOOD, **changed}
    papers, state = site.folder.papers, site.state
    assert state is not None and isinstance(given["study"], dict)
    before = state.validations
    asked = papers.study.model_copy(update={"release": given["terms"], "release_licence": CLOSED, **given["study"]})
    try:
        site.folder.papers = replace(papers, study=asked)
        state.validations = given["validations"]  # type: ignore[assignment]  # a table of findings
        return publish(site, folder, audit=given["audit"])  # type: ignore[arg-type]
    finally:
        site.folder.papers, state.validations = papers, before


def terms(**changed: object) -> dict[str, object]:
    return {"terms": TERMS.model_copy(update=changed)}


def of_data(licence: str) -> dict[str, object]:
    return terms(data_licences={**TERMS.data_licences, "hana": licence})


MISSING: list[tuple[dict[str, object], str]] = [
    ({"study": {"recipients": ("public",)}}, "RECIPIENT_NOT_GRANTED"),
    ({"study": {"downstream_uses": ("resale",)}}, "DOWNSTREAM_USE_NOT_GRANTED"),
    ({"study": {"stage": "production"}}, "STAGE_NOT_GRANTED"),
    ({"validations": []}, "RELEASE_VALIDATION_MISSING"),
    ({"validations": [validation(1, 79), validation(2, 80, accepted=False)]}, "RELEASE_VALIDATION_REJECTED"),
    ({"validations": [validation(1, 79)]}, "RELEASE_VALIDATION_OUTDATED"),
    ({"validations": [validation(1, 95), validation(2, 75)]}, "RELEASE_CLASS_DROP"),
    ({"validations": [validation(2, 80)]}, "RELEASE_CLASS_DROP_UNKNOWN"),
    ({"audit": None}, "RELEASE_AUDIT_MISSING"),
    ({"audit": AuditResult(DIGEST, passed=False)}, "RELEASE_AUDIT_FAILED"),
    ({"study": {"release_licence": "as agreed"}}, "RELEASE_LICENCE_UNKNOWN"),
    (of_data("Proprietary-1.0"), "RELEASE_LICENCE_UNKNOWN"),
    (of_data("CC-BY-ND-4.0"), "RELEASE_LICENCE_NO_DERIVATIVES"),
    (of_data("CC-BY-SA-4.0"), "RELEASE_LICENCE_SHARE_ALIKE"),
    (of_data("CC-BY-NC-4.0"), "RELEASE_LICENCE_NON_COMMERCIAL"),
    (of_data("LicenseRef-CreativeML-OpenRAIL-M"), "RELEASE_LICENCE_RESTRICTIONS"),
    (terms(approvals={"legal": 1}), "RELEASE_APPROVALS_MISSING"),
    (terms(valid_days=0), "RELEASE_EXPIRY"),
]


@pytest.mark.parametrize(("changed", "code"), MISSING)
def test_each_missing_condition_refuses_the_release_by_its_own_code(
    trained: Site, tmp_path: Path, changed: dict[str, object], code: str
) -> None:
    study = trained.folder.study_folder
    before = len(log_of(study, PUBLISHER))
    with pytest.raises((Refused, GovernanceRefused)) as caught:
        released(trained, tmp_path / "out", **changed)
    assert caught.value.code == code and caught.value.hint
    assert not (tmp_path / "out").exists()
    since = log_of(study, PUBLISHER)[before:]
    assert code in next(entry for entry in since if entry["type"] == "release.refused")["data"]["codes"]
    # the gate told nothing, so nothing was handed over
    assert {entry["type"] for entry in since}.isdisjoint({"control.told", "release.published"})


def test_every_code_that_stands_in_the_way_is_in_the_log(trained: Site, tmp_path: Path) -> None:
    with pytest.raises(GovernanceRefused):
        released(trained, tmp_path / "out", validations=[], audit=None)
    last = [entry for entry in log_of(trained.folder.study_folder, PUBLISHER) if entry["type"] == "release.refused"][-1]
    wanted = {"RELEASE_AUDIT_MISSING", "RELEASE_CLASS_DROP_UNKNOWN", "RELEASE_VALIDATION_MISSING"}
    assert set(last["data"]["codes"]) == wanted


def test_two_signatures_of_one_person_are_one_approval(trained: Site, tmp_path: Path) -> None:
    record = read_record_of(trained, tmp_path)
    roster, now = trained.folder.roster, datetime.now(UTC)
    subjects = [Subject(RECORD, digest_bytes(record.to_bytes())), Subject("canonical", record.digest)]
    envelopes = [
        sign_statement(
            approval_statement(roster, role="legal", subjects=subjects, predicate_type=PREDICATES["release-approval"],
                               issued=now - timedelta(minutes=number), expires=now + timedelta(days=1)),
            [person_key("legal")],
        )
        for number in (1, 2)
    ]  # fmt: skip
    counted = release_approvals(roster, record, envelopes, requester=None, now=now)
    with pytest.raises(GovernanceRefused, match="legal"):
        check_approved(record, counted)


def read_record_of(site: Site, tmp_path: Path) -> ReleaseRecord:
    """A record that asks for two people of legal; the roster has one, who signs twice."""
    with pytest.raises(GovernanceRefused):
        released(site, tmp_path / "out", **terms(approvals={"legal": 2}))
    assert site.state is not None
    return read_record((site.folder.candidates / site.state.run / RECORD).read_bytes())


def test_it_is_granted_when_all_hold_and_the_gate_has_told_it(trained_alone: Site, tmp_path: Path) -> None:
    study = trained_alone.folder.study_folder
    before = len(log_of(study, PUBLISHER))
    released(trained_alone, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    since = [entry["type"] for entry in log_of(study, PUBLISHER)[before:]]
    assert "control.told" in since[: since.index("release.published")]
    record = read_record((tmp_path / "out" / RECORD).read_bytes())
    assert {one.outcome for one in record.conditions} == {"passed"} and record.parties == tuple(sorted(SITES))
    notice = (tmp_path / "out" / "NOTICE.md").read_text("utf-8")
    for said in ("cannot be recalled", "回収できない", "Judging employees.", "従業員の評価。", "at most", "0.00001"):
        assert said in notice
    assert CLOSED in (tmp_path / "out" / "LICENCE").read_text("utf-8")


# --- approvals, by the commands --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Candidate:
    """A study whose run is over, and whose release waits for signatures."""

    study: Path
    run: str

    @property
    def paper(self) -> Path:
        return self.study / "sites" / PUBLISHER / "state" / "candidates" / self.run / RECORD


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory) -> Candidate:
    study = study_folder.build(tmp_path_factory.mktemp("waiting") / "study", steps=2, allowance=1)
    study_folder.change(study / "study.yaml", "internal use by the participants", CLOSED)
    with (study / "study.yaml").open("a", encoding="utf-8") as file:
        file.write(SECTION)
    study_folder.sign_study(study)
    federation = opened(study)
    try:
        federation.run("probe", run="probe-1")
        with pytest.raises(GovernanceRefused, match="it, legal"):
            publish(federation.sites[PUBLISHER], study / "out")
        assert not (study / "out").exists()
    finally:
        federation.close()
    return Candidate(study, "probe-1")


@pytest.fixture
def candidate(waiting: Candidate, tmp_path: Path) -> Candidate:
    return Candidate(Path(shutil.copytree(waiting.study, tmp_path / "study")), waiting.run)


def sign(candidate: Candidate, role: str, capsys: Capture) -> None:
    words = ["legal", "sign", candidate.paper, "--role", role, "--as", study_folder.PEOPLE[role], "--yes", "--json"]
    assert main(capsys, *words).exit == 0


def test_it_waits_for_the_approvals_of_the_very_record(candidate: Candidate, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    finish = ["site", "release", PUBLISHER, candidate.run, "--study", candidate.study, "--out", out, "--json"]
    for role in ("legal", "it"):
        ended = main(capsys, *finish)
        assert (ended.exit, ended.told["code"]) == (3, "RELEASE_APPROVALS_MISSING")
        sign(candidate, role, capsys)
    ended = main(capsys, *finish)
    assert ended.exit == 0, ended
    assert {path.name for path in out.iterdir()} == FILES | {"release.json.dsse.json"}
    twice = main(capsys, *finish)
    assert (twice.exit, twice.told["code"]) == (3, "RELEASE_TWICE")
    ended = main(capsys, "site", "use", out, "--site", "hana", "--study", candidate.study, "--json")
    assert ended.exit == 0, ended


def test_one_person_does_not_approve_twice(candidate: Candidate, tmp_path: Path, capsys: Capture) -> None:
    sign(candidate, "legal", capsys)
    again = main(
        capsys, "legal", "sign", candidate.paper, "--role", "legal", "--as", "person-legal", "--yes", "--json"
    )
    assert (again.exit, again.told["code"]) == (3, "ALREADY_SIGNED")
    # nor by hand: the same words in a second envelope, under the other role
    beside = candidate.paper.with_name(RECORD + ".dsse.json")
    beside.write_bytes(beside.read_bytes() * 2)
    ended = main(capsys, "site", "release", PUBLISHER, candidate.run, "--study", candidate.study, "--json")
    assert (ended.exit, ended.told["code"]) == (3, "RELEASE_APPROVALS_MISSING")


def test_a_candidate_that_was_changed_is_not_released(candidate: Candidate, capsys: Capture) -> None:
    sign(candidate, "legal", capsys)
    sign(candidate, "it", capsys)
    notice = candidate.paper.with_name("NOTICE.md")
    notice.write_bytes(notice.read_bytes() + b"x")
    ended = main(capsys, "site", "release", PUBLISHER, candidate.run, "--study", candidate.study, "--json")
    assert (ended.exit, ended.told["code"]) == (3, "RELEASE_CANDIDATE_CHANGED")


def test_a_record_that_asks_for_fewer_signatures_is_not_the_one(candidate: Candidate, capsys: Capture) -> None:
    record = read_record(candidate.paper.read_bytes())
    candidate.paper.write_bytes(record.model_copy(update={"approvals": {}}).to_bytes())
    ended = main(capsys, "site", "release", PUBLISHER, candidate.run, "--study", candidate.study, "--json")
    assert (ended.exit, ended.told["code"]) == (3, "RELEASE_CANDIDATE_CHANGED")


# --- use -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Out:
    """A study, closed, and an adapter that it released."""

    study: Path
    folder: Path
    facts: BaseModelFacts

    def used(self, site: str = "hana", purpose: str = USE, days: float = 0) -> object:
        now = datetime.now(UTC) + timedelta(days=days)
        return use(self.study, site, self.folder, purpose=purpose, base_model=self.facts, clock=lambda: now)

    def refused(self, code: str, site: str = "hana", purpose: str = USE, days: float = 0) -> None:
        with pytest.raises((Refused, GovernanceRefused)) as caught:
            self.used(site, purpose, days)
        assert caught.value.code == code and caught.value.hint
        assert code in codes_logged(self.study, site)
        assert "adapter.used" not in {entry["type"] for entry in log_of(self.study, site)}

    def revoke(self, who: str, **changed: object) -> None:
        key = person_key(who) if who in study_folder.PEOPLE else demo_key(who)
        asked: dict[str, object] = {"adapter": "", "reason": "", "now": datetime.now(UTC), **changed}
        revoke(self.study, read_roster(self.study), key, **asked)  # type: ignore[arg-type]  # a table of arguments

    @property
    def adapter(self) -> str:
        return read_record((self.folder / RECORD).read_bytes()).adapter

    @property
    def listed(self) -> Path:
        return self.study / "revocations" / "list.dsse.json"


@pytest.fixture(scope="module")
def handed_over(tmp_path_factory: pytest.TempPathFactory) -> Out:
    study = study_folder.build(tmp_path_factory.mktemp("handed") / "study", steps=2, allowance=1)
    federation = opened(study)
    try:
        federation.run("probe", run="probe-1")
        publish(federation.sites[PUBLISHER], study / "out")
        return Out(study, study / "out", federation.base_model)
    finally:
        federation.close()


@pytest.fixture
def out(handed_over: Out, tmp_path: Path) -> Out:
    study = Path(shutil.copytree(handed_over.study, tmp_path / "study"))
    return Out(study, study / "out", handed_over.facts)


def test_a_recipient_uses_it_and_its_log_says_so(out: Out, capsys: Capture) -> None:
    out.used()
    used = [entry for entry in log_of(out.study, "hana") if entry["type"] == "adapter.used"]
    assert used[0]["refs"]["adapter"] == out.adapter and used[0]["data"] == {"use": USE}
    ended = main(capsys, "site", "use", out.folder, "--site", "kaze", "--study", out.study, "--language", "ja")
    assert ended.exit == 0 and "利用できる" in ended.out


def test_the_wrong_recipient_is_refused(out: Out) -> None:
    record = read_record((out.folder / RECORD).read_bytes())
    resigned(out, record.model_copy(update={"parties": ("ame", "kaze")}))
    out.refused("USE_WRONG_RECIPIENT")
    out.used("kaze")


def test_what_has_expired_is_refused(out: Out) -> None:
    out.revoke("legal", now=datetime.now(UTC) + timedelta(days=365))
    out.refused("USE_EXPIRED", days=365.1)


def test_a_clock_that_is_set_back_does_not_bring_it_back(out: Out) -> None:
    out.refused("USE_EXPIRED", days=366)
    with pytest.raises(Refused) as caught:
        out.used()
    assert caught.value.code == "CLOCK_SET_BACK"


@pytest.mark.parametrize("who", ["legal", "it", "kaze"])
def test_what_is_revoked_is_refused_and_stays_so(out: Out, who: str) -> None:
    before = out.listed.read_bytes()
    out.revoke(who, adapter=out.adapter, reason="QUALITY")
    out.refused("USE_REVOKED")
    assert {"release.revoked"} <= {entry["type"] for entry in log_of(out.study, "hana")}
    out.listed.write_bytes(before)  # somebody shows the list of yesterday
    out.refused("USE_REVOKED")


def test_an_older_list_is_refused(out: Out) -> None:
    before = out.listed.read_bytes()
    out.revoke("legal")
    out.revoke("legal", adapter=DIGEST, reason="OTHER")
    out.used("kaze")
    out.listed.write_bytes(before)
    with pytest.raises(GovernanceRefused) as caught:
        out.used("kaze")
    assert caught.value.code == "USE_LIST_OLDER"


def test_a_stale_list_is_refused_and_a_fresh_one_is_enough(out: Out) -> None:
    out.used(days=6)
    with pytest.raises(GovernanceRefused) as caught:
        out.used(days=8)
    assert caught.value.code == "USE_LIST_STALE"
    out.revoke("it", now=datetime.now(UTC) + timedelta(days=8))
    out.used(days=8)


def test_an_emergency_stop_stops_its_use(out: Out, capsys: Capture) -> None:
    ordered = main(capsys, "legal", "stop", out.study, "--as", "person-it", "--role", "it", "--reason", "INCIDENT",
                   "--yes", "--json")  # fmt: skip
    assert ordered.exit == 0
    out.refused("USE_STOPPED")


def test_without_a_list_nothing_is_used(out: Out) -> None:
    out.listed.unlink()
    out.refused("USE_LIST_MISSING")


@pytest.mark.parametrize("key", ["coordinator", "person-business", "stranger"])
def test_a_list_of_somebody_who_may_not_is_none(out: Out, key: str) -> None:
    statement = read_envelopes(out.listed.read_bytes(), name="list")[0]
    forged = replace(statement, signatures=()).signed_by(demo_key(key))
    out.listed.write_bytes(write_envelopes([forged]))
    out.refused("USE_LIST_UNVERIFIED")


def test_a_list_from_the_future_would_stay_fresh_and_is_refused(out: Out) -> None:
    out.revoke("legal", now=datetime.now(UTC) + timedelta(days=3000))
    out.refused("USE_LIST_UNVERIFIED")


@pytest.mark.parametrize(("purpose", "code"), [("resale", "USE_NOT_PERMITTED"), ("", "")])
def test_only_permitted_uses(out: Out, purpose: str, code: str) -> None:
    if code:
        out.refused(code, purpose=purpose)
    else:
        out.used(purpose=purpose)


def test_on_other_weights_it_is_refused(out: Out) -> None:
    Out(out.study, out.folder, replace(out.facts, digest=DIGEST)).refused("USE_OTHER_BASE_MODEL")


def test_unsigned_or_signed_by_somebody_else_is_refused(out: Out) -> None:
    signed = out.folder / "release.dsse.json"
    statement = read_envelopes(signed.read_bytes(), name="release")[0]
    for key in ("coordinator", "person-legal", "kaze", "stranger"):
        signed.write_bytes(write_envelopes([replace(statement, signatures=()).signed_by(demo_key(key))]))
        out.refused("USE_UNSIGNED")
    signed.unlink()
    out.refused("USE_UNSIGNED")


def test_one_changed_byte_of_any_file_is_noticed(out: Out) -> None:
    for path in sorted(out.folder.iterdir()):
        whole = path.read_bytes()
        for place in (0, len(whole) // 2, len(whole) - 2):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            with pytest.raises(GovernanceRefused) as caught:
                out.used()
            wanted = "USE_UNSIGNED" if path.name == "release.dsse.json" else "USE_CHANGED"
            assert caught.value.code == wanted, (path.name, place)
        path.write_bytes(whole)
    out.used()


def test_a_file_more_or_less_is_noticed(out: Out) -> None:
    (out.folder / "pytorch_model.bin").write_bytes(b"a pickle, perhaps")
    out.refused("USE_CHANGED")
    (out.folder / "pytorch_model.bin").unlink()
    (out.folder / "LICENCE").unlink()
    out.refused("USE_CHANGED")
    (out.folder / "LICENCE").symlink_to(out.study / "study.yaml")
    out.refused("USE_MALFORMED")


def test_a_publisher_that_asks_for_less_than_its_study_is_refused(candidate: Candidate, tmp_path: Path) -> None:
    facts = opened_facts(candidate.study)
    home = candidate.paper.parent
    folder = tmp_path / "out"
    folder.mkdir()
    record = read_record(candidate.paper.read_bytes()).model_copy(update={"approvals": {}})
    for name in record.files:
        shutil.copy(home / name, folder / name)
    lying = Out(candidate.study, folder, facts)
    resigned(lying, record)
    lying.refused("USE_NOT_APPROVED")


def test_a_publisher_that_names_another_study_escapes_nothing_that_this_one_asks(
    candidate: Candidate, tmp_path: Path
) -> None:
    facts, home, folder = opened_facts(candidate.study), candidate.paper.parent, tmp_path / "out"
    folder.mkdir()
    record = read_record(candidate.paper.read_bytes())
    for name in record.files:
        shutil.copy(home / name, folder / name)
    (envelope,) = read_envelopes((home / PROVENANCE).read_bytes(), name=PROVENANCE)
    other = envelope.payload.replace(read_study(candidate.study).digest.encode(), DIGEST.encode())
    assert other != envelope.payload
    signed = write_envelopes([sign_statement(Statement.from_bytes(other), [demo_key(PUBLISHER)])])
    (folder / PROVENANCE).write_bytes(signed)
    lying = Out(candidate.study, folder, facts)
    files = {**record.files, PROVENANCE: digest_bytes(signed)}
    named = record.model_copy(update={"provenance": digest_bytes(signed), "files": files, "approvals": {}})
    resigned(lying, named)
    lying.refused("USE_NOT_APPROVED")
    basic = tuple(one for one in record.conditions if one.name == "release-grant")
    resigned(lying, named.model_copy(update={"conditions": basic}))
    asks_more(candidate.study)
    lying.refused("USE_CONDITION_FAILED")


def test_a_candidate_of_an_earlier_study_is_not_released_under_the_next(candidate: Candidate, capsys: Capture) -> None:
    asks_more(candidate.study)
    sign(candidate, "legal", capsys)
    ended = main(capsys, "site", "release", PUBLISHER, candidate.run, "--study", candidate.study, "--json")
    assert (ended.exit, ended.told["code"]) == (3, "RELEASE_OTHER_STUDY"), ended.told


def test_an_older_list_put_back_is_not_signed_for_anew_by_a_site_that_signed_a_later_one(
    candidate: Candidate, capsys: Capture
) -> None:
    study, roster, now = candidate.study, read_roster(candidate.study), datetime.now(UTC)
    listed = study / "revocations" / "list.dsse.json"
    revoke(study, roster, person_key("it"), adapter="", reason="", now=now)
    older = listed.read_bytes()
    revoke(study, roster, person_key("it"), adapter=DIGEST, reason="QUALITY", now=now)
    for role in ("legal", "it"):
        sign(candidate, role, capsys)
    assert main(capsys, "site", "release", PUBLISHER, candidate.run, "--study", study, "--json").exit == 0
    listed.write_bytes(older)
    renewed = revoke(
        study, roster, demo_key(PUBLISHER), adapter="", reason="", now=datetime.now(UTC), site=PUBLISHER
    )
    assert set(renewed.revoked) == {DIGEST} and renewed.version > 3


def asks_more(study: Path) -> None:
    """The study is signed anew, and asks for one condition more."""
    study_folder.change(study / "study.yaml", "[licence, approvals]", "[licence, approvals, audit]")
    study_folder.sign_study(study)


def test_a_site_revokes_what_it_released_and_the_commands_show_it(out: Out, capsys: Capture) -> None:
    ended = main(capsys, "legal", "revoke-adapter", out.folder, "--study", out.study, "--as", "person-it",
                 "--reason", "SECURITY", "--yes", "--json")  # fmt: skip
    assert ended.exit == 0, ended
    shown = main(capsys, "legal", "revocations", out.study, "--json")
    assert shown.told["revoked"] == {out.adapter: "SECURITY"}
    ended = main(capsys, "site", "use", out.folder, "--site", "hana", "--study", out.study, "--json")
    assert (ended.exit, ended.told["code"]) == (3, "USE_REVOKED")
    other = main(capsys, "legal", "revoke-adapter", out.folder, "--study", out.study, "--as", "person-business",
                 "--reason", "SECURITY", "--yes", "--json")  # fmt: skip
    assert (other.exit, other.told["code"]) == (3, "ROLE_NOT_HELD")


def test_a_remedy_revokes_with_the_key_of_the_site(trained: Site) -> None:
    state = revoke_released(trained.folder, adapter=DIGEST, reason="WITHDRAWAL")
    assert state.revoked[DIGEST].reason == "WITHDRAWAL"
    again = revoke_released(trained.folder, adapter="sha256:" + "cd" * 32, reason="WITHDRAWAL")
    assert set(again.revoked) >= {DIGEST} and again.version > state.version


def resigned(out: Out, record: ReleaseRecord) -> None:
    """The publisher writes another record and signs the folder again: what only it could do."""
    (out.folder / RECORD).write_bytes(record.to_bytes())
    files = {path.name: path.read_bytes() for path in out.folder.iterdir() if path.name != "release.dsse.json"}
    signed = sign_statement(release_statement(record, files, {}), [demo_key(PUBLISHER)])
    (out.folder / "release.dsse.json").write_bytes(write_envelopes([signed]))


def opened_facts(study: Path) -> BaseModelFacts:
    return inspect(locate(read_study(study).base_model, study))


def test_a_pilot_whose_release_is_not_approved_yet_reports_and_keeps_the_candidate(
    candidate: Candidate, tmp_path: Path
) -> None:
    said: list[str] = []

    class Listens:
        def say(self, text: str = "") -> None:
            said.append(text)

        def progress(self, stage: str, done: int, total: int) -> None:
            pass

    study, out = candidate.study, tmp_path / "pilot"
    finished = run_pilot(study, out, Listens(), features=HashedFeatures())  # type: ignore[arg-type]
    assert finished.report.is_file() and not (out / "adapter").exists()
    assert any("RELEASE_APPROVALS_MISSING" in line for line in said)
    kept = {path.name for path in (study / "sites" / PUBLISHER / "state" / "candidates").iterdir()}
    assert len(kept - {candidate.run}) == 1
