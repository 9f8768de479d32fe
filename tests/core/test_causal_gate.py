"""Model code is not classifier-only: what a tiny causal language model learns leaves five sites by the real gate.

Policies, ledgers, logs, keys, noise and encryption are the real ones, of a study whose policies grant the task
``causal-lm``. Each site trains adapters on its own records; what the sites sealed is added as the coordinator adds,
opened as a site opens, and applied.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from sekisho.core.data.intake import inspect, locate
from sekisho.core.engines.channel import carry
from sekisho.core.errors import Refused
from sekisho.core.gate.gate import Gate, StepContext
from sekisho.core.gate.sealed import Sealed
from sekisho.core.messages import Offer, SignedMessage
from sekisho.core.planning import plan_of
from sekisho.core.site.folder import SiteFolder
from sekisho.core.site.papers import read_study
from sekisho.core.training.causal import CausalTask
from sekisho.core.training.causal_model import CausalModel
from sekisho.core.training.lora_layout import LoraSettings
from sekisho.core.training.optimizer import Momentum, OptimizerState
from sekisho.core.training.schedule import PLAIN
from sekisho.core.training.training import TrainingData, load_training_data, train_step
from sekisho.governance.policy.request import Fact, Request
from sekisho.privacy.accounting.accountant import step_cost, worst_certificate
from sekisho.privacy.accounting.plan import Plan
from sekisho.privacy.encryption import frame
from sekisho.privacy.encryption.aggregation import Aggregator
from sekisho.privacy.encryption.presets import PRESETS
from sekisho.privacy.keys.decrypt import StepSecret, open_sum
from sekisho.privacy.keys.runkeys import RunSecret
from sekisho.privacy.mechanism.randomness import SecretStream

from ..federation import study_folder
from ..federation.study_folder import SITES

pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook is firing")

NOW = datetime(2027, 1, 1, tzinfo=UTC)
WORDS = ("lovely", "tasty", "stale", "awful", *SITES, *(f"item{number}" for number in range(7)))
DIGEST = "sha256:" + "0" * 64
RUN = "run-000000000001"
STEPS = 2


@pytest.fixture(scope="module")
def task() -> CausalTask:
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(("[UNK]", "[END]", *WORDS))}, "[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(
        LlamaConfig(
            vocab_size=32, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=128, initializer_range=0.1, eos_token_id=1,
        ),
        attn_implementation="sdpa",
    )  # fmt: skip
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="[END]")
    return CausalTask(CausalModel(model.eval().requires_grad_(False), tokenizer), LoraSettings(seed=1, rank=2, alpha=4))


@dataclasses.dataclass
class Desk:
    """A site in the run: its belongings, its rows, and its gate."""

    folder: SiteFolder
    plan: Plan
    gate: Gate
    request: Request
    data: TrainingData


@pytest.fixture(scope="module")
def desks(tmp_path_factory: pytest.TempPathFactory, task: CausalTask) -> Iterator[Mapping[str, Desk]]:
    study = study_folder.build(tmp_path_factory.mktemp("causal") / "study", steps=STEPS, allowance=1)
    for site in SITES:
        for _ in range(2):  # the grant of training and that of release
            study_folder.change(
                study / "sites" / site / "policy.yaml", "tasks: [text-classification]", "tasks: [causal-lm]"
            )
    study_folder.sign(study)
    study_folder.sign_stop_list(study, NOW)
    base_model = inspect(locate(read_study(study).base_model, study))
    opened = {site: SiteFolder.open(study, site, base_model=base_model, clock=lambda: NOW) for site in SITES}
    yield {site: desk_of(folder, task) for site, folder in opened.items()}
    for folder in opened.values():
        folder.close()


def desk_of(folder: SiteFolder, task: CausalTask) -> Desk:
    plan = plan_of(folder.study, "probe", dimension=task.dimension)
    dataset = folder.dataset()
    prints = [folder.subject_key.fingerprint(subject) for subject in dataset.subjects]
    cost = step_cost(plan, observers=plan.observers, order=folder.ledger_order)
    assert len(folder.ledger.reserve(RUN, step_cost=cost, steps=plan.total_steps, subjects=prints)) == len(prints)
    offer = Offer(study_bytes=DIGEST, roster=DIGEST, method="lora", base_model=DIGEST, sites=SITES, plan=plan.to_json())
    asked = folder.request_for_plan(plan, worst_certificate(plan, plan.observers), offer)
    gate = Gate(
        site=folder.site, study=folder.study.id, run=RUN, policy=folder.policy,
        stage=folder.study.current_stage, earlier_runs=0, key=folder.key, ledger=folder.ledger,
        log=folder.log, clock=folder.clock,
    )  # fmt: skip
    data = load_training_data(dataset, dataset.subjects, folder.study.labels, task)
    return Desk(folder, plan, gate, for_causal_lm(asked), data)


def for_causal_lm(request: Request) -> Request:
    """The study's own word for its task, as it stands in a request."""
    return Request({**request.facts, "task": Fact("causal-lm", "study")})


