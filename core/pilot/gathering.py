"""Evidence of parties on machines of their own: each exports what it has, and somebody puts the parts together.

For: `compliance export --own`, at each party, and `compliance gather`, wherever the parts were sent to. Not for: all
parties in one folder (evidence.py), or believing a part: it counts by its party's signature, and what parties saw of
each other's logs is compared when the whole is written, by the verifier that travels in it.

No key leaves its machine: a log's head is signed by its own party, and the whole by whoever gathers, a party of the
roster. A part holds one party's papers, whole log, and heads of others as it saw them; it verifies by itself, and says
which logs it does not have.

Order of calls: ``export_own`` at each party -> ``gather``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from ...governance.evidence import verifier
from ...governance.evidence.bundle import ADDED, Member, write_bundle
from ...governance.evidence.views import FOLDER as VIEWS
from ...governance.signing.roster import Roster
from ..errors import BadInputError, CheckFailedError
from ..parties import LOG_NAME, key_path, load_key, state_folder
from ..site.exporting import (
    heads_of_others,
    keys_lie_together,
    merged,
    misbehaviour_of,
    open_logs,
    papers_of,
    whole_log,
)
from ..site.papers import SIGNATURES, read_file, read_study
from .evidence import Written, provenance_of


def export_own(study_folder: Path, out: Path) -> Written:
    """Write ``out``: the papers and the whole log of the party whose key and log lie here.

    Raises ``BadInputError`` NO_LOG; OWN_PARTY where there are several: those are exported together.
    """
    roster = _roster(study_folder)
    study = read_study(study_folder)
    here = [party for party in (*study.sites, roster.coordinator.id) if _is_here(study_folder, roster, party)]
    if len(here) != 1:
        raise BadInputError(
            "OWN_PARTY",
            f"there are the logs and keys of {len(here)} parties here, and not of one",
            hint="without --own all are exported together"
            if here
            else "a party's log and its key must both lie in this folder; a log exists once a run was asked for",
        )
    own = [site for site in here if site in study.sites]
    with (
        tempfile.TemporaryDirectory(prefix=".evidence-", dir=out.parent) as folder,
        open_logs(study_folder, study.id, roster, here) as (log,),
    ):
        members: dict[str, Member] = dict(papers_of(study_folder, own))
        parts = (whole_log(log, Path(folder)), heads_of_others(log, study.id, roster), misbehaviour_of([log]))
        members |= merged(parts)
        digest = write_bundle(out, members=members, key=log.key)
    return Written(out.stat().st_size, digest, roster.fingerprint, ())


def gather(study_folder: Path, parts: Sequence[Path], out: Path, *, provenance: Sequence[Path] = ()) -> Written:
    """Write ``out``: all ``parts`` as one whole, signed by the party whose key lies here, with released statements.

    Raises ``CheckFailedError`` PART_NOT_VERIFIED where one does not verify under this study's roster, ``BadInputError``
    PARTS_DIFFER where two say different things of one matter, and as ``write_bundle``: what parties saw of each other
    must agree with their logs.
    """
    roster = _roster(study_folder)
    study = read_study(study_folder)
    everybody = (roster.coordinator.id, *study.sites)
    here = [one for one in everybody if key_path(study_folder, one, demo=roster.demo).exists()]
    key = load_key(study_folder, (*here, roster.coordinator.id)[0], demo=roster.demo)
    members: dict[str, Member] = {}
    with tempfile.TemporaryDirectory(prefix=".evidence-", dir=out.parent) as folder, ExitStack() as files:
        for number, path in enumerate(parts):
            # 1. by itself it is whole, and of this roster
            if not path.is_file():
                read_file(path)  # which says what is wrong with it
            verdict = verifier.verify_file(path, roster.fingerprint)
            if verdict.code != 0:
                raise CheckFailedError(
                    "PART_NOT_VERIFIED", f"{path.name}: {verdict.sentence}",
                    hint="ask its party for it again; `sekisho compliance verify` shows more",
                )  # fmt: skip
            container = verifier.open_container(files.enter_context(path.open("rb")))
            # 2. together they say one thing
            for name, member in _members(container, Path(folder) / str(number)):
                members[name] = _agreed(name, members.get(name), member)
        # 3. whole: what each saw of the others is held against their logs
        members |= provenance_of(provenance, roster)
        together = keys_lie_together(study_folder, roster, everybody)
        digest = write_bundle(out, members=members, key=key, together=together)
    statements = sorted(name for name in members if name.startswith("provenance/"))
    lacking = tuple(party for party in everybody if f"logs/{party}.jsonl" not in members)
    return Written(out.stat().st_size, digest, roster.fingerprint, tuple(statements), lacking=lacking)


def _members(container: verifier.Container, folder: Path) -> Iterator[tuple[str, Member]]:
    for name in container:
        if name in ADDED or name.startswith(VIEWS):
            continue
        if not name.endswith(".jsonl"):
            yield name, container[name]
            continue
        # a log need not fit memory
        path = folder / name
        path.parent.mkdir(parents=True)
        with path.open("wb") as file:
            file.writelines(line + b"\n" for line in container.lines(name))
        yield name, path


def _agreed(name: str, before: Member | None, member: Member) -> Member:
    if before is None or before == member:
        return member
    if isinstance(before, bytes) and isinstance(member, bytes) and name.endswith(SIGNATURES):
        # one party had a signature that another did not have yet
        return b"".join(dict.fromkeys(line + b"\n" for part in (before, member) for line in part.splitlines() if line))
    raise BadInputError(
        "PARTS_DIFFER",
        f"two of the parts have different {name}",
        hint="parties that ran under different papers have no evidence in common; a part must not be given twice",
    )


def _is_here(study_folder: Path, roster: Roster, party: str) -> bool:
    state = state_folder(study_folder, party, coordinator=party == roster.coordinator.id)
    return (state / LOG_NAME).exists() and key_path(study_folder, party, demo=roster.demo).exists()


def _roster(study_folder: Path) -> Roster:
    return Roster.parse(read_file(study_folder / "roster.yaml"), "roster.yaml")
