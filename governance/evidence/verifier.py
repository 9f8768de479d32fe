"""Verify an evidence bundle, anywhere: Python >= 3.9, the standard library and the package `cryptography`.

    python verify.py evidence.zip --root sha256:<fingerprint that you were given outside this file>

The order of the checks, each of which stops at the first thing it finds:

    1. container    the zip, written again from its members, is this file byte for byte
    2. manifest     lists every other member with its digest, and is signed by a party of the roster
    3. roster       is signed by every site in it, or handed on from one that was, by the people of both versions
    4. papers       study, policies and base-model record carry approvals of people in the roster, who saw the same;
                    those count whom a site counts: on a policy who acts for its site, on a study not who asks for it
    5. logs         each party's entries give the root of its signed checkpoint (RFC 6962, C2SP)
    6. provenance   one statement a run, signed by a party; what it names is in this bundle and in that run's entries
    7. root         the digest of roster.yaml is the fingerprint that you gave

Everything hangs on 7: every key comes out of the very bytes of roster.yaml that the fingerprint names, never from a
copy in another form that somebody else could have signed. So this file reads the plain YAML that a roster needs.

What it is NOT for: it does not judge whether an approval had expired when it was used (each site's own log has that
decision), does not compute a paper's canonical digest or renderings again (what a run names is its bytes' digest), and
cannot see that a whole log was rolled back (other parties' logs witness that).

This file imports nothing of Sekisho. It is the same file inside the bundle (verify.py) and in the product.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import struct
import sys
import zlib
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
except ImportError:  # said in words by main(); a library caller has the package
    Ed25519PublicKey = None  # type: ignore[assignment,misc]

SCHEMA = "sekisho-evidence/2"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
ATTESTATION = "urn:sekisho:attestation:"
MANIFEST, MANIFEST_SIGNATURE = "manifest.json", "manifest.json.dsse.json"
ROSTER, ROSTER_SIGNATURES = "roster.yaml", "roster.yaml.dsse.json"
STUDY, BASE_MODEL, ADAPTER = "study.yaml", "base-model.yaml", "adapter.safetensors"
APPROVALS = ".dsse.json"
BOTH = ("legal", "it")      # whose approval a paper needs, by different people
MAX_ENVELOPES, MAX_SIGNATURES = 256, 64      # lines in a file of signatures and signatures in each, as at a site
MAX_DEPTH = 64              # levels inside one another, of JSON and of a roster; a run's statement has seven
MAX_WHOLE_NUMBER = 2**53 - 1     # beyond it RFC 8785 has no exact form
TIME = re.compile(r"(?!0000)(\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d)(?:\.(\d{1,6}))?"
                  r"(Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII)
BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}(/[A-Za-z0-9][A-Za-z0-9._-]{0,99}){0,3}")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
PROVENANCE = re.compile(r"provenance/([^/]+)\.dsse\.json")      # the file is named after the run
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


# A dishonest exporter may sign any nonsense: shapes are not trusted, and a wrong one is a finding, not a crash.
MALFORMED = (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, OverflowError, struct.error)


def verify(data: bytes, root: str | None = None) -> Verdict:
    """Judge the bytes of an evidence bundle; never raises. ``root`` is "sha256:..." or None."""
    details: list[str] = []
    try:
        name = _verify(data, root, details)
    except Found as found:
        name = found.verdict
        details.append(str(found))
    except MALFORMED as error:
        name = "changed"
        details.append(f"a part of the bundle is malformed ({type(error).__name__})")
    code, sentence, _ = SENTENCES[name]
    return Verdict(code, name, sentence, tuple(details))


def _verify(data: bytes, root: str | None, details: list[str]) -> str:
    if Ed25519PublicKey is None:
        raise Found("unusable", "the Python package `cryptography` is not installed")
    if root is not None and not DIGEST.fullmatch(root):
        raise Found("unusable", "--root is not of the form sha256:<64 lower-case hexadecimal digits>")
    members = read_container(data)                                                          # 1 container
    if MANIFEST not in members and MANIFEST_SIGNATURE not in members:
        raise Found("unusable", "the archive holds no evidence manifest")
    _check_digests(members)                                                                 # 2 manifest
    roster = read_roster(members[ROSTER])
    exporter = _check_signature(members[MANIFEST_SIGNATURE], roster.keys, members[MANIFEST])
    details.append(f"manifest: {len(members)} members, signed by {exporter}")
    rosters = _check_roster(members, roster, details)                                         # 3 roster
    known = _check_papers(members, roster, details)                                           # 4 papers
    mentions = _check_logs(members, roster.keys, details)                                          # 5 logs
    _check_provenance(members, roster, rosters, known, mentions, details)                     # 6 provenance
    if root is None:                                                                        # 7 root
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


def write_container(members: Mapping[str, bytes]) -> bytes:
    """The one zip of these members: stored, sorted by name, 1 January 1980, no extra fields, no comment."""
    body, directory, count = bytearray(), bytearray(), 0
    for name in sorted(members):
        data, label, offset = members[name], name.encode("ascii"), len(body)
        common = (VERSION, 0, 0, 0, FIRST_OF_JANUARY_1980, zlib.crc32(data), len(data), len(data), len(label), 0)
        body += struct.pack(LOCAL, LOCAL_MARK, *common) + label + data
        directory += struct.pack(CENTRAL, CENTRAL_MARK, VERSION | UNIX, *common, 0, 0, 0, MODE, offset) + label
        count += 1
    end = struct.pack(END, END_MARK, 0, 0, count, count, len(directory), len(body), 0)
    return bytes(body + directory + end)


def read_container(data: bytes) -> dict[str, bytes]:
    """Members by name, of a container that is byte for byte what `write_container` makes of them."""
    if len(data) > CONTAINER_LIMIT:
        raise Found("unusable", "the file is larger than 4 GiB")
    if not data.startswith(LOCAL_MARK) and data[-22:-18] != END_MARK:
        raise Found("unusable", "the file is not a zip archive")
    members: dict[str, bytes] = {}
    at, head = 0, struct.calcsize(LOCAL)
    while data.startswith(LOCAL_MARK, at) and at + head <= len(data):
        size, label_size = struct.unpack_from("<LH", data, at + 22)
        label = data[at + head:at + head + label_size].decode("latin-1")
        at += head + label_size
        if not NAME.fullmatch(label) or label in members or at + size > len(data):
            changed("the container is damaged")
        members[label] = data[at:at + size]
        at += size
    if write_container(members) != data:
        changed("the container is not in its one canonical form: damaged, re-packed or edited")
    return members


# --- 2 manifest and signatures -----------------------------------------------------------------------------------

def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def parse(data: bytes) -> Json:
    """JSON with no key twice, no fraction, no infinity, no huge number or depth: one meaning for every reader."""
    def once(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        value = dict(pairs)
        if len(value) != len(pairs):
            raise ValueError("a key stands twice")
        return value

    def refuse(word: str) -> NoReturn:
        raise ValueError(word)

    def whole(digits: str) -> int:
        if len(digits) > len(str(-MAX_WHOLE_NUMBER)) or abs(int(digits)) > MAX_WHOLE_NUMBER:
            raise ValueError("a number beyond 2^53 - 1")
        return int(digits)

    if data.count(b"[") + data.count(b"{") > MAX_DEPTH:      # only then can it be that deep
        _check_depth(data)
    return json.loads(data.decode("utf-8"), object_pairs_hook=once, parse_constant=refuse, parse_float=refuse,
                      parse_int=whole)


def _check_depth(data: bytes) -> None:
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


def of_kind(value: Json, *kinds: type) -> Json:
    """The value, which is exactly of this type: in Python True is 1 and a text is a list of letters, elsewhere not."""
    if type(value) not in kinds:
        raise ValueError("a value of another type")
    return value


def _check_digests(members: Mapping[str, bytes]) -> None:
    for name in (MANIFEST, MANIFEST_SIGNATURE, ROSTER, ROSTER_SIGNATURES, STUDY):
        if name not in members:
            changed(f"{name} is missing")
    manifest = parse(members[MANIFEST])
    if manifest["schema"] != SCHEMA:
        raise Found("unusable", f"this verifier reads {SCHEMA}; use the verify.py that came with the bundle")
    expected = {name: digest(data) for name, data in members.items() if name not in (MANIFEST, MANIFEST_SIGNATURE)}
    for name in sorted(set(expected) | set(manifest["members"])):
        if expected.get(name) != manifest["members"].get(name):
            changed(f"{name} is not the member that the manifest lists")


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
    if json.dumps(respelled, sort_keys=True, separators=(",", ":")).encode("ascii") + b"\n" != envelope:
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
    if not all(text.isascii() for text in (kind, *(hint for hint, _ in signatures))):
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
    def texts(value: Json) -> tuple[str, ...]:
        return tuple(of_kind(text, str) for text in of_kind(value, list))

    document = read_yaml(data.decode("utf-8"))
    holders = [(Holder(of_kind(party["id"], str), True, (of_kind(party["kind"], str),), b""), texts([party["key"]]))
               for party in of_kind(document["parties"], list)]
    holders += [(Holder(of_kind(person["pseudonym"], str), False, texts(person["roles"]), b"",
                        texts(person.get("acts_for", []))), texts(person["keys"]))
                for person in of_kind(document["people"], list)]
    keys: dict[str, Holder] = {}
    for holder, own in holders:
        for text in own:
            scheme, _, encoded = text.partition(":")
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


def _check_roster(members: Mapping[str, bytes], roster: Roster, details: list[str]) -> frozenset[str]:
    """The chain of rosters, back to one that every site of it signed; gives the fingerprint of each."""
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
    return frozenset(one.fingerprint for one in chain)


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

def log_root(entries: list[bytes]) -> bytes:
    """RFC 6962, 2.1: the Merkle tree hash, from complete subtrees kept largest first."""
    stack: list[tuple[int, bytes]] = []
    for entry in entries:
        level, node = 0, hashlib.sha256(b"\x00" + entry).digest()
        while stack and stack[-1][0] == level:
            level, node = level + 1, hashlib.sha256(b"\x01" + stack.pop()[1] + node).digest()
        stack.append((level, node))
    if not stack:
        return hashlib.sha256(b"").digest()
    root = stack.pop()[1]
    while stack:
        root = hashlib.sha256(b"\x01" + stack.pop()[1] + root).digest()
    return root


# What the logs say of each run: by run, name of the reference and value, which entry of which party.
Mentions = dict[tuple[str, str, str], list[tuple[str, int]]]


def _check_logs(members: Mapping[str, bytes], keys: Mapping[str, Holder], details: list[str]) -> Mentions:
    """Each log against its signed checkpoint."""
    mentions: Mentions = {}
    parties = {holder.name: holder for holder in keys.values() if holder.is_party}
    logs = sorted(name for name in members if name.startswith("logs/"))
    for name in logs:
        party, _, kind = name[len("logs/"):].rpartition(".")
        if party not in parties or kind not in ("jsonl", "checkpoint"):
            changed(f"{name} is not a log of a party of the roster")
        if f"logs/{party}.checkpoint" not in members or f"logs/{party}.jsonl" not in members:
            changed(f"the log of {party} lacks its entries or its checkpoint")
        if kind == "checkpoint":
            continue
        entries = members[name].split(b"\n")
        if entries.pop() != b"":
            changed(f"{name} does not end after a whole entry")
        root = log_root(entries)
        _check_checkpoint(members[f"logs/{party}.checkpoint"], parties[party], len(entries), root)
        for index, line in enumerate(entries):
            _read_entry(party, index, line, mentions)
        details.append(f"log of {party}: {len(entries)} entries, root {root.hex()}, signed by {party}")
    if not logs:
        changed("there is no log in the bundle")
    return mentions


def _read_entry(party: str, index: int, line: bytes, mentions: Mentions) -> None:
    entry = parse(line)
    if entry["party"] != party:
        changed(f"entry {index} of the log of {party} names another party")
    refs = of_kind(entry["refs"], dict)
    for value in refs.values():
        of_kind(value, str)
    for name, value in refs.items() if "run" in refs else ():
        mentions.setdefault((refs["run"], name, value), []).append((party, index))


def _check_checkpoint(note: bytes, party: Holder, size: int, root: bytes) -> None:
    """C2SP signed-note and tlog-checkpoint: origin, size, root; then signature lines."""
    text, _, signatures = note.decode("utf-8").rpartition("\n\n")
    origin, size_text, root_text = text.split("\n")
    text += "\n"
    if origin.rpartition("/")[2] != party.name:
        changed(f"the checkpoint given as that of {party.name} is another log's")
    if (size_text, root_text) != (str(size), _pad(root)):
        changed(f"the log of {party.name} is not the one whose size and root {party.name} signed")
    hint = hashlib.sha256(origin.encode("utf-8") + b"\n\x01" + party.raw).digest()[:4]
    good = False
    for line in signatures[:-1].split("\n"):      # other parties' cosignatures may follow; each is a whole line
        dash, name, encoded = line.split(" ")
        signature = _unpad_exactly(encoded)
        if dash != "\u2014":
            raise ValueError("signature line")
        if (name, signature[:4]) == (origin, hint):
            good = good or _is_good(party.raw, signature[4:], text.encode("utf-8"))
    if not good or not signatures.endswith("\n"):
        changed(f"the checkpoint of {party.name} is not signed by the key that the roster gives {party.name}")


# --- 6 provenance ------------------------------------------------------------------------------------------------

def _check_provenance(members: Mapping[str, bytes], roster: Roster, rosters: frozenset[str],
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
            party, index = places[0]
            changed(f"entry {index} of the log of {party} names another provenance statement of run {run}")
        if kind == "provenance" and run not in statements:
            details += [f"not in this bundle: the adapter that {party} released in run {run} (its entry {index})"
                        for party, index in places]
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
        if (run, kind, value) not in mentions:
            changed(f"no log mentions the {what} of run {run} that {name} names")
    for what, kind, value in (("adapter", "adapter", files[ADAPTER]), ("statement", "provenance", digest(data))):
        if not {party for party, _ in mentions[run, kind, value]} & set(publishers):
            changed(f"no site that signed {name} has its {what} in its own log")
    places = ", ".join(f"{party} entry {index}" for party, index in mentions[run, "adapter", files[ADAPTER]])
    details.append(f"provenance: adapter {files[ADAPTER]}, run {run}, signed by {publishers[0]}; logged: {places}")
    details += [f"released with it in run {run}: {file}, {files[file]}" for file in files if file != ADAPTER]


def _as_written(envelope: Envelope) -> str:
    """The digest of an envelope's line as a site writes it: RFC 8785, which of plain ASCII is compact sorted JSON."""
    signatures = [{"keyid": key_id, "sig": base64.b64encode(one).decode()} for key_id, one in envelope.signatures]
    whole = {"payload": base64.b64encode(envelope.payload).decode(), "payloadType": envelope.kind,
             "signatures": signatures}
    return digest(json.dumps(whole, sort_keys=True, separators=(",", ":")).encode())


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
        if site["id"] not in {party for party, _ in mentions.get((run, "policy", site["policy"]), ())}:
            changed(f"the log of {site['id']} does not mention, in run {run}, the policy that it is said to have used")
    for (of_run, kind, value), places in mentions.items():
        for party, index in places if of_run == run and kind in ("policy", "study") else ():
            if value != known.get(STUDY if kind == "study" else f"policies/{party}.yaml"):
                changed(f"entry {index} of the log of {party} mentions a {kind} that is not in the bundle")


