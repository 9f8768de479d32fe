"""What ``sekisho pilot`` refuses: exit 3, a code of its own, one sentence, a hint; nothing sent or charged, all logged.

Each case spoils one thing in a whole signed study. It is tried twice: in this process with a recorder at the engine's
interface (nothing may pass it), and by the command: the cases that people will meet in a process of its own, which must
not load torch for a refusal; the others here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import study_folder
from channels import Recording
from command import Quiet, codes_logged, ledger_of, log_of, nothing_charged, one_line, sekisho, sekisho_here
from study_folder import PEOPLE, SITES, HashedFeatures, change

from sekisho.core.coordinator.coordinator import RunResult
from sekisho.core.engines.embedded import EmbeddedChannel
from sekisho.core.errors import CoreError, Refused
from sekisho.core.messages import SignedMessage
from sekisho.core.pilot.federation import Federation
from sekisho.core.pilot.pilot import run_pilot
from sekisho.core.planning import plan_of
from sekisho.core.site.papers import read_study
from sekisho.governance.consent.consent import ConsentRegister
from sekisho.governance.errors import GovernanceError
from sekisho.governance.provenance.disclosure import BaseModelRecord
from sekisho.governance.signing.envelope import Subject, sign_statement, write_envelopes
from sekisho.governance.signing.stop import stop_statement
from sekisho.privacy.accounting.accountant import filter_cap, filter_order, step_cost
from sekisho.privacy.budget import Adjacency, Budget, Unit
from sekisho.privacy.errors import PrivacyError

OTHER_WEIGHTS = "sha256:" + "0" * 64
Capture = pytest.CaptureFixture[str]
HEAVY = {"torch", "transformers"}
ONE = "hana"  # the site that is spoiled where one is enough


@dataclass(frozen=True)
class Case:
    """``spoil`` changes the folder; ``sites`` are those that refuse, none where all share the refusal.

    ``apart``: tried by the command in a process of its own, which takes seconds to start.
    """

    code: str
    spoil: Callable[[Path], None]
    sites: tuple[str, ...] = (ONE,)
    says: str = ""
    logs: bool = True
    apart: bool = False


def policy(study: Path, old: str, new: str, *, signed: bool = True, site: str = ONE) -> None:
    change(study / "sites" / site / "policy.yaml", old, new)
    if signed:
        study_folder.sign_policy(study, site)


def policy_expired(study: Path) -> None:
    policy(study, 'until: "2100-01-01T00:00:00+09:00"', 'until: "2026-11-02T00:00:00+09:00"')


def policy_not_yet_valid(study: Path) -> None:
    policy(study, 'from: "2026-11-01T00:00:00+09:00"', 'from: "2099-01-01T00:00:00+09:00"')


def purpose_not_granted(study: Path) -> None:
    change(study / "study.yaml", "dpv:ImproveExistingProductsAndServices", "dpv:Marketing")
    study_folder.sign_study(study)


def release_not_granted(study: Path) -> None:
    """Training alone is permitted: what could never be released is not worth anybody's budget."""
    granted = 'purposes: ["dpv:ImproveExistingProductsAndServices", "dpv:ResearchAndDevelopment"]'
    policy(study, f"action: release\n    {granted}", 'action: release\n    purposes: ["dpv:ResearchAndDevelopment"]')


def base_model_unsigned(study: Path) -> None:
    """Approved, but not by legal."""
    path = study / "base-model.yaml"
    record = BaseModelRecord.parse(path.read_bytes(), path.name)
    study_folder.approve(study, path, {record.bytes_digest, record.canonical_digest}, "base-model", ("it",))


def clause_unknown(study: Path) -> None:
    policy(study, "    type: retention\n", "    type: eternal_retention\n", signed=False)


def policy_unreadable(study: Path) -> None:
    policy(study, "always:  ", "always: [", signed=False)


def policy_missing(study: Path) -> None:
    (study / "sites" / ONE / "policy.yaml").unlink()


def signatures_missing(study: Path) -> None:
    (study / "sites" / ONE / "policy.yaml.dsse.json").unlink()


