"""Two verifiers, two languages, two hands: the same verdict on every bundle, and every mutation is caught by both."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping

import pytest

from sekisho.governance.canonical import digest_bytes
from sekisho.governance.evidence import verifier
from sekisho.governance.log.checkpoint import Checkpoint, sign_checkpoint

from ..governance import evidence_example as example
from ..governance.test_verifier_rosters import PEOPLE, handed_on
from .bundles import Made, made
from .insiders import said_by_an_insider
from .mutations import CONTAINERS, MEMBERS, Mutation, mutated
from .second import Second

QUICK, MANY = 300, 10_000
OTHER_ROOT = "sha256:" + "1" * 64
CAUGHT = {"changed", "unusable"}


@pytest.fixture(scope="module")
def second() -> Iterator[Second]:
    process = Second()
    yield process
    process.close()


@pytest.fixture(scope="module")
def bundles() -> Mapping[str, Made]:
    return made()


def judged(second: Second, data: bytes, root: str | None = None) -> str:
    """What both say; they work at the same time."""
    second.send("verdict", data, root=root)
    first, other = verifier.verify(data, root), second.answer()
    assert (first.name, first.code) == (other["verdict"], other["exit"]), (first.details[-1:], other)
    return first.name


@pytest.mark.parametrize("kind", ["whole", "chain", "witnessed", "run", "subject"])
def test_both_verify_every_kind_of_bundle(second: Second, bundles: Mapping[str, Made], kind: str) -> None:
    data = bundles[kind].sealed()
    root = digest_bytes(bundles[kind].members["roster.yaml"])
    assert judged(second, data, root) == "verified"
    assert judged(second, data) == "consistent"
    assert judged(second, data, OTHER_ROOT) == "other-root"
    assert judged(second, data, root.upper()) == "unusable"


@pytest.mark.parametrize("data", [b"", b"PK", b"PK\x03\x04", b"no zip", verifier.write_container({}),
                                  verifier.write_container({"a": b""}), b"x" * 200 + verifier.write_container({})])
def test_both_call_the_same_things_no_bundle_at_all(second: Second, data: bytes) -> None:
    assert judged(second, data) in CAUGHT


@pytest.mark.parametrize("schema", ["sekisho-evidence/1", "sekisho-evidence/2", "sekisho-evidence/4"])
def test_evidence_of_another_form_is_unusable_to_both(second: Second, bundles: Mapping[str, Made], schema: str) -> None:
    members = verifier.read_container(bundles["whole"].sealed())
    members["manifest.json"] = members["manifest.json"].replace(verifier.SCHEMA.encode(), schema.encode())
    assert judged(second, verifier.write_container(members)) == "unusable"


def test_a_bundle_signed_wholesale_under_another_roster_is_consistent_and_not_yours(
    second: Second, bundles: Mapping[str, Made], tmp_path_factory: pytest.TempPathFactory
) -> None:
    forged = example.members(tmp_path_factory.mktemp("forged"), world="forged", runs=(example.PROBE, example.LORA))
    data = example.sealed(forged, example.key(example.HUB, "forged"))
    assert judged(second, data) == "consistent"
    assert judged(second, data, digest_bytes(bundles["whole"].members["roster.yaml"])) == "other-root"
    assert judged(second, data, digest_bytes(forged["roster.yaml"])) == "verified"


def check(second: Second, bundles: Mapping[str, Made], number: int) -> tuple[Mutation, str]:
    """One mutation of one kind of bundle: both agree, and it is caught unless it is the exporter's own word."""
    kind = sorted(bundles)[number % len(bundles)]
    mutation = mutated(bundles[kind], number)
    try:
        name = judged(second, mutation.data)
    except AssertionError as error:
        raise AssertionError(f"{kind}: {mutation.what}: {error}") from error
    assert not mutation.must or name in CAUGHT, f"{kind}: {mutation.what} is {name}"
    return mutation, name


def test_both_catch_what_is_done_to_a_bundle_and_name_the_same_verdict(
    second: Second, bundles: Mapping[str, Made]
) -> None:
    tried = [check(second, bundles, number) for number in range(QUICK)]
    words = " ".join(mutation.what for mutation, _ in tried)
    assert all(kind in words for kind in (*CONTAINERS, *MEMBERS)), "a way to change a bundle was not tried"


def agree_on_an_insider(second: Second, bundles: Mapping[str, Made], number: int) -> str:
    kind = sorted(bundles)[number % len(bundles)]
    what, data = said_by_an_insider(bundles[kind], number)
    try:
        return judged(second, data)
    except AssertionError as error:
        raise AssertionError(f"{kind}: {what}: {error}") from error


def test_both_think_the_same_of_nonsense_that_an_insider_signed(
    second: Second, bundles: Mapping[str, Made]
) -> None:
    found = Counter(agree_on_an_insider(second, bundles, number) for number in range(QUICK // 2))
    assert set(found) == {"changed", "consistent"}


@pytest.mark.proof
def test_both_think_the_same_of_much_nonsense_that_insiders_signed(
    second: Second, bundles: Mapping[str, Made]
) -> None:
    for number in range(QUICK, QUICK + MANY // 4):
        agree_on_an_insider(second, bundles, number)


@pytest.mark.proof
def test_both_agree_on_ten_thousand_mutated_bundles(second: Second, bundles: Mapping[str, Made]) -> None:
    counted: Counter[tuple[bool, str]] = Counter()
    for number in range(QUICK, QUICK + MANY):
        mutation, name = check(second, bundles, number)
        counted[mutation.must, name] += 1
    must = sum(number for (must, _), number in counted.items() if must)
    assert must > 0.7 * MANY
    assert sum(number for (must, name), number in counted.items() if must and name in CAUGHT) == must


@pytest.mark.parametrize("kind", sorted(CONTAINERS))
def test_every_way_to_pack_the_same_members_otherwise_is_caught_by_both(
    second: Second, bundles: Mapping[str, Made], kind: str
) -> None:
    members = verifier.read_container(bundles["whole"].sealed())
    for seed in range(3):
        rng = random.Random(seed)
        assert judged(second, CONTAINERS[kind](rng, dict(members))) in CAUGHT


def test_both_refuse_a_log_of_another_study_beside_those_of_this_one(
    second: Second, bundles: Mapping[str, Made]
) -> None:
    members = dict(bundles["whole"].members)
    name = "logs/kohi.checkpoint"
    head = verifier.read_note(members[name]).head
    other = Checkpoint("sekisho.example/other-study/kohi", head.size, head.root)
    members[name] = sign_checkpoint(other, example.key("kohi")).encode()
    assert judged(second, example.sealed(members, example.key(example.HUB), example.WHOLE)) == "changed"


def test_both_know_a_proof_that_an_earlier_key_of_the_party_signed_and_what_excuses_no_log(
    second: Second, bundles: Mapping[str, Made]
) -> None:
    members = dict(bundles["witnessed"].members)
    old, new = (example.key(example.HUB, world).public.to_text() for world in ("", "later"))
    members = handed_on(members, (old, new), people=PEOPLE)
    members = {name: data for name, data in members.items()
               if not name.startswith(("logs/hub", "provenance/")) and "hub" not in name}
    assert new in members["roster.yaml"].decode()
    data = example.sealed(members, example.key("kohi"), example.WHOLE)
    assert judged(second, data) == "consistent"
    assert any("convicts hub" in line for line in verifier.verify(data).details)