def _check_own_words(name: str, said: Json, signed: frozenset[str], mentions: Mentions) -> None:
    """Sites logged themselves what they are said to have committed to; plan and approvals are those that are named."""
    run = said["run"]
    for site in said["sites"]:
        consent = of_kind(site["consent"], dict, type(None)) or {}
        kept = [("dataset", site["dataset"]), *(("snapshot", consent[end]) for end in ("first", "last") if consent)]
        for kind, value in kept:
            if site["id"] not in {party for party, _ in mentions.get((run, kind, value), ())}:
                changed(f"the log of {site['id']} does not mention, in run {run}, the {kind} that {name} says it told")
    if digest(canonical(said["parameters"]["plan"])) != said["plan"]:
        changed(f"{name} shows another plan than the one that it names")
    for paper, named in of_kind(said["approvals"], dict).items():
        if not of_kind(named, list) or not set(named) <= signed:
            changed(f"the signatures on {paper} under which {name} says that its signer acted are not in the bundle")


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
    try:
        verdict = verify(Path(options.bundle).read_bytes(), options.root)
    except (OSError, MemoryError) as error:
        code, sentence, _ = SENTENCES["unusable"]
        verdict = Verdict(code, "unusable", sentence, (f"the file cannot be read ({type(error).__name__})",))
    if options.json:
        print(json.dumps({"code": verdict.code, "name": verdict.name, "sentence": verdict.sentence,
                          "sentence_ja": verdict.sentence_ja, "details": list(verdict.details)}, indent=1))
    else:
        print("\n".join([verdict.sentence, verdict.sentence_ja, *(f"  {line}" for line in verdict.details)]))
    return verdict.code


if __name__ == "__main__":
    sys.exit(main())
