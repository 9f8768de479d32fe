"""A party that lies about its own log: each lie is noticed in the run, named, stops it, and convicts in anybody's eyes.

The federation is real, and so are the keys. The liar has everything its operator has: the key, its log, and a second
log of its own making.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sekisho.core.coordinator.witnessing import CoordinatorWatch
from sekisho.core.errors import Refused
from sekisho.core.messages import Body, LogHead, SignedMessage
from sekisho.core.site.witnessing import SiteWatch
from sekisho.core.watching import PROOFS, OwnLog
from sekisho.governance.errors import BrokenLogError
from sekisho.governance.log.misbehaviour import Charge, Finding, Proof, check, read_all
from sekisho.governance.signing.keys import demo_key

from ..federation.books import entries, open_federation
from ..federation.history import put, run, state
from ..federation.study_folder import SITES
from ..governance.liars import Tree, convicts
from .hostile import Attack, attack, resigned

VICTIM, LIAR, COORDINATOR = "hana", "mori", "coordinator"
Lie = Callable[[SignedMessage, LogHead, Tree], LogHead | None]


def log_of(ongoing: Attack, message: SignedMessage) -> Tree:
    """The coordinator's true log as it is now, in its own hands."""
    return Tree(COORDINATOR, list(ongoing.federation.coordinator_log.entries()), message.header.study)


def shown(tree: Tree, like: LogHead, **more: object) -> LogHead:
    """``tree`` in place of the log that ``like`` shows, with whatever proofs it has."""
    bases = [int(size) for size in like.continued if int(size) < len(tree.bodies)]
    wanted = [one.index for one in like.entries]
    value = tree.shown(like.number, base=bases, entries=wanted, seen=dict(like.seen), answers=like.answers)
    return LogHead.model_validate_json(json.dumps({**value, **more}))


