"""A pilot of two methods as plain facts, with baselines and product groups: what the reports' tests begin from."""

from __future__ import annotations

import json
from decimal import Decimal

from sekisho.core.pilot.baselines import Baselines
from sekisho.core.pilot.findings import (
    BaseModelFacts,
    ClassResult,
    GroupResult,
    MeasureInput,
    MembershipFacts,
    MethodResult,
    NotTried,
    Protection,
    RunFacts,
    SiteFacts,
    StageInput,
    StepRecord,
    Steps,
    SummaryInput,
)
from sekisho.core.pilot.roi import RoiInput
from sekisho.core.pilot.site_report import ClauseWords, LedgerRun, PersonalFacts, SiteReportInput, SiteRun
from sekisho.governance.language import Text

SITES = (
    ("kohi", Text(en="Kohi Roasters", ja="珈琲焙煎工房")),
    ("wanko", Text(en="Wanko Pet Foods", ja="ワンコのごはん本舗株式会社")),
    ("okashi", Text(en="Okashi Confectionery", ja="御菓子司おかし堂")),
    ("shokuhin", Text(en="Shokuhin General Foods", ja="総合食品ホールディングス")),
    ("daidokoro", Text(en="Daidokoro Kitchen", ja="台所用品の大所")),
)
IDS = tuple(site for site, _ in SITES)
ROOT = "sha256:" + "ab" * 32
TEST_SET = "sha256:" + "05" * 32
DELTA = Decimal("0.00001")
HELD = dict.fromkeys(map(str, Protection), True)
STARTED, FINISHED = "2026-11-23T10:00:00+00:00", "2026-11-23T10:03:52+00:00"


def result(auc: float, accuracy: float, right: tuple[int, int]) -> MethodResult:
    return MethodResult(
        auc=auc, auc_low=round(auc - 0.029, 3), auc_high=round(auc + 0.029, 3), accuracy=accuracy,
        accuracy_low=round(accuracy - 0.027, 3), accuracy_high=round(accuracy + 0.025, 3), n=993,
        per_class=(ClassResult(label="dissatisfied", n=328, correct=right[0]),
                   ClassResult(label="satisfied", n=665, correct=right[1])),
    )


def groups(shift: float) -> tuple[GroupResult, ...]:
    """Five makers' kinds of product; the last group carries one label only."""
    given = (("kohi", 231, 0.81), ("wanko", 118, 0.772), ("okashi", 276, 0.829), ("shokuhin", 360, 0.797))
    found = [
        GroupResult(id=one, n=n, auc=auc + shift, auc_low=auc + shift - 0.06, auc_high=auc + shift + 0.05,
                    accuracy=auc - 0.05 + shift, accuracy_low=auc - 0.1 + shift, accuracy_high=auc + shift)
        for one, n, auc in given
    ]
    found.append(GroupResult(id="daidokoro", n=8, auc=None, auc_low=None, auc_high=None, accuracy=0.875,
                             accuracy_low=0.529, accuracy_high=0.978))
    return tuple(found)


def run(method: str = "probe", **changes: object) -> RunFacts:
    """One finished run; the probe's lost a site at step 24."""
    probe = method == "probe"
    history = tuple(
        StepRecord(step=n, cohort=IDS if n < 24 or not probe else IDS[:4],
                   outcome="abandoned" if probe and n == 24 else "completed")
        for n in range(1, 62 if probe else 41)
    )
    values: dict[str, object] = {
        "method": method,
        "run": f"{method}-5f0c2a9be1d47f63",
        "started": STARTED,
        "finished": FINISHED,
        "epsilon_target": Decimal("3.0"),
        "delta": DELTA,
        "epsilon": dict.fromkeys(IDS, 2.9971 if probe else 2.9988),
        "cross_check": 2.9412 if probe else 2.9527,
        "steps": Steps(planned=60 if probe else 40, completed=60 if probe else 40, abandoned=1 if probe else 0),
        "history": history,
        "protections": HELD,
        "coalition": ((0, 2.61), (1, 2.9971), (2, 3.61), (3, 4.77), (4, 6.72)) if probe
        else ((0, 2.55), (1, 2.9988), (2, 3.72), (3, 5.11), (4, 7.9)),
        "parameters": 385 if probe else 74_498,
        "settings": (("sampling-rate", "1" if probe else "0.1"), ("clipping-norm", "0.4" if probe else "1"),
                     ("records-per-subject", "6")),
        "uplink_bytes_per_parameter": 5.91 if probe else 4.02,
        "step_bytes": 2_276 if probe else 299_482,
        "seconds": {"joining": 0.9, "steps": 21.6, "evaluation": 3.1} if probe
        else {"joining": 0.8, "steps": 118.4, "evaluation": 6.0},
        "adapter": "sha256:" + ("cd" if probe else "7e") * 32,
        "result": result(0.812, 0.764, (214, 545)) if probe else result(0.831, 0.779, (226, 548)),
        "groups": groups(0.0 if probe else 0.018),
        "membership": MembershipFacts(customers=1000, others=993, auc=0.512 if probe else 0.521,
                                      auc_low=0.487 if probe else 0.496, auc_high=0.537 if probe else 0.546),
    }
    return RunFacts(**{**values, **changes})


