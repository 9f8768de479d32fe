"""A site that is killed goes on with its run, and answers the same message with the same bytes.

Kills come between any two durable writes of a message, some of them by a signal to a process (test_site_processes.py).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sekisho.core import parties
from sekisho.core.errors import CoreError, ProtocolError, Refused
from sekisho.core.messages import SignedMessage
from sekisho.core.pilot.evidence import export_evidence
from sekisho.core.pilot.federation import Federation
from sekisho.core.site import keeping
from sekisho.core.site.keeping import BEGUN, KEYS, OPENING, PLACE, STATE, CannotResumeError
from sekisho.core.site.resuming import leave_to_agent
from sekisho.core.site.site import Site
from sekisho.governance.evidence import verifier

from ..attacks.hostile import resigned
from . import study_folder, validated
from .books import Spent, books, open_federation
from .outages import THREE, VICTIM, Cuts, Reposting, document, hall, kept, opened_by, reopened, steps, told

STEPS = 2


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return study_folder.build(tmp_path_factory.mktemp("resumes") / "study", steps=STEPS, allowance=1, sites=THREE)


@pytest.fixture
def study(signed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(signed, tmp_path / "study"))


def after_agreement(kind: str, write: str, times: int) -> bool:
    return kind in {"step", "readies", "count", "judge", "finish", "open after finish"}


def verified(study: Path, out: Path) -> str:
    """What the stand-alone verifier says of everything in the study's logs."""
    bundle = export_evidence(study, out)
    return verifier.verify(out.read_bytes(), bundle.root).name


def test_killed_after_every_write_of_every_message_it_ends_as_if_it_never_was(study: Path, tmp_path: Path) -> None:
    cuts = Cuts(study, after_agreement)
    with cuts.installed(), hall(study, before=cuts.before, opens=cuts.opens) as (federation, channel):
        result = federation.run("probe", run="killed")
        assert channel.failures == []
        assert result.state_macs_agree and result.state.completed == STEPS and result.state.abandoned == 0
        assert books(federation) == dict.fromkeys(THREE, Spent(STEPS, STEPS, "closed", STEPS))
        folder = federation.sites[VICTIM].folder
        for kind in ("step.started", "step.disclosed", "step.opened"):
            assert steps(folder, kind) == [1, 2], kind
        assert len(told(folder, "run.finished")) == 1 and not told(folder, "run.stopped")
        # each answer that came out was the only one to its message
        assert all(len(answers) == 1 for answers in channel.answers.values())
        states = {site.state.optimizer.digest() for site in federation.sites.values() if site.state is not None}
        assert len(states) == 1
    # it was killed at each of these, and no two steps or messages are alike in what they write
    places = {(kind, write) for kind, write, _ in cuts.seen}
    assert places >= EVERYWHERE, EVERYWHERE - places
    assert kept(study) == {".json", ".arrays", ".begun", ".opening"}  # no keys
    assert verified(study, tmp_path / "evidence.zip") == "verified"


EVERYWHERE = {
    ("step", "witness"), ("step", "file:heads.json"), ("step", "file:.opening"), ("step", "ledger:settle"),
    ("step", "log:step.opened"), ("step", "log:consent.snapshot"), ("step", "log:control.told"),
    ("step", "file:.arrays"), ("step", "file:.json"),
    ("readies", "witness"), ("readies", "ledger:start"), ("readies", "log:step.started"), ("readies", "reach:stay"),
    ("readies", "ledger:disclose"), ("readies", "log:step.disclosed"), ("readies", "file:.json"),
    ("finish", "file:.opening"), ("finish", "reach:finish"), ("finish", "file:.json"),
    ("open after finish", "ledger:close"), ("open after finish", "log:budget.settled"),
    ("open after finish", "log:run.finished"), ("open after finish", "gone:.keys"),
}  # fmt: skip


