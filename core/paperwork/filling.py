"""The papers of a new study as text: templates of core/templates/study/ with their values put in.

For: ``papers(...)``. Not for: files and folders (draft.py). What a person has to decide stands in the templates, marked
DECIDE; what is computed here follows from the table's public side, the base model and the day.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, Decimal

from ...governance.document import read_document
from ...governance.policy.policy import Policy
from ...governance.provenance.disclosure import BaseModelRecord
from ...governance.signing.envelope import write_time
from ...governance.signing.keys import NO_KEY_YET
from ..study import Study
from .asking import APPROVERS, COORDINATOR, OWNER, STUDY, Request
from .division import Division, majority, rounded_up
from .model import DraftModel, base_model_values, quoted
from .table import Table
from .template import TEMPLATES, filled

YEAR = timedelta(days=365)  # of roster, policies and review: what nobody renews ends
RECORDS_OF_ONE, RECORDS_OF_MANY = 1, 6  # counted of one person in a step; public figures, not looked up in the data
LIFETIME, OF_RUN = 5, 3  # a lifetime of 5 where a run may take 3: two runs, since the filter counts tighter than a sum
ABOVE_MAJORITY = Decimal("0.03")  # what a classifier must add to calling every record the same
HIGHEST_TARGET = Decimal("0.95")
# Starting values in two currencies; each is marked DECIDE.
MONEY: Mapping[str, Mapping[str, str]] = {
    "JPY": {"hour": "3000", "pilot": "900000", "yearly": "800000", "next": "3200000", "production": "7500000"},
    "EUR": {"hour": "30", "pilot": "9000", "yearly": "8000", "next": "32000", "production": "75000"},
}


def scope_of(study: str) -> str:
    """The scope that consents name."""
    return f"fl-training/{study}"


def papers(
    request: Request,
    study: str,
    law: Mapping[str, str],
    table: Table,
    division: Division,
    model: DraftModel,
    *,
    test_digest: str,
    now: datetime,
) -> dict[str, str]:
    """File name -> text of every paper, each read back as the pilot will read it. Raises ``BadDocumentError``."""
    begins = now.replace(hour=0, minute=0, second=0, microsecond=0)
    common = {
        "study": study,
        "scope": scope_of(study),
        "created": write_time(begins),
        "expires": write_time(begins + YEAR),
        "country": request.country,
        "model_name": quoted(model.name),
        "model_digest": model.facts.digest,
        "model_licence": model.licence,
        "model_disclosure": str(model.facts.disclosure),
        "test_digest": test_digest,
    }
    texts = {
        "study.yaml": filled("study.yaml", common | _study_values(request, table, division, model)),
        "base-model.yaml": filled("base-model.yaml", common | base_model_values(model)),
        "roster.yaml": filled("roster.yaml", common | _roster_values(request)),
        ".gitignore": (TEMPLATES / "gitignore.txt").read_text("utf-8"),
    }
    content = Study.parse(texts["study.yaml"].encode("utf-8"), "study.yaml")
    for site in request.sites:
        name = f"sites/{site}/policy.yaml"
        texts[name] = filled("policy.yaml", common | _policy_values(site, law, content))
        Policy.parse(texts[name].encode("utf-8"), name)
    BaseModelRecord.parse(texts["base-model.yaml"].encode("utf-8"), "base-model.yaml")
    read_document(texts["roster.yaml"].encode("utf-8"), name="roster.yaml")  # its keys are still to be made
    return texts


def _policy_values(site: str, law: Mapping[str, str], study: Study) -> dict[str, str]:
    """Each policy grants the study's own methods, purpose and epsilon: legal narrows it from there."""
    run = max(method.epsilon for method in study.methods.values())
    return {
        "site": site,
        "name_en": f"Site {site}",
        "name_ja": f"拠点 {site}",
        "bases": ", ".join(f'"{basis}"' for basis in law["bases"]),
        "basis_en": quoted(law["en"]),
        "basis_ja": quoted(law["ja"]),
        "reference": law["reference"],
        "purpose": study.purpose,
        "methods": ", ".join(study.methods),
        "run_epsilon": str(run),
        "lifetime_epsilon": str((run * LIFETIME / OF_RUN).quantize(Decimal("0.1"), rounding=ROUND_CEILING)),
    }


def _study_values(
    request: Request, table: Table, division: Division, model: DraftModel
) -> dict[str, str]:
    most, total = majority(division.test)
    share = (Decimal(most) / total).quantize(Decimal("0.01"), rounding=ROUND_CEILING)
    currency = "JPY" if request.country == "JP" else "EUR"
    money = MONEY[currency]
    subjects = sum(rounded_up(division.subjects(site)) for site in request.sites)
    origin = (
        f"It is {request.test.name}, given by the person who wrote this file."
        if request.test is not None
        else f"It is about {request.test_share} % of the subjects of {request.table.name}, chosen by a hash."
    )
    return {
        "labels": ", ".join(f'"{quoted(label)}"' for label in table.labels),
        "sites": ", ".join(f'"{site}"' for site in request.sites),
        "number_of_sites": str(len(request.sites)),
        "number_of_subjects": str(subjects),
        "twice_the_subjects": str(2 * subjects),
        "records_per_subject": str(RECORDS_OF_MANY if table.has_subjects else RECORDS_OF_ONE),
        "subjects": ", ".join(f'"{site}": {rounded_up(division.subjects(site))}' for site in request.sites),
        "model_place": model.place,
        "test_origin": quoted(origin),
        "accuracy_target": str(min(HIGHEST_TARGET, share + ABOVE_MAJORITY)),
        "majority": str(share),
        "currency": currency,
        "cost_per_hour": money["hour"],
        "cost_pilot": money["pilot"],
        "cost_yearly": money["yearly"],
        "cost_next": money["next"],
        "cost_production": money["production"],
    }


def _roster_values(request: Request) -> dict[str, str]:
    def party(name: str, kind: str, english: str, japanese: str) -> str:
        return (
            f'  - id: "{name}"\n    name: {{en: "{english}", ja: "{japanese}"}}\n    kind: {kind}\n'
            f'    controller: "{name}"\n    country: {request.country}\n    key: "{NO_KEY_YET}"'
        )

    def person(name: str, role: str, acts_for: str) -> str:
        return (
            f'  - pseudonym: "{name}"\n    roles: [{role}]\n    keys: ["{NO_KEY_YET}"]\n    acts_for: [{acts_for}]'
        )

    parties = [party(site, "site", f"Site {site}", f"拠点 {site}") for site in request.sites]
    people = [person(OWNER, "business", ""), *(person(f"{STUDY}-{role}", role, "") for role in APPROVERS)]
    people += [person(f"{site}-{role}", role, f'"{site}"') for site in request.sites for role in APPROVERS]
    return {
        "parties": "\n".join([*parties, party(COORDINATOR, "coordinator", "Coordinator", "連合学習事務局")]),
        "people": "\n".join(people),
        "placeholder": NO_KEY_YET,
    }
