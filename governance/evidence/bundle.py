"""evidence.zip: papers, logs, provenance and the verifier in one canonical archive with one signed manifest.

What it is for: turning members that the caller gathered into bytes that are the same every time, signing their digests,
and refusing to write anything that the stand-alone verifier would not accept. What it is NOT for: gathering (that reads
folders and logs and lies in core), views for people, or verifying (verifier.py, which travels in the bundle).

Order of calls: gather `{name: bytes}` by the layout below (`log_members`, `provenance_member`)
-> `write_bundle(path, members=..., key=...)` -> its digest.

    rosters/<version>.yaml   the earlier rosters, back to one that every site signed
    roster.yaml            study.yaml            base-model.yaml            policies/<site>.yaml
    each with its signatures beside it: <name>.dsse.json, one DSSE envelope a line
    logs/<party>.jsonl     entries exactly as logged, one a line      logs/<party>.checkpoint   C2SP signed note
    provenance/<run>.dsse.json   the statement of each run that released an adapter, as signed and logged
    added here: README.txt, verify.py, manifest.json, manifest.json.dsse.json

Time is nowhere in it but in the signed things themselves: Ed25519 is deterministic, so the same members under the same
key give the same file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from ..canonical import canonical_bytes, digest_bytes
from ..errors import BadDocumentError, BadSignatureError
from ..signing.envelope import PREDICATES, Statement, Subject, read_envelopes, sign_statement, verify_envelope
from ..signing.keys import SigningKey
from ..signing.roster import Roster
from . import verifier

README, VERIFIER = "README.txt", "verify.py"
ADDED = frozenset({README, VERIFIER, verifier.MANIFEST, verifier.MANIFEST_SIGNATURE})
README_SOURCE = Path(__file__).parent.parent / "templates" / "evidence_readme.txt"


def write_bundle(path: Path, *, members: Mapping[str, bytes], key: SigningKey) -> str:
    """Write the bundle to ``path`` whole or not at all; gives the "sha256:" digest of the file.

    Raises:
        BadDocumentError: EVIDENCE_MEMBER (a name that cannot be one), EVIDENCE_ROSTER (the verifier would read another
            roster than we do), EVIDENCE_INCONSISTENT (the verifier finds something), EVIDENCE_UNWRITABLE.
    """
    data = bundle_bytes(members, key)
    partial = path.with_name(path.name + ".part")
    try:
        # always a new file: a link that lies at the draft's place must not lead to another one
        partial.unlink(missing_ok=True)
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise BadDocumentError("EVIDENCE_UNWRITABLE", f"the evidence cannot be written ({error.strerror})",
                               "choose a folder that you may write to and that has room", file=path.name) from None
    return digest_bytes(data)


def bundle_bytes(members: Mapping[str, bytes], key: SigningKey) -> bytes:
    """The bytes of the bundle, as the verifier accepts them. Raises as `write_bundle` does, but for writing."""
    # 1. Every name can stand in the archive, and none is one of those added here.
    for name in members:
        if not verifier.NAME.fullmatch(name) or name in ADDED:
            raise BadDocumentError("EVIDENCE_MEMBER", "a member of the evidence has a name that is taken or not plain",
                                   "use letters, digits, dots, hyphens and slashes", file=name)
    # 2. Both readers of the roster see the same keys.
    _check_roster(members)
    # 3. The manifest, and its signature.
    whole = {**members, README: README_SOURCE.read_bytes(), VERIFIER: Path(verifier.__file__).read_bytes()}
    manifest = canonical_bytes({
        "schema": verifier.SCHEMA,
        "scope": {"kind": "all"},
        "members": {name: digest_bytes(data) for name, data in whole.items()},
    })
    subject = Subject(verifier.MANIFEST, digest_bytes(manifest))
    envelope = sign_statement(Statement((subject,), PREDICATES["evidence"], {}), [key])
    whole[verifier.MANIFEST], whole[verifier.MANIFEST_SIGNATURE] = manifest, envelope.to_bytes()
    data = verifier.write_container(whole)
    # 4. What we write is what a stranger will accept: the same file judges it now.
    verdict = verifier.verify(data)
    if verdict.name != "consistent":
        raise BadDocumentError("EVIDENCE_INCONSISTENT", f"the evidence would not verify: {verdict.details[-1]}",
                               "bring the papers and logs in order first; nothing was written")
    return data


def log_members(party: str, entries: Iterable[bytes], checkpoint: str) -> dict[str, bytes]:
    """The two members of one party's log: its entries as stored, and its signed head."""
    return {
        f"logs/{party}.jsonl": b"".join(entry + b"\n" for entry in entries),
        f"logs/{party}.checkpoint": checkpoint.encode("utf-8"),
    }


def provenance_member(data: bytes, roster: Roster, *, file: str) -> str:
    """The name in the bundle of a released adapter's statement: that of its run.

    Raises:
        BadDocumentError: SIGNATURES_UNREADABLE, EVIDENCE_PROVENANCE (not one run's statement, signed by a party).
    """
    envelopes = read_envelopes(data, name=file)
    parties = {party.key.key_id: party.key for party in roster.parties}
    try:
        statement, _ = verify_envelope(envelopes[0], parties)
    except BadSignatureError as error:
        raise _no_statement(file, error.sentence) from error
    name = f"provenance/{statement.predicate.get('run')}.dsse.json"
    if len(envelopes) != 1 or statement.predicate_type != PREDICATES["training-run"]:
        raise _no_statement(file, "it is not exactly one statement of a run")
    if not verifier.NAME.fullmatch(name) or not verifier.PROVENANCE.fullmatch(name):
        raise _no_statement(file, "its run has no plain name")
    return name


def _no_statement(file: str, reason: str) -> BadDocumentError:
    return BadDocumentError("EVIDENCE_PROVENANCE", f"this is no provenance statement of this study: {reason}",
                            "give the provenance.dsse.json that was released beside the adapter", file=file)


def _check_roster(members: Mapping[str, bytes]) -> None:
    if verifier.ROSTER not in members:
        raise BadDocumentError("EVIDENCE_MEMBER", "the evidence has no roster", "pass roster.yaml as it was signed",
                               file=verifier.ROSTER)
    for name in sorted(members):
        if name == verifier.ROSTER or re.fullmatch(r"rosters/[0-9]+\.yaml", name):
            _check_one_roster(name, members[name])


def _check_one_roster(name: str, data: bytes) -> None:
    ours = Roster.parse(data, name)
    expected: dict[str, tuple[str, bool, tuple[str, ...], tuple[str, ...]]]
    expected = {party.key.key_id: (party.id, True, (party.kind.value,), ()) for party in ours.parties}
    expected |= {key.key_id: (one.pseudonym, False, one.roles, one.acts_for) for one in ours.people for key in one.keys}
    try:
        read = verifier.read_roster(data)
    except (*verifier.MALFORMED, verifier.Found):
        read = verifier.Roster({}, {}, 0, "")
    theirs = {key_id: (one.name, one.is_party, one.roles, one.acts_for) for key_id, one in read.keys.items()}
    same = (theirs, read.thresholds, read.version) == (expected, dict(ours.roles), ours.version)
    head = (ours.supersedes or "", ours.demo, ours.created, ours.expires)
    if not same or (read.supersedes, read.demo, read.created, read.expires) != head:
        raise BadDocumentError("EVIDENCE_ROSTER", "the roster's form is beyond what the stand-alone verifier reads",
                               "write it as plain YAML: one key a line, lists and mappings on one line or indented",
                               file=name)
