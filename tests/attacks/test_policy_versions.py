"""Attacks on a site's own papers over time: versions that slip in, another's policy, words that are lost or not heard.

`ame` reads its papers as in test_approvals.py, from whose helpers these tests are made.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from sekisho.core.paperwork import paper as writing
from sekisho.core.paperwork.amending import begin_version
from sekisho.core.paperwork.paper import approved, open_paper, signatures_of
from sekisho.core.paperwork.signing import add_approval
from sekisho.core.paperwork.withdrawing import add_no
from sekisho.core.site.folder import SiteFolder
from sekisho.core.site.papers import read_base_model, read_roster, study_signatures
from sekisho.governance.document import read_document
from sekisho.governance.errors import BadDocumentError
from sekisho.governance.policy.compare import Verdict, compare
from sekisho.governance.policy.policy import Policy
from sekisho.governance.policy.signoff import RENDERER, shown
from sekisho.governance.signing.approvals import REJECT, REVOKE, approval_statement
from sekisho.governance.signing.envelope import (
    PREDICATES,
    Envelope,
    Signature,
    Subject,
    sign_statement,
    write_envelopes,
)
from sekisho.governance.signing.keys import demo_key
from sekisho.governance.signing.roster import Person, Roster
from sekisho.privacy.budget import MAXIMUM_EPSILON

from ..core.own_study import run
from ..federation import study_folder
from .test_approvals import (
    LATER,
    POLICY_TYPE,
    SITE,
    amended,
    facts,
    papers,
    policy_of,
    policy_path,
    reasons,
    refused,
    run_under,
    study_of,
)
from .test_roster_rollback import hand_on

NARROW = ("audit_years: 6", "audit_years: 7")
WIDE = ('lifetime: {epsilon: "27.0"', 'lifetime: {epsilon: "28.0"')


def text_after(text: str, *changes: tuple[str, str]) -> str:
    """The text of the version that follows ``text``, with these changes."""
    before = Policy.parse(text.encode(), "before")
    text = text.replace(f"supersedes: {before.header.supersedes}\n", "")
    heading = f"version: {before.version + 1}\nsupersedes: {before.bytes_digest}\n"
    text = text.replace(f"version: {before.version}\n", heading, 1)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return text


def sign_by(
    text: str,
    before: str,
    *,
    roster: Roster,
    people: dict[str, str],
    decision: str = "approve",
    renderer: str = RENDERER,
) -> bytes:
    """Signatures over a policy's text, by people of a roster who were shown how it differs from ``before``."""
    policy, older = (Policy.parse(one.encode(), "policy") for one in (text, before))
    subjects = [Subject("policy.yaml", one) for one in (policy.bytes_digest, policy.canonical_digest)]
    seen = replace(shown(policy, older), renderer=renderer)
    return write_envelopes([
        sign_statement(
            approval_statement(roster, role=role, subjects=subjects, predicate_type=POLICY_TYPE, decision=decision,
                               issued=LATER - timedelta(days=2), expires=LATER - timedelta(days=1), shown=seen),
            [demo_key(name)],
        )
        for role, name in people.items()
    ])  # fmt: skip


def slip_in(study: Path, *, signatures: bytes | None) -> tuple[str, str, str]:
    """Version 2 permits far more; version 3, all that anybody is asked to sign, a little less than version 2."""
    path = policy_path(study)
    first = path.read_text("utf-8")
    second = text_after(first, WIDE)
    third = text_after(second, NARROW)
    earlier = path.parent / "earlier"
    earlier.mkdir()
    (earlier / "1.yaml").write_text(first, "utf-8")
    shutil.copy(f"{path}.dsse.json", earlier / "1.yaml.dsse.json")
    (earlier / "2.yaml").write_text(second, "utf-8")
    if signatures is not None:
        (earlier / "2.yaml.dsse.json").write_bytes(signatures)
    path.write_text(third, "utf-8")
    roster = study_folder.read_roster(study)
    path.with_name("policy.yaml.dsse.json").write_bytes(
        sign_by(third, second, roster=roster, people={"legal": "person-legal", "it": "person-it"})
    )
    return first, second, third


BOTH = {"legal": "person-legal", "it": "person-it"}


