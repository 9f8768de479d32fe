"""What can be done to a bundle by whoever has it in hand: random, but the same for the same number.

Not for: whether it is caught (the tests). Order of calls: ``mutated(made, number)`` -> ``Mutation``.

The reach of a forger comes in three sizes. ``bytes``: the archive as it is, nothing signed again. ``stranger``: the
manifest signed again with a key of nobody in the roster. ``exporter``: a party of the roster signs what it likes, which
is caught wherever somebody else's signature, digest or proof is behind the changed part, and is otherwise its own word.
"""

from __future__ import annotations

import base64
import io
import json
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

from sekisho.governance.evidence import verifier

from .bundles import Made

Members = dict[str, bytes]
# The exporter's own words, for which nobody else vouches.
OWN_WORDS = ("README.txt", "verify.py", "views/", "subject/")


class Mutation(NamedTuple):
    """A changed bundle; ``must`` says that it is not the bundle any more, whoever signed it."""

    what: str
    data: bytes
    must: bool


def mutated(made: Made, number: int) -> Mutation:
    """The mutation of this number."""
    rng = random.Random(number)
    reach = rng.choice(("bytes", "bytes", "container", "stranger", "exporter"))
    if reach == "bytes":
        what, data = _on_bytes(rng, made.sealed())
        return Mutation(f"{number} {what}", data, True)
    if reach == "container":
        name, change = rng.choice(tuple(CONTAINERS.items()))
        return Mutation(f"{number} container: {name}", change(rng, verifier.read_container(made.sealed())), True)
    members = dict(made.members) if reach != "stranger" or rng.random() < 0.5 else _whole(made)
    what = _on_members(rng, members)
    if reach == "stranger" and "manifest.json" in members:
        return Mutation(f"{number} {what}, not signed again", verifier.write_container(members), True)
    if reach == "stranger":
        signer = rng.choice(("stranger", "counsel-1"))
        return Mutation(f"{number} {what}, signed by {signer}", made.sealed(members, signer), True)
    return Mutation(f"{number} {what}, signed by the exporter", made.sealed(members), False)


def _whole(made: Made) -> Members:
    return verifier.read_container(made.sealed())


# --- bytes of the archive ----------------------------------------------------------------------------------------

def _on_bytes(rng: random.Random, data: bytes) -> tuple[str, bytes]:
    at = rng.randrange(len(data))
    end = min(len(data), at + rng.choice((1, 2, 22, 100)))
    kind = rng.choice(("flip", "set", "cut", "drop", "insert", "append", "prepend", "double", "swap"))
    other = data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1:]
    value = bytes([rng.choice([one for one in (0, 10, 32, 34, 48, 57, 255) if one != data[at]])])
    far = rng.randrange(len(data))
    changes: dict[str, Callable[[], bytes]] = {
        "flip": lambda: other,
        "set": lambda: data[:at] + value + data[at + 1:],
        "cut": lambda: data[:at],
        "drop": lambda: data[:at] + data[end:],
        "insert": lambda: data[:at] + value + data[at:],
        "append": lambda: data + rng.randbytes(rng.choice((1, 22, 100))),
        "prepend": lambda: rng.randbytes(rng.choice((1, 4, 30))) + data,
        "double": lambda: data + data,
        "swap": lambda: data[:at] + data[far:far + 1] + data[at + 1:] if data[far] != data[at] else other,
    }
    return f"{kind} at {at}", changes[kind]()


# --- the container, with all members as they were ----------------------------------------------------------------

def _zipped(members: Mapping[str, bytes], order: list[str], **words: int) -> bytes:
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w", **words) as archive:
        for name in order:
            archive.writestr(zipfile.ZipInfo(name), members[name], compress_type=words.get("compression"))
    return found.getvalue()


def _commented(rng: random.Random, members: Members) -> bytes:
    data = verifier.write_container(members)
    comment = b"x" * rng.randrange(1, 30)
    return data[:-2] + struct.pack("<H", len(comment)) + comment


def _twice(rng: random.Random, members: Members) -> bytes:
    """A name twice, the second time with other bytes: readers differ in which of them they take."""
    name = rng.choice(sorted(members))
    pairs = [(one, members[one]) for one in sorted(members)]
    place = rng.choice((pairs.index((name, members[name])), len(pairs)))
    pairs.insert(place, (name, rng.choice((members[name], members[name] + b" ", b""))))
    return raw_container(pairs)