def context(site: str, step: int, secret: RunSecret) -> StepContext:
    pairs = {peer: hashlib.sha256("/".join(sorted((site, peer))).encode()).digest() for peer in SITES if peer != site}
    return StepContext(
        step=step,
        transcript=hashlib.sha256(f"{RUN}/{step}".encode()).digest(),
        cohort=SITES,
        run_secret=secret,
        pair_keys=pairs,
    )


def opened_sum(sealed: Mapping[str, Sealed], plan: Plan, key: StepSecret) -> NDArray[np.int64]:
    """What travelled, added as the coordinator adds and opened as a site opens."""
    preset = PRESETS[plan.preset]
    aggregator = Aggregator(preset, plan.dimension)
    for site, answer in sealed.items():
        received = SignedMessage.from_bytes(carry(answer))
        received.verify(study_folder.demo_key(site).public)
        aggregator.add(site, frame.decode(received.part("frame"), preset=preset, dimension=plan.dimension))
    total = aggregator.result()
    return open_sum(total.c0_sum, total.manifest, preset, plan.dimension, secret=key)


def test_a_policy_that_does_not_grant_causal_lm_lets_nothing_of_it_out(desks: Mapping[str, Desk]) -> None:
    desk = desks["ame"]
    other = Request({**desk.request.facts, "task": Fact("text-classification", "study")})
    for action in ("train", "release"):
        wanted = Request({**desk.request.facts, "action": Fact(action, "study")})
        if action == "release":
            wanted = Request({**wanted.facts, "transfer.artefacts": Fact(frozenset({"adapter"}), "site-runtime")})
        desk.gate.decide(wanted)
        with pytest.raises(Refused) as caught:
            desk.gate.decide(Request({**wanted.facts, "task": other.facts["task"]}))
        assert caught.value.code == "TASK_NOT_GRANTED"
        assert caught.value.code in json.loads(list(desk.folder.log.entries(0))[-1])["data"]["codes"]


def test_what_a_causal_model_learns_passes_the_gate_of_every_site_and_is_applied(
    desks: Mapping[str, Desk], task: CausalTask
) -> None:
    plan = desks["ame"].plan
    momentum = Momentum.for_plan(plan, desks["ame"].folder.study.settings("probe"), PLAIN)
    state = OptimizerState.start(task.initial())
    secret = RunSecret.generate()
    for step in range(1, STEPS + 1):
        exact, sealed = np.zeros(task.dimension, dtype=np.int64), {}
        rotation = plan.rotation(context("ame", step, secret).transcript)
        assert rotation is not None  # few people and a long vector: the rule takes narrow fields
        for site, desk in desks.items():
            desk.folder.ledger.start(RUN, step)
            update = train_step(
                desk.data,
                desk.data.rows_of,
                state.vector,
                plan=plan,
                step=step,
                stream=SecretStream(),
                rotation=rotation,
            )
            # everybody is sampled and moves the sum, nobody by more than the bound
            assert update.clipped.subjects == study_folder.SUBJECTS_PER_SITE and update.clipped.total.any()
            exact += update.clipped.total
            sealed[site] = desk.gate.disclose(
                update, request=desk.request, plan=plan, context=context(site, step, secret), stream=SecretStream()
            )
        key = StepSecret.derive(secret, context("ame", step, secret).transcript)
        found = opened_sum(sealed, plan, key)
        # the sum of all updates with the noise of five shares on it: 448 squares, so 0.5 is seven deviations away
        noise = (found - exact).astype(np.float64)
        assert 0.5 < float(np.mean(noise * noise)) / (len(SITES) * plan.share_variance(len(SITES))) < 1.5
        own = rotation.back(found.astype(np.float64))
        after = momentum.step(state, own * (float(plan.clipping_norm) / plan.grid))
        # a coordinate's noise, rotated back, is a whole number over sixteen: of one in 10^5 it is nothing
        assert np.count_nonzero(after.vector == state.vector) < 4
        state = after
    rows = desks["ame"].data.rows
    assert np.isfinite(task.scores(rows, state.vector)).all()
    assert (task.scores(rows, state.vector) != task.scores(rows, task.initial())).all()
    for desk in desks.values():
        # charged, marked with the very bytes, and logged by name
        row = next(row for row in desk.folder.ledger.balance().runs if row.run == RUN)
        assert (row.started, row.disclosed) == (STEPS, STEPS)
        kinds = [json.loads(line)["type"] for line in desk.folder.log.entries(0)]
        assert kinds.count("step.disclosed") == STEPS
