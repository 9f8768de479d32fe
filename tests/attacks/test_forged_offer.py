"""Offers that no honest coordinator makes: refused before a record is read, with nothing reserved and nothing sent.

Each is handed to one site of a real federation that has no run open; its ledger must not know of any run afterwards.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sekisho.core.messages import Offer, SignedMessage, Stop, sign_message
from sekisho.core.pilot.federation import Federation
from sekisho.governance.signing.keys import SigningKey, demo_key

from ..federation.books import Spent, books, entries, open_federation
from ..federation.study_folder import SITES
from .conftest import Earlier
from .hostile import Answer, Attack, attack, resigned

VICTIM = "hana"
STUDY = "small-study"


@pytest.fixture(scope="module")
def federation(signed_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """Only refused offers reach it, so nothing in it may move."""
    federation = open_federation(Path(shutil.copytree(signed_study, tmp_path_factory.mktemp("forged") / "study")))
    yield federation
    assert books(federation) == {site: Spent(0, 0, "none", 0.0) for site in SITES}
    assert not any(entries(federation, site, "budget.reserved") for site in SITES)
    federation.close()


def offer_of(federation: Federation) -> Offer:
    return federation.offer("probe")[0]


def signed(
    offer: Offer, *, key: SigningKey | None = None, study: str = STUDY, sender: str = "coordinator", run: str = "r"
) -> bytes:
    return sign_message(offer, study=study, run=run, sender=sender, key=key or demo_key("coordinator")).to_bytes()


def answer_of(federation: Federation, data: bytes) -> Answer:
    """The victim's answer; its log may grow by the refusal, nothing else may move."""
    return Attack(federation, None).aside(VICTIM, data)  # type: ignore[arg-type]  # no channel: nothing else is sent


def with_plan(offer: Offer, **changes: object) -> Offer:
    return offer.model_copy(update={"plan": {**offer.plan, **changes}})