def signatures_malformed(study: Path) -> None:
    (study / "sites" / ONE / "policy.yaml.dsse.json").write_text('{"payload": 1}\n')


def signature_over_an_older_version(study: Path) -> None:
    policy(study, "audit_years: 6", "audit_years: 5", signed=False)


def study_names_other_weights(study: Path) -> None:
    change(study / "study.yaml", study_folder.WEIGHTS, OTHER_WEIGHTS)
    study_folder.sign_study(study)


def record_names_other_weights(study: Path) -> None:
    change(study / "base-model.yaml", study_folder.WEIGHTS, OTHER_WEIGHTS)
    study_folder.sign_base_model(study)


def policy_lists_other_weights(study: Path) -> None:
    policy(study, study_folder.WEIGHTS, OTHER_WEIGHTS)


def role_that_the_roster_lacks(study: Path) -> None:
    policy(study, "at_least: {legal: 1, it: 1}", "at_least: {legal: 1, it: 1, data-protection: 1}")


def all_consents_withdrawn(study: Path) -> None:
    study_folder.write_consents(study / "sites" / ONE / "consent.jsonl", ONE, lambda _: "withdrawn")


def consents_of_others_only(study: Path) -> None:
    path = study / "sites" / ONE / "consent.jsonl"
    path.write_text(path.read_text("utf-8").replace(f"{ONE}-c", "stranger-"), "utf-8")


def roster_expired(study: Path) -> None:
    change(study / "roster.yaml", 'expires: "2099-12-31', 'expires: "2026-11-02')
    study_folder.sign(study)


def roster_unsigned_by_one(study: Path) -> None:
    path = study / "roster.yaml.dsse.json"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))


def not_approved_by_it(study: Path) -> None:
    approve_study(study, ("legal",))


def approved_by_nobody_known(study: Path) -> None:
    (study / "study.yaml.dsse.json").unlink()


def changed_after_approval(study: Path) -> None:
    change(study / "study.yaml", 'learning_rate: "3.3"', 'learning_rate: "3.4"')


def approve_study(study: Path, roles: tuple[str, ...]) -> None:
    path = study / "study.yaml"
    content = read_study(study)
    digests = {content.digest, content.canonical_digest}
    study_folder.approve(study, path, digests, "study-approval", roles)


def stopped(study: Path) -> None:
    subject = Subject("study.yaml", read_study(study).digest)
    issued = datetime(2026, 11, 2, tzinfo=UTC)
    order = stop_statement(role="business", subjects=[subject], reason="INCIDENT", issued=issued)
    (study / "stops").mkdir(exist_ok=True)
    envelope = sign_statement(order, [study_folder.demo_key(PEOPLE["business"])])
    (study / "stops" / "stop.dsse.json").write_bytes(write_envelopes([envelope]))


def stop_unreadable(study: Path) -> None:
    (study / "stops").mkdir(exist_ok=True)
    (study / "stops" / "stop.dsse.json").write_bytes(b"half an ord")


def demo_keys_in_a_real_roster(study: Path) -> None:
    path = study / "roster.yaml"
    path.write_text(path.read_text("utf-8").replace("demo: true", "demo: false"), "utf-8")


def beyond_the_stage(study: Path) -> None:
    """Every policy permits it; the study's own stage, as legal and it signed it, does not."""
    change(study / "study.yaml", 'epsilon_per_run: "100"', 'epsilon_per_run: "2.9"')
    study_folder.sign_study(study)


def key_of_another(study: Path) -> None:
    keys = study / "keys"
    (keys / f"{ONE}.demo.key").write_bytes((keys / "mori.demo.key").read_bytes())


def key_missing(study: Path) -> None:
    (study / "keys" / f"{ONE}.demo.key").unlink()