def test_a_widening_version_that_nobody_signed_does_not_slip_in_below_a_narrower_one(study: Path) -> None:
    run_under(study)
    texts = slip_in(study, signatures=None)
    first, second, third = (Policy.parse(text.encode(), "policy") for text in texts)
    assert compare(second, third).verdict == Verdict.NARROWER != compare(first, third).verdict
    refused(lambda: run_under(study), "POLICY_PREDECESSOR_UNSIGNED", "version 2 was never signed")
    # nor is anybody shown it, to sign it
    ended = run("legal", "sign", policy_path(study), "--role", "legal", "--as", "person-legal", "--yes")
    assert ended.exit == 3 and "[POLICY_PREDECESSOR_UNSIGNED]" in ended.err, ended


@pytest.mark.parametrize(
    "people",
    [
        {"legal": "person-legal"},
        {"it": "person-it"},
        {"legal": "stranger", "it": "person-it"},
        {"legal": "person-legal", "it": "person-legal"},
        {"business": "person-business", "it": "person-it"},
    ],
)
def test_too_few_people_of_the_site_make_no_version_to_follow(study: Path, people: dict[str, str]) -> None:
    roster, first = study_folder.read_roster(study), policy_path(study).read_text("utf-8")
    slip_in(study, signatures=sign_by(text_after(first, WIDE), first, roster=roster, people=people))
    refused(lambda: papers(study), "POLICY_PREDECESSOR_UNSIGNED", "version 2")


def test_a_version_that_was_signed_is_one_to_follow_though_the_approvals_have_ended_since(study: Path) -> None:
    roster, first = study_folder.read_roster(study), policy_path(study).read_text("utf-8")
    slip_in(study, signatures=sign_by(text_after(first, WIDE), first, roster=roster, people=BOTH))
    study_folder.sign_policy(study, SITE)
    papers(study)
    # and though the software shows it in other words by now
    older = sign_by(text_after(first, WIDE), first, roster=roster, people=BOTH, renderer="sekisho-rendering/0")
    (policy_path(study).parent / "earlier" / "2.yaml.dsse.json").write_bytes(older)
    run_under(study)


def test_a_version_that_was_signed_under_a_false_comparison_or_taken_back_is_none_to_follow(study: Path) -> None:
    roster, first = study_folder.read_roster(study), policy_path(study).read_text("utf-8")
    second = text_after(first, WIDE)
    yes = sign_by(second, first, roster=roster, people=BOTH)
    no = sign_by(second, first, roster=roster, people={"legal": "person-legal"}, decision=REVOKE)
    false = sign_by(second, second.replace("900.0", "900.1"), roster=roster, people=BOTH)
    slip_in(study, signatures=yes)
    study_folder.sign_policy(study, SITE)
    papers(study)
    for signatures in (yes + no, false):
        (policy_path(study).parent / "earlier" / "2.yaml.dsse.json").write_bytes(signatures)
        refused(lambda: papers(study), "POLICY_PREDECESSOR_UNSIGNED", "version 2")


def test_the_whole_chain_was_signed_not_only_the_version_just_before(study: Path) -> None:
    run_under(study)
    first = policy_path(study).read_text("utf-8")
    roster = study_folder.read_roster(study)
    slip_in(study, signatures=sign_by(text_after(first, WIDE), first, roster=roster, people=BOTH))
    study_folder.sign_policy(study, SITE)
    amended(study, "audit_years: 7", "audit_years: 8", 4)
    papers(study)
    (policy_path(study).parent / "earlier" / "2.yaml.dsse.json").unlink()
    refused(lambda: papers(study), "POLICY_PREDECESSOR_UNSIGNED", "version 2")


def test_people_of_an_earlier_roster_signed_in_their_time_but_nobody_of_one_that_was_not_accepted(study: Path) -> None:
    old_key, new_key = (demo_key(name).public.to_text() for name in ("person-it", "new-it"))
    changes = ("pseudonym: person-it", "pseudonym: new-it"), (old_key, new_key)
    hand_on(study, *changes, issued=LATER - timedelta(days=1))
    path, roster = policy_path(study), study_folder.read_roster(study)
    first = path.read_text("utf-8")
    (path.parent / "earlier").mkdir()
    for end in ("", ".dsse.json"):
        shutil.copy(f"{path}{end}", path.parent / "earlier" / f"1.yaml{end}")
    second = text_after(first, NARROW)
    path.write_text(second, "utf-8")
    now = {"legal": "person-legal", "it": "new-it"}
    beside = path.with_name("policy.yaml.dsse.json")
    beside.write_bytes(sign_by(second, first, roster=roster, people=now))
    refused(lambda: papers(study), "POLICY_NOT_SIGNED", "APPROVAL_EXPIRED")  # version 1 is one to follow
    (study / "rosters" / "1.yaml.dsse.json").write_bytes((study / "roster.yaml.dsse.json").read_bytes())
    study_folder.sign_roster(study)  # a fresh start by every site: the roster before was accepted by nobody
    refused(lambda: papers(study), "POLICY_PREDECESSOR_UNSIGNED", "version 1")


