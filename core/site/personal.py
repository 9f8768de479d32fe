"""After a run, at each site by itself: a head of its own on the common adapter. Nothing of it leaves.

Not here: how it is trained (training/personal.py). No gate is passed, because nothing is sent: no budget is charged and
no noise is added. It is a use of the records all the same: the policy decides, and who objects is left out.
"""

from __future__ import annotations

from ...privacy.mechanism.randomness import SecretStream
from ..data.eligible import still_eligible
from ..errors import ProtocolError, Refused
from ..parties import make_private_folder, replace_file
from ..training.adapter import Adapter
from ..training.personal import PersonalHead, train_personal_head
from .site import Site


def personalise(site: Site) -> PersonalHead | None:
    """The site's own head, kept in its state folder; None where there are too few records. The run's rows are dropped.

    Raises:
        Refused: PERSONAL_NOT_APPROVED where the study that was signed does not say so, and the policy's own codes.
    """
    state, tools = site.state, site.tools
    if state is None or tools is None or not state.finished:
        raise ProtocolError("NOTHING_TO_PERSONALISE", "there is no finished run at this site")
    folder = site.folder
    data, site.data = site.data, None
    # 0. the study that legal and IT signed says that sites do this
    if not folder.study.personal_heads:
        raise Refused(
            "PERSONAL_NOT_APPROVED",
            f"{folder.site}: the approved study has no personal heads",
            hint="write personal_heads: true in study.yaml, and have it approved again",
            site=folder.site,
        )
    if data is None:
        raise ProtocolError("NOTHING_TO_PERSONALISE", "the rows of this run are gone; a head is trained once")
    # 1. decide: the same use of the same records as in a step of the run
    tools.gate.decide(
        folder.request_for_plan(tools.plan, tools.considered.epsilon, tools.considered.offer, cohort=state.step_cohort)
    )
    # 2. who may still be used
    subjects = tools.usable(state.run, state.step + 1, tools.staying())
    # 3. log that the records are used once more; whether a head comes of it would tell of them, so nothing follows
    folder.record("personal.asked", refs={"run": state.run})
    # 4. one head at a time: an older one may hold somebody who has withdrawn
    make_private_folder(folder.personal)
    for older in folder.personal.glob("*.safetensors"):
        older.unlink()
    # 5. train; who is kept aside to try it on is drawn afresh
    found = train_personal_head(data, subjects, state.optimizer.vector, key=SecretStream().bytes(32))
    if found is None:
        return None
    # 6. keep it, for the site alone
    kept = Adapter.for_head(found.vector)
    path = folder.personal / f"{state.run}.safetensors"
    replace_file(path, kept.to_safetensors())
    # 7. who withdrew in the meantime may have found no head to delete
    now = still_eligible(subjects, folder.register, scope=folder.study.legal_basis_scope, now=folder.clock())
    if now != tuple(subjects):
        path.unlink()
        return None
    return found