CASES = {
    "policy expired": Case("POLICY_EXPIRED", policy_expired, apart=True),
    "policy not yet valid": Case("POLICY_NOT_YET_VALID", policy_not_yet_valid),
    "purpose not granted": Case("PURPOSE_NOT_GRANTED", purpose_not_granted, SITES, apart=True),
    "release not granted": Case("PURPOSE_NOT_GRANTED", release_not_granted, says="G2"),
    "base model not signed by legal": Case("BASE_MODEL_NOT_SIGNED", base_model_unsigned, SITES, "base-model.yaml"),
    "unknown clause": Case("UNKNOWN_CLAUSE", clause_unknown, says=f"sites/{ONE}/policy.yaml:", apart=True),
    "unreadable policy": Case("YAML_SYNTAX", policy_unreadable, says=f"sites/{ONE}/policy.yaml:"),
    "no policy": Case("POLICY_MISSING", policy_missing),
    "no signature": Case("SIGNATURE_MISSING", signatures_missing, says=f"sites/{ONE}/policy.yaml", apart=True),
    "malformed signatures": Case("SIGNATURES_UNREADABLE", signatures_malformed, says="policy.yaml.dsse.json:1"),
    "signature over an older version": Case("POLICY_NOT_SIGNED", signature_over_an_older_version),
    "study names other weights": Case("BASE_MODEL_DIFFERS", study_names_other_weights, SITES, "study.yaml"),
    "record names other weights": Case(
        "BASE_MODEL_DIFFERS", record_names_other_weights, SITES, "base-model.yaml", apart=True
    ),
    "policy lists other weights": Case("BASE_MODEL_NOT_LISTED", policy_lists_other_weights),
    "a fact is missing": Case("FACT_MISSING", role_that_the_roster_lacks, apart=True),
    "all consents withdrawn": Case("CONSENT_MISSING", all_consents_withdrawn, apart=True),
    "consents of others only": Case("NO_ELIGIBLE_SUBJECTS", consents_of_others_only),
    "roster expired": Case("ROSTER_EXPIRED", roster_expired, (), apart=True),
    "roster not signed by one": Case("ROSTER_UNSIGNED", roster_unsigned_by_one, (), "ame"),
    "study not approved by it": Case("APPROVALS_MISSING", not_approved_by_it, SITES, "IT"),
    "study not approved": Case("SIGNATURE_MISSING", approved_by_nobody_known, SITES, "study.yaml"),
    "study changed after approval": Case("APPROVALS_MISSING", changed_after_approval, SITES),
    "stopped": Case("STOPPED", stopped, SITES),
    "a stop that cannot be read": Case("STOPPED", stop_unreadable, SITES),
    # nobody's key counts under such a roster, so there is none that could sign an entry
    "demo keys in a real roster": Case(
        "ROSTER_DEMO_KEY", demo_keys_in_a_real_roster, (), "roster.yaml:", logs=False, apart=True
    ),
    "beyond a cap of the stage": Case("STAGE_EPSILON", beyond_the_stage, SITES, "2.9"),
    "key of another": Case("KEY_NOT_IN_ROSTER", key_of_another, logs=False),
    "no key": Case("KEY_MISSING", key_missing, logs=False),
}


@pytest.mark.parametrize("name", CASES)
def test_refused_with_a_code_of_its_own_and_nothing_sent(
    name: str, study: Path, tmp_path: Path, capsys: Capture
) -> None:
    case = CASES[name]
    case.spoil(study)
    # in this process: every refusal is there, and nothing has passed the engine's interface
    errors = refused_in_this_process(study)
    assert {site for site in errors if site} == set(case.sites)
    # the command: one object, one code, one sentence, one hint
    before = {site: len(log_of(study, site)) for site in SITES}
    words = ("pilot", study, "--out", tmp_path / "out", "--json")
    ended = sekisho(*words) if case.apart else sekisho_here(capsys, *words)
    told = ended.told
    assert ended.exit == told["exit"] == 3
    assert told["code"] == case.code
    assert set(told.get("sites", {})) == set(case.sites)
    for one in (told, *told.get("sites", {}).values()):
        assert one_line(one), one
        assert one["code"] == case.code
        assert case.says in one["sentence"]
    # nothing was computed that could leave, nothing was charged
    assert not HEAVY & ended.loaded
    assert nothing_charged(study)
    assert not list((tmp_path / "out").iterdir())
    # each site that refused says so in its log; the coordinator has nothing to say
    for site in (case.sites or SITES) if case.logs else ():
        assert len(log_of(study, site)) > before[site]
        assert case.code in codes_logged(study, site)
    assert log_of(study, "coordinator") == []


