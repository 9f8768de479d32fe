"""Verify an evidence bundle, anywhere: Python >= 3.9, the standard library and the package `cryptography`.

    python verify.py evidence.zip --root sha256:<fingerprint that you were given outside this file>

The order of the checks, each of which stops at the first thing it finds:

    1. container    the zip, written again from its members, is this file byte for byte
    2. manifest     lists every other member with its digest, says what was to be exported, and is signed by a party
    3. roster       is signed by every site in it, or handed on from one that was, by the people of both versions
    4. papers       study, policies and base-model record carry approvals of people in the roster, who saw the same;
                    those count whom a site counts: on a policy who acts for its site, on a study not who asks for it
    5. logs         each party's entries give the root of its signed checkpoint (RFC 6962, C2SP); of a selection, each
                    entry is proven to be in it
    6. misbehaviour proofs that convict a party hold
    7. witnesses    what other parties saw of a log is where that log begins, unless its party is convicted here
    8. provenance   one statement a run, signed by a party; what it names is in this bundle and in that run's entries
    9. root         the digest of roster.yaml is the fingerprint that you gave

Everything hangs on 9: every key comes out of the very bytes of roster.yaml that the fingerprint names, never from a
copy in another form that somebody else could have signed. So this file reads the plain YAML that a roster needs.

What it is NOT for: it does not judge whether an approval had expired when it was used (each site's own log has that
decision), does not compute a paper's canonical digest or renderings again (what a run names is its bytes' digest),
and cannot see what was left out of a selection, nor a rolled-back log that no other party had seen further on.

The format is written down in docs/formats/evidence.md. This file imports nothing of Sekisho. It is the same file inside
the bundle (verify.py) and in the product. Logs are read line by line, so memory does not grow with them.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import io
import json
import re
import struct
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
except ImportError:  # said in words by main(); a library caller has the package
    Ed25519PublicKey = None  # type: ignore[assignment,misc]

SCHEMA = "sekisho-evidence/3"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
ATTESTATION = "urn:sekisho:attestation:"
MANIFEST, MANIFEST_SIGNATURE = "manifest.json", "manifest.json.dsse.json"
README, VERIFIER = "README.txt", "verify.py"
ROSTER, ROSTER_SIGNATURES = "roster.yaml", "roster.yaml.dsse.json"
STUDY, BASE_MODEL, ADAPTER = "study.yaml", "base-model.yaml", "adapter.safetensors"
SUBJECT, SUBJECT_SCHEMA = "subject/request.json", "sekisho-subject-request/1"
APPROVALS = ".dsse.json"
KINDS = {"site", "coordinator"}     # of parties
BOTH = ("legal", "it")      # whose approval a paper needs, by different people
MAX_ENVELOPES, MAX_SIGNATURES = 256, 64      # lines in a file of signatures and signatures in each, as at a site
MAX_DEPTH = 64              # levels inside one another, of JSON and of a roster; a run's statement has seven
MAX_WHOLE_NUMBER = 2**53 - 1     # beyond it RFC 8785 has no exact form
TIME = re.compile(r"(?!0000)(\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d)(?:\.(\d{1,6}))?"
                  r"(Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII)
BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}(/[A-Za-z0-9][A-Za-z0-9._-]{0,99}){0,3}")
HOLDER = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")      # of a party, a person or a role
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
COMMITTED = re.compile(r"(?:hmac-)?sha256:[0-9a-f]{64}")     # what a statement names and a log mentions
PROVENANCE = re.compile(r"provenance/([^/]+)\.dsse\.json")      # the file is named after the run
LOG = re.compile(r"logs/([^/]+?)\.(jsonl|selected\.jsonl|checkpoint)")
WITNESSED = re.compile(r"witnessed/([^/]+)/([^/]+)\.(checkpoint|consistency)")
MISBEHAVIOUR = re.compile(r"misbehaviour/([0-9a-f]{16})\.json")      # named after its digest
KNOWN = tuple(map(re.compile, (
    r"manifest\.json(\.dsse\.json)?", r"README\.txt", r"verify\.py",
    r"(roster|study|base-model|rosters/[0-9]+|policies/[^/]+)\.yaml(\.dsse\.json)?",
    LOG.pattern, WITNESSED.pattern, MISBEHAVIOUR.pattern, r"provenance/[^/]+\.dsse\.json", r"views/.+",
)))
REQUIRED = (MANIFEST, MANIFEST_SIGNATURE, README, VERIFIER, ROSTER, ROSTER_SIGNATURES, STUDY)
# What an exporter can set out to give, with the keys that say it; all but the first are selections.
SCOPES = {"all": (), "run": ("of",), "period": ("from", "until"), "model": ("of",), "subject": ("of",)}
# What an approval binds beside the paper: of a policy, what its signers were shown; of all else nothing.
SHOWN = {False: re.compile(""), True: re.compile(
    '{"comparison": (null|#), "en": #, "ja": #, "renderer": "[^"]+"}'.replace("#", f'"{DIGEST.pattern}"'))}

SENTENCES = {
    "verified": (0, "Verified: nothing was changed, and the signers are those of the roster with your fingerprint.",
                 "検証済み：変更はなく、署名者は指定された指紋の名簿の当事者です。"),
    "consistent": (1, "Consistent, signer unknown: give --root with the fingerprint that you received elsewhere.",
                   "整合していますが署名者は不明です。別の経路で受け取った指紋を --root に指定してください。"),
    "other-root": (4, "The root does not match: the bundle is consistent, but it is signed under another roster.",
                   "指紋が一致しません。整合していますが、別の名簿の下で署名されています。"),
    "changed": (5, "Changed: this is not the bundle as it was exported and signed.",
                "変更されています。出力され署名された時点の証跡ではありません。"),
    "unusable": (6, "Unusable: this cannot be read as an evidence bundle.",
                 "利用できません。証跡バンドルとして読み取れません。"),
}

Json = Any
Progress = Callable[[str], None]


class Verdict(NamedTuple):
    """The answer: ``code`` is the exit status, ``details`` say what was found, one line each (English)."""

    code: int
    name: str
    sentence: str
    details: tuple[str, ...]

    @property
    def sentence_ja(self) -> str:
        return SENTENCES[self.name][2]


class Holder(NamedTuple):
    """Whose key it is: a party (``roles`` holds its kind) or a person, who may sign the policies of ``acts_for``."""

    name: str
    is_party: bool
    roles: tuple[str, ...]
    raw: bytes
    acts_for: tuple[str, ...] = ()


class Envelope(NamedTuple):
    """A DSSE envelope; nobody has read its payload. ``signatures``: hint which key made it, and the signature."""

    kind: str
    payload: bytes
    signatures: tuple[tuple[str, bytes], ...]


class Roster(NamedTuple):
    """Whose keys there are, how many people must sign in each role, and the digest of the file that says so."""

    keys: dict[str, Holder]
    thresholds: dict[str, int]
    version: int
    fingerprint: str
    supersedes: str = ""
    demo: bool = False
    created: datetime = datetime.min
    expires: datetime = datetime.min

    @property
    def sites(self) -> dict[str, bytes]:
        return {one.name: one.raw for one in self.keys.values() if one.is_party and "site" in one.roles}


class Found(Exception):  # noqa: N818  a finding, raised to the one place that makes a verdict of it
    """Something that decides the verdict."""

    def __init__(self, verdict: str, detail: str) -> None:
        super().__init__(detail)
        self.verdict = verdict


def changed(detail: str) -> NoReturn:
    raise Found("changed", detail)


class Scope(NamedTuple):
    """What the exporter set out to give: everything, or a selection and of what; ``site``: whose subject asked."""

    whole: bool
    said: str
    site: str = ""


class Place(NamedTuple):
    """Where a member's bytes lie in the file, and their digest."""

    offset: int
    size: int
    digest: str


# A dishonest exporter may sign any nonsense: shapes are not trusted, and a wrong one is a finding, not a crash.
MALFORMED = (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, OverflowError, struct.error)


def silent(line: str) -> None:
    """For whoever does not want to be told how far the work is."""


def verify(data: bytes, root: str | None = None) -> Verdict:
    """Judge the bytes of an evidence bundle; never raises. ``root`` is "sha256:..." or None."""
    return judge(io.BytesIO(data), root)


def verify_file(path: Path, root: str | None = None, progress: Progress = silent) -> Verdict:
    """Judge a bundle where it lies; memory does not grow with its logs. Never raises."""
    try:
        with path.open("rb") as file:
            return judge(file, root, progress)
    except (OSError, MemoryError) as error:
        code, sentence, _ = SENTENCES["unusable"]
        return Verdict(code, "unusable", sentence, (f"the file cannot be read ({type(error).__name__})",))


def judge(file: BinaryIO, root: str | None, progress: Progress = silent) -> Verdict:
    """The verdict on an open file; raises only what reading it does."""
    details: list[str] = []
    try:
        name = _verify(file, root, details, progress)
    except Found as found:
        name = found.verdict
        details.append(str(found))
    except MALFORMED as error:
        name = "changed"
        details.append(f"a part of the bundle is malformed ({type(error).__name__})")
    code, sentence, _ = SENTENCES[name]
    return Verdict(code, name, sentence, tuple(map(plain_line, details)))


def plain_line(line: str) -> str:
    """The line as a terminal can only show it: what a bundle holds clears no screen and begins no line of its own."""
    return re.sub(" +", " ", "".join(one if one.isprintable() else "?" for one in line))


def plain_name(name: str) -> str:
    """A name as it is said to people: one that is no name could be a sentence, and look like the verifier's."""
    return name if NAME.fullmatch(name) else "(a name that is none)"