@pytest.mark.proof
def test_a_run_whose_blocks_are_judged_goes_on_after_kills_in_every_count(tmp_path: Path) -> None:
    study = validated.build(
        tmp_path / "study", every=1, steps=1, allowance=1, sites=THREE, subjects=120, declared=120, least="0.0"
    )
    cuts = Cuts(study, lambda kind, write, times: kind in {"count", "readies", "judge", "finish"})
    with cuts.installed(), hall(study, before=cuts.before, opens=cuts.opens) as (federation, channel):
        result = federation.run("probe", run="killed")
        assert channel.failures == [] and result.state_macs_agree
        victim, other = (federation.sites[name] for name in (VICTIM, "ame"))
        assert victim.state is not None and other.state is not None
        assert victim.state.validations == other.state.validations and len(victim.state.validations) >= 2
        assert victim.state.optimizer.digest() == other.state.optimizer.digest()
        assert victim.state.history == other.state.history
        rows = {("/" in row.run): row for row in victim.folder.ledger.balance().runs}
        assert (rows[False].started, rows[False].disclosed) == (1, 1)
        assert rows[True].started == rows[True].disclosed == len(victim.state.validations)
        counts = len(victim.state.validations)
        for kind in ("counts.disclosed", "validation.opened"):
            assert len(told(victim.folder, kind)) == counts, kind
        writes = {write for _, write, _ in cuts.seen}
        assert writes >= {"ledger:start", "ledger:disclose", "log:counts.disclosed", "log:validation.opened"}


# --- the same message again -------------------------------------------------------------------------------------------


def test_each_message_again_is_answered_with_the_same_bytes_also_after_a_restart(study: Path) -> None:
    asked: list[str] = []
    with hall(study) as (federation, channel):

        def again(site: str, message: SignedMessage, answer: bytes) -> None:
            if site != VICTIM:
                return
            kind, data = message.body.kind, message.to_bytes()
            assert federation.sites[site].handle(data).to_bytes() == answer, kind
            if kind not in {"offer", "cohort", "kems"}:  # before keys are agreed a run that is cut off is over
                channel.revive(site)
                assert federation.sites[site].handle(data).to_bytes() == answer, kind
            asked.append(kind)

        channel.after = again
        result = federation.run("probe")
        assert result.state_macs_agree and books(federation)[VICTIM] == Spent(STEPS, STEPS, "closed", STEPS)
        folder = federation.sites[VICTIM].folder
        assert steps(folder, "step.started") == steps(folder, "step.disclosed") == [1, 2]
        (finished,) = told(folder, "run.finished")
        assert finished.data == {"step": STEPS, "completed": STEPS}
    assert asked == ["offer", "cohort", "kems", "secrets", *["step", "readies"] * STEPS, "finish"]


def test_a_refusal_is_its_last_word_also_after_a_restart(study: Path) -> None:
    with hall(study) as (federation, channel):

        def policy_taken_away(site: str, message: SignedMessage) -> None:
            if (site, message.body.kind, getattr(message.body, "step", 0)) == (VICTIM, "step", 2):
                study_folder.change(study / "sites" / VICTIM / "policy.yaml", "version: 1", "version:  1")

        channel.before = policy_taken_away
        with pytest.raises(Refused) as refusal:
            federation.run("probe")
        assert (refusal.value.code, refusal.value.site) == ("POLICY_SUPERSEDED", VICTIM)
        assert KEYS not in kept(study)
        (declined,) = [
            (digest, next(iter(answers))) for (site, digest), answers in channel.answers.items()
            if site == VICTIM and b'"kind":"decline"' in next(iter(answers))
        ]  # fmt: skip
        study_folder.change(study / "sites" / VICTIM / "policy.yaml", "version:  1", "version: 1")
        channel.revive(VICTIM)
        asked = next(data for data in channel.heard if SignedMessage.from_bytes(data).digest == declined[0])
        assert federation.sites[VICTIM].handle(asked).to_bytes() == declined[1]
        assert federation.sites[VICTIM].state is None