def raw_container(pairs: list[tuple[str, bytes]], flags: int = 0, extra: bytes = b"") -> bytes:
    """A zip as the format has it, but for what is asked for: any order, any names, flags, extra fields."""
    body, directory = bytearray(), bytearray()
    for name, data in pairs:
        label = name.encode()
        offset, size = len(body), len(data)
        common = (20, flags, 0, 0, 0x0021, zlib.crc32(data), size, size, len(label), len(extra))
        body += struct.pack("<4s5H3L2H", b"PK\x03\x04", *common) + label + extra + data
        if flags & 8:
            body += struct.pack("<4s3L", b"PK\x07\x08", zlib.crc32(data), size, size)
        directory += struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20 | 3 << 8, *common, 0, 0, 0, 0o100644 << 16, offset)
        directory += label + extra
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, len(pairs), len(pairs), len(directory), len(body), 0)
    return bytes(body + directory + end)


def _zip64(rng: random.Random, members: Members) -> bytes:
    data = verifier.write_container(members)
    count, size, offset = struct.unpack("<HLL", data[-12:-2])
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, offset)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, offset + size, 1)
    return data[:-22] + record + locator + data[-22:]


def _shuffled(rng: random.Random, members: Members) -> bytes:
    order = sorted(members)
    one, other = rng.sample(range(len(order)), 2)
    order[one], order[other] = order[other], order[one]
    return raw_container([(name, members[name]) for name in order])


def _renamed(rng: random.Random, members: Members) -> bytes:
    name = rng.choice(sorted(members))
    other = rng.choice((name.upper(), name + "/", "/" + name, "../" + name, name + "\0", "é" + name, name + ".x", "_"))
    return raw_container(sorted((other if one == name else one, data) for one, data in members.items()))


CONTAINERS: Mapping[str, Callable[[random.Random, Members], bytes]] = {
    "comment": _commented,
    "name twice": _twice,
    "zip64": _zip64,
    "order": _shuffled,
    "renamed": _renamed,
    "compressed": lambda _, members: _zipped(members, sorted(members), compression=zipfile.ZIP_DEFLATED),
    "another tool": lambda _, members: _zipped(members, sorted(members), compression=zipfile.ZIP_STORED),
    "data descriptors": lambda _, members: raw_container(sorted(members.items()), flags=8),
    "flags": lambda rng, members: raw_container(sorted(members.items()), flags=rng.choice((1, 2048, 0x4000))),
    "extra field": lambda _, members: raw_container(sorted(members.items()), extra=b"\x55\x54\x05\x00\x01abcd"),
    "bytes in front": lambda rng, members: rng.randbytes(8) + verifier.write_container(members),
    "gap": lambda _, members: (data := verifier.write_container(members))[:-22] + b"\0" + data[-22:],
}


# --- members -----------------------------------------------------------------------------------------------------

def _on_members(rng: random.Random, members: Members) -> str:
    """Change one member in place, so that it is another; gives words for it."""
    while True:
        before = dict(members)
        name = rng.choice([one for one in sorted(members) if not one.startswith(OWN_WORDS)])
        kind = rng.choice(tuple(MEMBERS))
        try:
            MEMBERS[kind](rng, members, name)
        except (ValueError, IndexError, KeyError, TypeError):      # does not apply to this member
            members.clear()
            members.update(before)
            continue
        if members != before:
            return f"{kind} in {name}"


def _byte(rng: random.Random, members: Members, name: str) -> None:
    data = bytearray(members[name])
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    members[name] = bytes(data)


def _cut(rng: random.Random, members: Members, name: str) -> None:
    members[name] = members[name][:rng.randrange(len(members[name]))]


def _exchange(rng: random.Random, members: Members, name: str) -> None:
    alike = [one for one in members if one.rpartition(".")[2] == name.rpartition(".")[2] and one != name]
    other = rng.choice(sorted(alike))
    members[name], members[other] = members[other], members[name]


def _copy(rng: random.Random, members: Members, name: str) -> None:
    members[re.sub(r"[a-z]+(?=[^a-z]*\.[a-z.]+$)", rng.choice(("other", "kohi", "hub")), name)] = members[name]


