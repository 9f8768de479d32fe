"""The policies of several sites, and what a study would ask of them once its papers are signed.

For: ``sekisho legal combine``. Not for: deciding (a site does, with its own facts and signed papers only). Nothing here
needs a signature, so that people can see whose clause stands in the way before they sign anything. What only comes
later is therefore assumed, and said to be: approvals by everybody who can give them, no stop, consents, a budget that
suffices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ...governance.policy.policy import Policy
from ...governance.policy.request import Request
from ...governance.provenance.disclosure import BaseModelRecord
from ...governance.signing.roster import Roster
from ..data.intake import BaseModelFacts, inspect, locate
from ..errors import BadInputError
from ..gate.facts import Standing, request_for
from ..site.papers import check_parties, read_file, read_policy, read_study, requester_is_known
from ..site.stops import Stops
from ..study import Study
from .signing import open_roster

ACTIONS = ("train", "release")
POLICY_FILE = "policy.yaml"


def policies_of_files(paths: Sequence[Path]) -> dict[str, Policy]:
    """Policies by the name of their site: of its folder in a study, else of the controller. Raises coded errors."""
    found: dict[str, Policy] = {}
    for path in paths:
        policy = Policy.parse(read_file(path), str(path))
        in_a_study = path.name == POLICY_FILE and path.parent.name
        name = path.parent.name if in_a_study else policy.header.parties.controller.id
        if name in found:
            raise BadInputError(
                "SITE_TWICE", f"two of the policies are of {name}", "name one a site; `sekisho legal diff` compares two"
            )
        found[name] = policy
    return found


def policies_of_study(folder: Path) -> dict[str, Policy]:
    """The policy of every site of the study, signed or not. Raises coded errors."""
    return {site: read_policy(folder, site) for site in read_study(folder).sites}


def requests_of_study(folder: Path, *, now: datetime) -> Mapping[tuple[str, str], Request]:
    """What the study asks, by action and method. Raises coded errors where its roster or base model cannot be used."""
    study = read_study(folder)
    roster, _ = open_roster(folder, now=now)
    check_parties(study, roster)
    record = BaseModelRecord.parse(read_file(folder / "base-model.yaml"), "base-model.yaml")
    weights = inspect(locate(study.base_model, folder))
    held = frozenset(role for person in roster.people for role in person.roles)
    able = {role: sum(role in person.roles for person in roster.people) for role in roster.roles}
    signed = Signed(roster, record, weights, able)
    free = Stops(False, "", held, frozenset(roster.roles), 0)
    standing = {method: assumed(study, method, signed, free, now=now) for method in study.methods}
    return {
        (action, method): request_for(study, standing[method], method=method, action=action)
        for method in study.methods
        for action in ACTIONS
    }


@dataclass(frozen=True)
class Signed:
    """What a study's common papers and this machine's base model say; ``approvals`` counts people by role."""

    roster: Roster
    record: BaseModelRecord
    weights: BaseModelFacts
    approvals: Mapping[str, int]


def assumed(study: Study, method: str, signed: Signed, stops: Stops, *, now: datetime) -> Standing:
    """What a site would stand for, where what it alone can know is taken for granted or from the study."""
    roster, settings = signed.roster, study.settings(method)
    return Standing(
        now=now,
        stopped=stops.stopped,
        stop_roles=stops.roles,
        restart_roles=stops.restart_roles,
        stop_list_age_hours=0,  # a run begins with a fresh list
        consent_eligible=True,
        cohort=roster.distinct_controllers(study.sites),
        observers=study.observers,
        epsilon=settings.epsilon,
        delta=settings.delta,
        lifetime_fits=True,
        steps=settings.steps + settings.allowance,
        base_model_digest=signed.weights.digest,
        base_model_licence=signed.record.licence,
        base_model_disclosure=str(signed.record.disclosure),
        destinations=frozenset(roster.party(one).country for one in (*study.sites, roster.coordinator.id)),
        approvals=signed.approvals,
        requester_excluded=requester_is_known(study, roster),
    )
