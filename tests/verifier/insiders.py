"""Nonsense that a party or a person of the roster really signs: statements and log entries with a value changed.

Not for: forgers without a key (mutations.py). A verifier may take an insider's nonsense or not; two verifiers take the
same. Order of calls: ``said_by_an_insider(made, number)`` -> words and the bundle.
"""

from __future__ import annotations

import json
import random

from sekisho.governance.canonical import digest_bytes
from sekisho.governance.log.checkpoint import Checkpoint, Note, sign_checkpoint
from sekisho.governance.signing.envelope import PAYLOAD_TYPE, Envelope

from ..governance import evidence_example as example
from .bundles import Made, Nodes
from .mutations import Members, in_value

KEYS = {key.public.key_id: key for key in map(example.key, (*example.SITES, example.HUB, "counsel-1", "admin-1"))}


def said_by_an_insider(made: Made, number: int) -> tuple[str, bytes]:
    """The bundle in which somebody signed something else than they should have."""
    rng = random.Random(number)
    members = dict(made.members)
    names = [name for name in sorted(members) if name.endswith((".dsse.json", ".jsonl")) and members[name]]
    # statements of runs say the most, so they are tried most
    name = rng.choice(names + 3 * [one for one in names if one.startswith(("provenance/", "logs/"))])
    if name.endswith(".selected.jsonl"):
        name = rng.choice([one for one in names if one.endswith(".dsse.json")])
    words = _log(rng, members, name) if name.endswith(".jsonl") else _statement(rng, members, name)
    return f"{number} {words} in {name}", made.sealed(members)


def _spelled(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _statement(rng: random.Random, members: Members, name: str) -> str:
    lines = members[name].splitlines(keepends=True)
    at = rng.randrange(len(lines))
    envelope = Envelope.from_bytes(lines[at])
    value = json.loads(envelope.payload)
    for _ in range(rng.choice((1, 1, 1, 2))):
        in_value(rng, value)
    again = Envelope(rng.choice((PAYLOAD_TYPE,) * 9 + ("text/plain",)), _spelled(value), ())
    for signature in envelope.signatures:
        again = again.signed_by(KEYS[signature.key_id])
    written = json.loads(again.to_bytes())
    if rng.random() < 0.2:
        written["signatures"][0]["keyid"] = rng.choice(("", None, [], 0, "x" * 32, "é"))
    if rng.random() < 0.1:
        written["signatures"] += written["signatures"]
    lines[at] = _spelled(written) + b"\n"
    if rng.random() < 0.2:
        lines.append(lines[at])
    members[name] = b"".join(lines)
    run = name.removeprefix("provenance/").removesuffix(".dsse.json")
    if name.startswith("provenance/") and "logs/kohi.jsonl" in members:
        _log_again(members, run, members[name])
    return "a statement signed again"


def _log_again(members: Members, run: str, statement: bytes) -> None:
    """Kohi logs that it released this very statement, so that the next check is reached."""
    entries = [json.loads(line) for line in members["logs/kohi.jsonl"].splitlines()]
    for entry in entries:
        if entry["refs"]["run"] == run and "provenance" in entry["refs"]:
            entry["refs"]["provenance"] = digest_bytes(statement)
    members["logs/kohi.jsonl"] = b"".join(_spelled(entry) + b"\n" for entry in entries)
    _sign_head(members, "kohi")


def _log(rng: random.Random, members: Members, name: str) -> str:
    party = name.removeprefix("logs/").removesuffix(".jsonl")
    lines = members[name].splitlines()
    at = rng.randrange(len(lines))
    value = json.loads(lines[at])
    in_value(rng, value)
    lines[at] = _spelled(value)
    members[name] = b"".join(line + b"\n" for line in lines)
    _sign_head(members, party)
    return f"entry {at} logged otherwise"


def _sign_head(members: Members, party: str) -> None:
    origin = Note.parse(members[f"logs/{party}.checkpoint"].decode()).text.split("\n")[0]
    entries = members[f"logs/{party}.jsonl"].splitlines()
    head = Checkpoint(origin, len(entries), Nodes(entries).root())
    members[f"logs/{party}.checkpoint"] = sign_checkpoint(head, example.key(party)).encode()