def refused_in_this_process(study: Path) -> dict[str, Any]:
    """Every refusal by site, or under "" where all share it; nothing may have passed the engine's interface."""
    recorders: list[Recording] = []

    def wrap(channel: EmbeddedChannel) -> Recording:
        recorders.append(Recording(channel))
        return recorders[-1]

    try:
        federation = Federation.open(study, features=HashedFeatures(), wrap=wrap)  # type: ignore[arg-type]
    except (CoreError, GovernanceError, PrivacyError) as error:
        return {"": error}
    try:
        _, refused = federation.preflight("probe")
    finally:
        federation.close()
    (recorder,) = recorders
    assert recorder.received == [] and recorder.posted == []
    return dict(refused)


def test_one_sites_trouble_does_not_hide_anothers(study: Path, tmp_path: Path, capsys: Capture) -> None:
    policy(study, 'until: "2100', 'until: "2026-11-02T00:00:00+09:00"  # "2100', site="ame")
    policy(study, "type: retention", "type: eternal", signed=False, site="hana")
    (study / "sites" / "kaze" / "policy.yaml.dsse.json").unlink()
    policy(study, "audit_years: 6", "audit_years: 5", signed=False, site="mori")
    ended = sekisho_here(capsys, "pilot", study, "--out", tmp_path / "out")
    assert (ended.exit, ended.out.count("\n")) == (3, 1)
    lines = ended.err.splitlines()
    for site, code in {
        "ame": "POLICY_EXPIRED", "hana": "UNKNOWN_CLAUSE", "kaze": "SIGNATURE_MISSING", "mori": "POLICY_NOT_SIGNED",
    }.items():  # fmt: skip
        (index,) = (number for number, line in enumerate(lines) if line.endswith(f"[{code}]"))
        assert lines[index].startswith("sekisho: refused: ") and site in lines[index]
        assert lines[index + 1].startswith("sekisho: hint: ")
        assert code in codes_logged(study, site)
    assert len(lines) == 8
    assert "yuki" not in ended.err
    assert nothing_charged(study)


def test_what_all_say_alike_is_said_once(study: Path, tmp_path: Path, capsys: Capture) -> None:
    not_approved_by_it(study)
    ended = sekisho_here(capsys, "pilot", study, "--out", tmp_path / "out")
    assert ended.exit == 3
    refusal, hint = ended.err.splitlines()
    assert refusal.startswith("sekisho: refused: ame, hana, kaze, mori, yuki: clause 10")
    assert hint.startswith("sekisho: hint: ")


def test_the_third_pilot_is_refused_and_names_the_last_report(tmp_path: Path) -> None:
    study = study_folder.build(tmp_path / "study", steps=3, allowance=0, lifetime=lifetime_for(tmp_path, pilots=2))
    for number in (1, 2):
        run_pilot(study, tmp_path / f"out{number}", Quiet(), features=HashedFeatures())  # type: ignore[arg-type]  stands in for both
    before = {site: ledger_of(study, site) for site in SITES}
    assert all([run.charged for run in runs] == [3, 3] for runs in before.values())
    ended = sekisho("pilot", study, "--out", tmp_path / "out3", "--json")
    assert ended.exit == 3
    assert ended.told["code"] == "BUDGET_EXHAUSTED"
    assert one_line(ended.told)
    assert all(site in ended.told["sentence"] for site in SITES)
    assert str(tmp_path / "out2" / "report.html") in ended.told["hint"]
    assert "demo-reset" in ended.told["hint"]
    assert {site: ledger_of(study, site) for site in SITES} == before
    assert all("BUDGET_LIFETIME" in codes_logged(study, site) for site in SITES)
    assert not HEAVY & ended.loaded


