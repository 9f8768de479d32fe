"""What was signed, read and checked together: roster, study, policy, base-model record.

One order, each step with its own refusal: a roster that every site signed and that is valid now; a study approved by
the roster's thresholds; a policy of this site approved the same way, by people who saw what this site would show, with
the version before it beside it in ``earlier/``; a base model whose signed record fits the weights on this machine.
Signed bytes are what is enforced: nothing is read from anywhere else.

Not here: keys, databases and records (folder.py), and the decision (gate/).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from ...governance.policy.policy import Policy
from ...governance.policy.signoff import check_controller, check_succession, shown
from ...governance.provenance.disclosure import BaseModelRecord
from ...governance.signing.approvals import Approved, Shown, approvals
from ...governance.signing.envelope import PREDICATES, Envelope, read_envelopes
from ...governance.signing.roster import PartyKind, Roster
from ...governance.signing.succession import MAX_CHAIN, SignedRoster, verify_roster
from ..data.intake import BaseModelFacts
from ..errors import BadInputError, Refused
from ..study import Study
from .versions import accepted_rosters, check_once_signed

SIGNATURES = ".dsse.json"  # beside each signed file
EARLIER = "earlier"  # a site's folder of the policies that its present one replaced, each <version>.yaml
ROSTERS = "rosters"  # the folder of earlier rosters, <version>.yaml with signatures beside it
HOW_TO_SIGN = "its people sign it with `sekisho legal sign`; `sekisho study status` names who, and the command to type"
HOW_TO_SIGN_THE_ROSTER = "every site signs it with `sekisho site sign-roster SITE`; people sign papers after that"

# Where people look for a file that a folder they named should hold; of any other file there is nothing to say.
HELD_BY = {
    **dict.fromkeys(("roster.yaml", "study.yaml", "base-model.yaml", "test.jsonl.gz"), "a study folder"),
    **dict.fromkeys(("policy.yaml", "records.jsonl.gz"), "each site's folder of a study"),
    "release.json": "the folder of a released adapter",
}


@dataclass(frozen=True)
class Papers:
    """The signed documents one site runs under; ``study_approvals`` counts distinct people by role.

    ``shown`` is what the signers of the policy saw, recomputed here once: the policy does not change while it is open.
    """

    roster: Roster
    study: Study
    policy: Policy
    shown: Shown
    base_model: BaseModelRecord
    study_approvals: Mapping[str, int]


def read_roster(study_folder: Path, *, now: datetime) -> Roster:
    """The roster, valid now, signed by every site in it or handed on from one that was."""
    path = study_folder / "roster.yaml"
    roster = Roster.parse(read_file(path), path.name)
    earlier = earlier_rosters(study_folder, roster)
    verify_roster(roster, read_signatures(path), earlier, now=now)
    return with_former(roster, earlier)


def with_former(roster: Roster, earlier: Sequence[SignedRoster]) -> Roster:
    """The roster, knowing the people of the versions before it, so that what they signed is not a stranger's."""
    return replace(roster, former=tuple(person for one in earlier for person in one.roster.people))


def earlier_rosters(study_folder: Path, roster: Roster) -> tuple[SignedRoster, ...]:
    """The versions before a roster that names one, latest first, as they lie in ``rosters/``.

    Each is the one that the next names by fingerprint; their signatures are not verified here.
    """
    found: list[SignedRoster] = []
    here = roster
    while here.supersedes is not None and len(found) < MAX_CHAIN:
        name = f"{ROSTERS}/{here.version - 1}.yaml"
        path = study_folder / name
        if not path.exists():
            break  # the chain is too short then, unless every site signed
        before = Roster.parse(read_file(path), name)
        if before.fingerprint != here.supersedes:
            break  # of the same version, and not the one that is named
        here = before
        found.append(SignedRoster(here, read_signatures(path, name)))
    return tuple(found)


def read_study(study_folder: Path) -> Study:
    """The study as written; whether it is approved is a fact for the policy."""
    path = study_folder / "study.yaml"
    return Study.parse(read_file(path), path.name)


