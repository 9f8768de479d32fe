"""The coordinator relays every key message of a run and puts something else in: no key is agreed, no step starts.

The same attacks on the primitives alone are in test_substituted_run_secret.py; here they go through messages.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sekisho.core.messages import Join, Secret, SignedMessage, sign_message
from sekisho.core.site.state import Transcript
from sekisho.governance.signing.keys import demo_key
from sekisho.privacy.keys.runkeys import JoinKeys, JoinPublic, RunSecret, pair_key

from ..federation.books import Spent
from ..federation.study_folder import SITES
from .conftest import Earlier
from .hostile import Answer, Attack, attack, parts_of, resigned

VICTIM, LOWEST, FRIEND = "hana", "ame", "yuki"  # the friend is a site that signs what the coordinator asks for

Forge = Callable[[Attack, SignedMessage, Earlier], "bytes | None"]


def own_secret(signer: str, sender: str) -> Forge:
    """A run secret that the coordinator knows, wrapped under a key it made up."""

    def forge(ongoing: Attack, message: SignedMessage, earlier: Earlier) -> bytes:
        wrapped = RunSecret.generate().wrap(bytes(32), h0=bytes(32), sender=LOWEST, recipient=VICTIM)
        names = {"study": message.header.study, "run": message.header.run, "sender": sender}
        return sign_message(Secret(wrapped={VICTIM: wrapped.hex()}), **names, key=demo_key(signer)).to_bytes()

    return forge


def of_the_earlier_run(sender: str, kind: str) -> Forge:
    return lambda ongoing, message, earlier: earlier.sent_by(sender, kind)[0].to_bytes()


def another_message(part: str) -> Forge:
    return lambda ongoing, message, earlier: message.part(part)


def another_kind(sender: str) -> Forge:
    return lambda ongoing, message, earlier: ongoing.sent_by(sender, "join")[0].to_bytes()


def own_keys(signer: str, sender: str) -> Forge:
    """A join with the coordinator's own key pairs in it."""

    def forge(ongoing: Attack, message: SignedMessage, earlier: Earlier) -> bytes:
        public = JoinKeys.generate().public
        honest = SignedMessage.from_bytes(message.part(f"join:{sender}")).body
        assert isinstance(honest, Join)
        body = honest.model_copy(update={"x25519": public.x25519.hex(), "mlkem": public.mlkem.hex()})
        names = {"study": message.header.study, "run": message.header.run, "sender": sender}
        return sign_message(body, **names, key=demo_key(signer)).to_bytes()

    return forge


def friends_join(*, run: str = "", study: str = "", sender: str = FRIEND, **changes: object) -> Forge:
    """The friend's own join with other fields, signed with the friend's key."""

    def forge(ongoing: Attack, message: SignedMessage, earlier: Earlier) -> bytes:
        own = SignedMessage.from_bytes(message.part(f"join:{FRIEND}"))
        body = own.body.model_copy(update=changes)
        names = {"study": study or message.header.study, "run": run or message.header.run, "sender": sender}
        return sign_message(body, **names, key=demo_key(FRIEND)).to_bytes()

    return forge


def of_a_lowest_site_that_leaves_the_victim_out(field: str) -> Forge:
    """The lowest site is in it, too: its message has something for everybody but the victim."""

    def forge(ongoing: Attack, message: SignedMessage, earlier: Earlier) -> bytes:
        own = ongoing.sent_by(LOWEST, {"ciphertexts": "kem", "wrapped": "secret"}[field])[0]
        left = {site: text for site, text in getattr(own.body, field).items() if site != VICTIM}
        return resigned(own, body={field: left}, key=demo_key(LOWEST))

    return forge


def of_another_study(kind: str, sender: str) -> Forge:
    """What the site sent, as it would sign it in another study under the same run id."""

    def forge(ongoing: Attack, message: SignedMessage, earlier: Earlier) -> bytes:
        return resigned(ongoing.sent_by(sender, kind)[0], study="other", key=demo_key(sender))

    return forge