def test_a_version_that_is_not_in_force_cannot_be_kept_as_if_it_had_been(study: Path) -> None:
    path = policy_path(study)
    begin_version(path, now=LATER)
    for before, after in (("", ""), NARROW):  # version 2 as nobody signed it
        path.write_text(path.read_text("utf-8").replace(before, after, 1), "utf-8")
        refused(lambda: begin_version(path, now=LATER), "POLICY_NOT_IN_FORCE", "missing: legal, it")
    study_folder.sign_policy(study, SITE)
    roster = study / "roster.yaml.dsse.json"
    for hidden, why in ((path.parent / "earlier" / "1.yaml", "replaces"), (roster, "roster")):
        away = hidden.rename(hidden.with_name("away"))
        refused(lambda: begin_version(path, now=LATER), "POLICY_NOT_IN_FORCE", why)
        away.rename(hidden)
    begun = begin_version(path, now=LATER)
    assert begun.kept.with_name("2.yaml.dsse.json").read_bytes() == path.with_name("policy.yaml.dsse.json").read_bytes()
    study_folder.sign_policy(study, SITE)
    run_under(study)


LINE = "supersedes: nothing, and only with the consent of the works council,"


def test_to_begin_a_version_deletes_no_prose(study: Path) -> None:
    """A text may hold lines that look like the fields; a promise in it must not vanish between two versions."""
    path = policy_path(study)
    told = f'"In force from 1 November 2026 to the end of 2099,\n{LINE}\nversion: 1\nin each case."'
    study_folder.change(path, "In force from 1 November 2026 to the end of 2099.", told)
    for number in (2, 3):
        study_folder.sign_policy(study, SITE)
        before = path.read_bytes()
        begun = begin_version(path, now=LATER)
        old, new = (read_document(data, name="policy").value for data in (before, path.read_bytes()))
        assert new == {**old, "version": number, "supersedes": begun.supersedes}
        assert LINE in path.read_text("utf-8") and begun.kept.read_bytes() == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("version: 2\n", "version:\n  2\n"),
        ("supersedes: ", "supersedes:\n  "),
        ("supersedes: ", "supersedes: >-\n  "),
        ("supersedes: ", "languages: [en, ja]\nsupersedes: >-\n  "),
    ],
)
def test_a_version_that_stands_where_no_line_can_be_changed_is_left_alone(study: Path, old: str, new: str) -> None:
    path = policy_path(study)
    begin_version(path, now=LATER)
    if new.startswith("languages"):
        study_folder.change(path, "languages: [en, ja]\n", "")
    study_folder.change(path, old, new)
    study_folder.sign_policy(study, SITE)
    before = path.read_bytes()
    refused(lambda: begin_version(path, now=LATER), "VERSION_LINE", "on lines of their own")
    assert path.read_bytes() == before and not (path.parent / "earlier" / "2.yaml").exists()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (f"controller: {{id: {SITE},", "controller: {id: stranger,"),
        ("country: JP", "country: DE"),
    ],
)
def test_the_policy_of_another_controller_takes_no_effect_at_a_site(study: Path, old: str, new: str) -> None:
    study_folder.change(policy_path(study), old, new)
    study_folder.sign_policy(study, SITE)
    refused(lambda: papers(study), "POLICY_OF_ANOTHER", "the policy names the controller", "the roster has ame")
    policy_path(study).with_name("policy.yaml.dsse.json").unlink()
    ended = run("legal", "sign", policy_path(study), "--role", "legal", "--as", "person-legal", "--yes")
    assert ended.exit == 3 and "[POLICY_OF_ANOTHER]" in ended.err, ended


def test_a_site_may_be_named_by_its_controller(study: Path) -> None:
    study_folder.change(policy_path(study), f"controller: {{id: {SITE},", f"controller: {{id: {SITE}-owner,")
    study_folder.sign_policy(study, SITE)
    papers(study)