def _verify(file: BinaryIO, root: str | None, details: list[str], progress: Progress) -> str:
    if Ed25519PublicKey is None:
        raise Found("unusable", "the Python package `cryptography` is not installed")
    if root is not None and not DIGEST.fullmatch(root):
        raise Found("unusable", "--root is not of the form sha256:<64 lower-case hexadecimal digits>")
    members = open_container(file, progress)                                                # 1 container
    if MANIFEST not in members and MANIFEST_SIGNATURE not in members:
        raise Found("unusable", "the archive holds no evidence manifest")
    scope = _check_manifest(members)                                                        # 2 manifest
    details.append(scope.said)
    roster = read_roster(members[ROSTER])
    exporter = _check_signature(members[MANIFEST_SIGNATURE], roster.keys, members[MANIFEST])
    if scope.site not in ("", exporter):
        changed(f"what a person asked {scope.site} for is not signed by {scope.site}")
    details.append(f"manifest: {len(members)} members, signed by {exporter}")
    if any(name.startswith("views/") for name in members):
        details.append(f"views: in the words of {exporter}; not compared with the papers and logs below")
    chain = _check_roster(members, roster, details)                                         # 3 roster
    known = _check_papers(members, roster, details)                                         # 4 papers
    parties = {holder.name: holder for holder in roster.keys.values() if holder.is_party}
    seen = _read_witnessed(members, parties)
    logs = _check_logs(members, scope, parties, seen, progress, details)                    # 5 logs
    convicted = _check_misbehaviour(members, chain, details)                                # 6 misbehaviour
    _check_witnessed(members, scope, seen, logs, convicted, details)                        # 7 witnesses
    rosters = frozenset(one.fingerprint for one in chain)
    _check_provenance(members, roster, rosters, known, logs.mentions, details)              # 8 provenance
    if scope.site:
        _check_subject(members, scope.site, details)
    if root is None:                                                                        # 9 root
        details.append(f"root of this bundle, to compare with the one you were given: {roster.fingerprint}")
        return "consistent"
    if root != roster.fingerprint:
        details.append(f"root of this bundle: {roster.fingerprint}; root given: {root}")
        return "other-root"
    return "verified"


# --- 1 container -----------------------------------------------------------------------------------------------

LOCAL, CENTRAL, END = "<4s5H3L2H", "<4s6H3L5H2L", "<4s4H2LH"   # PKWARE APPNOTE 4.3.7, 4.3.12, 4.3.16
LOCAL_MARK, CENTRAL_MARK, END_MARK = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
VERSION, FIRST_OF_JANUARY_1980 = 20, 0x0021
UNIX, MODE = 3 << 8, 0o100644 << 16
CONTAINER_LIMIT = 2**32 - 1        # without zip64 there is exactly one way to write these bytes


CHUNK = 1 << 20                    # read at a time
MAX_ENTRY = 65_535                 # an entry of a log (C2SP tlog-tiles)
MAX_LINE = 71_680                  # one of a selection, with its proof; a line that has no end fills no memory


def local_header(name: str, size: int, crc: int) -> bytes:
    """What stands before a member's bytes."""
    return struct.pack(LOCAL, LOCAL_MARK, *_common(name, size, crc)) + name.encode("ascii")


def directory_record(name: str, size: int, crc: int, offset: int) -> bytes:
    """What the directory says of a member."""
    common = _common(name, size, crc)
    return struct.pack(CENTRAL, CENTRAL_MARK, VERSION | UNIX, *common, 0, 0, 0, MODE, offset) + name.encode("ascii")


def end_record(count: int, size: int, offset: int) -> bytes:
    """The last bytes: how many members, and where the directory is."""
    return struct.pack(END, END_MARK, 0, 0, count, count, size, offset, 0)


def _common(name: str, size: int, crc: int) -> tuple[int, ...]:
    return VERSION, 0, 0, 0, FIRST_OF_JANUARY_1980, crc, size, size, len(name), 0


def write_container(members: Mapping[str, bytes]) -> bytes:
    """The one zip of these members: stored, sorted by name, 1 January 1980, no extra fields, no comment."""
    body, directory = bytearray(), bytearray()
    for name in sorted(members):
        data, offset = members[name], len(body)
        crc = zlib.crc32(data)
        body += local_header(name, len(data), crc) + data
        directory += directory_record(name, len(data), crc, offset)
    return bytes(body + directory + end_record(len(members), len(directory), len(body)))


class Container(Mapping[str, bytes]):
    """The members of a bundle, each read from the file when it is asked for."""

    def __init__(self, file: BinaryIO, places: Mapping[str, Place]) -> None:
        self._file = file
        self.places = places

    def __getitem__(self, name: str) -> bytes:
        place = self.places[name]
        self._file.seek(place.offset)
        return self._file.read(place.size)

    def __contains__(self, name: object) -> bool:
        return name in self.places       # else it would be read to find out that it is there

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def lines(self, name: str) -> Iterator[bytes]:
        """The lines of a member without their newlines, one after the other; the last must have its newline, too."""
        at, size, _ = self.places[name]
        end, rest = at + size, b""
        while at < end:
            self._file.seek(at)
            chunk = self._file.read(min(CHUNK, end - at))
            at += len(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            yield from lines
            if not chunk or len(rest) > MAX_LINE:
                changed(f"{name} holds a line that is longer than any entry")
        if rest:
            changed(f"{name} does not end after a whole entry")


def open_container(file: BinaryIO, progress: Progress = silent) -> Container:
    """The members of a container that is byte for byte what `write_container` makes of them."""
    end = file.seek(0, io.SEEK_END)
    if end > CONTAINER_LIMIT:
        raise Found("unusable", "the file is larger than 4 GiB")
    file.seek(0)
    begins = file.read(4)
    file.seek(max(end - struct.calcsize(END), 0))
    if begins != LOCAL_MARK and file.read(4) != END_MARK:
        raise Found("unusable", "the file is not a zip archive")
    places: dict[str, Place] = {}
    directory, at, before = bytearray(), 0, ""
    while True:
        file.seek(at)
        header = file.read(struct.calcsize(LOCAL))
        if header[:4] != LOCAL_MARK or len(header) < struct.calcsize(LOCAL):
            break
        size, label_size = struct.unpack_from("<LH", header, 22)
        label = file.read(label_size)
        name, start = label.decode("latin-1"), at + len(header) + len(label)
        if not NAME.fullmatch(name) or start + size > end:
            changed("the container is damaged")
        crc, sha256 = _sums(file, size, progress)
        if name <= before or header + label != local_header(name, size, crc):
            changed("the container is not in its one canonical form: damaged, re-packed or edited")
        places[name] = Place(start, size, "sha256:" + sha256)
        directory += directory_record(name, size, crc, at)
        at, before = start + size, name
    directory += end_record(len(places), len(directory), at)
    file.seek(at)
    if end - at != len(directory) or file.read(len(directory)) != directory:
        changed("the container is not in its one canonical form: damaged, re-packed or edited")
    return Container(file, places)


def _sums(file: BinaryIO, size: int, progress: Progress) -> tuple[int, str]:
    """CRC-32 and SHA-256 of the next ``size`` bytes."""
    crc, sha256, left = 0, hashlib.sha256(), size
    while left:
        chunk = file.read(min(CHUNK, left))
        if not chunk:
            changed("the container is damaged")
        crc, left = zlib.crc32(chunk, crc), left - len(chunk)
        sha256.update(chunk)
        if left and (size - left) % (CHUNK << 8) == 0:
            progress(f"digests: {left >> 20} MiB of a member are left")
    return crc, sha256.hexdigest()


def read_container(data: bytes) -> dict[str, bytes]:
    """Members by name, of a container that fits memory."""
    return dict(open_container(io.BytesIO(data)))


# --- 2 manifest and signatures -----------------------------------------------------------------------------------

def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _once(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key stands twice")
    return value


def _refuse(word: str) -> NoReturn:
    raise ValueError(word)


def _number(digits: str) -> int:
    if len(digits) > len(str(-MAX_WHOLE_NUMBER)) or abs(int(digits)) > MAX_WHOLE_NUMBER:
        raise ValueError("a number beyond 2^53 - 1")
    return int(digits)


# Made once: a log has a million entries. Whoever holds the spelling against the bytes need not look for keys twice.
_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_refuse, parse_float=_refuse, parse_int=_number)
_PLAIN_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_refuse, parse_int=_number)
_ASCII_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def parse(data: bytes) -> Json:
    """JSON with no key twice, no fraction, no infinity, no huge number or depth: one meaning for every reader."""
    _check_depth(data)
    return _DECODER.decode(data.decode("utf-8"))


def _check_depth(data: bytes) -> None:
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:      # then it cannot be that deep
        return
    depth = 0
    for mark in re.findall(rb"[\[{}\]]", re.sub(rb'"(?:[^"\\]|\\.)*"', b"", data, flags=re.DOTALL)):
        depth += 1 if mark in b"[{" else -1
        if depth > MAX_DEPTH:
            raise ValueError("too many levels")


