"""A claim about another's ledger is believed when T+1 others make it: one liar stops nobody, a witnessed head does."""

from __future__ import annotations

from pathlib import Path

import pytest

from sekisho.core.errors import Refused
from sekisho.core.messages import LedgerHeadSeen
from sekisho.core.pilot.federation import Federation
from sekisho.core.site import joining
from sekisho.core.site.heads import NEVER_HAD, Claim, SeenHeads, answers, judge_own, judge_peer

from .books import entries, open_federation
from .history import VICTIM, History, ended

MAC, OTHER_MAC = "ab" * 32, "cd" * 32
FAR = 10_000


class Lying(SeenHeads):
    """What a site keeps of others' heads, if its software says in joins that it saw the victim's ledger far ahead."""

    def seen(self) -> dict[str, LedgerHeadSeen]:
        return super().seen() | {VICTIM: head(FAR)}

    def check_join(self, site: str, head: LedgerHeadSeen) -> None:
        """It does not believe it itself."""

    def remember(self, heads: object) -> None:
        """Nor does it keep anything."""


def make_liars(federation: Federation, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    judged = joining.judge_peer
    monkeypatch.setattr(
        joining, "judge_peer", lambda own, *rest, **named: None if own in names else judged(own, *rest, **named)
    )
    for name in names:
        folder = federation.sites[name].folder
        folder.heads = Lying(folder.study_folder / "sites" / name / "state" / "heads.json", name)


def test_one_liar_stops_nobody_and_is_named_in_the_log(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    federation = open_federation(history.study)
    try:
        make_liars(federation, monkeypatch, "mori")
        assert federation.run("probe").state.completed == 1
        (disputed,) = entries(federation, VICTIM, "ledger.disputed")
        assert disputed["data"] == {"code": "HEAD_DISPUTED", "witnesses": ["mori"], "entries": [FAR]}
    finally:
        federation.close()


def test_more_liars_than_the_noise_allows_for_can_stop_a_site(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit of it, said in the threats: T+1 that collude are more than anything here withstands."""
    federation = open_federation(history.study)
    try:
        make_liars(federation, monkeypatch, "mori", "yuki")
        with pytest.raises(Refused) as caught:
            federation.run("probe")
        assert (caught.value.code, caught.value.site) == ("LEDGER_BEHIND", VICTIM)
        assert ended(federation)[VICTIM] == "LEDGER_BEHIND"
        assert {row.state for row in federation.sites[VICTIM].folder.ledger.balance().runs} == {"closed"}
    finally:
        federation.close()


# --- the rules, without a federation ----------------------------------------------------------------------------------


def head(entries: int, mac: str = MAC) -> LedgerHeadSeen:
    return LedgerHeadSeen(entries=entries, mac=mac)


def claim(witness: str, entries: int, mac: str = MAC, controller: str = "") -> Claim:
    return Claim(witness, controller or f"{witness}-owner", head(entries, mac))


def had(entries: int) -> str | None:
    """A ledger that is at nine entries, each with the same MAC."""
    return MAC if entries <= 9 else None


def own(*claims: Claim, observers: int = 1) -> tuple[Claim, ...]:
    return judge_own("a", claims, controller="a-owner", entries=9, head_at=had, observers=observers)


def code(*claims: Claim, observers: int = 1) -> str:
    with pytest.raises(Refused) as caught:
        own(*claims, observers=observers)
    return caught.value.code


def test_of_three_sites_both_others_must_have_seen_it() -> None:
    assert own() == own(claim("b", 9), claim("c", 3)) == ()
    assert own(claim("b", 12), claim("c", 9)) == (claim("b", 12),)
    assert code(claim("b", 12), claim("c", 10)) == "LEDGER_BEHIND"
    assert code(claim("b", 9, OTHER_MAC), claim("c", 8, OTHER_MAC)) == "LEDGER_FORKED"
    assert code(claim("b", 9, OTHER_MAC), claim("c", 12)) == "LEDGER_BEHIND"


def test_more_observers_need_more_witnesses() -> None:
    three = [claim(name, 12) for name in "bcd"]
    assert code(*three, observers=2) == "LEDGER_BEHIND"
    assert own(*three[:2], observers=2) == tuple(three[:2])


def test_two_sites_under_one_controller_are_one_witness_and_the_own_controller_is_none() -> None:
    for controller in ("x-owner", "a-owner"):
        claims = claim("b", 12, controller=controller), claim("c", 12, controller=controller)
        assert own(*claims) == claims
    assert code(claim("b", 12, controller="x"), claim("c", 12, controller="x"), claim("d", 12)) == "LEDGER_BEHIND"
    assert own(claim("b", 12, controller="a-owner"), claim("c", 12)) != ()


def peer(*claims: Claim, joined: int = 9, answered: dict[str, str]) -> None:
    judge_peer(
        "b", "a", claims, controller="a-owner", joined=head(joined), answered=answered, observers=1
    )


def test_a_site_believes_its_own_eyes_and_of_others_t_plus_one() -> None:
    peer(claim("b", 9), claim("c", 3), answered={"b": MAC, "c": MAC})
    peer(claim("b", 9), claim("c", 12), answered={"b": MAC, "c": NEVER_HAD})  # c alone may lie
    refused = (
        ((claim("b", 8),), {"b": OTHER_MAC}),
        ((claim("b", 8),), {}),
        ((claim("b", 12),), {"b": MAC}),  # at more entries than its own join says
        ((claim("c", 8), claim("d", 7)), {"c": NEVER_HAD, "d": OTHER_MAC}),
    )
    for claims, answered in refused:
        with pytest.raises(Refused) as caught:
            peer(*claims, answered=answered)
        assert caught.value.code == "PEER_LEDGER_FORKED"


def test_answers_say_what_the_ledger_had() -> None:
    assert answers((claim("b", 9, OTHER_MAC), claim("c", 12)), had) == {"b": MAC, "c": NEVER_HAD}


def test_heads_seen_only_go_forward(tmp_path: Path) -> None:
    heads = SeenHeads(tmp_path / "heads.json", "b")
    heads.remember({"a": head(9), "b": head(4)})
    assert heads.seen() == {"a": head(9)}  # of its own ledger it knows itself
    heads.remember({"a": head(9)})
    for wrong, expected in ((head(8), "PEER_LEDGER_ROLLED_BACK"), (head(9, OTHER_MAC), "PEER_LEDGER_FORKED")):
        for act in (lambda: heads.remember({"c": head(1), "a": wrong}), lambda: heads.check_join("a", wrong)):
            with pytest.raises(Refused) as caught:
                act()
            assert caught.value.code == expected
    assert heads.seen() == {"a": head(9)}
    heads.remember({"a": head(10, OTHER_MAC)})
    assert heads.seen()["a"] == head(10, OTHER_MAC)