def nothing(ongoing: Attack, message: SignedMessage, earlier: Earlier) -> bytes | None:
    return None


# kind of the coordinator's message, part that is replaced, by what, the victim's code
RELAYED: dict[str, tuple[str, str, Forge, str]] = {
    "own run secret, signed by the coordinator": (
        "secrets", f"secret:{LOWEST}", own_secret("coordinator", LOWEST), "MESSAGE_FORGED"),
    "own run secret, signed by a friend": (
        "secrets", f"secret:{LOWEST}", own_secret(FRIEND, FRIEND), "MESSAGE_FORGED"),
    "run secret of an earlier run": (
        "secrets", f"secret:{LOWEST}", of_the_earlier_run(LOWEST, "secret"), "PEER_FOREIGN"),
    "another message as run secret": ("secrets", f"secret:{LOWEST}", another_kind(LOWEST), "PEER_FOREIGN"),
    "no run secret": ("secrets", f"secret:{LOWEST}", nothing, "PART_MISSING"),
    "encapsulation of an earlier run": ("kems", f"kem:{LOWEST}", of_the_earlier_run(LOWEST, "kem"), "PEER_FOREIGN"),
    "another site's encapsulation": ("kems", f"kem:{LOWEST}", another_message("kem:kaze"), "MESSAGE_FORGED"),
    "no encapsulation": ("kems", f"kem:{LOWEST}", nothing, "PART_MISSING"),
    "own keys in a join": ("cohort", f"join:{LOWEST}", own_keys("coordinator", LOWEST), "MESSAGE_FORGED"),
    "join of an earlier run": ("cohort", f"join:{LOWEST}", of_the_earlier_run(LOWEST, "join"), "JOIN_FOREIGN"),
    "own join of an earlier run": ("cohort", f"join:{VICTIM}", of_the_earlier_run(VICTIM, "join"), "JOIN_FOREIGN"),
    "another site's join": ("cohort", f"join:{LOWEST}", another_message("join:kaze"), "MESSAGE_FORGED"),
    "friend's join for another run": ("cohort", f"join:{FRIEND}", friends_join(run="other"), "JOIN_FOREIGN"),
    "friend's join for another study": ("cohort", f"join:{FRIEND}", friends_join(study="other"), "JOIN_FOREIGN"),
    "friend's encapsulations for another study": (
        "kems", f"kem:{FRIEND}", of_another_study("kem", FRIEND), "PEER_FOREIGN"),
    "run secret for another study": (
        "secrets", f"secret:{LOWEST}", of_another_study("secret", LOWEST), "PEER_FOREIGN"),
    "friend's join in another's name": ("cohort", f"join:{FRIEND}", friends_join(sender="kaze"), "JOIN_FOREIGN"),
    "friend's join to another offer": (
        "cohort", f"join:{FRIEND}", friends_join(offer="sha256:" + "0" * 64), "JOIN_FOREIGN"),
    "friend's join to another plan": (
        "cohort", f"join:{FRIEND}", friends_join(plan="sha256:" + "0" * 64), "JOIN_FOREIGN"),
    "own keys in the victim's join, signed with its stolen key": (
        "cohort", f"join:{VICTIM}", own_keys(VICTIM, VICTIM), "JOIN_FOREIGN"),
    "encapsulation for all but the victim": (
        "kems", f"kem:{LOWEST}", of_a_lowest_site_that_leaves_the_victim_out("ciphertexts"), "KEM_MISSING"),
    "run secret for all but the victim": (
        "secrets", f"secret:{LOWEST}", of_a_lowest_site_that_leaves_the_victim_out("wrapped"), "SECRET_MISSING"),
    "no join": ("cohort", f"join:{LOWEST}", nothing, "PART_MISSING"),
}