@pytest.mark.parametrize("decision", [REVOKE, REJECT])
@pytest.mark.parametrize("version", [1, 2])
def test_a_no_under_a_later_or_another_roster_is_heard(study: Path, decision: str, version: int) -> None:
    """Legal has the new roster already, this site not yet: that is no reason to go on."""
    ours, content = read_roster(study, now=LATER), study_of(study)
    text = (study / "roster.yaml").read_text("utf-8").replace("version: 1\n", f"version: {version}\n# another\n", 1)
    theirs = Roster.parse(text.encode(), "roster.yaml")
    subjects = [Subject("study.yaml", one) for one in (content.digest, content.canonical_digest)]
    no = approval_statement(
        theirs, role="legal", subjects=subjects, predicate_type=PREDICATES["study-approval"],
        issued=LATER, expires=theirs.expires, decision=decision,
    )  # fmt: skip
    beside = study / "study.yaml.dsse.json"
    beside.write_bytes(beside.read_bytes() + sign_statement(no, [demo_key("person-legal")]).to_bytes())
    found = study_signatures(study, content, ours, now=LATER)
    assert found.by_role["legal"] == 0 and reasons(found) == {"NOT_AN_APPROVAL", "WITHDRAWN"}


# ------------------------------------------------------------------------------------------------ what is written


def person(roster: Roster, name: str) -> Person:
    return next(one for one in roster.people if one.pseudonym == name)


def revoke(study: Path, roster: Roster) -> None:
    add_no(open_paper(study / "study.yaml"), roster, signer=person(roster, "person-legal"), role="legal",
           key=demo_key("person-legal"), reject=False, now=LATER)  # fmt: skip


