"""After the last step: release conditions -> gate -> a signed folder with adapter, provenance and notice.

A recipient site does this, never the coordinator, which holds no model. The adapter is post-processing of sums that
were charged, so publishing costs no budget; that it may be published, and to whom, is the policy's release grant.

Files written: ``adapter.safetensors`` (what trained; for LoRA also the files that peft loads), ``provenance.dsse.json``
(in-toto, signed by this site, naming each of them by digest), ``release.json``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...governance.canonical import canonical_bytes, digest_bytes
from ...governance.provenance.release import Condition, ReleaseRecord
from ...governance.signing.envelope import sign_statement, write_envelopes
from ...governance.signing.lifecycle import Act
from ..errors import ProtocolError
from ..messages import ReleaseNotice
from ..training.adapter import Adapter
from ..training.tasks import adapter_files
from .life import check
from .site import Site
from .statement import run_statement


@dataclass(frozen=True)
class Published:
    """A released adapter, the record of its release, and the signed provenance statement that names it."""

    adapter: Adapter
    record: ReleaseRecord
    provenance: bytes


def publish(site: Site, folder: Path) -> Published:
    """Release the adapter that ``site`` holds into ``folder``. Raises ``Refused`` when no release grant holds."""
    state, tools = site.state, site.tools
    if state is None or tools is None or state.completed == 0:
        raise ProtocolError("NOTHING_TO_PUBLISH", "there is no finished run at this site")
    owner = site.folder
    request = owner.request_for_plan(
        tools.plan, tools.considered.epsilon, tools.considered.offer, cohort=state.step_cohort, action="release"
    )
    # 1. decide: the release grant, before a file is written
    decision = tools.gate.decide(request)
    check(owner, Act.PUBLISH, tools.gate.record_refusal)
    # 2. the adapter, and where it came from
    settings = owner.study.settings(tools.considered.offer.method)
    adapter, files = adapter_files(
        owner.base_model, settings, state.optimizer.vector, name=owner.study.base_model.name
    )
    envelope = sign_statement(run_statement(site, adapter, files), [owner.key])
    provenance = write_envelopes([envelope])
    record = ReleaseRecord(
        adapter=adapter.digest,
        provenance=digest_bytes(provenance),
        grant=decision.grant or "",
        recipients=tuple(sorted(owner.study.recipients)),
        licence=owner.study.release_licence,
        conditions=(Condition(name="release-grant", required=True, outcome="passed"),),
    )
    record.check()
    # 3. tell and log through the gate; only then is it handed over
    tools.gate.tell(ReleaseNotice(adapter=adapter.digest, provenance=record.provenance), request=request)
    owner.record(
        "release.published",
        refs={"run": state.run, "adapter": adapter.digest, "provenance": record.provenance, "release": record.digest},
        data={"recipients": sorted(owner.study.recipients)},
    )
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in {**files, "adapter.safetensors": adapter.to_safetensors()}.items():
        (folder / name).write_bytes(data)
    (folder / "provenance.dsse.json").write_bytes(provenance)
    (folder / "release.json").write_bytes(canonical_bytes(record.model_dump(mode="json")) + b"\n")
    return Published(adapter, record, provenance)