def read_papers(study_folder: Path, site: str, *, base_model: BaseModelFacts, now: datetime) -> Papers:
    """Everything signed that ``site`` runs under. Raises coded errors in the order of the checks."""
    # 1. roster, and a study whose sites are sites of it, under controllers that the noise allows for
    roster = read_roster(study_folder, now=now)
    study = read_study(study_folder)
    check_parties(study, roster)
    # 2. policy: this site's own, replacing what it says it replaces, signed by its own people who saw just that
    policy = read_policy(study_folder, site)
    check_controller(policy, roster.party(site))
    seen = shown(policy, read_before(study_folder, site, policy))
    check_policy_signed(study_folder, site, policy, roster, seen=seen, now=now)
    # 3. study: who approved it, by role
    by_role = study_approvals(study_folder, study, roster, now=now)
    # 4. base model: signed record, weights on this machine, study: one digest
    record = read_base_model(study_folder, roster, now=now)
    for name, digest in (("base-model.yaml", record.digest), ("study.yaml", study.base_model.digest)):
        if digest != base_model.digest:
            raise Refused(
                "BASE_MODEL_DIFFERS",
                f"{site}: the base model on this machine is not the one that {name} names",
                hint=f"{name} names the weights {digest}; here they are {base_model.digest}",
                site=site,
            )
    return Papers(roster, study, policy, seen, record, by_role)


def check_parties(study: Study, roster: Roster) -> None:
    """The operator is never a site; no controller holds more than T sites; controllers are as many as sites must be."""
    operator = roster.coordinator.controller
    held: dict[str, int] = {}
    for site in study.sites:
        party = roster.party(site)
        if party.kind is not PartyKind.SITE or party.controller == operator:
            raise Refused(
                "OPERATOR_IS_A_SITE",
                f"'{site}' is the coordinator, or under one controller with it: it would hold what opens the sums",
                hint="whoever operates the coordinator cannot take part as a site",
                site=site,
            )
        held[party.controller] = held.get(party.controller, 0) + 1
    controller, most = max(held.items(), key=lambda pair: pair[1])
    if most > study.observers:
        raise Refused(
            "CONTROLLER_HOLDS_TOO_MANY",
            f"'{controller}' controls {most} sites and the study's noise allows for {study.observers} observing",
            hint="raise observers in study.yaml to the number of sites under one controller, or leave sites out",
        )
    if len(held) < study.minimum_sites:
        raise Refused(
            "CONTROLLERS_TOO_FEW",
            f"{len(held)} organisations stand behind the study's sites and minimum_sites is {study.minimum_sites}",
            hint="sites under one controller count once; lower minimum_sites in study.yaml, or find more organisations",
        )


def study_approvals(study_folder: Path, study: Study, roster: Roster, *, now: datetime) -> dict[str, int]:
    """How many people approved the study as it stands, by role, at ``now``; without whoever asked for it.

    A role of the roster in which nobody signed is a known zero; a role that the roster lacks stays a missing fact.
    """
    approved = study_signatures(study_folder, study, roster, now=now)
    return {role: approved.by_role.get(role, 0) for role in roster.roles}


def study_signatures(study_folder: Path, study: Study, roster: Roster, *, now: datetime) -> Approved:
    """Who approved the study as it stands, and why what else lies beside it does not count."""
    return approvals(
        roster,
        read_signatures(study_folder / "study.yaml"),
        subjects=frozenset({study.digest, study.canonical_digest}),
        predicate_type=PREDICATES["study-approval"],
        now=now,
        requester=study.requester,
    )


def requester_is_known(study: Study, roster: Roster) -> bool:
    """Only of a pseudonym of the roster can it be said that the requester's own approval was left out."""
    return any(person.pseudonym == study.requester for person in roster.people)


def check_policy_signed(
    study_folder: Path, site: str, policy: Policy, roster: Roster, *, seen: Shown, now: datetime
) -> None:
    """Legal and IT of ``site`` itself, who saw ``seen``, stand by the policy at ``now``.

    Raises ``Refused`` POLICY_NOT_SIGNED, with the reasons of those signatures that do not count.
    """
    path = study_folder / "sites" / site / "policy.yaml"
    signed = approvals(
        roster.acting_for(site),
        read_signatures(path, f"sites/{site}/{path.name}"),
        subjects=frozenset({policy.bytes_digest, policy.canonical_digest}),
        predicate_type=PREDICATES["policy-approval"],
        now=now,
        requester=None,
        shown=seen,
    )
    for role, needed in policy_signers(roster).items():
        if signed.by_role.get(role, 0) < needed:
            reasons = ", ".join(sorted({one.code for one in signed.ignored}))
            raise Refused(
                "POLICY_NOT_SIGNED",
                f"{site}: policy.yaml lacks a valid signature, over its present bytes, of '{role}' acting for {site}"
                + (f"; others do not count: {reasons}" if reasons else ""),
                hint="whoever the roster lets act for this site signs it as it stands (`sekisho legal sign`; "
                "`sekisho study status` names them); any change needs new signatures",
                site=site,
            )


