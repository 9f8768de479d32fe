"""A site that is taken out of the roster between two runs of a study, and one whose key was exchanged for another."""

from __future__ import annotations

from pathlib import Path

import pytest

from sekisho.core.errors import CoreError
from sekisho.core.messages import SignedMessage
from sekisho.core.pilot.federation import Federation
from sekisho.governance.signing.envelope import read_envelopes, sign_statement, write_envelopes
from sekisho.governance.signing.keys import demo_key
from sekisho.governance.signing.roster import roster_statement

from ..federation import study_folder
from ..federation.books import books, open_federation
from ..federation.study_folder import SITES
from .conftest import Earlier
from .hostile import Attack, attack, resigned
from .test_roster_rollback import hand_on

GONE, NEW = "yuki", "yuki-anew"
LEFT = tuple(site for site in SITES if site != GONE)


def take_out(study: Path) -> None:
    """The next roster has no such site, and nobody acts for it."""
    lines = study_folder.roster_text().splitlines(keepends=True)
    line = next(line for line in lines if f"{{id: {GONE}," in line)
    hand_on(study, (line, ""), *[(f", {GONE}]", "]")] * 3)


def exchange_key(study: Path) -> None:
    """The next roster has another key for the site, which signs it with that; the old key lies where it lay."""
    hand_on(study, (demo_key(GONE).public.to_text(), demo_key(NEW).public.to_text()))
    path = study / "roster.yaml.dsse.json"
    statement = roster_statement(study_folder.read_roster(study), file="roster.yaml")
    own = sign_statement(statement, [demo_key(NEW)])
    path.write_bytes(write_envelopes([*read_envelopes(path.read_bytes(), name=path.name), own]))


def refusals(study: Path) -> dict[str, str]:
    federation: Federation = open_federation(study)
    try:
        spent = books(federation)
        _, refused = federation.preflight("probe")
        with pytest.raises(CoreError):
            federation.run("probe")
        assert books(federation) == spent
        return {site: error.code for site, error in refused.items()}
    finally:
        federation.close()


def test_a_study_with_a_site_that_was_taken_out_of_the_roster_runs_nowhere(earlier: Earlier) -> None:
    take_out(earlier.study)
    assert refusals(earlier.study) == dict.fromkeys(SITES, "PARTY_UNKNOWN")


@pytest.mark.proof
def test_a_site_that_holds_only_its_exchanged_key_does_not_take_part(earlier: Earlier) -> None:
    exchange_key(earlier.study)
    assert refusals(earlier.study) == {GONE: "KEY_NOT_IN_ROSTER"}


def signed_with_the_old_key(site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
    """Whoever has the old key joins in the site's name; the coordinator is a friend and hands it on."""
    if site == GONE or message.body.kind != "cohort":
        return None
    own = SignedMessage.from_bytes(message.part(f"join:{GONE}"))
    return resigned(message, parts={f"join:{GONE}": resigned(own, key=demo_key(GONE))})


def test_a_removed_key_signs_no_join(study: Path) -> None:
    exchange_key(study)
    path = study / "keys" / f"{GONE}.demo.key"
    path.unlink()
    demo_key(NEW).save(path, None)
    with attack(study, signed_with_the_old_key) as ongoing:
        assert {ongoing.code_at(site) for site in LEFT} == {"MESSAGE_FORGED"}
        assert ongoing.refused is not None and ongoing.refused.code == "SITE_MISSING"
        assert not any(ongoing.started().values())


@pytest.mark.proof
def test_control_while_it_is_in_the_roster_it_does(study: Path) -> None:
    with attack(study, signed_with_the_old_key) as ongoing:
        assert ongoing.result is not None and ongoing.result.state_macs_agree