def test_a_revocation_at_the_moment_at_which_somebody_else_signs_is_not_lost(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roster, beside = read_roster(study, now=LATER), study / "study.yaml.dsse.json"
    beside.write_bytes(beside.read_bytes().splitlines(keepends=True)[0])  # legal has signed, IT signs now
    whole = writing.write_whole
    other = threading.Thread(target=revoke, args=(study, roster))

    def slow(path: Path, data: bytes, mode: int) -> None:
        if other.ident is None:
            other.start()
            other.join(1)  # without a lock it is done within that time
        whole(path, data, mode)

    monkeypatch.setattr(writing, "write_whole", slow)
    add_approval(open_paper(study / "study.yaml"), roster, signer=person(roster, "person-it"), role="it",
                 key=demo_key("person-it"), until=roster.expires, now=LATER)  # fmt: skip
    other.join()
    counted = approved(open_paper(study / "study.yaml"), roster, now=LATER)
    assert (counted.by_role["legal"], counted.by_role["it"]) == (0, 1)


def test_whoever_waits_too_long_for_another_writer_is_told_and_writes_nothing(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roster, beside = read_roster(study, now=LATER), study / "study.yaml.dsse.json"
    before = beside.read_bytes()
    monkeypatch.setattr(writing, "TURNS", 1)
    writer = os.open(study, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(writer, fcntl.LOCK_EX)
        refused(lambda: revoke(study, roster), "SIGNATURES_UNWRITABLE", "somebody else")
    finally:
        os.close(writer)
    assert beside.read_bytes() == before
    revoke(study, roster)


def test_a_signature_that_another_writer_replaced_is_not_said_to_be_written(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the file system knows no locks, whoever loses is told so."""
    roster, beside = read_roster(study, now=LATER), study / "study.yaml.dsse.json"
    before = beside.read_bytes()
    monkeypatch.setattr(writing, "write_whole", lambda path, data, mode: beside.write_bytes(before))
    refused(lambda: revoke(study, roster), "SIGNATURES_UNWRITABLE", "is not in it")


def test_junk_does_not_fill_the_signatures_so_that_nobody_can_take_an_approval_back(study: Path) -> None:
    roster, beside = read_roster(study, now=LATER), study / "study.yaml.dsse.json"
    honest = signatures_of(study / "study.yaml", "study.yaml")
    junk = [Envelope("x", b"%d" % number, (Signature("", b"0" * 64),)) for number in range(100)]
    copies = [Envelope(one.payload_type, one.payload, (*one.signatures, Signature(f"{number}", b"")))
              for number, one in enumerate(honest * 77)]  # fmt: skip
    beside.write_bytes(write_envelopes([*honest, *junk, *copies]))
    assert beside.read_bytes().count(b"\n") == 256  # as many as a file may have: it still counts
    revoke(study, roster)
    left = signatures_of(study / "study.yaml", "study.yaml")
    assert left[: len(honest)] == honest and len(left) == len(honest) + 1
    assert approved(open_paper(study / "study.yaml"), roster, now=LATER).by_role["legal"] == 0


# ------------------------------------------------------------------------------------------------ while a run is open


def stands(folder: SiteFolder) -> None:
    folder.standing(cohort=study_folder.SITES, observers=1, epsilon=Decimal(1), delta=Decimal("0.00001"), steps=5,
                    lifetime_fits=True)  # fmt: skip


def test_a_base_model_that_legal_no_longer_stands_by_ends_an_open_run(study: Path) -> None:
    folder = SiteFolder.open(study, SITE, base_model=facts(), clock=lambda: LATER)
    try:
        stands(folder)
        record = read_base_model(study, folder.roster, now=LATER)
        no = approval_statement(
            folder.roster, role="legal", predicate_type=PREDICATES["base-model"], issued=LATER, decision=REVOKE,
            subjects=[Subject("base-model.yaml", one) for one in (record.bytes_digest, record.canonical_digest)],
            expires=folder.roster.expires,
        )  # fmt: skip
        beside = study / "base-model.yaml.dsse.json"
        beside.write_bytes(beside.read_bytes() + sign_statement(no, [demo_key("person-legal")]).to_bytes())
        refused(lambda: stands(folder), "BASE_MODEL_NOT_SIGNED")
    finally:
        folder.close()


def test_a_stricter_policy_is_heard_by_an_open_run(study: Path) -> None:
    """The older signatures still lie there: only the file says that the policy is another one by now."""
    folder = SiteFolder.open(study, SITE, base_model=facts(), clock=lambda: LATER)
    try:
        before = policy_path(study).with_name("policy.yaml.dsse.json").read_bytes()
        amended(study, *NARROW, 2)
        beside = policy_path(study).with_name("policy.yaml.dsse.json")
        beside.write_bytes(before + beside.read_bytes())
        refused(lambda: stands(folder), "POLICY_SUPERSEDED", "another file")
        policy_path(study).unlink()
        refused(lambda: stands(folder), "POLICY_SUPERSEDED", "or none")
    finally:
        folder.close()


# ------------------------------------------------------------------------------------------------ beyond all bounds


@pytest.mark.parametrize("field", ["lifetime", "per_run"])
def test_a_budget_that_no_ledger_holds_is_refused_in_the_file(study: Path, field: str) -> None:
    text = policy_path(study).read_text("utf-8")
    for bound, fine in ((str(MAXIMUM_EPSILON), True), (f"{MAXIMUM_EPSILON}.0001", False)):
        lines = [
            line.split('epsilon: "')[0] + f'epsilon: "{bound}", delta: "0.00001"}}'
            if line.lstrip().startswith(("lifetime:", f"{field}:")) else line
            for line in text.splitlines()
        ]  # fmt: skip
        policy_path(study).write_text("\n".join(lines) + "\n", "utf-8")
        if fine:
            policy_of(study)
        else:
            refused(lambda: policy_of(study), "BUDGET_MEANINGLESS", "at most 1000")


def test_a_policy_that_no_ledger_can_hold_is_not_remembered_in_the_place_of_the_one_before(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_under(study)
    kept = {path.name: path.read_bytes() for path in policy_path(study).parent.glob("policy.yaml*")}
    monkeypatch.setattr("sekisho.governance.policy.always_clauses.MAX_EPSILON", 10**6)
    amended(study, 'lifetime: {epsilon: "27.0"', 'lifetime: {epsilon: "1001"', 2)
    with pytest.raises(Exception, match="larger than any guarantee"):
        run_under(study)
    for name, data in kept.items():
        (policy_path(study).parent / name).write_bytes(data)
    run_under(study)


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+09:00", "1969-12-31T00:00:00Z"])
def test_a_time_beyond_the_calendar_is_refused_at_its_place_and_crashes_nothing(study: Path, moment: str) -> None:
    path = policy_path(study)
    line = next(line for line in path.read_text("utf-8").splitlines() if line.lstrip().startswith("until:"))
    study_folder.change(path, line, line.split("until:")[0] + f'until: "{moment}"')
    with pytest.raises(BadDocumentError) as caught:
        policy_of(study)
    assert caught.value.code == "NOT_A_TIME" and "between 1970 and 9998" in str(caught.value)


def test_the_last_year_that_is_read_can_be_reckoned_with(study: Path) -> None:
    path = policy_path(study)
    old = policy_of(study)
    line = next(line for line in path.read_text("utf-8").splitlines() if line.lstrip().startswith("until:"))
    study_folder.change(path, line, line.split("until:")[0] + 'until: "9998-12-31T23:59:59-12:00"')
    assert compare(old, policy_of(study)).verdict == Verdict.WIDER
