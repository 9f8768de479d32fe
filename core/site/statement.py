"""What a recipient site says of the run that it saw: the signed statement's values, gathered from state and papers.

For: ``publish``, which signs and releases. Not for: what the statement means (governance/provenance/provenance.py), or
the release itself.

Order of calls: ``run_statement(site, adapter, files)`` after the last step, before the run's state is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ...governance.canonical import digest_bytes
from ...governance.provenance.provenance import (
    Guarantee,
    Packing,
    Parameters,
    SitePart,
    Software,
    dependency_versions,
    envelope_digests,
    training_run,
)
from ...governance.provenance.software import code_digest, environment_digest
from ...governance.signing.envelope import Statement
from ...privacy.accounting.plan import Plan
from ...privacy.encryption.presets import PRESETS
from ..errors import ProtocolError
from ..study import Study
from ..training.adapter import Adapter
from .folder import SiteFolder
from .papers import SIGNATURES, read_file
from .site import Site
from .state import RunState

# What decides the numbers: recorded by version in every provenance statement; the rest is in the environment's digest.
DEPENDENCIES = ("cryptography", "dp-accounting", "numpy", "tenseal", "torch", "transformers")


def run_statement(site: Site, adapter: Adapter, files: Mapping[str, bytes]) -> Statement:
    """The statement of the run that ``site`` finished; ``files`` are released beside the adapter."""
    state, tools = site.state, site.tools
    if state is None or tools is None:
        raise ProtocolError("NOTHING_TO_PUBLISH", "there is no finished run at this site")
    owner, plan, method = site.folder, tools.plan, tools.considered.offer.method
    preset = PRESETS[plan.preset]
    return training_run(
        run=state.run,
        method=method,
        adapter=adapter.digest,
        files={name: digest_bytes(data) for name, data in files.items()},
        roster=owner.roster.fingerprint,
        study=owner.study.digest,
        plan=plan.digest(),
        base_model=owner.papers.base_model,
        sites=_parts(state),
        steps=state.history,
        validations=state.validations,
        guarantee=_guarantee(plan, owner.study),
        packing=Packing(preset=preset.name, fields=preset.fields, width=preset.width, rotated=preset.rotated),
        software=Software(
            code=code_digest(), environment=environment_digest(), dependencies=dependency_versions(DEPENDENCIES)
        ),
        parameters=_parameters(plan, owner.study, method),
        approvals=_approvals(owner),
        started=state.started,
        finished=owner.clock(),
    )


def _parts(state: RunState) -> list[SitePart]:
    return [
        state.parts[name].model_copy(update={"consent": state.consents.get(name)}) for name in sorted(state.parts)
    ]


def _guarantee(plan: Plan, study: Study) -> Guarantee:
    return Guarantee(
        unit=plan.unit.value,
        adjacency=plan.adjacency.value,
        delta=str(plan.delta),
        observers=plan.observers,
        max_sites_per_subject=study.max_sites_per_subject,
    )


def _parameters(plan: Plan, study: Study, method: str) -> Parameters:
    validation = study.validation.model_dump(mode="json") if study.validation is not None else None
    settings = study.settings(method).model_dump(mode="json")
    return Parameters(settings=settings, plan=plan.to_json(), validation=validation)


def _approvals(owner: SiteFolder) -> dict[str, tuple[str, ...]]:
    """Of the papers that this site acted under: those that all share, and its own policy."""
    folder = owner.study_folder
    papers: dict[str, Path] = {name: folder / name for name in ("roster.yaml", "study.yaml", "base-model.yaml")}
    papers[f"policies/{owner.site}.yaml"] = folder / "sites" / owner.site / "policy.yaml"
    return {
        name: envelope_digests(read_file(path.with_name(path.name + SIGNATURES)), name) for name, path in papers.items()
    }