def test_a_stage_has_room_for_its_runs_and_no_more(tmp_path: Path) -> None:
    """Counted by each site from its own log and ledger, though its policy would permit another run."""
    study = study_folder.build(tmp_path / "study", steps=3, allowance=0, lifetime="20")
    change(study / "study.yaml", "runs: 100", "runs: 1")
    study_folder.sign_study(study)
    run_pilot(study, tmp_path / "out", Quiet(), features=HashedFeatures())  # type: ignore[arg-type]  stands in for both
    before = {site: ledger_of(study, site) for site in SITES}
    with pytest.raises(CoreError) as caught:
        run_pilot(study, tmp_path / "out2", Quiet(), features=HashedFeatures())  # type: ignore[arg-type]  stands in for both
    assert caught.value.code == "STAGE_RUNS"
    assert {site: ledger_of(study, site) for site in SITES} == before
    change(study / "study.yaml", "runs: 1,", "runs: 2,")
    study_folder.sign_study(study)
    run_pilot(study, tmp_path / "out2", Quiet(), features=HashedFeatures())  # type: ignore[arg-type]  stands in for both


def test_a_budget_that_never_sufficed_is_refused_by_its_clause(tmp_path: Path) -> None:
    study = study_folder.build(tmp_path / "study", steps=3, allowance=0, lifetime="3.2")
    errors = refused_in_this_process(study)
    assert {error.code for error in errors.values()} == {"BUDGET_LIFETIME"}
    with pytest.raises(CoreError) as caught:
        run_pilot(study, tmp_path / "out", Quiet(), features=HashedFeatures())  # type: ignore[arg-type]  stands in for both
    assert caught.value.code == "BUDGET_LIFETIME"
    assert nothing_charged(study)


def lifetime_for(tmp_path: Path, *, pilots: int) -> str:
    """The least lifetime epsilon, in tenths, that admits ``pilots`` runs of the study, computed by the accountant."""
    study = read_study(study_folder.build(tmp_path / "measure", steps=3, allowance=0))
    widths = (HashedFeatures.width, 384)  # runs in this process, and the command's own
    for tenths in range(32, 200):
        epsilon = Decimal(tenths) / 10
        budget = Budget(epsilon, Decimal("0.00001"), Unit.SUBJECT, Adjacency.ADD_OR_REMOVE_ONE)
        order = filter_order(budget)
        plans = [plan_of(study, "probe", dimension=width + 1) for width in widths]
        costs = [step_cost(plan, observers=plan.observers, order=order) * plan.total_steps for plan in plans]
        if pilots * max(costs) <= filter_cap(budget, order):
            assert (pilots + 1) * min(costs) > filter_cap(budget, order)
            return str(epsilon)
    raise AssertionError("no lifetime admits so many")


# --- the offer


def test_an_offer_that_is_not_what_was_approved_is_refused_by_every_site(study: Path) -> None:
    federation = Federation.open(study, features=HashedFeatures())  # type: ignore[arg-type]  stands in for both
    try:
        offer, plan = federation.offer("probe")
        spoiled = {
            "another study": (offer.model_copy(update={"study_bytes": OTHER_WEIGHTS}), "OFFER_FOREIGN"),
            "another roster": (offer.model_copy(update={"roster": OTHER_WEIGHTS}), "OFFER_FOREIGN"),
            "a site less": (offer.model_copy(update={"sites": offer.sites[1:]}), "OFFER_FOREIGN"),
            "another method": (offer.model_copy(update={"method": "lora"}), "OFFER_FOREIGN"),
            "less noise": (offer.model_copy(update={"plan": weaker(plan.to_json())}), None),
            "no plan": (offer.model_copy(update={"plan": {}}), None),
        }
        for what, (changed, code) in spoiled.items():
            for name, site in federation.sites.items():
                with pytest.raises((CoreError, PrivacyError)) as caught:
                    site.consider(changed, "preflight")
                assert code in (None, caught.value.code), what
                assert name in str(caught.value) and caught.value.hint, what
    finally:
        federation.close()
    assert nothing_charged(study)