def lied(kind: str, step: int, lie: Lie, *, to: str = VICTIM) -> Callable[[str, SignedMessage, Attack], bytes | None]:
    """The coordinator tells ``lie`` to one site, in its message of ``kind`` in ``step``."""

    def change(site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
        log = message.header.log
        if site != to or message.body.kind != kind or getattr(message.body, "step", 0) != step or log is None:
            return None
        return resigned(message, log=lie(message, log, log_of(ongoing, message)))

    return change


def a_second_history(message: SignedMessage, log: LogHead, tree: Tree) -> LogHead:
    # the same step, the same sum, but the log says that fewer took part
    last = json.loads(tree.bodies[-1])
    older = replace(tree, bodies=tree.bodies[:-1])
    return shown(older.add(last["type"], last["refs"], {**last["data"], "cohort": 4}), log)


def an_earlier_head(message: SignedMessage, log: LogHead, tree: Tree) -> LogHead:
    return shown(replace(tree, bodies=tree.bodies[:-1]), log)


def a_rewritten_log(message: SignedMessage, log: LogHead, tree: Tree) -> LogHead:
    other = replace(tree, bodies=[tree.bodies[0], *tree.bodies[2:]]).add("run.stopped").add("run.stopped")
    assert len(other.bodies) > len(tree.bodies)
    size = len(tree.bodies)
    return shown(other, log, continued={str(size): other.shown(1, base=[size])["continued"][str(size)]})


def no_log_at_all(message: SignedMessage, log: LogHead, tree: Tree) -> None:
    return None


def a_head_that_stands_still(message: SignedMessage, log: LogHead, tree: Tree) -> LogHead:
    older = replace(tree, bodies=tree.bodies[:-1])
    return shown(older, log.model_copy(update={"entries": ()}))


def a_head_without_the_entry(message: SignedMessage, log: LogHead, tree: Tree) -> LogHead:
    return log.model_copy(update={"entries": ()})


def another_entry(message: SignedMessage, log: LogHead, tree: Tree) -> LogHead:
    return shown(tree, log.model_copy(update={"entries": (log.entries[0].model_copy(update={"index": 1}),)}))


def a_proof_of_another_entry(message: SignedMessage, log: LogHead, tree: Tree) -> LogHead:
    # it shows what it owes, and the log has something else in its place
    said, other = log.entries[0], a_second_history(message, log, tree)
    return other.model_copy(update={"entries": (said.model_copy(update={"proof": other.entries[0].proof}),)})


def a_head_that_another_key_signed(message: SignedMessage, log: LogHead, tree: Tree) -> LogHead:
    note = replace(tree, party="ame").note().replace("/ame", "/coordinator")
    return log.model_copy(update={"note": note})


LIES: dict[Lie, tuple[str, Charge]] = {
    a_second_history: ("step", Charge.FORK),
    an_earlier_head: ("readies", Charge.ROLLBACK),
    a_rewritten_log: ("readies", Charge.INCONSISTENT),
    no_log_at_all: ("step", Charge.WITHHELD),
    a_head_that_stands_still: ("step", Charge.WITHHELD),
    a_head_without_the_entry: ("step", Charge.WITHHELD),
    another_entry: ("step", Charge.WITHHELD),
    a_proof_of_another_entry: ("step", Charge.WITHHELD),
    a_head_that_another_key_signed: ("step", Charge.WITHHELD),
}


def proofs(study: Path, party: str) -> tuple[Proof, ...]:
    """What ``party`` keeps of others' misbehaviour."""
    folder = study / "coordinator" / "state" if party == COORDINATOR else state(study, party)
    return read_all(folder / PROOFS)


def convicted(ongoing: Attack, study: Path, site: str, *, of: str = COORDINATOR) -> Finding:
    """The one proof that ``site`` keeps: named in its log by digest, private, and good in anybody's eyes."""
    kept = proofs(study, site)
    assert len(kept) == 1, f"{site} keeps {len(kept)} proofs"
    proof = kept[0]
    (noted,) = entries(ongoing.federation, site, "log.contradicted")
    finding = check(Proof.parse(proof.to_bytes()), demo_key(of).public)
    assert convicts(proof, demo_key(of).public)  # the stand-alone verifier says so, too
    assert noted["refs"]["proof"] == proof.digest and noted["refs"]["party"] == of
    assert noted["data"]["code"] == finding.code
    (path,) = ((study / "coordinator" / "state") if site == COORDINATOR else state(study, site)).glob(f"{PROOFS}/*")
    assert path.stat().st_mode & 0o777 == 0o600
    nobody_else_is_convicted(proof, of)
    return finding


def nobody_else_is_convicted(proof: Proof, of: str) -> None:
    key = demo_key(of).public
    for other in (*SITES, COORDINATOR):
        assert other == of or not convicts(proof, demo_key(other).public)
        assert other == of or not convicts(replace(proof, origin=proof.origin.replace(of, other)), key)
    if len(proof.evidence) == 2 and proof.charge is not Charge.FORK:
        assert not convicts(replace(proof, evidence=tuple(reversed(proof.evidence))), key)
    assert not convicts(replace(proof, evidence=proof.evidence[:-1]), key)
    assert not convicts(replace(proof, evidence=(*proof.evidence, proof.evidence[-1])), key)


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_a_coordinator_that_lies_to_one_site_about_its_log(study: Path, lie: Lie) -> None:
    kind, charge = LIES[lie]
    with attack(study, lied(kind, 2, lie)) as ongoing:
        # 1. it is noticed and named, and the run stops by that name
        assert ongoing.fired and ongoing.result is None and ongoing.refused is not None
        assert ongoing.refused.clause == f"log/{COORDINATOR}"
        # 2. before anything of the step is charged or computed
        assert ongoing.started() == {site: [1] for site in SITES} or charge is not Charge.FORK
        assert 2 not in ongoing.started()[VICTIM]
        # 3. who was lied to convicts it
        accuser = VICTIM if charge is not Charge.FORK else ongoing.refused.site
        finding = convicted(ongoing, study, accuser)
        assert (finding.charge, ongoing.refused.code) == (charge, finding.code)


def test_two_sites_that_were_shown_two_histories_both_convict(study: Path) -> None:
    with attack(study, lied("step", 2, a_second_history)) as ongoing:
        readies = ongoing.sent_to(VICTIM, "readies")[-1]
        assert readies.body.step == 2
        accusers = {site for site in SITES if proofs(study, site)}
        assert accusers, "nobody compared"
        for site in accusers:
            assert convicted(ongoing, study, site).charge is Charge.FORK


def test_two_heads_of_different_sizes_stop_the_run_and_convict_nobody(study: Path) -> None:
    def grown(message: SignedMessage, log: LogHead, tree: Tree) -> LogHead:
        return shown(tree.add("run.stopped"), log)

    both = [lied(kind, 2, grown) for kind in ("step", "readies")]  # it keeps to what it said
    with attack(study, lambda *told: next(filter(None, (lie(*told) for lie in both)), None)) as ongoing:
        assert ongoing.refused is not None and ongoing.refused.code == "LOG_VIEWS_DIFFER"
        assert not any(proofs(study, site) for site in SITES)
        assert ongoing.started() == {site: [1] for site in SITES}


# --- between runs -----------------------------------------------------------------------------------------------------


@pytest.fixture
def restored(signed_study: Path, tmp_path: Path) -> Path:
    """A study after two runs, with the states that parties had after the first beside it."""
    study = Path(shutil.copytree(signed_study, tmp_path / "study"))
    run(study)
    shutil.copytree(study, tmp_path / "before")
    run(study)
    return study


def put_log_back(study: Path, folder: Path) -> None:
    older = study.parent / "before" / folder.relative_to(study)
    for suffix in ("", "-wal", "-shm"):
        (folder / f"log.sqlite{suffix}").unlink(missing_ok=True)
        if (older / f"log.sqlite{suffix}").exists():
            shutil.copy(older / f"log.sqlite{suffix}", folder)


def shameless(monkeypatch: pytest.MonkeyPatch, party: str) -> None:
    """Software of ``party`` that goes on although others hold its own later head."""
    asked = OwnLog._check_claims

    def look_away(log: OwnLog, name: str) -> None:
        if name == party:
            log._claims.clear()
        asked(log, name)

    monkeypatch.setattr(OwnLog, "_check_claims", look_away)


def test_a_coordinator_whose_log_was_restored_stops_itself(restored: Path) -> None:
    put(restored.parent / "before" / "coordinator" / "state", restored / "coordinator" / "state")
    federation = open_federation(restored)
    try:
        with pytest.raises(Refused) as caught:
            federation.run("probe")
        assert caught.value.code == "LOG_BEHIND"
        assert not any(proofs(restored, site) for site in SITES)
    finally:
        federation.close()


def test_a_coordinator_that_rolls_its_log_back_between_runs(restored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(restored.parent / "before" / "coordinator" / "state", restored / "coordinator" / "state")
    shameless(monkeypatch, COORDINATOR)
    with attack(restored, lambda site, message, ongoing: None) as ongoing:
        assert ongoing.refused is not None and ongoing.refused.code == "LOG_DISOWNED"
        assert convicted(ongoing, restored, ongoing.refused.site).charge is Charge.DISOWNED


def test_a_site_whose_log_was_restored_stops_itself(restored: Path) -> None:
    put_log_back(restored, state(restored, LIAR))
    with attack(restored, lambda site, message, ongoing: None) as ongoing:
        assert ongoing.refused is not None
        assert (ongoing.refused.code, ongoing.refused.site) == ("LOG_BEHIND", LIAR)
        assert not any(proofs(restored, site) for site in (*SITES, COORDINATOR))


def test_a_site_that_rolls_its_log_back_between_runs(restored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_log_back(restored, state(restored, LIAR))
    shameless(monkeypatch, LIAR)
    with attack(restored, lambda site, message, ongoing: None) as ongoing:
        assert ongoing.refused is not None and ongoing.refused.code == "LOG_DISOWNED"
        assert convicted(ongoing, restored, COORDINATOR, of=LIAR).charge is Charge.DISOWNED


# --- sites ------------------------------------------------------------------------------------------------------------


def lying_site(monkeypatch: pytest.MonkeyPatch, lie: Callable[[LogHead, Tree], LogHead]) -> None:
    """The liar's software shows another log in its second ready."""
    honest = SiteWatch.show

    def show(watch: SiteWatch, body: Body) -> LogHead | None:
        log = honest(watch, body)
        folder = watch._folder
        if log is None or folder.site != LIAR or getattr(body, "step", 0) != 2:
            return log
        return lie(log, Tree(LIAR, list(folder.log.entries()), folder.study.id))

    monkeypatch.setattr(SiteWatch, "show", show)


def test_a_site_that_rolls_its_log_back_in_a_run(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lying_site(monkeypatch, lambda log, tree: shown(replace(tree, bodies=tree.bodies[:3]), log))
    with attack(study, lambda site, message, ongoing: None) as ongoing:
        assert ongoing.refused is not None and ongoing.refused.clause == f"log/{LIAR}"
        assert convicted(ongoing, study, COORDINATOR, of=LIAR).charge is Charge.ROLLBACK
        assert ongoing.started() == {site: [1] for site in SITES}


def test_sites_see_it_too_where_the_coordinator_looks_away(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lying_site(monkeypatch, lambda log, tree: shown(replace(tree, bodies=tree.bodies[:3]), log))
    monkeypatch.setattr(CoordinatorWatch, "hear", lambda watch, message: None)
    with attack(study, lambda site, message, ongoing: None) as ongoing:
        assert ongoing.refused is not None and ongoing.refused.clause == f"log/{LIAR}"
        assert convicted(ongoing, study, ongoing.refused.site, of=LIAR).charge is Charge.ROLLBACK
        assert all(steps == [1] for site, steps in ongoing.started().items() if site != LIAR)


# --- nobody lies ------------------------------------------------------------------------------------------------------


def test_honest_runs_convict_nobody_and_leave_cosigned_heads(restored: Path) -> None:
    with attack(restored, lambda site, message, ongoing: None) as ongoing:
        assert ongoing.result is not None and ongoing.result.state_macs_agree
        federation = ongoing.federation
        for party in (*SITES, COORDINATOR):
            assert proofs(restored, party) == () and entries(federation, party, "log.contradicted") == []
        logs = {COORDINATOR: federation.coordinator_log, **{n: s.folder.log for n, s in federation.sites.items()}}
        for name, site in federation.sites.items():
            witness = site.folder.witness
            assert witness.misbehaviour() == ()
            for party, log in logs.items():
                note = witness.cosigned(log.origin)
                assert (note is None) == (party == name)
                if note is not None:
                    head = witness.last(log.origin)
                    assert log.root(head.size) == head.root and note.count("\n\u2014 ") == 2


def test_a_proof_that_lies_about_itself_is_refused_as_unreadable() -> None:
    for bad in (b"", b"{}", b"[]", b'{"schema":"sekisho-misbehaviour/1"}', b"\xff", b"[" * 100_000):
        with pytest.raises(BrokenLogError) as caught:
            Proof.parse(bad)
        assert caught.value.code == "MISBEHAVIOUR_MALFORMED"