@pytest.fixture(scope="module")
def answers(earlier_run: Earlier, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Answer]:
    """The victim's answer to each forgery when its kind is due, and then to the honest message, in one run."""
    study = Path(shutil.copytree(earlier_run.study, tmp_path_factory.mktemp("relayed") / "study"))
    noted: dict[str, Answer] = {}

    def change(site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
        if site == VICTIM:
            for name, (kind, part, forge, _) in RELAYED.items():
                if kind == message.body.kind:
                    forged = resigned(message, parts={part: forge(ongoing, message, earlier_run)})
                    noted[name] = ongoing.aside(VICTIM, forged)
        return None

    with attack(study, change, witnessed=False, run="later") as ongoing:
        assert ongoing.result is not None and ongoing.result.state_macs_agree
    return noted


@pytest.mark.parametrize("name", RELAYED)
def test_something_else_among_the_key_messages(answers: dict[str, Answer], name: str) -> None:
    assert (answers[name].code, answers[name].kind) == (RELAYED[name][3], None)
    assert not {"balance", "ledger", "log"} & set(answers[name].moved)


def test_a_run_without_agreed_keys_never_starts_and_costs_nothing(study: Path) -> None:
    def change(site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
        if site == VICTIM and message.body.kind == "secrets":
            forged = own_secret("coordinator", LOWEST)(ongoing, message, None)  # type: ignore[arg-type]  # unused
            return resigned(message, parts={f"secret:{LOWEST}": forged})
        return None

    with attack(study, change, witnessed=False) as ongoing:
        assert ongoing.code_at(VICTIM) == "MESSAGE_FORGED"
        assert ongoing.refused is not None and ongoing.refused.code == "SITE_MISSING"
        assert not any(ongoing.started().values()) and ongoing.frames() == 0
        assert ongoing.books() == {site: Spent(0, 0, "closed", 0) for site in SITES}


def test_a_friend_that_shows_two_joins_splits_the_transcript_and_no_run_secret_opens(study: Path) -> None:
    # The friend's second join is genuinely signed. The victim's H0 is another, so are its pair keys, and the run secret
    # wrapped by the lowest site does not open (DESIGN 5: salt H0).
    def change(site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
        if site == VICTIM and message.body.kind == "cohort":
            forged = own_keys(FRIEND, FRIEND)(ongoing, message, None)  # type: ignore[arg-type]  # unused
            return resigned(message, parts={f"join:{FRIEND}": forged})
        return None

    with attack(study, change, witnessed=False) as ongoing:
        assert ongoing.fired == [(VICTIM, "cohort")]
        assert ongoing.code_at(VICTIM) == "RUN_SECRET_NOT_AUTHENTIC"
        assert ongoing.refused is not None and ongoing.refused.code == "SITE_MISSING"
        assert not any(ongoing.started().values()) and ongoing.frames() == 0
        assert ongoing.books() == {site: Spent(0, 0, "closed", 0) for site in SITES}


@pytest.mark.parametrize("step", [1, 2])
def test_the_key_agreement_is_not_repeated_in_the_middle_of_a_run(study: Path, step: int) -> None:
    # Were it, one run would have two run secrets, and its transcript would begin anew.
    noted: dict[str, Answer] = {}

    def change(site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
        if site in {VICTIM, LOWEST} and message.body.kind == "readies" and message.body.step == step:
            for name, data in list(ongoing.channel.posted):
                kind = SignedMessage.from_bytes(data).body.kind
                if name == site and kind in {"cohort", "kems", "secrets"}:
                    noted[f"{site}/{kind}"] = ongoing.aside(site, data)
        return None

    with attack(study, change, witnessed=False) as ongoing:
        assert set(noted.values()) == {Answer("MESSAGE_UNEXPECTED", None)} and len(noted) == 6
        assert ongoing.result is not None and ongoing.result.state_macs_agree


def test_a_step_before_the_keys_are_agreed(earlier: Earlier) -> None:
    old = next(message for _, message in earlier.posted if message.body.kind == "step")
    noted: list[Answer] = []

    def change(site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
        if site in {VICTIM, LOWEST} and message.body.kind in {"cohort", "kems", "secrets"}:
            noted.append(ongoing.aside(site, resigned(old, run=message.header.run)))
        return None

    with attack(earlier.study, change, witnessed=False, run="later") as ongoing:
        assert noted == [Answer("MESSAGE_UNEXPECTED", None)] * 6
        assert ongoing.result is not None and ongoing.result.state_macs_agree


class InTheMiddle:
    """A coordinator that shows the victim its own keys as the lowest site's, and seals its own run secret to it."""

    def __init__(self) -> None:
        self.own, self.secret = JoinKeys.generate(), RunSecret.generate()
        self.key, self.h0 = b"", b""

    def __call__(self, site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
        change = {"cohort": self._join, "kems": self._kem, "secrets": self._secret}.get(message.body.kind)
        return None if site != VICTIM or change is None else change(message, ongoing)

    def _join(self, message: SignedMessage, ongoing: Attack) -> bytes:
        honest = SignedMessage.from_bytes(message.part(f"join:{LOWEST}"))
        keys = {"x25519": self.own.public.x25519.hex(), "mlkem": self.own.public.mlkem.hex()}
        shown = resigned(message, parts={f"join:{LOWEST}": resigned(honest, body=keys)})
        joins = parts_of(SignedMessage.from_bytes(shown))
        digests = [(name.removeprefix("join:"), SignedMessage.from_bytes(data).digest) for name, data in joins.items()]
        offer = ongoing.sent_to(VICTIM, "offer")[0]
        roster = ongoing.federation.roster.fingerprint
        self.h0 = Transcript.begin(run=offer.header.run, roster=roster, offer=offer.digest, joins=digests).h0
        return shown

    def _kem(self, message: SignedMessage, ongoing: Attack) -> bytes:
        join = ongoing.sent_by(VICTIM, "join")[0].body
        assert isinstance(join, Join)
        public = JoinPublic(bytes.fromhex(join.x25519), bytes.fromhex(join.mlkem))
        ciphertext, shared = self.own.encapsulate(public)
        self.key = pair_key(self.own, public, shared, h0=self.h0, low=LOWEST, high=VICTIM)
        honest = SignedMessage.from_bytes(message.part(f"kem:{LOWEST}"))
        forged = resigned(honest, body={"ciphertexts": {VICTIM: ciphertext.hex()}})
        return resigned(message, parts={f"kem:{LOWEST}": forged})

    def _secret(self, message: SignedMessage, ongoing: Attack) -> bytes:
        wrapped = self.secret.wrap(self.key, h0=self.h0, sender=LOWEST, recipient=VICTIM)
        honest = SignedMessage.from_bytes(message.part(f"secret:{LOWEST}"))
        forged = resigned(honest, body=Secret(wrapped={VICTIM: wrapped.hex()}))
        return resigned(message, parts={f"secret:{LOWEST}": forged})


def test_a_coordinator_in_the_middle_does_not_seal_its_own_run_secret(study: Path) -> None:
    with attack(study, InTheMiddle(), witnessed=False) as ongoing:
        assert ongoing.code_at(VICTIM) == "MESSAGE_FORGED"
        assert ongoing.fired == [(VICTIM, "cohort")]
        assert not any(ongoing.started().values()) and ongoing.frames() == 0


def test_control_where_joins_are_not_verified_it_does(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SignedMessage, "verify", lambda message, key: None)
    middle, taken = InTheMiddle(), []

    def change(site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
        state = ongoing.federation.sites[VICTIM].state
        if message.body.kind == "step" and state is not None and state.run_secret is not None:
            taken.append(state.secret().to_bytes())
        return middle(site, message, ongoing)

    with attack(study, change, witnessed=False):
        assert taken[0] == middle.secret.to_bytes()
