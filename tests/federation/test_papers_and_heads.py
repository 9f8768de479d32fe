"""What a review found open, each held by its own test: papers, parties, ledger heads, caps, hostile replies."""

from __future__ import annotations

from pathlib import Path

import pytest

from sekisho.core.engines.channel import Reply
from sekisho.core.engines.embedded import EmbeddedChannel
from sekisho.core.errors import CoreError, Refused
from sekisho.core.messages import Frame, SignedMessage, sign_message
from sekisho.core.site.budget import budget_view
from sekisho.governance.errors import Refused as GovernanceRefused
from sekisho.governance.signing.keys import demo_key

from . import study_folder
from .books import entries, open_federation
from .channels import Recording


def refusal_codes(study: Path) -> dict[str, str]:
    """Every site's refusal before anything is sent."""
    federation = open_federation(study)
    try:
        _, refused = federation.preflight("probe")
        return {site: error.code for site, error in refused.items()}
    finally:
        federation.close()


def resign_roster(study: Path, old: str, new: str) -> None:
    study_folder.change(study / "roster.yaml", old, new)
    study_folder.sign(study)


def test_another_companys_people_cannot_sign_a_sites_policy(study: Path) -> None:
    everybody = f"acts_for: [{', '.join(study_folder.SITES)}]"
    without_ame = f"acts_for: [{', '.join(study_folder.SITES[1:])}]"
    text = (study / "roster.yaml").read_text("utf-8").replace(everybody, without_ame)
    (study / "roster.yaml").write_text(text, "utf-8")
    study_folder.sign(study)
    assert refusal_codes(study) == {"ame": "POLICY_NOT_SIGNED"}


def test_the_operator_cannot_be_a_site(study: Path) -> None:
    resign_roster(study, "controller: yuki-owner", "controller: coordinator-owner")
    assert set(refusal_codes(study).values()) == {"OPERATOR_IS_A_SITE"}


def test_no_controller_holds_more_sites_than_the_noise_allows_for(study: Path) -> None:
    resign_roster(study, "controller: yuki-owner", "controller: mori-owner")
    assert set(refusal_codes(study).values()) == {"CONTROLLER_HOLDS_TOO_MANY"}


def test_the_coordinators_country_counts_as_a_destination(study: Path) -> None:
    text = (study / "roster.yaml").read_text("utf-8")
    line = next(line for line in text.splitlines() if "{id: coordinator," in line)
    resign_roster(study, line, line.replace("country: JP", "country: US"))
    assert set(refusal_codes(study).values()) == {"DESTINATION_NOT_ALLOWED"}


def test_a_requester_whom_the_roster_does_not_know_is_not_taken_as_excluded(study: Path) -> None:
    study_folder.change(study / "study.yaml", "requester: person-business", "requester: The Legal Officer")
    study_folder.sign_study(study)
    assert set(refusal_codes(study).values()) == {"APPROVED_BY_REQUESTER"}


def test_steps_that_may_fail_count_towards_the_policys_steps(study: Path) -> None:
    path = study / "sites" / "ame" / "policy.yaml"
    study_folder.change(path, "max_steps: 120", "max_steps: 4")  # the study: 4 steps and 3 that may fail
    study_folder.sign_policy(study, "ame")
    assert refusal_codes(study) == {"ame": "TOO_MANY_STEPS"}


def test_a_release_that_is_not_granted_refuses_before_the_budget_is_spent(study: Path) -> None:
    path = study / "sites" / "ame" / "policy.yaml"
    text = path.read_text("utf-8")
    path.write_text(text[: text.index("  - id: G2")], "utf-8")
    study_folder.sign_policy(study, "ame")
    codes = refusal_codes(study)
    assert set(codes) == {"ame"}
    assert codes["ame"] in {"ACTION_NOT_GRANTED"}


def test_an_approval_that_is_revoked_in_the_middle_stops_the_next_step(study: Path) -> None:
    class Revoking(Recording):
        def post(self, site: str, message: bytes, ttl: float) -> int:
            if getattr(SignedMessage.from_bytes(message).body, "step", 0) == 2:
                (study / "study.yaml.dsse.json").write_bytes((study / "roster.yaml.dsse.json").read_bytes())
            return super().post(site, message, ttl)

    federation = open_federation(study, Revoking)
    try:
        with pytest.raises(Refused) as caught:
            federation.run("probe")
        assert caught.value.code == "APPROVALS_MISSING"
        assert [entry["data"]["step"] for entry in entries(federation, "ame", "step.started")] == [1]
    finally:
        federation.close()


def test_a_view_of_the_budget_follows_no_unsigned_policy(study: Path) -> None:
    federation = open_federation(study)
    try:
        federation.run("probe")
        ledger = federation.sites["ame"].folder.ledger
        before = ledger.balance().cap, ledger.head()
        study_folder.change(study / "sites" / "ame" / "policy.yaml", 'epsilon: "27.0"', 'epsilon: "28.0"')
        budget_view(study, "ame")
        assert (ledger.balance().cap, ledger.head()) == before
    finally:
        federation.close()


class Lying(Recording):
    """A site that signs a frame which is not what it was asked for; all others are honest."""

    def __init__(self, inner: EmbeddedChannel, how: str) -> None:
        super().__init__(inner)
        self.how = how

    def poll(self) -> tuple[Reply, ...]:
        return tuple(self._lie(reply) for reply in super().poll())

    def _lie(self, reply: Reply) -> Reply:
        if reply.site != "yuki" or reply.data is None:
            return reply
        message = SignedMessage.from_bytes(reply.data)
        body = message.body
        if not isinstance(body, Frame) or body.step != 2:
            return reply
        parts = {"frame": message.part("frame")}
        if self.how == "no frame":
            parts = {}
        else:
            body = body.model_copy(update={self.how: "00" * 32})
        header = message.header
        lie = sign_message(
            body, study=header.study, run=header.run, sender="yuki", key=demo_key("yuki"), parts=parts
        )
        return Reply(reply.ticket, reply.site, lie.to_bytes())


@pytest.mark.parametrize("how", ["no frame", "transcript", "key_check"])
def test_a_site_that_lies_in_a_frame_is_named_and_the_others_go_on(study: Path, how: str) -> None:
    federation = open_federation(study, lambda channel: Lying(channel, how))
    try:
        result = federation.run("probe")
        assert [out.missing for out in result.state.outcomes if out.missing] == [("yuki",)]
        assert result.state.completed == 4
        assert result.state_macs_agree
    finally:
        federation.close()


def test_a_declined_run_leaves_no_key_and_no_reservation_behind(study: Path) -> None:
    class Withdrawn(Recording):
        def post(self, site: str, message: bytes, ttl: float) -> int:
            if getattr(SignedMessage.from_bytes(message).body, "step", 0) == 2 and site == "ame":
                (study / "stops").mkdir(exist_ok=True)
                (study / "stops" / "stop.dsse.json").write_bytes(b"not an order: unreadable is stopped")
            return super().post(site, message, ttl)

    federation = open_federation(study, Withdrawn)
    try:
        with pytest.raises((CoreError, GovernanceRefused)):
            federation.run("probe")
        assert all(site.state is None for site in federation.sites.values())
        ledgers = [site.folder.ledger for site in federation.sites.values()]
        assert {row.state for ledger in ledgers for row in ledger.balance().runs} == {"closed"}
    finally:
        federation.close()
