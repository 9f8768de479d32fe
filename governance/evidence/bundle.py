"""evidence.zip: papers, logs, provenance and the verifier in one canonical archive with one signed manifest.

What it is for: turning members that the caller gathered into bytes that are the same every time, signing their digests,
and refusing to write anything that the stand-alone verifier would not accept. What it is NOT for: gathering (that reads
folders and logs and lies in core), choosing entries (selection.py), views for people (views.py), or verifying
(verifier.py, which travels in the bundle). docs/formats/evidence.md has the layout.

Order of calls: gather `{name: member}` (`log_members`, `selected_line`, `provenance_member`)
-> `write_bundle(path, members=..., key=..., scope=...)` -> its digest.

A member is its bytes, or the path of a file that holds them, which nobody changes meanwhile: a log need not fit memory.
Added here are README.txt, verify.py, the views, manifest.json and manifest.json.dsse.json.

Time is nowhere in it but in the signed things themselves: Ed25519 is deterministic, so the same members under the same
key give the same file.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ..canonical import canonical_bytes, digest_bytes
from ..errors import BadDocumentError, BadSignatureError, GovernanceError
from ..language import LANGUAGES, Catalogue
from ..signing.envelope import PREDICATES, Statement, Subject, read_envelopes, sign_statement, verify_envelope
from ..signing.keys import SigningKey
from ..signing.roster import Roster
from . import verifier
from .selection import EVERYTHING, Scope
from .views import FOLDER as VIEWS
from .views import view_members

Member = bytes | Path
README, VERIFIER = verifier.README, verifier.VERIFIER
ADDED = frozenset({README, VERIFIER, verifier.MANIFEST, verifier.MANIFEST_SIGNATURE})
READABLE = 0o644
HOUSE = __name__.removesuffix(".evidence.bundle")
README_SOURCE = Path(__file__).parent.parent / "templates" / "evidence_readme.txt"


class Reading(Mapping[str, bytes]):
    """Members as their bytes, each read when it is asked for."""

    def __init__(self, members: Mapping[str, Member]) -> None:
        self._members = members

    def __getitem__(self, name: str) -> bytes:
        member = self._members[name]
        return member if isinstance(member, bytes) else member.read_bytes()

    def __contains__(self, name: object) -> bool:
        return name in self._members       # else it would be read to find out that it is there

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


class Measured(NamedTuple):
    """What the archive and the manifest say of a member: size, CRC-32 and digest."""

    size: int
    crc: int
    digest: str


def write_bundle(path: Path, *, members: Mapping[str, Member], key: SigningKey, scope: Scope = EVERYTHING,
                 together: bool = False, mode: int = READABLE) -> str:
    """Write the bundle to ``path`` whole or not at all; gives the "sha256:" digest of the file.

    ``together``: all keys lay on this machine, which README.txt then says. ``mode``: who may read the file.

    Raises:
        BadDocumentError: EVIDENCE_MEMBER (a name that cannot be one), EVIDENCE_ROSTER (the verifier would read another
            roster than we do), EVIDENCE_INCONSISTENT (the verifier finds something), EVIDENCE_UNWRITABLE.
    """
    partial = path.with_name(path.name + ".part")
    try:
        # always a new file: a link that lies at the draft's place must not lead to another one
        partial.unlink(missing_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with open(os.open(partial, flags, mode), "w+b") as file:
            _write(file, members, key, scope, together=together)
            file.flush()
            os.fsync(file.fileno())
            _check(file)
            digest = _measured(partial).digest
        os.replace(partial, path)
    except OSError as error:
        raise BadDocumentError("EVIDENCE_UNWRITABLE", f"the evidence cannot be written ({error.strerror})",
                               "choose a folder that you may write to and that has room", file=path.name) from None
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    return digest


def bundle_bytes(members: Mapping[str, Member], key: SigningKey, scope: Scope = EVERYTHING) -> bytes:
    """The bytes of the bundle, as the verifier accepts them. Raises as `write_bundle` does, but for writing."""
    file = io.BytesIO()
    _write(file, members, key, scope, together=False)
    _check(file)
    return file.getvalue()


def _write(file: BinaryIO, members: Mapping[str, Member], key: SigningKey, scope: Scope, *, together: bool) -> None:
    # 1. Every name can stand in the archive, and none is one of those added here.
    for name in members:
        if not verifier.NAME.fullmatch(name) or name in ADDED or name.startswith(VIEWS):
            raise BadDocumentError("EVIDENCE_MEMBER", "a member of the evidence has a name that is taken or not plain",
                                   "use letters, digits, dots, hyphens and slashes", file=name)
    # 2. Both readers of the roster see the same keys.
    _check_roster(Reading(members))
    # 3. What is added: how to check it, the verifier, and what people read.
    whole: dict[str, Member] = {
        **members,
        README: readme(scope, together=together or _is_demo(Reading(members))),
        VERIFIER: Path(verifier.__file__).read_bytes(),
    }
    try:
        views = view_members(Reading(members), scope)
    except (GovernanceError, *verifier.MALFORMED):
        # what cannot be shown may be what does not verify; that is the better answer
        draft = io.BytesIO()
        _pack(draft, whole, key, scope)
        _check(draft)
        raise
    # 4. The rest.
    _pack(file, {**whole, **views}, key, scope)


def _manifest(measured: Mapping[str, Measured], scope: Scope) -> bytes:
    members = {name: one.digest for name, one in measured.items()}
    return canonical_bytes({"schema": verifier.SCHEMA, "scope": scope.written(), "members": members})


def _pack(file: BinaryIO, members: Mapping[str, Member], key: SigningKey, scope: Scope) -> None:
    # 1. The manifest, and its signature.
    measured = {name: _measured(member) for name, member in members.items()}
    manifest = _manifest(measured, scope)
    subject = Subject(verifier.MANIFEST, digest_bytes(manifest))
    envelope = sign_statement(Statement((subject,), PREDICATES["evidence"], {}), [key])
    whole = {**members, verifier.MANIFEST: manifest, verifier.MANIFEST_SIGNATURE: envelope.to_bytes()}
    # 2. One after the other, then the directory.
    directory, at = bytearray(), 0
    for name in sorted(whole):
        member = whole[name]
        size, crc, _ = measured.get(name) or _measured(member)
        header = verifier.local_header(name, size, crc)
        directory += verifier.directory_record(name, size, crc, at)
        file.write(header)
        for chunk in _chunks(member):
            file.write(chunk)
        at += len(header) + size
        if at > verifier.CONTAINER_LIMIT:
            raise BadDocumentError("EVIDENCE_TOO_LARGE", "the evidence is larger than one archive can be (4 GiB)",
                                   "export one run or one period at a time")
    file.write(directory + verifier.end_record(len(whole), len(directory), at))


def _check(file: BinaryIO) -> None:
    """What we write is what a stranger will accept: the same file judges it now."""
    verdict = verifier.judge(file, None)
    if verdict.name != "consistent":
        raise BadDocumentError("EVIDENCE_INCONSISTENT", f"the evidence would not verify: {verdict.details[-1]}",
                               "bring the papers and logs in order first; nothing was written")


def readme(scope: Scope, *, together: bool) -> bytes:
    """README.txt, English and Japanese: how to check the bundle, what it is of, and what it does not show."""
    texts, data = Catalogue.load(HOUSE, "texts"), README_SOURCE.read_text("utf-8")
    said = scope.written()
    for language in LANGUAGES:
        what = texts.render(f"evidence_readme.scope-{scope.kind}", language, of=scope.of, since=said.get("from", ""),
                            until=said.get("until", ""))
        apart = texts.render("evidence_readme.together" if together else "evidence_readme.apart", language)
        data = data.replace(f"[scope.{language}]", what).replace(f"[apart.{language}]", apart)
    return data.encode("utf-8")


def _is_demo(members: Mapping[str, bytes]) -> bool:
    return Roster.parse(members[verifier.ROSTER], verifier.ROSTER).demo


def _chunks(member: Member) -> Iterator[bytes]:
    if isinstance(member, bytes):
        yield member
        return
    with member.open("rb") as file:
        while chunk := file.read(verifier.CHUNK):
            yield chunk


def _measured(member: Member) -> Measured:
    size, crc, sha256 = 0, 0, hashlib.sha256()
    for chunk in _chunks(member):
        size, crc = size + len(chunk), zlib.crc32(chunk, crc)
        sha256.update(chunk)
    return Measured(size, crc, "sha256:" + sha256.hexdigest())


def log_members(party: str, entries: Iterable[bytes], checkpoint: str) -> dict[str, bytes]:
    """The two members of one party's log: its entries as stored, and its signed head."""
    return {
        f"logs/{party}.jsonl": b"".join(entry + b"\n" for entry in entries),
        f"logs/{party}.checkpoint": checkpoint.encode("utf-8"),
    }


def selected_line(index: int, entry: bytes, proof: Sequence[bytes]) -> bytes:
    """One line of ``logs/<party>.selected.jsonl``: an entry, its number, and the proof that it is in the log."""
    rest = canonical_bytes({"index": index, "proof": hashes_text(proof)})
    # an entry's bytes are canonical themselves, and of the three "entry" comes first
    return b'{"entry":' + entry + b"," + rest[1:] + b"\n"


def consistency_member(proof: Sequence[bytes]) -> bytes:
    """``witnessed/<witness>/<party>.consistency``: that the log goes on from what the witness saw."""
    return canonical_bytes(hashes_text(proof)) + b"\n"


def hashes_text(proof: Sequence[bytes]) -> list[str]:
    """A proof's hashes in base64."""
    return [base64.b64encode(one).decode("ascii") for one in proof]


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