def _lines(change: Callable[[random.Random, list[bytes]], None]) -> Callable[[random.Random, Members, str], None]:
    def on_lines(rng: random.Random, members: Members, name: str) -> None:
        lines = members[name].splitlines(keepends=True)
        change(rng, lines)
        members[name] = b"".join(lines)

    return on_lines


def _swap_lines(rng: random.Random, lines: list[bytes]) -> None:
    one, other = rng.sample(range(len(lines)), 2)
    lines[one], lines[other] = lines[other], lines[one]


def _insert_line(rng: random.Random, lines: list[bytes]) -> None:
    lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))


def _number(rng: random.Random, members: Members, name: str) -> None:
    places = list(re.finditer(rb"(?<![\w.+/=-])\d+(?![\w.+/=-])", members[name]))
    place = rng.choice(places)
    value = rng.choice((b"0", b"-1", b"1.0", b"1e3", b"01", b"9007199254740992", str(int(place[0]) + 1).encode()))
    members[name] = members[name][:place.start()] + value + members[name][place.end():]


def _base64(rng: random.Random, members: Members, name: str) -> None:
    """Signatures, hashes of proofs, payloads: dropped, cut, changed, or spelled otherwise."""
    places = list(re.finditer(rb"[A-Za-z0-9+/]{22,}={0,2}", members[name]))
    place = rng.choice(places)
    raw = bytearray(base64.b64decode(place[0]))
    raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    text = place[0]
    value = rng.choice((base64.b64encode(raw), text[:-4], text.rstrip(b"="), text + b"=", text.replace(b"+", b"-"),
                        b"", base64.b64encode(base64.b64decode(text)[:-1]), b"AAAA" + text))
    members[name] = members[name][:place.start()] + value + members[name][place.end():]


def _json(rng: random.Random, members: Members, name: str) -> None:
    """A value of a JSON line: dropped, another type, twice, in a list; written again in its one spelling."""
    lines = members[name].splitlines(keepends=True)
    at = rng.randrange(len(lines))
    value = json.loads(lines[at])
    in_value(rng, value)
    lines[at] = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + (
        b"\n" if lines[at].endswith(b"\n") else b"")
    members[name] = b"".join(lines)


def in_value(rng: random.Random, value: object) -> None:
    """Change one value somewhere in this one: dropped, of another type, twice."""
    holder, key = _some_place(rng, value)
    old = holder[key]
    new = rng.choice((None, True, 0, 1, "", [], {}, [old], {"x": old}, str(old), "drop", "twice"))
    if new == "drop":
        del holder[key]
    elif new == "twice" and isinstance(holder, list):
        holder.insert(key, old)
    else:
        holder[key] = new


def _some_place(rng: random.Random, value: object) -> tuple[object, int | str]:
    places: list[tuple[object, int | str]] = []
    stack = [value]
    while stack:
        one = stack.pop()
        keys = list(one) if isinstance(one, dict) else list(range(len(one))) if isinstance(one, list) else []
        places += [(one, key) for key in keys]
        stack += [one[key] for key in keys]
    return rng.choice(places)


def _respaced(rng: random.Random, members: Members, name: str) -> None:
    data = members[name]
    places = [match.start() for match in re.finditer(rb"[,:{\[]", data)]
    at = rng.choice(places) + 1
    members[name] = data[:at] + rng.choice((b" ", b"\t", b"\r", b"\n", b"\xc2\xa0", b"\xef\xbb\xbf")) + data[at:]


MEMBERS: Mapping[str, Callable[[random.Random, Members, str], None]] = {
    "changed byte": _byte,
    "dropped": lambda rng, members, name: members.__delitem__(name),
    "emptied": lambda rng, members, name: members.__setitem__(name, b""),
    "cut short": _cut,
    "exchanged": _exchange,
    "copied": _copy,
    "line dropped": _lines(lambda rng, lines: lines.__delitem__(rng.randrange(len(lines)))),
    "line twice": _lines(_insert_line),
    "lines swapped": _lines(_swap_lines),
    "number": _number,
    "base64": _base64,
    "value": _json,
    "blank": _respaced,
}