def failed_run(method: str = "lora", **changes: object) -> RunFacts:
    """A run that lost its sites in the third step."""
    values: dict[str, object] = {
        "steps": Steps(planned=40, completed=2, abandoned=1),
        "history": tuple(StepRecord(step=n, cohort=IDS, outcome="completed" if n < 3 else "abandoned")
                         for n in (1, 2, 3)),
        "protections": {"budget": True, "noise": True, "log": True},
        "uplink_bytes_per_parameter": 0.0, "step_bytes": 0, "adapter": None, "result": None, "groups": (),
        "membership": NotTried.UNFINISHED, "cross_check": None, "failure": "COHORT_TOO_SMALL",
    }
    return run(method, **{**values, **changes})


def row(one: str, en: str, ja: str, epsilon: str | None, auc: float, note: Text | None = None) -> dict[str, object]:
    return {
        "id": one, "name": {"en": en, "ja": ja}, "epsilon": epsilon, "seeds": 5, "auc": auc,
        "auc_low": round(auc - 0.03, 3), "auc_high": round(auc + 0.03, 3), "accuracy": round(auc - 0.045, 3),
        "note": None if note is None else note.model_dump(),
    }


ALL_NOISE = Text(en="five makers, no shared noise", ja="5社、ノイズの分担なし")


def baselines_json() -> dict[str, object]:
    """A baselines.json as the example's script writes it."""
    return {
        "schema": "sekisho-baselines/1", "study": "food-quality-2026", "test_set": TEST_SET,
        "settings": [
            {"en": "Alone: logistic regression on the frozen features, its strength chosen by cross-validation.",
             "ja": "単独：凍結特徴量に対するロジスティック回帰。正則化の強さは交差検証で決定。"},
            {"en": "Every run: δ = 1e-5, one observer, the same steps and clipping as in study.yaml.",
             "ja": "共通：δ = 1e-5、観測者1社、ステップ数とクリッピングはstudy.yamlと同じ。"},
        ],
        "rows": [
            row("alone-shokuhin", "Shokuhin alone, no privacy", "総合食品単独（保護なし）", None, 0.801),
            row("alone-wanko", "Wanko alone, no privacy", "ワンコのごはん本舗単独（保護なし）", None, 0.664),
            row("all-noise", "Linear head, each adding all the noise", "線形ヘッド（各社が全ノイズを加算）",
                "3.0", 0.769, ALL_NOISE),
            row("words", "No foundation model: hashed words", "基盤モデルなし（単語のハッシュ）", "3.0", 0.702),
            row("none-probe", "Linear head, no privacy", "線形ヘッド（保護なし）", None, 0.833),
            row("none-lora", "LoRA, no privacy", "LoRA（保護なし）", None, 0.904),
        ],
        "curve": {"series": [
            curve("LoRA on the foundation model", "基盤モデル上のLoRA", True, (0.794, 0.851, 0.904),
                  (14.2, 40.7, 131.0)),
            curve("Linear head on the foundation model", "基盤モデル上の線形ヘッド", True, (0.771, 0.809, 0.833),
                  (0.3, 0.6, 1.4)),
            curve("No foundation model: hashed words", "基盤モデルなし（単語のハッシュ）", False, (0.668, 0.731, 0.787),
                  (0.2, 0.4, 1.1)),
        ]},
    }


def curve(
    en: str, ja: str, foundation: bool, aucs: tuple[float, ...], seconds: tuple[float, ...]
) -> dict[str, object]:
    points = [{"share": share, "auc": auc, "seconds": spent}
              for share, auc, spent in zip((0.1, 0.3, 1.0), aucs, seconds, strict=True)]
    return {"name": {"en": en, "ja": ja}, "foundation": foundation, "points": points}


def baselines() -> Baselines:
    return Baselines.model_validate_json(json.dumps(baselines_json()))


