"""Outcomes that are not this step's: replayed, mixed, cut, crafted. None opens, and the next step starts nowhere.

What a site applies as "the sum of step t" is bound to step t by signed headers that name run, step, transcript and key,
by the seeds they digest, and by the key of that transcript, under which any other sum opens as noise.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sekisho.core.messages import Decline, Finish, SignedMessage
from sekisho.governance.signing.keys import demo_key
from sekisho.privacy.encryption import frame
from sekisho.privacy.encryption.aggregation import Aggregator
from sekisho.privacy.encryption.presets import PRESETS

from ..federation.books import Spent, entries
from ..federation.study_folder import SITES
from .conftest import Earlier
from .hostile import Answer, Attack, attack, parts_of, resigned

VICTIM = "hana"
PRESET = PRESETS["2x24"]
DIMENSION = 17

Outcome = Callable[[Attack, SignedMessage], bytes]


def outcome_of(attack: Attack, step: int) -> SignedMessage:
    """The honest message that carried the outcome of ``step``."""
    return attack.sent_to("ame", "step")[step]


def with_sum(message: SignedMessage, words: np.ndarray) -> bytes:
    total = frame.encode_sum(words.astype(np.uint64), preset=PRESET, dimension=DIMENSION)
    return resigned(message, parts={"sum": total})


# Each takes the honest message that opens step 3 (outcome: the sum of step 2) and returns what the victim gets.


def the_sum_of_the_step_before(ongoing: Attack, message: SignedMessage) -> bytes:
    return resigned(message, parts={"sum": outcome_of(ongoing, 1).part("sum")})


def the_whole_outcome_of_the_step_before(ongoing: Attack, message: SignedMessage) -> bytes:
    return resigned(message, parts=parts_of(outcome_of(ongoing, 1)))


def the_message_of_the_step_before(ongoing: Attack, message: SignedMessage) -> bytes:
    return outcome_of(ongoing, 1).to_bytes()


def one_header_of_the_step_before(ongoing: Attack, message: SignedMessage) -> bytes:
    old = outcome_of(ongoing, 1)
    return resigned(message, parts={name: old.part(name) for name in ("header:yuki", "seeds:yuki")})


def a_crafted_sum(ongoing: Attack, message: SignedMessage) -> bytes:
    # the one-query key recovery (test_crafted_aggregate.py): c0 = 0 and, were it accepted, c1 = 2^40
    return with_sum(message, np.zeros(PRESET.words(DIMENSION)))


def a_sum_without_one_site(ongoing: Attack, message: SignedMessage) -> bytes:
    aggregator = Aggregator(PRESET, DIMENSION)
    for site in SITES[:4]:
        sent = ongoing.sent_by(site, "frame")[1].part("frame")
        aggregator.add(site, frame.decode(sent, preset=PRESET, dimension=DIMENSION))
    return with_sum(message, aggregator.result().c0_sum)


def one_sites_share_as_the_sum(ongoing: Attack, message: SignedMessage) -> bytes:
    sent = ongoing.sent_by("yuki", "frame")[1].part("frame")
    return with_sum(message, frame.decode(sent, preset=PRESET, dimension=DIMENSION).c0)


def a_signer_missing(ongoing: Attack, message: SignedMessage) -> bytes:
    return resigned(message, body={"signers": SITES[:4]}, parts={"header:yuki": None, "seeds:yuki": None})


def a_signer_twice(ongoing: Attack, message: SignedMessage) -> bytes:
    return resigned(message, body={"signers": (*SITES[:4], "mori")})


def a_header_missing(ongoing: Attack, message: SignedMessage) -> bytes:
    return resigned(message, parts={"header:yuki": None})


def another_sites_header(ongoing: Attack, message: SignedMessage) -> bytes:
    return resigned(message, parts={"header:yuki": message.part("header:mori")})


def a_header_with_one_bit_changed(ongoing: Attack, message: SignedMessage) -> bytes:
    header = bytearray(message.part("header:yuki"))
    header[-1] ^= 1
    return resigned(message, parts={"header:yuki": bytes(header)})


def friends_header(ongoing: Attack, message: SignedMessage, **changes: object) -> bytes:
    """What a site that is the coordinator's friend would sign: its own frame's header with other fields."""
    own = ongoing.sent_by("yuki", "frame")[1]
    signed = resigned(own, body=own.body.model_copy(update=changes), key=demo_key("yuki"))
    return resigned(message, parts={"header:yuki": SignedMessage.from_bytes(signed).detached()})


def a_friends_header_under_another_key(ongoing: Attack, message: SignedMessage) -> bytes:
    return friends_header(ongoing, message, key_check="00" * 32)


def a_friends_header_of_another_view(ongoing: Attack, message: SignedMessage) -> bytes:
    return friends_header(ongoing, message, transcript="00" * 32)


def a_friends_header_of_another_step(ongoing: Attack, message: SignedMessage) -> bytes:
    return friends_header(ongoing, message, step=1)


def a_friends_header_of_another_study(ongoing: Attack, message: SignedMessage) -> bytes:
    signed = resigned(ongoing.sent_by("yuki", "frame")[1], study="other", key=demo_key("yuki"))
    return resigned(message, parts={"header:yuki": SignedMessage.from_bytes(signed).detached()})


def two_seed_lists_swapped(ongoing: Attack, message: SignedMessage) -> bytes:
    swapped = {"seeds:mori": message.part("seeds:yuki"), "seeds:yuki": message.part("seeds:mori")}
    return resigned(message, parts=swapped)


def the_victims_own_seeds_swapped(ongoing: Attack, message: SignedMessage) -> bytes:
    return resigned(message, parts={f"seeds:{VICTIM}": message.part("seeds:yuki")})


def fresh_seeds(ongoing: Attack, message: SignedMessage) -> bytes:
    return resigned(message, parts={"seeds:yuki": bytes(range(64))})


def no_seeds(ongoing: Attack, message: SignedMessage) -> bytes:
    return resigned(message, parts={"seeds:yuki": None})


def no_sum(ongoing: Attack, message: SignedMessage) -> bytes:
    return resigned(message, parts={"sum": None})


def no_outcome(ongoing: Attack, message: SignedMessage) -> bytes:
    return resigned(message, body={"previous": "none", "signers": ()}, parts=dict.fromkeys(parts_of(message)))


def a_step_left_out(ongoing: Attack, message: SignedMessage) -> bytes:
    return resigned(message, body={"step": 4})


def a_step_that_nobody_paid_for(ongoing: Attack, message: SignedMessage) -> bytes:
    return resigned(message, body={"step": 5})


def a_step_that_was_before(ongoing: Attack, message: SignedMessage) -> bytes:
    return resigned(message, body={"step": 2})


def an_end_that_is_not_due(ongoing: Attack, message: SignedMessage) -> bytes:
    return resigned(message, body=Finish(step=3, previous="summed", signers=SITES))


def an_end_of_a_step_before(ongoing: Attack, message: SignedMessage) -> bytes:
    return resigned(outcome_of(ongoing, 1), body=Finish(step=1, previous="summed", signers=SITES))


FORGED: dict[Outcome, str] = {
    the_sum_of_the_step_before: "SUM_OUT_OF_BOUNDS",
    the_whole_outcome_of_the_step_before: "MANIFEST_REPLAYED",
    the_message_of_the_step_before: "STEP_OUT_OF_ORDER",
    one_header_of_the_step_before: "MANIFEST_REPLAYED",
    a_crafted_sum: "SUM_OUT_OF_BOUNDS",
    a_sum_without_one_site: "SUM_OUT_OF_BOUNDS",
    one_sites_share_as_the_sum: "SUM_OUT_OF_BOUNDS",
    a_signer_missing: "COHORT_DIFFERS",
    a_signer_twice: "COHORT_DIFFERS",
    a_header_missing: "PART_MISSING",
    another_sites_header: "MESSAGE_FORGED",
    a_header_with_one_bit_changed: "MESSAGE_FORGED",
    a_friends_header_under_another_key: "KEY_CHECK_DIFFERS",
    a_friends_header_of_another_view: "MANIFEST_REPLAYED",
    a_friends_header_of_another_step: "MANIFEST_REPLAYED",
    a_friends_header_of_another_study: "MANIFEST_FOREIGN",
    two_seed_lists_swapped: "SEEDS_SWAPPED",
    the_victims_own_seeds_swapped: "SEEDS_SWAPPED",
    fresh_seeds: "SEEDS_SWAPPED",
    no_seeds: "PART_MISSING",
    no_sum: "PART_MISSING",
    no_outcome: "OUTCOME_MISSING",
    an_end_that_is_not_due: "MESSAGE_UNEXPECTED",
    an_end_of_a_step_before: "MESSAGE_UNEXPECTED",
    a_step_left_out: "STEP_OUT_OF_ORDER",
    a_step_that_nobody_paid_for: "STEP_BEYOND_PLAN",
    a_step_that_was_before: "STEP_OUT_OF_ORDER",
}


REFUSED_UNOPENED = [forged for forged, code in FORGED.items() if code != "SUM_OUT_OF_BOUNDS"]
OPENED_AS_NOISE = [forged for forged, code in FORGED.items() if code == "SUM_OUT_OF_BOUNDS"]


@pytest.fixture(scope="module")
def answers(signed_study: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Outcome, Answer]:
    """The victim's answer to each forged outcome in turn, and then to the honest one, in one run."""
    study = Path(shutil.copytree(signed_study, tmp_path_factory.mktemp("outcomes") / "study"))
    noted: dict[Outcome, Answer] = {}

    def change(site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
        if site == VICTIM and message.body.kind == "step" and message.body.step == 3:
            noted.update((forged, ongoing.aside(VICTIM, forged(ongoing, message))) for forged in REFUSED_UNOPENED)
        return None

    with attack(study, change, witnessed=False) as ongoing:
        # the honest outcome was still accepted after all of them, and the run is whole
        assert ongoing.result is not None and ongoing.result.state_macs_agree
        assert ongoing.books() == {site: Spent(3, 3, "closed", 3) for site in SITES}
    return noted


@pytest.mark.parametrize("forged", REFUSED_UNOPENED, ids=lambda forged: forged.__name__)
def test_an_outcome_that_is_not_this_steps(answers: dict[Outcome, Answer], forged: Outcome) -> None:
    # one code for its own people; nothing is sent, opened, applied or charged
    assert answers[forged] == Answer(FORGED[forged], kind=None, moved=())


@pytest.mark.parametrize("forged", OPENED_AS_NOISE, ids=lambda forged: forged.__name__)
def test_a_sum_that_opens_as_noise_ends_the_run_there(study: Path, forged: Outcome) -> None:
    # Whether a chosen sum stays within the bound is an answer; so there is one for a step, and none after a no.
    noted: list[Answer] = []

    def change(site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
        if site == VICTIM and message.body.kind == "step" and message.body.step == 3:
            noted.append(ongoing.aside(VICTIM, forged(ongoing, message)))
            noted.append(ongoing.aside(VICTIM, forged(ongoing, message)))
        return None

    with attack(study, change, witnessed=False) as ongoing:
        assert [(answer.code, answer.kind) for answer in noted] == [("SUM_OUT_OF_BOUNDS", None), ("RUN_UNKNOWN", None)]
        assert ongoing.federation.sites[VICTIM].state is None
        assert ongoing.refused is not None and ongoing.refused.code == "SITE_DROPPED"
        assert ongoing.started() == {site: [1, 2] for site in SITES}
        stopped = [entry["data"]["code"] for entry in entries(ongoing.federation, VICTIM, "run.stopped")]
        assert stopped[-1] == "SUM_OUT_OF_BOUNDS"


def test_one_site_that_got_a_forged_outcome_keeps_everybody_from_starting(study: Path) -> None:
    def change(site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
        if site == VICTIM and message.body.kind == "step" and message.body.step == 3:
            return the_whole_outcome_of_the_step_before(ongoing, message)
        return None

    with attack(study, change, witnessed=False) as ongoing:
        assert ongoing.fired == [(VICTIM, "step")]
        assert ongoing.code_at(VICTIM) == "MANIFEST_REPLAYED"
        assert [message.body.step for message in ongoing.sent_by(VICTIM, "ready")] == [1, 2]
        assert ongoing.refused is not None and ongoing.refused.code == "SITE_DROPPED"
        assert ongoing.started() == {site: [1, 2] for site in SITES}
        assert ongoing.books() == {site: Spent(2, 2, "closed", 2) for site in SITES}


def test_an_outcome_of_a_step_that_this_site_did_not_seal(study: Path) -> None:
    noted: list[Answer] = []

    def change(site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
        if site == VICTIM and message.body.kind == "readies" and message.body.step == 2:
            early = resigned(outcome_of(ongoing, 1), body={"step": 3})
            noted.append(ongoing.aside(VICTIM, early))
        return None

    with attack(study, change, witnessed=False) as ongoing:
        assert noted == [Answer("NOT_A_SIGNER", None)]
        assert ongoing.result is not None and ongoing.result.state_macs_agree


def test_pieces_of_another_run(earlier: Earlier) -> None:
    old = next(message for _, message in earlier.posted if message.body.kind == "step" and message.body.step == 2)
    noted: dict[str, Answer] = {}

    def change(site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
        if site != VICTIM or message.body.kind != "step":
            return None
        if message.body.step == 1:
            early = resigned(old, body={"step": 1}, run=message.header.run)
            noted["before the first step"] = ongoing.aside(VICTIM, early)
        if message.body.step == 2:
            noted["the whole message"] = ongoing.aside(VICTIM, old.to_bytes())
            for part in ("header:yuki", "seeds:yuki", "sum"):
                noted[part] = ongoing.aside(VICTIM, resigned(message, parts={part: old.part(part)}))
        return None

    with attack(earlier.study, change, witnessed=False, run="later") as ongoing:
        assert {name: (answer.code, answer.moved) for name, answer in noted.items()} == {
            "before the first step": ("OUTCOME_UNEXPECTED", ()),
            "header:yuki": ("MANIFEST_FOREIGN", ()),
            "seeds:yuki": ("SEEDS_SWAPPED", ()),
            "the whole message": ("RUN_UNKNOWN", ()),
            "sum": ("SUM_OUT_OF_BOUNDS", ("balance", "ledger", "log", "heads")),
        }
        assert ongoing.refused is not None and ongoing.refused.code == "SITE_DROPPED"


def test_a_step_that_was_told_abandoned_is_never_opened_later(study: Path) -> None:
    # All sites hear that step 2 failed, though all had sent their shares; its sum is offered to them afterwards.
    kept: dict[str, bytes] = {}

    def change(site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
        if message.body.kind == "step" and message.body.step == 3:
            kept.update(parts_of(message))
            return resigned(message, body={"previous": "abandoned", "signers": ()}, parts=dict.fromkeys(kept))
        return resigned(message, parts=kept) if message.body.kind == "finish" else None

    with attack(study, change, witnessed=False) as ongoing:
        assert {ongoing.code_at(site) for site in SITES} == {"MANIFEST_REPLAYED"}
        assert ongoing.refused is not None
        # the abandoned step was started and stays charged; the coordinator can waste budget, and that is all
        assert ongoing.books() == {site: Spent(3, 3, "closed", 3) for site in SITES}
        assert all(b'"step.opened"' not in line or b'"step":2' not in line for line in log_of(ongoing, VICTIM))


def test_readies_sent_again_get_the_same_bytes_again_and_cost_nothing(study: Path) -> None:
    answers: list[bytes] = []

    def change(site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
        if site == VICTIM and message.body.kind == "step" and message.body.step == 2:
            victim = ongoing.federation.sites[VICTIM]
            readies = ongoing.sent_to(VICTIM, "readies")[0].to_bytes()
            before = ongoing.books()[VICTIM]
            answers.extend(victim.handle(readies).to_bytes() for _ in range(2))
            answers.append(ongoing.sent_by(VICTIM, "frame")[0].to_bytes())
            assert ongoing.books()[VICTIM] == before
        return None

    with attack(study, change, witnessed=False) as ongoing:
        assert len(answers) == 3 and len(set(answers)) == 1
        assert ongoing.result is not None and ongoing.result.state_macs_agree
        # once settled, not even the same bytes
        victim = ongoing.federation.sites[VICTIM]
        declined = victim.handle(ongoing.sent_to(VICTIM, "readies")[-1].to_bytes())
        assert isinstance(declined.message.body, Decline) and declined.message.body.code == "STUDY_STATE"


def log_of(ongoing: Attack, site: str) -> list[bytes]:
    return list(ongoing.federation.sites[site].folder.log.entries())
