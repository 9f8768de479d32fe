"""Every edge of one run's lineage, held against what is at hand: papers, signatures, logs, and the adapter's own files.

For: ``trace``, the graph of one run with a verdict on each edge. Not for: reading folders (core/pilot/tracing.py),
drawing, or the full rule of whose approval counts when (signing/approvals.py at a site, evidence/verifier.py for a
whole bundle): here each edge asks whether the very signatures and bytes that the statement names are there and hold.

Everything hangs on two edges: the roster is the one that the statement names, signed by its sites, and the statement is
signed by a site of that roster that took part. While one of them does not hold nothing of the statement is read, and
the graph ends there.

Order of calls: ``trace(material)`` -> ``Lineage``; ``opened(material)`` gives the signed statement to the exports.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..canonical import digest_bytes
from ..errors import BadDocumentError, GovernanceError
from ..log.copy import verified_entries
from ..signing.envelope import Statement
from ..signing.roster import Roster
from .disclosure import BaseModelRecord
from .handover import Handover
from .lineage import NOT_AT_HAND, Edge, Finding, Kind, Lineage, Node, broken, held, unchecked
from .material import BASE_MODEL, PROVENANCE_FILE, ROSTER, STUDY, Material, Opened, open_statement
from .provenance import ADAPTER_FILE, SitePart, TrainingRun
from .signatures import SIGNATURES, approving_roles, names_kept, signed_lines

BOTH = frozenset({"legal", "it"})
LEGAL = frozenset({"legal"})
ROOTS = (ROSTER, ROSTER + SIGNATURES, PROVENANCE_FILE)


def opened(material: Material) -> Statement:
    """The statement of the run, signed by a site of the roster that took part in it.

    Raises:
        BadDocumentError: LINEAGE_UNSIGNED.
    """
    found = open_statement(material)
    if found.statement is None:
        raise BadDocumentError("LINEAGE_UNSIGNED", "neither roster nor signature of the run's statement may be broken",
                               "`sekisho compliance provenance` shows what does not hold", file=PROVENANCE_FILE)
    return found.statement


def signer_of(material: Material) -> str:
    """The site that signed the statement, "" where none did."""
    return open_statement(material).signer


def trace(material: Material) -> Lineage:
    """The lineage of the adapter in ``material.released``. Never raises for what the bytes say."""
    found = open_statement(material)
    if found.statement is None or found.said is None:
        return _unopened(found)
    return _Tracer(material, found, found.statement, found.said).lineage()


def _unopened(found: Opened) -> Lineage:
    nodes = (Node("roster", Kind.ROSTER, ROSTER), Node("signer", Kind.SIGNER, PROVENANCE_FILE),
             Node("run", Kind.RUN, ""), Node("adapter", Kind.ADAPTER, ADAPTER_FILE))
    return Lineage(nodes, (
        Edge("roster", "run", *found.roster, ROOTS[:2]),
        Edge("signer", "run", *found.signed, ROOTS),
        Edge("run", "adapter", *broken("RESTS_ON_BROKEN"), ROOTS),
    ))


class _Tracer:
    """One pass over one run: nodes and edges in the order in which they are drawn."""

    def __init__(self, material: Material, found: Opened, statement: Statement, said: TrainingRun) -> None:
        self.material = material
        self.found = found
        self.roster: Roster = found.signers_roster
        self.statement = statement
        self.said = said
        self.run = said.run
        self.nodes: list[Node] = []
        self.edges: list[Edge] = []
        self.mentions = {party: self._mentions(party) for party in (*self._sites(), self.roster.coordinator.id)}

    def lineage(self) -> Lineage:
        run = f"run:{self.run}"
        # a roster vouches for every key, and for a roster only whoever said its fingerprint
        rooted = self.found.roster if self.material.root is not None else unchecked("ROOT_NOT_GIVEN")
        self._into(run, Node("roster", Kind.ROSTER, ROSTER, self.said.roster), rooted, ROOTS[:2])
        self._into(run, Node(f"signer:{self.found.signer}", Kind.SIGNER, self.found.signer), self.found.signed, ROOTS)
        self._papers(run)
        self._own_machine(run)
        for site in self.said.sites:
            self._site(run, site)
        self.nodes.append(Node(run, Kind.RUN, self.run, self.said.plan))
        self._logs(run)
        signer = self.found.signer
        Handover(self.material, self.statement, self.roster, signer, lambda due: self._logged(signer, due),
                 self.mentions.get(signer) or set(), _log_files(signer)).add(self.nodes, self.edges, run)
        return Lineage(tuple(self.nodes), tuple(self.edges))

    def _into(self, run: str, node: Node, finding: Finding, rests_on: Iterable[str]) -> None:
        self.nodes.append(node)
        self.edges.append(Edge(node.id, run, *finding, tuple(rests_on)))

    # -- papers ---------------------------------------------------------------------------------------------------

    def _papers(self, run: str) -> None:
        base = self.said.base_model
        for node_id, kind, name, named, approval, roles in (
            ("study", Kind.STUDY, STUDY, self.said.study, "study-approval", BOTH),
            ("base-model", Kind.BASE_MODEL, BASE_MODEL, base.record, "base-model", LEGAL),
        ):
            finding = self._paper(name, named, approval, roles, self.roster)
            if name == BASE_MODEL and finding == held():
                finding = self._weights_named(base.weights)
            self._into(run, Node(node_id, kind, name, named), finding, (name, name + SIGNATURES))

    def _paper(self, name: str, named: str, approval: str, roles: frozenset[str], roster: Roster) -> Finding:
        # 1. the bytes that the statement names
        data = self.material.papers.get(name)
        if data is None:
            return broken("MISSING")
        if digest_bytes(data) != named:
            return broken("DIFFERS")
        # 2. the very signatures under which its signer acted, where it names them
        lines = signed_lines(self.material.papers, name)
        under = self.said.approvals.get(name)
        if under is not None and not names_kept(lines, under):
            return broken("SIGNATURES_CHANGED")
        # 3. people of the roster said yes to these bytes
        counted = lines if under is None else {one: lines[one] for one in under}
        if not roles <= approving_roles(counted, roster, paper=named, kind=approval):
            return broken("APPROVALS_MISSING")
        return held()

    def _weights_named(self, weights: str) -> Finding:
        try:
            record = BaseModelRecord.parse(self.material.papers[BASE_MODEL], BASE_MODEL)
        except BadDocumentError:
            return broken("DIFFERS")
        return held() if record.digest == weights else broken("DIFFERS")

    # -- this machine ---------------------------------------------------------------------------------------------

    def _own_machine(self, run: str) -> None:
        """Weights and program. Another version here breaks nothing: the signer's is what the run had."""
        weights, software = self.said.base_model.weights, self.said.software
        here = self.material.here
        finding = unchecked(NOT_AT_HAND)
        if here.weights is not None:
            finding = held() if here.weights == weights else broken("DIFFERS")
        self._into(run, Node("weights", Kind.WEIGHTS, self.said.base_model.name, weights), finding, ())
        same = here.code == software.code
        self._into(run, Node("software", Kind.SOFTWARE, "sekisho", software.code),
                   held() if same else unchecked("OTHER_VERSION_HERE"), ())

    # -- sites ----------------------------------------------------------------------------------------------------

    def _site(self, run: str, site: SitePart) -> None:
        name, consent = site.id, site.consent
        policy = f"policies/{name}.yaml"
        finding = self._paper(policy, site.policy, "policy-approval", BOTH, self.roster.acting_for(name))
        node = Node(f"policy:{name}", Kind.POLICY, name, site.policy)
        self._into(run, node, finding, (policy, policy + SIGNATURES))
        logs = _log_files(name)
        self._into(run, Node(f"dataset:{self.run}/{name}", Kind.DATASET, name, site.dataset),
                   self._logged(name, {("dataset", site.dataset)}), logs)
        if consent is not None:
            both = {("snapshot", consent.first), ("snapshot", consent.last)}
            self._into(run, Node(f"consent:{self.run}/{name}", Kind.CONSENT, name, consent.last),
                       self._logged(name, both), logs)

    # -- logs -----------------------------------------------------------------------------------------------------

    def _logs(self, run: str) -> None:
        """What each party's own log has of the run; the coordinator's every sum, the signer's what it released."""
        opened_sums = [step.sum for step in self.said.steps if step.sum is not None]
        counts = [one.sum for one in self.said.validations]
        due = {self.roster.coordinator.id: {("sum", one) for one in (*opened_sums, *counts)}}
        for site in self.said.sites:
            due[site.id] = {("policy", site.policy)}
        due[self.found.signer] |= {("adapter", self.statement.subjects[0].digest),
                                   ("provenance", digest_bytes(self.material.released[PROVENANCE_FILE]))}
        for party, wanted in due.items():
            node = Node(f"log:{self.run}/{party}", Kind.LOG, party)
            self._into(run, node, self._logged(party, wanted), _log_files(party))

    def _logged(self, party: str, wanted: set[tuple[str, str]]) -> Finding:
        mentions = self.mentions.get(party)
        if mentions is None:
            return unchecked(NOT_AT_HAND) if party not in self.material.logs else broken("LOG_BROKEN")
        return held() if wanted <= mentions else broken("NOT_LOGGED")

    def _mentions(self, party: str) -> set[tuple[str, str]] | None:
        """What the party's signed log refers to in this run; None if there is none, or it does not hold."""
        copy = self.material.logs.get(party)
        if copy is None:
            return None
        try:
            entries = verified_entries(copy, party, self.roster.party(party).key)
        except GovernanceError:
            return None
        return {pair for entry in entries if entry.refs.get("run") == self.run for pair in entry.refs.items()}

    def _sites(self) -> list[str]:
        return [site.id for site in self.said.sites]


def _log_files(party: str) -> tuple[str, ...]:
    return f"logs/{party}.jsonl", f"logs/{party}.checkpoint"
