"""A lineage as text and as a picture, in English or Japanese.

For: what a person reads of a ``Lineage``. Not for: verdicts (tracing.py) or strokes (evidence/graph.py).

Order of calls: ``as_text(lineage, catalogue, language)`` or ``as_svg(...)``.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..evidence.graph import Group, Row, Sign, graph
from ..language import Catalogue, Language
from .lineage import Edge, Kind, Lineage, Node, Verdict

MARKS = {Verdict.VERIFIED: "+", Verdict.BROKEN: "X", Verdict.UNCHECKED: "?"}   # plain: every terminal has them
PAPERS = (Kind.ROSTER, Kind.SIGNER, Kind.STUDY, Kind.BASE_MODEL, Kind.WEIGHTS, Kind.SOFTWARE)
OF_A_SITE = (Kind.POLICY, Kind.DATASET, Kind.CONSENT)
OUTCOME = (Kind.ADAPTER, Kind.FILE, Kind.RELEASE, Kind.REVOCATION, Kind.SUCCESSOR)
SHORT = len("sha256:") + 12     # of a digest: enough to compare by eye, the whole of it is in the JSON


class Words:
    """The catalogue's part on lineage, in one language."""

    def __init__(self, catalogue: Catalogue, language: Language) -> None:
        self._catalogue = catalogue
        self.language = language

    def __call__(self, key: str, **values: str) -> str:
        return self._catalogue.render(f"lineage.{key}", self.language, **values)

    def title(self, lineage: Lineage) -> str:
        """Whose lineage it is."""
        return self("title", run=next(node.name for node in lineage.nodes if node.kind is Kind.RUN) or "?")

    def summary(self, lineage: Lineage) -> str:
        """How many edges were found how."""
        return self("summary", **{str(verdict): str(lineage.count(verdict)) for verdict in Verdict})

    def what(self, node: Node) -> str:
        """The thing in words, with its name."""
        kind = self(f"kinds.{node.kind}")
        return self("named", kind=kind, name=node.name) if node.name else kind

    def reason(self, edge: Edge) -> str:
        """Why the edge was found so."""
        return self(f"reasons.{edge.code}")


def sections(lineage: Lineage, words: Words) -> list[tuple[str, list[tuple[Node, Edge]]]]:
    """Heading and rows: each node that is not a run, with the edge that ties it to what it belongs to."""
    tied = _ties(lineage)
    rows = [(node, tied[node.id]) for node in lineage.nodes if node.id in tied]
    sites = list(dict.fromkeys(node.name for node, _ in rows if node.kind in OF_A_SITE))
    groups = [(words("groups.papers"), [row for row in rows if row[0].kind in PAPERS])]
    for site in sites:
        own = [row for row in rows if row[0].kind in OF_A_SITE and row[0].name == site]
        groups.append((words("groups.site", site=site), own))
    groups.append((words("groups.logs"), [row for row in rows if row[0].kind is Kind.LOG]))
    groups.append((words("groups.outcome"), [row for row in rows if row[0].kind in OUTCOME]))
    return [(heading, own) for heading, own in groups if own]


def _ties(lineage: Lineage) -> dict[str, Edge]:
    """By node: the edge into it, or, of what went into a run, the edge out of it."""
    runs = {node.id for node in lineage.nodes if node.kind is Kind.RUN}
    ties = {edge.source: edge for edge in lineage.edges if edge.target in runs}
    return ties | {edge.target: edge for edge in lineage.edges if edge.target not in runs}


def as_text(lineage: Lineage, catalogue: Catalogue, language: Language) -> list[str]:
    """Lines for a terminal: what went in, the run, what came of it; each with its verdict, and why it is broken."""
    words = Words(catalogue, language)
    lines = [words.title(lineage), words.summary(lineage)]
    for heading, rows in sections(lineage, words):
        lines += ["", heading]
        lines += [_row(node, edge, words) for node, edge in rows]
    return lines


def _row(node: Node, edge: Edge, words: Words) -> str:
    verdict = words(f"verdicts.{edge.verdict}")
    why = "" if edge.verdict is Verdict.VERIFIED else f": {words.reason(edge)} ({edge.code})"
    digest = f"  {short(node.digest)}" if node.digest else ""
    return f"  [{MARKS[edge.verdict]}] {words.what(node)}{digest}  {verdict}{why}"


def as_svg(lineage: Lineage, catalogue: Catalogue, language: Language) -> str:
    """The same as a picture: what went in at the left, what came of it at the right, logs below that."""
    words = Words(catalogue, language)
    found = dict(sections(lineage, words))
    logs, outcome = found.pop(words("groups.logs"), []), found.pop(words("groups.outcome"), [])
    runs = {node.id for node in lineage.nodes if node.kind is Kind.RUN}
    own = [row for row in outcome if row[1].source in runs]
    # the adapter last: what came of it hangs below it
    own.sort(key=lambda row: row[0].kind is Kind.ADAPTER)
    released = [row for row in outcome if row[1].source not in runs]
    right = [_group(words("groups.outcome"), own, words)]
    if released:
        right.append(_group(words("groups.released"), released, words, hangs=True))
    if logs:
        right.append(_group(words("groups.logs"), logs, words))
    run = next(node for node in lineage.nodes if node.kind is Kind.RUN)
    return graph(
        words.title(lineage), words.summary(lineage), spine=(words("kinds.run"), run.name or "?"),
        left=[_group(heading, rows, words) for heading, rows in found.items()], right=right,
        legend=[(Sign(verdict), words(f"verdicts.{verdict}")) for verdict in Verdict],
    )


def _group(heading: str, rows: Sequence[tuple[Node, Edge]], words: Words, *, hangs: bool = False) -> Group:
    return Group(heading, tuple(
        Row(words.what(node), short(node.digest), Sign(edge.verdict),
            "" if edge.verdict is Verdict.VERIFIED else words.reason(edge))
        for node, edge in rows), hangs)


def short(digest: str) -> str:
    """The beginning of a digest, without the words before it."""
    return digest.rpartition(":")[2][: SHORT - len("sha256:")]


def broken_lines(lineage: Lineage, catalogue: Catalogue, language: Language) -> Sequence[str]:
    """One sentence for each broken edge, for where the graph itself is not shown."""
    words = Words(catalogue, language)
    return [f"{words.what(lineage.node(edge.source))} → {words.what(lineage.node(edge.target))}: {words.reason(edge)}"
            for edge in lineage.broken]
