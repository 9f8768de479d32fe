"""Each site's records as Croissant: what they are, without what is in them; informative, the statement decides.

For: catalogues of datasets. Not for: loading: the records never leave their site, so there is no distribution, no file
digest and no count; what a reader can hold against a site is the commitment in the statement.

Order of calls: ``documents(statement, about)`` -> JSON-LD by site.
Source: Croissant 1.0 specification, section "Dataset-level information" (required: @context, @type, conformsTo, name,
description, license, url, creator, datePublished), and its RAI vocabulary 1.0 (personal and sensitive information).
"""

from __future__ import annotations

from typing import Any

from ..signing.envelope import Statement
from .about import About
from .provenance import SitePart, TrainingRun

CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
NO_LICENCE = "NOASSERTION"      # SPDX's word for what nobody has said
# The context that the specification gives, whole: readers warn of one that lacks a term, used or not.
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    **{term: f"cr:{term}" for term in (
        "citeAs", "column", "equivalentProperty", "extract", "field", "fileObject", "fileProperty", "fileSet", "format",
        "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references",
        "regex", "repeated", "replace", "samplingRate", "separator", "source", "subField", "transform",
    )},
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
}


def documents(statement: Statement, about: About) -> dict[str, dict[str, Any]]:
    """One description a site.

    Raises:
        BadDocumentError: as ``TrainingRun.of``.
    """
    said = TrainingRun.of(statement)
    return {site.id: _document(said, site, about) for site in said.sites}


def _document(said: TrainingRun, site: SitePart, about: About) -> dict[str, Any]:
    urn = f"urn:sekisho:dataset:{site.dataset}"
    consent = f" Consent for {site.consent.scope} was asked for at every step." if site.consent is not None else ""
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "@id": urn,
        "conformsTo": CONFORMS_TO,
        "citeAs": f"Records of {site.id}, not distributed; commitment {site.dataset}",
        "name": f"records-of-{site.id}-in-{said.run}",
        "description": f"Records of {site.id} for the study \"{about.title.en}\": {site.subjects} people. They stayed "
                       f"there; encrypted sums over all sites were released under differential privacy.{consent}",
        "license": about.data_licences.get(site.id, NO_LICENCE),
        "url": urn,
        "creator": {"@type": "sc:Organization", "name": site.id},
        "datePublished": said.finished[: len("2026-11-29")],
        "version": "1.0.0",
        "inLanguage": ["und"],
        "keywords": ["federated learning", "not distributed"],
        "isAccessibleForFree": False,
        "identifier": site.dataset,
        "rai:personalSensitiveInformation": ["Texts of people, under pseudonyms; none of them is in this description."],
        "rai:dataUseCases": [about.question.en],
        "rai:dataLimitations": [f"Guarantee for one {said.guarantee.unit}: epsilon {site.epsilon}, delta "
                                f"{said.guarantee.delta}, neighbours by {said.guarantee.adjacency}."],
    }
