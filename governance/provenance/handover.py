"""The edges after a run: to the adapter, to what is released with it, to the release, and to what ended it.

For: tracing.py, which has opened the statement. Not for: whether an adapter may be used (release.py): here each file is
held against the digests that somebody signed for, and a release against the log of the site that released.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Set

from ..canonical import canonical_bytes, digest, digest_bytes
from ..errors import BadDocumentError, BadSignatureError, GovernanceError
from ..signing.envelope import PREDICATES, Statement, read_envelopes, verify_envelope
from ..signing.roster import Roster
from .lineage import NOT_AT_HAND, Edge, Finding, Kind, Node, broken, held, unchecked
from .material import PROVENANCE_FILE, REVOCATIONS, ROSTER, Material
from .provenance import ADAPTER_FILE
from .revocation import list_state
from .signatures import SIGNATURES

RELEASE_RECORD, RELEASE_STATEMENT = "release.json", "release.dsse.json"
RELEASE_APPROVALS = RELEASE_RECORD + SIGNATURES


class Handover:
    """What came out of one run. ``logged``: whether the log of ``signer``, ``log_files``, refers to things in it;
    ``mentions`` is all that it refers to, nothing where the log is not there or does not hold."""

    def __init__(self, material: Material, statement: Statement, roster: Roster, signer: str,
                 logged: Callable[[set[tuple[str, str]]], Finding], mentions: Set[tuple[str, str]],
                 log_files: tuple[str, ...]) -> None:
        self._material = material
        self._files = material.released
        self._mentions = mentions
        self._statement = statement
        # whoever signed for the run releases what came of it, and nobody else
        self._signer = roster.party(signer).key
        self._logged = logged
        self._log_files = log_files
        self._run = str(statement.predicate["run"])

    def add(self, nodes: list[Node], edges: list[Edge], run: str) -> None:
        """Append nodes and edges, from the run on, in the order in which they are drawn."""
        adapter = f"adapter:{self._run}"
        named = {subject.name: subject.digest for subject in self._statement.subjects}
        for name, digest_of_file in named.items():
            node = adapter if name == ADAPTER_FILE else self._file(name)
            kind = Kind.ADAPTER if name == ADAPTER_FILE else Kind.FILE
            nodes.append(Node(node, kind, name, digest_of_file))
            edges.append(Edge(run, node, *self._same(name, digest_of_file), (name,)))
        known = {*named, PROVENANCE_FILE}
        if RELEASE_RECORD in self._files or RELEASE_STATEMENT in self._files:
            known |= self._release(nodes, edges, adapter, known)
            self._revocation(nodes, edges)
        self._successors(nodes, edges, adapter)
        for name in sorted(set(self._files) - known):
            nodes.append(Node(self._file(name), Kind.FILE, name, digest_bytes(self._files[name])))
            edges.append(Edge(run, self._file(name), *unchecked("NOBODY_SIGNED"), (name,)))

    def _file(self, name: str) -> str:
        return f"file:{self._run}/{name}"

    def _same(self, name: str, named: str) -> Finding:
        data = self._files.get(name)
        if data is None:
            return broken("MISSING")
        return held() if digest_bytes(data) == named else broken("DIFFERS")

    def _release(self, nodes: list[Node], edges: list[Edge], adapter: str, known: Set[str]) -> set[str]:
        """The release, and the files that it names beyond those of the run; gives the names that are now explained."""
        release = f"release:{self._run}"
        files, finding = self._signed_release()
        counts = finding == held()
        if counts:
            finding = self._record(files)
        else:  # what it named cannot be known: whatever lies there has lost who vouched for it
            files = {name: digest_bytes(data) for name, data in self._files.items()}
        rests_on = (RELEASE_STATEMENT, RELEASE_RECORD, *self._log_files)
        signed = digest_bytes(self._files.get(RELEASE_STATEMENT, b""))
        nodes.append(Node(release, Kind.RELEASE, RELEASE_STATEMENT, signed))
        edges.append(Edge(adapter, release, *finding, rests_on))
        for name in sorted(set(files) - known - {RELEASE_RECORD, RELEASE_STATEMENT}):
            found = self._same(name, files[name]) if counts else broken("RESTS_ON_BROKEN")
            nodes.append(Node(self._file(name), Kind.FILE, name, files[name]))
            edges.append(Edge(release, self._file(name), *found, (name, RELEASE_STATEMENT)))
        return {RELEASE_RECORD, RELEASE_STATEMENT, *files}

    def _revocation(self, nodes: list[Node], edges: list[Edge]) -> None:
        """Whether the list of revocations at hand names the adapter. How fresh a list must be is for who uses it."""
        node = Node(f"revocation:{self._run}", Kind.REVOCATION, REVOCATIONS)
        nodes.append(node)
        edges.append(Edge(f"release:{self._run}", node.id, *self._revoked(), (REVOCATIONS,)))

    def _revoked(self) -> Finding:
        data, now = self._material.papers.get(REVOCATIONS), self._material.here.now
        if data is None or now is None:
            return unchecked(NOT_AT_HAND)
        latest = Roster.parse(self._material.papers[ROSTER], ROSTER)
        state = list_state(latest, data, now=now)
        canonical = not state.code and all(one.to_bytes() == data for one in read_envelopes(data, name=REVOCATIONS))
        if not canonical:
            return broken("LIST_UNVERIFIED")
        return broken("REVOKED") if self._statement.subjects[0].digest in state.revoked else held()

    def _successors(self, nodes: list[Node], edges: list[Edge], adapter: str) -> None:
        """Adapters that a remedy put in the place of this one, as the site that released it logged."""
        for kind, digest_of_it in sorted(self._mentions):
            if kind == "successor":
                node = Node(f"successor:{digest_of_it}", Kind.SUCCESSOR, "", digest_of_it)
                nodes.append(node)
                edges.append(Edge(adapter, node.id, *held(), self._log_files))

    def _signed_release(self) -> tuple[dict[str, str], Finding]:
        """What the signed release names, if the site that signed the run did, and it is about this adapter."""
        data = self._files.get(RELEASE_STATEMENT)
        if data is None:
            return {}, broken("MISSING")
        try:
            (envelope,) = read_envelopes(data, name=RELEASE_STATEMENT)
            statement, _ = verify_envelope(envelope, {self._signer.key_id: self._signer})
        except (BadSignatureError, BadDocumentError, ValueError):
            return {}, broken("NOT_SIGNED")
        if envelope.to_bytes() != data or statement.predicate_type != PREDICATES["release"]:
            return {}, broken("NOT_SIGNED")
        files = {subject.name: subject.digest for subject in statement.subjects}
        own = {ADAPTER_FILE: self._statement.subjects[0].digest,
               PROVENANCE_FILE: digest_bytes(self._files[PROVENANCE_FILE])}
        if any(files.get(name) != value for name, value in own.items()):
            return {}, broken("OTHER_ADAPTER")
        return files, held()

    def _record(self, files: Mapping[str, str]) -> Finding:
        """The record is of this adapter and statement, names ``files``, and the site that released logged it."""
        record = _read_record(self._files.get(RELEASE_RECORD, b""))
        if record is None:
            return broken("DIFFERS")
        named = (record.get("adapter"), record.get("provenance"))
        if named != (self._statement.subjects[0].digest, digest_bytes(self._files[PROVENANCE_FILE])):
            return broken("OTHER_ADAPTER")
        beside = {name: value for name, value in files.items() if name not in (RELEASE_RECORD, RELEASE_APPROVALS)}
        if record.get("files") != beside:
            return broken("DIFFERS")
        return self._logged({("release", digest(record))})


def _read_record(data: bytes) -> Mapping[str, object] | None:
    """The record, if it is written in its one form."""
    try:
        value = json.loads(data)
        canonical = canonical_bytes(value) + b"\n"
    except (ValueError, RecursionError, GovernanceError):
        return None
    return value if isinstance(value, dict) and canonical == data else None