def read_policy(study_folder: Path, site: str) -> Policy:
    """The policy of ``site`` as it stands. Raises ``Refused`` without one: nothing is permitted by silence."""
    name = f"sites/{site}/policy.yaml"
    try:
        data = read_file(study_folder / name)
    except BadInputError as error:
        raise Refused(
            "POLICY_MISSING",
            f"{site}: there is no policy that can be read: {error.sentence}",
            hint=f"{name} says what {site} permits; without it nothing is",
            site=site,
        ) from None
    return Policy.parse(data, name)


def read_before(study_folder: Path, site: str, policy: Policy) -> Policy | None:
    """The version that ``policy`` replaces, from the site's folder of earlier ones; None before a first version.

    That one was signed, and every one before it. Whether the study's roster is in force is for the caller to see.

    Raises:
        Refused: the codes of ``check_succession``, POLICY_PREDECESSOR_UNSIGNED. BadDocumentError: unreadable.
    """
    before = version = _kept(study_folder, site, policy)
    rosters = _once_in_force(study_folder) if before is not None else ()
    while version is not None:
        older = _kept(study_folder, site, version)
        name = f"sites/{site}/{EARLIER}/{version.version}.yaml"
        path = study_folder / name
        envelopes = read_signatures(path, name) if path.with_name(path.name + SIGNATURES).exists() else ()
        check_once_signed(version, envelopes, site=site, seen=shown(version, older), rosters=rosters)
        version = older
    return before


def _once_in_force(study_folder: Path) -> tuple[tuple[Roster, Mapping[str, int]], ...]:
    roster = Roster.parse(read_file(study_folder / "roster.yaml"), "roster.yaml")
    return tuple((one, policy_signers(one)) for one in accepted_rosters(roster, earlier_rosters(study_folder, roster)))


def _kept(study_folder: Path, site: str, policy: Policy) -> Policy | None:
    name = f"sites/{site}/{EARLIER}/{policy.version - 1}.yaml"
    path = study_folder / name
    before = Policy.parse(read_file(path), name) if policy.version > 1 and path.is_file() else None
    check_succession(policy, before)
    return before


def policy_signers(roster: Roster) -> dict[str, int]:
    """Who must sign a policy: legal and IT, each at the roster's threshold."""
    return {role: roster.roles[role] for role in ("legal", "it") if role in roster.roles} or {"legal": 1, "it": 1}


def read_base_model(study_folder: Path, roster: Roster, *, now: datetime) -> BaseModelRecord:
    """The signed record of the base model. Raises ``Refused`` when legal has not signed it as it stands."""
    path = study_folder / "base-model.yaml"
    record = BaseModelRecord.parse(read_file(path), path.name)
    check_base_model_signed(study_folder, record, roster, now=now)
    return record


def check_base_model_signed(study_folder: Path, record: BaseModelRecord, roster: Roster, *, now: datetime) -> None:
    """Legal stands by the record at ``now``. Raises ``Refused`` BASE_MODEL_NOT_SIGNED, or the codes of its dates."""
    record.check_valid(now)
    path = study_folder / "base-model.yaml"
    signed = approvals(
        roster,
        read_signatures(path),
        subjects=frozenset({record.bytes_digest, record.canonical_digest}),
        predicate_type=PREDICATES["base-model"],
        now=now,
        requester=None,
    )
    if not signed.by_role.get("legal"):
        raise Refused(
            "BASE_MODEL_NOT_SIGNED",
            "base-model.yaml lacks a valid signature of role 'legal' over its present bytes",
            hint="legal reads what the model was trained on and signs the record as it stands (`sekisho legal sign`)",
        )


def read_signatures(path: Path, name: str = "") -> tuple[Envelope, ...]:
    """The envelopes beside a signed file, which people know as ``name``. Raises ``Refused`` when there are none."""
    name = name or path.name
    beside = path.with_name(path.name + SIGNATURES)
    if not beside.exists():
        raise Refused(
            "SIGNATURE_MISSING",
            f"{name} has no signatures beside it",
            hint=HOW_TO_SIGN_THE_ROSTER if path.name == "roster.yaml" else HOW_TO_SIGN,
        )
    return read_envelopes(read_file(beside), name=name + SIGNATURES)


def read_file(path: Path) -> bytes:
    """Bytes of a file the study needs. Raises ``BadInputError`` when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        held = path.name in HELD_BY
        where = f"; {HELD_BY[path.name]} holds {path.name}" if held else ""
        folder = f"; looked for in {path.parent}: is that the folder that you mean?" if held else ""
        raise BadInputError(
            "FILE_UNREADABLE",
            f"{path.name} cannot be read ({error.strerror})",
            hint=f"check the path and your right to read it{where}{folder}",
        ) from None