def test_a_refused_offer_leaves_what_the_run_before_it_came_to(study: Path) -> None:
    finish: list[tuple[bytes, bytes]] = []

    def noted(site: str, message: SignedMessage, answer: bytes) -> None:
        if (site, message.body.kind) == (VICTIM, "finish"):
            finish.append((message.to_bytes(), answer))

    with hall(study, after=noted) as (federation, channel):
        federation.run("probe", run="first")
        study_folder.change(study / "sites" / VICTIM / "policy.yaml", "version: 1", "version:  1")
        with pytest.raises(Refused):
            federation.run("probe", run="second")
        study_folder.change(study / "sites" / VICTIM / "policy.yaml", "version:  1", "version: 1")
        channel.revive(VICTIM)
        site = federation.sites[VICTIM]
        assert len(told(site.folder, "run.finished")) == len(told(site.folder, "budget.settled")) == 1
        assert site.state is not None and site.state.run == "first" and site.state.completed == STEPS
        ((asked, answer),) = finish
        assert site.handle(asked).to_bytes() == answer


def test_an_offer_in_a_run_cannot_end_it_on_the_disk_and_leave_its_keys_there(study: Path) -> None:
    """A refusal ends a run. Of an offer with a forged stop order beside it, it must not be the run that is open."""
    offer: list[SignedMessage] = []

    def noted(site: str, message: SignedMessage, answer: bytes) -> None:
        if site == VICTIM and message.body.kind == "offer":
            offer.append(message)
        if (site, message.body.kind, getattr(message.body, "step", 0)) == (VICTIM, "readies", 1):
            with pytest.raises(ProtocolError) as refusal:
                federation.sites[VICTIM].handle(resigned(offer[0], parts={"stops:1": b"no order"}, run="another"))
            assert refusal.value.code == "RUN_OPEN"
            assert document(study)["going_on"]["ended"] == ""
            channel.revive(VICTIM)
            assert federation.sites[VICTIM].handle(message.to_bytes()).to_bytes() == answer

    with hall(study, after=noted) as (federation, channel):
        assert federation.run("probe").state_macs_agree
    assert KEYS not in kept(study)


@pytest.mark.proof
def test_killed_anywhere_in_a_refusal_it_refuses_all_the_same(study: Path) -> None:
    def too_few(site: str, message: SignedMessage) -> bytes | None:
        asked = (site, message.body.kind, getattr(message.body, "step", 0))
        return resigned(message, body={"cohort": ("ame", VICTIM)}) if asked == (VICTIM, "step", 2) else None

    cuts = Cuts(study, lambda kind, write, times: kind == "step" and document_step(study) == 1)
    with cuts.installed(), hall(study, before=cuts.before, opens=cuts.opens, change=too_few) as (federation, channel):
        with pytest.raises(Refused):
            federation.run("probe")
        assert {write for _, write, _ in cuts.seen} >= {"log:decision.refuse", "log:run.stopped", "gone:.keys"}
        frames = [one for (site, _), answers in channel.answers.items() if site == VICTIM for one in answers
                  if SignedMessage.from_bytes(one).body.kind == "frame"]  # fmt: skip
        assert len(frames) == 1  # of step 1
        assert books(federation)[VICTIM] == Spent(1, 1, "closed", 1)
        assert not kept(study) & {KEYS, BEGUN, OPENING}
        assert told(federation.sites[VICTIM].folder, "run.stopped")


