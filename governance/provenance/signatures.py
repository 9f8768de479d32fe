"""Whether the signatures that a statement names are still there, and whether they say yes to a paper.

For: one edge of a lineage. Not for: whether an approval counts at a moment (signing/approvals.py): dates, revocations
and what was shown are the site's to judge, and its log has what it decided.

Stricter than a site in one thing: a line counts only in the one form in which it is written, so that no changed byte of
it passes. Order of calls: ``signed_lines`` -> ``names_kept``, ``approving_roles``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..canonical import digest_bytes
from ..errors import GovernanceError
from ..signing.envelope import PREDICATES, Envelope, verify_envelope
from ..signing.roster import Roster

SIGNATURES = ".dsse.json"


def signed_lines(papers: Mapping[str, bytes], name: str) -> dict[str, bytes]:
    """The lines beside a paper, each under its digest; none where the file is not there."""
    data = papers.get(name + SIGNATURES, b"")
    return {digest_bytes(line): line for line in data.removesuffix(b"\n").split(b"\n") if line}


def names_kept(lines: Mapping[str, bytes], named: Sequence[str]) -> bool:
    """Whether every signature that a statement names lies beside its paper, byte for byte."""
    return bool(named) and set(named) <= set(lines)


def approving_roles(lines: Mapping[str, bytes], roster: Roster, *, paper: str, kind: str) -> frozenset[str]:
    """The roles in which people of ``roster`` said yes to the bytes whose digest is ``paper``.

    ``kind``: the predicate, e.g. "policy-approval". A person counts in the roles that the roster gives them.
    """
    found: set[str] = set()
    for line in lines.values():
        try:
            found |= _roles_of(line, roster, paper, kind)
        except GovernanceError:
            continue  # a stranger's line, or no line: it neither helps nor harms
    return frozenset(found)


def _roles_of(line: bytes, roster: Roster, paper: str, kind: str) -> set[str]:
    envelope = Envelope.from_bytes(line)
    if envelope.to_bytes().removesuffix(b"\n") != line:
        return set()
    people = {key.key_id: key for person in roster.people for key in person.keys}
    statement, signers = verify_envelope(envelope, people)
    said = statement.predicate
    if statement.predicate_type != PREDICATES[kind] or paper not in statement.digests:
        return set()
    if said.get("decision") != "approve":
        return set()
    owners = [person for person in map(roster.person_of, signers) if person is not None]
    return {role for person in owners for role in person.roles if role == said.get("role")}