def canonical(value: Json) -> bytes:
    """RFC 8785 of what `parse` gives: keys in the order of their UTF-16 code units, no spaces, UTF-8."""
    def ordered(part: Json) -> Json:
        if isinstance(part, dict):
            return {key: ordered(part[key]) for key in sorted(part, key=lambda key: str(key).encode("utf-16-be"))}
        return [ordered(item) for item in part] if isinstance(part, list) else part

    return json.dumps(ordered(value), separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def parse_spelled(data: bytes) -> Json:
    """JSON in its one spelling (RFC 8785)."""
    _check_depth(data)
    value = _PLAIN_DECODER.decode(data.decode("utf-8"))
    # plain ASCII has one order of keys, which the standard library's encoder knows; it is eight times as fast
    if (_ASCII_ENCODER.encode(value).encode("utf-8") if data.isascii() else canonical(value)) != data:
        raise ValueError("not in its canonical spelling")
    return value


def of_kind(value: Json, *kinds: type) -> Json:
    """The value, which is exactly of this type: in Python True is 1 and a text is a list of letters, elsewhere not."""
    if type(value) not in kinds:
        raise ValueError("a value of another type")
    return value


def keys_of(value: Json) -> set[str]:
    return set(of_kind(value, dict))


def text(value: Json) -> str:
    return str(of_kind(value, str))


def whole(value: Json) -> int:
    return int(of_kind(value, int))


def texts(value: Json) -> tuple[str, ...]:
    return tuple(text(one) for one in of_kind(value, list))


def _check_manifest(members: Container) -> Scope:
    for name in REQUIRED:
        if name not in members:
            changed(f"{name} is missing")
    manifest = parse(members[MANIFEST])
    if manifest["schema"] != SCHEMA:
        raise Found("unusable", f"this verifier reads {SCHEMA}; use the verify.py that came with the bundle")
    if keys_of(parse_spelled(members[MANIFEST])) != {"schema", "scope", "members"}:
        changed("the manifest says something that no manifest says")
    expected = {name: place.digest for name, place in members.places.items()
                if name not in (MANIFEST, MANIFEST_SIGNATURE)}
    for name in sorted(set(expected) | keys_of(manifest["members"])):
        if expected.get(name) != manifest["members"].get(name):
            changed(f"{plain_name(name)} is not the member that the manifest lists")
    scope = _read_scope(manifest["scope"])
    for name in members:
        if not any(known.fullmatch(name) for known in KNOWN) and not (name == SUBJECT and scope.site):
            changed(f"{name} is nothing that a bundle holds")
    return scope


def _read_scope(said: Json) -> Scope:
    """What was to be exported, in words; whoever reads a selection is told first that it is one."""
    kind = text(said["kind"])
    if kind not in SCOPES or keys_of(said) != {"kind", *SCOPES[kind]}:
        raise ValueError("scope")
    form = {"run": NAME, "model": DIGEST, "subject": NAME}
    if kind in form and not form[kind].fullmatch(text(said["of"])):
        raise ValueError("scope")
    if kind == "all":
        return Scope(True, "everything: each log that is here is whole, up to the head that its party signed")
    if kind == "period":
        if _time(text(said["from"])) >= _time(text(said["until"])):
            raise ValueError("scope")
        what = f"from {said['from']} until {said['until']}"
    else:
        what = {"run": "run", "model": "model", "subject": "what one person asked for at"}[kind] + " " + said["of"]
    site = said["of"] if kind == "subject" else ""
    return Scope(False, f"a selection: {what}; what was left out cannot be seen here", site)


def _unpad(text: str) -> bytes:
    """Base64 in either alphabet, as DSSE demands of a verifier; Pythons differ in what else they let pass."""
    text = text.replace("-", "+").replace("_", "/")
    if not BASE64.fullmatch(text):
        raise ValueError("not base64")
    return base64.b64decode(text)


def _unpad_exactly(text: str) -> bytes:
    """Base64 in its one spelling: the unused bits are zero."""
    raw = base64.b64decode(text)
    if _pad(raw) != text:
        raise ValueError("base64 in another spelling")
    return raw


def _pad(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _check_signature(envelope: bytes, keys: Mapping[str, Holder], manifest: bytes) -> str:
    """The one signature of the manifest, in the one spelling of its envelope: no byte of it is free."""
    found = read_envelope(envelope)
    (key_id, signature), = found.signatures
    respelled = {"payload": _pad(found.payload), "payloadType": PAYLOAD_TYPE,
                 "signatures": [{"keyid": key_id, "sig": _pad(signature)}]}
    if canonical(respelled) + b"\n" != envelope:
        changed("the signature of the manifest is not in its one canonical spelling")
    signers = signers_of(found, {key: keys[key] for key in keys if key == key_id})
    if not signers or not signers[0].is_party:
        changed("the manifest is not signed by a party of the roster")
    statement = read_statement(found)
    if statement["predicateType"] != ATTESTATION + "evidence:v1" or subjects(statement) != {digest(manifest)}:
        changed("the signature is not one of this manifest")
    return signers[0].name


def read_envelope(line: bytes) -> Envelope:
    value = parse(line)
    signatures = tuple((of_kind(one.get("keyid", ""), str), _unpad(one["sig"]))
                       for one in of_kind(value["signatures"], list))
    if not 1 <= len(signatures) <= MAX_SIGNATURES:
        raise ValueError("number of signatures")
    kind = of_kind(value["payloadType"], str)
    if not all(one.isascii() for one in (kind, *(hint for hint, _ in signatures))):
        raise ValueError("a payload type or a key id beyond ASCII")      # a site refuses the whole file for it
    return Envelope(kind, _unpad(value["payload"]), signatures)


def signers_of(envelope: Envelope, keys: Mapping[str, Holder]) -> list[Holder]:
    """Whose signatures on it are good (may be nobody's); only then may its payload be read."""
    kind = envelope.kind.encode("ascii")
    signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(envelope.payload), envelope.payload)    # protocol.md, PAE
    signers: list[Holder] = []
    for hint, signature in envelope.signatures:      # a hint decides nothing; without one every key is tried
        for holder in keys.values() if not hint else [keys[hint]] if hint in keys else []:
            if holder not in signers and _is_good(holder.raw, signature, signed):
                signers.append(holder)
    return signers


def read_statement(envelope: Envelope) -> Json:
    """The in-toto Statement in it, which is in its one spelling (RFC 8785)."""
    value = parse(envelope.payload)
    if envelope.kind != PAYLOAD_TYPE or canonical(value) != envelope.payload or value["_type"] != STATEMENT_TYPE:
        raise ValueError("not an in-toto statement in its canonical form")
    if set(value) != {"_type", "subject", "predicateType", "predicate"} or not of_kind(value["subject"], list):
        raise ValueError("not exactly the fields of a statement")
    of_kind(value["predicate"], dict)
    return value


def _is_good(raw: bytes, signature: bytes, data: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(raw).verify(signature, data)
    except InvalidSignature:
        return False
    return True


def subjects(statement: Json) -> frozenset[str]:
    """The digests of the subjects; a subject has a name for people and one digest, and nothing else."""
    found = []
    for subject in statement["subject"]:
        if set(subject) != {"name", "digest"} or set(subject["digest"]) != {"sha256"} or not subject["name"]:
            raise ValueError("not a subject")
        found.append("sha256:" + of_kind(subject["digest"]["sha256"], str))
        of_kind(subject["name"], str)
        if not DIGEST.fullmatch(found[-1]):
            raise ValueError("not a digest")
    return frozenset(found)


# --- 3 roster ----------------------------------------------------------------------------------------------------

def _key_id(raw: bytes) -> str:
    return hashlib.sha256(b"ed25519" + raw).hexdigest()[:32]


def read_roster(data: bytes) -> Roster:
    """Every key by its computed id; one that two holders share proves nothing and is refused."""
    document = read_yaml(data.decode("utf-8"))
    holders = [(Holder(of_kind(party["id"], str), True, (of_kind(party["kind"], str),), b""), texts([party["key"]]))
               for party in of_kind(document["parties"], list)]
    holders += [(Holder(of_kind(person["pseudonym"], str), False, texts(person["roles"]), b"",
                        texts(person.get("acts_for", []))), texts(person["keys"]))
                for person in of_kind(document["people"], list)]
    if not all(HOLDER.fullmatch(one) for holder, _ in holders for one in (holder.name, *holder.roles)):
        raise ValueError("a name or a role that is none")
    if not {holder.roles[0] for holder, _ in holders if holder.is_party} <= KINDS:
        raise ValueError("a party of an unknown kind")
    if len({holder.name for holder, _ in holders}) != len(holders):
        raise ValueError("a name stands twice")      # a person's key would pass for that of a site of the same name
    keys: dict[str, Holder] = {}
    for holder, own in holders:
        for one in own:
            scheme, _, encoded = one.partition(":")
            raw = _unpad_exactly(encoded)
            if scheme != "ed25519" or not is_strong(raw) or _key_id(raw) in keys:
                changed(f"the roster's key of {holder.name} is malformed, weak or stands twice")
            keys[_key_id(raw)] = holder._replace(raw=raw)
    thresholds = {role: max(of_kind(number, int), 1) for role, number in of_kind(document["roles"], dict).items()}
    return Roster(keys, thresholds, of_kind(document["version"], int), digest(data),
                  of_kind(document.get("supersedes", ""), str), of_kind(document["demo"], bool),
                  _time(document["created"]), _time(document["expires"]))


def is_strong(raw: bytes) -> bool:
    """A key in its one encoding, and not of small order: under such a one a signature fits any text."""
    y = int.from_bytes(raw, "little") & (2**255 - 1)
    return len(raw) == 32 and y < 2**255 - 19 and y not in SMALL_ORDER


def _time(text: str) -> datetime:
    """RFC 3339 with its zone; older Pythons read a fraction of six digits only."""
    match = TIME.fullmatch(text)
    if match is None:
        raise ValueError("time")
    written = f"{match[1]}.{(match[2] or '').ljust(6, '0')}{match[3].replace('Z', '+00:00')}"
    return datetime.fromisoformat(written).astimezone(timezone(timedelta()))


# The y of the eight points of small order, as encoded (RFC 8032, 5.1.2), without the sign of x.
SMALL_ORDER = frozenset(int.from_bytes(bytes.fromhex(text), "little") for text in (
    "00" * 32, "01" + "00" * 31, "ec" + "ff" * 30 + "7f",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"))

_YAML_KEY = re.compile(r"([A-Za-z0-9_-]+):(?: +(.*))?")
_YAML_TOKEN = re.compile(r""" *(?:(?P<double>"(?:[^"\\]|\\.)*")|'(?P<single>(?:[^']|'')*)'"""
                         r"""|(?P<mark>[\[\]{},]|:(?= |$))"""
                         r"""|(?P<plain>(?:[^ \[\]{},:"']|:(?! |$))(?:[^\[\]{},:]|:(?! |$))*))""")
# Plain scalars that YAML 1.2 takes for something else than text, and that no roster needs.
_YAML_OTHER = re.compile(r"~|null|Null|NULL|True|TRUE|False|FALSE|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
                         r"|0[xo][0-9A-Fa-f]+|[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?")


def read_yaml(text: str) -> Json:
    """Plain YAML: block and one-line flow collections, plain and quoted scalars. Anything else is a ValueError.

    Space is U+0020 and a line ends with LF or CR LF: languages differ in what else they take for space.
    """
    lines: list[tuple[int, str]] = []
    for line in _lines(text):
        body = line.lstrip(" ")
        indent = len(line) - len(body)
        while body == "-" or body.startswith("- "):
            lines.append((indent, "-"))
            rest = body[1:].lstrip(" ")
            indent, body = indent + len(body) - len(rest), rest
        if body.strip(" ") and not body.startswith("#"):
            lines.append((indent, body.rstrip(" ")))
    lines.reverse()
    value = _block(lines, 0)
    if lines:
        raise ValueError("a line stands outside the structure")
    return value


def _lines(text: str) -> list[str]:
    text = text.replace("\r\n", "\n")
    if re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff]", text):
        raise ValueError("a tab, a byte order mark or a control character")
    return text.split("\n")


def _block(lines: list[tuple[int, str]], depth: int) -> Json:
    indent, text = lines[-1]
    if depth > MAX_DEPTH:
        raise ValueError("too many levels")
    if text == "-":
        items = []
        while lines and lines[-1] == (indent, "-"):
            lines.pop()
            if lines[-1][0] <= indent:
                raise ValueError("an item has no value")
            items.append(_block(lines, depth + 1))
        return items
    if not _YAML_KEY.fullmatch(text):
        lines.pop()
        return _inline(text, depth)
    value: dict[str, Json] = {}
    while lines and lines[-1][0] == indent and lines[-1][1] != "-":
        match = _YAML_KEY.fullmatch(lines.pop()[1])
        if match is None or match[1] in value:
            raise ValueError("not a mapping with each key once")
        rest = match[2] or ""
        nested = not rest or rest.startswith("#")
        if nested and not (lines and (lines[-1][0] > indent or lines[-1] == (indent, "-"))):
            raise ValueError("a key has no value")
        value[match[1]] = _block(lines, depth + 1) if nested else _inline(rest, depth)
    return value


def _inline(text: str, depth: int) -> Json:
    if text[0] not in "[{\"'":     # a plain scalar outside brackets ends with the line, or where a comment begins
        return _scalar(re.split(" +#", text)[0])
    value, end = _flow(text, 0, depth)
    if text[end:].strip(" ") and not re.match(" +#", text[end:]):
        raise ValueError("text after a value")
    return value


def _flow(text: str, at: int, depth: int) -> tuple[Json, int]:
    token = _YAML_TOKEN.match(text, at)
    if token is None or depth > MAX_DEPTH:
        raise ValueError("not plain YAML")
    if token["double"] is not None:
        return json.loads(token["double"]), token.end()
    if token["single"] is not None:
        return token["single"].replace("''", "'"), token.end()
    if token["plain"] is not None:
        return _scalar(token["plain"].strip(" ")), token.end()
    if token["mark"] not in ("[", "{"):
        raise ValueError("not plain YAML")
    close = "]" if token["mark"] == "[" else "}"
    items: list[Json] = []
    at = token.end()
    while not re.compile(" *" + re.escape(close)).match(text, at):
        item, at = _flow(text, at, depth + 1)
        if close == "}":
            at = _expect(":", text, at)
            value, at = _flow(text, at, depth + 1)
            item = (of_kind(item, str), value)
        items.append(item)
        if not re.compile(" *" + re.escape(close)).match(text, at):
            at = _expect(",", text, at)
    at = _expect(close, text, at)
    if close == "}":
        if len(dict(items)) != len(items):
            raise ValueError("a key stands twice")
        return dict(items), at
    return items, at


def _expect(mark: str, text: str, at: int) -> int:
    token = _YAML_TOKEN.match(text, at)
    if token is None or token["mark"] != mark:
        raise ValueError("not plain YAML")
    return token.end()


def _scalar(text: str) -> Json:
    if not text or text[0] in "&*!|>%@`?-#,]}" or ": " in text or " #" in text or text.endswith(":"):
        raise ValueError("not a plain scalar")
    if re.fullmatch("[1-9][0-9]{0,15}|0", text) and int(text) <= MAX_WHOLE_NUMBER:
        return int(text)
    if _YAML_OTHER.fullmatch(text):
        raise ValueError("neither text nor a whole number")
    return {"true": True, "false": False}.get(text, text)


def _envelopes(data: bytes) -> list[Envelope]:
    """A file of signatures holds one envelope a line."""
    lines = data[:-1].split(b"\n") if data.endswith(b"\n") else data.split(b"\n") if data else []
    if len(lines) > MAX_ENVELOPES:
        raise ValueError("number of envelopes")
    return [read_envelope(line) for line in lines]


def _check_roster(members: Mapping[str, bytes], roster: Roster, details: list[str]) -> list[Roster]:
    """The chain of rosters, back to one that every site of it signed."""
    chain, name = [roster], ROSTER
    while True:
        here, signatures = chain[-1], members[name + APPROVALS]
        signed = _sites_that_signed(here, signatures)
        absent = ", ".join(sorted(set(here.sites) - signed))
        if here.sites and not absent:
            break
        name = f"rosters/{here.version - 1}.yaml"
        if not here.supersedes or name not in members:
            changed(f"the roster is not signed by every site in it: {absent}")
        before = read_roster(members[name])
        if (before.fingerprint, before.version, before.demo) != (here.supersedes, here.version - 1, here.demo):
            changed(f"{name} is not the roster that version {here.version} says it follows")
        _check_succession(before, here, signatures, signed)
        chain.append(before)
    owners: dict[str, tuple[str, str]] = {}
    for one in reversed(chain):       # a key has one owner for ever, also over versions in which it does not stand
        for key, holder in one.keys.items():
            owner = holder.name, holder.roles[0] if holder.is_party else "person"
            if owners.setdefault(key, owner) != owner:
                changed(f"a key of {owners[key][0]} belongs to somebody else in version {one.version} of the roster")
    first = f"version {chain[-1].version}, signed by " + ", ".join(sorted(chain[-1].sites))
    later = "".join(f"; version {one.version} by its people and those before" for one in reversed(chain[:-1]))
    details.append(f"roster: {first}{later}")
    if roster.demo:
        details.append("demo roster: its keys are known to everybody, so this shows how it works and not who did it")
    return chain


def _sites_that_signed(roster: Roster, signatures: bytes) -> set[str]:
    signed: set[str] = set()
    for envelope in _envelopes(signatures):
        sites = {one.name for one in signers_of(envelope, roster.keys) if one.name in roster.sites}
        if not sites:
            continue       # somebody else's signature; it neither helps nor harms
        statement = read_statement(envelope)
        said = statement["predicateType"], subjects(statement), canonical(statement["predicate"])
        if said == (ATTESTATION + "roster:v1", frozenset({roster.fingerprint}), canonical({"version": roster.version})):
            signed |= sites
    return signed


def _check_succession(old: Roster, new: Roster, signatures: bytes, signed: set[str]) -> None:
    """Legal and IT of both versions, each at its own thresholds, and every site that is new or has a new key."""
    end = min(old.expires, new.expires)
    for roster in (old, new):
        words = [word for word in _words(signatures, "roster", roster)
                 if word.decision != "approve" or max(word.issued, roster.created) < end]
        roles = list(_approving(words, frozenset({new.fingerprint}), "").values())
        for role in BOTH:
            if roles.count(role) < roster.thresholds.get(role, 1):
                changed(f"version {new.version} of the roster is not signed by {role} of version {roster.version}")
    strangers = sorted(name for name, raw in new.sites.items() if old.sites.get(name) != raw and name not in signed)
    if strangers:
        changed(f"version {new.version} of the roster is not signed by " + ", ".join(strangers))


# --- 4 papers ----------------------------------------------------------------------------------------------------

def _check_papers(members: Mapping[str, bytes], roster: Roster, details: list[str]) -> dict[str, str]:
    """Approvals of the study, every policy and the base-model record; gives the digest of each by name."""
    known: dict[str, str] = {}
    for name in sorted(members):
        needed = {role: roster.thresholds.get(role, 1) for role in BOTH}
        people = {key: one for key, one in roster.keys.items() if not one.is_party}
        policy = re.fullmatch(r"policies/([^/]+)\.yaml", name)
        if name == STUDY:
            kind, asks = "study-approval", requester(members[name])
            people = {key: one for key, one in people.items() if one.name != asks}
        elif name == BASE_MODEL:
            kind, needed = "base-model", {"legal": 1}
        elif policy:
            kind, people = "policy-approval", {key: one for key, one in people.items() if policy[1] in one.acts_for}
        else:
            continue
        known[name] = digest(members[name])
        words = _words(members.get(name + APPROVALS, b""), kind, roster._replace(keys=people))
        # the bytes and the canonical form, and nothing beside them
        pairs = {(word.about, word.seen) for word in words
                 if word.decision == "approve" and known[name] in word.about and len(word.about) == 2}
        for about, seen in sorted(pairs, key=lambda pair: (sorted(pair[0]), pair[1])):
            found = _approving(words, about, seen)
            if all(list(found.values()).count(role) >= number for role, number in needed.items()):
                details.append(f"{name}: approved by " + ", ".join(f"{one} ({found[one]})" for one in sorted(found)))
                break
        else:
            changed(f"{name} lacks an approval; it needs: {', '.join(needed)}")
    return known


def requester(study: bytes) -> str:
    """Who asks for a study: no other reader may find another there, so each line at the margin is a plain key."""
    blocks: dict[str, list[str]] = {}
    key = ""
    for line in _lines(study.decode("utf-8")):
        if not line.strip(" ") or line.lstrip(" ")[0] == "#":
            continue
        if line[0] not in " ]}" and not line.startswith("- "):
            match = _YAML_KEY.fullmatch(line)
            key = match[1] if match else ""
        if not key:
            changed(f"{STUDY} does not say in plain words who asks: each line at its margin must begin with a key")
        blocks.setdefault(key, []).append(line)
    return str(of_kind(read_yaml("\n".join(blocks["requester"]))["requester"], str))


class Word(NamedTuple):
    """What one person said about one set of digests, having seen something."""

    about: frozenset[str]
    seen: str
    person: Holder
    role: str
    decision: str
    issued: datetime


def _words(signatures: bytes, kind: str, roster: Roster) -> list[Word]:
    """What people of the roster said; whatever is no such word, or a stranger's, neither helps nor harms."""
    words = []
    for envelope in _envelopes(signatures):
        people = [one for one in signers_of(envelope, roster.keys) if not one.is_party]
        with suppress(*MALFORMED):
            if people:
                word = _read_word(read_statement(envelope), kind, roster, people[0])
                words += [word._replace(person=one) for one in people]
    return words


def _read_word(statement: Json, kind: str, roster: Roster, person: Holder) -> Word:
    said = statement["predicate"]
    decision, under, seen = said["decision"], said["roster"], ""
    if (statement["predicateType"] != ATTESTATION + kind + ":v1" or decision not in ("approve", "reject", "revoke")
            or set(said) - {"shown"} != {"decision", "role", "issued", "expires", "roster"}
            or set(under) != {"version", "fingerprint"} or type(under["version"]) is not int
            or type(under["fingerprint"]) is not str):
        raise ValueError("not what a person says of a paper")
    issued, _ = _time(said["issued"]), _time(said["expires"])
    if decision == "approve":     # a no is heard under every roster and with anything shown: doubt is no approval
        seen = json.dumps(said["shown"], sort_keys=True) if "shown" in said else ""
        if not SHOWN[kind == "policy-approval"].fullmatch(seen):
            raise ValueError("shown")
        if under["version"] >= roster.version and under != {"version": roster.version,
                                                            "fingerprint": roster.fingerprint}:
            raise ValueError("another roster")
    return Word(subjects(statement), seen, person, said["role"], decision, issued)


def _approving(words: list[Word], about: frozenset[str], seen: str) -> dict[str, str]:
    """Who said yes to just this and not later no to any of it, in one role that they hold; two at once are none."""
    people: dict[str, str] = {}
    for name in {word.person.name for word in words}:
        own = [word for word in words if word.person.name == name and word.role in word.person.roles]
        noes = [word.issued for word in own if word.decision != "approve" and word.about & about]
        roles = {word.role for word in own if (word.decision, word.about, word.seen) == ("approve", about, seen)
                 and all(word.issued > no for no in noes)}
        if len(roles) == 1:
            people[name] = roles.pop()
    return people


# --- 5 logs ------------------------------------------------------------------------------------------------------

class Head(NamedTuple):
    """A log's head: which log, how many entries, and their root."""

    origin: str
    size: int
    root: bytes


class Note(NamedTuple):
    """A C2SP signed note: its text, up to the newline before the empty line, and by line name, key id and the rest."""

    text: bytes
    lines: tuple[tuple[str, bytes, bytes], ...]
    head: Head


class Tree:
    """RFC 6962, 2.1: the Merkle tree of leaves that come one by one, as its complete subtrees, largest first."""

    def __init__(self) -> None:
        self.size = 0
        self._stack: list[tuple[int, bytes]] = []

    def add(self, entry: bytes) -> None:
        level, node = 0, hashlib.sha256(b"\x00" + entry).digest()
        while self._stack and self._stack[-1][0] == level:
            level, node = level + 1, _node(self._stack.pop()[1], node)
        self._stack.append((level, node))
        self.size += 1

    def root(self) -> bytes:
        if not self._stack:
            return EMPTY_ROOT
        root = self._stack[-1][1]
        for _, left in reversed(self._stack[:-1]):
            root = _node(left, root)
        return root


EMPTY_ROOT = hashlib.sha256(b"").digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def log_root(entries: list[bytes]) -> bytes:
    """The root of these entries."""
    tree = Tree()
    for entry in entries:
        tree.add(entry)
    return tree.root()


def is_included(index: int, size: int, entry: bytes, proof: list[bytes], root: bytes) -> bool:
    """RFC 9162, 2.1.3.2: the entry is number ``index`` of the tree with this size and root."""
    if not 0 <= index < size:
        return False
    first, last, node = index, size - 1, hashlib.sha256(b"\x00" + entry).digest()
    for sibling in proof:
        if last == 0:
            return False
        if first & 1 or first == last:
            node = _node(sibling, node)
            while first and not first & 1:
                first, last = first >> 1, last >> 1
        else:
            node = _node(node, sibling)
        first, last = first >> 1, last >> 1
    return last == 0 and node == root


def is_consistent(old: Head, new: Head, proof: list[bytes]) -> bool:
    """RFC 9162, 2.1.4.2: the newer tree begins with the older; an empty one begins every tree."""
    if old.size in (0, new.size):
        return not proof and old.root == (EMPTY_ROOT if old.size == 0 else new.root)
    if old.size > new.size or not proof:
        return False
    path = list(proof)
    if old.size & (old.size - 1) == 0:       # a power of two is itself a subtree, so the proof leaves it out
        path.insert(0, old.root)
    first, last = old.size - 1, new.size - 1
    while first & 1:
        first, last = first >> 1, last >> 1
    before = after = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if first & 1 or first == last:
            before, after = _node(sibling, before), _node(sibling, after)
            while first and not first & 1:
                first, last = first >> 1, last >> 1
        else:
            after = _node(after, sibling)
        first, last = first >> 1, last >> 1
    return last == 0 and before == old.root and after == new.root


def hashes(value: Json) -> list[bytes]:
    """A proof: its hashes in base64."""
    found = [_unpad_exactly(one) for one in texts(value)]
    if not all(len(one) == 32 for one in found):
        raise ValueError("a hash has another length")
    return found


# Just as every party reads it: a head that one reader knows and another does not could be held against its owner.
NOTE_LINE = re.compile("\u2014 ([!-*,-~]+) ([A-Za-z0-9+/]+={0,2})")
MAX_NOTE, MAX_NOTE_LINES = 64 * 2**10, 128
CHECKPOINT_KEY, COSIGNATURE_KEY = b"\x01", b"\x04"      # the kinds of signature in C2SP signed-note


def read_note(data: bytes) -> Note:
    """C2SP signed-note and tlog-checkpoint; nobody has looked at a signature yet."""
    body, gap, tail = data.decode("utf-8").rpartition("\n\n")
    lines = tail[:-1].split("\n")
    if not gap or not tail.endswith("\n") or len(lines) > MAX_NOTE_LINES or len(data) > MAX_NOTE:
        raise ValueError("note")
    found = []
    for line in lines:
        match = NOTE_LINE.fullmatch(line)
        raw = _unpad_exactly(match[2]) if match else b""
        if match is None or len(raw) <= 4:
            raise ValueError("signature line")
        found.append((match[1], raw[:4], raw[4:]))
    origin, size, root = body.split("\n")
    if not re.fullmatch(r"0|[1-9][0-9]{0,15}", size) or len(_unpad_exactly(root)) != 32:
        raise ValueError("checkpoint")
    return Note((body + "\n").encode("utf-8"), tuple(found), Head(origin, _number(size), _unpad_exactly(root)))


def _signatures(note: Note, name: str, raw: bytes, kind: bytes) -> list[bytes]:
    """What the lines that claim this key hold."""
    hint = hashlib.sha256(name.encode("utf-8") + b"\n" + kind + raw).digest()[:4]
    return [value for line, key_id, value in note.lines if (line, key_id) == (name, hint)]


def is_signed(note: Note, name: str, raw: bytes) -> bool:
    """The key, under this name, signed the note: one line at least, and none that claims it and is wrong."""
    found = _signatures(note, name, raw, CHECKPOINT_KEY)
    return bool(found) and all(_is_good(raw, one, note.text) for one in found)


def cosigned_at(note: Note, name: str, raw: bytes) -> int | None:
    """C2SP tlog-cosignature: when this witness says that it saw the head, in seconds; None if it did not."""
    found = _signatures(note, name, raw, COSIGNATURE_KEY)
    for one in found:
        said = b"cosignature/v1\ntime %d\n" % int.from_bytes(one[:8], "big") + note.text
        if not _is_good(raw, one[8:], said):
            return None
    return int.from_bytes(found[0][:8], "big") if found else None


# What the logs say of each run: by run, name of the reference and value, in which entry each party says it first.
Mentions = dict[tuple[str, str, str], dict[str, int]]
ALWAYS = frozenset({"run", "policy", "study", "provenance"})      # of all else only what a statement names is kept
TELL_EVERY = 100_000


class Logs(NamedTuple):
    """What the logs say, their heads, and the roots that they had at sizes that somebody witnessed."""

    mentions: Mentions
    heads: dict[str, Head]
    roots: dict[tuple[str, int], bytes]


def _check_logs(members: Container, scope: Scope, parties: Mapping[str, Holder], seen: list[Witnessed],
                progress: Progress, details: list[str]) -> Logs:
    """Each log against its signed checkpoint."""
    logs = Logs({}, {}, {})
    wanted = frozenset(number for name in members if name.startswith("provenance/")
                       for one in _envelopes(members[name])
                       for number in re.findall("[0-9a-f]{64}", one.payload.decode("utf-8")))
    kind = "jsonl" if scope.whole else "selected.jsonl"
    for name in sorted(one for one in members if one.startswith("logs/")):
        match = LOG.fullmatch(name)
        if match is None or match[1] not in parties or match[2] not in (kind, "checkpoint"):
            changed(f"{name} is not a log of a party of the roster, or not of this scope")
        party = match[1]
        if f"logs/{party}.checkpoint" not in members or f"logs/{party}.{kind}" not in members:
            changed(f"the log of {party} lacks its entries or its checkpoint")
        if match[2] == "checkpoint":
            logs.heads[party] = _check_checkpoint(members[name], parties[party])
            told = _told(party, logs.heads[party].size, progress)
            if scope.whole:
                sizes = frozenset(one.note.head.size for one in seen if one.party == party)
                _check_whole(members, party, sizes, wanted, told, logs)
                details.append(f"log of {party}: {logs.heads[party].size} entries, root "
                               f"{logs.heads[party].root.hex()}, signed by {party}")
            else:
                number = _check_selected(members, party, wanted, told, logs)
                details.append(f"log of {party}: {number} of {logs.heads[party].size} entries, each proven to be in "
                               f"the log with root {logs.heads[party].root.hex()}, signed by {party}")
    if not logs.heads:
        changed("there is no log in the bundle")
    if len({head.origin.rpartition("/")[0] for head in logs.heads.values()}) > 1:
        changed("the logs are of several studies")     # nobody's head of one log says anything of the other
    details += [f"not in this bundle: the log of {party}" for party in sorted(set(parties) - set(logs.heads))]
    return logs


def _told(party: str, size: int, progress: Progress) -> Progress:
    def tell(number: str) -> None:
        progress(f"log of {party}: {number} of {size} entries")

    return tell


def _check_whole(members: Container, party: str, sizes: frozenset[int], wanted: frozenset[str], told: Progress,
                 logs: Logs) -> None:
    """Every entry, in its place; the roots at ``sizes`` are kept."""
    tree, head = Tree(), logs.heads[party]
    for line in members.lines(f"logs/{party}.jsonl"):
        if tree.size in sizes:
            logs.roots[party, tree.size] = tree.root()
        _mention(party, tree.size, line, wanted, logs.mentions)
        tree.add(line)
        if tree.size % TELL_EVERY == 0:
            told(str(tree.size))
    logs.roots[party, tree.size] = tree.root()
    if (tree.size, logs.roots[party, tree.size]) != (head.size, head.root):
        changed(f"the log of {party} is not the one whose size and root {party} signed")


def _check_selected(members: Container, party: str, wanted: frozenset[str], told: Progress, logs: Logs) -> int:
    """Every entry is proven to be in the log, and stands once; gives how many they are."""
    number, last, head = 0, -1, logs.heads[party]
    for line in members.lines(f"logs/{party}.selected.jsonl"):
        value = parse_spelled(line)
        if keys_of(value) != {"entry", "index", "proof"}:
            raise ValueError("a line of a selection")
        index, entry = whole(value["index"]), canonical(value["entry"])
        if index <= last or not is_included(index, head.size, entry, hashes(value["proof"]), head.root):
            changed(f"an entry that is given as number {index} of the log of {party} is not proven to be that")
        _mention(party, index, entry, wanted, logs.mentions)
        number, last = number + 1, index
        if number % TELL_EVERY == 0:
            told(f"{number} selected, up to number {index}")
    return number


PRINTABLE = re.compile(rb"[ -\[\]-~]{1,%d}" % MAX_ENTRY)


ENTRY = {"at", "data", "party", "refs", "type", "v"}


def read_entry(line: bytes) -> Json:
    """An entry, from bytes that are one."""
    entry = parse_spelled(line)
    if (not PRINTABLE.fullmatch(line) or keys_of(entry) != ENTRY or whole(entry["v"]) != 1
            or not isinstance(entry["data"], dict)
            or not all(isinstance(one, str) for one in (entry["at"], entry["type"], *entry["refs"].values()))):
        raise ValueError("not an entry")
    return entry


def _mention(party: str, index: int, line: bytes, wanted: frozenset[str], mentions: Mentions) -> None:
    """Read an entry of a party, and keep what it says of its run."""
    entry = read_entry(line)
    refs = entry["refs"]
    if entry["party"] != party:
        changed(f"entry {index} of the log of {party} names another party")
    run = refs.get("run")
    if run is not None:
        for name, value in refs.items():
            if name in ALWAYS or value[-64:] in wanted:
                mentions.setdefault((run, name, value), {}).setdefault(party, index)


def _check_checkpoint(data: bytes, party: Holder) -> Head:
    """C2SP signed-note and tlog-checkpoint: origin, size, root; then signature lines, others' among them."""
    note = read_note(data)
    if note.head.origin.rpartition("/")[2] != party.name:
        changed(f"the checkpoint given as that of {party.name} is another log's")
    if not is_signed(note, note.head.origin, party.raw):
        changed(f"the checkpoint of {party.name} is not signed by the key that the roster gives {party.name}")
    return note.head


# --- 6 misbehaviour ----------------------------------------------------------------------------------------------

CHARGES = {"fork": "showing two histories of one length", "rollback": "taking entries of its log back",
           "inconsistent": "a log that is not shown to continue", "withheld": "withholding what it did",
           "disowned": "disowning a head that it had signed"}
MESSAGE_MARK, MESSAGE_CONTEXT, MAX_HEADER = b"SKM1", b"sekisho-message-v1\0", 4 * 2**20
SHOWING = frozenset(("offer", "cohort", "kems", "secrets", "step", "count", "readies", "judge", "finish",
                     "join", "kem", "ready"))       # kinds of message in which the sender shows its log
MAX_PROOF = 64


class Said(NamedTuple):
    """A signed message of a run without its payload; whose it is, is yet to be seen."""

    raw: bytes
    signed: bytes
    signature: bytes
    header: Json

    @property
    def kind(self) -> str:
        return text(self.header["body"]["kind"])

    @property
    def digest(self) -> str:
        return digest(self.signed)

    def part(self, name: str) -> str:
        """The digest of a part of the payload, "" where there is none."""
        return next((text(one["digest"]) for one in self.header["parts"] if one["name"] == name), "")


class Shown(NamedTuple):
    """What a message shows of its sender's log."""

    number: int
    head: Head
    continued: dict[str, list[bytes]]
    entries: list[tuple[int, bytes, list[bytes]]]
    seen: Mapping[str, str]
    answers: str


def _check_misbehaviour(members: Container, chain: list[Roster], details: list[str]) -> set[str]:
    """Each proof convicts whom it accuses, by what that party signed itself; gives the logs with two histories."""
    owned: dict[str, set[bytes]] = {}        # a party that has another key by now did what it did
    for holder in (holder for one in chain for holder in one.keys.values() if holder.is_party):
        owned.setdefault(holder.name, set()).add(holder.raw)
    convicted: set[str] = set()
    for name in sorted(one for one in members if one.startswith("misbehaviour/")):
        data = members[name]
        proof = parse_spelled(data)
        if name != f"misbehaviour/{digest(data)[7:23]}.json":
            changed(f"{name} is not named after its digest")
        origin = text(proof["origin"])
        accused = origin.rpartition("/")[2]
        if (keys_of(proof) != {"schema", "kind", "origin", "evidence"} or proof["schema"] != "sekisho-misbehaviour/1"
                or proof["kind"] not in CHARGES or accused not in owned):
            changed(f"{name} is no proof against a party of the roster")
        if not any(convicts(proof["kind"], origin, raw, proof["evidence"]) for raw in owned[accused]):
            changed(f"{name} does not prove what it says: it convicts nobody")
        if proof["kind"] != "withheld":      # who did not show its log had one history all the same
            convicted.add(origin)
        details.append(f"misbehaviour: {name} convicts {accused} of {CHARGES[proof['kind']]} ({proof['kind']})")
    return convicted


def convicts(kind: str, origin: str, raw: bytes, evidence: Json) -> bool:  # noqa: PLR0911  a return a rule
    """Whether these signed heads or messages contradict each other, by the rules of docs/formats/misbehaviour.md."""
    try:
        if kind == "fork":
            one, other = (_signed_head(_only(piece, "note"), origin, raw) for piece in evidence)
            return one.size == other.size and one.root != other.root
        messages = [_read_said(_unpad_exactly(_only(piece, "message"))) for piece in evidence]
        if kind == "withheld":
            (said,) = messages
            shown = _shown(said, origin, raw)
            return (_is_said_by(said, origin, raw) and said.kind in SHOWING
                    and (shown is None or not all(_is_shown(shown, debt) for debt in _owed(said))))
        if kind == "disowned":
            return _is_disowned(messages, origin, raw)
        earlier, later = messages
        before, after = _shown(earlier, origin, raw), _shown(later, origin, raw)
        if (before is None or after is None or not _is_said_by(earlier, origin, raw)
                or not _is_said_by(later, origin, raw) or earlier.header["run"] != later.header["run"]):
            return False
        if kind == "rollback":
            return before.number < after.number and after.head.size < before.head.size
        return kind == "inconsistent" and after.number == before.number + 1 and _denies(before.head, after)
    except MALFORMED:
        return False


def _only(piece: Json, kind: str) -> str:
    if keys_of(piece) != {kind}:
        raise ValueError("evidence")
    return text(piece[kind])


def _signed_head(note: str, origin: str, raw: bytes) -> Head:
    """The head in a note of this log that this key signed."""
    found = read_note(note.encode("utf-8"))
    if found.head.origin != origin or not is_signed(found, origin, raw):
        raise ValueError("not this log's head")
    return found.head


def _read_said(raw: bytes) -> Said:
    (length,) = struct.unpack_from("<I", raw, 4)
    if raw[:4] != MESSAGE_MARK or length > MAX_HEADER or len(raw) != 8 + length + 64:
        raise ValueError("message")
    header = parse_spelled(raw[8:8 + length])
    text(header["body"]["kind"])
    if whole(header["version"]) != 2 or not all(text(header[one]) for one in ("study", "run", "sender")):
        raise ValueError("header")
    for part in of_kind(header["parts"], list):
        text(part["name"]), text(part["digest"])
    return Said(raw, raw[8:8 + length], raw[8 + length:], header)


def _is_said_by(said: Said, origin: str, raw: bytes) -> bool:
    named = f"sekisho.example/{said.header['study']}/{said.header['sender']}"
    return named == origin and _is_good(raw, said.signature, MESSAGE_CONTEXT + said.signed)


def _shown(said: Said, origin: str, raw: bytes) -> Shown | None:
    """What the message shows of its sender's log; None where that is nothing, or no head that the sender signed."""
    try:
        log = said.header["log"]
        entries = [(whole(one["index"]), text(one["entry"]).encode("utf-8"), _path(one["proof"]))
                   for one in of_kind(log["entries"], list)]
        continued = {size: _path(proof) for size, proof in log["continued"].items()}
        seen = {party: text(note) for party, note in log["seen"].items()}
        if whole(log["number"]) < 0 or not all(re.fullmatch("[0-9]+", size) for size in continued):
            raise ValueError("log")
        answers = "" if log["answers"] is None else text(log["answers"])
        return Shown(log["number"], _signed_head(text(log["note"]), origin, raw), continued, entries, seen, answers)
    except MALFORMED:
        return None


def _path(value: Json) -> list[bytes]:
    found = hashes(value)
    if len(found) > MAX_PROOF:
        raise ValueError("proof")
    return found


def _denies(earlier: Head, later: Shown) -> bool:
    """The later head is not shown to continue the earlier one; a head that it equals needs no proof."""
    if (earlier.size, earlier.root) == (later.head.size, later.head.root):
        return False
    proof = later.continued.get(str(earlier.size), []) if earlier.size else []
    return not is_consistent(earlier, later.head, proof)


def _owed(said: Said) -> list[tuple[str, dict[str, str], dict[str, int]]]:  # noqa: PLR0911  a return a rule
    """The entries that a message owes by what it says itself: type, references, figures."""
    body, run = said.header["body"], text(said.header["run"])
    if said.kind == "offer":
        return [("study.offered", {"run": run, "study": text(body["study_bytes"])}, {})]
    if said.kind == "cohort":
        return [("run.joined", {"run": run, "site": text(site)}, {}) for site in of_kind(body["sites"], list)]
    if said.kind not in ("step", "count", "finish"):
        return []
    last = whole(body["step"]) - (said.kind == "step")       # a step message names the step that it begins
    if body["previous"] == "summed":
        return [("step.summed", {"run": run, "sum": said.part("sum")}, {"step": last})]
    if body["previous"] == "abandoned":
        return [("step.abandoned", {"run": run}, {"step": last})]
    if said.kind == "step" and last > 0:                      # a count came before
        return [("validation.opened", {"run": run}, {"step": last})]
    if said.kind == "count" and whole(body["number"]) > 1:
        return [("validation.opened", {"run": run}, {"count": body["number"] - 1})]
    return []


def _is_shown(shown: Shown, debt: tuple[str, dict[str, str], dict[str, int]]) -> bool:
    """One of the entries is what is owed, and is where the head says."""
    kind, refs, data = debt
    for index, line, proof in shown.entries:
        with suppress(*MALFORMED):
            entry = read_entry(line)
            if (is_included(index, shown.head.size, line, proof, shown.head.root) and entry["type"] == kind
                    and refs.items() <= entry["refs"].items()
                    and all(whole(entry["data"].get(name)) == number for name, number in data.items())):
                return True
    return False


def _is_disowned(messages: list[Said], origin: str, raw: bytes) -> bool:
    """The party committed to a message in which one of its own heads is seen, and owed the proof from there."""
    said, *rest = messages
    shown = _shown(said, origin, raw)
    if shown is None or not _is_said_by(said, origin, raw):
        return False
    cohort = said
    if said.kind == "kem":
        cohort, *rest = rest
        if cohort.digest != shown.answers:
            return False
    if cohort.kind != "cohort":
        return False
    witness = cohort
    if rest:
        (witness,) = rest
        if witness.kind != "join" or cohort.part(f"join:{text(witness.header['sender'])}") != digest(witness.raw):
            return False
    if witness is said:
        return False
    seen = _signed_head(text(witness.header["log"]["seen"][origin.rpartition("/")[2]]), origin, raw)
    return _denies(seen, shown)


# --- 7 witnesses -------------------------------------------------------------------------------------------------

class Witnessed(NamedTuple):
    """A head of a party's log, signed by it, that a witness says it saw at ``seconds``."""

    witness: str
    party: str
    note: Note
    seconds: int


def _read_witnessed(members: Container, parties: Mapping[str, Holder]) -> list[Witnessed]:
    """What parties saw of each other's logs: both signatures hold."""
    found = []
    for name in sorted(one for one in members if one.startswith("witnessed/")):
        match = WITNESSED.fullmatch(name)
        if match is None or match[1] == match[2] or not {match[1], match[2]} <= set(parties):
            changed(f"{name} is not what a party of the roster saw of another's log")
        if match[3] == "consistency":
            if name[:-len("consistency")] + "checkpoint" not in members:
                changed(f"{name} proves something of a head that is not there")
            continue
        witness, party, note = parties[match[1]], parties[match[2]], read_note(members[name])
        if note.head.origin.rpartition("/")[2] != party.name or not is_signed(note, note.head.origin, party.raw):
            changed(f"{name} is not a head that {party.name} signed")
        name_of_witness = note.head.origin.rpartition("/")[0] + "/" + witness.name      # as in its own log's heads
        seconds = cosigned_at(note, name_of_witness, witness.raw)
        if seconds is None:
            changed(f"{name} is not cosigned by {witness.name}")
        found.append(Witnessed(witness.name, party.name, note, seconds))
    return found


def _check_witnessed(members: Container, scope: Scope, seen: list[Witnessed], logs: Logs, convicted: set[str],
                     details: list[str]) -> None:
    """A log begins with what others saw of it; where it does not, its owner signed two histories."""
    for one in seen:
        name = f"witnessed/{one.witness}/{one.party}.consistency"
        here = logs.heads.get(one.party)
        what = f"{one.witness} saw the log of {one.party} at {one.note.head.size} entries ({_day(one.seconds)})"
        if (name in members) != (here is not None and not scope.whole):
            changed(f"{name} is missing, or has nothing to prove")
        if here is None:
            details.append(f"witness: {what}; compared with nothing, for that log is not in this bundle")
            continue
        proof = None if scope.whole else _proof_of(members[name])
        problem = _disagreement(one, here, logs, proof)
        if problem and one.note.head.origin not in convicted:
            changed(f"{what}; {problem}")
        ending = f"{problem}; {one.party} is convicted above" if problem else "the log here begins with it"
        details.append(f"witness: {what}; {ending}")
    details += [f"not witnessed here: the log of {party}; entries that it took back or left out at its end are not seen"
                for party in sorted(set(logs.heads) - {one.party for one in seen})]


def _disagreement(one: Witnessed, here: Head, logs: Logs, proof: list[bytes] | None) -> str:
    """Why the log here is not one that the witness can have seen; "" where it is."""
    head = one.note.head
    if head.origin != here.origin:
        return "the log here is another one"
    if head.size > here.size:
        return f"here it has {here.size}: {one.party} took entries back, or whoever exported this left them out"
    if proof is None and logs.roots[one.party, head.size] != head.root:
        return f"the log here has another history, and {one.party} signed both: that convicts {one.party}"
    if proof is not None and not is_consistent(head, here, proof):
        return f"the log here is not shown to begin with it: {one.party} signed two histories, or the proof is wrong"
    return ""


def _proof_of(data: bytes) -> list[bytes]:
    if not data.endswith(b"\n"):
        raise ValueError("proof")
    return hashes(parse_spelled(data[:-1]))


def _day(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, timezone(timedelta())).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"second {seconds}"


# --- 8 provenance ------------------------------------------------------------------------------------------------

def _check_provenance(members: Container, roster: Roster, rosters: frozenset[str],
                      known: Mapping[str, str], mentions: Mentions, details: list[str]) -> None:
    """One statement a run; a run whose adapter was released without its statement in this bundle is said so."""
    statements: dict[str, str] = {}
    papers = [name for name in members if name.endswith(APPROVALS)]
    signed = frozenset(_as_written(one) for name in papers for one in _envelopes(members[name]))
    for name in sorted(name for name in members if name.startswith("provenance")):
        match = PROVENANCE.fullmatch(name)
        if match is None:
            changed(f"{name} is not named as a statement of a run is: provenance/<run>.dsse.json")
        statements[match[1]] = digest(members[name])
        _check_statement(name, match[1], members[name], roster, rosters, known, mentions, signed, details)
    for (run, kind, value), places in mentions.items():
        if kind == "provenance" and value != statements.get(run, value):
            party, index = next(iter(places.items()))
            changed(f"entry {index} of the log of {party} names another provenance statement of run {plain_name(run)}")
        if kind == "provenance" and run not in statements:
            details += [f"not in this bundle: the adapter that {party} released in run {plain_name(run)} "
                        f"(its entry {index})" for party, index in places.items()]
    if not statements:
        details.append("provenance: none; this bundle is of no run that released an adapter")


def _check_statement(name: str, run: str, data: bytes, roster: Roster, rosters: frozenset[str],
                     known: Mapping[str, str], mentions: Mentions, signed: frozenset[str],
                     details: list[str]) -> None:
    """What the statement of a run names lies in this bundle, and the parties logged it in that run."""
    envelopes = _envelopes(data)
    if len(envelopes) != 1:
        changed(f"{name} holds {len(envelopes)} statements; it must hold the one of its run")
    signers, statement = signers_of(envelopes[0], roster.keys), read_statement(envelopes[0])
    said, files = statement["predicate"], _released(name, statement)
    sites = {of_kind(site["id"], str) for site in of_kind(said["sites"], list)}
    publishers = [one.name for one in signers if one.is_party and one.name in sites]
    if statement["predicateType"] != ATTESTATION + "training-run:v1" or not publishers:
        changed(f"the provenance statement {name} is not signed by a site of the roster that took part in its run")
    if said["run"] != run:
        changed(f"{name} holds the statement of another run")
    if (run, "run", run) not in mentions:
        changed(f"no log knows run {run}, of which {name} is the provenance statement")
    if said["roster"] not in rosters:
        changed(f"the provenance statement {name} names another roster")
    if said["study"] != known[STUDY]:
        changed(f"the provenance statement {name} names another study")
    if BASE_MODEL in known and said["base_model"]["record"] != known[BASE_MODEL]:
        changed(f"the provenance statement {name} names another record of the base model")
    _check_policies(name, said, known, mentions)
    _check_own_words(name, said, signed, mentions)
    if not of_kind(said["steps"], list) or not all(
            of_kind(step["cohort"], list) and set(step["cohort"]) <= sites for step in said["steps"]):
        changed(f"{name} tells of no step, or of a step with somebody who took no part")
    logged = [("adapter", "adapter", files[ADAPTER]), ("study", "study", said["study"])]
    logged += [(f"sum of step {one['step']}", "sum", one["sum"]) for one in said["steps"]
               if one["outcome"] != "abandoned"]
    logged += [(f"counts after step {one['after_step']}", "sum", one["sum"])
               for one in of_kind(said["validations"], list)]
    logged.append(("provenance statement", "provenance", digest(data)))
    for what, kind, value in logged:
        if not COMMITTED.fullmatch(value) or (run, kind, value) not in mentions:
            changed(f"no log mentions the {what} of run {run} that {name} names")
    for what, kind, value in (("adapter", "adapter", files[ADAPTER]), ("statement", "provenance", digest(data))):
        if not set(mentions[run, kind, value]) & set(publishers):
            changed(f"no site that signed {name} has its {what} in its own log")
    places = ", ".join(f"{party} entry {index}" for party, index in mentions[run, "adapter", files[ADAPTER]].items())
    details.append(f"provenance: adapter {files[ADAPTER]}, run {run}, signed by {publishers[0]}; logged: {places}")
    details += [f"released with it in run {run}: {file}, {files[file]}" for file in files if file != ADAPTER]


def _as_written(envelope: Envelope) -> str:
    """The digest of an envelope's line as a site writes it: RFC 8785, which of plain ASCII is compact sorted JSON."""
    signatures = [{"keyid": key_id, "sig": _pad(one)} for key_id, one in envelope.signatures]
    value = {"payload": _pad(envelope.payload), "payloadType": envelope.kind, "signatures": signatures}
    return digest(canonical(value))


def _released(name: str, statement: Json) -> dict[str, str]:
    """Digest by name of the files that the statement is about: first the adapter that was trained, each name once."""
    pairs = [(subject["name"], "sha256:" + subject["digest"]["sha256"]) for subject in statement["subject"]]
    files = dict(pairs)
    if not pairs or pairs[0][0] != ADAPTER or len(files) != len(pairs):
        changed(f"{name} is not about {ADAPTER} first, and then about other files, each name once")
    if not all(NAME.fullmatch(file) and DIGEST.fullmatch(files[file]) for file in files):
        changed(f"{name} names a released file or its digest in another form than a statement does")
    return files


def _check_policies(name: str, said: Json, known: Mapping[str, str], mentions: Mentions) -> None:
    run = said["run"]
    for site in said["sites"]:
        if site["policy"] != known.get(f"policies/{site['id']}.yaml"):
            changed(f"the policy of {site['id']} that {name} names is not in the bundle")
        if site["id"] not in mentions.get((run, "policy", site["policy"]), {}):
            changed(f"the log of {site['id']} does not mention, in run {run}, the policy that it is said to have used")
    for (of_run, kind, value), places in mentions.items():
        for party, index in places.items() if of_run == run and kind in ("policy", "study") else ():
            if value != known.get(STUDY if kind == "study" else f"policies/{party}.yaml"):
                changed(f"entry {index} of the log of {party} mentions a {kind} that is not in the bundle")


def _check_own_words(name: str, said: Json, signed: frozenset[str], mentions: Mentions) -> None:
    """Sites logged themselves what they are said to have committed to; plan and approvals are those that are named."""
    run = said["run"]
    for site in said["sites"]:
        consent = of_kind(site["consent"], dict, type(None)) or {}
        kept = [("dataset", site["dataset"]), *(("snapshot", consent[end]) for end in ("first", "last") if consent)]
        for kind, value in kept:
            if not COMMITTED.fullmatch(value) or site["id"] not in mentions.get((run, kind, value), {}):
                changed(f"the log of {site['id']} does not mention, in run {run}, the {kind} that {name} says it told")
    if digest(canonical(said["parameters"]["plan"])) != said["plan"]:
        changed(f"{name} shows another plan than the one that it names")
    for paper, named in of_kind(said["approvals"], dict).items():
        if not of_kind(named, list) or not set(named) <= signed:
            changed(f"the signatures on {plain_name(paper)} under which {name} says that its signer acted "
                    "are not in the bundle")


# --- what a person asked a site for --------------------------------------------------------------------------------

def _check_subject(members: Container, site: str, details: list[str]) -> None:
    """What a site tells a person points at entries of its log that say so."""
    if SUBJECT not in members or {name for name in members if name.startswith("logs/")} != {
            f"logs/{site}.checkpoint", f"logs/{site}.selected.jsonl"}:
        changed(f"what a person asked {site} for is not here, or other logs than that of {site} are")
    data = members[SUBJECT]
    said = parse_spelled(data[:-1])
    if (not data.endswith(b"\n") or keys_of(said) != {"schema", "site", "subject", "consent", "runs", "withdrawals"}
            or (said["schema"], said["site"]) != (SUBJECT_SCHEMA, site) or not isinstance(said["consent"], list)):
        changed(f"{SUBJECT} is not what {site} tells a person")
    lines = map(parse_spelled, members.lines(f"logs/{site}.selected.jsonl"))
    entries = {line["index"]: line["entry"] for line in lines}
    for run in of_kind(said["runs"], list):
        for index in of_kind(run["entries"], list):
            if entries[whole(index)]["refs"].get("run") != text(run["run"]):
                changed(f"entry {index} of the log of {site} is not about run {plain_name(run['run'])}")
    for one in of_kind(said["withdrawals"], list):
        entry = entries[whole(one["index"])]
        told = {"at": entry["at"], "case": text(one["case"]), "reason": entry["data"]["reason"],
                "subject": text(said["subject"])}
        message = b"sekisho dataset commitment v1\0" + digest(canonical(told)).encode("ascii")
        if keys_of(one) != {"case", "index", "key"} or not re.fullmatch("[0-9a-f]{64}", text(one["key"])):
            raise ValueError("withdrawal")
        committed = "hmac-sha256:" + hmac.new(bytes.fromhex(one["key"]), message, hashlib.sha256).hexdigest()
        if (entry["type"], entry["refs"].get("commitment")) != ("consent.withdrawn", committed):
            changed(f"entry {one['index']} of the log of {site} is not about the withdrawal that {site} says it is")
    details.append(f"subject request: {len(said['consent'])} consent events, {len(said['runs'])} runs, "
                   f"{len(said['withdrawals'])} withdrawals, as {site} says")


# --- the command -------------------------------------------------------------------------------------------------

class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(message, file=sys.stderr)
        raise SystemExit(SENTENCES["unusable"][0])


def main(arguments: list[str] | None = None) -> int:
    """Print the verdict in English and Japanese; the exit status is its code."""
    parser = _Parser(description="Verify an evidence bundle.")
    parser.add_argument("bundle", help="evidence.zip")
    parser.add_argument("--root", help="sha256:<fingerprint of the roster, received outside this bundle>")
    parser.add_argument("--json", action="store_true", help="print the verdict as JSON")
    options = parser.parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):     # a terminal that cannot show Japanese shows question marks
        getattr(stream, "reconfigure", lambda **_: None)(errors="replace")
    verdict = verify_file(Path(options.bundle), options.root, lambda line: print(line, file=sys.stderr, flush=True))
    if options.json:
        print(json.dumps({"code": verdict.code, "name": verdict.name, "sentence": verdict.sentence,
                          "sentence_ja": verdict.sentence_ja, "details": list(verdict.details)}, indent=1))
    else:
        print("\n".join([verdict.sentence, verdict.sentence_ja, *(f"  {line}" for line in verdict.details)]))
    return verdict.code


if __name__ == "__main__":
    sys.exit(main())
