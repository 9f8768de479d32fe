"""A coordinator that tells sites different things: it shows before the next step starts, and nothing is charged for it.

Masks and step keys derive from the transcript, so such sites neither cancel nor open (test_replayed_step.py); here the
ready round stops them before data are touched (Pasquini, Francati, Ateniese 2022: model inconsistency).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sekisho.core.messages import Ready, SignedMessage, sign_message
from sekisho.core.pilot.protections import protections_held
from sekisho.governance.signing.keys import demo_key
from sekisho.privacy.encryption import frame
from sekisho.privacy.encryption.presets import PRESETS

from ..federation import study_folder
from ..federation.books import Spent, entries
from ..federation.study_folder import SITES, HashedFeatures
from .hostile import Answer, Attack, attack, parts_of, resigned

VICTIM = "hana"
OTHERS = tuple(site for site in SITES if site != VICTIM)
ONE_STEP = Spent(1, 1, "closed", 1)  # step 1 was honest; every later step came back at the stop


def stopped_before_step_2(ongoing: Attack) -> None:
    """Step 1 was honest; step 2 was started nowhere, charged to nobody, and no frame of it left any site."""
    assert ongoing.fired
    assert ongoing.refused is not None and ongoing.refused.code == "SITE_DROPPED"
    assert ongoing.started() == {site: [1] for site in SITES}
    assert ongoing.frames() == len(SITES)
    assert ongoing.books() == dict.fromkeys(SITES, ONE_STEP)


def shifted(message: SignedMessage, by: int) -> bytes:
    """The forwarded sum with ``by`` added to its first integer: what anybody can do to a BFV ciphertext."""
    preset = PRESETS["2x24"]
    dimension = frame.HEADER.unpack_from(message.part("sum"))[-1]
    words = frame.decode_sum(message.part("sum"), preset=preset, dimension=dimension).astype(object)
    words[0] = (int(words[0]) + by * (preset.modulus >> preset.plain_bits)) % preset.modulus
    return frame.encode_sum(words.astype(np.uint64), preset=preset, dimension=dimension)


SMALLER = tuple(site for site in SITES if site != "yuki")


def show_the_victim_a_smaller_cohort(site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
    if site != VICTIM or getattr(message.body, "step", 0) != 2:
        return None
    if message.body.kind == "step":
        return resigned(message, body={"cohort": SMALLER})
    return resigned(message, body={"cohort": SMALLER}, parts={"ready:yuki": None})


def test_another_cohort_shown_to_one_site(study: Path) -> None:
    study_folder.change(study / "study.yaml", "on_drop: stop", "on_drop: continue")
    study_folder.sign_study(study)
    with attack(study, show_the_victim_a_smaller_cohort) as ongoing:
        assert ongoing.refused is not None and ongoing.refused.code == "COHORT_TOO_SMALL"
        assert ongoing.started() == {site: [1] for site in SITES}
        assert ongoing.frames() == len(SITES)
        assert {ongoing.code_at(site) for site in SITES} == {"TRANSCRIPTS_DIFFER"}


def test_a_site_left_out_on_purpose_stops_the_run_at_the_others_own_word(study: Path) -> None:
    # `on_drop: stop` is for those who mind sums with and without one site: the coordinator's word is not enough
    def leave_yuki_out(site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
        if getattr(message.body, "step", 0) != 2 or message.body.kind != "step":
            return None
        return resigned(message, body={"cohort": SMALLER})

    with attack(study, leave_yuki_out) as ongoing:
        stopped_before_step_2(ongoing)
        assert ongoing.refused is not None and ongoing.refused.clause == "study/on_drop"


@pytest.mark.parametrize("fooled", [(VICTIM,), OTHERS], ids=["one site", "all but one site"])
def test_an_outcome_told_abandoned_to_some_and_summed_to_others(study: Path, fooled: tuple[str, ...]) -> None:
    def change(site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
        if site in fooled and message.body.kind == "step" and message.body.previous == "summed":
            nothing = dict.fromkeys(parts_of(message))
            return resigned(message, body={"previous": "abandoned", "signers": ()}, parts=nothing)
        return None

    with attack(study, change, witnessed=False) as ongoing:
        stopped_before_step_2(ongoing)
        assert {ongoing.code_at(site) for site in SITES} == {"TRANSCRIPTS_DIFFER"}


def test_another_sum_for_one_site(study: Path) -> None:
    def change(site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
        if site == VICTIM and message.body.kind == "step" and message.body.previous == "summed":
            return resigned(message, parts={"sum": shifted(message, 1000)})
        return None

    with attack(study, change, witnessed=False) as ongoing:
        stopped_before_step_2(ongoing)
        # the victim opened it, for a sum shifted by a little is a sum; so its model is another, and that shows
        victim, other = (ongoing.federation.sites[site].folder.log.entries() for site in (VICTIM, "ame"))
        assert all(any(b'"step.opened"' in line for line in lines) for lines in (victim, other))
        assert {ongoing.code_at(site) for site in SITES} == {"TRANSCRIPTS_DIFFER"}


def test_another_sum_for_one_site_at_the_very_end(study: Path) -> None:
    # After the last step no ready is left to differ; the MACs of the final states do, and the run is not called whole.
    def change(site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
        if site == VICTIM and message.body.kind == "finish":
            return resigned(message, parts={"sum": shifted(message, 1000)})
        return None

    with attack(study, change, witnessed=False) as ongoing:
        assert ongoing.fired and ongoing.result is not None
        assert not ongoing.result.state_macs_agree
        held = protections_held(ongoing.federation, ongoing.result)
        assert {name for name, yes in held.items() if not yes} == {"agreement", "opening"}
        assert ongoing.books() == {site: Spent(3, 3, "closed", 3) for site in SITES}


def test_readies_of_a_smaller_cohort_than_the_steps(study: Path) -> None:
    def change(site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
        if message.body.kind == "readies" and message.body.step == 2:
            return resigned(message, body={"cohort": SITES[:4]}, parts={f"ready:{SITES[4]}": None})
        return None

    with attack(study, change) as ongoing:
        stopped_before_step_2(ongoing)
        assert {ongoing.code_at(site) for site in SITES} == {"READIES_FOREIGN"}


Substitute = Callable[[Attack, SignedMessage], bytes | None]


def a_ready_of_the_step_before(ongoing: Attack, message: SignedMessage) -> bytes | None:
    return ongoing.sent_by("yuki", "ready")[0].to_bytes()


def a_ready_that_the_coordinator_signed(ongoing: Attack, message: SignedMessage) -> bytes | None:
    own = SignedMessage.from_bytes(message.part(f"ready:{VICTIM}")).body
    names = {"study": message.header.study, "run": message.header.run, "sender": "yuki"}
    return sign_message(own, **names, key=demo_key("coordinator")).to_bytes()


def another_sites_ready(ongoing: Attack, message: SignedMessage) -> bytes | None:
    return message.part("ready:ame")


def another_message_of_that_site(ongoing: Attack, message: SignedMessage) -> bytes | None:
    return ongoing.sent_by("yuki", "keyed")[0].to_bytes()


def a_ready_for_another_study(ongoing: Attack, message: SignedMessage) -> bytes | None:
    own = SignedMessage.from_bytes(message.part("ready:yuki"))
    return resigned(own, study="other", key=demo_key("yuki"))


def no_ready_at_all(ongoing: Attack, message: SignedMessage) -> bytes | None:
    return None


def a_ready_for_another_run(ongoing: Attack, message: SignedMessage) -> bytes | None:
    # yuki is one of the coordinator's friends and signs whatever it is asked to
    told = SignedMessage.from_bytes(message.part(f"ready:{VICTIM}")).body
    own = Ready(step=2, transcript=told.transcript, consent=told.consent)
    return sign_message(own, study=message.header.study, run="other", sender="yuki", key=demo_key("yuki")).to_bytes()


SUBSTITUTES: dict[Substitute, str] = {
    a_ready_of_the_step_before: "TRANSCRIPTS_DIFFER",
    a_ready_that_the_coordinator_signed: "MESSAGE_FORGED",
    another_sites_ready: "MESSAGE_FORGED",
    another_message_of_that_site: "READY_FOREIGN",
    a_ready_for_another_run: "READY_FOREIGN",
    a_ready_for_another_study: "READY_FOREIGN",
    no_ready_at_all: "PART_MISSING",
}


@pytest.fixture(scope="module")
def answers(signed_study: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Substitute, Answer]:
    """The victim's answer to each forged round of readies in turn, and then to the honest one, in one run."""
    study = Path(shutil.copytree(signed_study, tmp_path_factory.mktemp("readies") / "study"))
    noted: dict[Substitute, Answer] = {}

    def change(site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
        if site == VICTIM and message.body.kind == "readies" and message.body.step == 2:
            for substitute in SUBSTITUTES:
                forged = resigned(message, parts={"ready:yuki": substitute(ongoing, message)})
                noted[substitute] = ongoing.aside(VICTIM, forged)
        return None

    with attack(study, change) as ongoing:
        assert ongoing.result is not None and ongoing.result.state_macs_agree
    return noted


@pytest.mark.parametrize("substitute", SUBSTITUTES, ids=lambda substitute: substitute.__name__)
def test_something_else_in_place_of_a_ready(answers: dict[Substitute, Answer], substitute: Substitute) -> None:
    # nothing was started, charged, trained or sent; "balance" would have moved
    assert answers[substitute] == Answer(SUBSTITUTES[substitute], kind=None, moved=())


def test_a_cohort_below_the_studys_minimum_that_every_policy_would_permit(study: Path) -> None:
    study_folder.change(study / "study.yaml", "minimum_sites: 3", "minimum_sites: 4")
    study_folder.change(study / "study.yaml", "on_drop: stop", "on_drop: continue")
    study_folder.sign_study(study)
    three = SITES[:3]

    def change(site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
        if getattr(message.body, "step", 0) != 2 or site not in three:
            return None
        rest = {f"ready:{site}": None for site in SITES[3:]} if message.body.kind == "readies" else {}
        return resigned(message, body={"cohort": three}, parts=rest)

    with attack(study, change) as ongoing:
        assert ongoing.refused is not None and ongoing.refused.code == "COHORT_TOO_SMALL"
        assert ongoing.started() == {site: [1] for site in SITES}
        assert ongoing.books() == dict.fromkeys(SITES, ONE_STEP)
        # the plan has no noise for three, which is found out before the charge
        assert {ongoing.code_at(site) for site in three} == {"NO_SUCH_COHORT"}


def test_no_record_is_turned_into_features_before_all_readies_agree(study: Path) -> None:
    class Counting(HashedFeatures):
        calls = 0

        def of(self, texts: Iterable[str]) -> NDArray[np.float64]:
            Counting.calls += 1
            return super().of(texts)

    calls: list[int] = []

    def change(site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
        if site == VICTIM and message.body.kind == "readies":
            ongoing.aside(VICTIM, resigned(message, parts={"ready:yuki": None}))
            calls.append(Counting.calls)
        return None

    with attack(study, change, features=Counting()) as ongoing:
        # steps 1, 2, 3: before each site's first honest readies nobody's texts were looked at; afterwards once a site
        assert ongoing.result is not None
        assert calls == [0, len(SITES), len(SITES)]


def test_a_dropped_site_never_comes_back(study: Path) -> None:
    study_folder.change(study / "study.yaml", "on_drop: stop", "on_drop: continue")
    study_folder.sign_study(study)
    left = tuple(site for site in SITES if site != "yuki")

    def change(site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
        if message.body.kind != "step":
            return None
        if site == "yuki" and message.body.step == 2:
            return b"nothing that could be answered"  # so yuki does not deliver, and is out
        return resigned(message, body={"cohort": SITES}) if message.body.step == 4 else None

    with attack(study, change) as ongoing:
        assert [site for site, _ in ongoing.fired] == ["yuki", *left]
        assert {ongoing.code_at(site) for site in left} == {"COHORT_DIFFERS"}
        assert ongoing.refused is not None and ongoing.refused.code == "COHORT_TOO_SMALL"
        # step 2 fell before its readies came round, step 3 was the four's, step 4 was started by nobody
        assert ongoing.started() == {site: [1] if site == "yuki" else [1, 3] for site in SITES}
        assert ongoing.frames() == len(SITES) + len(left)
        assert all(ongoing.books()[site] == Spent(2, 2, "closed", 2) for site in left)


def test_a_cohort_that_no_step_can_have(study: Path) -> None:
    cohorts = {
        "without this site": OTHERS,
        "one site twice": ("ame", "ame", "hana", "kaze"),
        "out of order": ("hana", "ame", "kaze"),
        "with a stranger": ("ame", "hana", "stranger"),
        "with the coordinator": ("ame", "coordinator", "hana"),
        "of nobody": (),
    }
    noted: dict[str, Answer] = {}
    study_folder.change(study / "study.yaml", "on_drop: stop", "on_drop: continue")
    study_folder.sign_study(study)

    def change(site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
        if site == VICTIM and message.body.kind == "step" and message.body.step == 2:
            for name, cohort in cohorts.items():
                noted[name] = ongoing.aside(VICTIM, resigned(message, body={"cohort": cohort}))
            noted["of two"] = ongoing.aside(VICTIM, resigned(message, body={"cohort": ("ame", "hana")}))
        return None

    with attack(study, change) as ongoing:
        for name in cohorts:
            assert noted[name] == Answer("COHORT_DIFFERS", kind=None, moved=())
        # two are an ordered part of the last cohort, but none that hides anybody: the site's own policy declines
        # and gives back what was never started
        assert noted["of two"] == Answer(None, kind="decline", moved=("balance", "ledger", "log"))
        (refused,) = entries(ongoing.federation, VICTIM, "decision.refuse")
        assert refused["data"] == {"codes": ["COHORT_TOO_SMALL"]}