def less_noise(offer: Offer) -> Offer:
    table = offer.plan["share_variances"]
    assert isinstance(table, list)
    return with_plan(offer, share_variances=[[size, variance // 4] for size, variance in table])


def one_variance_less(offer: Offer) -> Offer:
    table = offer.plan["share_variances"]
    assert isinstance(table, list)
    return with_plan(offer, share_variances=[*table[:-1], [table[-1][0], table[-1][1] - 1]])


FORGED_PLANS: dict[str, tuple[Callable[[Offer], Offer], str]] = {
    "less noise": (less_noise, "PLAN_DIFFERS"),
    "one unit less noise, in the smallest cohort": (one_variance_less, "PLAN_DIFFERS"),
    "no observers": (lambda offer: with_plan(offer, observers=0), "BAD_PLAN"),
    "fewer sites at least": (lambda offer: with_plan(offer, minimum_sites=2), "BAD_PLAN"),
    "one more step": (lambda offer: with_plan(offer, steps=4), "PLAN_DIFFERS"),
    "a larger allowance": (lambda offer: with_plan(offer, allowance=9), "PLAN_DIFFERS"),
    "a larger epsilon": (lambda offer: with_plan(offer, epsilon="8"), "PLAN_DIFFERS"),
    "a longer vector of each subject": (lambda offer: with_plan(offer, clipping_norm="0.8"), "PLAN_DIFFERS"),
    "a finer grid": (lambda offer: with_plan(offer, grid=1), "PLAN_DIFFERS"),
    "more records of each subject": (lambda offer: with_plan(offer, records_per_subject=16), "PLAN_DIFFERS"),
    "sums rotated, though the rule does not": (lambda offer: with_plan(offer, preset="2x24-rotated"), "PLAN_DIFFERS"),
    "another unit": (lambda offer: with_plan(offer, unit="record"), "PLAN_DIFFERS"),
    "an extra field": (lambda offer: with_plan(offer, privacy="off"), "BAD_PLAN"),
    "no plan at all": (lambda offer: offer.model_copy(update={"plan": {}}), "BAD_PLAN"),
}


@pytest.mark.parametrize("name", FORGED_PLANS)
def test_a_plan_that_the_studys_figures_do_not_give(federation: Federation, name: str) -> None:
    forge, code = FORGED_PLANS[name]
    honest = offer_of(federation)
    forged = forge(honest)
    assert forged != honest
    declined = len(entries(federation, VICTIM, "control.told"))
    assert answer_of(federation, signed(forged)) == Answer(None, "decline", moved=("log",))
    assert entries(federation, VICTIM, "run.stopped")[-1]["data"] == {"code": code}
    # a code is all that left, through the gate, and logged
    assert len(entries(federation, VICTIM, "control.told")) == declined + 1


FOREIGN_OFFERS: dict[str, dict[str, object]] = {
    "another study": {"study_bytes": "sha256:" + "1" * 64},
    "another roster": {"roster": "sha256:" + "2" * 64},
    "other weights": {"base_model": "sha256:" + "3" * 64},
    "fewer sites": {"sites": SITES[:3]},
    "a stranger among the sites": {"sites": (*SITES[:4], "zz-stranger")},
    "the same sites in another order": {"sites": tuple(reversed(SITES))},
    "a method that was not approved": {"method": "lora"},
}


@pytest.mark.parametrize("name", FOREIGN_OFFERS)
def test_an_offer_about_other_papers(federation: Federation, name: str) -> None:
    forged = offer_of(federation).model_copy(update=FOREIGN_OFFERS[name])
    assert answer_of(federation, signed(forged)) == Answer(None, "decline", moved=("log",))
    assert entries(federation, VICTIM, "run.stopped")[-1]["data"] == {"code": "OFFER_FOREIGN"}


def test_an_offer_that_the_coordinators_key_did_not_sign(federation: Federation) -> None:
    offer = offer_of(federation)
    for key in (SigningKey.generate(), demo_key("yuki"), demo_key(VICTIM), demo_key("person-legal")):
        assert answer_of(federation, signed(offer, key=key)) == Answer("MESSAGE_FORGED", None)


def test_a_site_in_the_coordinators_place(federation: Federation) -> None:
    offer = offer_of(federation)
    assert answer_of(federation, signed(offer, key=demo_key("yuki"), sender="yuki")) == Answer("MESSAGE_FORGED", None)
    assert answer_of(federation, signed(offer, sender="yuki")) == Answer("MESSAGE_FOREIGN", None)


def test_an_offer_of_another_study_of_the_same_coordinator(federation: Federation) -> None:
    assert answer_of(federation, signed(offer_of(federation), study="other-study")) == Answer("MESSAGE_FOREIGN", None)


def test_an_offer_changed_on_the_way(federation: Federation) -> None:
    data = signed(offer_of(federation))
    assert answer_of(federation, data.replace(b'"observers":1', b'"observers":0')) == Answer("MESSAGE_FORGED", None)
    assert answer_of(federation, data + b"\0") == Answer("MESSAGE_MALFORMED", None)
    assert answer_of(federation, b"") == Answer("MESSAGE_MALFORMED", None)


@pytest.mark.parametrize("kind", ["step", "readies", "finish", "cohort", "kems", "secrets"])
def test_a_message_of_a_run_that_was_never_offered(federation: Federation, earlier_run: Earlier, kind: str) -> None:
    old = next(message for site, message in earlier_run.posted if message.body.kind == kind and site == VICTIM)
    assert answer_of(federation, old.to_bytes()) == Answer("RUN_UNKNOWN", None)


def test_a_stop_of_a_run_that_was_never_offered(federation: Federation) -> None:
    # nothing is left to do, and saying so moves nothing but the log
    stop = sign_message(Stop(code="X"), study=STUDY, run="r", sender="coordinator", key=demo_key("coordinator"))
    assert answer_of(federation, stop.to_bytes()) == Answer(None, "stopped", moved=("log",))


def test_an_old_offer_replayed(earlier: Earlier) -> None:
    # the run of that name was reserved, run and closed: it is never reserved again
    old = next(message for _, message in earlier.posted if message.body.kind == "offer")
    federation = open_federation(earlier.study)
    try:
        assert answer_of(federation, old.to_bytes()) == Answer("RUN_EXISTS", None)
        assert books(federation)[VICTIM] == Spent(3, 3, "closed", 3)
    finally:
        federation.close()


def test_a_second_offer_while_a_run_is_open(study: Path) -> None:
    noted: list[Answer] = []

    def change(site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
        if site == VICTIM and message.body.kind == "step" and message.body.step == 2:
            offer = next(SignedMessage.from_bytes(data) for _, data in ongoing.channel.posted)
            noted.append(ongoing.aside(VICTIM, offer.to_bytes()))
            noted.append(ongoing.aside(VICTIM, resigned(offer, run="another")))
        return None

    with attack(study, change) as ongoing:
        assert noted == [Answer("RUN_OPEN", None), Answer("RUN_OPEN", None)]
        assert ongoing.result is not None and ongoing.result.state_macs_agree


def test_one_site_is_offered_another_plan_than_the_rest(study: Path) -> None:
    def change(site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
        if site == VICTIM and isinstance(message.body, Offer):
            return resigned(message, body=less_noise(message.body))
        return None

    with attack(study, change) as ongoing:
        assert ongoing.refused is not None
        assert (ongoing.refused.code, ongoing.refused.site) == ("PLAN_DIFFERS", VICTIM)
        # those that had joined get everything back
        assert ongoing.books()[VICTIM] == Spent(0, 0, "none", 0.0)
        assert all(spent.charged == 0 and spent.started == 0 for spent in ongoing.books().values())


def test_one_site_is_offered_another_run_than_the_rest(study: Path) -> None:
    def change(site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
        return resigned(message, run="another") if site == VICTIM and message.body.kind == "offer" else None

    with attack(study, change) as ongoing:
        assert ongoing.refused is not None and ongoing.refused.code == "SITE_MISSING"
        assert not any(ongoing.started().values())
        assert all(ongoing.books()[site] == Spent(0, 0, "closed", 0) for site in SITES if site != VICTIM)