def test_what_could_not_be_kept_is_not_handed_out_and_has_moved_nothing(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_whole, failed, asked = parties.write_whole, [], [("", "", 0)]

    def full(path: Path, *rest: object, **more: object) -> None:
        begins = asked[0] in {(VICTIM, "readies", 1), (VICTIM, "step", 2)} and failed.count(asked[0]) < 2
        if begins and path.name == "full.json" and VICTIM in path.parts:
            failed.append(asked[0])
            raise OSError(28, "No space left on device")
        write_whole(path, *rest, **more)  # type: ignore[arg-type]

    def before(site: str, message: SignedMessage) -> None:
        asked[0] = (site, message.body.kind, getattr(message.body, "step", 0))

    monkeypatch.setattr(parties, "write_whole", full)
    with hall(study, before=before, tries=3) as (federation, channel):
        result = federation.run("probe", run="full")
        assert [error.code for error in channel.failures] == ["STATE_UNWRITABLE"] * 4
        assert result.state_macs_agree and result.state.abandoned == 0
        folder = federation.sites[VICTIM].folder
        for kind in ("step.started", "step.disclosed", "step.opened"):
            assert steps(folder, kind) == [1, 2], kind


def document_step(study: Path) -> int:
    found: int = document(study)["going_on"]["step"]
    return found


# --- one sum a place --------------------------------------------------------------------------------------------------


@contextmanager
def killed(study: Path, kind: str, write: str, *, step: int = 1) -> Iterator[tuple[Federation, Reposting, bytes]]:
    """A run that was cut off: the site is gone, and the message that it was at."""
    cuts = Cuts(study, lambda its, its_write, times: (its, its_write) == (kind, write) and document_step(study) == step)
    with hall(study, before=cuts.before, opens=cuts.opens) as (federation, channel):
        channel.revive = lambda site: stop()  # type: ignore[method-assign]

        def stop() -> None:
            raise KeyboardInterrupt

        with cuts.installed(), pytest.raises(KeyboardInterrupt):
            federation.run("probe", run="killed")
        del channel.revive  # type: ignore[method-assign]
        yield federation, channel, channel.heard[-1]


def test_after_a_restart_no_other_sum_of_the_step_is_opened(study: Path) -> None:
    with killed(study, "step", "file:.opening") as (federation, channel, message):
        channel.revive(VICTIM)
        site = federation.sites[VICTIM]
        other = resigned(SignedMessage.from_bytes(message), parts={"another": b"message"})
        with pytest.raises(ProtocolError) as refusal:
            site.handle(other)
        assert refusal.value.code == "OPENED_ALREADY"
        # and the run is over here: nothing of it can be opened any more
        assert site.state is None and KEYS not in kept(study)
        assert told(site.folder, "run.stopped")[-1].data == {"code": "OPENED_ALREADY"}


def test_control_before_it_was_noted_another_message_of_the_same_sum_is_opened(study: Path) -> None:
    with killed(study, "step", "file:heads.json") as (federation, channel, message):
        channel.revive(VICTIM)
        other = resigned(SignedMessage.from_bytes(message), parts={"another": b"message"})
        assert federation.sites[VICTIM].handle(other).message.body.kind == "ready"


# --- what is not gone on with -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", ["file:.keys", "file:.begun", "file:.arrays"])
def test_killed_before_its_first_answer_is_kept_the_run_is_closed_and_no_key_stays(study: Path, write: str) -> None:
    cuts = Cuts(study, lambda kind, its, times: (kind, its) == ("secrets", write))
    with cuts.installed(), hall(study, before=cuts.before, opens=cuts.opens) as (federation, _):
        with pytest.raises(Refused) as refusal:
            federation.run("probe")
        assert refusal.value.code == "SITE_MISSING" and len(cuts.seen) == 1
        assert books(federation)[VICTIM] == Spent(0, 0, "closed", 0)
        assert told(federation.sites[VICTIM].folder, "run.stopped")[0].data == {"code": "ORPHAN_CLOSED"}
    assert not kept(study) & {KEYS, BEGUN, OPENING}


def closed_as(study: Path, federation: Federation) -> str:
    """Open the killed site anew: why it does not go on."""
    federation.sites[VICTIM].folder.close()
    site = reopened(federation, study, VICTIM)
    assert site.state is None and not kept(study) & {KEYS, BEGUN, OPENING}
    (stopped,) = told(site.folder, "run.stopped")
    return str(stopped.data["code"])


def records_changed(study: Path) -> None:
    study_folder.write_records(study / "sites" / VICTIM / "records.jsonl.gz", VICTIM, 31)


def keys_put_back(study: Path) -> None:
    home = study / "sites" / VICTIM / "state" / "runs"
    for path in list(home.iterdir()):  # as `cp -a` and every backup do: the same bytes and times, in another file
        copy = path.with_name("copy")
        shutil.copy2(path, copy)
        path.unlink()
        copy.rename(path)


def document_lost(study: Path) -> None:
    (study / "sites" / VICTIM / "state" / "runs" / "killed.json").unlink()


@pytest.mark.parametrize(
    ("change", "code"),
    [(records_changed, "RUN_DATA_CHANGED"), (keys_put_back, "RUN_STATE_MOVED"), (document_lost, "ORPHAN_CLOSED")],
)
def test_a_run_whose_ground_has_moved_is_closed_and_stays_charged(
    study: Path, change: Callable[[Path], None], code: str
) -> None:
    with killed(study, "readies", "ledger:start") as (federation, _, _):
        change(study)
        assert closed_as(study, federation) == code
        assert books(federation)[VICTIM] == Spent(1, 0, "closed", 1)


def test_a_copy_of_the_folder_does_not_go_on_beside_the_site(study: Path, tmp_path: Path) -> None:
    with killed(study, "readies", "ledger:start") as (federation, channel, message):
        twin = Path(shutil.copytree(study, tmp_path / "twin"))
        channel.revive(VICTIM)
        assert federation.sites[VICTIM].handle(message).message.body.kind == "frame"
        with opened_by(federation, twin) as site:
            with pytest.raises(CoreError) as refusal:
                site.handle(message)
            assert refusal.value.code == "RUN_UNKNOWN"
            assert told(site.folder, "run.stopped")[-1].data == {"code": "RUN_STATE_MOVED"}


def put_back(backup: Path, home: Path) -> None:
    """As `rsync -a --delete` does: what has not changed in size and time is left alone, the rest is replaced."""
    time.sleep(1.1)  # a place is known by its inode, which may be given out again, and by the second of its change
    for path in list(home.rglob("*")):
        if path.is_file() and not (backup / path.relative_to(home)).exists():
            path.unlink()
    for path in (one for one in backup.rglob("*") if one.is_file()):
        here, was = home / path.relative_to(backup), path.stat()
        if here.exists() and (here.stat().st_size, here.stat().st_mtime_ns) == (was.st_size, was.st_mtime_ns):
            continue
        shutil.copy2(path, here.with_name("copy"))
        here.with_name("copy").rename(here)


@contextmanager
def sealed_once_and_put_back(study: Path, backup: Path) -> Iterator[tuple[Site, bytes, bytes]]:
    """The site has sealed step 1; then all of its state is as it was before. Its readies, and its share."""
    home, sealed = study / "sites" / VICTIM / "state", []

    def noted(site: str, message: SignedMessage, answer: bytes) -> None:
        if (site, message.body.kind) == (VICTIM, "step"):
            channel.revive(VICTIM)  # the service ends for the backup, and begins again
            shutil.copytree(home, backup, copy_function=shutil.copy2)
        if (site, message.body.kind) == (VICTIM, "readies"):
            sealed.extend((message.to_bytes(), answer))
            raise KeyboardInterrupt

    with hall(study, after=noted) as (federation, channel):
        with pytest.raises(KeyboardInterrupt):
            federation.run("probe", run="killed")
        federation.sites[VICTIM].folder.close()
        put_back(backup, home)
        yield reopened(federation, study, VICTIM), sealed[0], sealed[1]


def test_a_backup_of_all_but_what_never_changed_does_not_seal_the_step_again(study: Path, tmp_path: Path) -> None:
    """The run's keys lie there since its beginning, so a backup that is put back file by file leaves them alone."""
    with sealed_once_and_put_back(study, tmp_path / "backup") as (site, readies, _):
        with pytest.raises(ProtocolError) as refusal:
            site.handle(readies)
        assert refusal.value.code == "RUN_UNKNOWN"
        assert told(site.folder, "run.stopped")[-1].data == {"code": "RUN_STATE_MOVED"}
        assert not kept(study) & {KEYS, BEGUN, OPENING, PLACE}


def test_control_a_snapshot_of_the_whole_machine_seals_the_step_again(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not promised: with its inodes and times the same, nothing at the site itself tells it."""
    monkeypatch.setattr(keeping, "_place_of", lambda path: (0, 0))
    with sealed_once_and_put_back(study, tmp_path / "backup") as (site, readies, share):
        assert site.handle(readies).to_bytes() != share


def test_a_state_put_back_by_a_step_is_behind_the_ledger(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "_place_of", lambda path: (0, 0))  # its place is no other: a snapshot of the disk
    home = study / "sites" / VICTIM / "state" / "runs"
    earlier: dict[str, bytes] = {}

    def noted(site: str, message: SignedMessage, answer: bytes) -> None:
        if (site, message.body.kind, getattr(message.body, "step", 0)) == (VICTIM, "step", 1):
            earlier.update({path.name: path.read_bytes() for path in home.iterdir() if path.suffix != KEYS})
        if (site, message.body.kind, getattr(message.body, "step", 0)) == (VICTIM, "readies", 2):
            raise KeyboardInterrupt

    with hall(study, after=noted) as (federation, _):
        with pytest.raises(KeyboardInterrupt):
            federation.run("probe", run="killed")
        for name, data in earlier.items():
            (home / name).write_bytes(data)
        assert closed_as(study, federation) == "RUN_STATE_BEHIND"
        assert books(federation)[VICTIM] == Spent(2, 2, "closed", 2)


def test_what_is_damaged_is_not_read(study: Path) -> None:
    with killed(study, "step", "file:.json", step=2) as (federation, _, _):
        folder = federation.sites[VICTIM].folder
        home = folder.runs
        assert folder.files.read("killed").keys is not None
        codes: dict[str, set[str]] = {}
        read = [path for path in home.iterdir() if path.suffix not in {".arrays", PLACE}
                or path.name == document(study)["arrays"]]  # fmt: skip
        for path in sorted(read, key=lambda one: one.suffix == KEYS):  # its times change: last
            whole = path.read_bytes()
            places = [len(whole) * part // 5 for part in (1, 2, 3, 4)]
            flipped = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in places]
            for spoiled in (*flipped, whole[:-1], b""):
                path.write_bytes(spoiled)
                with pytest.raises(CannotResumeError) as refusal:
                    folder.files.read("killed")
                codes.setdefault(path.suffix, set()).add(refusal.value.code)
            path.write_bytes(whole)
        assert codes.pop(KEYS) <= {"RUN_STATE_DAMAGED", "RUN_STATE_MOVED"}
        assert codes == {suffix: {"RUN_STATE_DAMAGED"} for suffix in (BEGUN, OPENING, STATE, ".arrays")}


# --- who may open the folder meanwhile --------------------------------------------------------------------------------


def test_another_command_of_the_site_leaves_a_run_that_can_go_on_alone(study: Path) -> None:
    with killed(study, "readies", "ledger:start") as (federation, _, message):
        federation.sites[VICTIM].folder.close()
        code, said = "", ""
        try:
            with opened_by(federation, study, leave_to_agent):
                pass
        except Refused as refused:
            code, said = refused.code, str(refused)
        site = reopened(federation, study, VICTIM)  # whatever came of it: what is closed twice fails by that
        assert code == "RUN_INTERRUPTED" and "'killed'" in said
        assert site.handle(message).message.body.kind == "frame"


def test_after_the_end_another_command_does_what_a_kill_left_undone_and_leaves_the_last_answer(study: Path) -> None:
    finish: list[tuple[bytes, bytes]] = []
    cuts = Cuts(study, lambda kind, write, times: (kind, write) == ("finish", "file:.json"))
    with hall(study, before=cuts.before, opens=cuts.opens) as (federation, channel):

        def another_command(site: str) -> None:
            cuts.opens(site)
            with opened_by(federation, study, leave_to_agent) as other:
                assert [row.state for row in other.folder.ledger.balance().runs] == ["closed"]
                assert len(told(other.folder, "run.finished")) == 1 and not told(other.folder, "run.stopped")
                assert KEYS not in kept(study)

        def noted(site: str, message: SignedMessage, answer: bytes) -> None:
            if (site, message.body.kind) == (VICTIM, "finish"):
                finish.append((message.to_bytes(), answer))

        channel.opens, channel.after = another_command, noted
        with cuts.installed():
            assert federation.run("probe").state_macs_agree
        channel.opens = cuts.opens
        channel.revive(VICTIM)
        site = federation.sites[VICTIM]
        ((asked, answer),) = finish
        assert site.handle(asked).to_bytes() == answer
        # and its result is there to be published, as before
        assert site.state is not None and site.state.finished and site.state.completed == STEPS
        assert len(told(site.folder, "run.finished")) == len(told(site.folder, "budget.settled")) == 1


def test_the_pilot_in_one_process_closes_it_and_drops_its_keys(study: Path) -> None:
    with killed(study, "readies", "ledger:start"):
        pass
    federation = open_federation(study)
    try:
        assert books(federation) == dict.fromkeys(THREE, Spent(1, 1, "closed", 1)) | {
            VICTIM: Spent(1, 0, "closed", 1), "kaze": Spent(0, 0, "closed", 0),
        }  # fmt: skip
    finally:
        federation.close()
    assert all(not kept(study, name) & {KEYS, BEGUN, OPENING} for name in THREE)


def test_keys_lie_on_the_disk_only_where_runs_outlive_the_process_only_while_they_do_and_in_no_clear(
    study: Path,
) -> None:
    found: list[tuple[set[str], bool]] = []

    def looked(site: str, message: SignedMessage, answer: bytes) -> None:
        there = federation.sites[site]
        if message.body.kind == "readies" and there.state is not None and there.state.run_secret is not None:
            whole = b"".join(path.read_bytes() for path in there.folder.runs.iterdir())
            secrets = [there.state.run_secret.to_bytes(), *there.state.pair_keys.values()]
            clear = any(secret in whole or secret.hex().encode() in whole for secret in secrets)
            found.append((kept(study, site), clear))
            assert {oct(path.stat().st_mode & 0o777) for path in there.folder.runs.iterdir()} == {"0o600"}

    with hall(study, after=looked) as (federation, _):
        federation.run("probe")
    assert found and all(KEYS in files and not clear for files, clear in found)
    assert all(KEYS not in kept(study, name) for name in THREE)
    federation = open_federation(study)
    try:
        federation.run("probe", run="in-one-process")
        assert not [path for path in federation.sites[VICTIM].folder.runs.iterdir() if "in-one" in path.name
                    and path.suffix in {KEYS, BEGUN, OPENING}]  # fmt: skip
    finally:
        federation.close()


def test_who_left_while_the_site_was_down_is_not_used_and_does_not_come_back(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[set[str]] = []
    usable = Site._load

    def noted(site, tools, subjects):  # type: ignore[no-untyped-def]  # what every record passes
        if site.folder.site == VICTIM:
            used.append(set(subjects))
        return usable(site, tools, subjects)

    gone = f"{VICTIM}-c003"
    monkeypatch.setattr(Site, "_load", noted)
    with killed(study, "readies", "ledger:start") as (federation, channel, message):
        used.clear()
        consents = study / "sites" / VICTIM / "consent.jsonl"
        consents.write_text(
            consents.read_text("utf-8") + consents.read_text("utf-8").splitlines()[3].replace("granted", "withdrawn")
            .replace("2026-10-01", "2026-11-20") + "\n", "utf-8"
        )  # fmt: skip
        channel.revive(VICTIM)
        site = federation.sites[VICTIM]
        assert site.handle(message).message.body.kind == "frame" and site.tools is not None
        assert gone in site.tools.left and len(used) == 1
        channel.revive(VICTIM)
        site = federation.sites[VICTIM]
        assert site.tools is not None and gone in site.tools.left and gone in site.tools.admitted
