"""A run's statement as W3C PROV-JSON; informative, the statement decides.

For: tools that draw or join provenance graphs. Not for: proof. Entities are what went in and came out, the activity is
the run, agents are the sites and the publisher, and the study is the plan that they acted under.

Order of calls: ``document(statement, publisher)`` -> JSON value.
Source: PROV-DM (W3C Recommendation, 2013), PROV-JSON (W3C Member Submission, 2013).
"""

from __future__ import annotations

from typing import Any

from ..signing.envelope import Statement
from .provenance import TrainingRun

PREFIX = {"s": "urn:sekisho:"}
RUN, BASE, STUDY, ROSTER, ADAPTER, SOFTWARE = "s:run", "s:base-model", "s:study", "s:roster", "s:adapter", "s:software"


def document(statement: Statement, publisher: str) -> dict[str, Any]:
    """The graph of one run; ``publisher``: the site that signed the statement.

    Raises:
        BadDocumentError: as ``TrainingRun.of``.
    """
    said = TrainingRun.of(statement)
    entities = _entities(statement, said)
    agents = {_agent(site.id): {"prov:type": "prov:Organization"} for site in said.sites}
    agents[_agent(publisher)] = {"prov:type": "prov:Organization"}
    made = [ADAPTER, *(_file(index) for index in range(1, len(statement.subjects)))]
    used = [name for name in entities if name not in made]
    data = [_dataset(site.id) for site in said.sites]
    return {
        "prefix": PREFIX,
        "entity": entities,
        "activity": {RUN: {"prov:startTime": said.started, "prov:endTime": said.finished, "s:name": said.run,
                           "s:method": said.method, "s:delta": said.guarantee.delta, "s:unit": said.guarantee.unit}},
        "agent": agents,
        "used": _numbered("used", [{"prov:activity": RUN, "prov:entity": name} for name in used]),
        "wasGeneratedBy": _numbered("generated", [{"prov:entity": name, "prov:activity": RUN} for name in made]),
        "wasDerivedFrom": _numbered("derived", [{"prov:generatedEntity": ADAPTER, "prov:usedEntity": name}
                                                for name in (BASE, *data)]),
        "wasAssociatedWith": _numbered("associated", [
            {"prov:activity": RUN, "prov:agent": _agent(site.id), "prov:plan": STUDY} for site in said.sites]),
        "wasAttributedTo": _numbered("attributed", [
            {"prov:entity": ADAPTER, "prov:agent": _agent(publisher)},
            *({"prov:entity": _dataset(site.id), "prov:agent": _agent(site.id)} for site in said.sites)]),
    }


def _entities(statement: Statement, said: TrainingRun) -> dict[str, dict[str, str]]:
    base = said.base_model
    found = {
        BASE: {"s:name": base.name, "s:digest": base.weights, "s:record": base.record, "s:licence": base.licence,
               "s:disclosure": base.disclosure},
        STUDY: {"prov:type": "prov:Plan", "s:digest": said.study},
        ROSTER: {"s:digest": said.roster},
        SOFTWARE: {"s:digest": said.software.code, "s:environment": said.software.environment},
    }
    for site in said.sites:
        consent = {"s:consent": site.consent.last, "s:scope": site.consent.scope} if site.consent is not None else {}
        found[_dataset(site.id)] = {"s:commitment": site.dataset, "s:subjects": site.subjects,
                                    "s:epsilon": site.epsilon, **consent}
        found[f"s:policy-{site.id}"] = {"s:digest": site.policy}
    for index, subject in enumerate(statement.subjects):
        found[_file(index) if index else ADAPTER] = {"s:name": subject.name, "s:digest": subject.digest}
    return found


def _numbered(kind: str, relations: list[dict[str, str]]) -> dict[str, dict[str, str]]:
    return {f"_:{kind}{number}": relation for number, relation in enumerate(relations, start=1)}


def _agent(site: str) -> str:
    return f"s:site-{site}"


def _dataset(site: str) -> str:
    return f"s:dataset-{site}"


def _file(index: int) -> str:
    return f"s:file-{index}"