def weaker(plan: dict[str, Any]) -> dict[str, Any]:
    """The same plan with a hundredth of the noise, which it does not say."""
    less = [[cohort, max(16, int(variance) // 100)] for cohort, variance in plan["share_variances"]]
    return {**plan, "share_variances": less}


def test_a_site_that_declines_an_offer_tells_a_code_and_the_run_ends_uncharged(study: Path) -> None:
    """The coordinator's own copy of the study changed after the sites accepted theirs."""
    recorders: list[Recording] = []

    def wrap(channel: EmbeddedChannel) -> Recording:
        recorders.append(Recording(channel))
        return recorders[-1]

    federation = Federation.open(study, features=HashedFeatures(), wrap=wrap)  # type: ignore[arg-type]
    try:
        offer, plan = federation.offer("probe")
        with pytest.raises(Refused) as caught:
            federation.coordinator.run("probe-x", offer.model_copy(update={"study_bytes": OTHER_WEIGHTS}), plan)
    finally:
        federation.close()
    assert caught.value.code == "OFFER_FOREIGN"
    assert set(recorders[0].kinds_received()) <= {"decline", "stopped"}
    assert nothing_charged(study)
    assert "OFFER_FOREIGN" in codes_logged(study, "coordinator") & codes_logged(study, "ame")


# --- in the middle of a run


@dataclass
class Withdrawing(Recording):
    """Before ``step`` is begun, everybody at ``sites`` withdraws."""

    step: int = 2
    sites_of: tuple[str, ...] = (ONE,)
    registers: dict[str, ConsentRegister] = field(default_factory=dict)

    def post(self, site: str, message: bytes, ttl: float) -> int:
        body = SignedMessage.from_bytes(message).body
        if site in self.sites_of and body.kind == "step" and body.step == self.step:  # type: ignore[attr-defined]
            for number in range(study_folder.SUBJECTS_PER_SITE):
                self.registers[site].withdraw(f"{site}-c{number:03d}", datetime.now(UTC))
        return super().post(site, message, ttl)


def run_withdrawing(study: Path, sites: tuple[str, ...], step: int) -> tuple[Federation, Withdrawing, RunResult]:
    channels: list[Withdrawing] = []

    def wrap(channel: EmbeddedChannel) -> Withdrawing:
        channels.append(Withdrawing(channel, step=step, sites_of=sites))
        return channels[-1]

    federation = Federation.open(study, features=HashedFeatures(), wrap=wrap)  # type: ignore[arg-type]
    channels[0].registers.update({name: site.folder.register for name, site in federation.sites.items()})
    try:
        return federation, channels[0], federation.run("probe")
    finally:
        federation.close()


def test_all_consents_withdrawn_in_the_middle_cannot_be_told_from_outside(study: Path) -> None:
    """A refusal here would tell. The site goes on sending noise, which is charged, and the run completes."""
    _, channel, result = run_withdrawing(study, (ONE,), 2)
    assert (result.state.completed, result.state.abandoned) == (4, 0)
    assert result.state_macs_agree
    # outside: the same kinds in the same order, and frames of one size
    kinds: dict[str, list[str]] = {site: [] for site in SITES}
    sizes: set[int] = set()
    for site, data in channel.received:
        message = SignedMessage.from_bytes(data)
        kinds[site].append(message.body.kind)
        if message.body.kind == "frame":
            sizes.add(len(message.payload))
    assert all(kinds[site] == kinds["ame"] for site in SITES)
    assert len(sizes) == 1
    # inside: every step was started and charged like everybody's, and logged alike
    for site in SITES:
        (run,) = ledger_of(study, site)
        assert (run.started, run.charged, run.state) == (4, 4, "closed")
    assert [entry["type"] for entry in log_of(study, ONE)] == [entry["type"] for entry in log_of(study, "ame")]
    # and the next run is refused at the door
    assert refused_in_this_process(study)[ONE].code == "CONSENT_MISSING"


def test_who_withdrew_in_the_middle_is_not_used_from_the_next_step_on(tmp_path: Path) -> None:
    """Everybody everywhere withdraws before the first step: what is opened then is noise, far below what people add."""
    norms = {}
    for name, sites in (("all", ()), ("nobody", SITES)):
        federation, _, _ = run_withdrawing(study_folder.build(tmp_path / name), sites, 1)
        state = federation.sites["ame"].state
        assert state is not None
        norms[name] = float(np.linalg.norm(state.optimizer.vector))
    assert norms["nobody"] < norms["all"] / 4, norms
