"""Where an adapter came from, as a graph of which every edge was held against what is at hand.

For: the values (nodes, edges with a verdict and its reason) and the questions asked of them: what lies upstream, what
follows downstream, what is broken. Not for: finding the verdicts (tracing.py), or drawing them (drawing.py).

An edge runs from what came first to what came of it. Its verdict is of the edge and says nothing of what lies behind:
``verified`` (signature, digest and log entry are as the statement says), ``broken`` (one of them is not), ``unchecked``
(what it rests on is not at hand, e.g. another party's log). There is no fourth, and no edge without one.

Order of calls: ``trace(material)`` of tracing.py -> ``Lineage`` -> ``upstream``, ``downstream``, ``broken``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """What was found of one edge."""

    VERIFIED = "verified"
    BROKEN = "broken"
    UNCHECKED = "unchecked"


Finding = tuple[Verdict, str]       # of one edge: what was found, and the code of the reason

HOLDS, NOT_AT_HAND = "HOLDS", "NOT_AT_HAND"


def held() -> Finding:
    """Signature, digest and log entry are as the statement says."""
    return Verdict.VERIFIED, HOLDS


def broken(code: str) -> Finding:
    """Something is not as the statement says."""
    return Verdict.BROKEN, code


def unchecked(code: str) -> Finding:
    """Nothing can be said from here."""
    return Verdict.UNCHECKED, code


class Kind(StrEnum):
    """What a node is; the words for it are in texts/lineage.toml."""

    ROSTER = "roster"
    SIGNER = "signer"
    STUDY = "study"
    BASE_MODEL = "base-model"
    WEIGHTS = "weights"
    SOFTWARE = "software"
    POLICY = "policy"
    DATASET = "dataset"
    CONSENT = "consent"
    RUN = "run"
    LOG = "log"
    ADAPTER = "adapter"
    FILE = "file"
    RELEASE = "release"
    REVOCATION = "revocation"
    SUCCESSOR = "successor"


@dataclass(frozen=True)
class Node:
    """One thing of a run. ``id`` is unique in the graph; ``name`` is what people call it: a site, a file, a run."""

    id: str
    kind: Kind
    name: str
    digest: str = ""


@dataclass(frozen=True)
class Edge:
    """``source`` went into ``target``. ``code`` names the reason; ``rests_on`` the files whose bytes decided it."""

    source: str
    target: str
    verdict: Verdict
    code: str
    rests_on: tuple[str, ...]

    @property
    def id(self) -> str:
        """Both ends: there is one edge between two nodes."""
        return f"{self.source} -> {self.target}"


@dataclass(frozen=True)
class Lineage:
    """The graph of one or several runs. Nodes and edges are in the order in which they are drawn."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    def node(self, node_id: str) -> Node:
        """The node of this id. Raises ``KeyError``."""
        return {node.id: node for node in self.nodes}[node_id]

    @property
    def broken(self) -> tuple[Edge, ...]:
        """The edges that do not hold."""
        return tuple(edge for edge in self.edges if edge.verdict is Verdict.BROKEN)

    def count(self, verdict: Verdict) -> int:
        """How many edges have this verdict."""
        return sum(edge.verdict is verdict for edge in self.edges)

    def upstream(self, node_id: str) -> tuple[Node, ...]:
        """Everything that went into a node, at any distance, in the graph's order."""
        return self._reached(node_id, ((edge.target, edge.source) for edge in self.edges))

    def downstream(self, node_id: str) -> tuple[Node, ...]:
        """Everything that came of a node, at any distance, in the graph's order."""
        return self._reached(node_id, ((edge.source, edge.target) for edge in self.edges))

    def _reached(self, start: str, steps: Iterable[tuple[str, str]]) -> tuple[Node, ...]:
        after: dict[str, list[str]] = {}
        for here, there in steps:
            after.setdefault(here, []).append(there)
        found, waiting = set[str](), [start]
        while waiting:
            fresh = [there for there in after.get(waiting.pop(), ()) if there not in found]
            found.update(fresh)
            waiting += fresh
        return tuple(node for node in self.nodes if node.id in found)

    def __or__(self, other: Lineage) -> Lineage:
        """Both graphs as one; what is the same in both (a study, a policy) is one node."""
        return Lineage(tuple(dict.fromkeys((*self.nodes, *other.nodes))),
                       tuple(dict.fromkeys((*self.edges, *other.edges))))

    def to_json(self) -> dict[str, Any]:
        """Nodes and edges as plain values."""
        return {
            "nodes": [{"id": node.id, "kind": str(node.kind), "name": node.name, "digest": node.digest}
                      for node in self.nodes],
            "edges": [{"source": edge.source, "target": edge.target, "verdict": str(edge.verdict), "code": edge.code,
                       "rests_on": list(edge.rests_on)} for edge in self.edges],
        }
