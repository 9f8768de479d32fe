"""What a lineage is held against, and the two checks on which everything else of it rests.

For: the bytes at hand as one value, and opening the statement of a run: roster first, then the signature. Not for: the
edges behind that (tracing.py), or reading folders and bundles (core/pilot/tracing.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ..errors import BadDocumentError, BadSignatureError, GovernanceError
from ..log.copy import LogCopy
from ..signing.envelope import PREDICATES, Statement, read_envelopes, read_time, verify_envelope
from ..signing.roster import Roster
from ..signing.succession import SignedRoster, verify_roster
from .lineage import NOT_AT_HAND, Finding, broken, held, unchecked
from .provenance import TrainingRun
from .signatures import SIGNATURES, names_kept, signed_lines

PROVENANCE_FILE = "provenance.dsse.json"
ROSTER, STUDY, BASE_MODEL = "roster.yaml", "study.yaml", "base-model.yaml"
EARLIER, REVOCATIONS = "rosters/", "revocations/list.dsse.json"


@dataclass(frozen=True)
class Here:
    """What this machine has: digests of the installed program and of the weights, if they are here, and a clock."""

    code: str = ""
    weights: str | None = None
    now: datetime | None = None


@dataclass(frozen=True)
class Material:
    """All that a lineage is held against.

    ``released``: the files of the adapter's folder by name. ``papers``: by the names of an evidence bundle
    (roster.yaml, rosters/1.yaml, study.yaml, base-model.yaml, policies/<site>.yaml, each with .dsse.json beside it).
    ``logs``: by party; one that is not at hand is left out. ``root``: the roster's fingerprint, received elsewhere.
    """

    released: Mapping[str, bytes]
    papers: Mapping[str, bytes]
    logs: Mapping[str, LogCopy]
    here: Here = field(default_factory=Here)
    root: str | None = None


@dataclass(frozen=True)
class Opened:
    """The statement, if it counts; who signed it under which roster, and what was found of both."""

    roster: Finding
    signed: Finding
    statement: Statement | None = None
    said: TrainingRun | None = None
    signer: str = ""
    under: Roster | None = None

    @property
    def signers_roster(self) -> Roster:
        """The roster under which it was signed. Raises ``ValueError`` where nothing was opened."""
        if self.under is None:
            raise ValueError("nothing was opened")
        return self.under


def open_statement(material: Material) -> Opened:
    """Roster, then signature; what is not signed is not read."""
    # 1. the rosters at hand, the latest first, and the latest is the one whose fingerprint was given
    try:
        rosters = _rosters(material.papers)
    except GovernanceError:
        return _without_roster("ROSTER_UNREADABLE")
    if not rosters:
        return _without_roster("MISSING")
    if material.root is not None and material.root != rosters[0].roster.fingerprint:
        return _without_roster("ROOT_DIFFERS")
    # 2. one of them holds the key that signed
    for link in rosters:
        signed = _signed_under(material.released, link.roster)
        if signed is not None:
            return _under(material, rosters, link, *signed)
    intact = _roster_holds(rosters, rosters[0], rosters[0].roster.created)
    return Opened(unchecked(NOT_AT_HAND) if intact else broken("ROSTER_UNSIGNED"), broken("NOT_SIGNED"))


def _under(material: Material, rosters: list[SignedRoster], link: SignedRoster, statement: Statement,
           signer: str) -> Opened:
    # 3. it says what a statement of a run says, and took that roster for its own
    try:
        said = TrainingRun.of(statement)
    except BadDocumentError as error:
        return Opened(unchecked(NOT_AT_HAND), broken(error.code))
    if said.roster != link.roster.fingerprint:
        return _without_roster("ROSTER_DIFFERS")
    if signer not in {site.id for site in said.sites}:
        return Opened(held(), broken("NOT_SIGNED"))
    # 4. it was signed by its sites, or handed on from one that was, under the very signatures that are named
    name = ROSTER if link is rosters[0] else f"{EARLIER}{link.roster.version}.yaml"
    if not names_kept(signed_lines(material.papers, name), said.approvals.get(ROSTER, ())):
        return _without_roster("SIGNATURES_CHANGED")
    if not _roster_holds(rosters, link, read_time(said.finished)):
        return _without_roster("ROSTER_UNSIGNED")
    return Opened(held(), held(), statement, said, signer, link.roster)


def _without_roster(code: str) -> Opened:
    """Whatever was signed was signed with a key that only a roster could vouch for."""
    return Opened(broken(code), broken("RESTS_ON_BROKEN"))


def _rosters(papers: Mapping[str, bytes]) -> list[SignedRoster]:
    earlier = [name for name in papers if name.startswith(EARLIER) and name.endswith(".yaml")]
    names = [name for name in (ROSTER, *earlier) if name in papers]
    links = [_link(papers, name) for name in names]
    return sorted(links, key=lambda link: -link.roster.version)


def _link(papers: Mapping[str, bytes], name: str) -> SignedRoster:
    signatures = papers.get(name + SIGNATURES)
    envelopes = read_envelopes(signatures, name=name) if signatures else ()
    return SignedRoster(Roster.parse(papers[name], name), envelopes)


def _roster_holds(rosters: list[SignedRoster], link: SignedRoster, moment: datetime) -> bool:
    try:
        verify_roster(link.roster, link.envelopes, rosters, now=moment)
    except GovernanceError:
        return False
    return True


def _signed_under(released: Mapping[str, bytes], roster: Roster) -> tuple[Statement, str] | None:
    """The statement and the site that signed it, if one of ``roster`` did."""
    keys = {site.key.key_id: site.key for site in roster.sites}
    try:
        (envelope,) = read_envelopes(released.get(PROVENANCE_FILE, b""), name=PROVENANCE_FILE)
        statement, signers = verify_envelope(envelope, keys)
    except (BadSignatureError, BadDocumentError, ValueError):
        return None
    # the one form in which it is written: no byte of it is beside the point
    if envelope.to_bytes() != released[PROVENANCE_FILE] or statement.predicate_type != PREDICATES["training-run"]:
        return None
    names = sorted(site.id for site in roster.sites if site.key.key_id in signers)
    return statement, names[0]
