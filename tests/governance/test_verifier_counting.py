"""The stand-alone verifier counts exactly whom a site counts: the attacks on that, and both beside each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.governance.canonical import digest_bytes
from sekisho.governance.document import read_document
from sekisho.governance.errors import GovernanceError
from sekisho.governance.evidence import verifier
from sekisho.governance.evidence.verifier import verify
from sekisho.governance.signing.approvals import APPROVE, approval_statement, approvals
from sekisho.governance.signing.envelope import (
    PREDICATES,
    Envelope,
    Statement,
    Subject,
    read_envelopes,
    sign_statement,
    write_envelopes,
)
from sekisho.governance.signing.roster import Roster

from . import evidence_example as example

STUDY_SIGNATURES = "study.yaml.dsse.json"
LATER = example.NOW + timedelta(days=1)
JUNK = b'{"payload":"AAAA","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"AAAA"}]}\n'
ROSTER = Roster.parse(example.roster_yaml(), "roster.yaml")
# the same people and keys, one version up
NEXT = Roster.parse(example.roster_yaml().replace(b"version: 1\n", b"version: 2\n"), "roster.yaml")
BEFORE = replace(ROSTER, version=0, fingerprint="sha256:" + "5" * 64)
TWIN = Roster.parse(example.roster_yaml() + b"# another\n", "roster.yaml")


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return example.members(tmp_path_factory.mktemp("federation"))


def judged(members: Mapping[str, bytes], **changes: bytes) -> tuple[str, str]:
    """The verdict on these members under the fingerprint of their own roster, and the last thing found."""
    whole = {**members, **changes}
    verdict = verify(example.sealed(whole, example.key("hub")), digest_bytes(whole["roster.yaml"]))
    return verdict.name, verdict.details[-1]


def said(
    person: str,
    role: str,
    about: Sequence[bytes],
    *,
    decision: str = APPROVE,
    roster: Roster = ROSTER,
    issued: datetime = LATER,
    kind: str = "study-approval",
) -> bytes:
    """One line: what ``person`` says of the papers whose bytes are ``about``."""
    named = [Subject("paper", digest_bytes(data)) for data in about]
    words = approval_statement(
        roster, role=role, subjects=named, predicate_type=PREDICATES[kind], issued=issued, expires=ROSTER.expires,
        decision=decision,
    )
    return sign_statement(words, [example.key(person)]).to_bytes()


def canonical(paper: bytes) -> bytes:
    """What stands for the canonical form of a paper in the example."""
    return b"canonical" + paper


# --- the paper that was used -------------------------------------------------------------------------------------

NICE = b"schema: sekisho-policy/1\nid: kohi/reviews\n"
EVIL = NICE + b"# permits everything\n"


def test_a_policy_signed_together_with_another_is_not_evidence_for_the_other(
    members: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert members["policies/kohi.yaml"] == NICE

    def both(roster: Roster) -> bytes:
        pair = [Subject("policy.yaml", digest_bytes(data)) for data in (NICE, EVIL)]
        return write_envelopes([
            sign_statement(
                approval_statement(roster, role=role, subjects=pair, predicate_type=PREDICATES["policy-approval"],
                                   issued=example.NOW, expires=roster.expires, shown=example.SEEN),
                [example.key(person)])
            for role, person in example.BOTH.items()
        ])

    # the site's own people sign both digests, the run uses the other policy, the bundle shows the nice one
    logged, statement = example.logged, example.statement
    monkeypatch.setattr(example, "logged", lambda party, study, policies, found, runs: logged(
        party, study, {**policies, "kohi": EVIL}, found, runs))
    monkeypatch.setattr(example, "statement", lambda roster, study, policies, run, world: statement(
        roster, study, {**policies, "kohi": EVIL}, run, world))
    other = example.members(tmp_path)
    name, found = judged(other, **{"policies/kohi.yaml.dsse.json": both(ROSTER)})
    assert (name, found) == ("changed", f"the policy of kohi that {example.PROBE.member} names is not in the bundle")


def test_approvals_of_more_than_a_paper_and_its_canonical_form_are_none(members: dict[str, bytes]) -> None:
    study = members["study.yaml"]
    for about in ([study], [study, canonical(study), b"another study"]):
        lines = b"".join(said(person, role, about) for role, person in example.BOTH.items())
        assert judged(members, **{STUDY_SIGNATURES: lines}) == (
            "changed", "study.yaml lacks an approval; it needs: legal, it")


def test_a_run_names_the_bytes_of_the_base_model_record_and_no_other_digest_that_was_signed(
    members: dict[str, bytes]
) -> None:
    envelope, = read_envelopes(members[example.PROBE.member], name="x")
    record = members["base-model.yaml"]
    payload = envelope.payload.replace(
        digest_bytes(record).encode(), digest_bytes(canonical(record)).encode())
    assert payload != envelope.payload
    run = write_envelopes([sign_statement(Statement.from_bytes(payload), [example.key("kohi")])])
    name, found = judged(members, **{example.PROBE.member: run})
    assert name == "changed" and "names another record of the base model" in found


# --- who counts --------------------------------------------------------------------------------------------------

def test_who_asks_for_a_study_does_not_approve_it(tmp_path: Path) -> None:
    for asks, verdict in (("counsel-1", "changed"), ("analyst-1", "verified")):
        study = example.STUDY.replace(b"analyst-1 ", asks.encode() + b" ")
        assert judged(example.members(tmp_path / asks, study=study))[0] == verdict


def test_people_of_another_company_do_not_sign_a_sites_policy(members: dict[str, bytes], tmp_path: Path) -> None:
    everywhere = f"    acts_for: [{', '.join(example.SITES)}]\n".encode()
    for instead in (b"    acts_for: [kohi, wanko]\n", b""):
        yaml = example.roster_yaml().replace(everywhere, instead)
        assert yaml != members["roster.yaml"]
        name, found = judged(example.members(tmp_path / str(len(instead)), yaml=yaml))
        site = "okashi" if instead else "kohi"
        assert (name, found) == ("changed", f"policies/{site}.yaml lacks an approval; it needs: legal, it")


def test_an_approval_that_shows_nothing_where_nothing_is_shown_has_no_empty_field(members: dict[str, bytes]) -> None:
    study, signed = members["study.yaml"], []
    envelopes = read_envelopes(members[STUDY_SIGNATURES], name="x")
    for person, envelope in zip(example.BOTH.values(), envelopes, strict=True):
        payload = envelope.payload.replace(b'}},"predicateType"', b'},"shown":null},"predicateType"')
        assert Statement.from_bytes(payload).predicate["shown"] is None
        signed.append(Envelope(envelope.payload_type, payload, ()).signed_by(example.key(person)))
    assert at_site(study, write_envelopes(signed), None) == {}
    assert judged(members, **{STUDY_SIGNATURES: write_envelopes(signed)})[0] == "changed"


# --- a no --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("about", ["reformatted", "bytes alone", "and others"])
def test_a_no_is_heard_wherever_it_overlaps(members: dict[str, bytes], about: str) -> None:
    study = members["study.yaml"]
    papers = {"reformatted": [b"reformatted", canonical(study)], "bytes alone": [study],
              "and others": [b"something", study, canonical(study), b"something else"]}[about]
    no = said("counsel-1", "legal", papers, decision="revoke")
    assert judged(members, **{STUDY_SIGNATURES: members[STUDY_SIGNATURES] + no})[0] == "changed"
    of_another = said("counsel-1", "legal", [b"reformatted", b"another study"], decision="revoke")
    assert judged(members, **{STUDY_SIGNATURES: members[STUDY_SIGNATURES] + of_another})[0] == "verified"


def test_a_no_under_a_later_roster_is_heard_and_a_yes_is_not(members: dict[str, bytes]) -> None:
    study = members["study.yaml"]
    for roster in (NEXT, TWIN):
        no = said("counsel-1", "legal", [study, canonical(study)], decision="revoke", roster=roster)
        assert judged(members, **{STUDY_SIGNATURES: members[STUDY_SIGNATURES] + no})[0] == "changed"
        yes = b"".join(said(person, role, [study, canonical(study)], roster=roster)
                       for role, person in example.BOTH.items())
        assert judged(members, **{STUDY_SIGNATURES: yes})[0] == "changed"


def test_a_no_in_a_role_that_its_signer_does_not_hold_is_nobodys(members: dict[str, bytes]) -> None:
    no = said("counsel-1", "it", [members["study.yaml"]], decision="revoke")
    assert judged(members, **{STUDY_SIGNATURES: members[STUDY_SIGNATURES] + no})[0] == "verified"


# --- a stranger's line -------------------------------------------------------------------------------------------

def odd(payload: bytes, signer: str, kind: str = "application/vnd.in-toto+json") -> bytes:
    return Envelope(kind, payload, ()).signed_by(example.key(signer)).to_bytes()


@pytest.mark.parametrize("name", [STUDY_SIGNATURES, "policies/kohi.yaml.dsse.json", "roster.yaml.dsse.json"])
@pytest.mark.parametrize("line", [
    JUNK, JUNK.replace(b"application/vnd.in-toto+json", b"text/x"), odd(b"no JSON", "stranger"),
    odd(b"{}", "stranger"), odd(b"[" * 5000, "stranger"), odd(b"{}", "stranger", "text/x"),
])
def test_a_strangers_line_spoils_no_evidence(members: dict[str, bytes], name: str, line: bytes) -> None:
    assert judged(members, **{name: line + members[name] + line})[0] == "verified"


@pytest.mark.parametrize("line", [
    odd(b"no JSON", "admin-1"), odd(b"{}", "admin-1"), odd(b"{}", "admin-1", "text/x"),
    said("admin-1", "it", [b"something"], kind="policy-approval"),
])
def test_what_somebody_signed_that_is_no_word_on_a_paper_is_passed_over_as_at_a_site(
    members: dict[str, bytes], line: bytes
) -> None:
    signed = members[STUDY_SIGNATURES] + line
    assert at_site(members["study.yaml"], signed, None) == {"counsel-1": "legal", "admin-1": "it"}
    assert judged(members, **{STUDY_SIGNATURES: signed})[0] == "verified"


def test_a_line_of_a_file_of_signatures_ends_where_a_site_says_that_it_ends(members: dict[str, bytes]) -> None:
    spaced = members[STUDY_SIGNATURES].replace(b',"payloadType"', b',\r"payloadType"')
    assert spaced != members[STUDY_SIGNATURES] and len(read_envelopes(spaced, name="x")) == 2
    assert judged(members, **{STUDY_SIGNATURES: spaced})[0] == "verified"
    for unreadable in (members[STUDY_SIGNATURES] + b"\n", JUNK * 257 + members[STUDY_SIGNATURES]):
        with pytest.raises(GovernanceError):
            read_envelopes(unreadable, name="x")
        assert judged(members, **{STUDY_SIGNATURES: unreadable})[0] == "changed"


# --- who asks, as every reader reads it --------------------------------------------------------------------------

HEAD = "schema: sekisho-study/1\n"
REQUESTERS = (
    HEAD + "requester: alice   # who\n",
    HEAD + "requester: 'alice'\nsites: [a,\n  b\n]\nlist:\n- a\n\n# note\n- b\n",
    HEAD + 'requester: "alice"\r\nsites:\r\n  - a\r\n',
    HEAD + '"requester": alice\ntitle: "a\nrequester: bob"\n',
    HEAD + 'title: "a\nrequester: bob"\nrequester: alice\n',
    HEAD + 'title: "a\nrequester: bob\n"\n? requester\n: alice\n',
    HEAD + "# \rrequester: alice\ntitle: 'a\nrequester: bob'\n",
    HEAD + "requester: alice\n  bob\n",
    HEAD + "requester:\n  alice\n",
    HEAD + "requester: >\n  alice\n",
    HEAD + 'requester: "al\n  ice"\n',
    HEAD + 'requester: "\\x61lice"\n',
    " schema: x\n requester: alice\n title: 'a\nrequester: bob'\n",
    "{schema: x, requester: alice, title: 'a\nrequester: bob'}\n",
    "--- {schema: x, requester: alice, title: 'a\nrequester: bob'}\n",
    '"schema": x\n"requester": alice\ntitle: "a\nrequester: bob"\n',
    HEAD,
)


@pytest.mark.parametrize("text", REQUESTERS)
def test_nobody_else_can_be_shown_to_the_verifier_as_who_asks(text: str) -> None:
    try:
        theirs: object = verifier.requester(text.encode())
    except (*verifier.MALFORMED, verifier.Found):
        return
    assert theirs == read_document(text.encode(), name="study.yaml").value["requester"]
    assert text in REQUESTERS[:3] or theirs == "alice"


@pytest.mark.parametrize("text", REQUESTERS[:3])
def test_who_asks_is_read_from_an_ordinary_study(text: str) -> None:
    assert verifier.requester(text.encode()) == "alice"


def test_who_asks_for_the_example_study_is_read_alike() -> None:
    data = (Path(__file__).parents[2] / "examples" / "food-quality" / "study.yaml").read_bytes()
    assert verifier.requester(data) == read_document(data, name="study.yaml").value["requester"] == "sakura"


# --- both beside each other --------------------------------------------------------------------------------------

def at_site(study: bytes, signatures: bytes, requester: str | None) -> dict[str, str]:
    """Whom a site counts, a year later."""
    counted = approvals(
        ROSTER, read_envelopes(signatures, name="x"),
        subjects=frozenset({digest_bytes(study), digest_bytes(canonical(study))}),
        predicate_type=PREDICATES["study-approval"], now=example.NOW + timedelta(days=365), requester=requester,
    )
    return dict(counted.people)


PAPERS: Mapping[str, Callable[[bytes], list[bytes]]] = {
    "exact": lambda study: [study, canonical(study)],
    "bytes": lambda study: [study],
    "more": lambda study: [study, canonical(study), b"more"],
    "reformatted": lambda study: [b"reformatted", canonical(study)],
    "other": lambda study: [b"other", b"paper"],
}
ASKS = st.sampled_from(["analyst-1", "admin-1"])
WORDS = st.tuples(
    st.sampled_from(["counsel-1", "counsel-1", "admin-1", "admin-1", "kohi", "stranger"]),
    st.sampled_from(["legal", "it", "business", "ethics"]),
    st.sampled_from(["approve", "approve", "approve", "revoke", "reject"]),
    st.sampled_from(["exact", "exact", "exact", *PAPERS]),
    st.sampled_from([ROSTER, ROSTER, BEFORE, NEXT, TWIN]),
    st.integers(0, 3),
)


@settings(max_examples=150, deadline=None)
@given(lines=st.lists(WORDS, min_size=1, max_size=6), both=st.booleans(), asks=ASKS)
def test_the_verifier_counts_whom_a_site_counts(
    lines: list[tuple[str, str, str, str, Roster, int]], both: bool, asks: str
) -> None:
    study = example.STUDY.replace(b"analyst-1 ", asks.encode() + b" ")
    signatures = b"".join(
        said(person, role, PAPERS[about](study), decision=decision, issued=example.NOW + timedelta(days=day),
             roster=roster)      # a no under another roster has a test above
        for person, role, decision, about, roster, day in lines
    )
    if both:
        signatures += b"".join(
            said(person, role, PAPERS["exact"](study), issued=example.NOW + timedelta(days=1))
            for role, person in example.BOTH.items())
    counted = at_site(study, signatures, asks)
    details: list[str] = []
    papers = {"study.yaml": study, STUDY_SIGNATURES: signatures}
    try:
        verifier._check_papers(papers, verifier.read_roster(example.roster_yaml()), details)
    except verifier.Found:
        details = []
    enough = {"legal", "it"} <= set(counted.values())
    told = ", ".join(f"{name} ({counted[name]})" for name in sorted(counted))
    assert details == ([f"study.yaml: approved by {told}"] if enough else [])