def facts(**changes: object) -> SummaryInput:
    values: dict[str, object] = {
        "study": "food-quality-2026",
        "title": Text(en="Finding dissatisfied customers of five food makers",
                      ja="食品メーカー5社による不満足レビューの検出"),
        "question": Text(
            en="Can five makers together sort reviews well enough to answer unhappy customers first?",
            ja="5社が協力すれば、不満のあるお客様に優先して対応できるだけの精度でレビューを分類できるか。",
        ),
        "requester": "quality-lead",
        "stage": "pilot",
        "started": STARTED,
        "finished": FINISHED,
        "demo": True,
        "root": ROOT,
        "unit": "subject",
        "observers": 1,
        "max_sites_per_subject": 1,
        "sites": tuple(
            SiteFacts(id=site, name=name, lifetime_before=0.0 if i else 6.1, lifetime_spent=6.1 if i else 9.02,
                      lifetime_epsilon=Decimal("9.5"), lifetime_delta=DELTA)
            for i, (site, name) in enumerate(SITES)
        ),
        "methods": ("probe", "lora"),
        "runs": (run("probe"), run("lora")),
        "measures": (
            measure("auc", "probe", "0.75", "Ranks an unhappy review above a happy one",
                    "不満のレビューを上位に並べられる"),
            measure("accuracy", "probe", "0.70", "Share of reviews labelled right", "正しく分類されたレビューの割合"),
            measure("auc", "lora", "0.78", "Ranks better than sorting by hand", "手作業の仕分けより正しく並べられる"),
        ),
        "base_model": BaseModelFacts(name="all-MiniLM-L6-v2", digest="sha256:" + "53" * 32, licence="Apache-2.0",
                                     disclosure="sources-listed"),
        "seconds": {"preflight": 71.3, "evidence": 1.2},
        "value": RoiInput(currency="JPY", reviews_per_year=120_000, minutes_saved_per_review=Decimal("1.5"),
                          cost_per_hour=Decimal("2400"), share_handled=Decimal("0.6"), pilot_cost=Decimal("1200000"),
                          yearly_cost=Decimal("900000"), threshold=Decimal("0.5")),
        "stages": (
            StageInput(name="pilot", cost=Decimal("1200000"), caps={"sites": "5", "epsilon-per-run": "3.0"},
                       gate=Text(en="Legal and IT have signed the study.",
                                 ja="法務とITが研究計画に署名していること。")),
            StageInput(name="next", cost=Decimal("4000000"), caps={"sites": "12", "epsilon-per-run": "2.0"},
                       gate=Text(en="The pilot's report says go, and a board has read it.",
                                 ja="パイロット報告書が「実施可」で、取締役会が確認していること。")),
            StageInput(name="production", cost=Decimal("9000000"), caps={"sites": "40"},
                       gate=Text(en="An independent review of the cryptography.",
                                 ja="暗号の第三者審査が完了していること。")),
        ),
        "baselines": baselines(),
    }
    return SummaryInput(**{**values, **changes})


def measure(name: str, method: str, target: str, en: str, ja: str) -> MeasureInput:
    return MeasureInput.model_validate(
        {"name": name, "method": method, "target": Decimal(target), "text": Text(en=en, ja=ja)}
    )


def one_method(**changes: object) -> SummaryInput:
    """The same pilot with the probe alone, and nothing to compare it with."""
    only = tuple(one for one in facts().measures if one.method == "probe")
    return facts(**{"methods": ("probe",), "runs": (run("probe"),), "measures": only, "baselines": None, **changes})


def site_facts(**changes: object) -> SiteReportInput:
    excluded = {"withdrawn": 12, "expired": 31, "never-asked": 36, "objected": 8, "other-scope": 0}
    values: dict[str, object] = {
        "site": "wanko", "name": SITES[1][1], "study": "food-quality-2026", "title": facts().title,
        "started": STARTED, "demo": True, "root": ROOT, "records": 1432, "subjects": 418, "unit": "subject",
        "runs": tuple(
            SiteRun(method=method, run=run(method).run, used_subjects=331, excluded=excluded, epsilon=epsilon,
                    delta=DELTA)
            for method, epsilon in (("probe", 2.9971), ("lora", 2.9988))
        ),
        "lifetime_epsilon": Decimal("9.5"), "lifetime_delta": DELTA, "observers": 1,
        "spent_by_all_runs": 9.31, "spent_most": 9.02, "spent_least": 0.0,
        "ledger_subjects": 344,
        "ledger": (LedgerRun(run="probe-1b7a90c2d3e4f506", steps=65, started=61, disclosed=61, state="closed"),
                   LedgerRun(run=run("probe").run, steps=65, started=61, disclosed=60, state="closed"),
                   LedgerRun(run=run("lora").run, steps=44, started=40, disclosed=40, state="closed")),
        "personal": PersonalFacts(method="lora", held_out=143, accuracy_before=0.769, before_low=0.694,
                                  before_high=0.831, accuracy_after=0.818, after_low=0.747, after_high=0.873),
        "policy_id": "wanko/reviews", "policy_version": 2, "policy_digest": "sha256:" + "12" * 32,
        "policy": (
            ClauseWords(
                id="1",
                name=Text(en="Validity", ja="有効期間"),
                prose=Text(en="In force until 31 December 2099.", ja="2099年12月31日まで有効。"),
                enforced=Text(en="nothing from 2100 on", ja="2100年以降は不可"),
                recorded=None,
            ),
        ),
        "log_entries": 211, "log_root": "9f" * 32,
    }
    return SiteReportInput(**{**values, **changes})
